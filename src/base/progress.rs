//! The live picture on a terminal: a line for each thing that is waited for, below the log lines.
//!
//! It is drawn by a thread of its own, which starts nothing: programs are started by the first one, to which the kernel binds
//! the signal that they get when it dies.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::base::escape::escaped;

/// How often the time on a line goes on.
const TICK: Duration = Duration::from_millis(500);

/// A turning sign that every font has, the time since the wait began and what is left of it, and what is waited for, cut at
/// the edge.
const LINE: &str = "{spinner} {elapsed:>4}{left} {wide_msg}";

/// When a wait began, and how long it goes on at most.
pub type Bound = (Instant, Duration);

static PICTURE: Mutex<Option<Picture>> = Mutex::new(None);

struct Picture {
    all: MultiProgress,
    lines: BTreeMap<String, (ProgressBar, Option<Bound>)>,
}

fn picture() -> MutexGuard<'static, Option<Picture>> {
    PICTURE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on there is one, on stderr.
pub fn begin() {
    *picture() = Some(Picture { all: MultiProgress::new(), lines: BTreeMap::new() });
}

/// Takes it off the screen for good.
pub fn end() {
    if let Some(Picture { all, lines }) = picture().take() {
        for (line, _) in lines.values() {
            line.finish_and_clear();
        }
        _ = all.clear();
    }
}

/// Shows a line under this name, or changes it; what is left of its time goes on by itself. Tells whether there is a picture:
/// otherwise a log line has to do.
pub fn show(name: &str, bound: Option<Bound>, text: impl FnOnce() -> String) -> bool {
    let mut picture = picture();
    let Some(Picture { all, lines }) = picture.as_mut() else { return false };
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

/// What is left of a deadline, once that is worth knowing: a quarter of it, or a minute.
#[must_use]
pub fn near(deadline: Duration, elapsed: Duration) -> Option<Duration> {
    let left = deadline.saturating_sub(elapsed);
    (left <= deadline / 4 || left <= Duration::from_mins(1)).then_some(left)
}

/// Takes a line away.
pub fn done(name: &str) {
    if let Some(Picture { all, lines }) = picture().as_mut()
        && let Some((line, _)) = lines.remove(name)
    {
        line.finish_and_clear();
        all.remove(&line);
    }
}

/// Keeps the picture off the screen until it is dropped, as while a question is asked.
#[must_use]
pub struct Hidden(());

/// Takes the picture off the screen for a while.
pub fn hide() -> Hidden {
    if let Some(Picture { all, .. }) = picture().as_ref() {
        _ = all.clear();
        all.set_draw_target(ProgressDrawTarget::hidden());
    }
    Hidden(())
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(Picture { all, .. }) = picture().as_ref() {
            all.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// Writes something to the terminal, with the picture out of the way.
pub fn beside<T>(write: impl FnOnce() -> T) -> T {
    match picture().as_ref() {
        Some(Picture { all, .. }) => all.suspend(write),
        None => write(),
    }
}
