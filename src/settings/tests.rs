use std::path::Path;

use clap::Parser as _;

use super::*;
use crate::settings::cli::{Cli, Command};

fn resolve(args: &[&str], vars: &[(&str, &str)], cwd: &Path) -> Settings {
    let cli = Cli::try_parse_from([&["k3s-boot", "apps"], args].concat()).unwrap();
    let env = Env::from_vars(vars.iter().copied(), cwd.to_owned());
    let Command::Apps(apps) = &cli.command else { panic!("not apps") };
    Settings::of_apps(&cli.global, apps, &env)
}

#[test]
fn paths_become_absolute_and_lists_stay_lists() {
    let cwd = Path::new("/somewhere");
    let settings = resolve(&[], &[("KUBECONFIG", "a:/b::c"), ("ROOT_DIR", "repo")], cwd);
    assert_eq!(settings.kubeconfig, ["/somewhere/a", "/b", "/somewhere/c"].map(PathBuf::from));
    assert_eq!(settings.root, Path::new("/somewhere/repo"));
    assert_eq!(settings.age_key, Path::new("/somewhere/repo/age.key"));
    assert!(!settings.age_key_named);
    let flags = ["--kubeconfig", "k", "--root", "r", "--age-key", "key"];
    let settings = resolve(&flags, &[("KUBECONFIG", "a"), ("ROOT_DIR", "repo")], cwd);
    assert_eq!(settings.kubeconfig, [PathBuf::from("/somewhere/k")]);
    assert_eq!(settings.root, Path::new("/somewhere/r"));
    assert_eq!(settings.age_key, Path::new("/somewhere/key"));
}

#[test]
fn without_a_kubeconfig_there_is_none() {
    for vars in [&[][..], &[("KUBECONFIG", "")], &[("KUBECONFIG", "::")]] {
        assert!(resolve(&[], vars, Path::new("/x")).kubeconfig.is_empty());
    }
}

#[test]
fn flags_override_the_configuration_and_that_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let text = "cluster: {uid: 7F0C1B2A-0000-4000-8000-00000000abcd}\nnodes: 3\nnamespaces: [a, b, a]\nsecrets: {ageKey: k, \
                files: [x, x, /y]}\nhelmfiles: {apps: h/apps.yaml}\ntimeouts: {total: 1h, release: 2h, nodes: 3h, verify: \
                4h, request: 5h}\nskipChecks: [rights, versions]\n";
    let other = root.join("other.yaml");
    std::fs::write(&other, text).unwrap();
    let hours = Duration::from_hours;

    let settings = resolve(&[], &[], root);
    assert_eq!(settings.config_file, root.join("k3s-boot.yaml"));
    assert_eq!((settings.nodes, settings.nodes_from), (1, NodesFrom::Default));
    assert_eq!(settings.cluster_uid, None);
    assert_eq!((settings.timeout, settings.release_timeout), (TIMEOUT, RELEASE_TIMEOUT));
    assert_eq!((settings.nodes_timeout, settings.verify_timeout), (NODES_TIMEOUT, VERIFY_TIMEOUT));
    assert_eq!(settings.request_timeout, REQUEST_TIMEOUT);
    assert_eq!((settings.namespaces, settings.secret_files), (None, None));
    assert_eq!(settings.helmfiles, HelmfilePaths::default());

    let settings = resolve(&["--config", "other.yaml", "--root", "r"], &[], root);
    assert_eq!((settings.config_file, settings.config_problems), (other, Vec::new()));
    assert_eq!(settings.cluster_uid.as_deref(), Some("7f0c1b2a-0000-4000-8000-00000000abcd"));
    assert_eq!((settings.nodes, settings.timeout, settings.release_timeout), (3, hours(1), hours(2)));
    assert_eq!(settings.nodes_from, NodesFrom::Config);
    assert_eq!((settings.nodes_timeout, settings.verify_timeout), (hours(3), hours(4)));
    assert_eq!(settings.request_timeout, hours(5));
    assert_eq!(settings.namespaces, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((settings.age_key, settings.age_key_named), (root.join("r/k"), true));
    assert_eq!(settings.secret_files, Some(vec![root.join("r/x"), PathBuf::from("/y")]));
    assert_eq!(settings.helmfiles.apps, Some(root.join("r/h/apps.yaml")));
    assert_eq!(settings.skip_checks, ["rights", "versions"]);

    std::fs::write(root.join("k3s-boot.yaml"), text).unwrap();
    let flags = ["--nodes=2", "--timeout=5h", "--release-timeout=6h", "--age-key=f", "--skip-check=versions"];
    let settings = resolve(&flags, &[], root);
    assert_eq!((settings.nodes, settings.timeout, settings.release_timeout), (2, hours(5), hours(6)));
    assert_eq!(settings.nodes_from, NodesFrom::Flag);
    assert_eq!(settings.age_key, root.join("f"));
    assert_eq!(settings.skip_checks, ["versions", "rights"]);
}

#[test]
fn a_missing_configuration_is_a_problem_only_if_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(resolve(&[], &[], folder.path()).config_problems, Vec::new());
    let problems = resolve(&["--config", "x.yaml"], &[], folder.path()).config_problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].details[0].1, folder.path().join("x.yaml").display().to_string());
}

#[test]
fn a_repository_s_ci_needs_no_age_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k3s-boot.yaml"), "secrets: {ageKey: k}\n").unwrap();
    for (flags, named) in [(&[][..], true), (&["--offline"], false), (&["--offline", "--age-key=k"], true)] {
        let cli = Cli::try_parse_from([&["k3s-boot", "check"], flags].concat()).unwrap();
        let env = Env::from_vars([("X", "Y")], folder.path().to_owned());
        let Command::Check(check) = &cli.command else { panic!("not check") };
        assert_eq!(Settings::of_check(&cli.global, check, &env).age_key_named, named, "{flags:?}");
    }
}

#[test]
fn essential_checks_cannot_be_skipped() {
    let parse = |args: &[&str]| Cli::try_parse_from([&["k3s-boot", "check"], args].concat());
    assert!(parse(&["--skip-check", "versions"]).is_ok());
    assert_eq!(parse(&["--skip-check", "config"]).unwrap_err().exit_code(), 2);
    assert!(parse(&["--explain", "config"]).is_ok());
    assert_eq!(parse(&["--timeout", "300000000000y"]).unwrap_err().exit_code(), 2);
}

#[test]
fn colour_follows_the_conventions() {
    type Case<'a> = (Color, &'a [(&'a str, &'a str)], bool, bool);
    let cases: &[Case<'_>] = &[
        (Color::Auto, &[], false, false),
        (Color::Auto, &[], true, true),
        (Color::Auto, &[("NO_COLOR", "1")], true, false),
        (Color::Auto, &[("NO_COLOR", "")], true, true),
        (Color::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false, false),
        (Color::Auto, &[("CLICOLOR_FORCE", "1")], false, true),
        (Color::Auto, &[("CLICOLOR_FORCE", "0")], false, false),
        (Color::Auto, &[("CLICOLOR", "0")], true, false),
        (Color::Auto, &[("TERM", "dumb")], true, false),
        (Color::Always, &[("NO_COLOR", "1")], false, true),
        (Color::Never, &[("CLICOLOR_FORCE", "1")], true, false),
    ];
    for (flag, vars, terminal, expected) in cases {
        let env = Env::from_vars(vars.iter().copied(), PathBuf::from("/"));
        assert_eq!(colour(*flag, &env, *terminal), *expected, "{flag:?} {vars:?} {terminal}");
    }
}
