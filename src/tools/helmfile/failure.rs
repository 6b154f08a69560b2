//! Parses the output of failed helmfile commands (helmfile 1.7.4 and 1.8.0, helm 4.2.4 and 3.21.4).

use super::hook_error::HookError;

/// Why helmfile could not render a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BuildError {
    /// A template requires a variable that is not set.
    MissingVariable(String),
    /// A values file does not exist.
    MissingValues {
        /// The path in the helmfile.
        file: String,
    },
    /// A chart could not be fetched.
    Chart {
        /// The release that uses the chart.
        release: String,
        /// The chart as passed to helm.
        chart: String,
        /// The version as passed to helm; empty if none was.
        version: String,
        /// helm's error.
        reason: String,
    },
    /// A file of a helmfile is not YAML. Its name does not end in `.gotmpl`, so helmfile does not render it first.
    Unrendered {
        /// Its path as helmfile prints it.
        file: String,
        /// The error of the YAML parser.
        reason: String,
    },
    /// Anything else.
    Other(String),
}

/// Why `helmfile template` failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// The namespace and name that helm was called with, if helm failed. The namespace is empty if the helmfile sets none.
    pub release: Option<(String, String)>,
    /// The error of helm or helmfile.
    pub reason: String,
}

/// Why helmfile could not process a release, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The name of the release, if helmfile names one.
    pub release: Option<String>,
    /// helm's error without the lines that helmfile adds, or that of helmfile or a hook.
    pub reason: String,
    /// The hook that failed, if one did.
    pub hook: Option<HookError>,
}

/// Parses all failures from the output of a failed helmfile: releases that do not need each other are processed
/// concurrently, so several may fail. There is always one.
pub(crate) fn parse_failures(talk: &str) -> Vec<Failure> {
    // The indented output of other programs is not helmfile's.
    if let Some(reason) = crash(talk.lines()) {
        return vec![Failure { release: None, reason: format!("helmfile crashed: {reason}"), hook: None }];
    }
    match last_error(talk) {
        Some(error) => blocks(error).into_iter().map(|block| parse_block(block, first_error)).collect(),
        None => vec![parse_block(talk, last_line)],
    }
}

/// Parses the first failure from the output of a failed helmfile.
pub(crate) fn parse_failure(talk: &str) -> Failure {
    parse_failures(talk).swap_remove(0)
}

fn parse_block(block: &str, otherwise: fn(&str) -> String) -> Failure {
    let release =
        between(block, "failed processing release ", ":").or_else(|| between(block, "[release \"", "\""));
    let hook = HookError::parse(without_release(block));
    let error = hook.as_ref().map(HookError::reason).or_else(|| killed(block)).or_else(|| helm_error(block));
    let reason = error.unwrap_or_else(|| otherwise(block));
    Failure { release, reason: of_values(&reason).unwrap_or(reason), hook }
}

/// An error of helmfile or helm about the rendered values of a release, which are in a temporary file:
/// `/tmp/helmfile1/media-plex-values-7d7d88f8fd`.
fn of_values(reason: &str) -> Option<String> {
    let rest =
        reason.strip_prefix("unmarshalling yaml ").or_else(|| reason.strip_prefix("failed to parse "))?;
    let (path, error) = rest.split_once(": ")?;
    let (release, _) = path.rsplit('/').next()?.rsplit_once("-values-")?;
    Some(format!("rendered values of {release}: {error}"))
}

/// The line in which a Go program says why it crashed; its stack follows.
pub(super) fn crash<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let reason = lines.find(|line| line.starts_with("panic: ") || line.starts_with("fatal error: "))?;
    lines.any(|line| line.starts_with("goroutine ")).then_some(reason)
}

fn last_line(talk: &str) -> String {
    let line = talk.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or(NO_REASON).to_owned()
}

const NO_REASON: &str = "helmfile gave no reason";

/// The first line of an error, and what it announces. After it come details: a file, or a command and its output.
fn first_error(block: &str) -> String {
    let mut lines =
        without_release(block).lines().map(str::trim_end).skip_while(|line| line.trim().is_empty());
    let first = lines.next().unwrap_or(NO_REASON).trim();
    let listed = lines.take_while(|line| first.ends_with(':') && line.starts_with("  "));
    let listed: Vec<_> = listed.map(str::trim).collect();
    let error = [first, &listed.join("; ")].join(" ");
    error.trim().trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// What helmfile prints at its end, without the state file. What it printed before, and the indented output of other
/// programs, may look like an error too.
fn last_error(talk: &str) -> Option<&str> {
    let starts = |at: &usize| *at == 0 || talk[..*at].ends_with('\n');
    let start = talk.rmatch_indices("in ").map(|(at, _)| at).find(starts)?;
    let mut error = &talk[start..];
    while let Some((_, rest)) = error.strip_prefix("in ").and_then(|rest| rest.split_once(": ")) {
        error = rest;
    }
    Some(error)
}

/// The errors that helmfile prints at its end, each without the state file (helmfile 1.7.4, `Error.Error` in
/// `pkg/app/app.go`).
fn blocks(error: &str) -> Vec<&str> {
    let Some((_, several)) = error.split_once("errors:\nerr 0: ").filter(|(count, _)| is_count(count)) else {
        return vec![error];
    };
    let mut blocks = Vec::new();
    let mut rest = several;
    while let Some((block, after)) = rest.split_once(&format!("\nerr {}: ", blocks.len() + 1)) {
        blocks.push(block);
        rest = after;
    }
    blocks.push(rest);
    blocks
}

fn is_count(text: &str) -> bool {
    text.trim_end().parse::<usize>().is_ok()
}

/// An error without the release that helmfile puts before it, and without brackets.
fn without_release(block: &str) -> &str {
    let rest = block.strip_prefix("failed processing release ");
    let rest = rest.and_then(|rest| rest.split_once(": ")).map_or(block, |(_, error)| error);
    rest.trim_start_matches('[')
}

/// The signal that terminated helm, which prints no error then.
fn killed(talk: &str) -> Option<String> {
    let block = talk.split("\nERROR:\n").last()?.lines().next()?.trim();
    block.starts_with("signal: ").then(|| format!("helm ended: {block}"))
}

/// The block between `STDERR:` and `COMBINED OUTPUT:` as one line, from its first `Error:` on.
fn helm_error(talk: &str) -> Option<String> {
    let block = &talk[talk.rfind("\nSTDERR:")? + "\nSTDERR:".len()..];
    let block = block.split("\nCOMBINED OUTPUT:").next()?;
    if let Some(reason) = crash(block.lines().map(str::trim)) {
        return Some(format!("helm crashed: {reason}"));
    }
    let block = block.find("Error: ").map_or(block, |at| &block[at + "Error: ".len()..]);
    let lines = block.lines().map(str::trim).filter(|line| !line.is_empty() && *line != DEBUG_HINT);
    let joined = lines.fold(String::new(), |joined, line| match joined.chars().last() {
        None => line.to_owned(),
        // Helm 4 splits a template error into several lines.
        Some(':') => format!("{joined} {line}"),
        Some(_) => format!("{joined}; {line}"),
    });
    (!joined.is_empty()).then_some(joined)
}

/// The hint that helm appends to every template error.
const DEBUG_HINT: &str = "Use --debug flag to render out invalid YAML";

pub(super) fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.split_once(after).map(|(found, _)| found.to_owned())
}

/// Whether helmfile failed because a template requires a variable that is not set.
pub(crate) fn is_missing_variable(talk: &str) -> bool {
    missing_variable(talk).is_some()
}

fn missing_variable(talk: &str) -> Option<String> {
    between(talk, "required env var `", "` is not set")
}

/// Parses the output of a failed `helmfile build`.
pub(super) fn parse_build_error(talk: &str) -> BuildError {
    if let Some(name) = missing_variable(talk) {
        return BuildError::MissingVariable(name);
    }
    if let Some(file) = between(talk, "values file matching \"", "\" does not exist") {
        return BuildError::MissingValues { file };
    }
    let Failure { release, reason, .. } = parse_failure(talk);
    // `  1: pull (4 bytes)`, then the chart, then its flags.
    let args: Vec<_> = talk.lines().filter_map(parse_arg).collect();
    if let Some(at) = args.iter().position(|arg| *arg == "pull") {
        let after = |flag: &str| {
            let at = args.iter().position(|arg| *arg == flag)?;
            args.get(at + 1).map(|value| (*value).to_owned())
        };
        return BuildError::Chart {
            release: release.unwrap_or_default(),
            chart: args.get(at + 1).copied().unwrap_or_default().to_owned(),
            version: after("--version").unwrap_or_default(),
            reason,
        };
    }
    if let Some((before, reason)) = reason.split_once(NOT_RENDERED)
        && let Some(file) = between(before, "failed to read ", ": reading document at index ")
    {
        return BuildError::Unrendered { file, reason: reason.to_owned() };
    }
    BuildError::Other(reason)
}

/// What helmfile prints before each YAML error of a file that it does not render.
const NOT_RENDERED: &str = ". Started seeing this since Helmfile v1? Add the .gotmpl file extension: ";

/// Parses the output of a failed `helmfile template`.
pub(super) fn parse_template_error(talk: &str) -> TemplateError {
    let Failure { reason, .. } = parse_failure(talk);
    // `  1: template (8 bytes)`, then the release, the chart, and its flags.
    let args: Vec<_> = talk.lines().filter_map(parse_arg).collect();
    let name = args.iter().position(|arg| *arg == "template").and_then(|at| args.get(at + 1));
    let flag = args.iter().position(|arg| *arg == "--namespace");
    let namespace = flag.and_then(|at| args.get(at + 1)).copied().unwrap_or_default();
    let release = name.map(|name| (namespace.to_owned(), (*name).to_owned()));
    TemplateError { release, reason }
}

/// An argument of the failed command, as helmfile lists them: `  2: oci://… (25 bytes)`.
fn parse_arg(line: &str) -> Option<&str> {
    let (number, rest) = line.strip_prefix("  ")?.split_once(": ")?;
    let (value, size) = rest.rsplit_once(" (")?;
    (number.parse::<u32>().is_ok() && size.ends_with(" bytes)")).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured from helmfile 1.7.4 with helm 4.2.4.
    const PULL: &str = r#"Pulling 127.0.0.1:1/foo/baz:1.2.3
in /tmp/t/tag.yaml: [release "b": command "/tools/helm" exited with non-zero status:

PATH:
  /tools/helm

ARGS:
  0: helm (4 bytes)
  1: pull (4 bytes)
  2: oci://127.0.0.1:1/foo/baz (25 bytes)
  3: --destination (13 bytes)
  4: /tmp/t/cache/oci__127_0_0_1_1/foo/baz/1.2.3 (43 bytes)
  5: --untar (7 bytes)
  6: --version (9 bytes)
  7: 1.2.3 (5 bytes)

ERROR:
  exit status 1

EXIT STATUS
  1

STDERR:
  Error: failed to perform "FetchReference" on source: dial tcp 127.0.0.1:1: connect: connection refused

COMBINED OUTPUT:
  Error: failed to perform "FetchReference" on source: dial tcp 127.0.0.1:1: connect: connection refused]
"#;

    fn parsed(talk: &str) -> (Option<String>, String) {
        let Failure { release, reason, .. } = parse_failure(talk);
        (release, reason)
    }

    #[test]
    fn names_failed_hook() {
        let frame =
            "\n\nPATH:\n  /bin/b\n\nARGS:\n  0: b (1 bytes)\n\nERROR:\n  exit status 3\n\nEXIT STATUS\n  3\n";
        let talk = |rest: &str| {
            format!("in ./f.yaml: failed processing release a: hook[h]: command `b` failed: {rest}")
        };
        let reason = |rest: &str| parsed(&talk(rest));
        let failed = |reason: &str| (Some("a".to_owned()), format!("hook `h` failed: {reason}"));
        let ended = format!("command \"/bin/b\" exited with non-zero status:{frame}");
        assert_eq!(reason(&ended), failed("exit code 3"));
        let printed = format!("{ended}\nSTDERR:\n  no\n\nCOMBINED OUTPUT:\n  yes\n  no\n");
        assert_eq!(reason(&printed), failed("no"));
        assert_eq!(reason("unexpected error: not found"), failed("unexpected error: not found"));
        let warned = format!("warn: hook[other]: command `x` failed: y\n\n{}", talk("z"));
        assert_eq!(parsed(&warned), failed("z"));
        for global in ["hook[h]: command `b` failed: x", "[hook[h]: command `b` failed: x]"] {
            let expected = (None, "hook `h` failed: x".to_owned());
            assert_eq!(parsed(&format!("in ./f.yaml: {global}")), expected);
        }
        // A hook that runs helmfile prints errors of the same form, indented.
        let nested = talk(&format!(
            "{ended}\nSTDERR:\n  in ./g.yaml: failed processing release z: hook[i]: command `c` failed: no\n\nCOMBINED OUTPUT:\n  x"
        ));
        assert_eq!(parse_failure(&nested).hook.map(|hook| hook.name).as_deref(), Some("h"));
        assert_eq!(parsed(&nested).0.as_deref(), Some("a"));
    }

    #[test]
    fn names_chart_that_cannot_be_fetched() {
        assert_eq!(
            parse_build_error(PULL),
            BuildError::Chart {
                release: "b".to_owned(),
                chart: "oci://127.0.0.1:1/foo/baz".to_owned(),
                version: "1.2.3".to_owned(),
                reason: "failed to perform \"FetchReference\" on source: dial tcp 127.0.0.1:1: connect: connection refused".to_owned(),
            }
        );
    }

    #[test]
    fn names_what_a_state_file_misses() {
        let cases = [
            (
                "in /t/01-apps.yaml: failed to render values files \"../templates/values.yaml.gotmpl\": failed to render [../templates/values.yaml.gotmpl], because of template: stringTemplate:2:6: executing \"stringTemplate\" at <requiredEnv \"K3S_API_HOST\">: error calling requiredEnv: required env var `K3S_API_HOST` is not set\n",
                BuildError::MissingVariable("K3S_API_HOST".to_owned()),
            ),
            (
                "in /t/01-apps.yaml: values file matching \"./templates/values.yaml.gotmpl\" does not exist in \".\"\n",
                BuildError::MissingValues { file: "./templates/values.yaml.gotmpl".to_owned() },
            ),
            (
                "in /t/01-apps.yaml: [failed to parse condition in release cond: environment values field '.foo' not found]\n",
                BuildError::Other(
                    "failed to parse condition in release cond: environment values field '.foo' not found"
                        .to_owned(),
                ),
            ),
            (
                "in ./t.yaml: [exec: \"kustomize\": executable file not found in $PATH\n\nCOMMAND:\n  kustomize version\n\nOUTPUT:\n]\n",
                BuildError::Other("exec: \"kustomize\": executable file not found in $PATH".to_owned()),
            ),
            ("", BuildError::Other("helmfile gave no reason".to_owned())),
            (
                "in ./nest2.yaml: in .helmfiles[0]: in ./e.yaml: failed to read e.yaml: failed to load environment values file \"env.yaml\": yaml: line 1: did not find expected ',' or ']'\n\nOffending YAML:\nb: [\n",
                BuildError::Other(
                    "failed to read e.yaml: failed to load environment values file \"env.yaml\": yaml: line 1: did not find expected ',' or ']'"
                        .to_owned(),
                ),
            ),
            (
                "in ./t2.yaml: failed to read t2.yaml: reading document at index 1. Started seeing this since Helmfile v1? Add the .gotmpl file extension: yaml: line 2: could not find expected ':'\n",
                BuildError::Unrendered {
                    file: "t2.yaml".to_owned(),
                    reason: "yaml: line 2: could not find expected ':'".to_owned(),
                },
            ),
            (
                "in ./v.yaml: unmarshalling yaml /tmp/helmfile909725425/media-a-values-7d7d88f8fd: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into map[string]interface {}\n",
                BuildError::Other(
                    "rendered values of media-a: yaml: unmarshal errors: line 1: cannot unmarshal !!seq into map[string]interface {}"
                        .to_owned(),
                ),
            ),
            (
                "in ./a.yaml: failed processing release x: expand sops:///x.yaml#/a: Failed to get the data key required to decrypt the SOPS file.\n\nGroup 0: FAILED\n  age1x: FAILED\n    - | failed to load age identities.\n",
                BuildError::Other(
                    "expand sops:///x.yaml#/a: Failed to get the data key required to decrypt the SOPS file."
                        .to_owned(),
                ),
            ),
        ];
        for (talk, expected) in cases {
            assert_eq!(parse_build_error(talk), expected);
        }
    }

    /// helmfile 1.7.4 with helm 4.2.4 and 3.21.4.
    #[test]
    fn names_release_that_cannot_be_rendered() {
        let frame = |stderr: &str| {
            format!(
                "Templating release=fine, chart=charts/fine\nTemplating release=web, chart=charts/broken\nin ./h.yaml: command \"/helm\" exited with \
                 non-zero status:\n\nPATH:\n  /helm\n\nARGS:\n  0: /helm (5 bytes)\n  1: template (8 bytes)\n  2: web (3 bytes)\n  \
                 3: charts/broken (13 bytes)\n  4: --namespace (11 bytes)\n  5: media (5 bytes)\n\nERROR:\n  exit status 1\n\nEXIT STATUS\n  1\n\n\
                 STDERR:\n{stderr}\n  Use --debug flag to render out invalid YAML\n\nCOMBINED OUTPUT:\n{stderr}\n"
            )
        };
        let web = Some(("media".to_owned(), "web".to_owned()));
        let helm_4 = "  Error: broken/templates/x.yaml:4:20\n    executing \"broken/templates/x.yaml\" at <.Values.a.b>:\n      nil pointer evaluating \
                      interface {}.b";
        let reason = "broken/templates/x.yaml:4:20; executing \"broken/templates/x.yaml\" at <.Values.a.b>: nil pointer evaluating interface {}.b";
        let expected = TemplateError { release: web.clone(), reason: reason.to_owned() };
        assert_eq!(parse_template_error(&frame(helm_4)), expected);
        let reason = "template: broken/templates/x.yaml:4:20: executing \"broken/templates/x.yaml\" at <.Values.a.b>: nil pointer evaluating \
                      interface {}.b";
        let expected = TemplateError { release: web, reason: reason.to_owned() };
        assert_eq!(parse_template_error(&frame(&format!("  Error: {reason}"))), expected);
        let without_namespace =
            frame("  Error: x").replace("  4: --namespace (11 bytes)\n  5: media (5 bytes)\n", "");
        assert_eq!(parse_template_error(&without_namespace).release, Some((String::new(), "web".to_owned())));
        let tab = "  Error: failed to parse /tmp/helmfile1511974262/media-web-values-76f7db8478: cannot unmarshal yaml document: error converting YAML to JSON: yaml: line 2: found a tab character that violates indentation";
        let reason = "rendered values of media-web: cannot unmarshal yaml document: error converting YAML to JSON: yaml: line 2: found a tab character that violates indentation";
        assert_eq!(parse_template_error(&frame(tab)).reason, reason);
        let no_release = parse_template_error("in ./h.yaml: no releases found\n");
        assert_eq!(no_release, TemplateError { release: None, reason: "no releases found".to_owned() });
    }

    /// helmfile 1.7.4 when helm 4.2.4 was killed.
    #[test]
    fn reports_signal_that_killed_helm() {
        let talk = "in ./01-apps.yaml: failed processing release cilium: command \"/bin/helm\" exited with non-zero \
                    status:\n\nPATH:\n  /bin/helm\n\nERROR:\n  signal: killed\n\nEXIT STATUS\n  -1\n\nCOMBINED OUTPUT:\n  \
                    Release \"cilium\" does not exist. Installing it now.\n";
        let expected = (Some("cilium".to_owned()), "helm ended: signal: killed".to_owned());
        assert_eq!(parsed(talk), expected);
    }

    /// The reports roboll/helmfile#1459 and #2163.
    #[test]
    fn reports_the_line_in_which_a_program_crashed() {
        let stack = "[signal SIGSEGV: segmentation violation]\n\ngoroutine 1 [running]:\nmain.main()\n\t/x/main.go:1 +0x1\n";
        let panic = "panic: runtime error: invalid memory address or nil pointer dereference";
        let talk = format!("Upgrading release=a, chart=b\n{panic}\n{stack}");
        assert_eq!(parsed(&talk), (None, format!("helmfile crashed: {panic}")));
        let indented = format!("{panic}\n{stack}").replace('\n', "\n  ");
        let talk = format!(
            "in ./x.yaml: failed processing release a: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  {indented}\nCOMBINED OUTPUT:\n  {indented}\n"
        );
        assert_eq!(parsed(&talk), (Some("a".to_owned()), format!("helm crashed: {panic}")));
        assert_eq!(parsed("in ./x.yaml: panic: no stack\n").1, "panic: no stack");
    }

    #[test]
    fn reports_each_of_several_failures() {
        let helm = |name: &str, words: &str| {
            format!(
                "failed processing release {name}: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  Error: {words}\n\nCOMBINED OUTPUT:\n  x"
            )
        };
        let hook = "failed processing release b: hook[h]: command `b` failed: unexpected error: not found";
        let talk = format!(
            "in ./x.yaml: 3 errors:\nerr 0: {}\nerr 1: {hook}\nerr 2: {}\n",
            helm("a", "first words"),
            helm("c", "last words")
        );
        let found: Vec<_> = parse_failures(&talk)
            .into_iter()
            .map(|failure| (failure.release.unwrap_or_default(), failure.reason))
            .collect();
        let expected = [
            ("a", "first words"),
            ("b", "hook `h` failed: unexpected error: not found"),
            ("c", "last words"),
        ];
        assert_eq!(found, expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
        assert_eq!(parsed(&talk).1, "first words");
    }

    proptest::proptest! {
        #[test]
        fn parsing_captured_output_never_panics(talk in crate::base::mutate::text(&[
            PULL,
            "in /t/01-apps.yaml: failed to render values files \"a\": at <requiredEnv \"K\">: error calling requiredEnv: required env var `K` is not set\n",
            "in /t/01-apps.yaml: [failed processing release cilium: command \"/helm\" exited with non-zero status: values file matching \"./x\" does not exist in \".\"]\n",
            "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system\nListing releases matching ^cilium$\ncilium\tkube-system\t1\n\nUPDATED RELEASES:\nNAME\n",
        ])) {
            _ = parse_build_error(&talk);
            _ = parse_template_error(&talk);
            _ = parse_failure(&talk);
        }

        #[test]
        fn parsing_never_panics(talk: String, frame in
            "(\n|  1: |pull| \\(4 bytes\\)|--version|STDERR:|COMBINED OUTPUT:|Error: |in |: |\\[release \"|\"|failed processing release |required env var `|` is not set|values file matching \"|\" does not exist|Upgrading release=|, chart=|, namespace=|ä|\\[|\\])*") {
            _ = parse_build_error(&frame);
            _ = parse_failure(&frame);
            _ = parse_build_error(&talk);
            _ = parse_build_error(&format!("{talk}\nSTDERR:{talk}\nCOMBINED OUTPUT:{talk}"));
        }
    }
}
