//! Parses the output of failed helmfile commands (helmfile 1.7.4, helm 4.2.4 and 3.21.4).

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

/// Parses the release and helm's error from the output of a failed helmfile, without the lines that helmfile adds.
pub(crate) fn parse_failure(talk: &str) -> (Option<String>, String) {
    let talk = first_of_several(talk);
    let release =
        between(talk, "failed processing release ", ":").or_else(|| between(talk, "[release \"", "\""));
    let reason =
        hook_error(talk).or_else(|| killed(talk)).or_else(|| helm_error(talk)).unwrap_or_else(|| {
            // chartify prints its error before the command that failed.
            let error = talk.split("\nCOMMAND:\n").next().unwrap_or(talk);
            let line = error.lines().rev().map(str::trim).find(|line| !line.is_empty());
            strip_frame(line.unwrap_or("helmfile gave no reason")).to_owned()
        });
    (release, reason)
}

/// The error of a failed hook: its name, and what it wrote to stderr, or its exit status (helmfile 1.7.4, `Bus.Trigger` in
/// `pkg/event/bus.go`).
fn hook_error(talk: &str) -> Option<String> {
    // A hook that failed after another error is in a warning before that error.
    let last = talk.rfind("failed processing release ").map_or("", |at| &talk[at..]);
    let last = last.split_once(": ").map(|(_, error)| error).or_else(|| {
        let at = talk.rfind(": hook[")?;
        Some(&talk[at + ": ".len()..])
    })?;
    let (name, rest) = last.strip_prefix("hook[")?.split_once("]: command `")?;
    let (_, error) = rest.split_once("` failed: ")?;
    let status = || between(error, "\nERROR:\n", "\n").map(|status| status.trim().to_owned());
    let line = || error.lines().next().map(|line| line.trim().to_owned());
    let reason = helm_error(error).or_else(status).or_else(line).unwrap_or_default();
    Some(format!("hook `{name}` failed: {reason}"))
}

/// The output about the first release, if several failed concurrently (helmfile 1.7.4, `Error.Error` in
/// `pkg/app/app.go`).
fn first_of_several(talk: &str) -> &str {
    let Some(at) = talk.rfind("errors:\nerr 0: ") else { return talk };
    let all = &talk[at..];
    all.split_once("\nerr 1: ").map_or(all, |(first, _)| first)
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

fn strip_frame(line: &str) -> &str {
    let rest = line.strip_prefix("in ").and_then(|rest| rest.split_once(": ")).map(|(_, rest)| rest);
    rest.unwrap_or(line).trim_start_matches('[').trim_end_matches(']')
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
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
    let (release, reason) = parse_failure(talk);
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
    BuildError::Other(reason)
}

/// Parses the output of a failed `helmfile template`.
pub(super) fn parse_template_error(talk: &str) -> TemplateError {
    let (_, reason) = parse_failure(talk);
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

    #[test]
    fn names_failed_hook() {
        let frame =
            "\n\nPATH:\n  /bin/b\n\nARGS:\n  0: b (1 bytes)\n\nERROR:\n  exit status 3\n\nEXIT STATUS\n  3\n";
        let talk = |rest: &str| {
            format!("in ./f.yaml: failed processing release a: hook[h]: command `b` failed: {rest}")
        };
        let reason = |rest: &str| parse_failure(&talk(rest));
        let failed = |reason: &str| (Some("a".to_owned()), format!("hook `h` failed: {reason}"));
        let ended = format!("command \"/bin/b\" exited with non-zero status:{frame}");
        assert_eq!(reason(&ended), failed("exit status 3"));
        assert_eq!(
            reason(&format!("{ended}\nSTDERR:\n  no\n\nCOMBINED OUTPUT:\n  yes\n  no\n")),
            failed("no")
        );
        assert_eq!(reason("unexpected error: not found"), failed("unexpected error: not found"));
        let warned = format!("warn: hook[other]: command `x` failed: y\n\n{}", talk("z"));
        assert_eq!(parse_failure(&warned), failed("z"));
        let global = "in ./f.yaml: hook[h]: command `b` failed: x";
        assert_eq!(parse_failure(global), (None, "hook `h` failed: x".to_owned()));
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
        assert_eq!(parse_failure(talk), expected);
    }

    #[test]
    fn reports_first_of_several_failures() {
        let one = |name: &str, words: &str| {
            format!(
                "failed processing release {name}: command \"helm\" exited with non-zero status:\n\nSTDERR:\n  Error: {words}\n\nCOMBINED OUTPUT:\n  x"
            )
        };
        let talk = format!(
            "in ./x.yaml: 2 errors:\nerr 0: {}\nerr 1: {}\n",
            one("a", "first words"),
            one("b", "other words")
        );
        assert_eq!(parse_failure(&talk), (Some("a".to_owned()), "first words".to_owned()));
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
