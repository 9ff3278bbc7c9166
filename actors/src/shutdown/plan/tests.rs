//! The plan of a shutdown, as tables.

use super::*;
use crate::ids::UserId;

fn at(secs: u64) -> Moment {
    Moment(Duration::from_secs(secs))
}

/// Grace 60: roll call until 1 s after it began, drain until 53, interrupt until 55, flush until 58, disconnect until 60.
fn budgets() -> Budgets {
    let secs = Duration::from_secs;
    Budgets {
        grace: secs(60),
        roll_call: secs(1),
        announce: secs(3),
        interrupt: secs(2),
        flush: secs(3),
        disconnect: secs(2),
        margin: secs(8),
        manager_limit: Duration::ZERO,
    }
}

fn chat(room: &str) -> ChatId {
    ChatId::new("a", room)
}

fn key(room: &str, member: Option<&str>) -> Arc<SessionKey> {
    Arc::new(SessionKey { chat: chat(room), member: member.map(UserId::from) })
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Enter(phase) => phase.to_string(),
        Effect::AskAll => "ask all".into(),
        Effect::Announce(call) => format!("tell {}", call.chat.room),
        Effect::Withdraw(chat) => format!("spare {}", chat.room),
        Effect::Soften(chat) => format!("soften {}", chat.room),
        Effect::Rephrase { kind, until } => format!("{kind} until {}", until.0.as_secs()),
        Effect::Drain { until } => format!("tickets until {}", until.0.as_secs()),
        Effect::Interrupt(seats) => format!("cut {}", seats.len()),
        Effect::Flush | Effect::Disconnect | Effect::Close => "go".into(),
        Effect::Mark { clean: true, .. } => "flag".into(),
        Effect::Mark { clean: false, .. } => "no flag".into(),
        Effect::Wake(at) => format!("wake {}", at.0.as_secs()),
        Effect::Report(report) => format!("{} of {}", report.verdict.is_clean(), report.census),
    }
}

fn said(effects: &[Effect]) -> String {
    effects.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// What follows, and when it looks again, which is only said when that has changed.
fn said_and_awaited(plan: &Plan, effects: &[Effect], before: Option<Moment>) -> String {
    let (wakes, others): (Vec<_>, Vec<_>) = effects.iter().partition(|effect| matches!(effect, Effect::Wake(_)));
    let waits = plan.began.last().is_some_and(|(_, _, ended)| ended.is_none());
    let alarm = plan.alarm.filter(|_| waits).map(Effect::Wake);
    assert_eq!(wakes.first().copied(), alarm.as_ref().filter(|_| plan.alarm != before));
    others.into_iter().chain(&alarm).map(words).collect::<Vec<_>>().join(", ")
}

/// Begins at 0 s with this grace and these sessions (the room, and whether it is in memory), then steps: the second, what happens, what
/// follows.
fn check(grace: Option<u64>, census: &[(&str, bool)], begin: &str, steps: Vec<(u64, Event, &str)>) -> Option<ShutdownReport> {
    let census = census.iter().enumerate().map(|(at, (room, live))| (key(room, Some(&at.to_string())), *live));
    let (mut plan, effects) = Plan::begin(at(0), ShutdownKind::Restart, grace.map(Duration::from_secs), budgets(), census);
    assert_eq!(said(&effects), begin);
    let mut report = None;
    for (secs, event, expected) in steps {
        let what = format!("{event:?} at {secs} s");
        let before = plan.alarm.filter(|_| event != Event::Tick);
        let effects = plan.step(at(secs), event);
        assert_eq!(said_and_awaited(&plan, &effects, before), expected, "{what}");
        report = report.or(effects.into_iter().find_map(|effect| match effect {
            Effect::Report(report) => Some(*report),
            _ => None,
        }));
    }
    if let Some(report) = &report {
        assert_eq!(report.idle + report.sessions.len(), report.census, "{report:?}");
    }
    report
}

fn running(seat: u32) -> Event {
    Event::Present(Seat(seat), Presence::Running(at(0), None))
}

fn bye(seat: u32, outcome: Outcome) -> Event {
    Event::Goodbye(Seat(seat), Some(Goodbye { outcome, reason: String::new() }))
}

fn handed(room: &str) -> Event {
    Event::Handed(chat(room))
}

const BEGIN: &str = "quiesce, roll call, ask all, wake 1";
const TOLD: &str = "announce, restart until 53, tell 1, drain, tickets until 53, wake 3";

#[test]
fn nobody_there_goes_at_once() {
    let steps = vec![
        (0, Event::Flushed, "disconnect, go, wake 60"),
        (0, Event::Disconnected, "mark, flag, wake 64"),
        (0, Event::Marked(Ok(())), "close, go, wake 66"),
        (0, Event::Closed, "true of 0"),
        (1, Event::Closed, ""),
        (70, Event::Tick, ""),
    ];
    check(None, &[], "quiesce, flush, go, wake 58", steps).expect("a report");
}

#[test]
fn everybody_finishes() {
    let steps = vec![
        (0, running(0), TOLD),
        (0, handed("1"), "wake 53"),
        (0, Event::Noticed(chat("1"), NoticeFate::Sent), "wake 53"),
        (9, bye(0, Outcome::Finished), "flush, go, wake 58"),
        (9, bye(0, Outcome::Interrupted), "wake 58"),
        (9, Event::Flushed, "disconnect, go, wake 60"),
        (9, Event::Disconnected, "mark, flag, wake 64"),
        (9, Event::Marked(Ok(())), "close, go, wake 66"),
        (9, Event::Closed, "true of 1"),
    ];
    let report = check(None, &[("1", true)], BEGIN, steps).expect("a report");
    let announce = report.phases.iter().find(|time| time.phase == Phase::Announce).expect("it announced");
    assert_eq!(announce.took, Duration::ZERO, "it ends when all is handed over, not with the drain");
}

#[test]
fn every_deadline_leads_on() {
    let steps = vec![
        (1, Event::Tick, "announce, restart until 53, tell 1, drain, tickets until 53, wake 4"),
        (4, Event::Tick, "wake 53"),
        (53, Event::Tick, "interrupt, cut 1, wake 55"),
        (55, Event::Tick, "flush, go, wake 58"),
        (58, Event::Tick, "disconnect, go, wake 60"),
        (60, Event::Tick, "mark, no flag, wake 64"),
        (64, Event::Tick, "close, go, wake 66"),
        (66, Event::Tick, "false of 1"),
    ];
    let report = check(None, &[("1", true)], BEGIN, steps).expect("a report");
    assert_eq!(report.notices, [(chat("1"), NoticeFate::Failed { reason: "not handed over in time".into() })]);
    assert_eq!(report.sessions[0].outcome, Outcome::Silent);
}

#[test]
fn a_grace_that_is_too_short_is_raised_and_hurry_leaves_the_drain_nothing() {
    let begin = "quiesce, roll call, ask all, wake 1";
    check(Some(2), &[("1", true)], begin, vec![(0, running(0), "announce, restart until 4, tell 1, drain, tickets until 4, wake 3")]);
    let hurried = vec![
        (0, running(0), TOLD),
        (1, Event::Hurry, "restart until 1, wake 3"),
        (2, handed("1"), "interrupt, cut 1, wake 4"),
        (2, Event::Hurry, "wake 4"),
        (2, bye(0, Outcome::Interrupted), "flush, go, wake 7"),
    ];
    check(None, &[("1", true)], BEGIN, hurried);
}

#[test]
fn a_second_request_joins() {
    let joined = |kind, grace: Option<u64>| Event::Joined { kind, grace: grace.map(Duration::from_secs) };
    let steps = vec![
        (0, running(0), TOLD),
        (0, handed("1"), "wake 53"),
        (1, joined(ShutdownKind::Update, None), "wake 53"),
        (1, joined(ShutdownKind::Stop, None), "stop until 53, wake 53"),
        (1, joined(ShutdownKind::Restart, Some(27)), "stop until 21, wake 21"),
        (1, joined(ShutdownKind::Stop, Some(500)), "stop until 21, wake 21"),
    ];
    check(None, &[("1", true)], BEGIN, steps);
}

#[test]
fn a_notice_that_was_given_back_holds_up_the_cut_and_only_for_its_budget() {
    let given_back = vec![
        (0, running(0), TOLD),
        (0, handed("1"), "wake 53"),
        (0, Event::HeldBack(chat("1")), "wake 3"),
        (1, Event::Hurry, "restart until 1, wake 3"),
        (3, Event::Tick, "interrupt, cut 1, wake 5"),
    ];
    check(None, &[("1", true)], BEGIN, given_back);
}

#[test]
fn a_chat_is_spared_when_nobody_is_left_to_be_told_about() {
    let both = "announce, restart until 53, tell 1, drain, tickets until 53, wake 3";
    let over = |seat: u32| Event::TurnOver(key("1", Some(&seat.to_string())), 0);
    let shared = vec![
        (0, running(0), "wake 1"),
        (0, running(1), both),
        (1, over(0), "wake 3"),
        (1, over(0), "wake 3"),
        (2, bye(1, Outcome::Finished), "spare 1, wake 3"),
    ];
    check(None, &[("1", true), ("1", true)], BEGIN, shared);
    let handed_over = vec![(0, running(0), TOLD), (0, handed("1"), "wake 53"), (1, over(0), "wake 53")];
    check(None, &[("1", true)], BEGIN, handed_over);
    let never_told = vec![
        (0, running(0), TOLD),
        (0, Event::Noticed(chat("1"), NoticeFate::Failed { reason: "down".into() }), "wake 53"),
        (1, over(0), "spare 1, wake 53"),
    ];
    check(None, &[("1", true)], BEGIN, never_told);
}

#[test]
fn g06_a_chat_whose_turn_is_over_is_still_told_of_what_waits() {
    let over = |waiting| Event::TurnOver(key("1", Some("0")), waiting);
    check(
        None,
        &[("1", true)],
        BEGIN,
        vec![(0, running(0), TOLD), (1, over(2), "soften 1, wake 3"), (2, bye(0, Outcome::Finished), "flush, go, wake 58")],
    );
    // In a group somebody else's message waits; whoever only waits is never spared.
    let both = "announce, restart until 53, tell 1, drain, tickets until 53, wake 3";
    let waits = Event::Present(Seat(1), Presence::Waiting);
    check(
        None,
        &[("1", true), ("1", true)],
        BEGIN,
        vec![(0, running(0), "wake 1"), (0, waits.clone(), both), (1, over(0), "soften 1, wake 3")],
    );
    let alone = vec![
        (0, Event::Present(Seat(0), Presence::Waiting), TOLD),
        (1, over(0), "wake 3"),
        (1, bye(0, Outcome::Finished), "flush, go, wake 58"),
    ];
    check(None, &[("1", true)], BEGIN, alone);
}

#[test]
fn g07_a_turn_that_ends_while_others_are_asked_is_not_announced_as_running() {
    let over = |room: &str, waiting| Event::TurnOver(key(room, Some("0")), waiting);
    let last = Event::Present(Seat(1), Presence::Quiet);
    let quiet = vec![(0, running(0), "wake 1"), (0, over("1", 0), "wake 1"), (0, last.clone(), "drain, tickets until 53, wake 53")];
    check(None, &[("1", true), ("2", true)], BEGIN, quiet);
    let waits = vec![(0, running(0), "wake 1"), (0, over("1", 2), "wake 1"), (0, last, TOLD)];
    check(None, &[("1", true), ("2", true)], BEGIN, waits);
    // It had ended before its session was asked, which then told of the next one.
    let next = vec![(0, over("1", 1), "wake 1"), (0, running(0), TOLD)];
    check(None, &[("1", true)], BEGIN, next);
    let stranger = vec![(0, over("nobody", 1), "wake 1"), (0, running(0), TOLD)];
    check(None, &[("1", true)], BEGIN, stranger);
}

#[test]
fn g08_only_idle_and_finished_in_time_are_clean() {
    let check = |outcome: Option<Outcome>, mark: &str| {
        let event = outcome.map_or(Event::Goodbye(Seat(0), None), |outcome| bye(0, outcome));
        let steps = vec![
            (0, running(0), TOLD),
            (1, event, "flush, go, wake 58"),
            (1, Event::Flushed, "disconnect, go, wake 60"),
            (1, Event::Disconnected, mark),
        ];
        super::tests::check(None, &[("1", true)], BEGIN, steps);
    };
    check(Some(Outcome::Idle), "mark, flag, wake 64");
    check(Some(Outcome::Owing), "mark, no flag, wake 64");
    check(Some(Outcome::Interrupted), "mark, no flag, wake 64");
    check(None, "mark, no flag, wake 64");
}

#[test]
fn a_session_out_of_memory_counts_until_its_reply_is_delivered() {
    let begin = "quiesce, drain, tickets until 53, wake 53";
    check(None, &[("1", false)], begin, vec![(1, Event::Delivered(Seat(0)), "flush, go, wake 58")]);
    check(None, &[("1", false)], begin, vec![(1, Event::Stuck(Seat(0), "down".into()), "flush, go, wake 58")]);
}

#[test]
fn a_ledger_that_failed_is_not_waited_for_to_the_end() {
    let steps = vec![
        (0, Event::LedgerDown, "wake 58"),
        (0, Event::Flushed, "disconnect, go, wake 60"),
        (0, Event::Disconnected, "mark, no flag, wake 4"),
        (4, Event::Tick, "close, go, wake 66"),
        (4, Event::Closed, "false of 0"),
    ];
    check(None, &[], "quiesce, flush, go, wake 58", steps);
}

#[test]
fn g31_nobody_is_missing_who_was_not_asked_yet() {
    let late = "announce, restart until 53, tell 1, drain, tickets until 53, wake 4";
    check(None, &[("1", true)], BEGIN, vec![(1, Event::Asking, "wake 2"), (1, running(0), late)]);
}

#[test]
fn every_phase_leaves_the_later_ones_their_budgets() {
    let secs = Duration::from_secs;
    let budgets =
        Budgets { roll_call: secs(40), announce: secs(5), interrupt: secs(7), flush: secs(11), disconnect: secs(13), ..budgets() };
    let (plan, _) = Plan::begin(at(100), ShutdownKind::Stop, Some(secs(100)), budgets, [(key("1", None), true)]);
    let ends = [
        (Phase::Quiesce, 164),
        (Phase::RollCall, 164),
        (Phase::Announce, 169),
        (Phase::Drain, 169),
        (Phase::Interrupt, 176),
        (Phase::Flush, 187),
        (Phase::Disconnect, 200),
        (Phase::Mark, 204),
        (Phase::Close, 206),
    ];
    for (phase, end) in ends {
        assert_eq!(plan.deadline(phase), at(end), "{phase}");
    }
    // Asked late, a roll call has its budget, but not that of others.
    let (mut plan, _) = Plan::begin(at(100), ShutdownKind::Stop, Some(secs(100)), budgets, [(key("1", None), true)]);
    assert_eq!(said(&plan.step(at(130), Event::Asking)), "wake 164");
}

#[test]
fn what_another_phase_was_asked_for_changes_nothing() {
    let marked = || Event::Marked(Err("late".into()));
    let steps = vec![
        (0, Event::Closed, "wake 1"),
        (0, running(0), TOLD),
        (0, handed("1"), "wake 53"),
        (1, Event::Flushed, "wake 53"),
        (1, Event::Disconnected, "wake 53"),
        (1, marked(), "wake 53"),
        (2, bye(0, Outcome::Finished), "flush, go, wake 58"),
        (2, Event::Disconnected, "wake 58"),
        (2, marked(), "wake 58"),
        (3, Event::Flushed, "disconnect, go, wake 60"),
        (3, Event::Flushed, "wake 60"),
        (3, marked(), "wake 60"),
        (3, Event::Closed, "wake 60"),
        (4, Event::Disconnected, "mark, flag, wake 64"),
        (4, Event::Disconnected, "wake 64"),
        (4, Event::Closed, "wake 64"),
        (5, Event::Marked(Ok(())), "close, go, wake 66"),
        (5, marked(), "wake 66"),
        (6, Event::Closed, "true of 1"),
    ];
    check(None, &[("1", true)], BEGIN, steps);
}

#[test]
fn one_chat_that_is_told_twice_does_not_stand_for_another() {
    let both = "announce, restart until 53, tell 1, tell 2, drain, tickets until 53, wake 3";
    let noticed = |room: &str| Event::Noticed(chat(room), NoticeFate::Sent);
    let steps = vec![
        (0, running(0), "wake 1"),
        (0, running(1), both),
        (0, Event::HeldBack(chat("2")), "wake 3"),
        (1, noticed("1"), "wake 3"),
        (1, handed("1"), "wake 3"),
        (1, noticed("1"), "wake 3"),
        (1, handed("1"), "wake 3"),
        (2, handed("2"), "wake 53"),
    ];
    check(None, &[("1", true), ("2", true)], BEGIN, steps);
}

#[test]
fn a_notice_that_is_given_back_after_the_drain_has_failed() {
    let steps = vec![
        (0, running(0), TOLD),
        (0, handed("1"), "wake 53"),
        (53, Event::Tick, "interrupt, cut 1, wake 55"),
        (53, Event::HeldBack(chat("1")), "wake 55"),
        (54, bye(0, Outcome::Interrupted), "flush, go, wake 58"),
        (54, Event::Flushed, "disconnect, go, wake 60"),
        (54, Event::Disconnected, "mark, no flag, wake 64"),
        (54, Event::Marked(Ok(())), "close, go, wake 66"),
        (54, Event::Closed, "false of 1"),
    ];
    let report = check(None, &[("1", true)], BEGIN, steps).expect("a report");
    assert_eq!(report.notices, [(chat("1"), NoticeFate::Failed { reason: "not handed over in time".into() })]);
}

#[test]
fn whoever_joins_when_the_drain_is_over_changes_words_and_no_time() {
    let steps = vec![
        (0, running(0), TOLD),
        (0, handed("1"), "wake 53"),
        (53, Event::Tick, "interrupt, cut 1, wake 55"),
        (54, Event::Joined { kind: ShutdownKind::Stop, grace: Some(Duration::from_secs(1)) }, "stop until 53, wake 55"),
        (54, Event::Joined { kind: ShutdownKind::Stop, grace: None }, "wake 55"),
    ];
    check(None, &[("1", true)], BEGIN, steps);
}

#[test]
fn a_drain_that_was_made_shorter_than_the_notices_may_take_ends_with_them() {
    let shorter = || Event::Joined { kind: ShutdownKind::Restart, grace: Some(Duration::from_secs(8)) };
    let told = vec![(0, running(0), TOLD), (0, handed("1"), "wake 53"), (0, shorter(), "restart until 1, wake 1")];
    check(None, &[("1", true)], BEGIN, told);
    let untold = vec![
        (0, running(0), TOLD),
        (0, shorter(), "restart until 1, wake 3"),
        (1, Event::Tick, "wake 3"),
        (2, handed("1"), "interrupt, cut 1, wake 4"),
    ];
    check(None, &[("1", true)], BEGIN, untold);
}

#[test]
fn g08_a_goodbye_is_in_time_until_the_drain_is_over() {
    let verdict = |steps: Vec<(u64, Event, &str)>| {
        let report = check(None, &[("1", true)], BEGIN, steps).expect("a report");
        (report.idle, report.verdict)
    };
    let early = vec![
        (0, bye(0, Outcome::Idle), "flush, go, wake 58"),
        (0, Event::Flushed, "disconnect, go, wake 60"),
        (0, Event::Disconnected, "mark, flag, wake 64"),
        (0, Event::Marked(Ok(())), "close, go, wake 66"),
        (0, Event::Closed, "true of 1"),
    ];
    assert_eq!(verdict(early), (1, Verdict::Clean));
    let late = |outcome| {
        vec![
            (0, running(0), TOLD),
            (0, handed("1"), "wake 53"),
            (53, Event::Tick, "interrupt, cut 1, wake 55"),
            (54, bye(0, outcome), "flush, go, wake 58"),
            (54, Event::Flushed, "disconnect, go, wake 60"),
            (54, Event::Disconnected, "mark, no flag, wake 64"),
            (54, Event::Marked(Ok(())), "close, go, wake 66"),
            (54, Event::Closed, "false of 1"),
        ]
    };
    let reasons = vec![format!("{}: acknowledged after the deadline", key("1", Some("0")))];
    assert_eq!(verdict(late(Outcome::Finished)), (0, Verdict::Unclean { reasons: reasons.clone() }));
    assert_eq!(verdict(late(Outcome::Idle)), (0, Verdict::Unclean { reasons }));
}

#[test]
fn g31_who_says_nothing_is_silent_with_a_reason() {
    let reason = |first: Event, down: bool| {
        let mut steps = vec![(0, first, TOLD), (0, handed("1"), "wake 53")];
        steps.extend(down.then_some((1, Event::LedgerDown, "wake 53")));
        steps.extend([
            (53, Event::Tick, "interrupt, cut 1, wake 55"),
            (55, Event::Tick, "flush, go, wake 58"),
            (58, Event::Flushed, "disconnect, go, wake 60"),
            (58, Event::Disconnected, if down { "mark, no flag, wake 62" } else { "mark, no flag, wake 64" }),
            (58, Event::Marked(Ok(())), "close, go, wake 66"),
            (58, Event::Closed, "false of 1"),
        ]);
        let report = check(None, &[("1", true)], BEGIN, steps).expect("a report");
        report.sessions[0].reason.clone()
    };
    assert_eq!(reason(running(0), false), "its task could not be cut");
    assert_eq!(reason(running(0), true), "what became of its task could not be recorded");
    assert_eq!(reason(Event::Present(Seat(0), Presence::Waiting), false), "it did not say goodbye");
}
