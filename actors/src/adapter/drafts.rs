//! Replies that are shown while they grow.
//!
//! A draft is written before its first send and given the platform's message id after it; what it says later is not recorded. When the reply
//! is finished, it takes the draft's place: the first part becomes an edit of the message that is there. A draft is only ever
//! a courtesy: when the platform will not take it, the reply is simply sent whole.

use std::collections::HashMap;

use actix::{AsyncContext, Context, Handler, Message};

use super::{AdapterActor, Way, speak};
use crate::ids::{MessageId, OutboxId};
use crate::ledger::{Done, Fate, OutboxRow, Step};
use crate::platform::SpeakError;
use crate::protocol::{Deliver, EndDraft};

/// The drafts of one adapter, at most one per turn that runs.
#[derive(Default)]
pub(super) struct Drafts(HashMap<OutboxId, Draft>);

struct Draft {
    row: OutboxRow,
    /// The platform's id, once it was sent.
    message: Option<MessageId>,
    busy: bool,
    /// The platform would not take it.
    given_up: bool,
    /// Nobody knows whether the platform has it.
    unsure: bool,
    /// The text has grown since it was last shown.
    grown: bool,
    /// The finished reply that waits for the draft to land.
    held: Option<Vec<OutboxRow>>,
    /// There will be no reply: it is to end in the mark of a cut once it has landed.
    ended: bool,
}

/// Where a draft stands when its reply is finished.
pub(super) enum Finished {
    /// It can be edited.
    Shown(MessageId),
    /// It is being sent: the reply waits for it.
    OnItsWay,
    /// Nobody knows whether the platform has it.
    Unsure,
    /// There is none.
    Never,
}

impl Drafts {
    /// The reply is finished.
    pub(super) fn finish(&mut self, row: OutboxId) -> Finished {
        match self.0.get(&row) {
            Some(draft) if draft.busy => Finished::OnItsWay,
            Some(_) => match self.0.remove(&row) {
                Some(Draft { message: Some(message), .. }) => Finished::Shown(message),
                Some(Draft { unsure: true, .. }) => Finished::Unsure,
                Some(_) | None => Finished::Never,
            },
            None => Finished::Never,
        }
    }

    /// Keeps a finished reply until its draft has landed.
    pub(super) fn hold(&mut self, rows: Vec<OutboxRow>) {
        if let Some(draft) = rows.first().and_then(|first| self.0.get_mut(&first.id)) {
            draft.held = Some(rows);
        }
    }

    /// The reply is settled.
    pub(super) fn forget(&mut self, row: OutboxId) {
        self.0.remove(&row);
    }
}

impl AdapterActor {
    /// Shows a draft, or what it has grown to.
    pub(super) fn show_draft(&mut self, row: OutboxRow, ctx: &mut Context<Self>) {
        let id = row.id;
        let Some(draft) = self.drafts.0.get_mut(&id) else {
            let me = ctx.address();
            self.shared.ledger.write(Step::Draft(row.clone()), move |result| {
                me.do_send(DraftNews { id, what: What::Recorded(matches!(result, Ok(Done::Ok))) });
            });
            let (message, held) = (None, None);
            let draft = Draft { row, message, busy: true, given_up: false, unsure: false, grown: false, held, ended: false };
            self.drafts.0.insert(id, draft);
            return;
        };
        draft.row.text = row.text;
        draft.grown = true;
        if !draft.busy && !draft.given_up {
            self.speak_draft(id, ctx);
        }
    }

    /// No reply will take the draft's place: its words end in the mark of a cut.
    pub(super) fn end_draft(&mut self, id: OutboxId, ctx: &mut Context<Self>) {
        match self.drafts.0.get_mut(&id) {
            Some(draft) if draft.busy => return draft.ended = true,
            Some(_) | None => {}
        }
        let Some(Draft { row, message, .. }) = self.drafts.0.remove(&id) else { return };
        if let Some(row) = self.mend(OutboxRow { message, ..row }) {
            self.on(super::outbox::Event::Reply(vec![row]), ctx);
        }
    }

    /// After a fall nobody may tell any more how a draft landed that was on its way.
    pub(super) fn land_drafts(&mut self, ctx: &mut Context<Self>) {
        for (id, draft) in &mut self.drafts.0 {
            if std::mem::take(&mut draft.busy) && draft.message.is_none() {
                (draft.given_up, draft.unsure) = (true, true);
            }
            if let Some(rows) = draft.held.take() {
                ctx.address().do_send(Deliver(rows));
            }
            if draft.ended {
                ctx.address().do_send(EndDraft(*id));
            }
        }
    }

    fn speak_draft(&mut self, id: OutboxId, ctx: &mut Context<Self>) {
        let (speaker, me) = (self.line.speaker(), ctx.address());
        let Some(draft) = self.drafts.0.get_mut(&id) else { return };
        let Some(speaker) = speaker else {
            draft.busy = false;
            return;
        };
        (draft.busy, draft.grown) = (true, false);
        let way = draft.message.clone().map_or(Way::Send, Way::Edit);
        let (row, limit) = (draft.row.clone(), self.shared.settings.now().outbox.send_limit);
        self.shared.io.spawn(async move {
            let result = speak(speaker, row, way, limit).await;
            me.do_send(DraftNews { id, what: What::Spoken(result) });
        });
    }
}

/// News of a draft.
#[derive(Message)]
#[rtype(result = "()")]
struct DraftNews {
    id: OutboxId,
    what: What,
}

enum What {
    Recorded(bool),
    Spoken(Result<MessageId, SpeakError>),
}

impl Handler<DraftNews> for AdapterActor {
    type Result = ();

    fn handle(&mut self, DraftNews { id, what }: DraftNews, ctx: &mut Context<Self>) {
        let Some(draft) = self.drafts.0.get_mut(&id) else { return };
        let finished = draft.held.is_some() || draft.ended;
        match what {
            What::Recorded(true) if !finished => return self.speak_draft(id, ctx),
            What::Recorded(_) => draft.given_up = true,
            What::Spoken(Ok(message)) => {
                if draft.message.is_none() {
                    self.shared.ledger.note(Step::Fate { id, fate: Fate::Drafted { message: message.clone() } });
                }
                draft.message = Some(message);
            }
            What::Spoken(Err(error)) => {
                tracing::debug!(adapter = %self.set.name, %error, "draft not shown");
                draft.given_up = true;
                draft.unsure = matches!(error, SpeakError::Unknown(_));
            }
        }
        draft.busy = false;
        if let Some(rows) = draft.held.take() {
            return ctx.notify(Deliver(rows));
        }
        if draft.ended {
            return self.end_draft(id, ctx);
        }
        if draft.grown && !draft.given_up {
            self.speak_draft(id, ctx);
        }
    }
}
