use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{Handler, Message, ResponseFuture, Running};

use super::*;

#[derive(Message)]
#[rtype(result = "u32")]
struct Add(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

struct Counter(u32);
impl Actor for Counter {
    type Context = Context<Self>;
}
impl Supervised for Counter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.0 = 100;
    }
}
impl Handler<Add> for Counter {
    type Result = u32;
    fn handle(&mut self, Add(more): Add, _: &mut Context<Self>) -> u32 {
        self.0 += more;
        self.0
    }
}
impl Handler<Crash> for Counter {
    type Result = ();
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("as asked");
    }
}

fn spec(restarts: u32) -> ChildSpec {
    let second = Duration::from_secs(1);
    ChildSpec { name: Name::Fixed("counter".into()), intensity: Intensity::new(restarts, second * 60, second, second) }
}

fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_panic_keeps_address_and_queue() {
    paused(async {
        let nursery = Nursery::new(Clock::system());
        let addr = nursery.start(spec(3), |_| Counter(0), |_| {});
        assert_eq!(addr.send(Add(1)).await, Ok(1));
        addr.do_send(Crash);
        let queued = addr.send(Add(1));
        assert_eq!(queued.await, Ok(101), "queued behind the crash, answered by the rebuilt state");
        assert_eq!(nursery.lives(), 1);
    });
}

#[test]
fn a_spent_budget_is_told_once() {
    paused(async {
        let (told, ended) = tokio::sync::oneshot::channel();
        let nursery = Nursery::new(Clock::system());
        let addr = nursery.start(spec(2), |_| Counter(0), move |end| told.send(end).expect("somebody listens"));
        for _ in 0..3 {
            addr.do_send(Crash);
        }
        assert_eq!(ended.await, Ok(Ended::Spent("as asked".into())));
        assert!(addr.send(Add(1)).await.is_err());
        assert_eq!(nursery.lives(), 0);
    });
}

#[test]
fn a_child_without_address_stops() {
    paused(async {
        let (told, ended) = tokio::sync::oneshot::channel();
        let nursery = Nursery::new(Clock::system());
        drop(nursery.start(spec(2), |_| Counter(0), move |end| told.send(end).expect("somebody listens")));
        assert_eq!(ended.await, Ok(Ended::Stopped));
    });
}

/// Where a child panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Handler,
    /// The future that a handler answered with.
    Answer,
    Timer,
    Interval,
    Spawned,
    /// A future that everything else of the child waits for.
    Waited,
    Started,
    Stopping,
    Stopped,
    Restarting,
    Dropped,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Fall(Place);

#[derive(Message)]
#[rtype(result = "()")]
struct Swear;

/// Falls wherever it is told to, once each time.
#[derive(Default)]
struct Clumsy {
    trap: Option<Place>,
    heard: Rc<Cell<u32>>,
}

impl Clumsy {
    fn step_on(&mut self, place: Place) {
        if self.trap == Some(place) {
            self.trap = None;
            panic!("at {place:?}");
        }
    }
}

impl Actor for Clumsy {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Context<Self>) {
        self.step_on(Place::Started);
    }
    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.step_on(Place::Stopping);
        Running::Stop
    }
    fn stopped(&mut self, _: &mut Context<Self>) {
        self.step_on(Place::Stopped);
    }
}
impl Supervised for Clumsy {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.step_on(Place::Restarting);
    }
}
impl Drop for Clumsy {
    fn drop(&mut self) {
        self.step_on(Place::Dropped);
    }
}
impl Handler<Fall> for Clumsy {
    type Result = ();
    fn handle(&mut self, Fall(place): Fall, ctx: &mut Context<Self>) {
        const SOON: Duration = Duration::from_millis(1);
        match place {
            Place::Handler | Place::Answer => panic!("at {place:?}"),
            Place::Timer => _ = ctx.run_later(SOON, |_, _| panic!("at a timer")),
            Place::Interval => _ = ctx.run_interval(SOON, |_, _| panic!("at an interval")),
            Place::Spawned => _ = ctx.spawn(async { panic!("in a future") }.into_actor(self)),
            Place::Waited => ctx.wait(async { panic!("in a future") }.into_actor(self)),
            Place::Stopping | Place::Stopped | Place::Dropped => {
                self.trap = Some(place);
                ctx.stop();
            }
            Place::Started | Place::Restarting => {
                self.trap = Some(place);
                panic!("before {place:?}");
            }
        }
    }
}
impl Handler<Swear> for Clumsy {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Swear, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async { panic!("in an answer") })
    }
}
impl Handler<Add> for Clumsy {
    type Result = u32;
    fn handle(&mut self, Add(more): Add, _: &mut Context<Self>) -> u32 {
        self.heard.set(self.heard.get() + more);
        self.heard.get()
    }
}

/// A child that counts its heartbeats.
struct Heart(Rc<Cell<u32>>);
impl Actor for Heart {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(Duration::from_millis(10), |heart, _| heart.0.set(heart.0.get() + 1));
    }
}
impl Supervised for Heart {}

/// One child falls a hundred times in this place. Whatever is queued behind each fall is heard, where the child does not end by it; and beside it
/// another child's heart beats like one that has no neighbours.
fn check_fall(place: Place) {
    paused(async move {
        let (nursery, beats, control, heard) = (Nursery::new(Clock::system()), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::default());
        let _heart = nursery.start(spec(0), |_| Heart(beats.clone()), |_| {});
        let ticks = control.clone();
        tokio::task::spawn_local(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(10));
            interval.tick().await;
            loop {
                interval.tick().await;
                ticks.set(ticks.get() + 1);
            }
        });
        let quick = Duration::from_millis(20);
        let spec = || ChildSpec { name: Name::Fixed("clumsy".into()), intensity: Intensity::new(u32::MAX, quick, quick, quick) };
        let start = || nursery.start(spec(), |_| Clumsy { trap: None, heard: Rc::clone(&heard) }, |_| {});
        let mut addr = start();
        let ends = matches!(place, Place::Dropped);
        for fall in 1..=100 {
            if place == Place::Answer {
                addr.do_send(Swear);
            } else {
                addr.do_send(Fall(place));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            if ends {
                addr = start();
            }
            assert_eq!(addr.send(Add(1)).await, Ok(fall), "{place:?}");
        }
        assert!(control.get() >= 20, "{place:?}: time passed");
        assert!(beats.get() * 100 >= control.get() * 95, "{place:?}: {} beats beside {}", beats.get(), control.get());
    });
}

#[test]
fn g32_a_child_that_panics_anywhere_and_again_leaves_every_other_heartbeat() {
    for place in [
        Place::Handler,
        Place::Answer,
        Place::Timer,
        Place::Interval,
        Place::Spawned,
        Place::Waited,
        Place::Started,
        Place::Stopping,
        Place::Stopped,
        Place::Restarting,
        Place::Dropped,
    ] {
        check_fall(place);
    }
}

#[test]
fn g32_a_factory_that_panics_leaves_no_child_behind() {
    paused(async {
        let nursery = Nursery::new(Clock::system());
        let made = catch_unwind(AssertUnwindSafe(|| nursery.start(spec(0), |_| -> Counter { panic!("no child today") }, |_| {})));
        assert!(made.is_err(), "whoever wanted it falls, and is restarted as any child");
        assert_eq!(nursery.lives(), 0);
    });
}

#[test]
fn a_child_that_rests_when_everybody_goes_does_not_stand_up_again() {
    paused(async {
        let (told, ended) = tokio::sync::oneshot::channel();
        let nursery = Nursery::new(Clock::system());
        let addr = nursery.start(spec(3), |_| Counter(0), move |end| told.send(end).expect("somebody listens"));
        addr.do_send(Crash);
        tokio::time::sleep(Duration::from_millis(1)).await;
        nursery.close();
        let since = tokio::time::Instant::now();
        assert_eq!(ended.await, Ok(Ended::Stopped));
        assert_eq!((nursery.lives(), since.elapsed()), (0, Duration::ZERO));
    });
}
