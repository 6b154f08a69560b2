//! Injects faults into a sandbox and removes them.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::fixture::{Fixture, send};
use crate::flux::FluxBehavior;
use crate::random::Random;
use crate::restart::Restart;
use crate::stages::{Hold, PodBehavior};
use crate::webhook::{Webhook, WebhookBehavior};

/// The only node.
const NODE: &str = "node-1";
/// The values of all releases.
const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";
/// Time between two checks for a moment of a run.
const STEP: Duration = Duration::from_millis(20);
/// Bytes that cannot be compressed, more than a Secret can hold.
const TOO_LARGE: usize = 2 << 20;

/// When a fault is injected.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Before the run.
    Before,
    /// When helm has started on the release with this namespace and name.
    Release(&'static str, &'static str),
}

/// A fault, or a part of one.
pub(super) enum Injection {
    /// An existing namespace, which is not removed.
    Namespace(&'static str),
    /// Existing objects.
    Objects(&'static str),
    /// Existing objects whose fields are managed by Helm.
    HelmObjects(&'static str),
    /// kubectl commands that inject the fault, and those that remove it.
    Kubectl(&'static [&'static [&'static str]], &'static [&'static [&'static str]]),
    /// Replacements in the values of the releases.
    Values(&'static [(&'static str, &'static str)]),
    /// Replacements in another file of the repository.
    File(&'static str, &'static [(&'static str, &'static str)]),
    /// An additional release in this helmfile, with a chart that is too large for helm.
    LargeChart(&'static str),
    /// Bad pods in this namespace, with this name prefix.
    Pods(&'static str, &'static str, PodBehavior),
    /// The registry answers with this HTTP status: every request, or the next N.
    RegistryAnswers(u16, Option<usize>),
    /// The registry resets every connection.
    RegistryResets,
    /// The registry delays each answer.
    RegistrySlow(Duration),
    /// The registry has a certificate of an unknown authority.
    RegistryUntrustedCertificate,
    /// The registry has a certificate that is not yet valid.
    RegistryFutureCertificate,
    /// An admission webhook denies new objects of these kinds in a namespace.
    AdmissionDenied(&'static str, &'static [&'static str], WebhookBehavior),
    /// The API server restarts like the one of k3s.
    ApiRestart(Restart),
    /// The API server does not answer for this time.
    ApiFrozen(Duration),
    /// The node stays `NotReady`.
    NodeNotReady,
    /// The program with this name and argument is killed.
    Killed(&'static str, &'static str),
    /// The disk for temporary files has this size, in the format of `mount`.
    FullDisk(&'static str),
    /// Another helm has left the release with this namespace and name in `pending-install`.
    Pending(&'static str, &'static str),
    /// The `FluxInstance` is Stalled with this message.
    Stalled(&'static str),
    /// The Git server refuses all requests with this HTTP status.
    GitDenied(u16),
    /// The age key cannot decrypt the repository.
    WrongAgeKey,
}

impl When {
    /// Waits for the moment; false if the run is finished before.
    pub(super) fn wait(self, fixture: &Fixture, is_finished: &dyn Fn() -> bool) -> bool {
        let Self::Release(namespace, name) = self else { return true };
        let path = format!("/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.{name}.v1");
        while !is_finished() {
            // A busy API server may return an error.
            if fixture.sandbox.get(&path).is_ok_and(|record| record.is_some()) {
                return true;
            }
            std::thread::sleep(STEP);
        }
        false
    }
}

impl Injection {
    /// Injects it; returns the webhook that must run until it is removed.
    pub(super) fn inject(&self, fixture: &Fixture) -> Result<Option<Webhook>> {
        let Fixture { sandbox, checkout, .. } = fixture;
        let faults = sandbox.registry().faults();
        match *self {
            Self::Namespace(name) => {
                apply(
                    fixture,
                    &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string(),
                )?;
            }
            Self::Objects(manifest) => apply(fixture, manifest)?,
            Self::HelmObjects(manifest) => {
                let args = ["apply", "--server-side", "--field-manager=helm", "--filename"];
                with_manifest(fixture, &args, manifest)?;
            }
            Self::Kubectl(calls, _) => kubectl(fixture, calls)?,
            Self::Values(changes) => change(fixture, VALUES, changes)?,
            Self::File(file, changes) => change(fixture, file, changes)?,
            Self::LargeChart(helmfile) => large_chart(fixture, helmfile)?,
            Self::Pods(namespace, prefix, behavior) => {
                let (namespace, prefix) = (namespace.to_owned(), prefix.to_owned());
                sandbox.hold_with(Hold { namespace, prefix, behavior: Some(behavior) })?;
            }
            Self::RegistryAnswers(status, None) => faults.answer_all(status),
            Self::RegistryAnswers(status, Some(count)) => faults.answer(count, status),
            Self::RegistryResets => faults.reset_all(),
            Self::RegistrySlow(delay) => faults.delay(delay),
            Self::RegistryUntrustedCertificate => sandbox.registry().show_strange_certificate()?,
            Self::RegistryFutureCertificate => sandbox.registry().show_future_certificate()?,
            Self::AdmissionDenied(namespace, kinds, plan) => {
                let webhook = Webhook::start(plan)?;
                apply(fixture, &webhook_configuration(&webhook, namespace, kinds))?;
                return Ok(Some(webhook));
            }
            Self::ApiRestart(restart) => sandbox.api_restart(restart)?,
            Self::ApiFrozen(time) => {
                let processes = sandbox.processes();
                let server = processes.iter().find(|(name, _)| name == "kube-apiserver");
                let (_, pid) = server.context("there is no API server")?;
                send(*pid, Signal::SIGSTOP)?;
                std::thread::sleep(time);
                send(*pid, Signal::SIGCONT)?;
            }
            Self::NodeNotReady => sandbox.set_node_ready(NODE, false)?,
            Self::Killed(name, argument) => kill(fixture, name, argument)?,
            // Part of the command: see `disk_size`.
            Self::FullDisk(_) => {}
            Self::Pending(namespace, name) => apply(fixture, &pending(namespace, name)?)?,
            Self::Stalled(message) => sandbox.flux_stall(message),
            Self::GitDenied(status) => sandbox.lock_git(Some(status))?,
            Self::WrongAgeKey => drop(fs::copy(sandbox.other_age_key(), checkout.root().join("age.key"))?),
        }
        Ok(None)
    }

    pub(super) fn remove(&self, fixture: &Fixture) -> Result<()> {
        let Fixture { sandbox, checkout, .. } = fixture;
        match *self {
            Self::Objects(manifest) | Self::HelmObjects(manifest) => delete(fixture, manifest)?,
            Self::Kubectl(_, calls) => kubectl(fixture, calls)?,
            Self::Values(_) | Self::File(..) | Self::LargeChart(_) | Self::WrongAgeKey => {
                checkout.ship(sandbox)?;
            }
            Self::Pods(..) => sandbox.release()?,
            Self::RegistryAnswers(..)
            | Self::RegistryResets
            | Self::RegistrySlow(_)
            | Self::RegistryUntrustedCertificate
            | Self::RegistryFutureCertificate => sandbox.registry().faults().clear(),
            Self::AdmissionDenied(..) => {
                kubectl(fixture, &[&["delete", "validatingwebhookconfiguration", WEBHOOK]])?;
            }
            Self::NodeNotReady => sandbox.set_node_ready(NODE, true)?,
            // helm never recovers a release in `pending-*` by itself.
            Self::Pending(namespace, name) => delete(fixture, &pending(namespace, name)?)?,
            Self::Stalled(_) => sandbox.set_flux_behavior(FluxBehavior::Works),
            Self::GitDenied(_) => sandbox.lock_git(None)?,
            // These end by themselves, or do no harm.
            Self::Namespace(_)
            | Self::ApiRestart(_)
            | Self::ApiFrozen(_)
            | Self::Killed(..)
            | Self::FullDisk(_) => {}
        }
        Ok(())
    }

    /// The size of the disk for temporary files, if it is limited.
    pub(super) fn disk_size(&self) -> Option<&'static str> {
        match self {
            Self::FullDisk(size) => Some(size),
            _ => None,
        }
    }
}

/// The name of the webhook's configuration.
const WEBHOOK: &str = "sandbox-denies";

fn webhook_configuration(webhook: &Webhook, namespace: &str, kinds: &[&str]) -> String {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [{
            "name": "denies.sandbox.invalid",
            "admissionReviewVersions": ["v1"],
            "clientConfig": webhook.client_config(),
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": kinds}],
            "sideEffects": "None",
        }],
    })
    .to_string()
}

/// The Secret that a killed `helm install` leaves.
fn pending(namespace: &str, name: &str) -> Result<String> {
    let record = json!({
        "name": name,
        "namespace": namespace,
        "version": 1,
        "info": {"status": "pending-install", "description": "Initial install underway"},
        "chart": {"metadata": {"name": name, "version": "0.0.1", "apiVersion": "v2"}, "templates": [], "values": {}},
        "config": {},
        "manifest": "",
    });
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(record.to_string().as_bytes())?;
    let data = STANDARD.encode(STANDARD.encode(packed.finish()?));
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {
            "name": format!("sh.helm.release.v1.{name}.v1"),
            "namespace": namespace,
            "labels": {"owner": "helm", "name": name, "status": "pending-install", "version": "1"},
        },
        "data": {"release": data},
    });
    Ok(secret.to_string())
}

fn large_chart(fixture: &Fixture, helmfile: &str) -> Result<()> {
    let folder = "bootstrap/charts/large";
    fixture
        .checkout
        .write(&format!("{folder}/Chart.yaml"), "apiVersion: v2\nname: large\nversion: 1.0.0\n")?;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: large\n";
    fixture.checkout.write(&format!("{folder}/templates/map.yaml"), template)?;
    let mut random = Random::new(1);
    let bytes: Vec<_> = (0..TOO_LARGE / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    fixture.checkout.write(&format!("{folder}/files/noise"), &STANDARD.encode(bytes))?;
    let path = fixture.checkout.root().join(helmfile);
    let release = "\n  - name: large\n    namespace: kube-system\n    chart: ../charts/large\n    \
                   needs: ['kube-system/cilium']\n";
    let text = fs::read_to_string(&path)?;
    fixture.checkout.write(helmfile, &format!("{text}{release}"))
}

fn change(fixture: &Fixture, file: &str, changes: &[(&str, &str)]) -> Result<()> {
    let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    fixture.checkout.change(file, &changes)
}

fn apply(fixture: &Fixture, manifest: &str) -> Result<()> {
    with_manifest(fixture, &["apply", "--server-side", "--force-conflicts", "--filename"], manifest)
}

fn delete(fixture: &Fixture, manifest: &str) -> Result<()> {
    with_manifest(fixture, &["delete", "--ignore-not-found", "--filename"], manifest)
}

fn with_manifest(fixture: &Fixture, args: &[&str], manifest: &str) -> Result<()> {
    let file = fixture.checkout.folder().join("fault.yaml");
    fs::write(&file, manifest)?;
    fixture.sandbox.kubectl(&[args, &[&file.to_string_lossy()]].concat()).map(drop)
}

fn kubectl(fixture: &Fixture, calls: &[&[&str]]) -> Result<()> {
    calls.iter().try_for_each(|call| fixture.sandbox.kubectl(call).map(drop))
}

/// Waits for a program under test and kills it.
fn kill(fixture: &Fixture, name: &str, argument: &str) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(10);
    while Instant::now() < limit {
        for pid in fixture.running()? {
            let Ok(command) = fs::read_to_string(format!("/proc/{pid}/cmdline")) else { continue };
            let mut words = command.split('\0');
            let program = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            if program == name && words.any(|word| word == argument) {
                return send(pid, Signal::SIGKILL);
            }
        }
        std::thread::sleep(STEP);
    }
    anyhow::bail!("no `{name} {argument}` ran")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_release_has_the_format_of_helm() {
        let text = pending("kube-system", "coredns").unwrap();
        let secret: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(secret["metadata"]["name"], "sh.helm.release.v1.coredns.v1");
        let once = STANDARD.decode(secret["data"]["release"].as_str().unwrap()).unwrap();
        let packed = STANDARD.decode(once).unwrap();
        let record: serde_json::Value =
            serde_json::from_reader(flate2::read::GzDecoder::new(packed.as_slice())).unwrap();
        assert_eq!(record["info"]["status"], "pending-install");
    }
}
