//! helmfile: reading state files, fetching charts, syncing releases.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::{Toolbox, public};
use crate::child_env::AGE_IDENTITIES;
use crate::desired::releases::Release;
use crate::error::Error;
use crate::plan::releases::Over;
use crate::process::{Invocation, Output, ProcessError, Stream};

/// Fetching charts over a slow line takes long; a registry that does not answer must not hold a bootstrap for ever.
const FETCH: Duration = Duration::from_mins(5);

/// Rendering takes seconds, also for many releases.
const RENDER: Duration = Duration::from_mins(2);

/// helm needs time to mark its release after INT.
const SYNC_GRACE: Duration = Duration::from_secs(30);

/// Why helmfile could not read a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A template asks for a variable that is not set.
    MissingVariable(String),
    /// A values file is not there.
    MissingValues {
        /// As the helmfile names it.
        file: String,
    },
    /// A chart could not be fetched.
    Chart {
        /// The release that wants it.
        release: String,
        /// The chart as helm was asked for it.
        chart: String,
        /// The version, if one was asked for.
        version: String,
        /// helm's words.
        reason: String,
    },
    /// Anything else.
    Other(String),
}

/// What `helmfile sync` tells of its progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A release is being synced.
    Started {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A release of this name was synced.
    Synced {
        /// Its name.
        name: String,
    },
}

/// Reads a line of `helmfile sync` (helmfile 1.7.4, `pkg/helmexec/exec.go`).
#[must_use]
pub fn parse_progress(line: &str) -> Option<Progress> {
    if let Some(rest) = line.strip_prefix("Upgrading release=") {
        let (name, rest) = rest.split_once(", chart=")?;
        let (_, namespace) = rest.rsplit_once(", namespace=")?;
        return Some(Progress::Started { namespace: namespace.trim().to_owned(), name: name.to_owned() });
    }
    let name = line.strip_prefix("Listing releases matching ^")?.strip_suffix('$')?;
    Some(Progress::Synced { name: name.to_owned() })
}

/// The release and helm's own error in what a failed helmfile said, without helmfile's frame.
#[must_use]
pub fn parse_failure(talk: &str) -> (Option<String>, String) {
    let talk = first_of_several(talk);
    let release =
        between(talk, "failed processing release ", ":").or_else(|| between(talk, "[release \"", "\""));
    let reason =
        hook_error(talk).or_else(|| killed(talk)).or_else(|| helm_error(talk)).unwrap_or_else(|| {
            let said = talk.lines().rev().map(str::trim).find(|line| !line.is_empty());
            strip_frame(said.unwrap_or("helmfile gave no reason")).to_owned()
        });
    (release, reason)
}

/// Why a hook failed: its name, and what it wrote on stderr, or how it ended (helmfile 1.7.4, `Bus.Trigger` in
/// `pkg/event/bus.go`).
fn hook_error(talk: &str) -> Option<String> {
    // One that failed after another error is in a warning before that.
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

/// What was said of the first release, when several have failed side by side (helmfile 1.7.4, `Error.Error` in
/// `pkg/app/app.go`).
fn first_of_several(talk: &str) -> &str {
    let Some(at) = talk.rfind("errors:\nerr 0: ") else { return talk };
    let all = &talk[at..];
    all.split_once("\nerr 1: ").map_or(all, |(first, _)| first)
}

/// The signal that has ended helm, which then has had no last word.
fn killed(talk: &str) -> Option<String> {
    let block = talk.split("\nERROR:\n").last()?.lines().next()?.trim();
    block.starts_with("signal: ").then(|| format!("helm ended: {block}"))
}

/// The block between `STDERR:` and `COMBINED OUTPUT:`, in one line; from its first `Error:` on.
fn helm_error(talk: &str) -> Option<String> {
    let block = &talk[talk.rfind("\nSTDERR:")? + "\nSTDERR:".len()..];
    let block = block.split("\nCOMBINED OUTPUT:").next()?;
    let block = block.find("Error: ").map_or(block, |at| &block[at + "Error: ".len()..]);
    let lines: Vec<_> = block.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn strip_frame(line: &str) -> &str {
    let rest = line.strip_prefix("in ").and_then(|rest| rest.split_once(": ")).map(|(_, rest)| rest);
    rest.unwrap_or(line).trim_start_matches('[').trim_end_matches(']')
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    rest.split_once(after).map(|(found, _)| found.to_owned())
}

/// Whether helmfile failed because a template asks for a variable that is not set.
#[must_use]
pub fn is_missing_variable(talk: &str) -> bool {
    missing_variable(talk).is_some()
}

fn missing_variable(talk: &str) -> Option<String> {
    between(talk, "required env var `", "` is not set")
}

/// Reads what a failed `helmfile build` said.
#[must_use]
pub fn parse_build_error(talk: &str) -> BuildError {
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

/// An argument of the command that failed, as helmfile's frame lists them: `  2: oci://… (25 bytes)`.
fn parse_arg(line: &str) -> Option<&str> {
    let (number, rest) = line.strip_prefix("  ")?.split_once(": ")?;
    let (value, size) = rest.rsplit_once(" (")?;
    (number.parse::<u32>().is_ok() && size.ends_with(" bytes)")).then_some(value)
}

impl Toolbox {
    fn helmfile(&self, file: &Path, charts: &Path, args: Vec<OsString>) -> Invocation {
        let mut all: Vec<OsString> =
            vec!["--file".into(), file.into(), "--helm-binary".into(), self.programs.helm.clone().into()];
        if !self.target.context.is_empty() {
            all.extend(["--kube-context".into(), self.target.context.clone().into()]);
        }
        if let [kubeconfig] = self.target.files.as_slice() {
            all.extend(["--kubeconfig".into(), kubeconfig.clone().into_os_string()]);
        }
        all.extend(args);
        Invocation::new("helmfile", &self.programs.helmfile, all)
            .env("HELMFILE_CACHE_HOME", charts)
            .public_part(public::of_helmfile())
    }

    /// Reads a state file: all releases with their rendered values, as YAML. Fetches the charts that are not in
    /// `charts` yet, unless `offline`. `stand_ins` are variables set for this alone.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helmfile's reason; `Err(_)` when helmfile could not be run to its end.
    pub async fn helmfile_build(
        &self,
        file: &Path,
        charts: &Path,
        identities: bool,
        stand_ins: &BTreeMap<String, String>,
        offline: bool,
    ) -> Result<Result<Vec<u8>, BuildError>, Error> {
        let mut args = ["build", "--embed-values"].map(OsString::from).to_vec();
        if offline {
            // Otherwise the index of every repository is fetched.
            args.insert(0, "--skip-deps".into());
        }
        let mut invocation = self.helmfile(file, charts, args).deadline(self.clock.cap(FETCH));
        if offline {
            // What is not on this machine is refused at once.
            let nowhere =
                ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"];
            invocation = nowhere.iter().fold(invocation, |tool, name| tool.env(*name, "http://127.0.0.1:9"));
            invocation = invocation.without(&["NO_PROXY", "no_proxy"]);
        }
        let output = self.runner.run(prepare(invocation, identities, stand_ins)).await?;
        Ok(if output.success() { Ok(output.stdout) } else { Err(parse_build_error(&output.talk)) })
    }

    /// Renders the releases of a state file that these selectors pick, into [`rendered_to`]. Their charts must be in
    /// `charts`.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helmfile's reason; `Err(_)` when helmfile could not be run to its end.
    pub async fn helmfile_template(
        &self,
        file: &Path,
        charts: &Path,
        identities: bool,
        selectors: &[String],
        folder: &Path,
    ) -> Result<Result<(), String>, Error> {
        let mut args = flags(selectors);
        let mut template = folder.as_os_str().to_owned();
        template.push("/namespace-{{ .Release.Namespace }}/{{ .Release.Name }}");
        let words = ["template", "--skip-tests", "--no-hooks", "--output-dir-template"];
        args.extend(words.map(OsString::from));
        args.push(template);
        let invocation = self.helmfile(file, charts, args).deadline(self.clock.cap(RENDER));
        let output = self.runner.run(prepare(invocation, identities, &BTreeMap::new())).await?;
        Ok(if output.success() { Ok(()) } else { Err(parse_failure(&output.talk).1) })
    }

    /// Writes the values of the releases that these selectors pick, with all references resolved, into [`written_to`].
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helmfile's reason; `Err(_)` when helmfile could not be run to its end.
    pub async fn helmfile_write_values(
        &self,
        file: &Path,
        charts: &Path,
        selectors: &[String],
        folder: &Path,
    ) -> Result<Result<(), BuildError>, Error> {
        let mut args = flags(selectors);
        let mut template = folder.as_os_str().to_owned();
        template.push("/namespace-{{ .Release.Namespace }}/{{ .Release.Name }}.yaml");
        args.extend(["write-values".into(), "--output-file-template".into(), template]);
        let invocation = self.helmfile(file, charts, args).deadline(self.clock.cap(RENDER));
        // References are what the identities are for.
        let output = self.runner.run(prepare(invocation, true, &BTreeMap::new())).await?;
        Ok(if output.success() { Ok(()) } else { Err(parse_build_error(&output.talk)) })
    }

    /// Syncs a state file's releases.
    ///
    /// # Errors
    ///
    /// When helmfile could not be run to its end. That it failed is told by its exit code.
    pub async fn helmfile_sync(
        &self,
        file: &Path,
        charts: &Path,
        options: SyncOptions<'_>,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Output, ProcessError> {
        let mut args = flags(options.selectors);
        args.extend(["sync".into(), "--hide-notes".into()]);
        if let Some(timeout) = options.timeout {
            args.extend(["--timeout".into(), timeout.as_secs().max(1).to_string().into()]);
        }
        if options.over.fields {
            args.extend(["--sync-args".into(), "--force-conflicts".into()]);
        }
        if options.over.owners {
            args.push("--take-ownership".into());
        }
        let mut invocation = self.helmfile(file, charts, args).deadline(self.clock.left());
        invocation.stdout_is_talk = true;
        invocation.grace = SYNC_GRACE;
        invocation.in_vain = Some(options.in_vain);
        let invocation = prepare(invocation, options.identities, &BTreeMap::new());
        self.runner
            .run_watched(invocation, |stream, line| {
                if stream == Stream::Stderr {
                    parse_progress(line).into_iter().for_each(&mut on_progress);
                }
            })
            .await
    }
}

/// How a state file is synced.
#[derive(Clone, Debug)]
pub struct SyncOptions<'a> {
    /// Whether its values refer to encrypted files.
    pub identities: bool,
    /// The selectors of the releases that are synced; all when empty.
    pub selectors: &'a [String],
    /// helm's timeout for a release; without one the state file's holds.
    pub timeout: Option<Duration>,
    /// Over what helm goes that would stop it.
    pub over: Over,
    /// Says when it waits in vain: it is ended then.
    pub in_vain: watch::Receiver<bool>,
}

fn flags(selectors: &[String]) -> Vec<OsString> {
    selectors.iter().flat_map(|selector| ["--selector".into(), selector.into()]).collect()
}

/// The folder below `folder` that [`Toolbox::helmfile_template`] renders a release into.
#[must_use]
pub fn rendered_to(folder: &Path, release: &Release) -> PathBuf {
    // helmfile leaves the namespace empty that its state file does not name.
    let namespace = if release.names_namespace { release.namespace.as_str() } else { "" };
    folder.join(format!("namespace-{namespace}")).join(&release.name)
}

/// The file below `folder` that [`Toolbox::helmfile_write_values`] writes a release's values to.
#[must_use]
pub fn written_to(folder: &Path, release: &Release) -> PathBuf {
    let mut path = rendered_to(folder, release).into_os_string();
    path.push(".yaml");
    path.into()
}

fn prepare(invocation: Invocation, identities: bool, stand_ins: &BTreeMap<String, String>) -> Invocation {
    let invocation =
        stand_ins.iter().fold(invocation, |invocation, (name, value)| invocation.env(name, value));
    if identities {
        return invocation;
    }
    invocation.without(&AGE_IDENTITIES)
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
    fn a_chart_that_cannot_be_fetched_is_named() {
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
    fn what_a_state_file_lacks_is_named() {
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
            ("", BuildError::Other("helmfile gave no reason".to_owned())),
        ];
        for (talk, expected) in cases {
            assert_eq!(parse_build_error(talk), expected);
        }
    }

    /// helmfile 1.7.4 when helm 4.2.4 was killed.
    #[test]
    fn a_hook_that_failed_is_named() {
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
    fn a_helm_that_was_killed_has_no_last_word() {
        let talk = "in ./01-apps.yaml: failed processing release cilium: command \"/bin/helm\" exited with non-zero \
                    status:\n\nPATH:\n  /bin/helm\n\nERROR:\n  signal: killed\n\nEXIT STATUS\n  -1\n\nCOMBINED OUTPUT:\n  \
                    Release \"cilium\" does not exist. Installing it now.\n";
        let expected = (Some("cilium".to_owned()), "helm ended: signal: killed".to_owned());
        assert_eq!(parse_failure(talk), expected);
    }

    #[test]
    fn progress_is_read_and_nothing_else() {
        let started = Progress::Started { namespace: "kube-system".to_owned(), name: "cilium".to_owned() };
        assert_eq!(
            parse_progress(
                "Upgrading release=cilium, chart=/c/oci__quay_io/cilium/1.18.6/cilium, namespace=kube-system"
            ),
            Some(started)
        );
        let synced = Progress::Synced { name: "cilium".to_owned() };
        assert_eq!(parse_progress("Listing releases matching ^cilium$"), Some(synced));
        for line in
            ["", "Upgrading release=", "Listing releases matching", "Release \"cilium\" does not exist."]
        {
            assert_eq!(parse_progress(line), None, "{line}");
        }
    }

    #[test]
    fn of_several_that_failed_the_first_is_told() {
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
        fn no_captured_words_of_helmfile_make_a_parser_panic(talk in crate::observed::odd::near(&[
            PULL,
            "in /t/01-apps.yaml: failed to render values files \"a\": at <requiredEnv \"K\">: error calling requiredEnv: required env var `K` is not set\n",
            "in /t/01-apps.yaml: [failed processing release cilium: command \"/helm\" exited with non-zero status: values file matching \"./x\" does not exist in \".\"]\n",
            "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system\nListing releases matching ^cilium$\ncilium\tkube-system\t1\n\nUPDATED RELEASES:\nNAME\n",
        ])) {
            _ = talk.lines().filter_map(parse_progress).count();
            _ = parse_build_error(&talk);
            _ = parse_failure(&talk);
        }

        #[test]
        fn no_words_of_helmfile_make_a_parser_panic(talk: String, frame in
            "(\n|  1: |pull| \\(4 bytes\\)|--version|STDERR:|COMBINED OUTPUT:|Error: |in |: |\\[release \"|\"|failed processing release |required env var `|` is not set|values file matching \"|\" does not exist|Upgrading release=|, chart=|, namespace=|ä|\\[|\\])*") {
            _ = frame.lines().filter_map(parse_progress).count();
            _ = parse_build_error(&frame);
            _ = parse_failure(&frame);
            _ = parse_progress(&talk);
            _ = parse_build_error(&talk);
            _ = parse_build_error(&format!("{talk}\nSTDERR:{talk}\nCOMBINED OUTPUT:{talk}"));
        }
    }
}
