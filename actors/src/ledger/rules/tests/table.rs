//! Rows in a few words, a step in a few words, and what came of it in a few words.

use std::convert::Infallible;
use std::fmt::Write as _;

use crate::agent::Entry;
use crate::clock::Wall;
use crate::ids::{Account, AdapterName, ChatId, DeliveryId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId, UserId};
use crate::ledger::rows::{Asked, Change, Inbox, InboxState, Kind, Posted, Rows, Said, Session, Turn};
use crate::ledger::rules::decide;
use crate::ledger::{
    Accept, Accepted, Closes, Done, End, Fate, Finish, InstanceFacts, NoticeKind, OutboxRow, OutboxState, PairCode, Request, Resume,
    Settle, Start, Step, Take, TurnState, What, Word,
};
use crate::shutdown::ShutdownKind;

/// What stands in the rows, of one session.
#[derive(Default)]
pub(super) struct Table {
    inbox: Vec<(Inbox, Option<DeliveryId>, Option<TurnId>)>,
    session: Option<Session>,
    turns: Vec<(Turn, Vec<Entry>)>,
    posts: Vec<Posted>,
    requests: Vec<(Seq, Asked)>,
    codes: Vec<PairCode>,
    inside: Vec<UserId>,
}

/// Whether a step over these rows comes to this, with these changes.
#[track_caller]
pub(super) fn check(rows: &str, step: &str, done: &str, changes: &str) {
    let mut table = Table::default();
    rows.split(';').map(str::trim).filter(|row| !row.is_empty()).for_each(|row| table.row(row));
    table.check(step, done, changes);
}

fn key() -> SessionKey {
    SessionKey { chat: ChatId::new("web", "room"), member: None }
}

fn us() -> InstanceId {
    InstanceId(uuid::Uuid::from_u128(1))
}

fn number(text: &str) -> Seq {
    Seq(text.parse().unwrap_or_else(|_| panic!("{text:?} is a number")))
}

/// Words, of which some are `name=value`, and `of N`, `by N`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split_whitespace().collect())
    }

    fn at(&self, at: usize) -> &'a str {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn behind(&self, word: &str) -> Option<&'a str> {
        self.0.iter().position(|known| *known == word).map(|at| self.at(at + 1))
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn count(&self, name: &str, otherwise: u32) -> u32 {
        self.value(name).map_or(otherwise, |value| value.parse().expect("a number"))
    }

    fn turn(&self) -> Option<TurnId> {
        self.behind("of").map(|turn| TurnId(number(turn)))
    }
}

fn turn_state(word: &str) -> TurnState {
    match word {
        "running" => TurnState::Running,
        "answered" => TurnState::Answered,
        "interrupted" => TurnState::Interrupted,
        "parked" => TurnState::Parked,
        other => panic!("{other:?} is no state of a turn"),
    }
}

fn outbox_state(words: &Words<'_>) -> OutboxState {
    let states = [
        ("draft", OutboxState::Draft),
        ("due", OutboxState::Due),
        ("sending", OutboxState::Sending),
        ("sent", OutboxState::Sent),
        ("unknown", OutboxState::Unknown),
        ("failed", OutboxState::Failed),
        ("dead", OutboxState::Dead),
    ];
    // The last one: a word of the same name may stand before it.
    let state = words.0.iter().rev().find_map(|word| states.iter().find(|(name, _)| name == word));
    state.map_or(OutboxState::Sending, |(_, state)| *state)
}

fn word(text: &str) -> Word {
    match text {
        "interrupted" => Word::Interrupted,
        _ => Word::Answer,
    }
}

fn entry(name: &str) -> Entry {
    match name {
        "user" => Entry::User { name: None, text: "do".into() },
        "call" => Entry::ToolCall { call: "c".into(), name: "t".into(), arguments: "{}".into() },
        "result" => Entry::ToolResult { call: "c".into(), result: None },
        "cut" => Entry::Cut,
        other => panic!("{other:?} is no entry"),
    }
}

fn post(id: Seq, what: What, state: OutboxState) -> OutboxRow {
    OutboxRow { state, ..OutboxRow::new(OutboxId(id), key().chat, what, "word".into(), Wall(1)) }
}

fn reply(id: u64, turn: Option<TurnId>) -> OutboxRow {
    OutboxRow { turn, ..post(Seq(id), What::Reply { word: Word::Answer }, OutboxState::Sending) }
}

fn notice() -> What {
    What::Notice { kind: NoticeKind::Down, scope: "s".into() }
}

impl Table {
    /// One row: `5 message waiting key=d9`, `turn 3 interrupted strikes=1 said=user,call`, `word 4 interrupted of 3`, `post 6 due`, …
    pub(super) fn row(&mut self, text: &str) {
        let words = Words::of(text);
        match words.at(0) {
            "session" => {
                let forgotten = words.value("forgotten").map(number).unwrap_or_default();
                self.session = Some(Session { forgotten, first_user: words.value("first").map(UserId::from), shared: words.has("shared") });
            }
            "turn" => self.turn_row(&words),
            "word" => {
                let (turn, state) = (words.turn(), outbox_state(&Words(words.0[3..].to_vec())));
                let mut row = OutboxRow { turn, ..post(number(words.at(1)), What::Reply { word: word(words.at(2)) }, state) };
                row.message = words.value("message").map(MessageId::from);
                self.posts.push(Posted { row, attempt: 1 });
            }
            "post" => {
                let mut row = post(number(words.at(1)), What::Reply { word: Word::Answer }, outbox_state(&words));
                (row.unsure, row.reason) = (words.has("unsure"), words.value("because").map(str::to_owned));
                self.posts.push(Posted { row, attempt: 0 });
            }
            "notice" => self.posts.push(Posted { row: post(number(words.at(1)), notice(), OutboxState::Sent), attempt: 0 }),
            "asked" => {
                let request = Request { kind: ShutdownKind::Stop, instance: us() };
                let asked = Asked { session: key(), request, at: Wall(1), answered: words.has("answered") };
                self.requests.push((number(words.at(1)), asked));
            }
            "code" => self.codes.push(code(&words)),
            "in" => self.inside.push(words.at(1).into()),
            seq => {
                let kind = match words.at(1) {
                    "message" => Kind::Message,
                    "retry" => Kind::Retry,
                    "command" => Kind::Command,
                    other => panic!("{other:?} is no kind"),
                };
                let state = match words.at(2) {
                    "waiting" => InboxState::Waiting,
                    "claimed" => InboxState::Claimed,
                    "closed" => InboxState::Closed,
                    other => panic!("{other:?} is no state"),
                };
                let row = Inbox {
                    seq: number(seq),
                    session: key(),
                    user: "alice".into(),
                    name: "Alice".into(),
                    message: None,
                    at: Wall(1),
                    kind,
                    text: "hello".into(),
                    state,
                    reason: None,
                    target: words.turn(),
                };
                self.session.get_or_insert_default();
                self.inbox.push((row, words.value("key").map(DeliveryId::from), words.behind("by").map(|turn| TurnId(number(turn)))));
            }
        }
    }

    fn turn_row(&mut self, words: &Words<'_>) {
        let id = TurnId(number(words.at(1)));
        let instance = if words.value("by").is_some() { InstanceId(uuid::Uuid::from_u128(2)) } else { us() };
        let turn = Turn {
            id,
            session: key(),
            state: turn_state(words.at(2)),
            instance,
            attempt: words.count("attempt", 1),
            strikes: words.count("strikes", 0),
            since: Wall(1),
            cause: None,
            asks: words.value("asks").map(str::to_owned),
            user: "alice".into(),
            name: "Alice".into(),
            reply_to: None,
            newest: words.value("newest").map_or(id.0, number),
            start: words.value("start").map_or(id.0, number),
            undo: None,
        };
        let said = words.value("said").unwrap_or("user").split(',').map(entry).collect();
        self.session.get_or_insert_default();
        self.turns.push((turn, said));
    }

    #[track_caller]
    pub(super) fn check(&mut self, step: &str, done: &str, changes: &str) {
        let Ok((got, kept)) = decide(self, &parse(step));
        let kept: Vec<String> = kept.iter().map(shown).collect();
        assert_eq!((answered(&got).as_str(), kept.join("; ").as_str()), (done, changes), "{step}");
    }
}

fn code(words: &Words<'_>) -> PairCode {
    let (code, user) = (words.at(1).to_owned(), words.at(2));
    let expires = Wall(words.value("until").map_or(10, |until| until.parse().expect("a number")));
    PairCode { adapter: "web".into(), user: user.into(), name: user.into(), code, expires }
}

fn parse(text: &str) -> Step {
    let words = Words::of(text);
    let (id, at) = (|| number(words.at(1)), Wall(1));
    match words.at(0) {
        "accept" => Step::Accept(accept(id(), &words)),
        "settle" => Step::Settle(Settle { seq: id(), replies: vec![reply(6, None)] }),
        "answered" => Step::Answered { request: id(), replies: vec![reply(6, None)] },
        "start" => {
            let take = if words.has("one") { Take::One } else { Take::All };
            Step::Start(Start { turn: TurnId(id()), session: key(), take, instance: us(), at, history: 10 })
        }
        "resume" => Step::Resume(Resume { turn: TurnId(id()), attempt: 1, instance: us(), at, history: 10 }),
        "unstart" => Step::Unstart { turn: TurnId(id()), attempt: 1 },
        "progress" => Step::Progress { turn: TurnId(id()), attempt: 1, entry: entry(words.at(2)) },
        "finish" => {
            let end = match words.at(2) {
                "answered" => End::Answered("yes".into()),
                "interrupted" => End::Interrupted { cause: "a test".into() },
                "failed" => End::Failed { reason: "a test".into() },
                "asks" => End::Asks { call: "c".into(), question: "may I?".into() },
                other => panic!("{other:?} is no end"),
            };
            let (turn, attempt) = (TurnId(id()), words.count("attempt", 1));
            Step::Finish(Finish { turn, attempt, end, replies: vec![reply(6, Some(turn))], request: None, at })
        }
        "recover" => Step::Recover { instance: us(), max_attempts: 2, at },
        "fate" => Step::Fate { id: OutboxId(id()), fate: fate(words.at(2)) },
        "tell" => Step::Tell(OutboxRow { what: What::Reply { word: word(words.at(2)) }, ..reply(id().0, words.turn()) }),
        "draft" => Step::Draft(reply(id().0, words.turn())),
        "notice" => Step::Notice(post(id(), notice(), OutboxState::Sending)),
        "code" => Step::PairCode(code(&words)),
        "approve" => Step::PairApprove { code: words.at(1).into(), at },
        "revoke" => Step::PairRevoke { adapter: "web".into(), user: words.at(1).into() },
        "retry" if words.at(1) == "turn" => Step::TurnRetry { seq: Seq(20), turn: TurnId(number(words.at(2))), at },
        "retry" => Step::OutboxRetry { id: OutboxId(number(words.at(2))), at },
        "drop" if words.at(1) == "turn" => Step::TurnDrop { turn: TurnId(number(words.at(2))) },
        "drop" if words.at(1) == "adapter" => Step::DropAdapter { adapter: "web".into() },
        "drop" => Step::OutboxDrop { id: OutboxId(number(words.at(2))) },
        other => panic!("{other:?} is no step"),
    }
}

fn accept(seq: Seq, words: &Words<'_>) -> Accept {
    let what = match words.at(2) {
        "refused" => Accepted::Refused { reason: "too many".into() },
        "retry" => Accepted::Retry,
        "approve" => Accepted::Decision { approved: true },
        "request" => Accepted::Request(Request { kind: ShutdownKind::Stop, instance: us() }),
        text @ "/stop" => Accepted::Closing { text: text.into(), closes: Closes::Work },
        text @ "/new" => Accepted::Closing { text: text.into(), closes: Closes::Conversation },
        text if text.starts_with('/') => Accepted::Command { text: text.into() },
        text => Accepted::Message { text: text.into() },
    };
    Accept {
        seq,
        account: "web:1".into(),
        delivery: words.value("key").unwrap_or("d1").into(),
        session: key(),
        user: "alice".into(),
        name: "Alice".into(),
        message: None,
        at: Wall(1),
        what,
        answer: vec![reply(6, None)],
    }
}

fn fate(word: &str) -> Fate {
    let (not_before, reason) = (Wall(2), || "a test".to_owned());
    match word {
        "sending" => Fate::Sending,
        "sent" => Fate::Sent { message: Some("m".into()), text: None },
        "drafted" => Fate::Drafted { message: "m".into() },
        "failed" => Fate::Failed { not_before, reason: reason() },
        "unknown" => Fate::Unknown { not_before, reason: reason() },
        "dead" => Fate::Dead { reason: reason() },
        other => panic!("{other:?} is no fate"),
    }
}

fn answered(done: &Done) -> String {
    match done {
        Done::Ok => "ok".into(),
        Done::Lost => "lost".into(),
        Done::Duplicate { waiting: Some(_) } => "duplicate waiting".into(),
        Done::Duplicate { waiting: None } => "duplicate".into(),
        Done::Open(seq) => format!("open {seq}"),
        Done::Accepted { retryable: true } => "accepted".into(),
        Done::Accepted { retryable: false } => "accepted, nothing to do".into(),
        Done::Cleared { messages, running: Some(turn), cut } => format!("cleared {messages}, running {turn}, cut {cut}"),
        Done::Cleared { messages, running: None, cut } => format!("cleared {messages}, cut {cut}"),
        Done::Started(started) => format!("started {} attempt {}, {} left", started.turn, started.attempt, started.left),
        Done::NothingWaiting => "nothing waiting".into(),
        Done::Paired { user, .. } => format!("paired {user}"),
        Done::Moved(count) => format!("moved {count}"),
        Done::Refused(why) => format!("refused: {why}"),
    }
}

fn lower(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

/// A change in a few words; what is as it usually is goes unsaid.
fn shown(change: &Change) -> String {
    match change {
        Change::TakenIn(row, _) => {
            let of = row.target.map(|turn| format!(" of {turn}")).unwrap_or_default();
            format!("take in {} {} {}{of}", row.seq, lower(row.kind), lower(row.state))
        }
        Change::Inbox(seq, state, turn) => {
            let by = turn.map(|turn| format!(" by {turn}")).unwrap_or_default();
            format!("{seq} {}{by}", lower(state))
        }
        Change::Refused(seq, _) => format!("{seq} refused"),
        Change::Session(_, row) => {
            let mut text = "session".to_owned();
            row.first_user.iter().for_each(|user| _ = write!(text, " first {user}"));
            text += if row.shared { " shared" } else { "" };
            text + &if row.forgotten > Seq(0) { format!(" forgotten {}", row.forgotten) } else { String::new() }
        }
        Change::Begun(turn, entries) => {
            let undo = if turn.undo.is_some() { ", with undo" } else { "" };
            format!("begin {} {} with {}{undo}", turn.id, lower(turn.state), entries_of(entries))
        }
        Change::Turn(turn) => turn_of(turn),
        Change::TurnGone(turn) => format!("turn {turn} gone"),
        Change::Append(turn, entries) => format!("append {turn} {}", entries_of(entries)),
        Change::Uncut(turn) => format!("uncut {turn}"),
        Change::Post(posted) => {
            let of = posted.row.turn.map(|turn| format!(" of {turn}")).unwrap_or_default();
            let attempt = if posted.attempt > 1 { format!(" attempt {}", posted.attempt) } else { String::new() };
            let attempt = if posted.row.what == (What::Reply { word: Word::Answer }) { String::new() } else { attempt };
            let sent = posted.row.message.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
            format!("post {} {}{of}{attempt}{sent}", posted.row.id, lower(posted.row.state))
        }
        Change::Posted(row) => {
            let tries = if row.tries > 0 { format!(" tries {}", row.tries) } else { String::new() };
            let unsure = if row.unsure { " unsure" } else { "" };
            let sent = row.message.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
            format!("posted {} {}{tries}{unsure}{sent}", row.id, lower(row.state))
        }
        Change::GivenUp(id, reason) => format!("give up {id}: {reason}"),
        Change::Asked(seq, asked) => format!("asked {seq}{}", if asked.answered { " answered" } else { "" }),
        Change::Code(code) => format!("code {} {}", code.code, code.user),
        Change::CodeGone(_, user) => format!("code of {user} gone"),
        Change::LetIn(_, user, _) => format!("let in {user}"),
        Change::LetOut(_, user) => format!("let out {user}"),
        other => format!("{other:?}"),
    }
}

fn turn_of(turn: &Turn) -> String {
    let mut text = format!("turn {} {}", turn.id, lower(turn.state));
    if turn.attempt > 1 {
        _ = write!(text, " attempt {}", turn.attempt);
    }
    // A turn that runs again counts from what it is allowed.
    if turn.strikes > 0 || turn.state == TurnState::Running {
        _ = write!(text, " strikes {}", turn.strikes);
    }
    turn.asks.iter().for_each(|call| _ = write!(text, " asks {call}"));
    turn.cause.iter().for_each(|cause| _ = write!(text, ", because of {cause}"));
    text + if turn.undo.is_some() { ", with undo" } else { "" }
}

fn entries_of(entries: &[Entry]) -> String {
    let names: Vec<&str> = entries
        .iter()
        .map(|entry| match entry {
            Entry::User { .. } => "user",
            Entry::Assistant { .. } => "assistant",
            Entry::ToolCall { .. } => "call",
            Entry::ToolResult { .. } => "result",
            Entry::Asked { .. } => "asked",
            Entry::Decided { .. } => "decided",
            Entry::Cut => "cut",
        })
        .collect();
    names.join(" ")
}

type Found<T> = Result<T, Infallible>;

impl Rows for Table {
    type Error = Infallible;

    fn used(&mut self, seq: Seq) -> Found<bool> {
        let inbox = self.inbox.iter().any(|(row, ..)| row.seq == seq);
        Ok(inbox || self.turns.iter().any(|(turn, _)| turn.id.0 == seq) || self.posts.iter().any(|post| post.row.id.0 == seq))
    }

    fn delivery(&mut self, _: &Account, id: &DeliveryId) -> Found<Option<Inbox>> {
        Ok(self.inbox.iter().find(|(_, key, _)| key.as_ref() == Some(id)).map(|(row, ..)| row.clone()))
    }

    fn inbox(&mut self, seq: Seq) -> Found<Option<Inbox>> {
        Ok(self.inbox.iter().find(|(row, ..)| row.seq == seq).map(|(row, ..)| row.clone()))
    }

    fn waiting(&mut self, _: &SessionKey) -> Found<Vec<Inbox>> {
        let waiting =
            self.inbox.iter().filter(|(row, ..)| row.state == InboxState::Waiting && matches!(row.kind, Kind::Message | Kind::Retry));
        Ok(waiting.map(|(row, ..)| row.clone()).collect())
    }

    fn claimed(&mut self, turn: TurnId) -> Found<Vec<Seq>> {
        Ok(self.inbox.iter().filter(|(_, _, by)| *by == Some(turn)).map(|(row, ..)| row.seq).collect())
    }

    fn session(&mut self, _: &SessionKey) -> Found<Option<Session>> {
        Ok(self.session.clone())
    }

    fn turn(&mut self, id: TurnId) -> Found<Option<Turn>> {
        Ok(self.turns.iter().find(|(turn, _)| turn.id == id).map(|(turn, _)| turn.clone()))
    }

    fn open_turns(&mut self, _: &SessionKey) -> Found<Vec<Turn>> {
        Ok(self.turns.iter().filter(|(turn, _)| turn.is_open()).map(|(turn, _)| turn.clone()).collect())
    }

    fn newest_turn(&mut self, _: &SessionKey, behind: Seq) -> Found<Option<Turn>> {
        Ok(self.turns.iter().rfind(|(turn, _)| turn.newest > behind).map(|(turn, _)| turn.clone()))
    }

    fn running(&mut self) -> Found<Vec<Turn>> {
        Ok(self.turns.iter().filter(|(turn, _)| turn.state == TurnState::Running).map(|(turn, _)| turn.clone()).collect())
    }

    fn entries(&mut self, id: TurnId) -> Found<Vec<Entry>> {
        Ok(self.turns.iter().find(|(turn, _)| turn.id == id).map(|(_, entries)| entries.clone()).unwrap_or_default())
    }

    fn entries_about(&mut self, turn: TurnId, _: Option<&str>) -> Found<Vec<Entry>> {
        self.entries(turn)
    }

    fn calls(&mut self, turn: TurnId) -> Found<Vec<Entry>> {
        self.entries(turn)
    }

    fn earlier(&mut self, _: &SessionKey, _: TurnId, _: Seq, _: u32) -> Found<Vec<(TurnId, Entry)>> {
        Ok(Vec::new())
    }

    fn said(&mut self, turn: TurnId) -> Found<Vec<Said>> {
        let words = self.posts.iter().filter(|post| post.row.turn == Some(turn));
        let said = words.filter_map(|post| match post.row.what {
            What::Reply { word } => Some(Said { id: post.row.id, word, part: post.row.part, attempt: post.attempt }),
            What::Notice { .. } => None,
        });
        Ok(said.collect())
    }

    fn posted(&mut self, id: OutboxId) -> Found<Option<Posted>> {
        Ok(self.posts.iter().find(|post| post.row.id == id).cloned())
    }

    fn noticed(&mut self, _: NoticeKind, _: &str, _: &ChatId) -> Found<bool> {
        Ok(self.posts.iter().any(|post| matches!(post.row.what, What::Notice { .. })))
    }

    fn sending(&mut self) -> Found<Vec<Posted>> {
        Ok(self.posts.iter().filter(|post| post.row.state == OutboxState::Sending).cloned().collect())
    }

    fn request(&mut self, seq: Seq) -> Found<Option<Asked>> {
        Ok(self.requests.iter().find(|(known, _)| *known == seq).map(|(_, asked)| asked.clone()))
    }

    fn instance(&mut self, _: InstanceId) -> Found<Option<InstanceFacts>> {
        Ok(None)
    }

    fn codes(&mut self, _: &AdapterName) -> Found<Vec<PairCode>> {
        Ok(self.codes.clone())
    }

    fn codes_reading(&mut self, letters: &str) -> Found<Vec<PairCode>> {
        Ok(self.codes.iter().filter(|code| code.code == letters).cloned().collect())
    }

    fn is_in(&mut self, _: &AdapterName, user: &UserId) -> Found<bool> {
        Ok(self.inside.contains(user))
    }

    fn waiting_of(&mut self, _: &AdapterName) -> Found<Vec<Seq>> {
        Ok(self.inbox.iter().filter(|(row, ..)| row.state == InboxState::Waiting).map(|(row, ..)| row.seq).collect())
    }

    fn open_turns_of(&mut self, _: &AdapterName) -> Found<Vec<Turn>> {
        self.open_turns(&key())
    }

    fn open_posts_of(&mut self, _: &AdapterName) -> Found<Vec<OutboxId>> {
        let open = self.posts.iter().filter(|post| !matches!(post.row.state, OutboxState::Sent | OutboxState::Dead));
        Ok(open.map(|post| post.row.id).collect())
    }
}
