//! Reads the manifests that the configuration names.

use std::path::Path;

use futures_util::future::join_all;
use secrecy::SecretString;

use super::Context;
use crate::base::error::Error;
use crate::base::files::{self, LARGEST};
use crate::base::finding::Finding;
use crate::base::fingerprint::sha256;
use crate::base::stages::Stage;
use crate::desired::object_source::{ManifestSource, ObjectSource};
use crate::desired::repository::KUSTOMIZATIONS;

/// The text of each source.
///
/// # Errors
///
/// k3s-boot is interrupted.
pub(super) async fn read(
    context: Context<'_>,
) -> Result<Vec<(ObjectSource, Result<SecretString, Finding>)>, Error> {
    let is_skipped = context.settings.plan_options.stages.has(Stage::Manifests);
    let manifests = context.settings.manifests.iter().filter(|_| !is_skipped);
    let sources = manifests.map(async |manifest| {
        let source = ObjectSource::Manifest(manifest.shown(&context.settings.root));
        let text = match manifest {
            ManifestSource::Path(path) if path.is_dir() => folder(context, path, &source).await?,
            ManifestSource::Path(path) => files::text(path, LARGEST)
                .map(SecretString::from)
                .map_err(|error| source.problem("cannot be read").with("reason", error)),
            ManifestSource::Url { url, sha256 } => web(context, url, sha256, &source).await?,
        };
        Ok((source, text))
    });
    join_all(sources).await.into_iter().collect()
}

/// Whether a folder has a kustomization.
pub(super) fn is_kustomization(folder: &Path) -> bool {
    KUSTOMIZATIONS.iter().any(|name| folder.join(name).is_file())
}

async fn folder(
    context: Context<'_>,
    path: &Path,
    source: &ObjectSource,
) -> Result<Result<SecretString, Finding>, Error> {
    if !is_kustomization(path) {
        let problem = source.problem("is a folder without a kustomization");
        return Ok(Err(problem.with("accepted", KUSTOMIZATIONS.join(" ")).fix("add one, or name the files")));
    }
    let rendered = context.tools.kubectl_kustomize(path).await?;
    Ok(rendered.map_err(|reason| source.problem("cannot be rendered").with("reason", reason)))
}

/// The content of a URL, from the cache if it was downloaded before.
async fn web(
    context: Context<'_>,
    url: &str,
    expected: &str,
    source: &ObjectSource,
) -> Result<Result<SecretString, Finding>, Error> {
    let Context { settings, tools, .. } = context;
    let cached = settings.cache.as_ref().map(|cache| cache.join("manifests").join(expected));
    let known = cached.as_ref().and_then(|path| files::text(path, LARGEST).ok());
    if let Some(text) = known.filter(|text| sha256(text) == expected) {
        return Ok(Ok(text.into()));
    }
    if settings.offline {
        return Ok(Err(Finding::warning(source.rule(), "Manifest is not in the cache")
            .with(source.key(), source)
            .fix("run `k3s-boot check` once without --offline")));
    }
    let problem = |reason: String| source.problem("cannot be downloaded").with("reason", reason);
    let bytes = match tools.download(url).await? {
        Ok(bytes) => bytes,
        Err(reason) => return Ok(Err(problem(reason))),
    };
    let found = sha256(&bytes);
    if found != expected {
        return Ok(Err(source
            .problem("has another hash")
            .with("expected", expected)
            .with("found", &found)
            .fix("inspect what has changed, then write the new hash into `sha256`")));
    }
    let Ok(text) = String::from_utf8(bytes) else { return Ok(Err(problem("it is not text".to_owned()))) };
    // Without a cache, it is downloaded again next time.
    if let Some(path) = cached {
        _ = files::write_whole(&path, text.as_bytes());
    }
    Ok(Ok(text.into()))
}
