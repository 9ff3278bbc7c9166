//! What a session does next, as tables: at which second it hears of what, and what it wants done.

use super::*;

fn at(secs: u64) -> Moment {
    Moment(Duration::from_secs(secs))
}

fn turn(number: u64) -> TurnId {
    TurnId(Seq(number))
}

fn started(number: u64, attempt: u32) -> Event {
    decided(number, attempt, &[])
}

/// A start of a turn of which this was decided.
fn decided(number: u64, attempt: u32, decisions: &[(&str, bool)]) -> Event {
    Event::Started(Some(Done::Started(Box::new(Started {
        turn: turn(number),
        attempt,
        strikes: 0,
        history: Vec::new(),
        reply_to: None,
        asked_by: ("u".into(), "ann".into()),
        left: 0,
        decisions: decisions.iter().map(|(call, approved)| Decision { call: (*call).into(), approved: *approved }).collect(),
    }))))
}

fn answered() -> Event {
    Event::Ended(RunEnd::Answered("yes".into()))
}

fn delivered(row: u64) -> Event {
    Event::Delivery(OutboxId(Seq(row)), Delivery::Settled)
}

fn stuck(row: u64) -> Event {
    Event::Delivery(OutboxId(Seq(row)), Delivery::Stuck("down".into()))
}

fn cut() -> Event {
    Event::Interrupt { cause: "stop".into() }
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Start { turn, take } => format!("start {} {take:?}", turn.0),
        Effect::Resume { turn, attempt } => format!("resume {}.{attempt}", turn.0),
        Effect::Run { turn, attempt, .. } => format!("run {}.{attempt}", turn.0),
        Effect::TakeBack { turn, attempt } => format!("take back {}.{attempt}", turn.0),
        Effect::Wake(at) => format!("wake {}", at.0.as_secs()),
        Effect::Close(closing) => {
            let Close { run, end, word, request } = &**closing;
            let end = match end {
                End::Answered(_) => "answered",
                End::Asks { .. } => "asks",
                End::Interrupted { .. } => "interrupted",
                End::Failed { .. } => "failed",
                End::Stopped => "stopped",
                End::Superseded => "superseded",
            };
            let silent = if *word == Say::Nothing { " silently" } else { "" };
            let wish = if request.is_some() { " with a wish" } else { "" };
            format!("close {}.{} {end}{silent}{wish}", run.turn.0, run.attempt)
        }
        Effect::Acknowledge(goodbye) => format!("bye {}", goodbye.outcome),
        Effect::AskToStart => "ask".into(),
        Effect::GiveWay => "give way".into(),
        Effect::NotStarted => "not started".into(),
        Effect::Continue { approved } => format!("continue {approved}"),
        Effect::Abort => "abort".into(),
    }
}

/// Steps through a life: the second, what happens, what follows. Turns are drawn as 100, 101, … with each step. `owes`: row 7 is handed to the
/// outbox before that step.
fn check(mut session: Session, life: Vec<(u64, Event, &str)>) -> Session {
    for ((secs, event, expected), draw) in life.into_iter().zip(100..) {
        let what = format!("{event:?} at step {draw}");
        if let (Event::Closed(true), true) = (&event, matches!(session.state, State::Closing(_, Closing::Ended))) {
            session.owes([OutboxId(Seq(7))]);
        }
        let effects: Vec<String> = session.step(at(secs), turn(draw), event).iter().map(words).collect();
        assert_eq!(effects.join(", "), expected, "{what}");
    }
    session
}

const LIMITS: Limits = Limits { wall: Duration::from_secs(100), idle: Duration::from_secs(30) };

fn fresh(busy: Busy, gate: Gate) -> Session {
    Session::fresh(Arc::new(Rules { busy, limits: LIMITS }), gate)
}

fn serving() -> Session {
    fresh(Busy::Collect, Gate::Open)
}

#[test]
fn a_message_becomes_a_turn_and_what_arrives_meanwhile_the_next() {
    use Event::{Closed, Heard, Progress, Tick};
    check(
        serving(),
        vec![
            (0, Heard, "start 100 All"),
            (0, Heard, ""),
            (1, started(100, 1), "wake 31, run 100.1"),
            (20, Progress, ""),
            (31, Tick, "wake 50"),
            (40, answered(), "close 100.1 answered"),
            (40, Closed(true), "start 106 All"),
            (40, Event::Started(Some(Done::NothingWaiting)), "not started"),
            (41, delivered(7), ""),
            (42, Heard, "start 109 All"),
        ],
    );
    check(fresh(Busy::Queue, Gate::Open), vec![(0, Heard, "start 100 One")]);
    // Those that are late change nothing.
    check(
        serving(),
        vec![(0, started(9, 1), ""), (0, answered(), ""), (0, Closed(true), ""), (0, Progress, ""), (0, Tick, ""), (0, cut(), "")],
    );
}

#[test]
fn a_newer_message_interrupts_where_that_is_wished() {
    let life = vec![
        (0, Event::Heard, "start 100 All"),
        (0, started(100, 1), "wake 30, run 100.1"),
        (5, Event::Heard, "abort, close 100.1 superseded silently"),
        (5, answered(), ""),
        (5, Event::Closed(true), "start 104 All"),
    ];
    check(fresh(Busy::Interrupt, Gate::Open), life);
}

#[test]
fn limits_cut_and_say_so() {
    let begin = || vec![(0, Event::Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1")];
    let mut idle = begin();
    idle.extend([(29, Event::Tick, "wake 30"), (30, Event::Tick, "abort, close 100.1 failed"), (30, Event::Closed(true), "")]);
    check(serving(), idle);
    let mut wall = begin();
    for secs in [25, 50, 75, 99] {
        wall.push((secs, Event::Progress, ""));
    }
    wall.extend([(99, Event::Tick, "wake 100"), (100, Event::Tick, "abort, close 100.1 failed")]);
    check(serving(), wall);
}

#[test]
fn g05_a_stop_closes_what_came_before_it_and_nothing_after() {
    let halt = |before| Event::Halt(Seq(before));
    let running = || vec![(0, Event::Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1")];
    let mut stopped = running();
    stopped.extend([(1, halt(101), "abort, close 100.1 stopped silently"), (1, Event::Closed(false), "")]);
    check(serving(), stopped);
    let mut newer = running();
    newer.extend([(1, halt(99), ""), (1, halt(100), "")]);
    check(serving(), newer);
    let newer_start = vec![(0, Event::Heard, "start 100 All"), (0, halt(100), ""), (0, started(100, 1), "wake 30, run 100.1")];
    check(serving(), newer_start);
    let asking = Event::Ask { call: "a".into(), question: "may I?".into() };
    let mut newer_question = running();
    newer_question.extend([(1, asking, "close 100.1 asks"), (1, Event::Closed(true), ""), (2, halt(100), ""), (2, halt(101), "abort")]);
    check(serving(), newer_question);
    let mut unrecorded = running();
    unrecorded.push((1, Event::HaltUnrecorded(Seq(101)), "abort, close 100.1 stopped"));
    check(serving(), unrecorded);
    // While its start is being written, the ledger closes it; it is never run.
    let starting = vec![(0, Event::Heard, "start 100 All"), (0, halt(101), ""), (0, started(100, 1), "close 100.1 stopped silently")];
    check(serving(), starting);
    // A cut turn that was to run again is dropped, and whoever counts on it is told.
    let resume = || Event::Resume { turn: turn(5), attempt: 1 };
    check(
        Session::new(Arc::new(Rules { busy: Busy::Collect, limits: LIMITS }), Gate::Open),
        vec![(0, resume(), ""), (0, halt(5), ""), (0, halt(6), "not started"), (0, Event::Woken { waiting: 0 }, "")],
    );
}

#[test]
fn a_start_that_the_ledger_could_not_confirm_is_made_again_as_it_was() {
    use Event::{Heard, Resume, Started};
    let begin = || vec![(0, Heard, "start 100 All"), (1, Started(None), "start 100 All")];
    let mut same = begin();
    same.push((1, started(100, 1), "wake 31, run 100.1"));
    check(serving(), same);
    let mut stopped = begin();
    stopped.extend([(1, Event::Halt(Seq(110)), ""), (1, Started(None), "start 103 All")]);
    check(serving(), stopped);
    let resume = || (0, Resume { turn: turn(5), attempt: 2 }, "resume 5.2");
    check(serving(), vec![resume(), (1, Started(None), "resume 5.2"), (1, started(5, 3), "wake 31, run 5.3")]);
    check(serving(), vec![resume(), (1, Started(Some(Done::Lost)), "not started")]);
    check(serving(), vec![resume(), (1, Event::Halt(Seq(110)), ""), (1, Started(None), "not started")]);
}

#[test]
fn gates_hold_and_leave_is_given_back() {
    use Event::{Closed, Heard, MayStart};
    check(fresh(Busy::Collect, Gate::Shut), vec![(0, Heard, ""), (0, Event::Gate(Gate::Open), "start 101 All")]);
    let metered = vec![
        (0, Heard, "ask"),
        (0, MayStart, "start 101 All"),
        (0, Heard, ""),
        (0, started(101, 1), "wake 30, run 101.1"),
        (1, answered(), "close 101.1 answered"),
        (1, Closed(true), "give way, ask"),
    ];
    check(fresh(Busy::Collect, Gate::Metered), metered);
    // Leave that comes when nothing is left to start goes back at once.
    check(fresh(Busy::Collect, Gate::Metered), vec![(0, MayStart, "give way")]);
    // A start that comes back into a shut gate never ran.
    let shut = vec![
        (0, Heard, "start 100 All"),
        (0, Event::Gate(Gate::Shut), ""),
        (0, started(100, 1), "take back 100.1"),
        (0, Closed(true), ""),
        (1, Event::Gate(Gate::Open), "start 104 All"),
    ];
    check(serving(), shut);
}

#[test]
fn a_session_whose_adapter_is_gone_ends_what_runs_and_leaves() {
    use Event::{Closed, Heard};
    let gone = || Event::Gate(Gate::Gone);
    let leaves = |life| assert!(check(serving(), life).may_leave());
    leaves(vec![(0, gone(), "")]);
    leaves(vec![(0, Heard, "start 100 All"), (0, gone(), ""), (0, started(100, 1), "take back 100.1"), (0, Closed(true), "")]);
    let running = || vec![(0, Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1"), (1, Heard, ""), (2, gone(), "")];
    assert!(!check(serving(), running()).may_leave());
    let ended = || running().into_iter().chain([(3, answered(), "close 100.1 answered"), (3, Closed(true), "")]);
    leaves(ended().collect());
    // Its adapter is back: what waited is taken up.
    check(serving(), ended().chain([(9, Event::Gate(Gate::Open), "start 106 All")]).collect());
}

#[test]
fn a_turn_keeps_the_limits_that_it_began_under() {
    use Event::{Closed, Heard, Tick};
    let shorter = Limits { wall: Duration::from_secs(10), idle: Duration::from_secs(5) };
    let rules = Event::Rules(Arc::new(Rules { busy: Busy::Interrupt, limits: shorter }));
    let life = vec![
        (0, Heard, "start 100 All"),
        (0, started(100, 1), "wake 30, run 100.1"),
        (1, rules, ""),
        (20, Event::Progress, ""),
        (30, Tick, "wake 50"),
        (31, Heard, "abort, close 100.1 superseded silently"),
        (31, Closed(true), "start 106 All"),
        (31, started(106, 1), "wake 36, run 106.1"),
    ];
    check(serving(), life);
}

#[test]
fn g10_a_goodbye_is_said_when_nothing_is_outstanding() {
    use Event::{Closed, Drain, Heard};
    let running = || vec![(0, Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1")];
    let then = |more: Vec<(u64, Event, &'static str)>| running().into_iter().chain(more).collect::<Vec<_>>();
    check(serving(), vec![(0, Drain, "bye idle"), (0, Heard, ""), (0, Drain, "bye idle")].into_iter().take(2).collect());
    check(fresh(Busy::Collect, Gate::Shut), vec![(0, Heard, ""), (0, Drain, "bye idle")]);
    check(fresh(Busy::Collect, Gate::Metered), vec![(0, Heard, "ask"), (0, Drain, "bye idle")]);
    let finished = vec![(1, Drain, ""), (2, answered(), "close 100.1 answered"), (2, Closed(true), ""), (9, delivered(7), "bye finished")];
    check(serving(), then(finished));
    let owing = vec![(1, answered(), "close 100.1 answered"), (1, Closed(true), ""), (2, stuck(7), ""), (3, Drain, "bye owing")];
    check(serving(), then(owing));
    let cut_off = vec![(1, Drain, ""), (2, cut(), "abort, close 100.1 interrupted silently"), (2, Closed(true), "bye interrupted")];
    check(serving(), then(cut_off));
    // Somebody else closed it first: there is nothing to be cut any more.
    let lost = vec![(1, Drain, ""), (2, cut(), "abort, close 100.1 interrupted silently"), (2, Closed(false), "bye finished")];
    check(serving(), then(lost));
    let late = vec![(1, Drain, ""), (2, answered(), "close 100.1 answered"), (3, cut(), ""), (3, Closed(true), "bye owing")];
    check(serving(), then(late));
    let wish = Request { kind: crate::shutdown::ShutdownKind::Restart, instance: crate::ids::InstanceId(uuid::Uuid::nil()) };
    let asked = vec![
        (1, Event::GoDown(wish, "as you wish".into()), "abort, close 100.1 answered with a wish"),
        (1, Drain, ""),
        (1, Closed(true), ""),
        (1, delivered(7), "bye finished"),
    ];
    check(serving(), then(asked));
    let taken_back =
        vec![(0, Heard, "start 100 All"), (0, Drain, ""), (0, started(100, 1), "take back 100.1"), (0, Closed(true), "bye idle")];
    check(serving(), taken_back);
}

#[test]
fn g32_whoever_takes_the_place_of_one_that_fell_knows_what_it_knew() {
    let effects = |fallen: &Session| {
        let (session, effects) = Session::instead_of(fallen);
        (session, effects.iter().map(words).collect::<Vec<_>>().join(", "))
    };
    let ran = check(serving(), vec![(0, Event::Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1")]);
    let (session, said) = effects(&ran);
    assert_eq!(said, "abort, close 100.1 failed");
    check(session, vec![(1, Event::Closed(true), "start 100 All")]);
    let starting = check(serving(), vec![(0, Event::Resume { turn: turn(5), attempt: 1 }, "resume 5.1")]);
    let (session, said) = effects(&starting);
    assert_eq!(said, "");
    check(session, vec![(1, started(5, 2), "not started, close 5.2 failed"), (1, Event::Closed(true), "")]);
    // A /stop that came before the fall still holds.
    let halted = vec![(0, Event::Heard, "start 100 All"), (0, Event::Halt(Seq(110)), "")];
    let (session, _) = effects(&check(serving(), halted));
    check(session, vec![(1, started(100, 1), "close 100.1 stopped silently")]);
    // A start that the ledger could not write is tried again.
    let (session, _) = effects(&check(serving(), vec![(0, Event::Heard, "start 100 All")]));
    check(session, vec![(1, Event::Started(None), "start 100 All")]);
    let unsure = check(fresh(Busy::Collect, Gate::Open), vec![(0, Event::Heard, "start 100 All"), (0, Event::Gate(Gate::Shut), "")]);
    let unsure = check(unsure, vec![(0, Event::Started(None), "")]);
    let (session, _) = effects(&unsure);
    check(session, vec![(1, Event::Woken { waiting: 1 }, ""), (1, Event::Gate(Gate::Open), "start 100 All")]);
}

#[test]
fn g19_g32_a_session_that_falls_gives_its_leave_back() {
    let metered = vec![
        (0, Event::Gate(Gate::Metered), ""),
        (0, Event::Heard, "ask"),
        (0, Event::MayStart, "start 102 All"),
        (0, started(102, 1), "wake 30, run 102.1"),
    ];
    let (session, effects) = Session::instead_of(&check(serving(), metered));
    assert_eq!(effects.iter().map(words).collect::<Vec<_>>(), ["give way", "abort", "close 102.1 failed"]);
    check(session, vec![(1, Event::Closed(true), "ask"), (1, Event::MayStart, "start 101 All")]);
}

#[test]
fn a_turn_that_asks_waits_for_as_long_as_it_takes_and_goes_on_where_it_was() {
    use Event::{Closed, Drain, Heard, Tick};
    let ask = |call: &str| Event::Ask { call: call.into(), question: "may I?".into() };
    let asking = || {
        vec![
            (0, Heard, "start 100 All"),
            (0, started(100, 1), "wake 30, run 100.1"),
            (5, ask("a"), "close 100.1 asks"),
            (5, Closed(true), ""),
            (500, Tick, ""),
        ]
    };
    let then = |more: Vec<(u64, Event, &'static str)>| asking().into_iter().chain(more).collect::<Vec<_>>();
    let decided_later = vec![
        (600, Heard, "start 105 All"),
        (600, decided(100, 2, &[("a", true)]), "wake 630, continue true"),
        (601, answered(), "close 100.2 answered"),
    ];
    check(serving(), then(decided_later));
    // What was decided is something else: the agent that waits is not answered with it.
    let other = vec![(600, Heard, "start 105 All"), (600, decided(100, 2, &[("b", true)]), "wake 630, abort, run 100.2")];
    check(serving(), then(other));
    // Another message starts a turn of its own, and the agent waits no longer.
    check(serving(), then(vec![(600, Heard, "start 105 All"), (600, started(105, 1), "wake 630, abort, run 105.1")]));
    check(serving(), then(vec![(600, Event::Halt(Seq(110)), "abort")]));
    check(
        serving(),
        then(vec![
            (600, answered(), "abort"),
            (601, Heard, "start 106 All"),
            (601, decided(100, 2, &[("a", true)]), "wake 631, run 100.2"),
        ]),
    );
    // It is at a safe point: a shutdown finds it idle, and cuts its agent.
    let session = check(serving(), then(vec![(600, Drain, "abort, bye idle")]));
    assert_eq!(session.activity(), Activity::Idle);
    let both =
        vec![(0, Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1"), (1, Drain, ""), (2, ask("a"), "close 100.1 asks")];
    check(serving(), both.into_iter().chain([(3, cut(), ""), (3, Closed(true), "abort, bye finished")]).collect());
    let stopped = vec![(0, Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1"), (2, ask("a"), "close 100.1 asks")];
    check(serving(), stopped.into_iter().chain([(3, Closed(false), "abort")]).collect());
    let fallen = check(serving(), asking());
    assert_eq!(Session::instead_of(&fallen).1.iter().map(words).collect::<Vec<_>>(), ["abort"]);
}

#[test]
fn a_start_of_unknown_fate_is_forgotten_once_it_was_stopped() {
    let unsure = |halt: u64, again: &'static str| {
        vec![
            (0, Event::Heard, "start 100 All"),
            (0, Event::Gate(Gate::Shut), ""),
            (0, Event::Started(None), ""),
            (1, Event::Halt(Seq(halt)), ""),
            (2, Event::Gate(Gate::Open), again),
        ]
    };
    check(serving(), unsure(99, "start 100 All"));
    check(serving(), unsure(101, "start 104 All"));
}

#[test]
fn what_it_is_doing_and_whether_it_may_leave() {
    use Activity::{Delivering, Idle, Waiting};
    use Event::{Closed, Drain, Heard, Resume};
    let looks = |session: &Session| (session.activity(), session.waiting(), session.may_leave());
    let shut = || fresh(Busy::Collect, Gate::Shut);
    assert_eq!(looks(&serving()), (Idle, 0, true));
    assert_eq!(looks(&check(serving(), vec![(0, Drain, "bye idle")])), (Idle, 0, false));
    assert_eq!(looks(&check(shut(), vec![(0, Heard, ""), (0, Heard, "")])), (Waiting(2), 2, false));
    assert_eq!(looks(&check(shut(), vec![(0, Resume { turn: turn(5), attempt: 1 }, "")])), (Waiting(1), 0, false));
    let running = || vec![(0, Heard, "start 100 All"), (0, started(100, 1), "wake 30, run 100.1")];
    let then = |more: Vec<(u64, Event, &'static str)>| check(serving(), running().into_iter().chain(more).collect());
    assert_eq!(looks(&then(vec![])), (Activity::Running { since: at(0), asked_by: Some("ann".into()) }, 0, false));
    assert_eq!(looks(&then(vec![(1, answered(), "close 100.1 answered")])), (Delivering, 0, false));
    // What is owed is the outbox's business: it keeps nobody.
    assert_eq!(looks(&then(vec![(1, answered(), "close 100.1 answered"), (1, Closed(true), "")])), (Delivering, 0, true));
    assert_eq!(looks(&then(vec![(1, Heard, ""), (1, answered(), "close 100.1 answered")])), (Waiting(1), 1, false));
    // What is being taken back waits again in a moment.
    let held = vec![(0, Heard, "start 100 All"), (0, Event::Gate(Gate::Shut), ""), (0, started(100, 1), "take back 100.1")];
    assert_eq!(looks(&check(serving(), held)), (Waiting(1), 0, false));
    // What is heard while waking may not be among what the ledger counted.
    let woken = check(Session::new(Arc::new(Rules { busy: Busy::Collect, limits: LIMITS }), Gate::Shut), vec![(0, Heard, "")]);
    assert!(!woken.may_leave());
    assert_eq!(looks(&check(woken, vec![(0, Event::Woken { waiting: 2 }, "")])), (Waiting(3), 3, false));
}

#[test]
fn a_turn_that_somebody_else_closed_before_it_could_be_taken_back_waits_no_more() {
    use Event::{Closed, Heard};
    let life = vec![
        (0, Heard, "start 100 All"),
        (0, Event::Gate(Gate::Shut), ""),
        (0, started(100, 1), "take back 100.1"),
        (0, Closed(false), ""),
        (1, Event::Gate(Gate::Open), ""),
    ];
    check(serving(), life);
}
