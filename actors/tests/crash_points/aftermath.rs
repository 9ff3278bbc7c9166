//! What every scenario ends in: lives in which nothing goes wrong any more, until nothing is open.

use std::time::Duration;

use switchboard_actors::ids::TurnId;
use switchboard_actors::ledger::{CutTurn, Knowledge, OpenWork, Question};
use switchboard_actors::protocol::{GetStatus, Inquire, Status};
use switchboard_actors::shutdown::{ShutdownKind, ShutdownReport};
use switchboard_actors::testkit::frail::Health;
use switchboard_actors::testkit::stage::Mood;
use switchboard_actors::testkit::world::{Life, World};

/// How a life that was to come to rest ended.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Nothing was open, and it was shut down.
    Quiet(ShutdownReport),
    /// It went down by itself.
    WentDown,
}

/// Whatever was wrong around the gateway is not any more.
pub(crate) fn all_is_well_again(world: &World) {
    world.condition().set(Health::Well);
    world.stages().for_each(|stage| stage.set_mood(|mood| *mood = Mood::default()));
}

/// Waits until nothing is open, repeating with /retry what was cut, approving what stands before that, and shuts down.
pub(crate) async fn come_to_rest(life: &Life) -> Rest {
    let mut retried: Vec<(TurnId, u32)> = Vec::new();
    for _ in 0..900 {
        life.pass(Duration::from_secs(1)).await;
        let Some((status, open)) = look(life).await else { break };
        if status.phase.is_some() || status.running_count > 0 || life.stages().any(|stage| stage.unaccepted() > 0) || !is_settled(&open) {
            continue;
        }
        if open.cut.is_empty() {
            return Rest::Quiet(life.shut_down(ShutdownKind::Stop).await);
        }
        for cut in open.cut {
            match retried.iter().position(|known| *known == (cut.turn, cut.attempt)) {
                None => {
                    retried.push((cut.turn, cut.attempt));
                    ask(life, &cut, "/retry");
                }
                // A newer turn of its session asks for approval, and is what /retry means.
                Some(known) => {
                    retried.remove(known);
                    ask(life, &cut, "/approve");
                }
            }
        }
    }
    life.pass(Duration::from_secs(120)).await;
    assert!(life.report().is_some(), "after a quarter of an hour something is still open: {:#?}", look(life).await);
    Rest::WentDown
}

/// Everything but cut turns is done with.
fn is_settled(open: &OpenWork) -> bool {
    open.waiting.is_empty() && open.owed.is_empty() && open.commands.is_empty() && open.requests.is_empty()
}

fn ask(life: &Life, cut: &CutTurn, command: &str) {
    let stage = life.stage(cut.session.chat.adapter.as_str());
    stage.say(cut.session.chat.room.as_str(), cut.user.as_str(), command);
}

/// What is going on; `None`: the gateway is gone.
async fn look(life: &Life) -> Option<(Status, OpenWork)> {
    let supervisor = &life.gateway.supervisor;
    let status = supervisor.send(GetStatus).await.ok()?;
    match supervisor.send(Inquire(Question::Open)).await.ok()? {
        Ok(Knowledge::Open(open)) => Some((*status, *open)),
        _ => None,
    }
}
