//! Rendering the releases that are not as wanted, and looking who owns what they would make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::Value;

use super::builds::Place;
use crate::base::error::Error;
use crate::base::fact::{Known, known};
use crate::base::files;
use crate::desired::chart::Chart;
use crate::desired::manifests::{self, Manifests, RenderFailure};
use crate::desired::objects::ObjectId;
use crate::desired::releases::Release;
use crate::desired::{Desired, Helmfile, STAND_IN};
use crate::observed::inventory::Which;
use crate::observed::{Live, Owned};
use crate::plan::needs_rendering;
use crate::plan::releases::is_left;
use crate::tools::Toolbox;
use crate::tools::helmfile::{TemplateError, is_missing_variable, rendered_to};

/// Renders what is not as wanted, and looks at those of its objects that exist.
pub(super) async fn render(
    tools: &Toolbox,
    place: &Place<'_>,
    desired: &Desired,
    live: &Live,
    missing_commands: &BTreeSet<(PathBuf, String)>,
    all: bool,
) -> Result<(Manifests, Known<Vec<Owned>>), Error> {
    let lacks = |helmfile: &Helmfile, command: &str| {
        missing_commands.iter().any(|(path, name)| *path == helmfile.path && name == command)
    };
    let rendered = join_all(desired.helmfiles.iter().map(|helmfile| {
        of_helmfile(place, desired, live, helmfile, |command| lacks(helmfile, command), all)
    }));
    let mut manifests = Manifests::default();
    for rendered in rendered.await {
        let Manifests { objects, failures } = rendered?;
        manifests.objects.extend(objects);
        manifests.failures.extend(failures);
    }
    let owners = owners(tools, &manifests, live).await?;
    Ok((manifests, owners))
}

async fn of_helmfile(
    place: &Place<'_>,
    desired: &Desired,
    live: &Live,
    helmfile: &Helmfile,
    lacks: impl Fn(&str) -> bool,
    all: bool,
) -> Result<Manifests, Error> {
    let wishes = &place.settings.wishes;
    let stale: Vec<_> = helmfile
        .releases
        .iter()
        .filter(|release| release.installed && !is_left(release, desired, live, wishes))
        .filter(|release| all || needs_rendering(release, desired, live, wishes))
        .collect();
    let (mut there, absent): (Vec<_>, Vec<_>) =
        stale.into_iter().partition(|release| desired.charts.contains_key(&release.id()));
    let mut rendered = Manifests::default();
    let mut unknown = |release: &Release, reason: &str| {
        rendered.objects.insert(release.id(), Err(reason.to_owned()));
    };
    for release in absent {
        unknown(release, "its chart is not on this machine");
    }
    // Without what these need, helmfile renders none of those that are rendered with them.
    there.retain(|release| {
        let needed = &release.requirements;
        let reason = match needed.kustomize_program() {
            Some(program) if lacks(program) => format!("`{program}` is not installed"),
            _ if release.has_encrypted_files() => "its `secrets` were not decrypted".to_owned(),
            _ => return true,
        };
        unknown(release, &reason);
        false
    });
    // helmfile renders nothing that demands a variable which is not set.
    let missing = desired.coverage.missing_variables.get(&helmfile.path);
    let unset = missing.map(|names| format!("required variables are not set: {}", names.join(" ")));
    let (open, mut there): (Vec<_>, Vec<_>) =
        there.into_iter().partition(|release| unset.is_some() && has_stand_in(release));
    for (release, reason) in open.iter().filter_map(|release| Some((release, unset.as_ref()?))) {
        unknown(release, reason);
    }
    if there.is_empty() {
        return Ok(rendered);
    }
    let folder = place.scratch.subfolder(&format!("manifests-{}", helmfile.kind.stage().name()))?;
    let charts = place.charts_for(helmfile)?;
    // helmfile ends with the first release that fails: the others are rendered without it.
    while !there.is_empty() {
        let selectors: Vec<_> = there.iter().map(|release| helmfile.selector(release)).collect();
        let template = place.tools.helmfile_template(
            &helmfile.path,
            &charts,
            helmfile.needs_identities,
            &selectors,
            &folder,
        );
        let Err(TemplateError { release, reason }) = template.await? else { break };
        // A variable may decide about values without being one of them.
        let reason = unset.clone().filter(|_| is_missing_variable(&reason)).unwrap_or(reason);
        let is_reported = |release: &&Release, (namespace, name): &(String, String)| {
            release.is_reported_as(namespace, name)
        };
        let failed = release.and_then(|failed| there.iter().position(|one| is_reported(one, &failed)));
        let Some(failed) = failed else {
            for release in there.drain(..) {
                rendered.objects.insert(release.id(), Err(reason.clone()));
            }
            break;
        };
        let id = there.remove(failed).id();
        let chart = desired.charts.get(&id);
        let depends_on_cluster = chart.is_some_and(|chart| depends_on_cluster(&reason, chart));
        rendered.objects.insert(id.clone(), Err(reason.clone()));
        rendered.failures.insert(id, RenderFailure { reason, depends_on_cluster });
    }
    for release in there {
        rendered
            .objects
            .insert(release.id(), read(&rendered_to(&folder, release.named_namespace(), &release.name), all));
    }
    // They may hold secrets, and nobody needs the files any more.
    _ = std::fs::remove_dir_all(&folder);
    Ok(rendered)
}

/// So many lines before the one that fails may hold its condition.
const CONDITION: usize = 6;

/// Whether one of the templates that helm's words name asks for what only a cluster knows.
fn depends_on_cluster(reason: &str, chart: &Chart) -> bool {
    template_places(reason, &chart.name).any(|(file, line)| {
        let Ok(text) = files::text(&chart.folder.join(file), files::LARGEST) else { return false };
        let condition = text.lines().take(line).skip(line.saturating_sub(CONDITION));
        text.contains("lookup ") || condition.into_iter().any(|line| line.contains(".Capabilities"))
    })
}

/// The files of a chart that helm's words name, below its folder, each with a line: `(web/templates/a.yaml:5:3)`.
fn template_places<'a>(reason: &'a str, chart: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
    let words = reason.split(|c: char| c.is_whitespace() || "()<>\";,".contains(c));
    words.filter_map(move |word| {
        let mut parts = word.split(':');
        let file = parts.next()?.strip_prefix(chart)?.strip_prefix('/')?;
        let line = parts.next()?.parse().ok()?;
        (!file.split('/').any(|part| part == "..")).then_some((file, line))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_may_ask_for_what_only_a_cluster_knows() {
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
