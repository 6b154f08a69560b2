//! Asks for what only the user can know.

use std::io::ErrorKind;
use std::time::Duration;

use dialoguer::{Confirm, Input, Select};
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

use super::git;
use crate::base::error::{Cause, Error};
use crate::base::prompt;
use crate::process::signals::Stop;
use crate::settings::cli::{Cni, Dns, Init};

/// How long an interrupted question waits for the signal that interrupted it.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Nodes,
    Cni,
    Dns,
    GitUrl,
    /// Whether the repository at an SSH URL needs a deploy key.
    Private,
}

impl Question {
    /// The flag to use without a terminal; none if there is a default.
    pub(super) fn flag(self) -> Option<&'static str> {
        match self {
            Self::Nodes => Some("--nodes <N>"),
            Self::GitUrl => Some("--git-url <URL>"),
            Self::Cni | Self::Dns | Self::Private => None,
        }
    }

    /// Asks, and returns the flags with the answer.
    ///
    /// The question blocks a thread of its own, so that a signal ends k3s-boot at once.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted, or the terminal is gone.
    pub(super) async fn ask(self, mut flags: Init, stop: &Stop) -> Result<Init, Error> {
        let mode = tcgetattr(std::io::stdin());
        let (sender, answer) = oneshot::channel();
        std::thread::spawn(move || {
            let asked = self.ask_blocking(&mut flags);
            // Nobody waits for it any more after a signal.
            _ = sender.send(asked.map(|()| flags));
        });
        let stopped = tokio::select! {
            asked = answer => match asked {
                Ok(Ok(flags)) => return Ok(flags),
                Ok(Err(dialoguer::Error::IO(error))) if error.kind() != ErrorKind::Interrupted => {
                    return Err(Error::File { action: "ask on", path: "the terminal".into(), source: error });
                }
                // The signal is about to be handled.
                _ => stop.sleep(SIGNAL_TIMEOUT).await,
            },
            stopped = stop.sleep(Duration::MAX) => stopped,
        };
        if let Ok(mode) = mode {
            _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &mode);
        }
        // Behind the question.
        prompt::write("\n");
        Err(stopped.err().map_or(Error::Interrupted(Cause::Signal(Signal::SIGINT)), Error::from))
    }

    fn ask_blocking(self, flags: &mut Init) -> dialoguer::Result<()> {
        match self {
            Self::Nodes => {
                let input = Input::new().with_prompt("Number of nodes").default(1);
                let at_least_one = |nodes: &u32| if *nodes == 0 { Err("at least 1") } else { Ok(()) };
                input.validate_with(at_least_one).interact_text().map(|nodes| flags.nodes = Some(nodes))
            }
            Self::Cni => {
                let items = ["Cilium, which also replaces kube-proxy", "flannel of k3s"];
                let chosen = Select::new().with_prompt("CNI plugin").items(items).default(0).interact();
                chosen.map(|index| flags.cni = Some(if index == 0 { Cni::Cilium } else { Cni::Flannel }))
            }
            Self::Dns => {
                let items = ["CoreDNS as a release, updated through Git", "CoreDNS of k3s"];
                let chosen = Select::new().with_prompt("DNS server").items(items).default(0).interact();
                chosen.map(|index| flags.dns = Some(if index == 0 { Dns::Coredns } else { Dns::K3s }))
            }
            Self::GitUrl => {
                let input = Input::<String>::new().with_prompt("URL of the Git repository that Flux syncs");
                let valid = |url: &String| git::normalized(url).map(drop);
                input.validate_with(valid).interact_text().map(|url| flags.git_url = Some(url))
            }
            Self::Private => {
                let question = "Is the repository private? Flux then needs a deploy key";
                let asked = Confirm::new().with_prompt(question).default(true).interact();
                asked.map(|is_private| flags.deploy_key = is_private)
            }
        }
    }
}
