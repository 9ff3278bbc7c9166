//! The update in a small world, cut before and in every effect, once and twice, and brought to its end by the next run.

use super::*;

/// How a version behaves when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    CrashesAtStart,
    CrashesOnce,
    NeverReady,
    DiesSoon,
    /// Well on trial, dead soon after it begins to serve.
    DiesServing,
}

/// What happens while no updater runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// A trial that nobody ended ends itself, if it is well.
    TrialEnds,
    GatewayIsKilled,
}

/// What a full disk leaves of the trial's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arming {
    Works,
    LeavesNothing,
    /// It is there, and may be gone after a power cut.
    LeavesIt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    Armed,
    Kept,
    Undone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    new: bool,
    on_trial: bool,
    ready: bool,
}

/// All that an update can touch, with both versions in it.
struct World {
    nature: Nature,
    /// The old version's.
    old_nature: Nature,
    supervised: bool,
    breaking: bool,
    snapshots_fail: bool,
    arming: Arming,
    /// The journal stays as it was when the new version became current.
    journal_fills_up: bool,
    crashes: u32,
    current_is_new: bool,
    journal: Option<Update>,
    trial: Option<Trial>,
    /// What the trial made of the ledger: how many messages are in it.
    copy: Option<u32>,
    /// How many messages are in the ledger, and whether only the new version can read it.
    ledger: (u32, bool),
    /// How many people were told that their message is saved.
    accepted: u32,
    gateway: Option<Life>,
    report: Option<Outcome>,
    stuck: Option<Stuck>,
    steps: u32,
}

fn version(new: bool) -> Version {
    Version::new(1, u64::from(new), 0)
}

impl World {
    fn start(&mut self) {
        let new = self.current_is_new;
        let nature = if new { self.nature } else { self.old_nature };
        if nature == Nature::CrashesAtStart || (nature == Nature::CrashesOnce && self.crashes == 0) {
            self.crashes += 1;
            return;
        }
        let on_trial = new && self.trial == Some(Trial::Armed);
        if on_trial {
            self.copy = Some(self.ledger.0);
        } else if new && self.trial == Some(Trial::Undone) {
            return; // it refuses
        } else if new {
            if self.trial == Some(Trial::Kept) {
                self.ledger.0 = self.copy.take().unwrap_or(self.ledger.0);
                self.trial = None;
            }
            self.ledger.1 = self.breaking;
        } else {
            if self.trial == Some(Trial::Kept) || self.ledger.1 {
                return; // it refuses
            }
            self.trial = self.trial.map(|_| Trial::Undone);
            self.copy = None;
        }
        self.gateway = Some(Life { new, on_trial, ready: nature != Nature::NeverReady });
        self.work();
    }

    /// Somebody writes, if somebody listens.
    fn work(&mut self) {
        if self.gateway.is_some_and(|life| !life.on_trial && life.ready) {
            self.accepted += 1;
            self.ledger.0 += 1;
        }
        assert_eq!(self.ledger.0, self.accepted, "work was rolled back over");
        assert!(!self.ledger.1 || self.breaking && self.trial_was_passed(), "only a version that was not proved can read the ledger");
    }

    fn trial_was_passed(&self) -> bool {
        matches!(self.nature, Nature::Good | Nature::CrashesOnce | Nature::DiesServing)
    }

    /// Whether the one that runs still does after the dwell time.
    fn dwell(&mut self) -> bool {
        let Some(life) = self.gateway else { return false };
        let nature = if life.new { self.nature } else { self.old_nature };
        if nature == Nature::DiesSoon || (nature == Nature::DiesServing && !life.on_trial) {
            self.gateway = None;
        }
        self.gateway.is_some_and(|life| life.ready)
    }

    fn perform(&mut self, effect: &Effect, update: &Update, half: bool) -> Option<Event> {
        match effect {
            Effect::Record if self.journal_fills_up && update.is_over() => self.journal = None,
            Effect::Record if self.journal_fills_up && update.may_go_on_unrecorded() => {}
            Effect::Record => self.journal = Some(update.clone()),
            Effect::Snapshot if self.snapshots_fail => return Some(Event::Failed("disk full".into())),
            Effect::Snapshot => {}
            Effect::Arm if self.arming == Arming::LeavesNothing => return Some(Event::Failed("disk full".into())),
            Effect::Arm => {
                self.trial = Some(Trial::Armed);
                if self.arming == Arming::LeavesIt {
                    return Some(Event::Failed("disk full".into()));
                }
            }
            Effect::Switch(to) => self.current_is_new = *to == version(true),
            Effect::Prove(prove) => return self.prove(prove, half),
            Effect::Keep if matches!(self.trial, Some(Trial::Armed)) => {
                self.trial = Some(Trial::Kept);
                self.end_trial();
            }
            Effect::Keep if self.trial == Some(Trial::Undone) => return Some(Event::Failed("it was undone".into())),
            Effect::Keep => {}
            Effect::Undo => match self.trial {
                Some(Trial::Armed | Trial::Undone) => self.trial = Some(Trial::Undone),
                Some(Trial::Kept) | None => return Some(Event::Kept),
            },
            Effect::Tidy => {
                (self.trial, self.copy) = (self.trial.filter(|trial| *trial == Trial::Kept), self.copy.filter(|_| self.trial.is_some()));
            }
            Effect::Forget => self.journal = None,
            Effect::Report(outcome) => self.report = Some(outcome.clone()),
            Effect::Stuck(stuck) => self.stuck = Some(stuck.clone()),
        }
        let follows = !matches!(effect, Effect::Record | Effect::Tidy | Effect::Forget | Effect::Report(_) | Effect::Stuck(_));
        follows.then_some(Event::Done)
    }

    fn prove(&mut self, prove: &Prove, half: bool) -> Option<Event> {
        let new = prove.version == version(true);
        let fits = |life: &Life| life.new == new && (!life.on_trial || prove.on_trial);
        if prove.on_trial && matches!(self.trial, Some(Trial::Undone) | None) && !self.gateway.as_ref().is_some_and(fits) {
            return Some(Event::Failed("the trial is void".into()));
        }
        if prove.anew || !self.gateway.as_ref().is_some_and(fits) {
            self.gateway = None;
            self.start();
        }
        if half {
            return None;
        }
        let stays = self.gateway.as_ref().is_some_and(fits) && self.dwell();
        Some(if stays { Event::Done } else { Event::Failed("it did not stay".into()) })
    }

    /// A trial life that was kept goes down and comes back serving.
    fn end_trial(&mut self) {
        if self.gateway.is_some_and(|life| life.on_trial) {
            self.gateway = None;
            self.start();
        }
    }

    fn meanwhile(&mut self, what: Meanwhile) {
        self.work();
        match what {
            Meanwhile::Nothing => {}
            Meanwhile::TrialEnds => {
                if self.trial == Some(Trial::Armed) && self.gateway.is_some_and(|life| life.on_trial) && self.dwell() {
                    self.trial = Some(Trial::Kept);
                    self.end_trial();
                }
            }
            Meanwhile::GatewayIsKilled => self.gateway = None,
        }
        if self.supervised && self.gateway.is_none() {
            self.start();
        }
        self.work();
    }

    /// Runs the updater until it ends, or until it is cut: before the effect of this number, or in it.
    fn run(&mut self, plan: &Plan, cut: Option<(u32, Where)>) {
        let mut update = self.journal.clone().unwrap_or_else(|| Update::new(plan.clone()));
        let mut event = Some(Event::Go);
        for _ in 0..100 {
            let Some(now) = event.take() else { return };
            for effect in update.step(now) {
                self.steps += 1;
                let here = cut.filter(|(at, _)| *at == self.steps).map(|(_, place)| place);
                if here == Some(Where::Before) {
                    return;
                }
                event = self.perform(&effect, &update, here == Some(Where::Within));
                self.work();
                if here.is_some() {
                    return;
                }
                if self.supervised && self.gateway.is_none() {
                    self.start();
                }
            }
        }
        panic!("it goes round in circles: {update:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Before,
    Within,
}

/// One story: what the new version is like, and what it does to the ledger.
#[derive(Clone, Debug)]
struct Story {
    nature: Nature,
    old_nature: Nature,
    change: Change,
    before: Before,
    supervised: bool,
    snapshots_fail: bool,
    arming: Arming,
    journal_fills_up: bool,
}

impl Story {
    fn of(nature: Nature, change: Change, supervised: bool) -> Self {
        Self {
            nature,
            old_nature: Nature::Good,
            change,
            before: Before::Well,
            supervised,
            snapshots_fail: false,
            arming: Arming::Works,
            journal_fills_up: false,
        }
    }

    fn world(&self) -> World {
        let mut world = World {
            nature: self.nature,
            old_nature: Nature::Good,
            supervised: self.supervised,
            breaking: self.change == Change::Breaking,
            snapshots_fail: self.snapshots_fail,
            arming: self.arming,
            journal_fills_up: self.journal_fills_up,
            crashes: 0,
            current_is_new: false,
            journal: None,
            trial: None,
            copy: None,
            ledger: (0, false),
            accepted: 0,
            gateway: None,
            report: None,
            stuck: None,
            steps: 0,
        };
        if let Before::Ill(_) = self.before {
            world.old_nature = self.old_nature;
        }
        if self.before != Before::Down {
            world.start();
        }
        world.old_nature = self.old_nature;
        world
    }

    fn plan(&self) -> Plan {
        Plan { from: version(false), to: version(true), change: self.change, before: self.before.clone() }
    }

    /// Plays it with these cuts; the world when the last run has ended.
    fn play(&self, cuts: &[(u32, Where)], meanwhile: Meanwhile) -> World {
        let mut world = self.world();
        for cut in cuts {
            world.run(&self.plan(), Some(*cut));
            if world.report.is_some() {
                return world;
            }
            world.meanwhile(meanwhile);
        }
        world.run(&self.plan(), None);
        world
    }
}

/// What must hold at the end, however it came to be.
fn check_end(world: &World, story: &Story, how: &dyn std::fmt::Debug) {
    let runs = world.gateway.map(|life| (life.new, life.on_trial));
    match (&world.report, &world.stuck) {
        (Some(Outcome::Updated), None) => assert_eq!((runs, world.current_is_new), (Some((true, false)), true), "{story:?} {how:?}"),
        (Some(Outcome::RolledBack { .. }), None) => {
            assert_eq!((runs, world.current_is_new), (Some((false, false)), false), "{story:?} {how:?}");
        }
        (Some(Outcome::BackAsIll { .. }), None) => {
            let ill = matches!(story.before, Before::Ill(_));
            assert!(!world.current_is_new && ill && world.gateway.is_none_or(|life| !life.new), "{story:?} {how:?}");
        }
        (Some(Outcome::Installed), None) => {
            assert!(world.current_is_new && matches!(story.before, Before::Down | Before::Unmanaged), "{story:?} {how:?}");
        }
        (Some(Outcome::Untouched { .. }), None) => assert!(!world.current_is_new, "{story:?} {how:?}"),
        (None, Some(_)) => {
            let allowed = story.nature == Nature::DiesServing || story.old_nature != Nature::Good;
            assert!(allowed && world.journal.is_some(), "{story:?} {how:?} {:?}", world.stuck);
        }
        other => panic!("{story:?} {how:?}: {other:?}"),
    }
    assert!(world.stuck.is_some() || world.journal.is_none() && world.trial.is_none_or(|trial| trial == Trial::Kept), "{story:?} {how:?}");
}

fn stories() -> Vec<Story> {
    use Nature::{CrashesAtStart, CrashesOnce, DiesServing, DiesSoon, Good, NeverReady};
    let natures = [Good, CrashesAtStart, CrashesOnce, NeverReady, DiesSoon, DiesServing];
    let changes = [Change::Readable, Change::Breaking];
    let mut stories: Vec<Story> = natures
        .iter()
        .flat_map(|nature| changes.iter().flat_map(move |change| [false, true].map(|by| Story::of(*nature, *change, by))))
        .collect();
    stories.extend(stories.clone().into_iter().map(|story| Story { journal_fills_up: true, ..story }));
    let first = Story::of(Good, Change::Breaking, false);
    stories.push(Story { before: Before::Down, ..first.clone() });
    stories.push(Story { before: Before::Down, change: Change::Readable, ..first.clone() });
    stories.extend(changes.map(|change| Story { before: Before::Unmanaged, change, ..first.clone() }));
    stories.push(Story { snapshots_fail: true, ..first.clone() });
    for arming in [Arming::LeavesNothing, Arming::LeavesIt] {
        stories.extend([false, true].map(|supervised| Story { arming, supervised, ..first.clone() }));
    }
    stories.push(Story { nature: CrashesAtStart, old_nature: CrashesAtStart, ..first.clone() });
    for (nature, change, supervised) in [Good, DiesSoon]
        .iter()
        .flat_map(|nature| changes.map(|change| (*nature, change)))
        .flat_map(|(nature, change)| [false, true].map(|by| (nature, change, by)))
    {
        for old_nature in [CrashesAtStart, NeverReady] {
            stories.push(Story {
                nature,
                old_nature,
                change,
                supervised,
                before: Before::Ill("it does not start".into()),
                ..first.clone()
            });
        }
    }
    stories
}

#[test]
fn g26_an_update_that_nobody_cuts() {
    use Change::{Breaking, Readable};
    use Nature::{CrashesAtStart, CrashesOnce, DiesServing, DiesSoon, Good, NeverReady};
    let check = |nature, change, expected: &str| {
        for supervised in [false, true] {
            let world = Story::of(nature, change, supervised).play(&[], Meanwhile::Nothing);
            let came_to = match (&world.report, &world.stuck) {
                (Some(Outcome::Updated), _) => "new",
                (Some(Outcome::RolledBack { .. }), _) => "old",
                (Some(Outcome::BackAsIll { .. }), _) => "old, ill",
                (_, Some(_)) => "stuck",
                other => panic!("{other:?}"),
            };
            assert_eq!(came_to, expected, "{nature:?} {change:?}");
        }
    };
    for change in [Readable, Breaking] {
        check(Good, change, "new");
        check(CrashesOnce, change, "new");
        check(CrashesAtStart, change, "old");
        check(NeverReady, change, "old");
        check(DiesSoon, change, "old");
    }
    check(DiesServing, Readable, "old");
    // The new version alone can read what has been accepted since: only forward.
    check(DiesServing, Breaking, "stuck");
}

#[test]
fn g26_a_gateway_that_nobody_starts_again_runs_on_as_it_is() {
    for (change, before) in
        [Change::Readable, Change::Breaking].into_iter().flat_map(|change| [(change, Before::Unmanaged), (change, Before::Down)])
    {
        let runs = before == Before::Unmanaged;
        let story = Story { before, ..Story::of(Nature::CrashesAtStart, change, false) };
        let world = story.play(&[], Meanwhile::Nothing);
        assert_eq!((&world.report, world.current_is_new, world.trial), (&Some(Outcome::Installed), true, None), "{story:?}");
        assert_eq!(world.gateway.map(|life| life.new), runs.then_some(false), "{story:?}");
    }
}

#[test]
fn g26_an_ill_gateway_may_be_mended_and_is_no_worse_after_a_bad_version() {
    for (nature, change, supervised) in
        [(Nature::Good, Change::Readable, false), (Nature::Good, Change::Breaking, true), (Nature::CrashesAtStart, Change::Breaking, true)]
    {
        let ill = Before::Ill("it crashes".into());
        let story = Story { old_nature: Nature::CrashesAtStart, before: ill, ..Story::of(nature, change, supervised) };
        let world = story.play(&[], Meanwhile::Nothing);
        let good = nature == Nature::Good;
        assert_eq!(
            (world.current_is_new, world.report == Some(Outcome::Updated), world.journal.is_none()),
            (good, good, true),
            "{story:?}"
        );
        assert!(good || matches!(&world.report, Some(Outcome::BackAsIll { .. })), "{:?}", world.report);
    }
}

#[test]
fn g26_cut_anywhere_the_next_run_ends_with_one_proved_version() {
    let mut played = 0;
    for story in stories() {
        let steps = story.play(&[], Meanwhile::Nothing).steps;
        for meanwhile in [Meanwhile::Nothing, Meanwhile::TrialEnds, Meanwhile::GatewayIsKilled] {
            for (at, place) in (1..=steps).flat_map(|at| [Where::Before, Where::Within].map(|place| (at, place))) {
                let cuts = [(at, place)];
                check_end(&story.play(&cuts, meanwhile), &story, &(cuts, meanwhile));
                // Cut once more, wherever that is in the second run.
                for (again, place) in (at + 1..=at + steps).flat_map(|at| [Where::Before, Where::Within].map(|place| (at, place))) {
                    let cuts = [cuts[0], (again, place)];
                    check_end(&story.play(&cuts, meanwhile), &story, &(cuts, meanwhile));
                    played += 1;
                }
            }
        }
    }
    assert!(played > 10_000, "{played}");
}

#[test]
fn g26_where_only_a_version_that_should_run_is_missing_another_may_be_tried() {
    let check = |stage: Stage, change, is_ill: bool| {
        let mut update = Update { plan: Story::of(Nature::Good, change, false).plan(), stage };
        let stuck = (0..TRIES)
            .find_map(|_| update.step(Event::Failed("it is broken".into())).pop().filter(|last| matches!(last, Effect::Stuck(_))));
        assert!(stuck.is_some(), "{update:?}");
        let text = serde_json::to_string(&update).expect("plain data");
        let mut update = serde_json::from_str::<Update>(&text).expect("it is one");
        assert_eq!(update.illness().is_some_and(|illness| illness.contains("it is broken")), is_ill, "{update:?}");
        let effects = update.step(Event::Go);
        assert!(update.illness().is_none() && !effects.iter().any(|effect| matches!(effect, Effect::Stuck(_))), "it goes on: {effects:?}");
    };
    let reason = || String::from("a bad version");
    check(Stage::Serve { failed: 0 }, Change::Breaking, true);
    check(Stage::ProveBack { reason: reason(), failed: 0 }, Change::Readable, true);
    check(Stage::Undo { reason: reason() }, Change::Breaking, false);
    check(Stage::SwitchBack { reason: reason() }, Change::Readable, false);
}

#[test]
fn a_journal_is_read_as_it_was_written() {
    let plan = Story::of(Nature::Good, Change::Breaking, false).plan();
    let update = Update { plan, stage: Stage::ProveBack { reason: "it never became ready".into(), failed: 1 } };
    let text = serde_json::to_string(&update).expect("plain data");
    assert_eq!(serde_json::from_str::<Update>(&text).expect("it is one"), update);
    assert!(text.contains(r#""from":"1.0.0""#) && text.contains(r#""next":"prove_back""#), "{text}");
}

#[test]
fn g26_a_journal_that_counts_absurdly_many_tries_comes_to_an_end() {
    let again = |stage: &Stage| matches!(stage, Stage::Prove { .. } | Stage::Serve { .. } | Stage::ProveBack { .. });
    let failed = u8::MAX;
    for stage in [Stage::Prove { failed }, Stage::Serve { failed }, Stage::ProveBack { reason: "a bad version".into(), failed }] {
        let mut update = Update { plan: Story::of(Nature::Good, Change::Breaking, false).plan(), stage };
        update.step(Event::Go);
        update.step(Event::Failed("it is broken".into()));
        assert!(!again(&update.stage), "{update:?}");
    }
}
