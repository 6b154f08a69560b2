//! The audit log of the API server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::control_plane::ADMIN;
use crate::kube::Client;
use crate::process::wait_for;

/// A position in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// One answered request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The authenticated user.
    pub user: AuditUser,
    /// The user that was impersonated.
    #[serde(default)]
    pub impersonated_user: Option<AuditUser>,
    /// For example `Helm/…`, `kubectl/…`, `kustomize-controller/…`.
    #[serde(default)]
    pub user_agent: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// The requested object.
    #[serde(default)]
    pub object_ref: Option<ObjectRef>,
    /// `ResponseComplete`.
    pub stage: String,
    /// The answer.
    #[serde(default)]
    pub response_status: Option<AuditStatus>,
}

/// A user in the audit log.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct AuditUser {
    /// The name.
    #[serde(default)]
    pub username: String,
}

/// An object in the audit log. Fields that the request did not set are empty.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Plural, lower case.
    pub resource: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The API group.
    pub api_group: String,
    /// For example `status` or `scale`.
    pub subresource: String,
}

/// An answer in the audit log.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct AuditStatus {
    /// The HTTP status.
    #[serde(default)]
    pub code: u16,
}

impl AuditEvent {
    /// Whether this was a server-side dry run.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.uri.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair == "dryRun=All"))
    }

    /// Whether the program under test sent the request (helm, kubectl, helmfile or k3s-boot with the kubeconfig of the sandbox),
    /// not a component, a controller or the sandbox itself.
    #[must_use]
    pub fn is_from_admin(&self) -> bool {
        self.user.username == ADMIN && self.impersonated_user.is_none()
    }

    /// Whether this is a change by the program under test. Reviews of access rights are `create` requests that change nothing.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        let changes =
            matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        let is_review = self.object_ref.as_ref().is_some_and(|object| {
            object.resource.starts_with("selfsubject") && object.resource.ends_with("reviews")
        });
        self.is_from_admin() && changes && !is_review && !self.is_dry_run()
    }
}

/// Reads the audit log of a cluster.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    client: Client,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf, client: Client) -> Self {
        Self { path, client }
    }

    /// The current end of the log: all requests answered before this call are before it.
    pub(crate) fn mark(&self) -> Result<Mark> {
        self.flush()?;
        Ok(Mark(fs::metadata(&self.path)?.len()))
    }

    /// The requests since `mark`.
    pub(crate) fn since(&self, mark: Mark) -> Result<Vec<AuditEvent>> {
        // Without an API server, no requests are answered, and the log is complete.
        drop(self.flush());
        parse(&self.path, mark.0)
    }

    /// Sends a unique request and waits until it is in the log.
    fn flush(&self) -> Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let unique =
            format!("/readyz?sandbox={}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let start = fs::metadata(&self.path).map_or(0, |file| file.len());
        self.client.get_raw(&unique)?;
        wait_for("the audit log", Duration::from_secs(10), || {
            Ok(parse(&self.path, start)?.iter().any(|event| event.uri == unique).then_some(()))
        })
    }
}

fn parse(path: &Path, from: u64) -> Result<Vec<AuditEvent>> {
    let log = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let new = log.get(usize::try_from(from)?..).unwrap_or_default();
    // A last line without a line feed is still being written.
    let end = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    new[..end]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).context("cannot read a line of the audit log"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: &str, verb: &str, uri: &str, resource: &str) -> AuditEvent {
        serde_json::from_value(serde_json::json!({
            "verb": verb, "user": {"username": user}, "requestURI": uri, "stage": "ResponseComplete",
            "objectRef": {"resource": resource},
        }))
        .unwrap()
    }

    #[test]
    fn only_real_changes_by_the_program_under_test_are_mutating() {
        assert!(event(ADMIN, "create", "/api/v1/namespaces", "namespaces").is_mutating());
        assert!(event(ADMIN, "patch", "/x?force=true&dryRun=None", "secrets").is_mutating());
        assert!(!event(ADMIN, "patch", "/x?dryRun=All&force=true", "secrets").is_mutating());
        assert!(!event(ADMIN, "get", "/x", "secrets").is_mutating());
        assert!(!event(ADMIN, "create", "/x", "selfsubjectaccessreviews").is_mutating());
        assert!(!event("kwok", "patch", "/x", "pods").is_mutating());
    }
}
