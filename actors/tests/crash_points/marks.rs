//! The clean-shutdown flag: written at the end of a life, consumed at the start of the next, with the power cut around every verb of the disk.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::settings::Policy;
use switchboard_actors::shutdown::ShutdownKind;
use switchboard_actors::testkit::world::Life;

use crate::scenario::{Named, Scenario, scenarios};

const BRIEFLY: Duration = Duration::from_secs(1);

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    scenarios![a_flag_that_is_written_and_consumed, a_flag_behind_a_flag]
}

fn stop(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(async move {
        life.shut_down(ShutdownKind::Stop).await;
    })
}

fn a_second(life: &Life) -> LocalBoxFuture<'_, ()> {
    Box::pin(life.pass(BRIEFLY))
}

fn a_flag_that_is_written_and_consumed() -> Scenario {
    Scenario::new(18, stop).then(a_second).under(&[Policy::Ask]).under_every_loss().cut_twice()
}

fn a_flag_behind_a_flag() -> Scenario {
    Scenario::new(34, stop).then(stop).then(a_second).under(&[Policy::Ask]).under_every_loss()
}
