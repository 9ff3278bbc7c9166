//! How words and numbers of the gateway stand in the tables.

use rusqlite::types::Type;
use rusqlite::{Row, params};

use super::Book;
use crate::clock::Wall;
use crate::ids::{ChatId, InstanceId, MessageId, OutboxId, Seq, SessionKey, TurnId};
use crate::ledger::rows::{InboxState, Kind};
use crate::ledger::{NoticeKind, OutboxRow, OutboxState, TurnState, What, Word};
use crate::shutdown::{Phase, ShutdownKind};

/// An enum as a short text in a column.
pub(super) trait Text: Sized + Copy + PartialEq + 'static {
    /// Every value with its text.
    const ALL: &'static [(Self, &'static str)];

    fn text(self) -> &'static str {
        Self::ALL.iter().find(|(value, _)| *value == self).map(|(_, text)| *text).expect("every value has a text")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(value, _)| *value)
    }
}

macro_rules! texts {
    ($($type:ident { $($value:ident $text:literal),* $(,)? })*) => {
        $(impl Text for $type {
            const ALL: &'static [(Self, &'static str)] = &[$(($type::$value, $text)),*];
        })*
    };
}

texts! {
    TurnState {
        Running "running", Answered "answered", Interrupted "interrupted", Parked "parked", Failed "failed", Stopped "stopped",
        Superseded "superseded",
    }
    OutboxState { Draft "draft", Due "due", Sending "sending", Sent "sent", Unknown "unknown", Failed "failed", Dead "dead" }
    Word { Answer "answer", Interrupted "interrupted", Approval "approval", Parked "parked", Failed "failed", Refused "refused", Command "command" }
    NoticeKind { Down "down", Saved "saved", Back "back", TooMany "too_many", Pairing "pairing" }
    Kind { Message "message", Retry "retry", Command "command", Request "request" }
    InboxState { Waiting "waiting", Claimed "claimed", Closed "closed", Refused "refused" }
    ShutdownKind { Stop "stop", Restart "restart", Update "update" }
    Phase {
        Quiesce "quiesce", RollCall "roll_call", Announce "announce", Drain "drain", Interrupt "interrupt", Flush "flush",
        Disconnect "disconnect", Mark "mark", Close "close",
    }
}

/// The columns of an outbox row as [`outbox_row`] reads them, of `outbox o` joined by [`OUTBOX_JOIN`].
pub(super) const OUTBOX_COLUMNS: &str = "o.id, c.adapter, c.room, c.thread, s.id, sc.adapter, sc.room, sc.thread, s.member, o.turn, o.word, \
     o.notice, o.scope, o.part, o.text, o.reply_to, o.state, o.tries, o.not_before, o.valid_until, o.message, o.reason, o.at, o.unsure";
/// What [`OUTBOX_COLUMNS`] needs beside the row.
pub(super) const OUTBOX_JOIN: &str =
    "JOIN chat c ON c.id = o.chat LEFT JOIN session s ON s.id = o.session LEFT JOIN chat sc ON sc.id = s.chat";

/// A number for a column. Numbers stay far below 2^63; one above it would never be found again.
pub(super) fn int(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

pub(super) fn seq(row: &Row<'_>, at: usize) -> rusqlite::Result<Seq> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map(Seq).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

pub(super) fn turn(row: &Row<'_>, at: usize) -> rusqlite::Result<TurnId> {
    seq(row, at).map(TurnId)
}

pub(super) fn wall(row: &Row<'_>, at: usize) -> rusqlite::Result<Wall> {
    row.get(at).map(Wall)
}

/// A text that is there, as an id.
pub(super) fn id<T: for<'a> From<&'a str>>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    Ok(T::from(row.get_ref(at)?.as_str()?))
}

/// A text that may be missing, as an id.
pub(super) fn maybe_id<T: for<'a> From<&'a str>>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get_ref(at)?.as_str_or_null()?.map(T::from))
}

pub(super) fn word<T: Text>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    T::parse(text).ok_or_else(|| foreign(at, text))
}

pub(super) fn instance(row: &Row<'_>, at: usize) -> rusqlite::Result<InstanceId> {
    let text = row.get_ref(at)?.as_str()?;
    uuid::Uuid::parse_str(text).map(InstanceId).map_err(|_| foreign(at, text))
}

/// JSON that we wrote.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    serde_json::from_str(text).map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// A word in the ledger that we do not know.
fn foreign(at: usize, text: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, format!("unknown word {text:?}").into())
}

/// A session key from columns adapter, room, thread, member.
pub(super) fn session_key(row: &Row<'_>, at: usize) -> rusqlite::Result<SessionKey> {
    Ok(SessionKey { chat: chat_id(row, at)?, member: maybe_id(row, at + 3)? })
}

/// A turn's number that may be missing.
pub(super) fn maybe_turn(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<TurnId>> {
    row.get::<_, Option<i64>>(at)?.map(|_| turn(row, at)).transpose()
}

/// JSON that may be missing.
pub(super) fn maybe_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>> {
    row.get_ref(at)?.as_str_or_null()?.map(|_| json(row, at)).transpose()
}

/// What we keep as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A chat from columns adapter, room, thread.
pub(super) fn chat_id(row: &Row<'_>, at: usize) -> rusqlite::Result<ChatId> {
    Ok(ChatId { adapter: id(row, at)?, room: id(row, at + 1)?, thread: maybe_id(row, at + 2)? })
}

/// An outbox row from [`OUTBOX_COLUMNS`].
pub(super) fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let session = match row.get::<_, Option<i64>>(4)? {
        Some(_) => Some(session_key(row, 5)?),
        None => None,
    };
    let what = match row.get_ref(10)?.as_str_or_null()? {
        Some(_) => What::Reply { word: word(row, 10)? },
        None => What::Notice { kind: word(row, 11)?, scope: row.get(12)? },
    };
    Ok(OutboxRow {
        id: OutboxId(seq(row, 0)?),
        chat: chat_id(row, 1)?,
        session,
        turn: maybe_turn(row, 9)?,
        what,
        part: row.get(13)?,
        text: row.get(14)?,
        reply_to: maybe_id(row, 15)?,
        state: word(row, 16)?,
        tries: row.get(17)?,
        not_before: wall(row, 18)?,
        valid_until: row.get::<_, Option<i64>>(19)?.map(Wall),
        message: maybe_id::<MessageId>(row, 20)?,
        reason: row.get(21)?,
        at: wall(row, 22)?,
        unsure: row.get(23)?,
    })
}

/// A session as the engine knows it.
pub(super) struct SessionRow {
    pub(super) id: i64,
    pub(super) chat: i64,
    pub(super) forgotten: Seq,
}

impl Book {
    /// The number of a chat, if it has one.
    pub(super) fn find_chat(&self, chat: &ChatId) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT id FROM chat WHERE adapter = ?1 AND room = ?2 AND thread IS ?3";
        let key = params![chat.adapter.as_str(), chat.room.as_str(), chat.thread.as_ref().map(|thread| thread.as_str())];
        found(self.conn.prepare_cached(sql)?.query_row(key, |row| row.get(0)))
    }

    /// The number of a chat.
    pub(super) fn chat(&self, chat: &ChatId) -> rusqlite::Result<i64> {
        if let Some(id) = self.find_chat(chat)? {
            return Ok(id);
        }
        let sql = "INSERT INTO chat (adapter, room, thread) VALUES (?1, ?2, ?3)";
        let key = params![chat.adapter.as_str(), chat.room.as_str(), chat.thread.as_ref().map(|thread| thread.as_str())];
        self.conn.prepare_cached(sql)?.insert(key)
    }

    /// A session, if it is known.
    pub(super) fn find_session(&self, session: &SessionKey) -> rusqlite::Result<Option<SessionRow>> {
        let sql = "SELECT s.id, s.chat, s.forgotten FROM chat c JOIN session s ON s.chat = c.id
             WHERE c.adapter = ?1 AND c.room = ?2 AND c.thread IS ?3 AND s.member IS ?4";
        let chat = &session.chat;
        let key = params![
            chat.adapter.as_str(),
            chat.room.as_str(),
            chat.thread.as_ref().map(|thread| thread.as_str()),
            session.member.as_ref().map(|member| member.as_str())
        ];
        found(self.conn.prepare_cached(sql)?.query_row(key, session_row))
    }
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow { id: row.get(0)?, chat: row.get(1)?, forgotten: seq(row, 2)? })
}

/// A row that may not be there.
pub(super) fn found<T>(result: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(error),
    }
}
