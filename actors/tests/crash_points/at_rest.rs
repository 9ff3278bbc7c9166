//! What must hold whenever nobody lives, whatever ended the life.

use std::collections::{HashMap, HashSet};

use switchboard_actors::children::Child;
use switchboard_actors::ids::{Account, AdapterName, Cursor, DeliveryId, SessionKey, TurnId};
use switchboard_actors::ledger::{Done, End, Finish, Knowledge, OpenWork, Question, Step, TurnRow, TurnState};
use switchboard_actors::marker::Found;
use switchboard_actors::testkit::cuts::{Event, Fact};
use switchboard_actors::testkit::world::World;

use crate::children::g09_who_is_at_work_is_on_record;
use crate::guarantees::{judge, steps, told_cut};
use crate::tally;

/// What there is while nobody lives.
pub(crate) struct AtRest {
    pub(crate) facts: Vec<Fact>,
    cursors: Vec<(AdapterName, Account, Option<Cursor>)>,
    turns: Vec<TurnRow>,
    pub(crate) open: OpenWork,
    flag: Option<Found>,
    pub(crate) at_work: Vec<(Child, SessionKey, TurnId)>,
}

impl AtRest {
    fn look(world: &mut World) -> Self {
        let mut cursors: Vec<_> =
            world.stages().map(|stage| (stage.name().clone(), Account::new(format!("stage:{}", stage.name())), None)).collect();
        let questions = cursors.iter().map(|(_, account, _)| Question::Cursor(account.clone()));
        let questions: Vec<Question> = questions.chain([Question::Turns, Question::Open]).collect();
        let mut answers = world.ask(&questions);
        let (Some(Knowledge::Open(open)), Some(Knowledge::Turns(turns))) = (answers.pop(), answers.pop()) else {
            panic!("the ledger lists what is open, and its turns")
        };
        for ((.., cursor), answer) in cursors.iter_mut().zip(answers) {
            let Knowledge::Cursor(known) = answer else { panic!("the ledger keeps cursors") };
            *cursor = known;
        }
        let at_work = world.processes.at_work();
        Self { facts: world.chronicle.facts(), cursors, turns, open: *open, flag: world.marker(), at_work }
    }
}

/// Judges it.
pub(crate) fn check_at_rest(world: &mut World) {
    let rest = AtRest::look(world);
    judge! {
        g03_the_cursor_is_never_ahead(&rest);
        g08_a_flag_rests_on_a_clean_verdict(&rest);
        g09_what_was_cut_is_listed(&rest);
        g09_who_is_at_work_is_on_record(&rest);
    }
}

/// G3: what the cursor has passed is in the ledger.
fn g03_the_cursor_is_never_ahead(rest: &AtRest) -> usize {
    let mut judged = 0;
    for (name, account, cursor) in &rest.cursors {
        let Some(cursor) = cursor else { continue };
        let cursor: u64 = cursor.as_str().parse().expect("the stage counts its deliveries");
        let kept: HashSet<&DeliveryId> = steps(&rest.facts)
            .filter_map(|(_, _, step, done)| match (step, done) {
                (Step::Accept(accept), Done::Accepted { .. } | Done::Cleared { .. } | Done::Duplicate { .. }) => Some(accept),
                _ => None,
            })
            .filter(|accept| accept.account == *account)
            .map(|accept| &accept.delivery)
            .collect();
        let said = rest.facts.iter().filter_map(|fact| match &fact.event {
            Event::Said { stage, delivery, .. } => (stage == name).then_some(delivery),
            _ => None,
        });
        for (delivery, number) in said.zip(1u64..) {
            assert!(
                number > cursor || kept.contains(delivery),
                "G3: the cursor of {name} is at {cursor}, and delivery {delivery} is not in the ledger"
            );
        }
        judged += 1;
    }
    judged
}

/// G8: a flag stands only where the last word of the last life was "clean".
fn g08_a_flag_rests_on_a_clean_verdict(rest: &AtRest) -> usize {
    let Some(Found::Whole(marker)) = &rest.flag else { return 0 };
    let clean = steps(&rest.facts).any(
        |(_, _, step, done)| matches!((step, done), (Step::Ended { instance, clean: true, .. }, Done::Ok) if *instance == marker.instance),
    );
    assert!(clean, "G8: a flag stands, and the verdict of its life is not on record");
    1
}

/// G9: every turn that was started and has not ended is listed.
fn g09_what_was_cut_is_listed(AtRest { facts, turns, .. }: &AtRest) -> usize {
    let (mut open, mut whose) = (HashSet::new(), HashMap::new());
    for (_, _, step, done) in steps(facts) {
        match (step, done) {
            (Step::Start(_) | Step::Resume(_), Done::Started(started)) => {
                open.insert(started.turn);
                if let Step::Start(start) = step {
                    whose.insert(started.turn, &start.session);
                }
            }
            (Step::Finish(Finish { turn, end, .. }), Done::Ok) if !matches!(end, End::Interrupted { .. }) => {
                open.remove(turn);
            }
            // A turn that was cut before goes back to that: both are listed or waiting.
            (Step::Unstart { turn, .. }, Done::Ok) => {
                open.remove(turn);
            }
            (Step::Accept(closing), Done::Cleared { .. }) => open.retain(|turn| whose[turn] != &closing.session || turn.0 > closing.seq),
            _ => {}
        }
    }
    let listed: HashSet<TurnId> = turns.iter().map(|row| row.turn).collect();
    let superseded = |turn: &TurnId| {
        // A newer message closed it, after its chat had been told.
        turns.iter().all(|row| row.turn != *turn) && told_cut(facts, *turn)
    };
    for turn in open.iter().filter(|turn| !listed.contains(turn)) {
        assert!(superseded(turn), "G9: turn {turn} was cut and is not listed: {turns:#?}");
    }
    assert!(turns.iter().all(|row| row.state != TurnState::Running || open.contains(&row.turn)), "G9: a turn runs that never started");
    open.len()
}
