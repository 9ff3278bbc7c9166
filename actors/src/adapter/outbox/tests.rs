//! What an outbox says next, as tables.

use super::*;
use crate::ids::Seq;
use crate::ledger::Word;

fn at(secs: u64) -> Moment {
    Moment(Duration::from_secs(secs))
}

fn row(id: u64, room: &str, what: What, state: OutboxState) -> OutboxRow {
    OutboxRow {
        id: OutboxId(Seq(id)),
        chat: ChatId::new("a", room),
        session: None,
        turn: None,
        what,
        part: 0,
        text: String::new(),
        reply_to: None,
        state,
        tries: 0,
        not_before: AT_ONCE,
        valid_until: Some(Wall(50_000)),
        message: None,
        reason: None,
        unsure: state == OutboxState::Unknown,
        at: Wall(0),
    }
}

/// A reply of which the first part is on its way.
fn reply(room: &str, ids: &[u64]) -> Event {
    let state = |place| if place == 0 { OutboxState::Sending } else { OutboxState::Due };
    let rows = ids.iter().enumerate().map(|(place, id)| row(*id, room, What::Reply { word: Word::Answer }, state(place)));
    Event::Reply(rows.collect())
}

/// A reply that an earlier life left behind.
fn left(room: &str, id: u64, state: OutboxState) -> Event {
    Event::Reply(vec![row(id, room, What::Reply { word: Word::Answer }, state)])
}

fn notice(room: &str, id: u64, kind: NoticeKind) -> Event {
    Event::Notice(row(id, room, What::Notice { kind, scope: String::new() }, OutboxState::Sending))
}

fn sent(id: u64) -> Event {
    Event::Sent(OutboxId(Seq(id)), Ok(MessageId::new("m")))
}

fn failed(id: u64, error: SpeakError) -> Event {
    Event::Sent(OutboxId(Seq(id)), Err(error))
}

fn recorded(id: u64) -> Event {
    Event::Recorded(OutboxId(Seq(id)), true)
}

fn busy(secs: u64, room_only: bool) -> SpeakError {
    SpeakError::RetryAfter { after: Duration::from_secs(secs), room_only }
}

fn words(effect: &Effect) -> String {
    let fate = |fate: &Fate| match fate {
        Fate::Sending => "sending",
        Fate::Sent { .. } => "sent",
        Fate::Drafted { .. } => "drafted",
        Fate::Failed { .. } => "failed",
        Fate::Unknown { .. } => "unknown",
        Fate::Dead { .. } => "dead",
    };
    match effect {
        Effect::Record(id) => format!("record {}", id.0),
        Effect::Send { row, repeat } => format!("send {}{}", row.id.0, if *repeat { " again" } else { "" }),
        Effect::Note(id, what) => format!("{} {}", fate(what), id.0),
        Effect::Tell(_, id, Delivery::Settled) => format!("settled {}", id.0),
        Effect::Tell(_, id, Delivery::Stuck(_)) => format!("stuck {}", id.0),
        Effect::Handed(chat, _) => format!("handed {}", chat.room),
        Effect::HeldBack(chat, _) => format!("back {}", chat.room),
        Effect::Noticed(chat, _, fate) => match fate {
            NoticeFate::Sent => format!("told {}", chat.room),
            NoticeFate::Unknown => format!("perhaps told {}", chat.room),
            NoticeFate::Failed { .. } => format!("not told {}", chat.room),
            NoticeFate::NotNeeded => format!("spared {}", chat.room),
            NoticeFate::Told => format!("told before {}", chat.room),
        },
        Effect::Wake(at) => format!("wake {}", at.0.as_secs()),
        Effect::Flushed => "flushed".into(),
    }
}

fn bounds() -> Bounds {
    let second = Duration::from_secs(1);
    Bounds { in_flight: 2, retry_first: second, retry_most: second * 60, max_tries: 3, idempotent: false, rate: None }
}

/// Steps through a connected life: the second, what happens, what follows.
fn check(bounds: Bounds, life: Vec<(u64, Event, &str)>) {
    let mut outbox = Outbox::new(bounds);
    let connected = [(0, Event::Connected, "")];
    for (secs, event, expected) in connected.into_iter().chain(life) {
        let what = format!("{event:?} at {secs} s");
        let wall = Wall(i64::try_from(secs).expect("small") * 1000);
        let effects: Vec<String> = outbox.step(at(secs), wall, event).iter().map(words).collect();
        assert_eq!(effects.join(", "), expected, "{what}");
    }
}

#[test]
fn parts_go_one_by_one_and_lanes_do_not_wait_for_each_other() {
    let life = vec![
        (0, reply("1", &[1, 2]), "send 1"),
        (0, reply("1", &[3]), "failed 3"),
        (0, reply("2", &[4]), "send 4"),
        (1, sent(1), "sent 1, settled 1, record 2"),
        (1, sent(4), "sent 4, settled 4"),
        (1, recorded(2), "send 2"),
        (2, sent(2), "sent 2, settled 2, record 3"),
        (2, recorded(3), "send 3"),
        (3, sent(3), "sent 3, settled 3"),
    ];
    check(bounds(), life);
    let full = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, reply("2", &[2]), "send 2"),
        (0, reply("3", &[3]), ""),
        (1, sent(1), "sent 1, settled 1, send 3"),
    ];
    check(bounds(), full);
}

#[test]
fn failures_back_off_and_end() {
    let down = || SpeakError::Broken("down".into());
    let broken = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, failed(1, down()), "failed 1, wake 1"),
        (1, Event::Tick, "record 1"),
        (1, recorded(1), "send 1"),
        (1, failed(1, down()), "failed 1, wake 2"),
        (2, Event::Tick, "record 1"),
        (2, recorded(1), "send 1"),
        (2, failed(1, down()), "failed 1, wake 4"),
        (4, Event::Tick, "record 1"),
        (4, recorded(1), "send 1"),
        (4, failed(1, down()), "dead 1, settled 1"),
    ];
    // The first try counts only once it is recorded as one.
    check(bounds(), broken);
    let refused = vec![(0, reply("1", &[1, 2]), "send 1"), (0, failed(1, SpeakError::Refused("no".into())), "dead 1, settled 1, record 2")];
    check(bounds(), refused);
    // Given up by an operator while it was being recorded.
    let dropped = vec![(0, left("1", 1, OutboxState::Due), "record 1"), (0, Event::Recorded(OutboxId(Seq(1)), false), "settled 1")];
    check(bounds(), dropped);
}

#[test]
fn g04_what_may_have_arrived_is_marked_unless_the_platform_takes_our_key() {
    let unknown = |again: &'static str| {
        vec![
            (0, left("1", 1, OutboxState::Unknown), "record 1"),
            (0, recorded(1), again),
            (0, failed(1, SpeakError::Broken("down".into())), "unknown 1, wake 1"),
            (1, Event::Tick, "record 1"),
            (1, recorded(1), again),
        ]
    };
    check(bounds(), unknown("send 1 again"));
    check(Bounds { idempotent: true, ..bounds() }, unknown("send 1"));
}

#[test]
fn g04_what_may_have_arrived_once_is_marked_whatever_came_of_it_since() {
    let life = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, failed(1, SpeakError::Unknown("no answer".into())), "unknown 1, wake 1"),
        (1, Event::Tick, "record 1"),
        (1, recorded(1), "send 1 again"),
        (1, failed(1, busy(5, true)), "unknown 1, wake 6"),
        (6, Event::Tick, "record 1"),
        (6, recorded(1), "send 1 again"),
        // It is dead, and the ledger knows what to say should an operator send it again.
        (6, failed(1, SpeakError::Broken("down".into())), "unknown 1, dead 1, settled 1"),
    ];
    check(Bounds { max_tries: 2, ..bounds() }, life);
}

#[test]
fn g02_a_reply_that_waits_its_turn_is_not_taken_for_new_where_its_draft_may_be_there() {
    // The draft was sent under the same key, and its answer was lost: only an edit shows the reply.
    let mut unsure = row(2, "1", What::Reply { word: Word::Answer }, OutboxState::Sending);
    unsure.unsure = true;
    let life =
        vec![(0, reply("1", &[1]), "send 1"), (0, Event::Reply(vec![unsure]), "unknown 2"), (1, sent(1), "sent 1, settled 1, record 2")];
    check(Bounds { idempotent: true, ..bounds() }, life);
}

#[test]
fn g18_what_waits_goes_at_once_when_an_operator_sends_it_again() {
    let again = || left("1", 1, OutboxState::Unknown);
    let life = vec![
        (0, reply("1", &[1, 2]), "send 1"),
        (0, failed(1, SpeakError::Unknown("no answer".into())), "unknown 1, wake 1"),
        (0, left("1", 2, OutboxState::Due), "wake 1"),
        (0, again(), "record 1, wake 1"),
        (0, again(), "wake 1"),
        (0, recorded(1), "send 1 again, wake 1"),
        (0, sent(1), "sent 1, settled 1, record 2, wake 1"),
        (1, Event::Tick, ""),
        (1, recorded(2), "send 2"),
    ];
    check(bounds(), life);
}

#[test]
fn g18_nothing_waits_behind_what_an_operator_gave_up() {
    let given_up = |id| left("1", id, OutboxState::Dead);
    let life = vec![
        (0, reply("1", &[1, 2, 3]), "send 1"),
        (0, given_up(1), ""),
        (0, failed(1, SpeakError::Unknown("no answer".into())), "unknown 1, wake 1"),
        (0, given_up(2), "settled 2, wake 1"),
        (0, given_up(1), "settled 1, record 3, wake 1"),
        (0, recorded(3), "send 3, wake 1"),
        (0, sent(3), "sent 3, settled 3, wake 1"),
        (0, given_up(9), "settled 9, wake 1"),
        (1, Event::Tick, ""),
    ];
    check(bounds(), life);
}

#[test]
fn a_platform_that_asks_to_wait_is_obeyed() {
    let everything = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, failed(1, busy(5, false)), "failed 1, wake 5"),
        (0, reply("2", &[2]), "failed 2, wake 5"),
        (0, notice("4", 4, NoticeKind::Saved), "dead 4, not told 4, wake 5"),
        (0, notice("3", 3, NoticeKind::Down), "wake 5"),
        (5, Event::Tick, "handed 3, send 3, record 1"),
    ];
    check(bounds(), everything);
    let room =
        vec![(0, reply("1", &[1]), "send 1"), (0, failed(1, busy(5, true)), "failed 1, wake 5"), (0, reply("2", &[2]), "send 2, wake 5")];
    check(bounds(), room);
    let rate = vec![(0, reply("1", &[1]), "send 1"), (0, reply("2", &[2]), "failed 2, wake 2"), (2, Event::Tick, "record 2")];
    check(Bounds { rate: Some(0.5), ..bounds() }, rate);
}

#[test]
fn notices_overtake_and_are_never_repeated() {
    let told = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, reply("2", &[2]), "send 2"),
        (0, reply("3", &[3]), ""),
        (0, notice("9", 9, NoticeKind::Back), ""),
        (0, notice("8", 10, NoticeKind::Down), ""),
        (1, sent(1), "sent 1, settled 1, handed 8, send 10"),
        (1, sent(10), "sent 10, told 8, handed 9, send 9"),
        (1, failed(9, SpeakError::Unknown("?".into())), "unknown 9, perhaps told 9, send 3"),
    ];
    check(bounds(), told);
    let held_back = vec![
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (0, failed(1, busy(5, false)), "back 1, wake 5"),
        (5, Event::Tick, "handed 1, send 1"),
        (5, sent(1), "sent 1, told 1"),
    ];
    check(bounds(), held_back);
    let withdrawn = vec![
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (0, failed(1, busy(5, false)), "back 1, wake 5"),
        (1, Event::Withdraw(ChatId::new("a", "1")), "dead 1, spared 1"),
    ];
    check(bounds(), withdrawn);
    // Only its own announcement: not what else is said there, and not what is announced elsewhere.
    let others = vec![
        (0, notice("2", 2, NoticeKind::Down), "handed 2, send 2"),
        (0, failed(2, busy(5, false)), "back 2, wake 5"),
        (0, notice("1", 1, NoticeKind::TooMany), "wake 5"),
        (1, Event::Withdraw(ChatId::new("a", "1")), "wake 5"),
        (5, Event::Tick, "handed 2, send 2, handed 1, send 1"),
    ];
    check(bounds(), others);
    let down = vec![
        (0, Event::Disconnected, ""),
        (0, notice("1", 1, NoticeKind::Down), "not told 1"),
        (0, notice("2", 2, NoticeKind::Back), "not told 2"),
        (9, Event::Connected, "handed 1, send 1, handed 2, send 2"),
    ];
    check(bounds(), down);
    let old = vec![
        (0, Event::Disconnected, ""),
        (0, notice("2", 2, NoticeKind::Back), "not told 2"),
        (60, Event::Connected, "dead 2, not told 2"),
    ];
    check(bounds(), old);
    let just_in_time =
        vec![(0, Event::Disconnected, ""), (0, notice("2", 2, NoticeKind::Back), "not told 2"), (50, Event::Connected, "handed 2, send 2")];
    check(bounds(), just_in_time);
    let closing =
        vec![(0, Event::Disconnected, ""), (0, notice("1", 1, NoticeKind::Down), "not told 1"), (1, Event::Closing, "dead 1, not told 1")];
    check(bounds(), closing);
}

#[test]
fn who_is_not_delivered_in_time_is_told_at_once() {
    let down = vec![
        (0, Event::Before(at(50)), ""),
        (0, reply("1", &[1]), "send 1"),
        (0, Event::Disconnected, ""),
        (0, reply("2", &[2]), "failed 2, stuck 2"),
        (1, failed(1, SpeakError::Broken("down".into())), "failed 1, stuck 1"),
    ];
    check(bounds(), down);
    let late = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, failed(1, busy(60, false)), "failed 1, wake 60"),
        (0, Event::Before(at(50)), "stuck 1, wake 60"),
        (0, reply("2", &[2]), "failed 2, stuck 2, wake 60"),
        (1, Event::Flush, "wake 60, flushed"),
    ];
    check(bounds(), late);
    let flush = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, Event::Before(at(50)), ""),
        (1, Event::Flush, ""),
        (2, sent(1), "sent 1, settled 1, flushed"),
    ];
    check(bounds(), flush);
}

#[test]
fn g03_what_an_earlier_life_left_waits_as_long_as_it_was_to() {
    let mut row = row(1, "1", What::Reply { word: Word::Answer }, OutboxState::Failed);
    row.not_before = Wall(5_000);
    check(bounds(), vec![(1, Event::Reply(vec![row]), "wake 5"), (5, Event::Tick, "record 1")]);
}

#[test]
fn a_reply_is_on_its_way_at_once_only_where_nothing_stands_before_it() {
    let waits = vec![
        (0, reply("1", &[1]), "send 1"),
        (0, failed(1, SpeakError::Broken("down".into())), "failed 1, wake 1"),
        (0, reply("1", &[2]), "failed 2, wake 1"),
    ];
    check(bounds(), waits);
    let flies = vec![(0, reply("1", &[1]), "send 1"), (0, reply("1", &[2]), "failed 2"), (1, sent(1), "sent 1, settled 1, record 2")];
    check(bounds(), flies);
    check(bounds(), vec![(0, Event::Disconnected, ""), (0, reply("1", &[1]), "failed 1")]);
}

#[test]
fn a_flush_waits_for_what_is_on_its_way_and_for_what_is_due_in_time() {
    let begin = || (0, Event::Before(at(5)), "");
    let notice_flies = vec![
        begin(),
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (1, Event::Flush, ""),
        (2, sent(1), "sent 1, told 1, flushed"),
    ];
    check(bounds(), notice_flies);
    let held = |secs| failed(1, busy(secs, false));
    let notice_waits = vec![
        begin(),
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (0, held(5), "back 1, wake 5"),
        (1, Event::Flush, "wake 5"),
        (5, Event::Tick, "handed 1, send 1"),
        (5, sent(1), "sent 1, told 1, flushed"),
    ];
    check(bounds(), notice_waits);
    let notice_too_late = vec![
        begin(),
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (0, held(6), "back 1, wake 6"),
        (1, Event::Flush, "wake 6, flushed"),
    ];
    check(bounds(), notice_too_late);
    let due_in_time = vec![
        begin(),
        (0, reply("1", &[1]), "send 1"),
        (0, held(5), "failed 1, wake 5"),
        (1, Event::Flush, "wake 5"),
        (5, Event::Tick, "record 1"),
    ];
    check(bounds(), due_in_time);
}

#[test]
fn g21_a_chat_costs_nothing_once_all_is_delivered() {
    let mut outbox = Outbox::new(bounds());
    for event in [Event::Connected, reply("1", &[1]), sent(1), reply("2", &[2]), failed(2, SpeakError::Refused("no".into()))] {
        outbox.step(at(0), Wall(0), event);
    }
    assert_eq!((outbox.lanes.len(), outbox.ready.len(), outbox.flying.len()), (0, 0, 0));
}

#[test]
fn other_bounds_hold_at_once() {
    let wider = Event::Bounds(Bounds { in_flight: 3, ..bounds() });
    let full = vec![(0, reply("1", &[1]), "send 1"), (0, reply("2", &[2]), "send 2"), (0, reply("3", &[3]), ""), (1, wider, "send 3")];
    check(bounds(), full);
    let slower = Event::Bounds(Bounds { rate: Some(0.5), ..bounds() });
    check(bounds(), vec![(0, slower, ""), (0, reply("1", &[1]), "send 1"), (0, reply("2", &[2]), "failed 2, wake 2")]);
}

#[test]
fn g19_a_chat_that_is_told_to_wait_keeps_no_other_chat_waiting() {
    let notice_waits = vec![
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (0, failed(1, busy(5, true)), "back 1, wake 5"),
        (0, reply("2", &[2]), "send 2, wake 5"),
        (1, notice("3", 3, NoticeKind::Down), "handed 3, send 3, wake 5"),
        // What is said to the chat itself waits with its notice.
        (1, sent(2), "sent 2, settled 2, wake 5"),
        (1, sent(3), "sent 3, told 3, wake 5"),
        (5, Event::Tick, "handed 1, send 1"),
        (5, sent(1), "sent 1, told 1"),
    ];
    check(bounds(), notice_waits);
    let lane_waits = vec![
        (0, reply("1", &[1, 2]), "send 1"),
        (0, notice("1", 9, NoticeKind::Down), "handed 1, send 9"),
        (0, failed(9, busy(5, true)), "back 1, wake 5"),
        (1, sent(1), "sent 1, settled 1, wake 5"),
        (5, Event::Tick, "handed 1, send 9, record 2"),
    ];
    check(bounds(), lane_waits);
    let courtesy =
        vec![(0, notice("1", 1, NoticeKind::Saved), "handed 1, send 1"), (0, failed(1, busy(5, true)), "back 1, dead 1, not told 1")];
    check(bounds(), courtesy);
    let spared = vec![
        (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"),
        (0, failed(1, busy(5, true)), "back 1, wake 5"),
        (1, Event::Withdraw(ChatId::new("a", "1")), "dead 1, spared 1"),
    ];
    check(bounds(), spared);
    let held = || failed(1, busy(6, true));
    let begin = |before| {
        vec![(0, Event::Before(at(before)), ""), (0, notice("1", 1, NoticeKind::Down), "handed 1, send 1"), (0, held(), "back 1, wake 6")]
    };
    check(
        bounds(),
        [begin(5), vec![(1, Event::Flush, "wake 6, flushed"), (2, Event::Closing, "dead 1, not told 1")]].into_iter().flatten().collect(),
    );
    check(bounds(), [begin(6), vec![(1, Event::Flush, "wake 6"), (6, Event::Tick, "handed 1, send 1")]].into_iter().flatten().collect());
}

#[test]
fn g07_our_own_pace_drops_no_word_of_back() {
    let life = vec![
        (0, notice("1", 1, NoticeKind::Back), "handed 1, send 1"),
        (0, notice("2", 2, NoticeKind::Back), "wake 2"),
        (2, Event::Tick, "handed 2, send 2"),
    ];
    check(Bounds { rate: Some(0.5), ..bounds() }, life);
    // However slow that pace is.
    let crawl = vec![(0, reply("1", &[1]), "send 1"), (0, reply("2", &[2]), "failed 2, wake 86400")];
    check(Bounds { rate: Some(1e-20), ..bounds() }, crawl);
}

#[test]
fn a_line_that_comes_back_lifts_no_limit_and_another_platform_does() {
    let hold = |next: Event, expected: &'static str| {
        vec![
            (0, reply("1", &[1]), "send 1"),
            (0, failed(1, busy(60, false)), "failed 1, wake 60"),
            (1, Event::Disconnected, ""),
            (1, next, ""),
            (2, Event::Connected, expected),
        ]
    };
    check(bounds(), hold(Event::Tick, "wake 60"));
    check(bounds(), hold(Event::Replaced, "record 1"));
}

#[test]
fn g02_a_reply_whose_draft_cannot_be_edited_is_sent_whole() {
    let mut shown = row(1, "1", What::Reply { word: Word::Answer }, OutboxState::Sending);
    shown.message = Some(MessageId::new("draft"));
    let refused = |id| failed(id, SpeakError::Refused("message to edit not found".into()));
    let life = vec![
        (0, Event::Reply(vec![shown.clone()]), "send 1"),
        (1, refused(1), "failed 1, record 1"),
        (1, recorded(1), "send 1"),
        (2, refused(1), "dead 1, settled 1"),
    ];
    check(bounds(), life);
    // An edit that may have arrived is made again: that is no repeat.
    let again = vec![
        (0, Event::Reply(vec![shown]), "send 1"),
        (0, failed(1, SpeakError::Unknown("no answer".into())), "unknown 1, wake 1"),
        (1, Event::Tick, "record 1"),
        (1, recorded(1), "send 1"),
    ];
    check(bounds(), again);
}

#[test]
fn g02_a_reply_that_cannot_be_recorded_for_now_keeps_its_place() {
    let life = vec![
        (0, left("1", 1, OutboxState::Due), "record 1"),
        (0, Event::NotRecorded(OutboxId(Seq(1)), Duration::from_secs(3)), "wake 3"),
        (3, Event::Tick, "record 1"),
        (3, recorded(1), "send 1"),
    ];
    check(bounds(), life);
}

#[test]
fn g32_an_outbox_that_fell_owes_what_it_owed() {
    let mut outbox = Outbox::new(bounds());
    let before = [
        Event::Connected,
        Event::Before(at(50)),
        reply("1", &[1]),
        notice("2", 2, NoticeKind::Down),
        // There is no more room in flight.
        notice("3", 3, NoticeKind::Down),
        Event::Flush,
    ];
    for event in before {
        outbox.step(at(0), Wall(0), event);
    }
    let (mut outbox, effects) = Outbox::instead_of(outbox);
    let mut effects: Vec<String> = effects.iter().map(words).collect();
    effects.sort_unstable();
    assert_eq!(effects, ["perhaps told 2", "unknown 1", "unknown 2"]);
    let mut step = |event, expected: &str| {
        let effects: Vec<String> = outbox.step(at(1), Wall(1_000), event).iter().map(words).collect();
        assert_eq!(effects.join(", "), expected);
    };
    // What is heard of the time before the fall changes nothing.
    step(sent(1), "flushed");
    step(left("1", 1, OutboxState::Unknown), "stuck 1");
    step(Event::Connected, "handed 3, send 3, record 1");
}

#[test]
fn g06_a_clock_that_jumps_makes_no_notice_void() {
    let mut outbox = Outbox::new(Bounds { rate: Some(0.5), ..bounds() });
    let mut step = |secs: u64, wall: i64, event, expected: &str| {
        let effects: Vec<String> = outbox.step(at(secs), Wall(wall), event).iter().map(words).collect();
        assert_eq!(effects.join(", "), expected);
    };
    step(0, 0, Event::Connected, "");
    step(0, 0, notice("1", 1, NoticeKind::Down), "handed 1, send 1");
    step(0, 0, notice("2", 2, NoticeKind::Down), "wake 2");
    // A year ahead, and far back.
    step(2, 31_536_000_000, Event::Tick, "handed 2, send 2");
    step(3, -31_536_000_000, notice("3", 3, NoticeKind::Down), "wake 4");
    step(4, -31_536_000_000, Event::Tick, "");
}
