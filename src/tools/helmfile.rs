//! helmfile: renders state files, fetches charts and syncs releases.

mod failure;
mod hook_error;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use self::failure::{BuildError, Failure, TemplateError, is_missing_variable, parse_failures};
use self::failure::{parse_build_error, parse_template_error};
pub(crate) use self::hook_error::HookError;
use super::{Toolbox, public};
use crate::base::error::{Error, ProcessError};
use crate::process::{Invocation, Output, Stream};
use crate::tools::child_env::AGE_IDENTITIES;

/// Fetching charts over a slow connection takes long; a registry that does not answer must not block a bootstrap forever.
const FETCH_TIMEOUT: Duration = Duration::from_mins(5);

/// Rendering takes seconds, even for many releases.
const RENDER_TIMEOUT: Duration = Duration::from_mins(2);

/// After SIGINT, helm needs time to mark its release as failed.
const SYNC_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The progress that `helmfile sync` reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A release is being synced.
    Started {
        /// The namespace of the release.
        namespace: String,
        /// The name of the release.
        name: String,
    },
    /// A release was synced.
    Synced {
        /// The name of the release.
        name: String,
    },
    /// A hook with `showlogs: true` has ended and had printed this line.
    HookOutput {
        /// The event of the hook, as in the helmfile.
        event: String,
        line: String,
    },
}

/// Parses a line of `helmfile sync` (helmfile 1.7.4 and 1.8.0, `pkg/helmexec/exec.go` and `pkg/event/bus.go`).
pub(crate) fn parse_progress(line: &str) -> Option<Progress> {
    if let Some(rest) = line.strip_prefix("Upgrading release=") {
        let (name, rest) = rest.split_once(", chart=")?;
        let (_, namespace) = rest.rsplit_once(", namespace=")?;
        return Some(Progress::Started { namespace: namespace.trim().to_owned(), name: name.to_owned() });
    }
    if let Some((event, line)) = line.strip_prefix("hook[").and_then(|rest| rest.split_once("] logs | ")) {
        return Some(Progress::HookOutput { event: event.to_owned(), line: line.trim_end().to_owned() });
    }
    let name = line.strip_prefix("Listing releases matching ^")?.strip_suffix('$')?;
    Some(Progress::Synced { name: name.to_owned() })
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
        self.variables
            .add_to(Invocation::new("helmfile", &self.programs.helmfile, all))
            .env("HELMFILE_CACHE_HOME", charts)
            .public_part(public::helmfile_filter())
    }

    /// Renders a state file: all releases with their values, as YAML. Fetches the charts that are missing in `charts`,
    /// unless `offline`. `stand_ins` are placeholders for missing variables.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helmfile's reason; `Err(_)` when helmfile could not be run or was interrupted.
    pub(crate) async fn helmfile_build(
        &self,
        file: &Path,
        charts: &Path,
        identities: bool,
        stand_ins: &BTreeMap<String, String>,
        offline: bool,
    ) -> Result<Result<Vec<u8>, BuildError>, Error> {
        let mut args = ["build", "--embed-values"].map(OsString::from).to_vec();
        if offline {
            // Without this flag, helmfile fetches the index of every repository.
            args.insert(0, "--skip-deps".into());
        }
        let mut invocation = self.helmfile(file, charts, args).deadline(self.clock.cap(FETCH_TIMEOUT));
        if offline {
            // A closed port as proxy makes every network access fail at once.
            let nowhere =
                ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"];
            invocation = nowhere.iter().fold(invocation, |tool, name| tool.env(*name, "http://127.0.0.1:9"));
            invocation = invocation.without(&["NO_PROXY", "no_proxy"]);
        }
        let output = self.runner.run(prepare(invocation, identities, stand_ins)).await?;
        Ok(if output.success() { Ok(output.stdout) } else { Err(parse_build_error(&output.talk)) })
    }

    /// Renders the manifests of the releases that the selectors match, into [`rendered_to`]. Their charts must be in
    /// `charts`.
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with the first failure, at which helmfile stops; `Err(_)` when helmfile could not be run or was
    /// interrupted.
    pub(crate) async fn helmfile_template(
        &self,
        file: &Path,
        charts: &Path,
        identities: bool,
        selectors: &[String],
        folder: &Path,
    ) -> Result<Result<(), TemplateError>, Error> {
        let mut args = flags(selectors);
        let mut template = folder.as_os_str().to_owned();
        template.push("/namespace-{{ .Release.Namespace }}/{{ .Release.Name }}");
        let words = ["template", "--skip-tests", "--no-hooks", "--output-dir-template"];
        args.extend(words.map(OsString::from));
        args.push(template);
        let invocation = self.helmfile(file, charts, args).deadline(self.clock.cap(RENDER_TIMEOUT));
        let output = self.runner.run(prepare(invocation, identities, &BTreeMap::new())).await?;
        Ok(if output.success() { Ok(()) } else { Err(parse_template_error(&output.talk)) })
    }

    /// Writes the values of the releases that the selectors match, with all references resolved, to [`written_to`].
    ///
    /// # Errors
    ///
    /// `Ok(Err(_))` with helmfile's reason; `Err(_)` when helmfile could not be run or was interrupted.
    pub(crate) async fn helmfile_write_values(
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
        let invocation = self.helmfile(file, charts, args).deadline(self.clock.cap(RENDER_TIMEOUT));
        // Resolving references needs the identities.
        let output = self.runner.run(prepare(invocation, true, &BTreeMap::new())).await?;
        Ok(if output.success() { Ok(()) } else { Err(parse_build_error(&output.talk)) })
    }

    /// Syncs a state file's releases. A failure of helmfile shows in the exit code of the output.
    ///
    /// # Errors
    ///
    /// When helmfile could not be run or was interrupted.
    pub(crate) async fn helmfile_sync(
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
        invocation.grace = SYNC_GRACE_PERIOD;
        invocation.cancel = Some(options.cancel);
        invocation.pid = Some(options.pid);
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

/// Which changes and objects of others helm overrides, because the user asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HelmOverrides {
    /// Reverts manual changes to fields.
    pub fields: bool,
    /// Adopts objects that the release does not own.
    pub owners: bool,
}

/// Options for syncing a state file.
#[derive(Clone, Debug)]
pub(crate) struct SyncOptions<'a> {
    /// Whether helmfile needs age identities because values refer to encrypted files.
    pub identities: bool,
    /// The selectors of the releases to sync; all if empty.
    pub selectors: &'a [String],
    /// helm's timeout for a release; by default that of the state file.
    pub timeout: Option<Duration>,
    pub over: HelmOverrides,
    /// Becomes true when the releases cannot become ready: helmfile is stopped then.
    pub cancel: watch::Receiver<bool>,
    /// Receives the process ID of helmfile.
    pub pid: watch::Sender<Option<u32>>,
}

fn flags(selectors: &[String]) -> Vec<OsString> {
    selectors.iter().flat_map(|selector| ["--selector".into(), selector.into()]).collect()
}

/// The folder in `folder` that [`Toolbox::helmfile_template`] renders a release into.
pub(crate) fn rendered_to(folder: &Path, namespace: Option<&str>, name: &str) -> PathBuf {
    // helmfile renders an empty namespace if the state file does not set one.
    folder.join(format!("namespace-{}", namespace.unwrap_or_default())).join(name)
}

/// The file in `folder` that [`Toolbox::helmfile_write_values`] writes a release's values to.
pub(crate) fn written_to(folder: &Path, namespace: Option<&str>, name: &str) -> PathBuf {
    let mut path = rendered_to(folder, namespace, name).into_os_string();
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

    #[test]
    fn parses_only_progress_lines() {
        let started = Progress::Started { namespace: "kube-system".to_owned(), name: "cilium".to_owned() };
        assert_eq!(
            parse_progress(
                "Upgrading release=cilium, chart=/c/oci__quay_io/cilium/1.18.6/cilium, namespace=kube-system"
            ),
            Some(started)
        );
        let synced = Progress::Synced { name: "cilium".to_owned() };
        assert_eq!(parse_progress("Listing releases matching ^cilium$"), Some(synced));
        let printed = Progress::HookOutput { event: "postsync".to_owned(), line: "a | b".to_owned() };
        assert_eq!(parse_progress("hook[postsync] logs | a | b"), Some(printed));
        for line in
            ["", "Upgrading release=", "Listing releases matching", "Release \"cilium\" does not exist."]
        {
            assert_eq!(parse_progress(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(talk: String, near in crate::base::mutate::text(&[
            "Upgrading release=cilium, chart=/c/cilium, namespace=kube-system\nListing releases matching ^cilium$\ncilium\tkube-system\t1\n\nUPDATED RELEASES:\nNAME\n",
        ])) {
            for talk in [talk, near] {
                _ = talk.lines().filter_map(parse_progress).count();
            }
        }
    }
}
