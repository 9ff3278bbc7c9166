//! What the books know.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::books::Books;
use crate::clock::Wall;
use crate::ids::{AdapterName, ChatId, InstanceId, Seq, SessionKey};
use crate::ledger::rows::{InboxState, Kind, Turn};
use crate::ledger::{
    CutTurn, Ending, InstanceFacts, Knowledge, LedgerFacts, NoticeKind, OpenCommand, OpenRequest, OpenWork, OutboxRow, OutboxState,
    PairRow, Paired, Question, RoomLine, SessionView, Span, TurnRow, TurnState, WaitingSession, What, Word,
};

impl Books {
    /// Answers a question.
    pub(super) fn answer(&self, question: &Question) -> Knowledge {
        match question {
            Question::Facts => Knowledge::Facts(Box::new(self.facts())),
            Question::Open => Knowledge::Open(Box::new(self.open())),
            Question::Cursor(account) => Knowledge::Cursor(self.cursors.get(account).cloned()),
            Question::Undelivered(adapter) => Knowledge::Outbox(self.undelivered(adapter)),
            Question::Outbox => Knowledge::Outbox(self.troubled()),
            Question::Turns => Knowledge::Turns(self.turns.values().filter(|turn| turn.is_open()).map(turn_row).collect()),
            Question::Session(session) => Knowledge::Session(Box::new(self.session(session))),
            Question::Pairs { at } => Knowledge::Pairs(self.pairs(*at)),
            Question::Room { chat, span } => Knowledge::Room(self.room(chat, span)),
            Question::Instances { most } => Knowledge::Instances(self.instances.iter().rev().take(*most as usize).cloned().collect()),
            Question::Adapters => Knowledge::Adapters(self.adapters()),
        }
    }

    fn facts(&self) -> LedgerFacts {
        let unclean = self.instances.iter().rev().map_while(|known| match known.predecessor {
            Some(Ending::Clean) | None => None,
            Some(Ending::Unclean { .. } | Ending::Killed { .. }) => Some(known.born),
        });
        let last: Option<&InstanceFacts> = self.instances.last();
        LedgerFacts { ledger: self.ledger, last_seq: self.last, last: last.cloned(), unclean_starts: unclean.take(32).collect() }
    }

    fn open(&self) -> OpenWork {
        let cut = self.turns.values().filter(|turn| turn.is_cut() && turn.asks.is_none() && !self.runs_again(turn)).map(|turn| CutTurn {
            turn: turn.id,
            session: turn.session.clone(),
            attempt: turn.attempt,
            strikes: turn.strikes,
            state: turn.state,
            cause: turn.cause.clone(),
            told: self.was_told(turn),
            user: turn.user.clone(),
        });
        let mut waiting: Vec<(Seq, WaitingSession)> = self
            .sessions
            .iter()
            .filter_map(|(key, book)| {
                let (first, last) = (*book.waiting.first()?, *book.waiting.last()?);
                let count = u32::try_from(book.waiting.len()).unwrap_or(u32::MAX);
                Some((first, WaitingSession { session: key.clone(), count, last }))
            })
            .collect();
        waiting.sort_by_key(|(first, _)| *first);
        let commands = self.inbox.iter().filter(|(_, row)| row.kind == Kind::Command && row.state == InboxState::Waiting);
        let commands = commands.map(|(seq, row)| OpenCommand {
            seq: *seq,
            session: row.session.clone(),
            user: row.user.clone(),
            name: row.name.clone(),
            text: row.text.clone(),
            message: row.message.clone(),
        });
        let requests = self.requests.iter().filter(|(_, asked)| !asked.answered);
        let requests = requests.map(|(seq, asked)| OpenRequest {
            seq: *seq,
            session: asked.session.clone(),
            request: asked.request.clone(),
            at: asked.at,
        });
        OpenWork {
            cut: cut.collect(),
            children: self.children.clone(),
            waiting: waiting.into_iter().map(|(_, session)| session).collect(),
            commands: commands.collect(),
            requests: requests.collect(),
            owed: self.owed(),
            told_down: self.told_down(),
        }
    }

    /// Whether a /retry waits that means this turn.
    fn runs_again(&self, turn: &Turn) -> bool {
        let newest = self.turns_of(&turn.session).rfind(|turn| turn.is_cut()).is_some_and(|newest| newest.id == turn.id);
        let Some(book) = self.sessions.get(&turn.session) else { return false };
        let mut retries = book.waiting.iter().map(|seq| &self.inbox[seq]).filter(|row| row.kind == Kind::Retry);
        retries.any(|row| row.target.map_or(newest, |target| target == turn.id))
    }

    /// Whether the chat was told about its cut.
    fn was_told(&self, turn: &Turn) -> bool {
        let words = self.words.get(&turn.id).into_iter().flatten().filter_map(|id| self.outbox.get(id));
        words
            .filter(|posted| posted.attempt == turn.attempt)
            .any(|posted| matches!(posted.row.what, What::Reply { word: Word::Interrupted | Word::Approval | Word::Parked }))
    }

    /// By their oldest reply.
    fn owed(&self) -> Vec<(SessionKey, u32)> {
        let mut owed: Vec<(SessionKey, u32)> = Vec::new();
        let mut place: BTreeMap<SessionKey, usize> = BTreeMap::new();
        for (id, posted) in &self.outbox {
            let Some(session) = posted.row.session.as_ref().filter(|_| self.is_owed(*id)) else { continue };
            let at = *place.entry(session.clone()).or_insert_with(|| {
                owed.push((session.clone(), 0));
                owed.len() - 1
            });
            owed[at].1 += 1;
        }
        owed
    }

    fn told_down(&self) -> Vec<(ChatId, InstanceId, Wall)> {
        let mut newest: BTreeMap<&ChatId, &OutboxRow> = BTreeMap::new();
        let mut back: BTreeSet<&ChatId> = BTreeSet::new();
        for row in self.outbox.values().map(|posted| &posted.row) {
            let What::Notice { kind, .. } = &row.what else { continue };
            let reached = matches!(row.state, OutboxState::Sent | OutboxState::Sending | OutboxState::Unknown);
            match kind {
                NoticeKind::Down | NoticeKind::Saved if reached => {
                    newest.insert(&row.chat, row);
                    back.remove(&row.chat);
                }
                NoticeKind::Back => {
                    back.insert(&row.chat);
                }
                _ => {}
            }
        }
        let mut told: Vec<&OutboxRow> = newest.into_iter().filter(|(chat, _)| !back.contains(chat)).map(|(_, row)| row).collect();
        told.sort_by_key(|row| row.id);
        told.into_iter().filter_map(|row| Some((row.chat.clone(), shutdown_of(row)?, row.at))).collect()
    }

    fn undelivered(&self, adapter: &AdapterName) -> Vec<OutboxRow> {
        let owed = self
            .outbox
            .iter()
            .filter(|(id, posted)| posted.row.chat.adapter == *adapter && posted.row.state != OutboxState::Sending && self.is_owed(**id));
        owed.map(|(_, posted)| posted.row.clone()).collect()
    }

    fn troubled(&self) -> Vec<OutboxRow> {
        let rows = self.outbox.values().map(|posted| &posted.row).filter(|row| match row.what {
            What::Reply { .. } => row.state != OutboxState::Sent,
            What::Notice { .. } => !matches!(row.state, OutboxState::Sent | OutboxState::Unknown | OutboxState::Dead),
        });
        rows.cloned().collect()
    }

    fn session(&self, session: &SessionKey) -> SessionView {
        let Some(book) = self.sessions.get(session) else { return SessionView::default() };
        let owed = self.outbox.iter().filter(|(id, posted)| posted.row.session.as_ref() == Some(session) && self.is_owed(**id)).count();
        let turns = self.turns_of(session).filter(|turn| turn.newest > book.row.forgotten).count();
        SessionView {
            waiting: u32::try_from(book.waiting.len()).unwrap_or(u32::MAX),
            running: self.turns_of(session).rfind(|turn| turn.state == TurnState::Running).map(|turn| (turn.id, turn.since)),
            cut: self.turns_of(session).rfind(|turn| turn.is_cut()).map(turn_row),
            owed: u32::try_from(owed).unwrap_or(u32::MAX),
            turns: u32::try_from(turns).unwrap_or(u32::MAX),
        }
    }

    /// By person; who is in before what they wait for.
    fn pairs(&self, at: Wall) -> Vec<PairRow> {
        let inside = self.let_in.iter().map(|((adapter, user), name)| PairRow {
            adapter: adapter.clone(),
            user: user.clone(),
            name: name.clone(),
            state: Paired::In,
        });
        let waiting = self.codes.iter().filter(|code| code.opens(at)).map(|code| PairRow {
            adapter: code.adapter.clone(),
            user: code.user.clone(),
            name: code.name.clone(),
            state: Paired::Waiting { code: code.code.clone(), expires: code.expires },
        });
        let mut rows: Vec<PairRow> = inside.chain(waiting).collect();
        rows.sort_by(|a, b| (&a.adapter, &a.user, a.state != Paired::In).cmp(&(&b.adapter, &b.user, b.state != Paired::In)));
        rows
    }

    /// Messages that were refused have no words left.
    fn room(&self, chat: &ChatId, span: &Span) -> Vec<RoomLine> {
        let said = self.inbox.iter().filter(|(_, row)| row.kind == Kind::Message && !row.text.is_empty() && row.session.chat == *chat);
        let said = said.map(|(seq, row)| RoomLine {
            seq: *seq,
            voice: None,
            delivery: self.deliveries.get(seq).map(|(_, delivery)| delivery.clone()),
            text: row.text.clone(),
            at: row.at,
            state: None,
            outbox: None,
        });
        let rows = self.outbox.values().map(|posted| &posted.row);
        let replied = rows.filter(|row| row.chat == *chat && matches!(row.state, OutboxState::Sent | OutboxState::Sending));
        let replied = replied.map(|row| RoomLine {
            seq: row.id.0,
            voice: Some(row.what.voice()),
            delivery: None,
            text: row.text.clone(),
            at: row.at,
            state: Some(row.state),
            outbox: Some(row.id),
        });
        let within = |line: &RoomLine| line.seq > span.after && span.before.is_none_or(|before| line.seq < before);
        let mut all: Vec<RoomLine> = said.chain(replied).filter(within).collect();
        all.sort_by_key(|line| std::cmp::Reverse(line.seq));
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for line in all {
            if !span.has_room(lines.len(), bytes, line.text.len()) {
                break;
            }
            bytes += line.text.len();
            lines.push(line);
        }
        lines.reverse();
        lines
    }

    fn adapters(&self) -> Vec<(AdapterName, u32)> {
        let sessions = self.sessions.keys().map(|session| &session.chat.adapter);
        let names: BTreeSet<&AdapterName> = sessions.chain(self.outbox.values().map(|posted| &posted.row.chat.adapter)).collect();
        names.into_iter().map(|name| (name.clone(), self.open_rows(name))).filter(|(_, open)| *open > 0).collect()
    }
}

fn turn_row(turn: &Turn) -> TurnRow {
    debug_assert!(turn.state != TurnState::Running || turn.cause.is_none(), "a running turn has no cause");
    TurnRow {
        turn: turn.id,
        session: turn.session.clone(),
        state: turn.state,
        attempt: turn.attempt,
        strikes: turn.strikes,
        since: turn.since,
        cause: turn.cause.clone(),
        asks: turn.asks.is_some(),
    }
}

/// The shutdown that a notice speaks of; notices of another scope answer to nobody.
fn shutdown_of(row: &OutboxRow) -> Option<InstanceId> {
    match &row.what {
        What::Notice { scope, .. } => Uuid::parse_str(scope).ok().map(InstanceId),
        What::Reply { .. } => None,
    }
}
