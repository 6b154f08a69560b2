//! What can be made to go wrong with a sandbox, and how it is made right again.

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

use crate::flux::FluxPlay;
use crate::random::Random;
use crate::restart::Restart;
use crate::site::{Site, send};
use crate::stages::{Hold, PodPlay};
use crate::webhook::{Plan, Webhook};

/// The only node.
const NODE: &str = "node-1";
/// The values of all releases.
const VALUES: &str = "bootstrap/templates/values.yaml.gotmpl";
/// Between two looks for a moment of a run.
const STEP: Duration = Duration::from_millis(20);
/// More than a Secret can hold, and nothing that can be compressed.
const TOO_LARGE: usize = 2 << 20;

/// From when on something is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Before the run.
    Before,
    /// When helm has begun a release, of this namespace and name.
    Release(&'static str, &'static str),
}

/// Something that goes wrong.
pub(super) enum Injection {
    /// A namespace that is there, and stays.
    Namespace(&'static str),
    /// Objects that are there.
    Objects(&'static str),
    /// Objects that are there, with fields that Helm itself has set.
    HelmObjects(&'static str),
    /// Calls of kubectl that make it wrong, and those that make it right.
    Kubectl(&'static [&'static [&'static str]], &'static [&'static [&'static str]]),
    /// Texts in the values, and what stands there instead.
    Values(&'static [(&'static str, &'static str)]),
    /// The same in another file of the repository.
    File(&'static str, &'static [(&'static str, &'static str)]),
    /// A chart that is larger than helm can store, as one more release of that helmfile.
    LargeChart(&'static str),
    /// Pods of a namespace whose names begin so get into a bad state.
    Pods(&'static str, &'static str, PodPlay),
    /// The registry answers every request with this HTTP status, or so many of them.
    RegistryAnswers(u16, Option<usize>),
    /// The registry breaks off every connection.
    RegistryResets,
    /// The registry takes so much longer for each request.
    RegistrySlow(Duration),
    /// The registry shows a certificate that nobody trusts.
    RegistryStrange,
    /// The registry shows a certificate that is not yet valid.
    RegistryFuture,
    /// An admission webhook refuses new objects of these kinds in a namespace.
    Refused(&'static str, &'static [&'static str], Plan),
    /// The API server restarts as k3s does.
    ApiRestart(Restart),
    /// The API server answers nothing for so long.
    ApiFrozen(Duration),
    /// The node is not ready, for good.
    NodeNotReady,
    /// A program of that name, with that argument, is killed.
    Killed(&'static str, &'static str),
    /// The folder for temporary files has no more room than this, as `mount` has it.
    FullDisk(&'static str),
    /// A release of that namespace and name was left pending by somebody else.
    Pending(&'static str, &'static str),
    /// The `FluxInstance` is Stalled, with this message.
    Stalled(&'static str),
    /// The Git server refuses the credentials, with this message.
    GitLocked(&'static str),
    /// The age key is not the one that the repository is encrypted for.
    OtherKey,
}

impl When {
    /// Waits for the moment; false if `over` says first that it does not come any more.
    pub(super) fn wait(self, site: &Site, over: &dyn Fn() -> bool) -> bool {
        let Self::Release(namespace, name) = self else { return true };
        let path = format!("/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.{name}.v1");
        while !over() {
            // An API server that is busy is asked again.
            if site.sandbox.get(&path).is_ok_and(|record| record.is_some()) {
                return true;
            }
            std::thread::sleep(STEP);
        }
        false
    }
}

impl Injection {
    /// Makes it wrong; gives the webhook that has to stand as long as it is.
    pub(super) fn inject(&self, site: &Site) -> Result<Option<Webhook>> {
        let Site { sandbox, checkout, .. } = site;
        let faults = sandbox.registry().faults();
        match *self {
            Self::Namespace(name) => {
                apply(
                    site,
                    &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string(),
                )?;
            }
            Self::Objects(manifest) => apply(site, manifest)?,
            Self::HelmObjects(manifest) => {
                let args = ["apply", "--server-side", "--field-manager=helm", "--filename"];
                with_manifest(site, &args, manifest)?;
            }
            Self::Kubectl(calls, _) => kubectl(site, calls)?,
            Self::Values(changes) => change(site, VALUES, changes)?,
            Self::File(file, changes) => change(site, file, changes)?,
            Self::LargeChart(helmfile) => large_chart(site, helmfile)?,
            Self::Pods(namespace, prefix, play) => {
                let (namespace, prefix) = (namespace.to_owned(), prefix.to_owned());
                sandbox.hold_with(Hold { namespace, prefix, play: Some(play) })?;
            }
            Self::RegistryAnswers(status, None) => faults.answer_all(status),
            Self::RegistryAnswers(status, Some(count)) => faults.answer(count, status),
            Self::RegistryResets => faults.reset_all(),
            Self::RegistrySlow(delay) => faults.delay(delay),
            Self::RegistryStrange => sandbox.registry().show_strange_certificate()?,
            Self::RegistryFuture => sandbox.registry().show_future_certificate()?,
            Self::Refused(namespace, kinds, plan) => {
                let webhook = Webhook::start(plan)?;
                apply(site, &webhook_configuration(&webhook, namespace, kinds))?;
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
            Self::Killed(name, argument) => end(site, name, argument)?,
            // It is the command's: see `room`.
            Self::FullDisk(_) => {}
            Self::Pending(namespace, name) => apply(site, &pending(namespace, name)?)?,
            Self::Stalled(message) => sandbox.flux_stall(message),
            Self::GitLocked(message) => sandbox.lock_git(Some(message))?,
            Self::OtherKey => drop(fs::copy(sandbox.other_age_key(), checkout.root().join("age.key"))?),
        }
        Ok(None)
    }

    /// Makes it right again.
    pub(super) fn lift(&self, site: &Site) -> Result<()> {
        let Site { sandbox, checkout, .. } = site;
        match *self {
            Self::Objects(manifest) | Self::HelmObjects(manifest) => delete(site, manifest)?,
            Self::Kubectl(_, calls) => kubectl(site, calls)?,
            Self::Values(_) | Self::File(..) | Self::LargeChart(_) | Self::OtherKey => {
                checkout.ship(sandbox)?;
            }
            Self::Pods(..) => sandbox.release()?,
            Self::RegistryAnswers(..)
            | Self::RegistryResets
            | Self::RegistrySlow(_)
            | Self::RegistryStrange
            | Self::RegistryFuture => sandbox.registry().faults().clear(),
            Self::Refused(..) => {
                kubectl(site, &[&["delete", "validatingwebhookconfiguration", WEBHOOK]])?;
            }
            Self::NodeNotReady => sandbox.set_node_ready(NODE, true)?,
            // `helm` itself would unlock nothing.
            Self::Pending(namespace, name) => delete(site, &pending(namespace, name)?)?,
            Self::Stalled(_) => sandbox.flux_play(FluxPlay::Works),
            Self::GitLocked(_) => sandbox.lock_git(None)?,
            // They are over by themselves, or harm nobody.
            Self::Namespace(_)
            | Self::ApiRestart(_)
            | Self::ApiFrozen(_)
            | Self::Killed(..)
            | Self::FullDisk(_) => {}
        }
        Ok(())
    }

    /// How much room is left for temporary files, if that is what is wrong.
    pub(super) fn room(&self) -> Option<&'static str> {
        match self {
            Self::FullDisk(size) => Some(size),
            _ => None,
        }
    }
}

/// The webhook's configuration.
const WEBHOOK: &str = "sandbox-refuses";

fn webhook_configuration(webhook: &Webhook, namespace: &str, kinds: &[&str]) -> String {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [{
            "name": "refuses.sandbox.invalid",
            "admissionReviewVersions": ["v1"],
            "clientConfig": webhook.client_config(),
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": kinds}],
            "sideEffects": "None",
        }],
    })
    .to_string()
}

/// A record of helm of a release that is being installed, as one that was killed leaves it.
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

fn large_chart(site: &Site, helmfile: &str) -> Result<()> {
    let folder = "bootstrap/charts/large";
    site.checkout.write(&format!("{folder}/Chart.yaml"), "apiVersion: v2\nname: large\nversion: 1.0.0\n")?;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: large\n";
    site.checkout.write(&format!("{folder}/templates/map.yaml"), template)?;
    let mut random = Random::new(1);
    let bytes: Vec<_> = (0..TOO_LARGE / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    site.checkout.write(&format!("{folder}/files/noise"), &STANDARD.encode(bytes))?;
    let path = site.checkout.root().join(helmfile);
    let release = "\n  - name: large\n    namespace: kube-system\n    chart: ../charts/large\n    \
                   needs: ['kube-system/cilium']\n";
    let text = fs::read_to_string(&path)?;
    site.checkout.write(helmfile, &format!("{text}{release}"))
}

fn change(site: &Site, file: &str, changes: &[(&str, &str)]) -> Result<()> {
    let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, (*to).to_owned())).collect();
    site.checkout.change(file, &changes)
}

fn apply(site: &Site, manifest: &str) -> Result<()> {
    with_manifest(site, &["apply", "--server-side", "--force-conflicts", "--filename"], manifest)
}

fn delete(site: &Site, manifest: &str) -> Result<()> {
    with_manifest(site, &["delete", "--ignore-not-found", "--filename"], manifest)
}

fn with_manifest(site: &Site, args: &[&str], manifest: &str) -> Result<()> {
    let file = site.checkout.folder().join("fault.yaml");
    fs::write(&file, manifest)?;
    site.sandbox.kubectl(&[args, &[&file.to_string_lossy()]].concat()).map(drop)
}

fn kubectl(site: &Site, calls: &[&[&str]]) -> Result<()> {
    calls.iter().try_for_each(|call| site.sandbox.kubectl(call).map(drop))
}

/// Kills a program under test, once it runs.
fn end(site: &Site, name: &str, argument: &str) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(10);
    while Instant::now() < limit {
        for pid in site.running()? {
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
    fn a_pending_record_is_one_of_helm() {
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
