//! The bounded stream below the HTTP layer: what one connection may make us hold, and for how long.
//!
//! It hands on one request at a time, and the next when the answer is written, since the layer above does not bound what it has decoded:
//! `poll_request` (actix-http 3.20.0, `src/h1/dispatcher.rs`) compares its queue with `MAX_PIPELINED_MESSAGES` (16) once, and then decodes
//! all of its read buffer, which `read_available` fills up to 128 KiB whatever waits. 122 KB of pipelined requests are three thousand
//! `Request`s of nearly 5 KB, held for as long as their sender reads no answer. Nor does it bound how long a connection is held: its
//! `head_timer` counts for the first request alone, a body in chunks that nobody wants is read for ever (`payload_drainable`), and a
//! write that nobody reads waits for ever (`poll_flush`).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{RequestHead, ServiceConfig};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::framing::{Framing, Piece};
use super::link::Link;

/// Bytes that are handed on in one poll of the HTTP layer at most, and read ahead of it.
const A_POLL: usize = 4 * 1024;
/// A write that makes no progress for so long ends the connection: nobody reads.
const STALLED: Duration = Duration::from_secs(30);
/// A connection that has not passed the gate lives at most so long: whoever reads drop by drop holds a place, too.
const STRANGERS_LIFE: Duration = Duration::from_secs(120);
/// What is left of a body that nobody wants is read for so long, so that the answer arrives before the end does (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const TOO_LONG: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What a request is, from its head alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// How we are.
    Probe,
    /// Something, as somebody who passed the gate.
    Known,
    /// Something, as anybody.
    Stranger,
}

/// Says what a request is.
pub(super) type Look = Arc<dyn Fn(&RequestHead) -> Asks + Send + Sync>;

/// One connection.
pub(super) struct Bounded {
    io: TcpStream,
    look: Look,
    link: Rc<Link>,
    framing: Framing,
    /// Read, and not handed on.
    inbox: BytesMut,
    /// So many bytes of it may be handed on.
    released: usize,
    /// A piece of a body was handed on in this poll.
    fed: bool,
    /// The peer sends no more.
    eof: bool,
    /// Nothing more is handed on.
    over: bool,
    /// What the newest request is.
    asks: Option<Asks>,
    stalled: Option<Pin<Box<Sleep>>>,
    lingers: Option<Pin<Box<Sleep>>>,
    life: Option<Pin<Box<Sleep>>>,
    lost: Option<oneshot::Receiver<()>>,
}

impl Bounded {
    /// Over a connection that was accepted.
    pub(super) fn new(io: TcpStream, look: Look, link: Link, shared: ServiceConfig) -> Self {
        Self {
            io,
            look,
            link: Rc::new(link),
            framing: Framing::new(shared),
            inbox: BytesMut::new(),
            released: 0,
            fed: false,
            eof: false,
            over: false,
            asks: None,
            stalled: None,
            lingers: None,
            life: None,
            lost: None,
        }
    }

    /// It ends when its place is taken away.
    pub(super) fn end_when(&mut self, lost: Option<oneshot::Receiver<()>>) {
        self.lost = lost;
    }

    /// What its requests are told by.
    pub(super) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// Waits until there is something to hand on: a whole head, or what is none. `None`: the peer went without a word.
    pub(super) async fn first_request(&mut self) -> io::Result<Option<Asks>> {
        std::future::poll_fn(|context| self.poll_released(context)).await?;
        Ok((self.released > 0).then(|| self.asks.unwrap_or(Asks::Stranger)))
    }

    /// Says something before the HTTP layer does, as far as the kernel takes it at once.
    pub(super) fn say(&self, words: &[u8]) {
        _ = self.io.try_write(words); // who does not read it hears the end
    }

    /// Until something may be handed on, or nothing ever again.
    fn poll_released(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.released == 0 && !self.over {
            ready!(match (self.framing.in_body(), self.link.is_answering()) {
                (true, true) => self.poll_body(context),
                (true, false) => self.poll_leftover(context),
                (false, true) => self.poll_answer(context),
                (false, false) => self.poll_head(context),
            })?;
        }
        Poll::Ready(Ok(()))
    }

    /// The head of the next request.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stalled.is_some() {
            return Poll::Pending; // the write that goes on wakes us
        }
        if self.link.is_last() {
            self.over = true;
            return Poll::Ready(Ok(()));
        }
        match self.framing.next(&self.inbox) {
            Piece::Partial if self.eof => self.over = true,
            Piece::Partial => return self.poll_fill(context),
            Piece::Head(length, request) => {
                let asks = (self.look)(request.head());
                if asks == Asks::Known {
                    self.link.become_known();
                }
                (self.asks, self.released) = (Some(asks), length);
                self.link.begin();
            }
            Piece::TooLong => {
                self.say(TOO_LONG);
                self.over = true;
            }
            // The HTTP layer says what is wrong.
            Piece::Malformed | Piece::Body(..) => (self.released, self.over) = (self.inbox.len(), true),
        }
        Poll::Ready(Ok(()))
    }

    /// The body of the request that is being answered, as far as somebody wants it.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let most = self.link.body_left().min(A_POLL).min(self.inbox.len());
        if self.link.body_left() == 0 {
            self.link.wait(context);
            return Poll::Pending;
        }
        if most == 0 {
            self.over = self.eof;
            return if self.eof { Poll::Ready(Ok(())) } else { self.poll_fill(context) };
        }
        match self.framing.next(&self.inbox[..most]) {
            Piece::Body(length) => {
                self.link.body_read(length);
                self.released = length;
            }
            _ => (self.released, self.over) = (self.inbox.len(), true),
        }
        Poll::Ready(Ok(()))
    }

    /// What is left of the body of a request that was answered.
    fn poll_leftover(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inbox.clear();
        let lingers = self.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if self.eof || lingers.as_mut().poll(context).is_ready() {
            self.over = true;
            return Poll::Ready(Ok(()));
        }
        self.poll_fill(context)
    }

    /// Nothing is due before the answer is written; but that the peer is gone is heard.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.wait(context);
        if self.eof || self.inbox.len() >= A_POLL {
            self.over = self.eof && self.inbox.is_empty();
            return if self.over { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        self.poll_fill(context)
    }

    /// Reads at most [`A_POLL`] more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; A_POLL];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut read))?;
        self.eof = read.filled().is_empty();
        self.inbox.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    /// Fails when a stranger has had its time, or its place is gone.
    fn check_life(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.lost.as_mut().is_some_and(|lost| Pin::new(lost).poll(context).is_ready()) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.link.is_known() {
            self.life = None;
            return Ok(());
        }
        let life = self.life.get_or_insert_with(|| Box::pin(sleep(STRANGERS_LIFE)));
        if life.as_mut().poll(context).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_life(context)?;
        if std::mem::take(&mut this.fed) {
            // The HTTP layer decodes what it was handed before it reads on.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_released(context))?;
        let length = this.released.min(into.remaining()).min(A_POLL);
        into.put_slice(&this.inbox[..length]);
        this.inbox.advance(length);
        this.released -= length;
        this.fed = length > 0 && (this.released > 0 || this.framing.in_body());
        if this.inbox.is_empty() {
            this.inbox = BytesMut::new(); // nothing is kept between requests
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_life(context)?;
        if let Poll::Ready(written) = Pin::new(&mut this.io).poll_write(context, bytes) {
            if this.stalled.take().is_some() {
                context.waker().wake_by_ref(); // the next head may be handed on
            }
            return Poll::Ready(written);
        }
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;
    use tokio::time::Instant;

    use super::super::peers::{Bounds, Peers};
    use super::*;

    /// A connection of nobody in particular, and its other end.
    async fn connection() -> (Bounded, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let other = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (ours, _) = listener.accept().await.expect("somebody connected");
        let (place, _) = Peers::new(Bounds::of_people(1), Vec::new()).enter(None);
        let look: Look = Arc::new(|_| Asks::Stranger);
        (Bounded::new(ours, look, Link::new(place), ServiceConfig::default()), other)
    }

    /// More than any kernel holds for one connection.
    const MUCH: usize = 64 << 20;

    #[tokio::test(start_paused = true)]
    async fn g41_whoever_reads_nothing_is_let_go_though_they_are_known() {
        let test = async {
            let (mut ours, _other) = connection().await;
            ours.link().become_known();
            let begun = Instant::now();
            let written = tokio::time::timeout(10 * STALLED, ours.write_all(&vec![0; MUCH])).await.expect("let go");
            assert_eq!(written.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
            assert!(begun.elapsed() >= STALLED, "{:?}", begun.elapsed());
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn g41_whoever_stays_a_stranger_has_two_minutes() {
        let test = async {
            let (mut ours, other) = connection().await;
            let begun = Instant::now();
            let error = ours.read_u8().await.expect_err("nothing is said");
            assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, STRANGERS_LIFE.as_secs()));
            let (mut ours, known) = connection().await;
            ours.link().become_known();
            let waited = tokio::time::timeout(10 * STRANGERS_LIFE, ours.read_u8()).await;
            assert!(waited.is_err(), "{waited:?}");
            drop((other, known));
        };
        LocalSet::new().run_until(test).await;
    }
}
