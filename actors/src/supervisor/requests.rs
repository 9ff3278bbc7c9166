//! The answer to whoever asked, in a chat, for the end of a life: what came of it. It is never carried out again.
//!
//! A restart is answered only after this life has been ready for the dwell time: an answer is proof. A life that did not last leaves the request
//! unanswered, and so the next one knows that the restart failed, and says so.
//!
//! | the life that was asked | lives since, that did not last | the answer |
//! |---|---|---|
//! | said goodbye, to stop | | it took place |
//! | said goodbye, to restart | none, or stopped by somebody | restarted, after so long |
//! | said goodbye, to restart | died, or starts that came to nothing | the restart failed so often: why |
//! | went without a word | | it was cut short |

use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};

use super::{Stage, Supervisor, recovery};
use crate::clock::Wall;
use crate::ledger::{Done, Ending, InstanceFacts, Knowledge, OpenRequest, Question, Request, Step, What, Word};
use crate::shutdown::ShutdownKind;
use crate::texts::{Texts, spoken};

/// Lives that are looked back on; a restart that failed more often has failed for ever.
const LIVES: u32 = 64;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CameOf {
    /// The stop took place.
    Stopped,
    /// The restart worked, after so long; none: the clock says nonsense.
    Restarted(Option<Duration>),
    /// It works now, after so many lives that died and starts that came to nothing: why the first of them did.
    Late(Option<Duration>, u32, &'static str),
    /// The life that was asked went without a word.
    CutShort(&'static str),
}

/// Why a start came to nothing, as one says it in a chat: its reason is for operators.
const IN_VAIN: &str = "it could not start";

/// Judges a request by the lives there were, the present one first, and when starts ended that came to nothing.
fn came_of(request: &Request, lives: &[InstanceFacts], false_starts: &[Wall]) -> CameOf {
    let Some(at) = lives.iter().position(|life| life.instance == request.instance) else {
        return CameOf::CutShort("unknown");
    };
    let after = &lives[..at];
    let Some((ended, ..)) = lives[at].ended.as_ref() else {
        return CameOf::CutShort(after.last().map_or("unknown", cause_before));
    };
    if request.kind == ShutdownKind::Stop {
        return CameOf::Stopped;
    }
    // What a life says of its predecessor; the first after the asked one speaks of that, which said goodbye.
    let died = after.windows(2).filter(|pair| matches!(pair[0].predecessor, Some(Ending::Killed { .. })));
    let died = died.map(|pair| (pair[1].born, cause_before(&pair[0])));
    // Whoever was started beside this life has failed for that.
    let since = |at: &&Wall| **at >= *ended && lives.first().is_none_or(|now| **at <= now.born);
    let mut failures: Vec<(Wall, &'static str)> = died.chain(false_starts.iter().filter(since).map(|at| (*at, IN_VAIN))).collect();
    failures.sort_by_key(|(at, _)| *at);
    let downtime = lives.first().and_then(|now| now.born.since(*ended));
    match failures.first() {
        None => CameOf::Restarted(downtime),
        Some((_, cause)) => CameOf::Late(downtime, u32::try_from(failures.len()).unwrap_or(u32::MAX), cause),
    }
}

/// How the life before this one ended, as one says it in a chat.
fn cause_before(life: &InstanceFacts) -> &'static str {
    recovery::death(life.predecessor.as_ref()).unwrap_or("crash")
}

fn words(texts: &Texts, came_of: &CameOf) -> String {
    let time = |downtime: &Option<Duration>| downtime.map(spoken).unwrap_or_default();
    match came_of {
        CameOf::Stopped => texts.was_stopped.plain(),
        CameOf::Restarted(downtime) => texts.restarted.render(&[("downtime", &time(downtime))]),
        CameOf::Late(downtime, failures, cause) => {
            let often = match failures {
                1 => "once".to_owned(),
                2 => "twice".to_owned(),
                more => format!("{more} times"),
            };
            texts.restarted_late.render(&[("downtime", &time(downtime)), ("attempts", &often), ("cause", cause)])
        }
        CameOf::CutShort(cause) => texts.not_restarted.render(&[("cause", cause)]),
    }
}

impl Supervisor {
    /// Answers what was asked of earlier lives: a stop now, a restart once this life has lasted.
    pub(super) fn answer_requests(&mut self, open: Vec<OpenRequest>, ctx: &mut Context<Self>) {
        let (stops, restarts): (Vec<_>, Vec<_>) = open.into_iter().partition(|open| open.request.kind == ShutdownKind::Stop);
        self.look_back(stops, ctx);
        self.unproved.retain(|known| restarts.iter().all(|restart| restart.seq != known.seq));
        self.unproved.extend(restarts);
        self.prove_restarts(ctx);
    }

    /// Answers restarts once this life has been ready for the dwell time: one that dies before has proved nothing, however long it tried to
    /// connect. To be said again by a supervisor that fell, whose timer is gone.
    pub(super) fn prove_restarts(&self, ctx: &mut Context<Self>) {
        let Some(ready) = self.ready.filter(|_| !self.unproved.is_empty()) else { return };
        let left = self.settings.restart.dwell.saturating_sub(self.clock.now().since(ready));
        ctx.run_later(left, |supervisor, ctx| {
            // One that is going down again leaves the answer to the next.
            if let Stage::Serving = supervisor.stage {
                let restarts = std::mem::take(&mut supervisor.unproved);
                supervisor.look_back(restarts, ctx);
            }
        });
    }

    fn look_back(&self, open: Vec<OpenRequest>, ctx: &Context<Self>) {
        if open.is_empty() {
            return;
        }
        let me = ctx.address();
        self.ledger.ask(Question::Instances { most: LIVES }, move |lives| {
            if let Ok(Knowledge::Instances(lives)) = lives {
                me.do_send(Remembered { open, lives });
            }
        });
    }
}

/// The lives there were.
#[derive(Message)]
#[rtype(result = "()")]
struct Remembered {
    open: Vec<OpenRequest>,
    lives: Vec<InstanceFacts>,
}

impl Handler<Remembered> for Supervisor {
    type Result = ();

    fn handle(&mut self, Remembered { open, lives }: Remembered, ctx: &mut Context<Self>) {
        for open in open {
            let text = words(&self.settings.texts, &came_of(&open.request, &lives, &self.false_starts));
            let replies = self.words(&open.session, &What::Reply { word: Word::Command }, &text, None);
            let (me, rows) = (ctx.address(), replies.clone());
            // Said only once it is durable: a crash in between would have it said again, by the next life and as something new.
            self.ledger.must(Step::Answered { request: open.seq, replies }, move |result| {
                if result == Ok(Done::Ok) {
                    me.do_send(super::waking::Said(rows));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::InstanceId;
    use crate::last_words::Death;
    use crate::shutdown::Phase;

    fn id(number: u128) -> InstanceId {
        InstanceId(uuid::Uuid::from_u128(number))
    }

    /// Life `number`, ten seconds after the one before it; `ended`: whether it said goodbye.
    fn life(number: u128, predecessor: Option<Ending>, ended: bool) -> InstanceFacts {
        let at = i64::try_from(number).expect("few") * 10_000;
        InstanceFacts {
            instance: id(number),
            version: "1".into(),
            born: Wall(at),
            boot: None,
            phase: None,
            ended: ended.then(|| (Wall(at + 1000), ShutdownKind::Restart, true, "clean".into())),
            predecessor,
            why: None,
            seen: None,
            words: None,
        }
    }

    #[test]
    fn g27_whoever_asked_for_a_restart_is_told_how_often_it_failed() {
        let killed = || Some(Ending::Killed { phase: None, by: Death::Unknown });
        let cut = || Some(Ending::Killed { phase: Some(Phase::Drain), by: Death::Unknown });
        let clean = || Some(Ending::Clean);
        let judged = |kind: ShutdownKind, lives: Vec<InstanceFacts>, false_starts: &[i64], expected: CameOf| {
            let request = Request { kind, instance: id(1) };
            let false_starts: Vec<Wall> = false_starts.iter().map(|secs| Wall(secs * 1000)).collect();
            assert_eq!(came_of(&request, &lives, &false_starts), expected, "{lives:#?}");
        };
        let check = |kind, lives, expected| judged(kind, lives, &[], expected);
        let asked = || life(1, None, true);
        let (restart, span) = (ShutdownKind::Restart, |secs: u64| Some(Duration::from_secs(secs)));
        check(restart, vec![life(2, clean(), false), asked()], CameOf::Restarted(span(9)));
        check(ShutdownKind::Stop, vec![life(2, clean(), false), asked()], CameOf::Stopped);
        check(restart, vec![life(3, killed(), false), life(2, clean(), false), asked()], CameOf::Late(span(19), 1, "crash"));
        let twice = vec![life(4, killed(), false), life(3, cut(), false), life(2, clean(), false), asked()];
        check(restart, twice, CameOf::Late(span(29), 2, "cut off while shutting down"));
        // Stopped within its dwell time: nobody has failed.
        check(restart, vec![life(3, clean(), false), life(2, clean(), true), asked()], CameOf::Restarted(span(19)));
        check(restart, vec![life(2, cut(), false), life(1, None, false)], CameOf::CutShort("cut off while shutting down"));
        check(restart, vec![life(2, killed(), false)], CameOf::CutShort("unknown"));
        // Starts in vain: before the asked life ended, twice after it, and beside the present one.
        let vain = [10, 12, 13, 21];
        judged(restart, vec![life(2, clean(), false), asked()], &vain, CameOf::Late(span(9), 2, IN_VAIN));
        let died_first = vec![life(3, killed(), false), life(2, clean(), false), asked()];
        judged(restart, died_first.clone(), &[25], CameOf::Late(span(19), 2, "crash"));
        judged(restart, died_first, &[15], CameOf::Late(span(19), 2, IN_VAIN));
        judged(ShutdownKind::Stop, vec![life(2, clean(), false), asked()], &vain, CameOf::Stopped);
    }
}
