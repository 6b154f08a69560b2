//! Bootstraps the sandbox with the image.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::USER;
use crate::program::{cargo, output, print_progress, run, workspace};

/// A user that the image does not know; podman without root has numbers below 65536 only.
const UNKNOWN_USER: u32 = 12345;

/// Variables of the sandbox that the templates read, and the way to its registry.
const VARIABLES: [&str; 6] =
    ["FLUX_GIT_PATH", "FLUX_GIT_REF", "FLUX_GIT_URL", "HTTPS_PROXY", "K3S_API_HOST", "NO_PROXY"];

/// Starts an empty sandbox, bootstraps it with the image, and runs the image again as another user.
pub(super) fn check(image: &str, is_restricted: bool) -> Result<()> {
    run(cargo().args(["sandbox", "down"]))?;
    run(cargo().args(["sandbox", "up"]))?;
    let checked = check_in_sandbox(image, is_restricted);
    let stopped = run(cargo().args(["sandbox", "down"]));
    checked.and(stopped)
}

fn check_in_sandbox(image: &str, is_restricted: bool) -> Result<()> {
    let env = sandbox_env(&output(cargo().args(["sandbox", "env"]))?);
    let folder = workspace().join("target/image-check");
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("data"))?;
    fs::set_permissions(folder.join("data"), Permissions::from_mode(0o1777))?;
    let volume = format!("{}:/data", folder.join("data").display());
    let first = bootstrap(image, is_restricted, &folder, &env, USER, &["--volume", &volume])?;
    expect(&first, &["Namespace created", "Bootstrap complete!"])?;
    let memory = "type=tmpfs,destination=/data,tmpfs-mode=1777";
    let second = bootstrap(image, is_restricted, &folder, &env, UNKNOWN_USER, &["--mount", memory])?;
    expect(&second, &["Nothing to change", "Bootstrap complete!"])?;
    print_progress("the image has bootstrapped the sandbox, and has found nothing to change as another user");
    Ok(())
}

/// Runs `apps` with a read-only root and without capabilities; returns the log.
fn bootstrap(
    image: &str,
    is_restricted: bool,
    folder: &Path,
    env: &BTreeMap<String, String>,
    user: u32,
    data: &[&str],
) -> Result<String> {
    let value = |name: &str| env.get(name).with_context(|| format!("the sandbox has no variable `{name}`"));
    let mut command = Command::new("podman");
    if is_restricted {
        command.args(["--runtime=runc", "--cgroup-manager=cgroupfs"]);
    }
    command.args([
        "run",
        "--rm",
        "--network=host",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=all",
    ]);
    command.args(["--security-opt=no-new-privileges", "--user", &format!("{user}:{user}")]).args(data);
    if is_restricted {
        command.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]);
    }
    for (file, target) in [
        ("KUBECONFIG", "/run/k3s-boot/kubeconfig"),
        ("SOPS_AGE_KEY_FILE", "/run/k3s-boot/age.key"),
        // In the place of the certificates in the image, which all programs must find by themselves.
        ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    ] {
        let copy = folder.join(format!("{user}-{file}"));
        fs::copy(value(file)?, &copy)?;
        // U gives the file to the user of the container.
        command.arg("--volume").arg(format!("{}:{target}:ro,U", copy.display()));
    }
    command.arg("--volume").arg(format!("{}:/repository:ro", workspace().display()));
    for name in VARIABLES {
        command.arg("--env").arg(format!("{name}={}", value(name)?));
    }
    command.args(["--env=KUBECONFIG=/run/k3s-boot/kubeconfig", image]);
    command.args(["apps", "--age-key=/run/k3s-boot/age.key", "--color=never"]);
    print_progress(&format!("running {image} as user {user}"));
    let log = output(&mut command);
    if let Ok(log) = &log {
        print_progress(log.trim_end());
    }
    log
}

fn expect(log: &str, parts: &[&str]) -> Result<()> {
    match parts.iter().find(|part| !log.contains(**part)) {
        Some(missing) => bail!("the log has no `{missing}`"),
        None => Ok(()),
    }
}

/// The variables that `cargo sandbox env` prints for a shell.
fn sandbox_env(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_sandbox_are_read() {
        let env =
            sandbox_env("unset HELM_DRIVER\nexport KUBECONFIG='/tmp/a b/kubeconfig'\nexport EMPTY=''\n");
        assert_eq!(env.get("KUBECONFIG").map(String::as_str), Some("/tmp/a b/kubeconfig"));
        assert_eq!(env.len(), 2);
    }
}
