//! The operator's own terminal as a chat: lines in, words out.
//!
//! A line counts when it is echoed with a ✓, which happens only after it was accepted. Nothing here blocks the runtime: reading and
//! writing have a thread each (`console/threads.rs`), and neither keeps the process alive. An agent's words are foreign here: none of them
//! commands the terminal.

mod threads;

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use uuid::Uuid;

use self::threads::{Lines, Writer};
use super::unsettled::Unsettled;
use super::{
    Abilities, Connection, Content, Inbound, Listener, Offer, Outgoing, Platform, PlatformError, Said, Sender, SpeakError, Speaker,
};
use crate::escape;
use crate::ids::{Account, Cursor, DeliveryId, MessageId, RoomId, UserId};

/// A quiet terminal is a healthy one: so often the listener says that it still listens.
const QUIET: Duration = Duration::from_secs(20);
/// A terminal takes texts of any length; this only keeps one message from being everything.
const MAX_UNITS: usize = 1 << 20;

/// A terminal, or anything that has lines and takes text.
pub struct Console {
    /// Outlives a connection: a line that was read cannot be read again.
    typed: Arc<Mutex<Typed>>,
    writer: Writer,
    sent: Arc<AtomicU64>,
}

/// What was typed and is not settled yet.
struct Typed {
    lines: Lines,
    /// The line that was offered last, until it is echoed.
    offered: Option<String>,
    unsettled: Unsettled,
}

impl Console {
    /// Standard input and standard output.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn stdio() -> io::Result<Self> {
        Self::new(|| io::stdin().lock(), io::stdout())
    }

    /// Whatever `reader` makes, on its own thread, and `writer`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new<R: BufRead>(reader: impl FnOnce() -> R + Send + 'static, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let typed = Typed { lines: threads::read(reader)?, offered: None, unsettled: Unsettled::default() };
        Ok(Self { typed: Arc::new(Mutex::new(typed)), writer: threads::write(writer)?, sent: Arc::default() })
    }
}

impl Platform for Console {
    fn kind(&self) -> &'static str {
        "console"
    }

    fn abilities(&self) -> Abilities {
        Abilities { edits: false, idempotent: false, max_units: MAX_UNITS }
    }

    fn connect(&self) -> BoxFuture<'static, Result<Connection, PlatformError>> {
        let listener = Ears { typed: Arc::clone(&self.typed), writer: self.writer.clone() };
        let speaker = Mouth { writer: self.writer.clone(), sent: Arc::clone(&self.sent) };
        Box::pin(async {
            Ok(Connection { account: Account::new("console:local"), listener: Box::new(listener), speaker: Arc::new(speaker) })
        })
    }
}

struct Ears {
    typed: Arc<Mutex<Typed>>,
    writer: Writer,
}

impl Ears {
    async fn listen(&mut self) -> Result<Vec<Offer>, PlatformError> {
        let mut typed = self.typed.lock().await;
        let again = typed.unsettled.settled().await;
        if !again.is_empty() {
            return Ok(again);
        }
        if let Some(line) = typed.offered.take() {
            // The terminal may be gone; the line counts all the same.
            let _ = self.writer.write(format!("✓ {line}\n")).await;
        }
        match tokio::time::timeout(QUIET, typed.lines.next()).await {
            Err(_) => Ok(Vec::new()),
            Ok(None) => Err(PlatformError::Closed),
            Ok(Some(line)) => {
                typed.offered = Some(line.clone());
                Ok(typed.unsettled.offer([typed_line(line)]))
            }
        }
    }
}

impl Listener for Ears {
    /// A terminal cannot be read from an earlier place.
    fn resume(&mut self, _: Option<Cursor>) {}

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Offer>, PlatformError>> {
        Box::pin(self.listen())
    }
}

fn typed_line(text: String) -> Inbound {
    // A number within this process would be taken for an earlier process's.
    let delivery = Uuid::now_v7().to_string();
    let sender = Sender { user: UserId::new("local"), name: "local".into(), person: true };
    let said = Said { room: RoomId::new("local"), thread: None, group: false, sender, message: None, text, relayed: false };
    Inbound { delivery: DeliveryId::new(delivery), cursor: None, content: Content::Message(said) }
}

struct Mouth {
    writer: Writer,
    sent: Arc<AtomicU64>,
}

impl Speaker for Mouth {
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>> {
        Box::pin(async move {
            match self.writer.write(escape::lines(&out.text) + "\n").await {
                Ok(()) => Ok(MessageId::new((self.sent.fetch_add(1, Ordering::Relaxed) + 1).to_string())),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    Err(SpeakError::Broken("nobody reads the console any more".into()))
                }
                Err(error) => Err(SpeakError::Unknown(format!("the console cannot be written: {error}"))),
            }
        })
    }
}

#[cfg(test)]
mod tests;
