use std::time::Duration;

use super::environment::Variables;
use super::*;

const UID: &str = "7f0c1b2a-0000-4000-8000-00000000abcd";

fn good(text: &str) -> Config {
    let (config, problems) = parse(Path::new("/r/k3s-boot.yaml"), text);
    assert_eq!(problems, Vec::new(), "{text}");
    config
}

fn line(finding: &Finding) -> String {
    assert_eq!((finding.rule, finding.severity), ("config", crate::base::finding::Severity::Error));
    let pairs = finding.fields().into_iter().map(|(key, value)| format!(" {key}={value}"));
    format!("{}{}", finding.summary, pairs.collect::<String>())
}

fn reported(text: &str) -> String {
    let (config, problems) = parse(Path::new("/r/k3s-boot.yaml"), text);
    assert_eq!((config, problems.len()), (Config::default(), 1), "{text}");
    line(&problems[0])
}

#[test]
fn all_keys_are_read() {
    let text = format!(
        "cluster:\n  uid: {}\n  distribution: k3s\nnodes: 3\nnamespaces: [kube-system, &n media, *n]\nsecrets:\n  ageKey: ../age.key\n  \
         files: [bootstrap/x.sops.yaml]\nhelmfiles:\n  crds: a.yaml\n  apps: /b.yaml\ntimeouts:\n  total: 1h 30m\n  \
         release: 90s\n  request: 5s\n  nodes: 1m\n  verify: 7d\nskipReleases: [kube-system/coredns]\nskipChecks: [versions]\n\
         environment: {{files: [bootstrap/cluster.env], variables: {{CLUSTER: main, EMPTY: ''}}}}\n",
        UID.to_uppercase()
    );
    let file = |path: &str| Text(File(path.into()));
    let time = |seconds| Some(Text(Timeout(Duration::from_secs(seconds))));
    let name = |name: &str| Text(Namespace(name.to_owned()));
    let expected = Config {
        cluster: Cluster { uid: Some(Text(Uid(UID.to_owned()))), distribution: Some(Distribution::K3s) },
        nodes: Some(Count(3)),
        namespaces: Some(vec![name("kube-system"), name("media"), name("media")]),
        secrets: Secrets {
            age_key: Some(file("../age.key")),
            files: Some(vec![file("bootstrap/x.sops.yaml")]),
            commands: None,
        },
        manifests: None,
        helmfiles: Helmfiles { crds: Some(file("a.yaml")), apps: Some(file("/b.yaml")) },
        environment: Environment {
            files: Some(vec![file("bootstrap/cluster.env")]),
            variables: Some(Variables(
                [("CLUSTER", "main"), ("EMPTY", "")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            )),
        },
        timeouts: Timeouts {
            total: time(5400),
            release: time(90),
            request: time(5),
            nodes: time(60),
            verify: time(604_800),
        },
        skip_releases: Some(vec![Text(ReleaseName("kube-system/coredns".to_owned()))]),
        skip_checks: Some(vec![Text(SkippedCheck("versions"))]),
    };
    assert_eq!(good(&text), expected);
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let page = include_str!("../../../docs/configuration.md");
    let example = page.split("```yaml\n").find(|block| block.starts_with("cluster:\n")).unwrap();
    let config = good(example.split("```").next().unwrap());
    assert!(config.cluster.uid.is_some() && config.skip_checks.is_some());
}

#[test]
fn the_distribution_is_one_of_those_that_are_known() {
    let of = |word: &str| good(&format!("cluster: {{distribution: {word}}}\n")).cluster.distribution;
    for known in
        [Distribution::K3s, Distribution::K3d, Distribution::Rke2, Distribution::Talos, Distribution::Kubeadm]
    {
        assert_eq!(of(known.key()), Some(known));
    }
    assert_eq!(of("other"), Some(Distribution::Other));
    let unknown = reported("cluster: {distribution: talus}\n");
    assert!(
        unknown.ends_with("accepted=k3s k3d rke2 talos kubeadm other fix=did you mean `talos`?"),
        "{unknown}"
    );
    assert!(reported("cluster: {distribution: unknown}\n").contains("accepted=k3s"));
}

#[test]
fn empty_values_are_valid() {
    let empty = [
        "",
        "---\n",
        "# words\n",
        "{}",
        "cluster:\nnodes:\nnamespaces:\nsecrets:\nhelmfiles:\nenvironment:\ntimeouts:\n  # total: 1h\nskipChecks:\n",
        "cluster: {uid: }\ntimeouts: {total: ~}\n",
    ];
    for text in empty {
        assert_eq!(good(text), Config::default(), "{text:?}");
    }
    assert_eq!(
        good("namespaces: []\n").namespaces,
        Some(Vec::new()),
        "no namespaces are not the default ones"
    );
}

#[test]
fn an_unknown_key_is_reported_with_the_one_that_was_meant() {
    let top =
        "cluster nodes namespaces secrets manifests helmfiles environment timeouts skipReleases skipChecks";
    let cases = [
        ("node: 3\n", 1, "node", top, "nodes"),
        ("# x\nskip-checks: []\n", 2, "skip-checks", top, "skipChecks"),
        ("cluster:\n  uuid: x\n", 2, "cluster.uuid", "uid distribution", "uid"),
        ("secrets: {age_key: x}\n", 1, "secrets.age_key", "ageKey files commands", "ageKey"),
        ("helmfiles:\n  crd: x\n", 2, "helmfiles.crd", "crds apps", "crds"),
        (
            "timeouts:\n  total: 1h\n  whatever: 1h\n",
            3,
            "timeouts.whatever",
            "total release request nodes verify",
            "",
        ),
        ("1: 2\n", 1, "1", top, ""),
    ];
    for (text, line, field, accepted, near) in cases {
        let key = field.rsplit('.').next().unwrap();
        let fix = if near.is_empty() { String::new() } else { format!(" fix=did you mean `{near}`?") };
        assert_eq!(
            reported(text),
            format!(
                "Configuration is invalid file=/r/k3s-boot.yaml line={line} field={field} reason=unknown field `{key}` accepted={accepted}{fix}"
            )
        );
    }
}

#[test]
fn a_wrong_value_is_reported_with_what_is_accepted() {
    let uid = Uid::ACCEPTED;
    let name = Namespace::ACCEPTED;
    let (duration, file, check) = (Timeout::ACCEPTED, File::ACCEPTED, SkippedCheck::ACCEPTED);
    let number = "a whole number of at least 1";
    let essential = "a check that is not essential: nothing can run without this one";
    let cases = [
        ("- a\n", "line=1 reason=invalid type: sequence", "a mapping"),
        ("word\n", "line=1 reason=invalid type: string \"word\"", "a mapping"),
        ("cluster: x\n", "line=1 field=cluster reason=invalid type: string \"x\"", "a mapping"),
        ("timeouts:\n- total: 1h\n", "line=2 field=timeouts reason=invalid type: sequence", "a mapping"),
        ("cluster:\n  uid: x\n", "line=2 field=cluster.uid reason=invalid value: string \"x\"", uid),
        ("environment: [a]\n", "line=1 field=environment reason=invalid type: sequence", "a mapping"),
        (
            "environment:\n  variables: [A=1]\n",
            "line=2 field=environment.variables reason=invalid type: sequence",
            "a mapping of names to text",
        ),
        (
            "environment: {variables: {A: [x]}}\n",
            "line=1 field=environment.variables.A reason=invalid type: sequence",
            "text",
        ),
        (
            "environment: {variables: {a-b: x}}\n",
            "line=1 field=environment.variables.a-b reason=invalid value: string \"a-b\"",
            "a name of letters, digits and `_` that does not begin with a digit",
        ),
        (
            "environment: {variables: {KUBECONFIG: x}}\n",
            "line=1 field=environment.variables.KUBECONFIG reason=invalid value: string \"KUBECONFIG\"",
            "a variable that cannot select another cluster or change how programs run; export this one in your shell",
        ),
        ("nodes: 0\n", "line=1 field=nodes reason=invalid value: integer `0`", number),
        ("nodes: -1\n", "line=1 field=nodes reason=invalid type: integer `-1`", number),
        ("nodes: 1.5\n", "line=1 field=nodes reason=invalid type: floating point `1.5`", number),
        ("nodes: '3'\n", "line=1 field=nodes reason=invalid type: string \"3\"", number),
        ("nodes: 4294967296\n", "line=1 field=nodes reason=invalid value: integer `4294967296`", number),
        (
            "namespaces: media\n",
            "line=1 field=namespaces reason=invalid type: string \"media\"",
            "a sequence",
        ),
        (
            "namespaces:\n- a\n- Media\n",
            "line=3 field=namespaces[1] reason=invalid value: string \"Media\"",
            name,
        ),
        ("namespaces: [a.b]\n", "line=1 field=namespaces[0] reason=invalid value: string \"a.b\"", name),
        ("secrets: {ageKey: ''}\n", "line=1 field=secrets.ageKey reason=invalid value: string \"\"", file),
        ("secrets:\n  files: [{a: b}]\n", "line=2 field=secrets.files[0] reason=invalid type: map", file),
        (
            "timeouts: {total: soon}\n",
            "line=1 field=timeouts.total reason=invalid value: string \"soon\"",
            duration,
        ),
        (
            "timeouts: {verify: 10ms}\n",
            "line=1 field=timeouts.verify reason=invalid value: string \"10ms\"",
            duration,
        ),
        (
            "skipChecks: [config]\n",
            "line=1 field=skipChecks[0] reason=invalid value: string \"config\"",
            essential,
        ),
        ("skipChecks: [{a: b}]\n", "line=1 field=skipChecks[0] reason=invalid type: map", check),
    ];
    for (text, found, accepted) in cases {
        let expected = format!("Configuration is invalid file=/r/k3s-boot.yaml {found} accepted={accepted}");
        assert_eq!(reported(text), expected, "{text:?}");
    }
    let unknown = reported("skipChecks: [versions, version]\n");
    assert!(
        unknown.contains("field=skipChecks[1] reason=unknown variant `version` accepted=versions releases "),
        "{unknown}"
    );
    assert!(unknown.ends_with("fix=did you mean `versions`?"), "{unknown}");
}

#[test]
fn what_was_not_meant_to_be_there_is_not_repeated() {
    let key = "AGE-SECRET-KEY-1CANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARY";
    let texts = [
        format!("secrets: {{ageKey: {key}}}\n"),
        format!("secrets: {{{key}: x}}\n"),
        format!("{key}: x\n{key}: y\n"),
        format!("nodes: {key}\n"),
        format!("skipChecks: [{key}]\n"),
        format!("nodes: [{key}\n"),
        format!("a: {key}: x\n"),
        format!("a: *{key}\n"),
        format!("a: !{key} x\n"),
        format!("nodes: !{key} x\n"),
        key.to_owned(),
    ];
    for text in texts {
        let line = reported(&text);
        assert!(!line.contains("CANARY"), "{line}");
    }
    assert_eq!(
        reported(&format!("secrets: {{ageKey: {key}}}\n")),
        "Configuration is invalid file=/r/k3s-boot.yaml line=1 field=secrets.ageKey \
         reason=invalid value: an age key accepted=the path of a file with the age key, never the key itself"
    );
}

#[test]
fn what_is_not_yaml_is_reported_with_its_line() {
    let cases = [
        ("nodes: 1\nnodes: 2\n", "line=1 reason=duplicate field `nodes`"),
        (
            "nodes: 1\n---\nnodes: 2\n",
            "reason=deserializing from YAML containing more than one document is not supported",
        ),
        ("nodes: 1\n\tb: 1\n", "line=2 field=nodes reason=found a tab character that violates indentation"),
    ];
    for (text, expected) in cases {
        let line = reported(text);
        let expected = format!("Configuration is invalid file=/r/k3s-boot.yaml {expected}");
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn only_small_text_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let reason = |path: &Path, named| {
        let (config, problems) = load(path, named);
        assert_eq!((config, problems.len()), (Config::default(), 1), "{problems:?}");
        problems[0].details.iter().find(|(key, _)| *key == "reason").unwrap().1.clone()
    };
    assert_eq!(load(&path, false), (Config::default(), Vec::new()));
    assert_eq!(reason(&path, true), "No such file or directory (os error 2)");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert_eq!(reason(&path, false), "No such file or directory (os error 2)");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(FILE, &path).unwrap();
    assert!(reason(&path, false).starts_with("Too many levels of symbolic links"));
    assert_eq!(reason(folder.path(), true), "it is not a file");
    assert_eq!(reason(Path::new("/dev/zero"), true), "it is not a file");
    let path = folder.path().join("other.yaml");
    std::fs::write(&path, vec![b'#'; 64 * 1024]).unwrap();
    assert_eq!(load(&path, true), (Config::default(), Vec::new()));
    std::fs::write(&path, vec![b'#'; 10 * 1024 * 1024]).unwrap();
    assert_eq!(reason(&path, true), "it is larger than 64 KiB");
    std::fs::write(&path, b"\x7fELF\xff\xfe\x00").unwrap();
    assert_eq!(reason(&path, true), "it is not valid UTF-8");
    std::fs::write(&path, "nodes: 3\n").unwrap();
    assert_eq!(load(&path, false).0.nodes, Some(Count(3)));
}

#[test]
fn a_file_with_a_wrong_name_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("k3s-boot.yml");
    std::fs::write(&other, "nodes: 3\n").unwrap();
    let path = folder.path().join(FILE);
    let (config, problems) = load(&path, false);
    assert_eq!(config, Config::default());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, crate::base::finding::Severity::Warning);
    assert_eq!(problems[0].fix.as_deref().unwrap(), format!("mv {} {}", other.display(), path.display()));
    std::fs::write(&path, "").unwrap();
    assert_eq!(load(&path, false), (Config::default(), Vec::new()), "the right file exists");
}

#[test]
fn the_nearest_word_is_suggested() {
    let words = ["timeouts", "nodes", "skipChecks"];
    for (word, expected) in [
        ("timeout", Some("timeouts")),
        ("TimeOuts", Some("timeouts")),
        ("ndoes", Some("nodes")),
        ("skip_checks", Some("skipChecks")),
        ("n", None),
        ("", None),
        ("cluster", None),
    ] {
        assert_eq!(nearest(word, &words), expected, "{word}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, bytes).unwrap();
        _ = load(&path, true);
    }

    #[test]
    fn no_file_that_people_write_makes_it_panic(text in crate::base::mutate::text(&[
        "cluster:\n  uid: 7f0c1b2a-0000-4000-8000-00000000abcd\nnodes: 3\nnamespaces: [kube-system, &n media, *n]\nsecrets:\n  ageKey: ../age.key\n  \
         files: [bootstrap/x.sops.yaml]\nhelmfiles:\n  crds: a.yaml\n  apps: /b.yaml\n",
        "timeouts:\n  total: 1h 30m\n  release: 90s\n  nodes: 1m\n  verify: 7d\nskipReleases: [kube-system/coredns]\nskipChecks: [versions]\n",
    ])) {
        _ = parse(Path::new("/r/k3s-boot.yaml"), &text);
    }

    #[test]
    fn no_text_makes_it_panic(
        text in "(cluster|uid|nodes|namespaces|timeouts|total|skipChecks|secrets|files|: |\\{|\\}|\\[|\\]|\n|  |- |~|#|3|,|\\*a|&a |x)*",
    ) {
        _ = parse(Path::new("/r/k3s-boot.yaml"), &text);
    }
}

#[test]
fn a_variable_has_one_value_as_it_is_written() {
    let twice = "environment:\n  variables:\n    A: x\n    A: y\n";
    let found = reported(twice);
    assert!(found.ends_with("reason=`A` is set twice, with different values"), "{found}");
    let config = good("environment:\n  variables: {A: x, A: x, B: 0123, C: True, D: }\n");
    let found = config.environment.variables.unwrap().0;
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, [("A", "x"), ("B", "0123"), ("C", "True"), ("D", "")]);
}
