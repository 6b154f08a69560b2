//! The kubeconfig of a pod: its service account on the cluster in which it runs.

use std::path::Path;

use serde_json::json;

use crate::base::env::Env;
use crate::base::finding::Finding;

/// Where the kubelet mounts token and certificate of the service account (client-go 0.36, `rest.InClusterConfig`).
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A kubeconfig that names the files of the service account and has no credentials itself: the kubelet replaces the token before
/// it expires.
///
/// # Errors
///
/// A finding if a file or variable of a pod is missing.
pub(crate) fn kubeconfig(folder: &Path, env: &Env) -> Result<String, Finding> {
    let missing = |what: String| {
        Finding::error("kubeconfig", "No credentials of a pod")
            .with("missing", what)
            .fix("use --in-cluster only in a pod with a service account (automountServiceAccountToken), or set KUBECONFIG")
    };
    let variable = |name: &str| env.text(name).ok_or_else(|| missing(name.to_owned()));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let (token, certificate) = (folder.join("token"), folder.join("ca.crt"));
    if let Some(file) = [&token, &certificate].into_iter().find(|file| !file.is_file()) {
        return Err(missing(file.display().to_string()));
    }
    let name = "in-cluster";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://{host}:{port}"),
            "certificate-authority": certificate,
        }}],
        "users": [{"name": name, "user": {"tokenFile": token}}],
    });
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::tools::kubeconfig::load;

    #[test]
    fn the_service_account_of_the_pod_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let env = |host: &str| {
            let vars = [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", "443")];
            Env::from_vars(vars, PathBuf::new())
        };
        let missing = |env: &Env| {
            let finding = kubeconfig(folder.path(), env).unwrap_err();
            finding.detail("missing").unwrap().to_owned()
        };
        assert_eq!(missing(&Env::default()), "KUBERNETES_SERVICE_HOST");
        assert_eq!(missing(&env("10.43.0.1")), folder.path().join("token").display().to_string());
        std::fs::write(folder.path().join("token"), "t").unwrap();
        assert_eq!(missing(&env("10.43.0.1")), folder.path().join("ca.crt").display().to_string());
        std::fs::write(folder.path().join("ca.crt"), "c").unwrap();
        for (host, server) in [("10.43.0.1", "https://10.43.0.1:443"), ("fd00::1", "https://[fd00::1]:443")] {
            let text = kubeconfig(folder.path(), &env(host)).unwrap();
            let file = folder.path().join("config");
            std::fs::write(&file, &text).unwrap();
            let (target, _) = load(&[file], None).unwrap();
            assert_eq!((target.server.as_str(), target.context.as_str()), (server, "in-cluster"));
            assert!(target.is_verified && target.certificate.is_none());
        }
    }
}
