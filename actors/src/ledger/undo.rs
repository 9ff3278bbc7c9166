//! What a start must remember so that it can be taken back exactly.
//!
//! It is kept with the turn from its start until its end, and read by [`Step::Unstart`](super::Step::Unstart) alone.

use serde::{Deserialize, Serialize};

use super::TurnState;
use crate::clock::Wall;
use crate::ids::{InstanceId, Seq, TurnId};

/// How things stood before a start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// The turn as it was; `None`: there was none.
    pub(super) before: Option<Before>,
    /// Inbox rows that the start claimed.
    pub(super) rows: Vec<Seq>,
    /// Cut turns that it superseded.
    pub(super) superseded: Vec<SupersededTurn>,
}

/// A turn before it ran again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) state: TurnState,
    pub(super) instance: InstanceId,
    pub(super) strikes: u32,
    pub(super) since: Wall,
    pub(super) cause: Option<String>,
    #[serde(default)]
    pub(super) asks: Option<String>,
    pub(super) newest: Seq,
    pub(super) start: Seq,
    /// How many entries its transcript had.
    pub(super) entries: u32,
}

/// A turn before it was superseded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SupersededTurn {
    pub(super) turn: TurnId,
    pub(super) state: TurnState,
    pub(super) since: Wall,
    #[serde(default)]
    pub(super) asks: Option<String>,
    /// Its inbox rows, which were claimed.
    pub(super) rows: Vec<Seq>,
}
