//! What a connection and the requests on it tell each other: whether one is being answered, and how much of its body may be read.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::peers::Place;

/// So much of a body is read before anybody has looked at who sends it.
pub(super) const UNASKED_BODY: usize = 1024;
/// Requests on one connection at most; the answer to the last says that it closes.
const REQUESTS: u32 = 1000;

/// The link of one connection.
pub(super) struct Link {
    answering: Cell<bool>,
    body_left: Cell<usize>,
    requests: Cell<u32>,
    last: Cell<bool>,
    known: Cell<bool>,
    place: RefCell<Place>,
    reader: RefCell<Option<Waker>>,
}

impl Link {
    /// Of a connection that has this place.
    pub(super) fn new(place: Place) -> Self {
        Self {
            answering: Cell::new(false),
            body_left: Cell::new(0),
            requests: Cell::new(0),
            last: Cell::new(false),
            known: Cell::new(false),
            place: RefCell::new(place),
            reader: RefCell::new(None),
        }
    }

    /// A request begins; its answer ends it.
    pub(super) fn begin(&self) {
        self.answering.set(true);
        self.body_left.set(UNASKED_BODY);
        self.requests.set(self.requests.get() + 1);
        self.last.set(self.last.get() || self.requests.get() >= REQUESTS);
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.get()
    }

    /// How much of the body may be read now.
    pub(super) fn body_left(&self) -> usize {
        self.body_left.get()
    }

    /// So much of the body was read.
    pub(super) fn body_read(&self, bytes: usize) {
        self.body_left.set(self.body_left.get().saturating_sub(bytes));
    }

    /// Lets a request's body be read up to `most` bytes, and a little more so that one which is longer is seen to be: somebody has looked at
    /// who sends it.
    pub(super) fn read_body(request: &HttpRequest, most: usize) {
        if let Some(link) = request.conn_data::<Rc<Self>>() {
            link.body_left.set(link.body_left.get().max(most + UNASKED_BODY));
            link.wake();
        }
    }

    /// This connection passed the gate.
    pub(super) fn become_known(&self) {
        if !self.known.get() {
            self.known.set(self.place.borrow_mut().become_known());
        }
    }

    /// Whether it did, and has a place among those.
    pub(super) fn is_known(&self) -> bool {
        self.known.get()
    }

    /// Whether it has none of the places of those who may stay.
    pub(super) fn in_reserve(&self) -> bool {
        self.place.borrow().in_reserve()
    }

    /// The request that is being answered is the last.
    pub(super) fn end_with_this(&self) {
        self.last.set(true);
    }

    /// Whether the connection closes after the answer.
    pub(super) fn is_last(&self) -> bool {
        self.last.get()
    }

    /// Who reads waits for something of the above.
    pub(super) fn wait(&self, context: &Context<'_>) {
        *self.reader.borrow_mut() = Some(context.waker().clone());
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

/// A request that is being answered, until it is dropped.
pub(super) struct Answering(Option<Rc<Link>>);

impl Answering {
    /// The request that came over this link.
    pub(super) fn over(link: Option<Rc<Link>>) -> Self {
        Self(link)
    }

    /// The answer's body, which ends it.
    pub(super) fn with(self, body: impl MessageBody + 'static) -> BoxBody {
        BoxBody::new(Answer { body: body.boxed(), _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.answering.set(false);
            link.wake();
        }
    }
}

struct Answer {
    body: BoxBody,
    _answering: Answering,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
