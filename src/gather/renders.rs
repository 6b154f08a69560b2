//! Renders the releases that are not up to date, and reads who manages the objects that they would create.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::Value;

use super::builds::Place;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::files;
use crate::base::release_id::ReleaseId;
use crate::desired::chart::Chart;
use crate::desired::manifests::{self, Manifests, RenderFailure};
use crate::desired::objects::ObjectId;
use crate::desired::releases::Release;
use crate::desired::{Desired, Helmfile, STAND_IN};
use crate::observed::inventory::Which;
use crate::observed::{Live, Owned};
use crate::plan::needs_rendering;
use crate::plan::releases::is_skipped;
use crate::tools::Toolbox;
use crate::tools::helmfile::{TemplateError, is_missing_variable, rendered_to};

/// Renders the releases that are not up to date, and reads which of their objects exist.
pub(super) async fn render(
    place: &Place<'_>,
    desired: &Desired,
    live: &Live,
    missing_commands: &BTreeSet<(PathBuf, String)>,
    all: bool,
) -> Result<(Manifests, Fact<Vec<Owned>>), Error> {
    let is_missing = |helmfile: &Helmfile, command: &str| {
        missing_commands.iter().any(|(path, name)| *path == helmfile.path && name == command)
    };
    let rendered = join_all(desired.helmfiles.iter().map(|helmfile| {
        render_helmfile(place, desired, live, helmfile, |command| is_missing(helmfile, command), all)
    }));
    let mut manifests = Manifests::default();
    for rendered in rendered.await {
        let Manifests { objects, failures } = rendered?;
        manifests.objects.extend(objects);
        manifests.failures.extend(failures);
    }
    let owners = owners(place.context.tools, &manifests, live).await?;
    Ok((manifests, owners))
}

async fn render_helmfile(
    place: &Place<'_>,
    desired: &Desired,
    live: &Live,
    helmfile: &Helmfile,
    is_missing: impl Fn(&str) -> bool,
    all: bool,
) -> Result<Manifests, Error> {
    let plan_options = &place.context.settings.plan_options;
    let stale: Vec<_> = helmfile
        .releases
        .iter()
        .filter(|release| release.installed && !is_skipped(release, desired, live, plan_options))
        .filter(|release| all || needs_rendering(release, desired, live, plan_options))
        .collect();
    let (mut renderable, without_chart): (Vec<_>, Vec<_>) =
        stale.into_iter().partition(|release| desired.charts.contains_key(&release.id()));
    let mut rendered = Manifests::default();
    let mut unknown = |release: &Release, reason: &str| {
        rendered.objects.insert(release.id(), Err(reason.to_owned()));
    };
    for release in without_chart {
        unknown(release, "its chart is not on this machine");
    }
    // If one release cannot be rendered, helmfile renders none of them.
    renderable.retain(|release| {
        let needed = &release.requirements;
        let reason = match needed.kustomize_program() {
            Some(program) if is_missing(program) => format!("`{program}` is not installed"),
            _ if release.has_encrypted_files() => "its `secrets` were not decrypted".to_owned(),
            _ => return true,
        };
        unknown(release, &reason);
        false
    });
    // helmfile renders nothing that requires a variable which is not set.
    let missing = desired.coverage.missing_variables.get(&helmfile.path);
    let unset = missing.map(|names| format!("required variables are not set: {}", names.join(" ")));
    let (with_placeholder, mut renderable): (Vec<_>, Vec<_>) =
        renderable.into_iter().partition(|release| unset.is_some() && has_stand_in(release));
    for (release, reason) in with_placeholder.iter().filter_map(|release| Some((release, unset.as_ref()?))) {
        unknown(release, reason);
    }
    if renderable.is_empty() {
        return Ok(rendered);
    }
    let folder = place.context.scratch.subfolder(&format!("manifests-{}", helmfile.kind.stage().name()))?;
    let charts = place.charts_for(helmfile)?;
    // helmfile stops at the first release that fails: the others are rendered without it.
    while !renderable.is_empty() {
        let selectors: Vec<_> = renderable.iter().map(|release| helmfile.selector(release)).collect();
        let template = place.context.tools.helmfile_template(
            &helmfile.path,
            &charts,
            helmfile.needs_identities,
            &selectors,
            &folder,
        );
        let Err(TemplateError { release, reason }) = template.await? else { break };
        // A variable may be used in a condition without being part of the values.
        let reason = unset.clone().filter(|_| is_missing_variable(&reason)).unwrap_or(reason);
        let is_reported = |release: &&Release, (namespace, name): &(String, String)| {
            release.is_reported_as(namespace, name)
        };
        let failed = release.and_then(|failed| renderable.iter().position(|one| is_reported(one, &failed)));
        let Some(failed) = failed else {
            for release in renderable.drain(..) {
                rendered.objects.insert(release.id(), Err(reason.clone()));
            }
            break;
        };
        let id = renderable.remove(failed).id();
        let chart = desired.charts.get(&id);
        let depends_on_cluster = chart.is_some_and(|chart| depends_on_cluster(&reason, chart));
        rendered.objects.insert(id.clone(), Err(reason.clone()));
        rendered.failures.insert(id, RenderFailure { reason, depends_on_cluster });
    }
    for release in renderable {
        rendered
            .objects
            .insert(release.id(), read(&rendered_to(&folder, release.named_namespace(), &release.name), all));
    }
    // The files may contain secrets and are no longer needed.
    _ = std::fs::remove_dir_all(&folder);
    Ok(rendered)
}

/// How many lines before the failing one are searched for its condition.
const CONDITION_LINES: usize = 6;

/// Whether a template named in helm's error uses something that only a cluster knows.
fn depends_on_cluster(reason: &str, chart: &Chart) -> bool {
    template_places(reason, &chart.name).any(|(file, line)| {
        let Ok(text) = files::text(&chart.folder.join(file), files::LARGEST) else { return false };
        let condition = text.lines().take(line).skip(line.saturating_sub(CONDITION_LINES));
        text.contains("lookup ") || condition.into_iter().any(|line| line.contains(".Capabilities"))
    })
}

/// The files of a chart that helm's error names, relative to its folder, each with a line: `(web/templates/a.yaml:5:3)`.
fn template_places<'a>(reason: &'a str, chart: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
    let words = reason.split(|c: char| c.is_whitespace() || "()<>\";,".contains(c));
    words.filter_map(move |word| {
        let mut parts = word.split(':');
        let file = parts.next()?.strip_prefix(chart)?.strip_prefix('/')?;
        let line = parts.next()?.parse().ok()?;
        (!file.split('/').any(|part| part == "..")).then_some((file, line))
    })
}

/// Whether the values of a release contain the placeholder of an unset variable.
pub(super) fn has_stand_in(release: &Release) -> bool {
    release.merged().to_string().contains(STAND_IN)
}

/// Reads manifests. Unless `all` is set, the schemas of CRDs are dropped: no rule reads them, and they take more memory than
/// everything else.
fn read(folder: &Path, all: bool) -> Fact<Vec<Value>> {
    let mut objects = Vec::new();
    for entry in files::walk(folder, |_| true).filter(|entry| !entry.kind.is_dir()) {
        let text = files::text(&entry.path, files::LARGEST);
        let text = text.map_err(|error| format!("{}: {error}", entry.name()))?;
        let mut parsed = manifests::parse(&text).map_err(|error| format!("{}: {error}", entry.name()))?;
        if !all {
            parsed.iter_mut().for_each(drop_schemas);
        }
        objects.append(&mut parsed);
    }
    Ok(objects)
}

/// Removes the schemas from a `CustomResourceDefinition`.
fn drop_schemas(object: &mut Value) {
    if object["kind"] == "CustomResourceDefinition"
        && let Some(versions) = object.pointer_mut("/spec/versions").and_then(Value::as_array_mut)
    {
        for version in versions.iter_mut().filter_map(Value::as_object_mut) {
            version.remove("schema");
        }
    }
}

/// The rendered objects that exist already, with their metadata.
async fn owners(tools: &Toolbox, manifests: &Manifests, live: &Live) -> Result<Fact<Vec<Owned>>, Error> {
    let kinds = match &live.kinds {
        Ok(kinds) => kinds,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let rendered = manifests.objects().filter_map(|(release, object)| {
        let id = ObjectId::of(object)?;
        Some((
            ObjectId { namespace: id.namespace.or_else(|| Some(release.namespace.clone())), ..id },
            release.to_owned(),
        ))
    });
    let rendered: BTreeMap<_, _> = rendered.collect();
    let existing = known(
        tools.observe_inventory(kinds, rendered.keys(), Which::All, live.cluster.inventory.clone()).await,
    )?;
    let mut totals: BTreeMap<ReleaseId, usize> = BTreeMap::new();
    for release in rendered.values() {
        *totals.entry(release.clone()).or_default() += 1;
    }
    Ok(existing.map(|existing| {
        let owned = rendered.into_iter().filter_map(|(id, release)| {
            let meta = existing.find(&id)?.clone();
            // Cluster-scoped objects were looked up with the namespace of their release.
            let namespace = Some(meta.namespace.clone()).filter(|namespace| !namespace.is_empty());
            let among = totals.get(&release).copied().unwrap_or_default();
            Some(Owned { release, among, id: ObjectId { namespace, ..id }, meta })
        });
        owned.collect()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_depend_on_the_cluster_are_recognized() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("templates")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join("templates").join(name), text).unwrap();
        };
        write(
            "a.yaml",
            "{{ if not .Values.x }}\n{{ fail \"x\" }}\n{{ end }}\n\n\n\n\n\n{{ .Capabilities.KubeVersion }}\n",
        );
        write("b.yaml", "{{ if not (.Capabilities.APIVersions.Has \"x\") }}\n{{ fail \"x\" }}\n{{ end }}\n");
        write(
            "_c.tpl",
            "{{ $old := lookup \"v1\" \"Secret\" \"a\" \"b\" }}\n\n\n\n\n\n\n\n{{ $old.data.x }}\n",
        );
        let chart = Chart { folder: folder.path().to_owned(), name: "web".to_owned(), ..Chart::default() };
        let cases = [
            ("execution error at (web/templates/a.yaml:2:3): x", false),
            ("execution error at (web/templates/a.yaml:9:3): x", true),
            ("execution error at (web/templates/b.yaml:2:3): x", true),
            (
                "web/templates/a.yaml:2:3; executing \"x\" at <include \"c\" .>: error calling include: web/templates/_c.tpl:9:8; executing",
                true,
            ),
            (
                "template: web/templates/a.yaml:2:3: executing \"web/templates/a.yaml\" at <x>: nil pointer",
                false,
            ),
            ("execution error at (web/templates/gone.yaml:2:3): x", false),
            ("execution error at (web/../../b.yaml:2:3): x", false),
            ("execution error at (other/templates/b.yaml:2:3): x", false),
            ("values don't meet the specifications", false),
        ];
        for (reason, expected) in cases {
            assert_eq!(depends_on_cluster(reason, &chart), expected, "{reason}");
        }
    }
}
