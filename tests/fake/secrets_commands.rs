//! Commands whose output is manifests with secrets.

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::fixture::{Fixture, RunResult};
use super::lock::{ELSEWHERE, lease};

const PASSWORD: &str = "CANARY-typed-password-0123456789";

/// A repository with a command, which finds manifests with secrets in `../output`.
fn fixture(command: &str, config: &str) -> Fixture {
    let fixture = Fixture::for_command(command);
    let secret = fixture.canaries.decrypted.clone();
    let manifests = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: onepassword, namespace: network}}\nstringData: {{token: {secret}}}\n\
         ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: flux-system}}\ndata: {{host: {secret}.example.org}}\n"
    );
    fixture.file("../output", &manifests).file("k3s-boot.yaml", &format!("secrets:\n  commands:\n{config}"))
}

/// What went through the stdin of kubectl.
fn applied(ran: &RunResult) -> Vec<String> {
    ran.mutating()
        .into_iter()
        .filter(|call| call.starts_with("kubectl ") && call.contains(" apply "))
        .collect()
}

#[test]
fn output_is_applied_before_the_apps() {
    let config = "  - {command: [/bin/cat, output], directory: .., pipe: [[/bin/cat], [/bin/cat, -]]}\n";
    let ran = fixture("apps", config).run();
    ran.assert().code(0);
    for line in [
        "Secret applied secret=\"network/onepassword\"",
        "Object applied kind=\"ConfigMap\" object=\"flux-system/settings\"",
    ] {
        assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("Namespace created namespace=\"network\""), "{}", ran.stdout);
    assert_eq!(applied(&ran).len(), 2, "namespaces, and all objects: {:?}", ran.mutating());
    let ran = fixture("diff", config).run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("+ create Secret network/onepassword\n"), "{}", ran.stdout);
    let ran = fixture("check", config).run();
    ran.assert().code(0);
    assert!(!ran.stdout.contains("no command is configured"), "{}", ran.stdout);
}

#[test]
fn a_second_preflight_does_not_run_it_again() {
    let config = "  - {command: [/bin/sh, -c, 'echo x >> ../runs; /bin/cat ../output']}\n";
    let fixture = fixture("apps", config).objects([lease(ELSEWHERE)]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Re-running the preflight"), "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(fixture.path("runs")).unwrap(), "x\n");
}

#[test]
fn no_command_runs_offline_or_without_its_stage() {
    let config = "  - {command: [/bin/sh, -c, ': > ../ran']}\n";
    let fixture = fixture("check", config).args(&["--offline"]);
    let ran = fixture.run();
    ran.assert().code(0);
    assert!(ran.stdout.contains("secrets-commands"), "{}", ran.stdout);
    assert!(!fixture.path("ran").exists());
    let fixture = self::fixture("apps", config).args(&["--skip", "secrets"]);
    fixture.run().assert().code(0);
    assert!(!fixture.path("ran").exists(), "nobody is asked for a password that is not needed");
}

#[test]
fn a_failed_command_is_named_without_its_messages() {
    let refused =
        fixture("apps", "  - {command: [/bin/sh, -c, '/bin/cat ../output >&2; exit 3']}\n").refusal();
    assert!(refused.contains(r#"ERROR Command failed command="/bin/sh -c '/bin/cat ../output >&2; exit 3'" program="/bin/sh" reason="exit code 3""#), "{refused}");
    assert!(refused.contains(">/dev/null  # shows why"), "{refused}");
}

#[test]
fn a_command_that_hangs_is_ended_with_its_children() {
    let config = "  - {command: [/bin/sh, -c, 'echo $$ > ../pid; /bin/cat ../output >&2; /bin/sleep 600'], timeout: 1s}\n";
    let fixture = fixture("apps", config);
    let refused = fixture.refusal();
    assert!(
        refused.contains("it did not end within 1s; nobody can answer its questions without a terminal"),
        "{refused}"
    );
    let leader: i32 = std::fs::read_to_string(fixture.path("pid")).unwrap().trim().parse().unwrap();
    assert!(nix::sys::signal::killpg(Pid::from_raw(leader), None).is_err(), "its process group has ended");
}

#[test]
fn output_that_is_no_manifest_is_reported_without_content() {
    let cases = [
        (
            "{command: [/bin/sh, -c, 'echo token: x']}",
            "document 1 has no `apiVersion`, `kind` or `metadata.name`",
        ),
        ("{command: [/bin/sh, -c, 'echo \"a: [\"']}", "document 1 cannot be read as JSON"),
        ("{command: [/bin/sh, -c, 'printf \"\\377\"']}", "Output of a command is not text"),
        ("{command: [no-such-program, inject]}", "Program of a command not found"),
        ("{command: [/bin/cat], directory: nowhere}", "Working folder of a command not found"),
        ("{command: op inject}", "a list of words, the program first"),
        ("{command: []}", "a list of words, the program first"),
        ("{commands: [op]}", "did you mean `command`?"),
        ("{command: [op], timeout: never}", "a duration such as"),
    ];
    for (config, expected) in cases {
        let refused = fixture("apps", &format!("  - {config}\n")).refusal();
        assert!(refused.contains(expected), "{config}\n{refused}");
    }
}

#[test]
fn a_missing_program_is_reported_once_and_no_command_runs() {
    let config = "  - {command: [/bin/sh, -c, ': > ../ran']}\n  - {command: [no-such-program]}\n";
    let fixture = fixture("check", config);
    let ran = fixture.run();
    ran.assert().code(1);
    assert_eq!(ran.stdout.matches("Program of a command not found").count(), 1, "{}", ran.stdout);
    assert!(!fixture.path("ran").exists());
}

#[test]
fn a_password_is_asked_for_on_the_terminal() {
    let script = "/usr/bin/stty -echo < /dev/tty; printf \"Master password: \" >&2; read -r password < /dev/tty; \
                  echo \"$password\" >&2; test \"$password\" = \"$(/bin/cat ../password)\" && /bin/cat ../output";
    // A program without a terminal as stdin may ask, too.
    let config = format!("  - command: [/bin/echo]\n    pipe:\n    - [/bin/sh, -c, '{script}']\n");
    let fixture = fixture("apps", &config).file("../password", PASSWORD).canary(PASSWORD).started_by(&[
        "/usr/bin/setsid",
        "--ctty",
        "--wait",
    ]);
    let mut terminal = fixture.start_on_terminal(24, 200);
    let frame = terminal.frame(|frame| frame.trim_end().ends_with("Master password:"));
    assert!(frame.contains("Running command, which may ask on this terminal"), "{frame}");
    terminal.type_line(PASSWORD);
    let ran = terminal.wait();
    ran.assert().code(0);
    assert!(ran.stdout.contains("Secret applied"), "{}", ran.stdout);
}

#[test]
fn ctrl_c_ends_a_command_that_asks() {
    let script = "echo $$ > ../pid; printf \"PIN: \" >&2; read -r pin < /dev/tty";
    let fixture = fixture("apps", &format!("  - command: [/bin/sh, -c, '{script}']\n")).started_by(&[
        "/usr/bin/setsid",
        "--ctty",
        "--wait",
    ]);
    let mut terminal = fixture.start_on_terminal(24, 200);
    terminal.frame(|frame| frame.trim_end().ends_with("PIN:"));
    terminal.type_line("\u{3}");
    let ran = terminal.wait();
    ran.assert().code(130);
    assert_eq!(ran.mutating(), [""; 0]);
    let shell: i32 = std::fs::read_to_string(fixture.path("pid")).unwrap().trim().parse().unwrap();
    assert!(kill(Pid::from_raw(shell), None).is_err(), "the command has ended");
}

#[test]
fn a_template_without_a_command_is_reported() {
    let template = "{% for namespace in [\"external-secrets\"] %}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n\
                    stringData: {token: \"op://home/onepassword/token\"}\n{% endfor %}\n";
    let secret = "kind: Secret\nmetadata: {name: a}\nstringData: {token: ref+op://home/onepassword/token}\n";
    let with_template = Fixture::for_command("check").file("bootstrap/resources.yaml.j2", template);
    let with_folder = Fixture::for_command("check")
        .file("bootstrap/secrets/kustomization.yaml", "resources: [onepassword]\n")
        .file("bootstrap/secrets/onepassword/kustomization.yaml", "resources: [secret.yaml]\n")
        .file("bootstrap/secrets/onepassword/secret.yaml", secret);
    for (fixture, lines) in [
        (with_template, ["  - command: [minijinja-cli, bootstrap/resources.yaml.j2]", "    - [op, inject]"]),
        (with_folder, ["  - command: [kubectl, kustomize, bootstrap/secrets]", "    - [vals, eval, -f, -]"]),
    ] {
        let ran = fixture.run();
        ran.assert().code(0);
        for line in std::iter::once("Secrets are not applied: no command renders them").chain(lines) {
            assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
        }
    }
}
