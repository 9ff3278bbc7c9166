//! Restarts as data: what is seen at which second, and what the last look comes to.

use super::*;

/// The old instance is 0 in process 100; instance n lives in process 100 + n.
fn id(number: u8) -> InstanceId {
    InstanceId(uuid::Uuid::from_u128(u128::from(number)))
}

fn there(number: u8, ready: bool) -> View {
    View { gateway: Gateway::There(Sighting { instance: id(number), pid: 100 + u32::from(number), ready }), unit: None }
}

const NOBODY: View = View { gateway: Gateway::Nobody, unit: None };
const UNCLEAR: View = View { gateway: Gateway::Unclear, unit: None };

/// The same look, under a manager that knows this main process.
fn main(number: u8, mut view: View) -> View {
    view.unit = Some(UnitView { main_pid: (number < 200).then_some(100 + u32::from(number)), ..UnitView::default() });
    view
}

fn failed(reason: &str) -> View {
    View { unit: Some(UnitView { failed: Some(reason.into()), ..UnitView::default() }), ..NOBODY }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const LIMITS: Limits = Limits { leave: secs(65), start: secs(60), dwell: secs(3) };

/// What each look comes to, those that ask only for another look left out.
#[track_caller]
fn check(looks: &[(u64, View)], expected: &[(u64, Step)]) {
    let start = Instant::now();
    let mut proof = Proof::begin(start, id(0), 100, LIMITS);
    let steps = looks.iter().map(|(at, view)| (*at, proof.step(start + secs(*at), Event::Saw(view.clone()))));
    let steps: Vec<_> = steps.filter(|(_, step)| *step != Step::Watch).collect();
    assert_eq!(steps, expected, "{looks:#?}");
}

fn proved(number: u8, before: Option<Failure>) -> Step {
    Step::Proved(Sighting { instance: id(number), pid: 100 + u32::from(number), ready: true }, before)
}

const DIED_BEFORE: Failure = Failure::Died(None, None);
const fn died_after(span: u64) -> Failure {
    Failure::Died(Some(secs(span)), None)
}

#[test]
fn g27_a_new_instance_that_stays_ready_is_proof() {
    let (new, no) = (|| there(1, true), || there(1, false));
    check(&[(0, there(0, true)), (9, there(0, true))], &[]);
    check(&[(0, NOBODY), (1, new()), (3, new())], &[]);
    check(&[(1, new()), (4, new())], &[(4, proved(1, None))]);
    check(&[(0, there(0, true)), (2, NOBODY), (5, no()), (9, new()), (11, new()), (12, new())], &[(12, proved(1, None))]);
    // Not ready, or silent, for a moment: it has to stay ready anew.
    check(&[(1, new()), (3, no()), (4, new()), (6, new())], &[]);
    check(&[(1, new()), (3, UNCLEAR), (4, new()), (6, new()), (7, new())], &[(7, proved(1, None))]);
    // The same process with a new instance: a restart in place.
    let in_place = View { gateway: Gateway::There(Sighting { instance: id(1), pid: 100, ready: true }), unit: None };
    let step = Step::Proved(Sighting { instance: id(1), pid: 100, ready: true }, None);
    check(&[(0, there(0, true)), (1, main(0, in_place.clone())), (4, main(0, in_place))], &[(4, step)]);
}

#[test]
fn g27_one_that_dies_is_started_once_more() {
    let retry = |at: u64, failure: Failure| (at, Step::Retry(failure));
    let twice = |at: u64, one: Failure, two: Failure| (at, Step::Failed(vec![one, two]));
    // It dies at once, later, or another takes its place.
    check(&[(1, there(1, false)), (2, NOBODY)], &[retry(2, DIED_BEFORE)]);
    check(&[(1, there(1, true)), (3, NOBODY)], &[retry(3, died_after(2))]);
    check(&[(1, there(1, true)), (3, there(2, true))], &[retry(3, died_after(2))]);
    // In the retry those that were seen before do not count.
    check(
        &[(1, there(1, true)), (3, there(2, true)), (4, there(2, true)), (8, there(2, true)), (9, there(3, true)), (12, there(3, true))],
        &[retry(3, died_after(2)), (12, proved(3, Some(died_after(2))))],
    );
    check(
        &[(1, there(1, true)), (3, NOBODY), (4, there(2, true)), (5, NOBODY), (6, there(3, true)), (9, there(3, true))],
        &[retry(3, died_after(2)), twice(5, died_after(2), died_after(1))],
    );
}

#[test]
fn g27_the_manager_knows_of_processes_that_never_answer() {
    let (old, one, two) = (|| main(0, NOBODY), || main(1, NOBODY), || main(2, NOBODY));
    let none = || main(200, NOBODY);
    check(&[(0, old()), (1, none()), (3, one()), (4, one())], &[]);
    check(&[(0, old()), (3, one()), (4, none())], &[(4, Step::Retry(DIED_BEFORE))]);
    check(&[(0, old()), (3, one()), (4, two())], &[(4, Step::Retry(DIED_BEFORE))]);
    // In the retry the processes of before do not count either.
    check(
        &[(0, old()), (3, one()), (4, two()), (5, two()), (6, main(3, there(3, true))), (9, main(3, there(3, true)))],
        &[(4, Step::Retry(DIED_BEFORE)), (9, proved(3, Some(DIED_BEFORE)))],
    );
    // Between two looks, while the manager waits before it starts the next.
    let went = View { unit: Some(UnitView { last_pid: Some(101), ..UnitView::default() }), ..NOBODY };
    check(
        &[(0, old()), (2, went.clone()), (3, went), (4, main(2, there(2, true))), (7, main(2, there(2, true)))],
        &[(2, Step::Retry(DIED_BEFORE)), (7, proved(2, Some(DIED_BEFORE)))],
    );
    let why = || Failure::Died(None, Some("exit code 78".into()));
    check(
        &[(0, old()), (3, failed("exit code 78")), (4, failed("exit code 78"))],
        &[(3, Step::Retry(why())), (4, Step::Failed(vec![why(), why()]))],
    );
    let exited = View { unit: Some(UnitView { last_exit: Some("exit code 70".into()), ..UnitView::default() }), ..NOBODY };
    check(&[(3, one()), (4, exited)], &[(4, Step::Retry(Failure::Died(None, Some("exit code 70".into()))))]);
}

#[test]
fn what_somebody_stopped_is_not_started_again() {
    let stopped = View { unit: Some(UnitView { stopped: true, ..UnitView::default() }), ..NOBODY };
    check(&[(0, there(0, true)), (1, stopped.clone())], &[(1, Step::Failed(vec![Failure::Stopped]))]);
    check(
        &[(1, there(1, true)), (2, NOBODY), (3, stopped)],
        &[(2, Step::Retry(died_after(1))), (3, Step::Failed(vec![died_after(1), Failure::Stopped]))],
    );
}

#[test]
fn g11_no_wait_is_for_ever() {
    let slow = |found| Failure::NeverReady(secs(60), found);
    check(&[(64, there(0, true)), (65, there(0, true))], &[(65, Step::Retry(Failure::NeverLeft(secs(65))))]);
    check(&[(64, UNCLEAR), (65, UNCLEAR)], &[(65, Step::Retry(Failure::NeverLeft(secs(65))))]);
    check(&[(5, NOBODY), (64, NOBODY), (65, NOBODY)], &[(65, Step::Retry(slow(false)))]);
    check(&[(5, NOBODY), (6, there(1, false)), (65, there(1, false))], &[(65, Step::Retry(slow(true)))]);
    check(&[(5, NOBODY), (6, there(1, true)), (7, UNCLEAR), (65, UNCLEAR)], &[(65, Step::Retry(slow(true)))]);
    // It came in time: its dwell time may end after it.
    check(&[(5, NOBODY), (64, there(1, true)), (67, there(1, true))], &[(67, proved(1, None))]);
    check(
        &[(5, NOBODY), (65, NOBODY), (66, NOBODY), (126, NOBODY)],
        &[(65, Step::Retry(slow(false))), (126, Step::Failed(vec![slow(false), slow(false)]))],
    );
}

#[test]
fn a_retry_that_cannot_be_made_is_the_end() {
    let start = Instant::now();
    let mut proof = Proof::begin(start, id(0), 100, LIMITS);
    assert_eq!(proof.step(start, Event::Saw(there(1, false))), Step::Watch);
    assert_eq!(proof.step(start, Event::Saw(NOBODY)), Step::Retry(DIED_BEFORE));
    assert_eq!(proof.step(start, Event::NotRetried), Step::Failed(Vec::new()));
    assert_eq!(proof.step(start, Event::Saw(there(2, true))), Step::Watch);
}

#[test]
fn a_time_without_end_is_no_moment_that_cannot_be() {
    let limits = crate::restart::limits(Duration::MAX, Duration::MAX, Duration::MAX);
    let mut proof = Proof::begin(Instant::now(), id(0), 100, limits);
    assert_eq!(proof.step(Instant::now(), Event::Saw(NOBODY)), Step::Watch);
}
