//! What stops a run early: signals, and the loss of the lock.

use std::time::{Duration, Instant};

use crate::base::error::{Cause, Stopped};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Signals within this time count as one: `timeout` signals the program and then its group, and both a terminal and a program
/// like `task` pass on one Ctrl-C. Nobody presses a key twice that fast.
const ONE_PRESS: Duration = Duration::from_millis(200);

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Stop running tools in an orderly way.
    Stop(Cause),
    /// Kill running tools; the cause is the first one.
    Kill(Cause),
}

/// Whether and how to stop; clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    orders: watch::Receiver<Option<Order>>,
    sender: watch::Sender<Option<Order>>,
}

impl Stop {
    /// Never stops; for runs that handle no signals.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        let (sender, orders) = watch::channel(None);
        Self { orders, sender }
    }

    /// Stops the run in an orderly way, unless it is stopping already.
    pub(crate) fn raise(&self, cause: Cause) {
        self.sender.send_if_modified(|order| {
            let first = order.is_none();
            *order = order.or(Some(Order::Stop(cause)));
            first
        });
    }

    /// The first cause, if there is one.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match *self.orders.borrow() {
            Some(Order::Stop(cause) | Order::Kill(cause)) => Some(cause),
            None => None,
        }
    }

    /// Whether running tools are killed without a grace period.
    pub(crate) fn killed(&self) -> bool {
        matches!(*self.orders.borrow(), Some(Order::Kill(_)))
    }

    /// Waits for the next order; forever if none comes.
    pub(crate) async fn changed(&mut self) -> Order {
        loop {
            if self.orders.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(order) = *self.orders.borrow_and_update() {
                return order;
            }
        }
    }

    /// Waits for the order to kill.
    pub(crate) async fn until_killed(mut self) {
        while !self.killed() {
            self.changed().await;
        }
    }

    /// Sleeps, unless interrupted.
    ///
    /// # Errors
    ///
    /// k3s-boot was interrupted; returns at once.
    pub(crate) async fn sleep(&self, duration: Duration) -> Result<(), Stopped> {
        let mut stop = self.clone();
        if let Some(cause) = self.cause() {
            return Err(Stopped(cause));
        }
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            Order::Stop(cause) | Order::Kill(cause) = stop.changed() => Err(Stopped(cause)),
        }
    }
}

/// Starts to listen for INT, TERM, HUP and TSTP; must be called within a tokio runtime.
///
/// # Errors
///
/// A handler cannot be installed.
pub(crate) fn listen() -> std::io::Result<Stop> {
    let (sender, orders) = watch::channel(None);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Under nohup, HUP is ignored on purpose.
    let mut hangup = if is_ignored(Signal::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
    let mut suspend = signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
    let stop = Stop { orders, sender: sender.clone() };
    tokio::spawn(async move {
        let mut first: Option<(Signal, Instant)> = None;
        loop {
            let caught = tokio::select! {
                _ = interrupt.recv() => Signal::SIGINT,
                _ = terminate.recv() => Signal::SIGTERM,
                _ = async { match &mut hangup { Some(hangup) => hangup.recv().await, None => std::future::pending().await } } => Signal::SIGHUP,
                _ = suspend.recv() => {
                    // While suspended, k3s-boot could neither enforce timeouts nor pass signals on to helm.
                    tracing::warn!("Cannot be suspended; press Ctrl-C to stop");
                    continue;
                }
            };
            let order = if let Some((first, at)) = first {
                if at.elapsed() < ONE_PRESS {
                    continue;
                }
                tracing::warn!(signal = %caught, "Interrupted again, killing running processes");
                Order::Kill(Cause::Signal(first))
            } else {
                first = Some((caught, Instant::now()));
                tracing::warn!(signal = %caught, "Interrupted, shutting down (press Ctrl-C again to kill)");
                Order::Stop(Cause::Signal(caught))
            };
            if sender.send(Some(order)).is_err() {
                return;
            }
        }
    });
    Ok(stop)
}

/// Whether this process was started with the signal ignored.
#[cfg(target_os = "linux")]
fn is_ignored(signal: Signal) -> bool {
    // proc(5): `SigIgn` is a mask in hexadecimal, bit 0 for signal 1.
    let mask = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    mask.is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

#[cfg(not(target_os = "linux"))]
fn is_ignored(_: Signal) -> bool {
    false
}
