//! The progress display on a terminal: a line for each wait, below the log.
//!
//! A thread of its own draws it. That thread starts no programs, because the kernel binds the parent-death signal to the
//! thread that starts a program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::base::escape::escaped;

/// The interval at which lines are redrawn.
const TICK: Duration = Duration::from_millis(500);

/// An ASCII spinner, the elapsed and remaining time, and what is waited for, cut at the edge of the terminal.
const LINE: &str = "{spinner} {elapsed:>4}{left} {wide_msg}";

/// The start and the timeout of a wait.
pub(crate) type Bound = (Instant, Duration);

static DISPLAY: Mutex<Option<ProgressDisplay>> = Mutex::new(None);

struct ProgressDisplay {
    all: MultiProgress,
    lines: BTreeMap<String, (ProgressBar, Option<Bound>)>,
}

fn display() -> MutexGuard<'static, Option<ProgressDisplay>> {
    DISPLAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the progress display on stderr.
pub(crate) fn begin() {
    *display() = Some(ProgressDisplay { all: MultiProgress::new(), lines: BTreeMap::new() });
}

/// Ends the progress display.
pub(crate) fn end() {
    if let Some(ProgressDisplay { all, lines }) = display().take() {
        for (line, _) in lines.values() {
            line.finish_and_clear();
        }
        _ = all.clear();
    }
}

/// Shows or updates the line of this name. Returns whether there is a progress display; otherwise the caller logs.
pub(crate) fn show(name: &str, bound: Option<Bound>, text: impl FnOnce() -> String) -> bool {
    let mut display = display();
    let Some(ProgressDisplay { all, lines }) = display.as_mut() else { return false };
    let text = escaped(&text());
    if let Some((line, known)) = lines.get_mut(name) {
        if *known != bound {
            *known = bound;
            set_style(line, bound);
        }
        line.set_message(text);
        return true;
    }
    let line = all.add(ProgressBar::new_spinner().with_message(text));
    set_style(&line, bound);
    line.enable_steady_tick(TICK);
    lines.insert(name.to_owned(), (line, bound));
    true
}

fn set_style(line: &ProgressBar, bound: Option<Bound>) {
    let left = move |_: &ProgressState, words: &mut dyn Write| {
        if let Some(left) = bound.and_then(|(start, deadline)| near(deadline, start.elapsed())) {
            _ = write!(words, " ({:#} left)", HumanDuration(left));
        }
    };
    if let Ok(style) = ProgressStyle::with_template(LINE) {
        line.set_style(style.tick_chars("-\\|/ ").with_key("left", left));
    }
}

/// The remaining time, once it is less than a quarter of the timeout or a minute.
pub(crate) fn near(deadline: Duration, elapsed: Duration) -> Option<Duration> {
    let left = deadline.saturating_sub(elapsed);
    (left <= deadline / 4 || left <= Duration::from_mins(1)).then_some(left)
}

/// Removes a line.
pub(crate) fn done(name: &str) {
    if let Some(ProgressDisplay { all, lines }) = display().as_mut()
        && let Some((line, _)) = lines.remove(name)
    {
        line.finish_and_clear();
        all.remove(&line);
    }
}

/// Hides the progress display until dropped, for example while a question is asked.
#[must_use]
pub(crate) struct Hidden(());

/// Hides the progress display for a while.
pub(crate) fn hide() -> Hidden {
    if let Some(ProgressDisplay { all, .. }) = display().as_ref() {
        _ = all.clear();
        all.set_draw_target(ProgressDrawTarget::hidden());
    }
    Hidden(())
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(ProgressDisplay { all, .. }) = display().as_ref() {
            all.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// Writes to the terminal while the progress display is hidden.
pub(crate) fn beside<T>(write: impl FnOnce() -> T) -> T {
    match display().as_ref() {
        Some(ProgressDisplay { all, .. }) => all.suspend(write),
        None => write(),
    }
}
