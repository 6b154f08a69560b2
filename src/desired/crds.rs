//! The custom resource definitions of a helmfile that is only rendered, as `helmfile template` does.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifests;
use super::objects::ObjectId;
use super::releases::Release;
use crate::base::fact::Fact;
use crate::base::fingerprint::sha256;
use crate::base::release_id::ReleaseId;

const API_VERSION: &str = "apiextensions.k8s.io/v1";

/// The kind of a custom resource definition.
pub(crate) const KIND: &str = "CustomResourceDefinition";

/// The annotation with the digest and the generation of a definition that k3s-boot has applied: `sha256:…@1`. Both are the same
/// as long as its spec is unchanged.
pub(crate) const APPLIED: &str = "k3s-boot/applied";

/// Keys of a release that change its manifests after Helm has rendered them.
const CHANGES_MANIFESTS: [&str; 5] =
    ["dependencies", "forceNamespace", "jsonPatches", "strategicMergePatches", "transformers"];

/// What a helmfile that is only rendered asks for.
#[derive(Default)]
pub(crate) struct Crds {
    /// Each once, in the order of the helmfile.
    pub all: Vec<Crd>,
    /// The releases whose charts cannot be rendered, and why.
    pub failures: Vec<(ReleaseId, String)>,
}

/// A custom resource definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Crd {
    /// The release whose chart contains it.
    #[serde(skip)]
    pub release: ReleaseId,
    /// Whether some values of that release were decrypted or printed by a program.
    #[serde(skip)]
    pub is_secret: bool,
    pub name: String,
    /// The digest of the manifest: `sha256:…`.
    pub digest: String,
    /// The manifest as JSON.
    pub manifest: String,
}

impl Crds {
    /// Adds the definitions of a release. Of two with the same name the last one counts, as for `kubectl apply`.
    pub(crate) fn add(&mut self, release: &Release, rendered: Fact<Vec<Crd>>) {
        match rendered {
            Ok(found) => {
                for crd in found {
                    self.all.retain(|known| known.name != crd.name);
                    self.all.push(Crd { release: release.id(), is_secret: release.has_secret_values, ..crd });
                }
            }
            Err(reason) => self.failures.push((release.id(), reason)),
        }
    }
}

impl Crd {
    fn new(mut manifest: Value) -> Option<Self> {
        let id = ObjectId::of(&manifest)?;
        // Generators of definitions leave an empty one, which belongs to the API server.
        manifest.as_object_mut()?.remove("status");
        let manifest = manifest.to_string();
        let digest = format!("sha256:{}", sha256(&manifest));
        Some(Self { name: id.name, digest, manifest, ..Self::default() })
    }

    /// The identity of a definition with this name.
    pub(crate) fn id(name: &str) -> ObjectId {
        ObjectId {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            namespace: None,
            name: name.to_owned(),
        }
    }

    /// The manifest as an object.
    pub(crate) fn object(&self) -> Value {
        serde_json::from_str(&self.manifest).unwrap_or_default()
    }

    /// The value of [`APPLIED`] once it has this generation.
    pub(crate) fn mark(&self, generation: i64) -> String {
        format!("{}@{generation}", self.digest)
    }
}

/// The names of the versions in a definition.
pub(crate) fn versions(object: &Value) -> BTreeSet<String> {
    let versions = object.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    versions.filter_map(|version| Some(version.get("name")?.as_str()?.to_owned())).collect()
}

/// The definitions among the manifests that Helm has rendered.
///
/// # Errors
///
/// A manifest is not YAML. The error never contains its content.
pub(crate) fn parse(rendered: &str) -> Fact<Vec<Crd>> {
    let mut found = Vec::new();
    for document in documents(rendered).filter(|document| document.contains(KIND)) {
        let objects = manifests::parse(document)?;
        found.extend(objects.into_iter().filter(|object| object["kind"] == KIND).filter_map(Crd::new));
    }
    Ok(found)
}

/// The documents of a text, which is mostly something else than definitions: parsing all of it would take seconds.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (document, after) = match text.find("\n---") {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(document)
    })
}

/// Why the definitions of a release cannot be rendered by Helm alone.
pub(crate) fn unsupported(release: &Release) -> Option<String> {
    if release.has_encrypted_files() {
        return Some("its `secrets` were not decrypted".to_owned());
    }
    let key = release.unsafe_features.iter().find(|key| CHANGES_MANIFESTS.contains(&key.as_str()))?;
    Some(format!("`{key}` is not supported in a helmfile that is only rendered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = "---\n# Source: a/crds/x.yaml\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
        metadata: {name: xs.example.org}\nspec:\n  versions:\n  - name: v1\n  - name: v1beta1\nstatus: {conditions: []}\n---\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: about}\ndata:\n  text: a CustomResourceDefinition\n---\n\
        broken: [\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: ys.example.org}\n";

    fn release(text: &str) -> Release {
        let text = format!("releases:\n- {{name: a, namespace: n, chart: ./a{text}}}\n");
        crate::desired::releases::parse(text.as_bytes(), "default").unwrap().releases.remove(0)
    }

    #[test]
    fn definitions_are_found_among_other_manifests() {
        let found = parse(RENDERED).unwrap();
        let names: Vec<_> = found.iter().map(|crd| crd.name.as_str()).collect();
        assert_eq!(names, ["xs.example.org", "ys.example.org"]);
        let object = found[0].object();
        assert_eq!(versions(&object), ["v1".to_owned(), "v1beta1".to_owned()].into());
        assert!(object.get("status").is_none());
        assert_eq!(found[0].mark(3), format!("{}@3", found[0].digest));
        assert_eq!(
            parse("kind: CustomResourceDefinition\na: [CANARY\n").unwrap_err(),
            "document 1 is not YAML"
        );
    }

    #[test]
    fn last_definition_of_a_name_counts() {
        let mut crds = Crds::default();
        let one = |digest: &str| Crd { name: "xs".to_owned(), digest: digest.to_owned(), ..Crd::default() };
        crds.add(&release(""), Ok(vec![one("1")]));
        crds.add(&release(""), Err("reason".to_owned()));
        crds.add(&release(""), Ok(vec![one("2")]));
        let [crd] = &crds.all[..] else { panic!("one") };
        assert_eq!((crd.release.to_string().as_str(), crd.digest.as_str()), ("n/a", "2"));
        assert_eq!(crds.failures, [("n/a".into(), "reason".to_owned())]);
    }

    #[test]
    fn what_changes_manifests_is_not_supported() {
        assert_eq!(unsupported(&release("")), None);
        assert_eq!(unsupported(&release(", postRenderer: bash")), None);
        assert!(unsupported(&release(", jsonPatches: [{a: b}]")).unwrap().starts_with("`jsonPatches` "));
        assert!(unsupported(&release(", secrets: [a.yaml]")).unwrap().contains("`secrets`"));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String, near in crate::base::mutate::text(&[RENDERED])) {
            for text in [text, near] {
                _ = parse(&text).map(|found| found.iter().map(|crd| versions(&crd.object()).len()).sum::<usize>());
            }
        }
    }
}
