//! What a goodbye comes to: who is told, what the flag says, and who is told that the gateway is back.

use std::collections::HashMap;

use switchboard_actors::ids::{ChatId, OutboxId, TurnId};
use switchboard_actors::ledger::{Done, End, Ending, Finish, NoticeKind, OutboxRow, Step, What};
use switchboard_actors::shutdown::ShutdownReport;
use switchboard_actors::testkit::cuts::Event;

use crate::guarantees::Evidence;

/// G6: a turn that a shutdown cut had its chat told of just that before, in the same life.
pub(crate) fn g06_nobody_is_cut_untold(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let turns = evidence.turns();
    for (cut, life, step, done) in evidence.steps().filter(|(_, life, ..)| !evidence.troubled.contains(life)) {
        let (Step::Finish(Finish { turn, end: End::Interrupted { .. }, .. }), Done::Ok) = (step, done) else { continue };
        let Some(chat) = turns.get(turn) else { panic!("turn {turn} was cut and never started") };
        let told = evidence
            .sent()
            .any(|(place, of, room, _, text)| of == life && place < cut && *room == chat.room && text.contains("urrent task"));
        assert!(told, "G6: turn {turn} in {} was cut in life {life} and nobody was told before", chat.room);
        judged += 1;
    }
    judged
}

impl Evidence {
    fn turns(&self) -> HashMap<TurnId, ChatId> {
        let turns = self.steps().filter_map(|(_, _, step, done)| match (step, done) {
            (Step::Start(start), Done::Started(started)) => Some((started.turn, start.session.chat.clone())),
            _ => None,
        });
        turns.collect()
    }
}

/// G7: who was told "down" or "saved" is told "back", once, unless that word was cut while it was being sent.
pub(crate) fn g07_who_was_told_down_is_told_back(evidence: &Evidence) -> usize {
    let mut judged = 0;
    let last = evidence.facts.last().map_or(0, |fact| fact.life);
    let kind_of = |row: &OutboxRow| match &row.what {
        What::Notice { kind, .. } => Some(*kind),
        What::Reply { .. } => None,
    };
    let rows: HashMap<OutboxId, &OutboxRow> = evidence.rows().map(|(_, _, row)| (row.id, row)).collect();
    for (place, life, room, key, _) in evidence.sent() {
        let told = rows.get(&key).and_then(|row| kind_of(row));
        if !matches!(told, Some(NoticeKind::Down | NoticeKind::Saved)) || life == last {
            continue;
        }
        let back =
            evidence.rows().any(|(written, _, row)| written > place && row.chat.room == *room && kind_of(row) == Some(NoticeKind::Back));
        assert!(back, "G7: {room} was told that the gateway goes down in life {life}, and never that it is back");
        judged += 1;
    }
    for (written, life, row) in evidence.rows().filter(|(_, _, row)| kind_of(row) == Some(NoticeKind::Back)) {
        let said = evidence.sent().any(|(place, _, _, key, _)| key == row.id && place > written);
        assert!(
            said || evidence.was_cut(life) || evidence.troubled.contains(&life),
            "G7: \"back\" was recorded in life {life} and never said"
        );
    }
    judged
}

/// G8: who finds the flag of a clean life is born after a clean one, and nobody twice; and a clean life leaves one, from the moment on at which
/// its directory was synced, whatever becomes of what was not.
pub(crate) fn g08_a_flag_is_consumed_once(evidence: &Evidence, report: &ShutdownReport) -> usize {
    let mut judged = 0;
    let (mut clean, mut synced, mut marked) = (false, false, false);
    for fact in &evidence.facts {
        match &fact.event {
            Event::Committed(Step::Ended { clean: verdict, .. }, Done::Ok) => clean = *verdict,
            Event::Synced => synced = true,
            Event::Committed(Step::Born(born), Done::Ok) => {
                let flagged = born.predecessor == Some(Ending::Clean);
                assert!(clean || !flagged, "G8: a life was born after a clean one that was not");
                assert!(flagged || !marked, "G8: a clean life left no flag that its successor believed");
                (clean, synced, marked) = (false, false, false);
                judged += 1;
            }
            // A life that was not cut came so far, and one that was may have.
            Event::Begun => {
                let before = fact.life - 1;
                marked |= clean && (synced || !evidence.was_cut(before)) && !evidence.troubled.contains(&before);
            }
            _ => {}
        }
    }
    assert!(report.verdict.is_clean(), "G8: nothing was open, and the verdict is {}", report.verdict);
    assert!(evidence.flag, "G8: everybody was idle, and there is no flag");
    judged
}

impl Evidence {
    /// Whether a life was cut.
    pub(crate) fn was_cut(&self, life: usize) -> bool {
        self.facts.iter().any(|fact| fact.life == life && matches!(fact.event, Event::Cut(_)))
    }
}
