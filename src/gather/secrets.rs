//! Decrypts the objects for the cluster, and reads which of them exist.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use secrecy::ExposeSecret;

use super::files::Files;
use crate::base::error::Error;
use crate::base::fact::{Fact, known};
use crate::base::files;
use crate::base::finding::{Finding, Findings};
use crate::base::fingerprint::HashKey;
use crate::base::redact::Redactor;
use crate::desired::encrypted::decrypted_values;
use crate::desired::objects::{self, Object, ObjectId};
use crate::observed::kinds::Kinds;
use crate::observed::objects::LiveObject;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// The decrypted objects and those that exist in the cluster; moves problems into `findings`.
pub(super) fn keep(
    secrets: Result<Secrets, Vec<Finding>>,
    findings: &mut Findings,
) -> (Vec<Object>, Fact<BTreeMap<ObjectId, LiveObject>>) {
    match secrets {
        Ok(Secrets { objects, observed }) => (objects, observed),
        Err(problems) => {
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
    tools: &Toolbox,
    settings: &Settings,
    files: &Files,
    key: &HashKey,
    redactor: &Redactor,
) -> Result<Result<Secrets, Vec<Finding>>, Error> {
    let mut objects = Vec::new();
    let mut findings = Findings::default();
    if let Some((_, selection)) = &files.age_key {
        redactor.add(selection.identities.iter().map(ExposeSecret::expose_secret));
        objects.extend(Object::sops_age(selection, &settings.age_key, key, redactor));
    }
    if settings.offline {
        // Nothing is decrypted: the CI of a repository has no key.
        return Ok(Ok(Secrets { objects: Vec::new(), observed: Err("not asked".to_owned()) }));
    }
    if !files.programs.iter().any(|program| program.name == "sops" && program.path.is_some()) {
        return Ok(Ok(Secrets { objects, observed: Err("sops is not installed".to_owned()) }));
    }
    let decrypting = files.encrypted.iter().map(|path| tools.sops_decrypt(path));
    for (path, decrypted) in files.encrypted.iter().zip(join_all(decrypting).await) {
        let parsed = decrypted?.and_then(|text| {
            if let Ok(encrypted) = files::text(path, files::LARGEST) {
                redactor.add(decrypted_values(&encrypted, text.expose_secret()).iter().map(String::as_str));
            }
            objects::parse(path, &text, key, redactor)
        });
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    if !findings.0.is_empty() {
        return Ok(Err(findings.0));
    }
    if files.target.is_none() {
        let unread = Err("no cluster is selected".to_owned());
        return Ok(objects::merge(objects).map(|objects| Secrets { objects, observed: unread }));
    }
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
    for object in &mut objects {
        match kinds.of(&object.id.kind, object.id.group()) {
            Some(resource) if resource.has_version(object.id.version()) => {
                if resource.namespaced {
                    object.place_in_namespace();
                }
            }
            _ => unknown.push(
                Finding::error(
                    "sops",
                    "Encrypted file contains an object of a kind that the cluster does not know",
                )
                .with("file", object.source.display())
                .with("kind", format!("{} {}", object.id.api_version, object.id.kind))
                .fix("correct `apiVersion` and `kind`; `kubectl api-resources` lists the available ones"),
            ),
        }
    }
    if unknown.is_empty() { Ok(objects) } else { Err(unknown) }
}
