//! Parses the error of a failed hook (helmfile 1.7.4 and 1.8.0: `Bus.Trigger` in `pkg/event/bus.go`, `newExitError` in
//! `pkg/helmexec/exit_error.go`).

use super::failure::{between, crash};

/// The maximum number of lines that are kept of a hook's output. The log file has all of it.
const MAX_LINES: usize = 10;

/// A hook that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookError {
    /// The name that helmfile prints: `name`, else the command.
    pub name: String,
    /// The program.
    pub command: String,
    /// Unless a signal terminated it, or it could not be started.
    pub exit_code: Option<i32>,
    /// The last lines that it printed.
    pub output: Vec<String>,
    /// Its last line on stderr, else how it ended.
    summary: String,
}

impl HookError {
    /// Parses an error of helmfile, if it is that of a hook.
    pub(super) fn parse(error: &str) -> Option<Self> {
        let (name, rest) = error.strip_prefix("hook[")?.split_once("]: ")?;
        let Some((command, error)) =
            rest.strip_prefix("command `").and_then(|rest| rest.split_once("` failed: "))
        else {
            // It was not started: its arguments cannot be rendered.
            let summary = first_line(rest);
            let (name, command) = (name.to_owned(), String::new());
            return Some(Self { name, command, exit_code: None, output: Vec::new(), summary });
        };
        let code = between(error, "\nEXIT STATUS\n", "\n").and_then(|code| code.trim().parse::<i32>().ok());
        let exit_code = code.filter(|code| *code >= 0);
        let combined = error.split_once("\nCOMBINED OUTPUT:\n").map_or("", |(_, output)| output);
        let stderr = between(error, "\nSTDERR:\n", "\nCOMBINED OUTPUT:\n").unwrap_or_default();
        // The indentation is helmfile's.
        let own = |line: &str| line.strip_prefix("  ").unwrap_or(line).trim_end().to_owned();
        let mut output: Vec<_> = combined.lines().filter(|line| !line.trim().is_empty()).map(own).collect();
        output.drain(..output.len().saturating_sub(MAX_LINES));
        let last = error_of(&stderr);
        let status = || match exit_code {
            Some(code) => format!("exit code {code}"),
            // `signal: killed`
            None => between(error, "\nERROR:\n", "\n")
                .map_or_else(|| first_line(error), |text| text.trim().to_owned()),
        };
        let summary = last.or_else(|| output.last().cloned()).unwrap_or_else(status);
        Some(Self { name: name.to_owned(), command: command.to_owned(), exit_code, output, summary })
    }

    /// The reason, as one line.
    pub(super) fn reason(&self) -> String {
        format!("hook `{}` failed: {}", self.name, self.summary)
    }
}

/// The last error in what a hook printed. kubectl prints the kind that it does not know before what to do about it.
fn error_of(stderr: &str) -> Option<String> {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines().next_back()?;
    let known = if last.starts_with(UNKNOWN_KIND_ADVICE) {
        lines().rfind(|line| line.starts_with("error: ") && line.contains("no matches for kind "))
    } else {
        crash(lines())
    };
    Some(known.unwrap_or(last).to_owned())
}

/// The last line of kubectl 1.36 about a kind that the API server does not have.
const UNKNOWN_KIND_ADVICE: &str = "ensure CRDs are installed first";

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().trim_end_matches(']').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// helmfile 1.7.4 and 1.8.0.
    const FAILED: &str = "hook[wait]: command `bash` failed: command \"/usr/bin/bash\" exited with non-zero status:\n\nPATH:\n  /usr/bin/bash\n\n\
        ARGS:\n  0: bash (4 bytes)\n  1: -c (2 bytes)\n  2: exit 3 (6 bytes)\n\nERROR:\n  exit status 3\n\nEXIT STATUS\n  3\n\nSTDERR:\n  no\n    more\n\n\
        COMBINED OUTPUT:\n  one\n  no\n    more\n  two\n";

    #[test]
    fn the_exit_code_and_the_last_lines_are_kept() {
        let hook = HookError::parse(FAILED).unwrap();
        assert_eq!((hook.name.as_str(), hook.command.as_str(), hook.exit_code), ("wait", "bash", Some(3)));
        assert_eq!(hook.output, ["one", "no", "  more", "two"]);
        assert_eq!(hook.reason(), "hook `wait` failed: more");
        let killed = FAILED.replace("exit status 3", "signal: killed").replace("STATUS\n  3", "STATUS\n  -1");
        let killed = HookError::parse(killed.split("\n\nSTDERR:").next().unwrap()).unwrap();
        assert_eq!(
            (killed.exit_code, killed.reason()),
            (None, "hook `wait` failed: signal: killed".to_owned())
        );
        let long = FAILED.replace("  one\n", &"  line\n".repeat(50));
        assert_eq!(HookError::parse(&long).unwrap().output.len(), MAX_LINES);
    }

    #[test]
    fn hooks_that_are_not_started_have_a_reason() {
        let reason = |error: &str| HookError::parse(error).map(|hook| hook.reason());
        let template = "hook[x]: template: stringTemplate:1:3: executing at <.A>: nil pointer\nmore";
        let expected = "hook `x` failed: template: stringTemplate:1:3: executing at <.A>: nil pointer";
        assert_eq!(reason(template).as_deref(), Some(expected));
        assert_eq!(reason("command \"helm\" exited"), None);
    }

    #[test]
    fn an_unknown_kind_is_the_reason() {
        let kubectl = "error: resource mapping not found for name: \"pool\" namespace: \"\" from \"STDIN\": no matches for kind \"CiliumLoadBalancerIPPool\" in version \"cilium.io/v2alpha1\"";
        let talk = format!("  {kubectl}\n  ensure CRDs are installed first");
        let hook = HookError::parse(&FAILED.replace("  no\n    more", &talk)).unwrap();
        assert_eq!(hook.reason(), format!("hook `wait` failed: {kubectl}"));
        let crashed = "panic: no\n\ngoroutine 1 [running]:\nmain.main()";
        assert_eq!(error_of(crashed).as_deref(), Some("panic: no"));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(error in crate::base::mutate::text(&[FAILED])) {
            _ = HookError::parse(&error).map(|hook| hook.reason());
        }
    }
}
