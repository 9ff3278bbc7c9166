//! A scenario, and how it is played: once to its end, and once for every point at which it can be cut.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use switchboard_actors::clock::Wall;
use switchboard_actors::ledger::Ledger as _;
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::platform::Abilities;
use switchboard_actors::settings::Policy;
use switchboard_actors::testkit::cuts::{Chronicle, Disk, Fact, Loss};
use switchboard_actors::testkit::stage::Stage;
use switchboard_actors::testkit::trace::Trace;
use switchboard_actors::testkit::world::{Life, World};
use tempfile::TempDir;

use crate::aftermath::{Rest, all_is_well_again, come_to_rest};
use crate::at_rest::check_at_rest;
use crate::guarantees::{self, Evidence};
use crate::player::Player;
use crate::tally;

/// What happens in one life.
pub(crate) type Play = for<'a> fn(&'a Life) -> LocalBoxFuture<'a, ()>;

/// A scenario under its name.
pub(crate) type Named = (&'static str, fn() -> Scenario);

/// These scenarios, each under the name of the function that makes it.
macro_rules! scenarios {
    ($($scenario:ident),* $(,)?) => { vec![$((stringify!($scenario), $scenario as fn() -> Scenario)),*] };
}
pub(crate) use scenarios;

/// A scenario: lives in which something happens, each cut at its end unless it shuts down.
pub(crate) struct Scenario {
    set: fn(&mut World),
    lives: Vec<Play>,
    /// Whether what is cut is cut again in the life behind it, however long it is.
    twice: bool,
    /// Whether the ledger is ill in its lives: not everybody can be told, or have it recorded.
    ill: bool,
    least: usize,
    policies: &'static [Policy],
    losses: &'static [Loss],
}

/// A scenario of so few points is cut twice in a row.
const SHORT: usize = 22;
/// Every one is, where `CUTS=all` is set.
static ALL: LazyLock<bool> = LazyLock::new(|| std::env::var("CUTS").is_ok_and(|cuts| cuts == "all"));

/// What may become of what was not synced when the power goes.
const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Unsynced, Loss::Torn, Loss::Emptied];

/// What a scenario is played with.
#[derive(Clone, Copy, Debug)]
struct Variant {
    engine: Engine,
    policy: Policy,
    /// Whether the platform takes a key.
    keyed: bool,
    /// Steps in one commit at most.
    batch: u32,
    loss: Loss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Memory,
    Sqlite,
}

impl Scenario {
    /// A scenario of this life, with at least so many points at which it can be cut.
    pub(crate) fn new(least: usize, life: Play) -> Self {
        Self { set: |_| {}, lives: vec![life], twice: false, ill: false, least, policies: &[Policy::Ask, Policy::Resume], losses: &[] }
    }

    /// Changes the world before it begins.
    pub(crate) fn set(mut self, set: fn(&mut World)) -> Self {
        self.set = set;
        self
    }

    /// And then another life.
    pub(crate) fn then(mut self, life: Play) -> Self {
        self.lives.push(life);
        self
    }

    /// What is cut is cut again while it recovers, however long it is.
    pub(crate) fn cut_twice(mut self) -> Self {
        self.twice = true;
        self
    }

    /// The ledger falls ill in these lives.
    pub(crate) fn ill(mut self) -> Self {
        self.ill = true;
        self
    }

    /// Only under this policy.
    pub(crate) fn under(mut self, policies: &'static [Policy]) -> Self {
        self.policies = policies;
        self
    }

    /// Whatever may become of what was not synced, becomes of it each time.
    pub(crate) fn under_every_loss(mut self) -> Self {
        self.losses = &LOSSES;
        self
    }

    /// Plays it in every way, cut at every point.
    ///
    /// # Panics
    /// When a promise is broken, or there are fewer points than expected.
    #[expect(clippy::print_stdout, reason = "asked for with CUT")]
    pub(crate) fn check(&self, name: &'static str) {
        let wanted = std::env::var("CUT").ok();
        let wanted: Option<Vec<usize>> = wanted.map(|cuts| cuts.split(',').map(|cut| cut.parse().expect("CUT is numbers")).collect());
        for variant in self.variants() {
            if let Some(cuts) = &wanted {
                let played = self.play(name, variant, cuts);
                println!("{variant:?}\n{}", played.story());
                continue;
            }
            let points = self.play(name, variant, &[]).points[0];
            assert!(points >= self.least, "{name}: only {points} points");
            let twice = self.twice || points <= SHORT || *ALL;
            for first in 0..points {
                let behind = self.play(name, variant, &[first]).points.get(1).copied().unwrap_or(0);
                tally::add("cuts", 1);
                for second in 0..if twice { behind } else { 0 } {
                    self.play(name, variant, &[first, second]);
                    tally::add("cuts in a row", 1);
                }
            }
        }
    }

    fn variants(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for policy in self.policies.iter().copied() {
            for keyed in [false, true] {
                let next = [LOSSES[variants.len() % LOSSES.len()]];
                for loss in if self.losses.is_empty() { &next } else { self.losses } {
                    variants.push(Variant { engine: Engine::Memory, policy, keyed, batch: if keyed { 1 } else { 512 }, loss: *loss });
                }
            }
        }
        variants.push(Variant { engine: Engine::Sqlite, policy: self.policies[0], keyed: false, batch: 512, loss: Loss::Unsynced });
        variants
    }

    fn play(&self, name: &'static str, variant: Variant, cuts: &[usize]) -> Played {
        // Back-offs are spread at random: every play of a scenario meets the same points.
        fastrand::seed(0);
        let folder = (variant.engine == Engine::Sqlite).then(folder);
        let (mut world, player) = self.world(variant, folder.as_ref().map(TempDir::path));
        let _teller =
            Teller { scenario: name, variant, cuts: cuts.to_vec(), trace: world.trace.clone(), chronicle: world.chronicle.clone() };
        let mut to_fall = cuts.len();
        let mut cuts = cuts.iter().copied().peekable();
        let (mut points, mut passed, mut labels) = (Vec::new(), 0, Vec::new());
        for life in &self.lives {
            // The lives of a scenario are numbered through.
            let cut = cuts.peek().and_then(|cut| cut.checked_sub(passed));
            let (played, met) = world.life_until(cut, async |of| life(of).await);
            passed += met.len();
            labels.extend(met);
            check_at_rest(&mut world);
            if played.is_none() {
                to_fall -= 1;
                break;
            }
            world.pass(Duration::from_secs(2));
        }
        cuts.next();
        points.push(passed);
        player.calm_down();
        all_is_well_again(&world);
        let report = self.recover(&mut world, &mut cuts, &mut points, &mut to_fall);
        assert_eq!(to_fall, 0, "a cut was never reached: what was to be cut there was not judged");
        let mut evidence = Evidence::gather(&world, &player, variant.keyed);
        if self.ill {
            evidence.troubled = (1..=self.lives.len()).collect();
        }
        guarantees::check(&evidence, &report);
        tally::add("g02_nothing_is_given_up", guarantees::g02_nothing_is_given_up(&evidence));
        Played { points, labels, text: world.text() }
    }

    /// Lives on until nothing is open.
    fn recover(
        &self,
        world: &mut World,
        cuts: &mut dyn Iterator<Item = usize>,
        points: &mut Vec<usize>,
        to_fall: &mut usize,
    ) -> switchboard_actors::shutdown::ShutdownReport {
        for _ in 0..10 {
            world.pass(Duration::from_secs(2));
            let (rest, met) = world.life_until(cuts.next(), async |life| come_to_rest(life).await);
            points.push(met.len());
            check_at_rest(world);
            match rest {
                Some(Rest::Quiet(report)) => return report,
                Some(_) => {}
                None => *to_fall = to_fall.saturating_sub(1),
            }
        }
        panic!("ten lives were not enough to come to rest");
    }

    fn world(&self, variant: Variant, folder: Option<&Path>) -> (World, Player) {
        let mut world = World::new();
        let player = Player::of(&world);
        world.settings.recovery.policy = variant.policy;
        world.settings.recovery.crash_loop.starts = 0;
        world.settings.ledger.batch = variant.batch;
        world.set_agent(player.clone());
        world.set_disk(Disk::new(variant.loss));
        world.add_stage("stage", Abilities { idempotent: variant.keyed, ..Stage::plain() });
        (self.set)(&mut world);
        match folder {
            None => {
                let ledger = MemoryLedger::new();
                world.set_ledger(move || Box::new(ledger.shared()));
            }
            Some(folder) => {
                let path = folder.join("ledger.sqlite3");
                std::fs::write(&path, &*EMPTY).expect("a folder in memory takes a file");
                world.set_ledger(move || Box::new(SqliteLedger::open(&path).expect("the ledger opens after every cut")));
            }
        }
        (world, player)
    }
}

/// A ledger as it is made: thousands of lives begin with one.
static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = folder();
    let path = folder.path().join("ledger.sqlite3");
    let mut made = SqliteLedger::open(&path).expect("a ledger can be made");
    made.close().expect("and closed");
    std::fs::read(&path).expect("it can be read")
});

/// A folder in memory, where there is one: nothing here tests the disk.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder can be made")
}

/// What a run came to.
struct Played {
    /// The points of the scenario, and of each life behind it.
    points: Vec<usize>,
    labels: Vec<String>,
    text: String,
}

impl Played {
    fn story(&self) -> String {
        let labels: Vec<String> = self.labels.iter().enumerate().map(|(number, label)| format!("{number:>4} {label}\n")).collect();
        format!("{}\n{}", labels.concat(), self.text)
    }
}

/// Tells what was played when a run panics.
struct Teller {
    scenario: &'static str,
    variant: Variant,
    cuts: Vec<usize>,
    trace: Trace,
    chronicle: Chronicle,
}

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cuts: Vec<String> = self.cuts.iter().map(ToString::to_string).collect();
            let text = self.trace.text(Wall(1_000_000_000_000));
            for Fact { life, event } in self.chronicle.facts() {
                eprintln!("life {life}: {}", format!("{event:?}").chars().take(200).collect::<String>());
            }
            eprintln!("scenario: {}\n{:?}\nCUT={}\n{text}", self.scenario, self.variant, cuts.join(","));
        }
    }
}
