//! Simulates helm-controller, whose module is not served: runs helm with the chart and the values of each HelmRelease.
//!
//! Like helm-controller, it upgrades a release that something else has installed once, and then leaves it alone until the
//! HelmRelease changes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::operator::{path_of, watch_until_established};
use crate::kube::Client;
use crate::process::{run_with_input, wait_for};
use crate::time::now;

const SOURCE_TIMEOUT: Duration = Duration::from_secs(30);

const NAME: &str = "helmreleases.helm.toolkit.fluxcd.io";
const PATH: &str = "/apis/helm.toolkit.fluxcd.io/v2/helmreleases";

/// The kind, without a schema.
pub(super) fn crd() -> String {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "helm.toolkit.fluxcd.io",
            "scope": "Namespaced",
            "names": {"kind": "HelmRelease", "listKind": "HelmReleaseList", "plural": "helmreleases", "singular": "helmrelease"},
            "versions": [{
                "name": "v2", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
            }],
        },
    })
    .to_string()
}

#[derive(Debug)]
pub(super) struct HelmController {
    client: Client,
    helm: PathBuf,
    folder: PathBuf,
    kubeconfig: PathBuf,
    proxy: String,
    ca_file: PathBuf,
}

impl HelmController {
    pub(super) fn new(
        client: Client,
        helm: PathBuf,
        folder: &Path,
        kubeconfig: PathBuf,
        proxy: &str,
        ca_file: &Path,
    ) -> Self {
        let (folder, proxy, ca_file) = (folder.join("helm-controller"), proxy.to_owned(), ca_file.to_owned());
        Self { client, helm, folder, kubeconfig, proxy, ca_file }
    }

    pub(super) fn watch(&self, stop: &AtomicBool) {
        watch_until_established(&self.client, NAME, stop);
        self.client.watch(PATH, stop, |event| {
            let release = event.object;
            let is_new = release["status"]["observedGeneration"] != release["metadata"]["generation"];
            if event.kind != "DELETED"
                && is_new
                && release["spec"]["suspend"] != true
                && !stop.load(Ordering::Relaxed)
            {
                let (status, reason, message) = match self.upgrade(&release) {
                    Ok(()) => ("True", "UpgradeSucceeded", "Helm upgrade succeeded".to_owned()),
                    Err(error) => ("False", "UpgradeFailed", format!("{error:#}")),
                };
                // After an outage, the API server sends the object again.
                drop(self.set_status(&release, status, reason, &message));
            }
            ControlFlow::Continue(())
        });
    }

    fn upgrade(&self, release: &Value) -> Result<()> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let namespace =
            text(&release["metadata"]["namespace"]).context("the HelmRelease has no namespace")?;
        let name = text(&release["spec"]["releaseName"]).or_else(|| text(&release["metadata"]["name"]));
        let name = name.context("the HelmRelease has no name")?;
        let source = &release["spec"]["chartRef"];
        anyhow::ensure!(source["kind"] == "OCIRepository", "the sandbox cannot simulate this source");
        let source = text(&source["name"]).context("the HelmRelease has no source")?;
        let path =
            format!("/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/ocirepositories/{source}");
        // Flux applies it at the same time.
        let source = wait_for("the OCIRepository", SOURCE_TIMEOUT, || self.client.get(&path))?;
        let url = text(&source["spec"]["url"]).context("the OCIRepository has no URL")?;
        let tag = text(&source["spec"]["ref"]["tag"]).context("the OCIRepository has no tag")?;
        let mut helm = Command::new(&self.helm);
        helm.args([
            "upgrade",
            "--install",
            &name,
            &url,
            "--version",
            &tag,
            "--namespace",
            &namespace,
            "--values",
            "-",
        ])
        .env("KUBECONFIG", &self.kubeconfig)
        .env("HOME", &self.folder)
        .env("HTTPS_PROXY", &self.proxy)
        .env("NO_PROXY", "127.0.0.1")
        .env("SSL_CERT_FILE", &self.ca_file);
        run_with_input(&mut helm, release["spec"]["values"].to_string().as_bytes()).map(drop)
    }

    fn set_status(&self, release: &Value, status: &str, reason: &str, message: &str) -> Result<()> {
        let metadata = &release["metadata"];
        let condition = json!({
            "type": "Ready", "status": status, "reason": reason, "message": message,
            "observedGeneration": metadata["generation"], "lastTransitionTime": now(),
        });
        let status = json!({"observedGeneration": metadata["generation"], "conditions": [condition]});
        self.client.merge(&format!("{}/status", path_of(release)?), &json!({"status": status})).map(drop)
    }
}
