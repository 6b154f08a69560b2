//! Rendering the releases that are not as wanted, and looking who owns what they would make.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use serde_json::Value;

use super::builds::Place;
use super::known;
use crate::desired::objects::ObjectId;
use crate::desired::releases::Release;
use crate::desired::{Desired, Helmfile, STAND_IN};
use crate::error::Error;
use crate::files;
use crate::manifests::{self, Manifests};
use crate::observed::inventory::Which;
use crate::observed::{Known, Live, Owned};
use crate::plan::needs_rendering;
use crate::plan::releases::is_left;
use crate::tools::Toolbox;
use crate::tools::helmfile::{is_missing_variable, rendered_to};

/// Renders what is not as wanted, and looks at those of its objects that exist.
pub(super) async fn render(
    tools: &Toolbox,
    place: &Place<'_>,
    desired: &Desired,
    live: &Live,
    all: bool,
) -> Result<(Manifests, Known<Vec<Owned>>), Error> {
    let rendered =
        join_all(desired.helmfiles.iter().map(|helmfile| of_helmfile(place, desired, live, helmfile, all)));
    let mut manifests = Manifests::default();
    for rendered in rendered.await {
        manifests.0.extend(rendered?);
    }
    let owners = owners(tools, &manifests, live).await?;
    Ok((manifests, owners))
}

async fn of_helmfile(
    place: &Place<'_>,
    desired: &Desired,
    live: &Live,
    helmfile: &Helmfile,
    all: bool,
) -> Result<BTreeMap<String, Known<Vec<Value>>>, Error> {
    let wishes = &place.settings.wishes;
    let stale: Vec<_> = helmfile
        .releases
        .iter()
        .filter(|release| release.installed && !is_left(release, desired, live, wishes))
        .filter(|release| all || needs_rendering(release, desired, live, wishes))
        .collect();
    let (there, absent): (Vec<_>, Vec<_>) =
        stale.into_iter().partition(|release| desired.charts.contains_key(&release.id()));
    let mut rendered: BTreeMap<_, _> = absent
        .iter()
        .map(|release| (release.id(), Err("its chart is not on this machine".to_owned())))
        .collect();
    // helmfile renders nothing that demands a variable which is not set.
    let missing = desired.coverage.missing_variables.get(&helmfile.path);
    let unset = missing.map(|names| format!("required variables are not set: {}", names.join(" ")));
    let (open, there): (Vec<_>, Vec<_>) =
        there.into_iter().partition(|release| unset.is_some() && has_stand_in(release));
    rendered.extend(open.iter().filter_map(|release| Some((release.id(), Err(unset.clone()?)))));
    if there.is_empty() {
        return Ok(rendered);
    }
    let folder = place.scratch.subfolder(&format!("manifests-{}", helmfile.kind.stage().name()))?;
    let selectors: Vec<_> = there.iter().map(|release| helmfile.selector(release)).collect();
    let charts = place.charts_for(helmfile)?;
    let done = place.tools.helmfile_template(
        &helmfile.path,
        &charts,
        helmfile.needs_identities,
        &selectors,
        &folder,
    );
    let done = done.await?;
    for release in there {
        let objects = match &done {
            Ok(()) => read(&rendered_to(&folder, release), all),
            // A variable may decide about values without being one of them.
            Err(reason) if is_missing_variable(reason) => {
                Err(unset.clone().unwrap_or_else(|| reason.clone()))
            }
            Err(reason) => Err(reason.clone()),
        };
        rendered.insert(release.id(), objects);
    }
    // They may hold secrets, and nobody needs the files any more.
    _ = std::fs::remove_dir_all(&folder);
    Ok(rendered)
}

/// Whether a variable that is not set would stand in the values of a release.
fn has_stand_in(release: &Release) -> bool {
    release.merged().to_string().contains(STAND_IN)
}

/// Reads manifests. Unless all is wanted of them, schemas are left out: no rule looks at those, and they take more memory
/// than all the rest.
fn read(folder: &Path, all: bool) -> Known<Vec<Value>> {
    let mut objects = Vec::new();
    for entry in files::walk(folder, |_| true).filter(|entry| !entry.kind.is_dir()) {
        let text = files::text(&entry.path, files::LARGEST);
        let text = text.map_err(|error| format!("{}: {error}", entry.name()))?;
        let mut parsed = manifests::parse(&text).map_err(|error| format!("{}: {error}", entry.name()))?;
        if !all {
            parsed.iter_mut().for_each(forget_schemas);
        }
        objects.append(&mut parsed);
    }
    Ok(objects)
}

/// Takes the schemas out of a `CustomResourceDefinition`.
fn forget_schemas(object: &mut Value) {
    if object["kind"] == "CustomResourceDefinition"
        && let Some(versions) = object.pointer_mut("/spec/versions").and_then(Value::as_array_mut)
    {
        for version in versions.iter_mut().filter_map(Value::as_object_mut) {
            version.remove("schema");
        }
    }
}

/// Who owns those of the objects that exist.
async fn owners(tools: &Toolbox, manifests: &Manifests, live: &Live) -> Result<Known<Vec<Owned>>, Error> {
    let kinds = match &live.kinds {
        Ok(kinds) => kinds,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let made = manifests.objects().filter_map(|(release, object)| {
        let id = ObjectId::of(object)?;
        let namespace = release.split_once('/').map(|(namespace, _)| namespace.to_owned());
        Some((ObjectId { namespace: id.namespace.or(namespace), ..id }, release.to_owned()))
    });
    let made: BTreeMap<_, _> = made.collect();
    let there =
        known(tools.observe_inventory(kinds, made.keys(), Which::All, live.cluster.inventory.clone()).await)?;
    let mut among: BTreeMap<String, usize> = BTreeMap::new();
    for release in made.values() {
        *among.entry(release.clone()).or_default() += 1;
    }
    Ok(there.map(|there| {
        let owned = made.into_iter().filter_map(|(id, release)| {
            let meta = there.find(&id)?.clone();
            // What belongs to no namespace was looked for with that of its release.
            let namespace = Some(meta.namespace.clone()).filter(|namespace| !namespace.is_empty());
            let among = among.get(&release).copied().unwrap_or_default();
            Some(Owned { release, among, id: ObjectId { namespace, ..id }, meta })
        });
        owned.collect()
    }))
}
