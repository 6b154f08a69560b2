//! A question on the terminal.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::error::Error;
use crate::base::progress;
use crate::base::prompt;
use crate::process::signals::Stop;

/// The interval at which input is polled. A thread that blocks in a read could not be interrupted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The maximum length of an answer.
const MAX_ANSWER: usize = 4096;

/// Asks a question; true only for `yes` in full, which nobody types by habit.
///
/// # Errors
///
/// k3s-boot was interrupted.
pub(super) async fn confirm(question: &str, stop: &Stop) -> Result<bool, Error> {
    let _hidden = progress::hide();
    prompt::write(&format!("{question} Type `yes` to continue: "));
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER && !answer.contains(&b'\n') {
        let stdin = std::io::stdin();
        let ready = poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
        if matches!(ready, Ok(0)) {
            stop.sleep(POLL_INTERVAL).await?;
            continue;
        }
        let mut bytes = [0; 256];
        match stdin.lock().read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&bytes[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).trim() == "yes")
}
