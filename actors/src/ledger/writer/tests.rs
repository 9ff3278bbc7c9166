//! The writer in front of an engine that succeeds, refuses and does not know.

use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::{Clock, Wall};
use crate::ids::InstanceId;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::supervision::intensity::Intensity;
use crate::supervision::{ChildSpec, Nursery};

/// An engine that does what it is told, and notes what it was asked to commit.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Plot>>);

#[derive(Default)]
struct Plot {
    faults: VecDeque<Fault>,
    commits: Vec<String>,
}

impl Script {
    fn plot(&self) -> std::sync::MutexGuard<'_, Plot> {
        self.0.lock().expect("no engine panics here")
    }
}

impl Ledger for Script {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        let names: Vec<String> = steps.iter().map(name).collect();
        let mut plot = self.plot();
        let fault = plot.faults.pop_front();
        plot.commits.push(names.join("+") + if fault.is_some() { " ✗" } else { "" });
        fault.map_or_else(|| Ok(vec![Done::Ok; steps.len()]), Err)
    }

    fn ask(&mut self, _: &Question) -> Result<Knowledge, Fault> {
        self.plot().commits.push("?".into());
        Ok(Knowledge::Adapters(Vec::new()))
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.plot().commits.push("reopen".into());
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.plot().commits.push("close".into());
        Ok(())
    }
}

/// Steps that are told apart by their time.
fn step(number: i64) -> Step {
    Step::Phase { instance: InstanceId(uuid::Uuid::nil()), phase: Phase::Drain, at: Wall(number) }
}

fn name(step: &Step) -> String {
    match step {
        Step::Phase { at, .. } => at.0.to_string(),
        other => format!("{other:?}"),
    }
}

struct Writer {
    script: Script,
    addr: Addr<LedgerActor>,
    answers: Arc<Mutex<Vec<String>>>,
}

impl Writer {
    fn write(&self, number: i64, urgency: Urgency) {
        self.write_step(number, step(number), urgency);
    }

    fn write_step(&self, number: i64, step: Step, urgency: Urgency) {
        let answers = self.answers.clone();
        let reply: Reply = Box::new(move |result| {
            let word = if result.is_ok() { "ok" } else { "given back" };
            answers.lock().expect("nobody panics here").push(format!("{number} {word}"));
        });
        self.addr.do_send(Write { step, urgency, reply: Some(reply) });
    }

    fn ask(&self) {
        let answers = self.answers.clone();
        let reply: Told = Box::new(move |result| {
            answers.lock().expect("nobody panics here").push(if result.is_ok() { "told" } else { "not told" }.into());
        });
        self.addr.do_send(Ask { question: Question::Adapters, reply });
    }

    fn close(&self) {
        let answers = self.answers.clone();
        self.addr.do_send(Close { reply: Box::new(move |_| answers.lock().expect("nobody panics here").push("closed".into())) });
    }

    async fn pass(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// Who is told of the ledger's health here: nobody.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<LedgerHealth> for Nobody {
    type Result = ();

    fn handle(&mut self, _: LedgerHealth, _: &mut Context<Self>) {}
}

/// Plays on an engine with these faults; then what was committed and what was answered, in order.
fn check(faults: &[Fault], play: impl AsyncFnOnce(&Writer), commits: &str, answers: &str) {
    check_with(&Settings::defaults().ledger, faults, play, commits, answers);
}

fn check_with(settings: &settings::Ledger, faults: &[Fault], play: impl AsyncFnOnce(&Writer), commits: &str, answers: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let script = Script::default();
        script.plot().faults = faults.iter().cloned().collect();
        let second = Duration::from_secs(1);
        let spec =
            ChildSpec { name: crate::supervision::Name::Fixed("ledger".into()), intensity: Intensity::new(5, second, second, second) };
        let engine = Box::new(script.clone());
        let watcher = Nobody.start().recipient();
        let nursery = Nursery::new(Clock::system());
        let addr = nursery.start(spec, |_| LedgerActor::inline(engine, Duration::from_millis(1), settings.clone(), watcher), |_| {});
        let writer = Writer { script: script.clone(), addr, answers: Arc::default() };
        play(&writer).await;
        writer.pass(20).await;
        assert_eq!(writer.script.plot().commits.join(", "), commits);
        assert_eq!(writer.answers.lock().expect("nobody panics here").join(", "), answers);
    });
}

fn full() -> Fault {
    Fault::NotCommitted("full".into())
}

#[test]
fn steps_share_a_commit_and_questions_see_what_stands_before_them() {
    let play = async |writer: &Writer| {
        writer.write(1, Urgency::May);
        writer.write(2, Urgency::Must);
        writer.ask();
        writer.write(3, Urgency::May);
    };
    check(&[], play, "1+2, ?, 3", "1 ok, 2 ok, told, 3 ok");
}

#[test]
fn a_lazy_step_rides_along_or_goes_alone_in_the_end() {
    let along = async |writer: &Writer| {
        writer.write(1, Urgency::Lazy);
        writer.pass(10).await;
        writer.write(2, Urgency::May);
    };
    check(&[], along, "1+2", "1 ok, 2 ok");
    let alone = async |writer: &Writer| {
        writer.write(1, Urgency::Lazy);
        writer.pass(90).await;
        assert!(writer.script.plot().commits.is_empty(), "it waits for company");
        writer.pass(20).await;
    };
    check(&[], alone, "1", "1 ok");
}

#[test]
fn what_may_is_given_back_and_what_must_is_kept() {
    let play = async |writer: &Writer| {
        writer.write(1, Urgency::May);
        writer.write(2, Urgency::Must);
        writer.ask();
        writer.write(3, Urgency::Lazy);
        writer.pass(10).await;
        writer.write(4, Urgency::May);
        writer.ask();
        writer.pass(300).await;
        writer.write(5, Urgency::May);
    };
    check(&[full()], play, "1+2 ✗, reopen, 2+3, 5", "1 given back, not told, 4 given back, not told, 2 ok, 3 ok, 5 ok");
}

#[test]
fn an_unknown_commit_is_made_again_with_the_same_steps() {
    let play = async |writer: &Writer| {
        writer.write(1, Urgency::Must);
        writer.write(2, Urgency::Must);
        writer.pass(300).await;
    };
    check(&[Fault::Unknown("?".into())], play, "1+2 ✗, reopen, 1+2", "1 ok, 2 ok");
}

#[test]
fn only_a_commit_that_succeeds_starts_the_back_off_anew() {
    let faults = vec![full(); 4];
    let play = async |writer: &Writer| {
        writer.write(1, Urgency::Must);
        // 200, 400, 800 ms, each with its commit.
        writer.pass(1500).await;
        assert_eq!(writer.script.plot().commits.len(), 7, "{:?}", writer.script.plot().commits);
        writer.pass(1600).await;
    };
    check(&faults, play, "1 ✗, reopen, 1 ✗, reopen, 1 ✗, reopen, 1 ✗, reopen, 1", "1 ok");
}

#[test]
fn closing_writes_what_is_left_first() {
    let play = async |writer: &Writer| {
        writer.write(1, Urgency::Lazy);
        writer.write(2, Urgency::Must);
        writer.close();
        writer.pass(10).await;
    };
    check(&[], play, "1+2, close", "1 ok, 2 ok, closed");
}

#[test]
fn a_commit_is_bounded() {
    let two = settings::Ledger { batch: 2, ..Settings::defaults().ledger };
    let play = async |writer: &Writer| {
        (1..=5).for_each(|number| writer.write(number, Urgency::Must));
    };
    check_with(&two, &[], play, "1+2, 3+4, 5", "1 ok, 2 ok, 3 ok, 4 ok, 5 ok");
    let lazy = async |writer: &Writer| {
        (1..=2).for_each(|number| writer.write(number, Urgency::Lazy));
        writer.pass(10).await;
        assert_eq!(writer.script.plot().commits, ["1+2"], "a full commit has company enough");
    };
    check_with(&two, &[], lazy, "1+2", "1 ok, 2 ok");
}

/// An engine on a thread of its own that takes until it is let go; told `false`, it falls.
struct Gated(mpsc::Receiver<bool>);

impl Ledger for Gated {
    fn commit(&mut self, steps: &[Step]) -> Result<Vec<Done>, Fault> {
        assert_eq!(self.0.recv(), Ok(true), "the engine falls");
        Ok(vec![Done::Ok; steps.len()])
    }

    fn ask(&mut self, _: &Question) -> Result<Knowledge, Fault> {
        Ok(Knowledge::Adapters(Vec::new()))
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Hears how the ledger is.
struct Ear(Arc<Mutex<Vec<String>>>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<LedgerHealth> for Ear {
    type Result = ();

    fn handle(&mut self, health: LedgerHealth, _: &mut Context<Self>) {
        let word = match health {
            LedgerHealth::Up => "up".to_owned(),
            LedgerHealth::Down { reason } => format!("down: {reason}"),
            LedgerHealth::Lost { reason } => format!("lost: {reason}"),
            LedgerHealth::Full { reason } => format!("full: {reason}"),
            LedgerHealth::Roomy => "roomy".to_owned(),
        };
        self.0.lock().expect("nobody panics here").push(word);
    }
}

/// Plays on a gated engine with `gate` to let it go; then what was answered, and how the ledger was said to be.
fn check_gated(play: impl AsyncFnOnce(&Writer, &mpsc::Sender<bool>), answers: &str, healths: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (gate, gated) = mpsc::channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (engine, watcher) = (Box::new(Gated(gated)), Ear(heard.clone()).start().recipient());
        let second = Duration::from_secs(1);
        let name = crate::supervision::Name::Fixed("ledger".into());
        let spec = ChildSpec { name, intensity: Intensity::new(5, second, second, second) };
        let nursery = Nursery::new(Clock::system());
        let addr = nursery.start(spec, |_| LedgerActor::threaded(engine, Settings::defaults().ledger, watcher), |_| {});
        let writer = Writer { script: Script::default(), addr, answers: Arc::default() };
        play(&writer, &gate).await;
        // What the engine's thread does takes no time of a paused clock: it is waited for on a thread.
        let (told, wanted) = (writer.answers.clone(), answers.split(", ").count());
        let waited = tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            while told.lock().expect("nobody panics here").len() < wanted && begun.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
        });
        while !waited.is_finished() {
            tokio::task::yield_now().await;
        }
        writer.pass(20).await;
        assert_eq!(writer.answers.lock().expect("nobody panics here").join(", "), answers);
        assert_eq!(heard.lock().expect("nobody panics here").join(", "), healths);
    });
}

#[test]
fn g25_a_commit_that_takes_very_long_is_said_and_nobody_waits_behind_it() {
    let play = async |writer: &Writer, gate: &mpsc::Sender<bool>| {
        writer.write(1, Urgency::May);
        writer.pass(6_000).await;
        writer.write(2, Urgency::May);
        writer.write(3, Urgency::Must);
        writer.ask();
        writer.pass(20).await;
        gate.send(true).and_then(|()| gate.send(true)).expect("it waits");
    };
    let down = "down: a commit has been under way for 5 s";
    check_gated(play, "2 given back, not told, 1 ok, 3 ok", &format!("{down}, up"));
}

#[test]
fn g28_a_ledger_whose_thread_falls_is_lost_at_once() {
    let play = async |writer: &Writer, gate: &mpsc::Sender<bool>| {
        writer.write(1, Urgency::Must);
        writer.pass(20).await;
        gate.send(false).expect("it waits");
        // From the moment at which that is known nothing is taken any more.
        let begun = std::time::Instant::now();
        while writer.answers.lock().expect("nobody panics here").is_empty() && begun.elapsed() < Duration::from_secs(20) {
            writer.write(2, Urgency::May);
            tokio::task::yield_now().await;
        }
        writer.answers.lock().expect("nobody panics here").truncate(1);
    };
    check_gated(
        play,
        "2 given back",
        "lost: the ledger's thread fell: assertion `left == right` failed: the engine falls\n  left: Ok(false)\n right: Ok(true)",
    );
}
