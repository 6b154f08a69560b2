//! Programs that ask for a passphrase or a login, and what is between this machine and a server.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use serde_json::json;

use super::fixture::Fixture;
use super::listener::Listener;

const PASSWORD: &str = "CANARY-typed-password-0123456789";

const ON_TERMINAL: &[&str] = &["/usr/bin/setsid", "--ctty", "--wait"];

/// Replaces a tool by a script, in which `$fake` is the fake tool.
fn scripted(fixture: Fixture, tool: &str, script: &str) -> Fixture {
    let (place, kept) = (fixture.path("bin").join(tool), fixture.path("kept").join(tool));
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::rename(&place, &kept).unwrap();
    std::fs::write(&place, format!("#!/bin/sh\nfake={}\n{script}", kept.display())).unwrap();
    std::fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    fixture
}

/// An identity for which age asks on the terminal itself.
struct Identity {
    file: &'static str,
    question: &'static str,
    /// What sops prints without a terminal.
    error: &'static str,
}

/// Recorded with sops 3.13.2.
const BY_PASSPHRASE: Identity = Identity {
    file: "age-encryption.org/v1\n-> scrypt x\n",
    question: "Enter passphrase for identity 'SOPS_AGE_KEY_FILE':",
    error: "    - | failed to create reader for decrypting sops data key with
      | age: failed to decrypt identity file: could not read
      | passphrase: standard input is not a terminal, and /dev/tty
      | is not available: open /dev/tty: no such device or address.
      | Did not find keys in locations 'SOPS_AGE_KEY'.",
};

/// Recorded with sops 3.13.2 and a plugin that sends `request-secret`.
const BY_PLUGIN: Identity = Identity {
    file: "AGE-PLUGIN-PIN-1VDSHYEQMUT35Y\n",
    question: "PIN of the card ",
    error: "    - | failed to create reader for decrypting sops data key with
      | age: identity did not match any of the recipients: pin
      | plugin: incorrect identity for recipient block. Did not find
      | keys in locations 'SOPS_AGE_KEY', and 'SOPS_AGE_KEY_CMD'.",
};

/// sops with a protected identity.
fn protected_identity(command: &str, Identity { file, question, error }: &Identity) -> Fixture {
    let script = format!(
        r#"[ "$1" = decrypt ] || exec $fake "$@"
if ! (: < /dev/tty) 2>/dev/null; then /bin/cat >&2 <<'END'
Failed to get the data key required to decrypt the SOPS file.

Group 0: FAILED
  age1q2f: FAILED
{error}
END
exit 128; fi
echo x >> "${{0%/bin/*}}/asked"
/usr/bin/stty -echo < /dev/tty
printf "{question}" > /dev/tty
read -r typed < /dev/tty
[ "$typed" = "$(/bin/cat "${{0%/bin/*}}/password")" ] || exit 128
exec /usr/bin/setsid $fake "$@" < /dev/null
"#
    );
    let fixture = Fixture::for_command(command).file("../password", PASSWORD).canary(PASSWORD);
    let fixture = fixture.file("../identity", file);
    let path = fixture.path("identity").display().to_string();
    scripted(fixture.env("SOPS_AGE_KEY_FILE", &path), "sops", &script)
}

#[test]
fn sops_asks_for_a_passphrase_or_a_pin_on_the_terminal() {
    for identity in [BY_PASSPHRASE, BY_PLUGIN] {
        let fixture = protected_identity("apps", &identity).started_by(ON_TERMINAL);
        let mut terminal = fixture.start_on_terminal(24, 200);
        let frame = terminal.frame(|frame| frame.trim_end().ends_with(identity.question.trim_end()));
        assert!(frame.contains("INFO Running sops, which may ask on this terminal"), "{frame}");
        terminal.type_line(PASSWORD);
        let ran = terminal.wait();
        ran.assert().code(0);
        assert!(ran.stdout.contains("Secret applied"), "{}", ran.stdout);
        assert_eq!(std::fs::read_to_string(fixture.path("asked")).unwrap(), "x\n", "it asks once");
    }
}

#[test]
fn without_a_terminal_nobody_can_answer_sops() {
    // Even if there is one, but stdin is something else.
    let fixture = protected_identity("apps", &BY_PASSPHRASE);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Encrypted file cannot be decrypted file="[TMP]/root/bootstrap/github.sops.yaml" cause="the age identity is protected by a passphrase, and nobody can answer without a terminal" fix="run k3s-boot on a terminal, or set SOPS_AGE_KEY_FILE to a file with an identity that needs no passphrase or PIN" reason="failed to create reader for decrypting sops data key with age: failed to decrypt identity file: could not read passphrase: standard input is not a terminal, and /dev/tty is not available: open /dev/tty: no such device or address""#);
    assert!(!fixture.path("asked").exists());
    let fixture = protected_identity("apps", &BY_PLUGIN);
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Encrypted file cannot be decrypted file="[TMP]/root/bootstrap/github.sops.yaml" reason="failed to create reader for decrypting sops data key with age: identity did not match any of the recipients: pin plugin: incorrect identity for recipient block" fix="sops decrypt [TMP]/root/bootstrap/github.sops.yaml > /dev/null  # shows whether the plugin or command works, and what it asks for; without a terminal, set SOPS_AGE_KEY_FILE to a file with an identity that needs no passphrase or PIN""#);
    assert!(!fixture.path("asked").exists());
}

#[test]
fn a_file_that_was_changed_needs_no_other_identity() {
    for (stderr, cause) in [
        ("MAC mismatch. File has ABC, computed DEF\n", "the file was changed after it was encrypted"),
        (
            "Error decrypting tree: Error walking tree: Could not decrypt value: Could not decrypt with AES_GCM: cipher: message authentication failed\n",
            "a value was changed after it was encrypted",
        ),
        (
            "yaml: unmarshal errors:\n  line 21: mapping key \"CANARY\" already defined at line 6\n",
            "the file is not valid YAML",
        ),
    ] {
        let fixture = Fixture::new()
            .canary("CANARY")
            .rule(json!({"tool": "sops", "args": ["decrypt"], "exit": 51, "stderr": stderr}));
        let refusal = fixture.refusal();
        assert!(refusal.contains(cause) && !refusal.contains("identity"), "{refusal}");
        assert!(refusal.contains("git log --patch -- [TMP]/root/bootstrap/github.sops.yaml"), "{refusal}");
    }
}

/// A kubeconfig whose user has a credential plugin.
fn with_plugin(command: &str) -> Fixture {
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: default\n\
        contexts:\n- name: default\n  context: {cluster: default, user: me}\n\
        clusters:\n- name: default\n  cluster: {server: 'https://10.0.0.10:6443'}\n\
        users:\n- name: me\n  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: my-login, installHint: brew install my-login, interactiveMode: IfAvailable}}\n";
    Fixture::for_command(command).file("../kubeconfig", kubeconfig)
}

/// `kubectl proxy` passes on this error of client-go.
fn refused(words: &str) -> Fixture {
    with_plugin("apps").rule(json!({"tool": "api", "status": 500, "stdout": format!("{words}\n")}))
}

#[test]
fn credential_plugin_is_not_installed() {
    let hint = "It looks like you are trying to use a client-go credential plugin that is not installed.\n\nTo learn more about this feature, consult the documentation available at:\n      \
                https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins\n\nbrew install my-login";
    let fixture = refused(&format!("getting credentials: exec: executable my-login not found\n\n{hint}"));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Credential plugin of the kubeconfig is not installed server="https://10.0.0.10:6443" context="default" reason="getting credentials: exec: executable my-login not found" fix="install my-login, or add it to PATH:\nbrew install my-login""#);
}

#[test]
fn credential_plugin_needs_a_terminal_for_each_program() {
    let words =
        "getting credentials: exec plugin cannot support interactive mode: standard input is not a terminal";
    assert_snapshot!(refused(words).refusal(), @r#"[TS] ERROR Credential plugin of the kubeconfig needs a terminal for each program server="https://10.0.0.10:6443" context="default" reason="getting credentials: exec plugin cannot support interactive mode: standard input is not a terminal" fix="set `interactiveMode: IfAvailable` in `users[].user.exec` of the kubeconfig: k3s-boot then lets it ask once; kubectl and helm have no terminal later""#);
}

#[test]
fn credential_plugin_that_waits_is_named() {
    // Its child stands for the plugin, which waits for a person.
    let listener = Listener::new();
    let script = "case \"$*\" in *\" proxy \"*) /bin/sleep 600 <&- >&- 2>&- & ;; esac\nexec $fake \"$@\"\n";
    let fixture = with_plugin("apps").args(&["--request-timeout", "1s"]);
    let fixture =
        scripted(fixture, "kubectl", script).rule(json!({"tool": "api", "connect": listener.address()}));
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Credential plugin of the kubeconfig waits server="https://10.0.0.10:6443" context="default" reason="the credential plugin is still running after 1.0s" fix="nobody can answer without a terminal: log in with my-login before, or use a kubeconfig without a plugin: copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy""#);
}

#[test]
fn credential_plugin_asks_on_the_terminal() {
    let script = r#"case "$*" in *" get --raw /version")
  echo "To sign in, open https://login.example.org and enter ABCD" >&2
  /usr/bin/stty -echo
  printf "Password: " >&2
  read -r password
  [ "$password" = "$(/bin/cat "${0%/bin/*}/password")" ] && exit 0
  echo "my-login: wrong password" >&2
  echo "Unable to connect to the server: getting credentials: exec: executable my-login failed with exit code 3" >&2
  exit 1 ;;
esac
exec $fake "$@"
"#;
    let fixture = with_plugin("apps").file("../password", PASSWORD).canary(PASSWORD);
    let fixture = scripted(fixture, "kubectl", script).started_by(ON_TERMINAL);
    for (answer, code) in [("wrong", 1), (PASSWORD, 0)] {
        let mut terminal = fixture.start_on_terminal(24, 300);
        let frame = terminal.frame(|frame| frame.trim_end().ends_with("Password:"));
        assert!(frame.contains("INFO Running the credential plugin of the kubeconfig, which may ask on this terminal plugin=\"my-login\""), "{frame}");
        assert!(frame.contains("open https://login.example.org and enter ABCD"), "{frame}");
        terminal.type_line(answer);
        let ran = terminal.wait();
        ran.assert().code(code);
        let reason = "executable my-login failed with exit code 3: Password: my-login: wrong password";
        assert_eq!(ran.stdout.contains(reason), code == 1, "{}", ran.stdout);
    }
}

#[test]
fn user_without_credentials_is_not_asked_for_a_name() {
    let fixture = Fixture::new().rule(
        json!({"tool": "kubectl", "args": ["proxy"], "exit": 1, "stdout": "Please enter Username: ", "stderr": "error: EOF\n"}),
    );
    let refusal = fixture.refusal();
    assert!(!refusal.contains("Username"), "{refusal}");
    assert_snapshot!(refusal, @r#"[TS] ERROR Kubeconfig user has no credentials server="https://10.0.0.10:6443" context="default" user="default" reason="it has no client certificate, token or credential plugin" fix="use another kubeconfig: copy /etc/rancher/k3s/k3s.yaml from a server node, set that node's address in the copy""#);
}

#[test]
fn proxy_that_answers_for_the_cluster_is_named() {
    for words in [
        "Forbidden",
        "Proxy Authentication Required",
        "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused",
    ] {
        let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: default\n\
            contexts:\n- name: default\n  context: {cluster: default, user: me}\n\
            clusters:\n- name: default\n  cluster: {server: 'https://10.0.0.10:6443', proxy-url: 'http://me:CANARY-proxy@proxy.lan:3128'}\n";
        let fixture = Fixture::new()
            .file("../kubeconfig", kubeconfig)
            .canary("CANARY-proxy")
            .rule(json!({"tool": "api", "status": 500, "stdout": format!("{words}\n")}));
        let refusal = fixture.refusal();
        let start = r#"[TS] ERROR A proxy or web server answers instead of the cluster server="https://10.0.0.10:6443" context="default" proxy="http://proxy.lan:3128""#;
        assert!(refusal.starts_with(start) && refusal.contains("add 10.0.0.10 to NO_PROXY"), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

/// helm fails to fetch three charts.
fn without_charts(fixture: Fixture, error: &str) -> Fixture {
    let failed = |chart: &str| {
        let url = format!("https://registry.invalid/v2/charts/{chart}/manifests/1");
        let stderr =
            format!("Error: failed to perform \"FetchReference\" on source: GET \"{url}\": {error}\n");
        let address = format!("oci://registry.invalid/charts/{chart}");
        [["pull", address.as_str()], ["chart", address.as_str()]]
            .map(|args| json!({"tool": "helm", "args": args, "exit": 1, "stderr": stderr}))
    };
    let charts = ["prometheus-operator-crds", "cilium", "flux-instance"];
    charts.into_iter().fold(fixture, |fixture, chart| fixture.rules(failed(chart)))
}

#[test]
fn a_proxy_that_blocks_cluster_and_charts_is_one_finding() {
    let words = "Proxy Authentication Required";
    let fixture = Fixture::new().env("HTTPS_PROXY", "http://proxy.lan:3128");
    let fixture = fixture.rule(json!({"tool": "api", "status": 500, "stdout": format!("{words}\n")}));
    assert_snapshot!(without_charts(fixture, words).refusal(), @r#"[TS] ERROR A proxy blocks the cluster and the charts server="https://10.0.0.10:6443" context="default" proxy="http://proxy.lan:3128" charts="oci://registry.invalid/charts/prometheus-operator-crds 19.1.0, oci://registry.invalid/charts/cilium 1.18.6, oci://registry.invalid/charts/flux-instance 0.54.0" releases="prometheus-operator-crds, cilium, flux-instance" reason="Proxy Authentication Required" fix="export HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT, or add 10.0.0.10,registry.invalid to NO_PROXY""#);
}

#[test]
fn charts_with_the_same_cause_are_one_finding() {
    let missing = r#"exec: "docker-credential-desktop": executable file not found in $PATH"#;
    let login = "failed to decode auth field: invalid config format: auth 'CANARY-login' does not conform";
    for (error, cause) in [
        (missing, "the credential helper of the Docker configuration is missing or fails"),
        (login, "the stored login of the registry cannot be read"),
        ("basic credential not found", "the registry requires a login, and none is stored"),
        ("Forbidden", "the proxy refuses the connection or cannot be reached"),
        ("Proxy Authentication Required", "the proxy requires a login"),
        (
            "response status code 403: denied: denied",
            "the registry denies access: the chart does not exist, is private, or a stored login is rejected",
        ),
    ] {
        let fixture = without_charts(Fixture::new().canary("CANARY-login"), error);
        let refusal = fixture.refusal();
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        let releases = r#"releases="prometheus-operator-crds, cilium, flux-instance""#;
        assert!(
            refusal.starts_with("[TS] ERROR Charts cannot be fetched charts=") && refusal.contains(releases),
            "{refusal}"
        );
        assert!(refusal.contains(&format!("cause=\"{cause}\"")), "{refusal}");
    }
}

#[test]
fn kubeconfig_in_the_home_folder_is_offered() {
    let fixture = Fixture::new().file("../home/.kube/config", "").without_env("KUBECONFIG");
    assert_snapshot!(fixture.refusal(), @r#"[TS] ERROR Missing required env variables envs="KUBECONFIG" fix="export KUBECONFIG=~/.kube/config""#);
}
