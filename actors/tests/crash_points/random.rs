//! Random worlds: whatever people say, whatever breaks, whenever the gateway goes, in any order; the promises hold all the same.
//!
//! A world is drawn from a number, so that a number repeats it; one that fails is made smaller before it is told.
//! `WORLDS=20000` plays more of them, `WORLD=17` plays that one alone and prints what happened.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use switchboard_actors::clock::Wall;
use switchboard_actors::ids::DeliveryId;
use switchboard_actors::ledger::memory::MemoryLedger;
use switchboard_actors::ledger::sqlite::SqliteLedger;
use switchboard_actors::platform::Abilities;
use switchboard_actors::protocol::{Hold, Hurry, Resume};
use switchboard_actors::settings::{Busy, Groups, Policy};
use switchboard_actors::shutdown::{RequestedBy, ShutdownKind};
use switchboard_actors::testkit::cuts::{Chronicle, Disk, Fact, Loss};
use switchboard_actors::testkit::frail::Health;
use switchboard_actors::testkit::stage::{Mood, Stage};
use switchboard_actors::testkit::trace::Trace;
use switchboard_actors::testkit::world::{Life, World};

use crate::aftermath::{Rest, all_is_well_again, come_to_rest};
use crate::at_rest::check_at_rest;
use crate::fates::last_life;
use crate::guarantees::{self, Evidence};
use crate::player::Player;
use crate::tally;

/// Worlds that are played unless `WORLDS` says otherwise.
const WORLDS: u64 = 600;
/// Worlds that are played twice and compared.
const REPEATED: u64 = 150;
/// A smaller world is looked for so often.
const SHRINK: u32 = 400;
/// The room that several people share.
const GROUP: &str = "9";

/// One world: how it is set, and its lives.
#[derive(Clone, Debug)]
struct Script {
    set: Set,
    lives: Vec<Chapter>,
}

impl Script {
    fn text(&self) -> String {
        let life = |life: &Chapter| format!("{:?}\n    cut {:?}, then {:?}", life.acts, life.cut, life.end).replace(" }, ", " }\n    ");
        format!("{:?}\n  {}", self.set, self.lives.iter().map(life).collect::<Vec<_>>().join("\n  "))
    }
}

#[derive(Clone, Debug)]
struct Set {
    sqlite: bool,
    policy: Policy,
    busy: Busy,
    groups: Groups,
    keyed: bool,
    edits: bool,
    batch: u32,
    latency_ms: u64,
    idle_ms: u64,
    crash_loop: u32,
    loss: Loss,
}

/// What happens in one life, and where it is cut if it comes so far.
#[derive(Clone, Debug)]
struct Chapter {
    acts: Vec<Act>,
    cut: Option<usize>,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The power goes.
    Dropped,
    /// It is asked to go, and does.
    Down(ShutdownKind),
}

#[derive(Clone, Debug)]
enum Act {
    Say {
        room: &'static str,
        user: &'static str,
        how: &'static str,
    },
    Command {
        room: &'static str,
        user: &'static str,
        text: &'static str,
    },
    /// A delivery comes again.
    Again(prop::sample::Index),
    Pass(u64),
    Platform(Trouble),
    Disk(Health),
    Ask(ShutdownKind, Option<u64>),
    Hurry,
    Hold,
    Release,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    Down,
    Slow,
    Hanging,
    Refusing,
    Busy,
    Mumbling,
    Deaf,
}

impl Trouble {
    fn mood(self) -> Mood {
        let room = || HashSet::from(["7".into()]);
        match self {
            Trouble::None => Mood::default(),
            Trouble::Down => Mood { down: true, ..Mood::default() },
            Trouble::Slow => Mood { slow: Duration::from_secs(4), ..Mood::default() },
            Trouble::Hanging => Mood { hanging: room(), ..Mood::default() },
            Trouble::Refusing => Mood { refusing: room(), ..Mood::default() },
            Trouble::Busy => Mood { busy: Some((Duration::from_secs(20), false)), ..Mood::default() },
            Trouble::Mumbling => Mood { mumbling: true, ..Mood::default() },
            Trouble::Deaf => Mood { deaf: true, ..Mood::default() },
        }
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let rooms = || select(vec!["7", "8", GROUP]);
    let users = || select(vec!["alice", "bob"]);
    let hows = select(vec![
        "",
        "",
        "",
        "slow",
        "slow",
        "stuck",
        "stuck",
        "tools",
        "tools stuck",
        "long",
        "stream",
        "stream stuck",
        "fail",
        "panic",
        "silent",
        "ask",
        "ask tools",
        "child",
        "child stuck",
        "child ask",
        "restart",
    ]);
    let commands = select(vec![
        "/stop", "/stop", "/new", "/retry", "/retry", "/status", "/queue", "/help", "/whoami", "/approve", "/approve", "/deny",
    ]);
    let orders = select(vec!["/restart", "/shutdown", "/stop all", "/sessions"]);
    let kinds = || select(vec![ShutdownKind::Stop, ShutdownKind::Restart, ShutdownKind::Update]);
    let troubles = select(vec![
        Trouble::None,
        Trouble::None,
        Trouble::Down,
        Trouble::Slow,
        Trouble::Hanging,
        Trouble::Refusing,
        Trouble::Busy,
        Trouble::Mumbling,
        Trouble::Deaf,
    ]);
    let healths = select(vec![Health::Well, Health::Well, Health::Full, Health::Mumbling, Health::Forgetful]);
    prop_oneof![
        10 => (rooms(), users(), hows).prop_map(|(room, user, how)| Act::Say { room, user, how }),
        3 => (rooms(), users(), commands).prop_map(|(room, user, text)| Act::Command { room, user, text }),
        1 => (rooms(), orders).prop_map(|(room, text)| Act::Command { room, user: "boss", text }),
        1 => any::<prop::sample::Index>().prop_map(Act::Again),
        8 => select(vec![0, 1, 3, 20, 100, 1000, 3000, 12_000, 70_000]).prop_map(Act::Pass),
        1 => troubles.prop_map(Act::Platform),
        1 => healths.prop_map(Act::Disk),
        1 => (kinds(), prop::option::of(select(vec![0, 3, 12, 40]))).prop_map(|(kind, grace)| Act::Ask(kind, grace)),
        1 => select(vec![0, 1, 2]).prop_map(|which| [Act::Hurry, Act::Hold, Act::Release][which].clone()),
    ]
}

fn scripts() -> impl Strategy<Value = Script> {
    let end = prop_oneof![
        2 => Just(End::Dropped),
        3 => select(vec![ShutdownKind::Stop, ShutdownKind::Restart, ShutdownKind::Update]).prop_map(End::Down),
    ];
    let chapter = (prop::collection::vec(acts(), 0..14), prop::option::of(0usize..70), end);
    let chapter = chapter.prop_map(|(acts, cut, end)| Chapter { acts, cut, end });
    let policies = select(vec![Policy::Ask, Policy::Resume, Policy::Hold]);
    let busies = select(vec![Busy::Collect, Busy::Queue, Busy::Interrupt]);
    let groups = select(vec![Groups::PerMember, Groups::Shared]);
    let sizes = (select(vec![1, 2, 512]), select(vec![0, 1, 30, 90]), select(vec![200, 5_000, 600_000]), select(vec![0, 3]));
    let losses = select(vec![Loss::Nothing, Loss::Unsynced, Loss::Torn, Loss::Emptied]);
    let set = (policies, busies, groups, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), sizes, losses);
    let set = set.prop_map(|(policy, busy, groups, keyed, edits, sqlite, (batch, latency_ms, idle_ms, crash_loop), loss)| Set {
        sqlite,
        policy,
        busy,
        groups,
        keyed,
        edits,
        batch,
        latency_ms,
        idle_ms,
        crash_loop,
        loss,
    });
    (set, prop::collection::vec(chapter, 1..4)).prop_map(|(set, lives)| Script { set, lives })
}

/// What a play has come to so far, beside what the world itself knows.
#[derive(Default)]
struct Notes {
    messages: usize,
    /// Every delivery, to be made again.
    said: Vec<(DeliveryId, &'static str, &'static str, String)>,
    /// Something did not do as it should, now.
    platform_ill: bool,
    ledger_ill: bool,
    troubled: HashSet<usize>,
    asked_to_end: HashSet<usize>,
}

impl Notes {
    fn note(&mut self, world_life: usize) {
        if self.platform_ill || self.ledger_ill {
            self.troubled.insert(world_life);
        }
    }
}

/// Plays a script to its end, and checks every promise.
fn play(script: &Script, folder: &std::path::Path, seen: impl FnOnce(String)) -> String {
    let (mut world, player) = open(&script.set, folder);
    let _hush = Hush(world.trace.clone(), world.chronicle.clone());
    let mut notes = Notes::default();
    for chapter in &script.lives {
        let number = last_life(&world.chronicle.facts()) + 1;
        notes.note(number);
        world.life_until(chapter.cut, async |life| {
            for act in &chapter.acts {
                if life.report().is_some() {
                    return;
                }
                perform(act, life, &mut notes, number).await;
                notes.note(number);
            }
            if let End::Down(kind) = chapter.end
                && life.report().is_none()
            {
                notes.asked_to_end.insert(number);
                life.ask_for(kind, None).await;
                life.down().await;
            }
        });
        check_at_rest(&mut world);
        world.pass(Duration::from_secs(2));
    }
    player.calm_down();
    all_is_well_again(&world);
    let report = recover(&mut world, &mut notes);
    let mut evidence = Evidence::gather(&world, &player, script.set.keyed);
    (evidence.troubled, evidence.asked_to_end) = (notes.troubled, notes.asked_to_end);
    evidence.interrupting = script.set.busy == Busy::Interrupt;
    guarantees::check(&evidence, &report);
    seen(world.text());
    told(&world.trace, &world.chronicle)
}

fn recover(world: &mut World, notes: &mut Notes) -> switchboard_actors::shutdown::ShutdownReport {
    for _ in 0..12 {
        world.pass(Duration::from_secs(600));
        notes.asked_to_end.insert(last_life(&world.chronicle.facts()) + 1);
        let rest = world.life(async |life| {
            life.gateway.supervisor.do_send(Resume);
            come_to_rest(life).await
        });
        check_at_rest(world);
        if let Rest::Quiet(report) = rest {
            return report;
        }
    }
    panic!("twelve lives were not enough to come to rest");
}

async fn perform(act: &Act, life: &Life, notes: &mut Notes, number: usize) {
    let stage = life.stage("stage");
    match act {
        Act::Say { room, user, how } => {
            notes.messages += 1;
            let text = format!("m{} {how}", notes.messages).trim().to_owned();
            notes.said.push((stage.say(room, user, &text), room, user, text));
        }
        Act::Command { room, user, text } => notes.said.push((stage.say(room, user, text), room, user, (*text).to_owned())),
        Act::Again(_) if notes.said.is_empty() => {}
        Act::Again(which) => {
            let (delivery, room, user, text) = which.get(&notes.said);
            stage.redeliver(delivery, room, user, text);
        }
        Act::Pass(ms) => life.pass(Duration::from_millis(*ms)).await,
        Act::Platform(trouble) => {
            notes.platform_ill = !matches!(trouble, Trouble::None);
            stage.set_mood(|mood| *mood = trouble.mood());
        }
        Act::Disk(health) => {
            notes.ledger_ill = *health != Health::Well;
            life.condition.set(*health);
        }
        Act::Ask(kind, grace) => {
            notes.asked_to_end.insert(number);
            life.ask_for(*kind, grace.map(Duration::from_secs)).await;
        }
        Act::Hurry => life.gateway.supervisor.do_send(Hurry(Some(RequestedBy::Embedder))),
        Act::Hold => life.gateway.supervisor.do_send(Hold),
        Act::Release => life.gateway.supervisor.do_send(Resume),
    }
}

fn open(set: &Set, folder: &std::path::Path) -> (World, Player) {
    let mut world = World::new();
    let player = Player::of(&world);
    world.settings.recovery.policy = set.policy;
    world.settings.recovery.crash_loop.starts = set.crash_loop;
    world.settings.ledger.batch = set.batch;
    world.settings.session.busy = set.busy;
    world.settings.session.groups = set.groups;
    world.settings.session.idle_after = Duration::from_millis(set.idle_ms);
    world.settings.shutdown.grace = Duration::from_secs(30);
    world.set_latency(Duration::from_millis(set.latency_ms));
    world.set_agent(player.clone());
    world.set_disk(Disk::new(set.loss));
    world.add_stage("stage", Abilities { idempotent: set.keyed, edits: set.edits, ..Stage::plain() }).make_group(GROUP);
    if set.sqlite {
        let path = folder.join("ledger.sqlite3");
        world.set_ledger(move || Box::new(SqliteLedger::open(&path).expect("the ledger opens after every life")));
    } else {
        let ledger = MemoryLedger::new();
        world.set_ledger(move || Box::new(ledger.shared()));
    }
    (world, player)
}

/// While smaller worlds are looked for, none tells what happened.
struct Hush(Trace, Chronicle);

impl Drop for Hush {
    fn drop(&mut self) {
        if std::thread::panicking() {
            FAILED.with_borrow_mut(|failed| *failed = told(&self.0, &self.1));
            self.0.clear();
        }
    }
}

fn told(trace: &Trace, chronicle: &Chronicle) -> String {
    let facts = chronicle
        .facts()
        .into_iter()
        .map(|Fact { life, event }| format!("life {life}: {event:?}").chars().take(260).chain(['\n']).collect::<String>());
    format!("{}{}", facts.collect::<String>(), trace.text(Wall(1_000_000_000_000)))
}

thread_local! {
    /// The trace of the world that failed last.
    static FAILED: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A number repeats its world to the letter: what is spread at random is spread by it.
fn a_number_repeats_its_world() {
    for number in 0..REPEATED {
        let (_, tree) = world_of(number);
        let script = tree.current();
        let once = || traced(&script, number);
        assert_eq!(once(), once(), "WORLD={number} is another world each time");
    }
    tally::add("random worlds played twice alike", usize::try_from(REPEATED).expect("a few"));
}

/// What somebody outside could see of a world.
fn traced(script: &Script, number: u64) -> String {
    fastrand::seed(number);
    let folder = crate::scenario::folder();
    let mut text = String::new();
    play(script, folder.path(), |trace| text = trace);
    text
}

/// The world of this number.
fn world_of(number: u64) -> (TestRunner, impl ValueTree<Value = Script>) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters: SHRINK, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let tree = scripts().new_tree(&mut runner).expect("every number is a world");
    (runner, tree)
}

/// Plays the worlds of these numbers.
#[expect(clippy::print_stdout, reason = "asked for with WORLD")]
fn check(numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        tally::add("random worlds", 1);
        let (mut runner, tree) = world_of(number);
        let (whole, story) = (tree.current().text(), std::cell::RefCell::default());
        let played = runner.run_one(tree, |script| {
            let folder = crate::scenario::folder();
            fastrand::seed(number);
            let played = catch_unwind(AssertUnwindSafe(|| play(&script, folder.path(), drop)));
            played.map(|played| _ = story.replace(played)).map_err(|panic| TestCaseError::fail(words_of(panic.as_ref())))
        });
        if let Err(TestError::Fail(reason, script)) = played {
            let trace = FAILED.with_borrow(Clone::clone);
            panic!("{reason}\n\nWORLD={number}, made as small as it still fails:\n{}\n{trace}", script.text());
        }
        if number_wanted() == Some(number) {
            println!("{whole}\n{}", story.take());
        }
    }
}

fn number_wanted() -> Option<u64> {
    number("WORLD")
}

fn quarter(of: u64) {
    match number_wanted() {
        Some(wanted) if wanted % 4 == of => check(std::iter::once(wanted)),
        Some(_) => {}
        None => check((0..number("WORLDS").unwrap_or(WORLDS)).filter(|number| number % 4 == of)),
    }
}

/// All of them, in as many parts as may be played at the same time.
pub(crate) fn all() -> Vec<(String, fn())> {
    let parts: [fn(); 4] = [|| quarter(0), || quarter(1), || quarter(2), || quarter(3)];
    let parts = parts.into_iter().zip(1..).map(|(part, number)| (format!("random_worlds_{number}_of_4"), part));
    parts.chain([("a_number_repeats_its_world".to_owned(), a_number_repeats_its_world as fn())]).collect()
}
