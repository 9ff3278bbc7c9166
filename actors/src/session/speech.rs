//! What a session says to its chat: the words that end a turn, and the reply while it grows.

use std::time::Duration;

use super::SessionActor;
use super::machine::{Limit, Run, Say};
use crate::ids::{OutboxId, SessionKey};
use crate::ledger::{OutboxRow, OutboxState, What, Word};
use crate::platform::split_text;
use crate::protocol::ShowDraft;
use crate::texts::{Texts, spoken};

impl SessionActor {
    /// The rows of what the chat is told. The first part is written as `sending`, so that one commit serves both.
    pub(super) fn word_the_end(&mut self, run: &Run, word: Say) -> Vec<OutboxRow> {
        let settings = self.shared.settings.now();
        let texts = &settings.texts;
        let (word, text) = match word {
            Say::Nothing => return Vec::new(),
            Say::Stopped => (Word::Command, texts.stopped.render(&[("count", "0")])),
            Say::Answer(text) if text.trim().is_empty() => (Word::Failed, texts.empty.plain()),
            Say::Answer(text) => (Word::Answer, text),
            // What it said so far stands above the question: a draft becomes its first part.
            Say::Question(question) => {
                let so_far = self.work.as_mut().filter(|_| self.draft.is_some()).map(|work| work.take_text()).unwrap_or_default();
                (Word::Approval, so_far + &texts.approval.render(&[("question", &question)]))
            }
            Say::Failed(reason) => (Word::Failed, texts.failed.render(&[("cause", &reason)])),
            Say::TooLong(limit) => {
                let cause = match limit {
                    Limit::Wall => format!("over {}", spoken(run.limits.wall)),
                    Limit::Idle => format!("{} without progress", spoken(run.limits.idle)),
                };
                (Word::Failed, texts.too_long.render(&[("cause", &cause)]))
            }
        };
        let at = self.shared.clock.wall();
        let parts = split_text(&text, self.most_units(texts));
        let rows = parts.into_iter().zip(0u32..).map(|(text, part)| OutboxRow {
            session: Some(SessionKey::clone(&self.key)),
            turn: Some(run.turn),
            part,
            reply_to: run.reply_to.clone().filter(|_| part == 0),
            state: if part == 0 { OutboxState::Sending } else { OutboxState::Due },
            ..OutboxRow::new(OutboxId(self.shared.sequence.next_seq()), self.key.chat.clone(), What::Reply { word }, text, at)
        });
        rows.collect()
    }

    /// The longest message, in UTF-16 code units, that still has room for a mark.
    fn most_units(&self, texts: &Texts) -> usize {
        self.post.abilities.max_units.saturating_sub(texts.marks())
    }

    /// Shows the reply while it grows, where the platform can edit.
    pub(super) fn show_draft(&mut self, piece: &str) {
        let settings = self.shared.settings.now();
        let every = settings.session.draft_every;
        if every == Duration::ZERO || !self.post.abilities.edits {
            return;
        }
        let (now, most) = (self.shared.clock.now(), self.most_units(&settings.texts));
        let reply_to = self.machine.run().and_then(|run| run.reply_to.clone());
        let Some(work) = &mut self.work else { return };
        let Some(text) = work.grow(piece, now, every, most) else { return };
        let id = *self.draft.get_or_insert_with(|| OutboxId(self.shared.sequence.next_seq()));
        let what = What::Reply { word: Word::Answer };
        let row = OutboxRow {
            session: Some(SessionKey::clone(&self.key)),
            turn: Some(work.turn()),
            reply_to,
            state: OutboxState::Draft,
            ..OutboxRow::new(id, self.key.chat.clone(), what, text, self.shared.clock.wall())
        };
        self.post.draft.do_send(ShowDraft { row });
    }
}
