//! A world: the real actors between scripted platforms and agents, on a paused clock, life after life on the same ledger.
//!
//! Each life has a runtime of its own. A life that shuts down must leave no actor behind; one that is cut is dropped with everything in
//! it, as a power cut would. Wall time runs on from life to life.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::cuts::{Chronicle, CuttingLedger, Disk, Event, Knife};
use super::frail::{Condition, Frail, Health};
use super::processes::Processes;
use super::stage::Stage;
use super::trace::Trace;
use crate::agent::Agent;
use crate::agent::demo::Demo;
use crate::children::{Child, Reaper};
use crate::clock::{Clock, Wall};
use crate::ids::{AdapterName, AgentName};
use crate::last_words::Remains;
use crate::ledger::memory::MemoryLedger;
use crate::ledger::{Knowledge, Ledger, Question};
use crate::marker::{Flag, Found};
use crate::platform::Abilities;
use crate::protocol::{Bulletin, GetStatus, Inquire, Reconfigure, Shutdown, Status};
use crate::settings::{Access, AdapterSettings, Settings};
use crate::shutdown::{Phase, RequestedBy, ShutdownKind, ShutdownReport};
use crate::supervisor::{Gateway, Place, Ports, Supervisor};

/// When every world begins.
const ORIGIN: Wall = Wall(1_000_000_000_000);

/// Whatever a test waits for comes within this time of a world, or never.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Nobody waits longer for a life whose ledger is ill.
const LONG_ENOUGH_TO_BE_READY: Duration = Duration::from_secs(5);
/// Read once: thousands of worlds begin with them.
static DEFAULTS: LazyLock<Settings> = LazyLock::new(Settings::defaults);

/// How a life opens the ledger.
type Open = Box<dyn FnMut() -> Box<dyn Ledger>>;

/// A world.
pub struct World {
    /// How the next life is set.
    pub settings: Settings,
    /// What happened so far.
    pub trace: Trace,
    /// Everything that had an effect outside the process so far.
    pub chronicle: Chronicle,
    /// The child processes of its agents.
    pub processes: Processes,
    stages: Vec<(AdapterSettings, Stage)>,
    left_out: Vec<AdapterName>,
    agents: HashMap<AgentName, Arc<dyn Agent>>,
    open: Open,
    boot: Option<String>,
    remains: Option<Remains>,
    flag: Option<Flag>,
    disk: Option<Disk>,
    latency: Duration,
    condition: Condition,
    now: Wall,
}

/// One life of the gateway.
pub struct Life {
    /// The gateway.
    pub gateway: Gateway,
    /// The time of this life.
    pub clock: Clock,
    /// How its ledger is.
    pub condition: Condition,
    stages: HashMap<AdapterName, Stage>,
    bulletins: Rc<RefCell<Vec<Bulletin>>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world with the platform `stage`, open to everybody, the demo agent, and a ledger in memory whose commits take a millisecond.
    pub fn new() -> Self {
        let ledger = MemoryLedger::new();
        let mut world = Self {
            settings: DEFAULTS.clone(),
            trace: Trace::default(),
            chronicle: Chronicle::default(),
            processes: Processes::default(),
            stages: Vec::new(),
            left_out: Vec::new(),
            agents: HashMap::from([(AgentName::new("demo"), Arc::new(Demo) as Arc<dyn Agent>)]),
            open: Box::new(move || Box::new(ledger.shared())),
            boot: None,
            remains: None,
            flag: None,
            disk: None,
            latency: Duration::from_millis(1),
            condition: Condition::default(),
            now: ORIGIN,
        };
        world.add_stage("stage", Stage::plain());
        world
    }

    /// Another platform.
    pub fn add_stage(&mut self, name: &str, abilities: Abilities) -> Stage {
        self.stages.retain(|(set, _)| set.name.as_str() != name);
        let knife = Knife::new(None, self.chronicle.clone());
        let stage = Stage::new(AdapterName::new(name), abilities, Clock::from_origin(self.now), knife, self.trace.clone());
        // Deliveries are told apart by their account.
        stage.set_account(&format!("stage:{name}"));
        let access = Access { allow: vec!["*".into()], admins: vec![format!("{name}:boss")], pairing: false };
        let set = AdapterSettings { name: AdapterName::new(name), access, rate: None, agent: AgentName::new("demo") };
        self.stages.push((set, stage.clone()));
        stage
    }

    /// A platform.
    pub fn stage(&self, name: &str) -> Stage {
        self.stages.iter().find(|(set, _)| set.name.as_str() == name).map(|(_, stage)| stage.clone()).expect("a stage of this world")
    }

    /// How an adapter is set.
    pub fn adapter(&mut self, name: &str) -> &mut AdapterSettings {
        self.stages.iter_mut().find(|(set, _)| set.name.as_str() == name).map(|(set, _)| set).expect("a stage of this world")
    }

    /// Who answers.
    pub fn set_agent(&mut self, agent: impl Agent) {
        self.agents.insert(AgentName::new("demo"), Arc::new(agent));
    }

    /// Where the ledger of each life comes from, instead of memory.
    pub fn set_ledger(&mut self, open: impl FnMut() -> Box<dyn Ledger> + 'static) {
        self.open = Box::new(open);
    }

    /// The next lives begin without this platform; it can be brought in with [`configured`](World::configured).
    pub fn leave_out(&mut self, name: &str) {
        self.left_out.push(AdapterName::new(name));
    }

    /// Everything as it is set now, every platform among it, to be changed and sent to a life: nobody has to connect for it.
    pub fn configured(&self) -> Reconfigure {
        let adapters = self.stages.iter().map(|(set, _)| (set.clone(), None)).collect();
        Reconfigure { settings: Arc::new(self.settings.clone()), agents: self.agents.clone(), adapters }
    }

    /// How the ledger is, in this life and the next ones.
    pub fn condition(&self) -> Condition {
        self.condition.clone()
    }

    /// How long each commit takes.
    pub fn set_latency(&mut self, latency: Duration) {
        self.latency = latency;
    }

    /// Where the clean-shutdown flag is kept; without it none is.
    pub fn set_marker(&mut self, path: impl Into<std::path::PathBuf>) {
        self.flag = Some(Flag::at(path));
    }

    /// The clean-shutdown flag is kept on a disk that loses its power with every life.
    pub fn set_disk(&mut self, disk: Disk) {
        self.flag = Some(Flag::on(disk.clone(), "/state/clean"));
        self.disk = Some(disk);
    }

    /// The boot of the machine in which the next lives live.
    pub fn set_boot(&mut self, boot: &str) {
        self.boot = Some(boot.to_owned());
    }

    /// What the next life finds that the last one left beside the ledger.
    pub fn leave(&mut self, remains: Remains) {
        self.remains = Some(remains);
    }

    /// The clean-shutdown flag as it stands, where one is kept.
    pub fn marker(&self) -> Option<Found> {
        self.flag.as_ref().map(Flag::read)
    }

    /// Time passes while nobody lives.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    /// The trace since the world began.
    pub fn text(&self) -> String {
        self.trace.text(ORIGIN)
    }

    /// Compares the whole trace, line by line, whatever its columns.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(&self, expected: &str) {
        let plain = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.filter(|line| !line.is_empty()).collect()
        };
        let got = self.text();
        assert!(plain(&got) == plain(expected), "the trace (below) is another than\n{expected}");
    }

    /// Lives one life: starts the gateway, waits until it is ready, and plays. A life that did not shut down ends as by a power cut.
    ///
    /// # Panics
    /// When a life that shut down left an actor behind, or when the outcomes of its sessions do not add up to the census.
    pub fn life<R>(&mut self, play: impl AsyncFnOnce(&Life) -> R) -> R {
        self.life_until(None, play).0.expect("a life that nobody cuts is played to its end")
    }

    /// As [`life`](World::life), with the power cut at the point of this number. Returns what the play came to, unless it was cut, and the
    /// points that were passed.
    ///
    /// # Panics
    /// When a life that shut down left an actor behind.
    pub fn life_until<R>(&mut self, cut: Option<usize>, play: impl AsyncFnOnce(&Life) -> R) -> (Option<R>, Vec<String>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime can be built");
        let local = tokio::task::LocalSet::new();
        let knife = Knife::new(cut, self.chronicle.clone());
        let (ended, power) = (Rc::new(Cell::new(self.now)), knife.clone());
        let result = local.block_on(&runtime, async {
            let life = self.begin(&power);
            let played = async {
                life.begun().await;
                let result = play(&life).await;
                if let Some(report) = life.report() {
                    expect_the_whole_census(&report);
                    life.expect_nobody().await;
                }
                (result, life.report().is_some())
            };
            let result = tokio::select! {
                biased;
                () = power.fallen() => None,
                played = played => Some(played),
            };
            let result = result.map(|(result, down)| {
                // Whoever still lives when the play is over loses the power.
                if !down {
                    power.fall("at the end of the play");
                }
                result
            });
            ended.set(life.clock.wall());
            result
        });
        drop((local, runtime));
        self.now = ended.get();
        if let Some(disk) = &self.disk {
            disk.lose_power();
        }
        if result.is_none() {
            self.trace.note(self.now, "cut", knife.points().pop().unwrap_or_default());
        }
        (result, knife.points())
    }

    /// Asks the ledger while nobody lives.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn ask(&mut self, questions: &[Question]) -> Vec<Knowledge> {
        let mut ledger = (self.open)();
        questions.iter().map(|question| ledger.ask(question).expect("a ledger that nobody writes can be read")).collect()
    }

    /// Every platform.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().map(|(_, stage)| stage)
    }

    fn begin(&mut self, knife: &Knife) -> Life {
        self.chronicle.note(Event::Begun);
        let clock = Clock::from_origin(self.now);
        let bulletins: Rc<RefCell<Vec<Bulletin>>> = Rc::default();
        let (told, trace, time, power) = (bulletins.clone(), self.trace.clone(), clock.clone(), knife.clone());
        for (_, stage) in &self.stages {
            stage.set_life(clock.clone(), knife.clone());
        }
        if let Some(disk) = &self.disk {
            disk.set_life(knife.clone());
        }
        let runtime = tokio::runtime::Handle::current();
        let here = |(set, _): &&(AdapterSettings, Stage)| !self.left_out.contains(&set.name);
        let gateway = Supervisor::start(Ports {
            settings: Arc::new(self.settings.clone()),
            clock: clock.clone(),
            version: "world".into(),
            ledger: Box::new(Frail::new(CuttingLedger::new((self.open)(), knife.clone()), &self.condition)),
            place: Place::Inline(self.latency),
            boot: self.boot.clone(),
            remains: self.remains.take(),
            false_starts: Vec::new(),
            marker: self.flag.clone(),
            adapters: self.stages.iter().filter(here).map(|(set, stage)| (set.clone(), Arc::new(stage.clone()) as Arc<_>)).collect(),
            agents: self.agents.clone(),
            io: runtime.clone(),
            agent_runtime: runtime,
            reaper: Arc::new(Undertaker {
                trace: self.trace.clone(),
                clock: clock.clone(),
                knife: knife.clone(),
                processes: self.processes.clone(),
            }),
            bulletin: Box::new(move |bulletin| {
                if power.has_fallen() {
                    return;
                }
                match &bulletin {
                    Bulletin::Phase(Phase::Quiesce | Phase::RollCall | Phase::Flush | Phase::Disconnect | Phase::Close) => {}
                    Bulletin::Phase(phase) => trace.note(time.wall(), phase.as_str(), ""),
                    Bulletin::Down(report) => trace.note(time.wall(), "down", report.verdict.to_string()),
                    Bulletin::Born | Bulletin::Ready | Bulletin::GoingDown { .. } | Bulletin::Lost(_) => {}
                }
                told.borrow_mut().push(bulletin);
            }),
        });
        let stages = self.stages.iter().map(|(set, stage)| (set.name.clone(), stage.clone())).collect();
        Life { gateway, clock, condition: self.condition.clone(), stages, bulletins }
    }
}

/// Ends processes of this world, and notes which: nothing in it is real.
struct Undertaker {
    trace: Trace,
    clock: Clock,
    knife: Knife,
    processes: Processes,
}

impl Reaper for Undertaker {
    fn end(&self, child: &Child) {
        if self.knife.pass(|| format!("before group {} is killed", child.group)) {
            self.trace.note(self.clock.wall(), "kill", format!("group {}", child.group));
            self.processes.end(child);
            // Whoever is cut here did kill it.
            let _ = self.knife.pass(|| format!("after group {} was killed", child.group));
        }
    }
}

impl Life {
    /// `user` says something in `room` of the platform `stage`, and everything that follows at once happens.
    pub async fn say(&self, room: &str, user: &str, text: &str) {
        self.stages[&AdapterName::new("stage")].say(room, user, text);
        self.settle().await;
    }

    /// A platform.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn stage(&self, name: &str) -> &Stage {
        self.stages.get(&AdapterName::new(name)).expect("a stage of this world")
    }

    /// Every platform.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.stages.values()
    }

    /// Lets everything happen that needs no time to speak of: a tenth of a second.
    pub async fn settle(&self) {
        self.pass(Duration::from_millis(100)).await;
    }

    /// Time passes.
    pub async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Shuts down and returns what it came to.
    ///
    /// # Panics
    /// When no report comes.
    pub async fn shut_down(&self, kind: ShutdownKind) -> ShutdownReport {
        self.shutdown(Shutdown { kind, grace: None, requested_by: RequestedBy::Embedder, reason: None }).await
    }

    /// Shuts down as asked and returns what it came to.
    ///
    /// # Panics
    /// When no report comes.
    pub async fn shutdown(&self, shutdown: Shutdown) -> ShutdownReport {
        self.gateway.supervisor.send(shutdown).await.expect("the supervisor answers").expect("a report")
    }

    /// Asks for a shutdown and does not wait for it.
    pub async fn ask_for(&self, kind: ShutdownKind, grace: Option<Duration>) {
        self.gateway.supervisor.do_send(Shutdown { kind, grace, requested_by: RequestedBy::Embedder, reason: None });
        self.settle().await;
    }

    /// Waits for the end of a shutdown that somebody asked for.
    pub async fn down(&self) -> Arc<ShutdownReport> {
        self.until(|bulletins| bulletins.iter().any(|bulletin| matches!(bulletin, Bulletin::Down(_)))).await;
        self.report().expect("it was just seen")
    }

    /// Sets the gateway like this from now on, and lets everything happen that follows at once.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn reconfigure(&self, order: Reconfigure) {
        self.gateway.supervisor.send(order).await.expect("the supervisor answers").expect("nothing speaks against it");
        self.settle().await;
    }

    /// What is going on.
    ///
    /// # Panics
    /// When the supervisor does not answer.
    pub async fn status(&self) -> Status {
        *self.gateway.supervisor.send(GetStatus).await.expect("the supervisor answers")
    }

    /// Asks the ledger.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn inquire(&self, question: Question) -> Knowledge {
        self.gateway.supervisor.send(Inquire(question)).await.expect("the supervisor answers").expect("the ledger answers")
    }

    /// The report of the shutdown, once it is over.
    pub fn report(&self) -> Option<Arc<ShutdownReport>> {
        self.bulletins.borrow().iter().find_map(|bulletin| match bulletin {
            Bulletin::Down(report) => Some(report.clone()),
            _ => None,
        })
    }

    /// Waits for a bulletin.
    ///
    /// # Panics
    /// When it does not come within an hour of the world.
    pub async fn until(&self, seen: impl Fn(&[Bulletin]) -> bool) {
        let start = self.clock.now();
        while self.clock.now().since(start) < PATIENCE && !seen(&self.bulletins.borrow()) {
            self.pass(Duration::from_millis(1)).await;
        }
        assert!(seen(&self.bulletins.borrow()), "nothing of the kind was ever told; {:?}", self.bulletins.borrow());
    }

    /// It is ready, or never will be: somebody's wish that it goes may have waited for it, or its ledger is ill.
    async fn begun(&self) {
        let begun = |told: &[Bulletin]| told.iter().any(|bulletin| matches!(bulletin, Bulletin::Ready | Bulletin::GoingDown { .. }));
        let ill = async {
            self.pass(LONG_ENOUGH_TO_BE_READY).await;
            while self.condition.is(Health::Well) {
                self.pass(LONG_ENOUGH_TO_BE_READY).await;
            }
        };
        tokio::select! {
            biased;
            () = self.until(begun) => {}
            () = ill => {}
        }
    }

    /// Everybody who lived is gone.
    async fn expect_nobody(&self) {
        self.settle().await;
        assert_eq!(self.gateway.nursery.lives(), 0, "actors outlived the shutdown");
    }
}

impl Drop for World {
    /// A test that fails shows what happened.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.text());
        }
    }
}

/// Every session of the census has exactly one outcome.
fn expect_the_whole_census(report: &ShutdownReport) {
    let mut ends: Vec<_> = report.sessions.iter().map(|end| &end.session).collect();
    assert_eq!(report.idle + ends.len(), report.census, "the outcomes do not add up to the census: {report:?}");
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), report.sessions.len(), "a session has two outcomes: {report:?}");
}
