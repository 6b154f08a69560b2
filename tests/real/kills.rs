//! The kill campaign in its short form; `cargo sandbox kills` runs the long one.

use std::path::Path;

use sandbox::{Campaign, Runs, run_campaign};

use super::world::tools;

#[test]
fn what_a_killed_run_leaves_is_mended_by_the_next() {
    let campaign = Campaign {
        seed: 20_261_124,
        cuts: Runs { first: 2, upgrades: 6 },
        restarts: Runs { first: 0, upgrades: 3 },
        signals: 1,
    };
    let program = Path::new(env!("CARGO_BIN_EXE_k3s-boot"));
    run_campaign(tools(), program, &campaign, &|line| println!("{line}")).unwrap();
}
