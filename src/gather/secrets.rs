//! Decrypting what goes into the cluster, and looking at what of it is there.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use secrecy::ExposeSecret;

use super::files::Files;
use super::known;
use crate::check::{Finding, Findings};
use crate::desired::objects::{self, Object, ObjectId};
use crate::error::Error;
use crate::fingerprint::HashKey;
use crate::observed::Known;
use crate::observed::objects::LiveObject;
use crate::redact::Redactor;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// What was decrypted, and what of it is in the cluster already.
pub(super) fn keep(
    secrets: Result<Secrets, Vec<Finding>>,
    findings: &mut Findings,
) -> (Vec<Object>, Known<BTreeMap<ObjectId, LiveObject>>) {
    match secrets {
        Ok(Secrets { objects, observed }) => (objects, observed),
        Err(problems) => {
            findings.0.extend(problems);
            // Why is told already.
            (Vec::new(), Ok(BTreeMap::new()))
        }
    }
}

pub(super) struct Secrets {
    objects: Vec<Object>,
    observed: Known<BTreeMap<ObjectId, LiveObject>>,
}

/// Decrypts what goes into the cluster, in memory, and looks at what of it is there.
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
        // Nothing is decrypted: a repository's CI has no key.
        return Ok(Ok(Secrets { objects: Vec::new(), observed: Err("not asked".to_owned()) }));
    }
    if !files.programs.iter().any(|program| program.name == "sops" && program.path.is_some()) {
        return Ok(Ok(Secrets { objects, observed: Err("sops is not there".to_owned()) }));
    }
    let decrypting = files.encrypted.iter().map(|path| tools.sops_decrypt(path));
    for (path, decrypted) in files.encrypted.iter().zip(join_all(decrypting).await) {
        let parsed = decrypted?.and_then(|text| objects::parse(path, &text, key, redactor));
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    if !findings.0.is_empty() {
        return Ok(Err(findings.0));
    }
    match objects::merge(objects) {
        Err(problems) => Ok(Err(problems)),
        Ok(objects) => {
            let observed = if files.target.is_some() {
                known(tools.observe_objects(&objects, key).await)?
            } else {
                Err("no cluster is named".to_owned())
            };
            Ok(Ok(Secrets { objects, observed }))
        }
    }
}
