//! The kill campaign in its short form; `cargo sandbox kills` runs the long one.

use std::time::Duration;

use sandbox::{Campaign, Runs, run_campaign};

use super::fixture::tools;
use super::support::k3s_boot;

#[test]
fn next_run_recovers_from_a_kill() {
    let campaign = Campaign {
        seed: 20_261_124,
        cuts: Runs { first: 1, upgrades: 3 },
        restarts: Runs { first: 0, upgrades: 3 },
        // A preflight takes longer while other tests run, but waiting for a lock takes more than 15 s.
        soon: Duration::from_secs(12),
        signals: 1,
        large_crds: false,
    };
    run_campaign(tools(), k3s_boot(), &campaign, &|line| println!("{line}")).unwrap();
}
