//! Reads the objects for the cluster from encrypted files, commands and manifests, and which of them exist.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use futures_util::future::join_all;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::Context;
use super::commands::CommandOutput;
use super::files::Files;
use super::manifests;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::files;
use crate::base::finding::{Finding, Findings};
use crate::base::fingerprint::HashKey;
use crate::desired::encrypted::decrypted_values;
use crate::desired::object_source::ObjectSource;
use crate::desired::objects::{self, Object, ObjectId};
use crate::observed::kinds::{Kinds, Resource};
use crate::observed::objects::LiveObject;
use crate::process::Runner;

/// The decrypted objects and those that exist in the cluster; moves problems into `findings`, except that sops cannot use an
/// age key which they report already.
pub(super) fn keep(
    secrets: Result<Secrets, Vec<Finding>>,
    runner: &Runner,
    findings: &mut Findings,
) -> (Vec<Object>, Fact<BTreeMap<ObjectId, LiveObject>>) {
    match secrets {
        Ok(Secrets { objects, observed }) => (objects, observed),
        Err(mut problems) => {
            let file = runner.variable("SOPS_AGE_KEY_FILE").map(OsStr::to_string_lossy);
            let is_same =
                |finding: &Finding| finding.rule == "age-key" && finding.detail("file") == file.as_deref();
            if file.is_some() && findings.0.iter().any(is_same) {
                let of_key = "failed to parse 'SOPS_AGE_KEY_FILE' age identities";
                problems.retain(|problem| {
                    !problem.detail("reason").is_some_and(|reason| reason.contains(of_key))
                });
            }
            findings.0.extend(problems);
            // The findings already report the reason.
            (Vec::new(), Ok(BTreeMap::new()))
        }
    }
}

pub(super) struct Secrets {
    objects: Vec<Object>,
    observed: Fact<BTreeMap<ObjectId, LiveObject>>,
}

/// Decrypts the objects for the cluster in memory, and reads which of them exist.
pub(super) async fn decrypt(
    context: Context<'_>,
    files: &Files,
    outputs: &CommandOutput,
    key: &HashKey,
) -> Result<Result<Secrets, Vec<Finding>>, Error> {
    let Context { settings, tools, redactor, .. } = context;
    let mut objects = Vec::new();
    let mut findings = Findings::default();
    if let Some((_, selection)) = &files.age_key {
        redactor.add(selection.identities.iter().map(ExposeSecret::expose_secret));
        objects.extend(Object::sops_age(selection, &settings.age_key, key, redactor));
    }
    for (source, text) in manifests::read(context).await? {
        let parsed = text.and_then(|text| objects::parse(&source, &text, key, redactor));
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    if settings.offline {
        // Nothing is decrypted: the CI of a repository has no key.
        let observed = Err("not asked".to_owned());
        let nothing = Secrets { objects: Vec::new(), observed };
        return Ok(if findings.0.is_empty() { Ok(nothing) } else { Err(findings.0) });
    }
    let has_sops = files.programs.iter().any(|program| program.name == "sops" && program.path.is_some());
    if !has_sops && !files.encrypted.is_empty() {
        return Ok(Ok(Secrets { objects, observed: Err("sops is not installed".to_owned()) }));
    }
    let decrypting = files.encrypted.iter().map(|path| tools.sops_decrypt(path));
    for (path, decrypted) in files.encrypted.iter().zip(join_all(decrypting).await) {
        let parsed = decrypted?.and_then(|text| {
            if let Ok(encrypted) = files::text(path, files::LARGEST) {
                redactor.add(decrypted_values(&encrypted, text.expose_secret()).iter().map(String::as_str));
            }
            objects::parse(&ObjectSource::Encrypted(path.clone()), &text, key, redactor)
        });
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    for (source, output) in outputs {
        let parsed = output.clone().and_then(|text| objects::parse(source, &text, key, redactor));
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    if !findings.0.is_empty() {
        return Ok(Err(findings.0));
    }
    if files.target.is_none() {
        let unread = Err("no cluster is selected".to_owned());
        return Ok(objects::merge(objects).map(|objects| Secrets { objects, observed: unread }));
    }
    // Those of secrets come first.
    objects.sort_by_key(|object| object.source.stage());
    let kinds = if objects.iter().all(|object| object.id.is_core()) {
        Ok(Kinds::core())
    } else {
        known(tools.observe_kinds().await)?
    };
    let merged = match &kinds {
        Ok(kinds) => set_namespaces(objects, kinds).and_then(objects::merge),
        Err(_) => objects::merge(objects),
    };
    match (merged, kinds) {
        (Err(problems), _) => Ok(Err(problems)),
        (Ok(objects), Err(reason)) => Ok(Ok(Secrets { objects, observed: Err(reason) })),
        (Ok(objects), Ok(kinds)) => {
            let observed = known(tools.observe_objects(&objects, &kinds, key).await)?;
            Ok(Ok(Secrets { objects, observed }))
        }
    }
}

/// Sets the namespace of objects whose kind is namespaced.
///
/// # Errors
///
/// Kinds or versions that the API server does not know: kubectl would stop half-way there.
fn set_namespaces(mut objects: Vec<Object>, kinds: &Kinds) -> Result<Vec<Object>, Vec<Finding>> {
    let mut unknown = Vec::new();
    let kinds = with_defined(kinds, &objects);
    for object in &mut objects {
        match kinds.of(&object.id.kind, object.id.group()) {
            Some(resource) if resource.has_version(object.id.version()) => {
                if resource.namespaced {
                    object.place_in_namespace();
                }
            }
            _ => unknown.push(
                object
                    .source
                    .problem("contains an object of a kind that the cluster does not know")
                .with("kind", format!("{} {}", object.id.api_version, object.id.kind))
                .fix("correct `apiVersion` and `kind`, or apply its CRD before, with `manifests` in k3s-boot.yaml; `kubectl api-resources` lists the available kinds"),
            ),
        }
    }
    if unknown.is_empty() { Ok(objects) } else { Err(unknown) }
}

/// The kinds that the cluster knows, and those whose CRDs are among the objects.
fn with_defined(kinds: &Kinds, objects: &[Object]) -> Kinds {
    let mut kinds = kinds.clone();
    for object in objects.iter().filter(|object| object.id.is_crd()) {
        let crd = serde_json::from_str(object.manifest.expose_secret());
        for (kind, resource) in crd.as_ref().map(defined).unwrap_or_default() {
            if !kinds.of(&kind, &resource.group).is_some_and(|known| known.has_version(&resource.version)) {
                kinds.add(&kind, resource);
            }
        }
    }
    kinds
}

/// The kind that a CRD defines, once for each version.
fn defined(crd: &Value) -> Vec<(String, Resource)> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let resource = |version: &Value| {
        let resource = Resource {
            group: text("/spec/group"),
            version: version.get("name")?.as_str()?.to_owned(),
            plural: text("/spec/names/plural"),
            namespaced: text("/spec/scope") == "Namespaced",
            ..Resource::default()
        };
        Some((text("/spec/names/kind"), resource))
    };
    versions.filter_map(resource).collect()
}
