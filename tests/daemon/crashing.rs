//! A process that is killed without a word, at rest, in the middle of work, and again and again under load.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use switchboard_actors::testkit::fake_openai::Reply;

use crate::gateway::{BACK, CUT, DOWN, Home, Life, RESTARTING, SAVED, until};

/// Chats at work when it is killed.
const CHATS: std::ops::RangeInclusive<i64> = 1..=20;
const EVERYBODY: &str = "[access]\nallow = [\"*\"]\n";
/// How often gateways under load are ended in each of the tests below, unless this variable says otherwise.
const KILLS: (&str, u32) = ("SWITCHBOARD_KILLS", 80);
/// One in so many kills, at least, meets a message that is worked on.
const MET: usize = 4;
/// What begins a notice to a chat in which something merely waits.
const WAITING: &str = "⏳ Gateway ";
/// And the word to one whose task is not tried again by itself.
const PARKED: &str = "🛑 Stopped";
/// A task that lasts as long as the test, and its chat.
const HELD: (i64, &str) = (1_000_000, "held.");
/// Gateways that are ended side by side, each in a home of its own.
const SIDE_BY_SIDE: u32 = 4;

/// Twenty chats whose tasks do not end.
fn busy(home: &Home) {
    home.model.reply_always(Reply::Never);
    for chat in CHATS {
        home.telegram.push_text(chat, chat, &format!("task {chat}"));
    }
    home.asked("task ", CHATS.count());
}

#[test]
fn g09_twenty_tasks_cut_by_a_kill_are_told_and_can_be_run_again() {
    let home = Home::with_model(EVERYBODY);
    let gateway = home.start();
    busy(&home);
    gateway.kill();
    home.model.reply_always(Reply::Echo);
    let _gateway = home.start();
    for chat in CHATS {
        assert!(home.told(chat, CUT)[0].contains("(crash)"));
        home.telegram.push_text(chat, chat, "/retry");
    }
    for chat in CHATS {
        assert_eq!(home.told(chat, "You said: ")[1..], [format!("You said: task {chat}")]);
    }
    assert_eq!(home.status().expect("it runs")["last_end"], "killed while serving");
}

#[test]
fn g09_twenty_tasks_cut_by_a_kill_go_on_by_themselves() {
    let home = Home::with_model(&format!("{EVERYBODY}\n[recovery]\npolicy = \"resume\""));
    let gateway = home.start();
    busy(&home);
    gateway.kill();
    home.model.reply_always(Reply::Echo);
    let _gateway = home.start();
    for chat in CHATS {
        assert_eq!(home.told(chat, "You said: "), [format!("You said: task {chat}")], "without a word from anybody");
    }
}

/// How a life under load ends.
#[derive(Clone, Copy)]
enum End {
    Killed,
    /// By SIGTERM, which it obeys.
    Stopped,
    /// By SIGTERM, and a kill before it could: a task holds it.
    StoppedAndKilled,
}

#[test]
fn g01_g02_g04_g05_nothing_is_lost_by_kills_at_random_under_load() {
    expect_met(side_by_side(1, |ends| under_load("resume", End::Killed, ends)));
}

#[test]
fn g01_g09_whoever_is_cut_by_kills_at_random_is_told_and_answered_after_retry() {
    expect_met(side_by_side(1, |ends| under_load("ask", End::Killed, ends)));
}

#[test]
fn g01_g04_g09_with_the_defaults_whoever_is_cut_by_kills_at_random_is_told_and_answered_after_retry() {
    expect_met(side_by_side(1, with_the_defaults));
}

#[test]
fn g01_g09_nothing_is_lost_by_kills_while_it_goes_down_under_load() {
    expect_met(side_by_side(2, |ends| under_load("resume", End::StoppedAndKilled, ends)));
}

#[test]
fn g01_g02_nothing_is_lost_by_stops_at_random_under_load() {
    let Ends { ends, met } = side_by_side(4, |ends| under_load("resume", End::Stopped, ends));
    assert_eq!(met, 0, "whoever is at work may finish, at each of {ends} stops");
}

#[test]
fn g01_g27_nothing_is_lost_by_restarts_in_place_under_constant_load() {
    let Ends { ends, met } = side_by_side(4, restarts_under_constant_load);
    assert_eq!(met, 0, "whoever is at work may finish, at each of {ends} restarts");
}

/// How often gateways were ended, and how many messages were cut by that.
struct Ends {
    ends: usize,
    met: usize,
}

/// Kills that meet nobody at work prove nothing.
#[track_caller]
fn expect_met(Ends { ends, met }: Ends) {
    assert!(met >= ends / MET, "{ends} kills met {met} messages that were worked on");
}

/// Ends gateways, one in so many times of [`KILLS`], and each in a thread of its own; `end` does it so often and says how many messages it cut.
fn side_by_side(one_in: u32, end: impl Fn(u32) -> usize + Sync) -> Ends {
    let kills = std::env::var(KILLS.0).ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS.1);
    let each = (kills / one_in).div_ceil(SIDE_BY_SIDE);
    let met: usize = std::thread::scope(|scope| {
        let gateways: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(|| end(each))).collect();
        gateways.into_iter().map(|gateway| gateway.join().expect("nothing is lost")).sum()
    });
    let ends = (each * SIDE_BY_SIDE) as usize;
    eprintln!("{ends} ends met {met} messages that were worked on");
    Ends { ends, met }
}

/// A policy that may be tried as often as one likes; answers are shown while they grow, and are not put together.
fn patient(policy: &str) -> Home {
    Home::with_model(&format!(
        "{EVERYBODY}\n[session]\nbusy = \"queue\"\ndraft_every = \"200ms\"\n\n[recovery]\npolicy = \"{policy}\"\nmax_attempts = 1000\n\
         alone = \"100ms\"\ncrash_loop.starts = 0\n"
    ))
}

/// Ends a gateway under load at random moments.
fn under_load(policy: &str, end: End, ends: u32) -> usize {
    let home = patient(policy);
    let mut load = Load::new(&home, policy == "resume");
    let is_held = matches!(end, End::StoppedAndKilled);
    if is_held {
        home.model.reply_to(HELD.1, Reply::Held);
        home.telegram.push_text(HELD.0, HELD.0, HELD.1);
    }
    for _ in 0..ends {
        let asked = home.model.requests().iter().filter(|request| request.asked().contains(HELD.1)).count();
        let gateway = load.live();
        match end {
            End::Killed => load.kill(gateway),
            End::Stopped => load.stop(gateway),
            End::StoppedAndKilled => {
                home.asked(HELD.1, asked + 1);
                gateway.signal(Signal::SIGTERM);
                load.moment();
                load.kill(gateway);
            }
        }
    }
    let gateway = home.start();
    if is_held {
        home.model.let_go();
        home.told(HELD.0, "You said: ");
    }
    load.finish(gateway)
}

/// Kills a gateway that knows of no policy, and stops it before three starts in a row count as a crash loop.
fn with_the_defaults(kills: u32) -> usize {
    let home = Home::with_model(EVERYBODY);
    let mut load = Load::new(&home, false);
    for _ in 0..kills.div_ceil(2) {
        for _ in 0..2 {
            let gateway = load.live();
            load.kill(gateway);
        }
        let gateway = load.live();
        // What earlier lives owe is delivered by a stop that is clean, once there is a platform to deliver it to: its first try comes beside "ready".
        gateway.wait_for("ready instance=");
        let is_there = |status: &Value| {
            status["adapters"].as_array().is_some_and(|all| all.iter().any(|one| one["state"] == "connected" && one["name"] == "family"))
        };
        until("a platform that is there", || home.status().filter(is_there).map(drop));
        load.stop(gateway);
        assert!(home.is_marked(), "the count begins anew (seed {})", load.seed);
    }
    load.finish(home.start())
}

#[test]
fn g01_g09_with_the_defaults_a_crash_loop_costs_time_and_nothing_else() {
    let home = Home::with_model(EVERYBODY);
    let mut load = Load::new(&home, false);
    for _ in 0..6 {
        let gateway = load.live();
        gateway.wait_for("ready instance=");
        load.kill(gateway);
    }
    let gateway = home.start();
    gateway.wait_until_doing("held after a crash loop");
    assert!(load.finish(gateway) > 0, "kills met somebody at work");
}

/// Restarts a gateway to which somebody speaks every 20 ms, all the time.
fn restarts_under_constant_load(times: u32) -> usize {
    let home = patient("resume");
    let mut load = Load::new(&home, true);
    let gateway = home.launch("info");
    std::thread::scope(|scope| {
        let restarts = scope.spawn(|| {
            for images in 1..=times as usize {
                gateway.wait_for_times("ready instance=", images);
                gateway.signal(Signal::SIGUSR1);
                gateway.wait_for_times("ready instance=", images + 1);
            }
        });
        while !restarts.is_finished() {
            load.say();
            std::thread::sleep(Duration::from_millis(20));
        }
        restarts.join().expect("each restart is carried out");
    });
    load.finish(gateway)
}

/// What is said to a gateway that is ended again and again.
struct Load<'a> {
    home: &'a Home,
    /// Whether what was cut runs again by itself. Otherwise its chat asks for that, and nothing else is said there.
    resumes: bool,
    random: fastrand::Rng,
    seed: u64,
    /// Chats from 1 on in which something was said.
    chats: i64,
}

impl<'a> Load<'a> {
    fn new(home: &'a Home, resumes: bool) -> Self {
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        Self { home, resumes, random: fastrand::Rng::with_seed(seed), seed, chats: 0 }
    }

    /// Starts a life, waits for it or not, and says something.
    fn live(&mut self) -> Life<'a> {
        let gateway = self.home.launch("info");
        if self.random.bool() {
            gateway.wait_for("ready instance=");
        }
        for _ in 0..self.random.u32(1..8) {
            self.say();
        }
        self.moment();
        gateway
    }

    /// Not to wait for anything: the moment of the end is what is drawn.
    fn moment(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.u64(0..300)));
    }

    /// Kills a gateway, which must not have ended by itself.
    #[track_caller]
    fn kill(&self, mut gateway: Life<'_>) {
        assert!(gateway.runs(), "it ended before it was killed (seed {})", self.seed);
        gateway.kill();
    }

    #[track_caller]
    fn stop(&self, gateway: Life<'_>) {
        gateway.wait_for("ready instance=");
        assert_eq!(gateway.stop(), Some(0), "seed {}", self.seed);
    }

    /// What is said in a chat: in some two messages, where both are answered without another word.
    fn words(&self, chat: i64) -> Vec<String> {
        let second = (self.resumes && chat % 4 == 0).then(|| format!("n{chat}."));
        std::iter::once(format!("m{chat}.")).chain(second).collect()
    }

    /// Speaks in another chat. The answers take long enough that ends meet tasks, drafts and deliveries; one in three takes a second.
    fn say(&mut self) {
        self.chats += 1;
        let chat = self.chats;
        for words in self.words(chat) {
            let answer = answer(&words);
            let reply = if chat % 3 == 0 {
                Reply::Stream(answer.chars().map(String::from).collect(), Duration::from_millis(70))
            } else {
                Reply::Stream(answer.split_inclusive(' ').map(str::to_owned).collect(), Duration::from_millis(30))
            };
            self.home.model.reply_to(&words, reply);
            self.home.telegram.push_text(chat, chat, &words);
        }
    }

    fn is_told(&self, chat: i64, part: &str) -> bool {
        self.home.telegram.texts_in(chat).iter().any(|text| text.contains(part))
    }

    /// In the end every message is answered, or its chat was told and is answered after /retry; nothing was said twice without a mark. How many
    /// messages were cut.
    #[track_caller]
    fn finish(&self, gateway: Life<'_>) -> usize {
        (1..=self.chats).for_each(|chat| self.settle(chat));
        until("nothing to confirm", || self.home.telegram.unconfirmed().is_empty().then_some(()));
        assert_eq!(gateway.stop(), Some(0));
        assert!(self.home.is_marked(), "everything was delivered (seed {})", self.seed);
        assert!(!self.home.everything().contains("panicked at"), "seed {}", self.seed);
        (1..=self.chats).for_each(|chat| self.check(chat));
        let requests = self.home.model.requests();
        let asked = |words: &str| requests.iter().filter(|request| request.asked().contains(words)).count();
        let is_cut = |chat: i64, words: &str| self.is_told(chat, CUT) || asked(words) > 1;
        (1..=self.chats).map(|chat| self.words(chat).iter().filter(|words| is_cut(chat, words)).count()).sum()
    }

    /// Waits until what was said in a chat is answered; where it was told that this was cut, once that was asked for.
    #[track_caller]
    fn settle(&self, chat: i64) {
        for words in self.words(chat) {
            let (answer, what) = (answer(&words), format!("the end of {words:?} (seed {})", self.seed));
            let is_answered = || self.is_told(chat, &answer);
            let is_cut = || !self.resumes && (self.is_told(chat, CUT) || self.is_told(chat, PARKED));
            until(&what, || (is_answered() || is_cut()).then_some(()));
            if !is_answered() {
                self.home.telegram.push_text(chat, chat, "/retry");
                until(&what, || is_answered().then_some(()));
            }
        }
    }

    /// Nothing was said twice in a chat without a mark, and answers came in the order of what was said. What ends like no message was shown of an
    /// answer that was cut.
    #[track_caller]
    fn check(&self, chat: i64) {
        let told = self.home.telegram.texts_in(chat);
        let times = |text: &str| told.iter().filter(|told| *told == text).count();
        let notice = |text: &str| [DOWN, RESTARTING, WAITING, SAVED, BACK].iter().any(|beginning| text.starts_with(beginning));
        let fine = |text: &String| times(text) == 1 || text.starts_with("🔁") || notice(text) || !text.ends_with('.');
        assert!(told.iter().all(fine), "said twice without a mark (seed {}): {told:?}", self.seed);
        let place = |words: &String| told.iter().position(|text| text.contains(&answer(words)));
        assert!(self.words(chat).iter().map(place).is_sorted(), "not in order (seed {}): {told:?}", self.seed);
    }
}

fn answer(words: &str) -> String {
    format!("You said: {words}")
}
