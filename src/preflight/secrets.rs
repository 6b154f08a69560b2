//! Decrypting what goes into the cluster, and looking at what of it is there.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use secrecy::ExposeSecret;

use super::cannot_read;
use super::files::Files;
use crate::check::{Finding, Findings};
use crate::desired::objects::{self, Object};
use crate::error::Error;
use crate::fingerprint::HashKey;
use crate::observed::objects::LiveObject;
use crate::process::ProcessError;
use crate::redact::Redactor;
use crate::settings::Settings;
use crate::tools::Toolbox;

/// A cluster that does not answer is told once, by what asked for its version.
pub(super) fn keep(
    secrets: Result<Secrets, Vec<Finding>>,
    answers: bool,
    findings: &mut Findings,
) -> (Vec<Object>, BTreeMap<objects::ObjectId, LiveObject>) {
    match secrets {
        Ok(Secrets { objects, observed: Ok(live) }) => (objects, live),
        Ok(Secrets { objects, observed: Err(error) }) => {
            findings.0.extend(answers.then(|| cannot_read(&error)));
            (objects, BTreeMap::new())
        }
        Err(problems) => {
            findings.0.extend(problems);
            (Vec::new(), BTreeMap::new())
        }
    }
}

pub(super) struct Secrets {
    objects: Vec<Object>,
    observed: Result<BTreeMap<objects::ObjectId, LiveObject>, Error>,
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
    if let Some(selection) = &files.age_key {
        redactor.add(selection.identities.iter().map(ExposeSecret::expose_secret));
        objects.extend(Object::sops_age(selection, &settings.age_key, key, redactor));
    }
    let decrypting = files.encrypted.iter().map(|path| tools.sops_decrypt(path));
    for (path, decrypted) in files.encrypted.iter().zip(join_all(decrypting).await) {
        let parsed = decrypted?.and_then(|text| objects::parse(path, &text, key, redactor));
        objects.extend(findings.keep(parsed).into_iter().flatten());
    }
    if findings.stop() {
        return Ok(Err(findings.0));
    }
    match objects::merge(objects) {
        Err(problems) => Ok(Err(problems)),
        Ok(objects) => {
            let observed = match tools.observe_objects(&objects, key).await {
                Err(error @ Error::Process(ProcessError::Interrupted { .. })) => return Err(error),
                other => other,
            };
            Ok(Ok(Secrets { objects, observed }))
        }
    }
}
