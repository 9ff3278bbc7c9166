//! The way out: plain text, sent, edited and announced by "typing".
//!
//! Sources: <https://core.telegram.org/bots/api#sendmessage>, <https://core.telegram.org/bots/api#editmessagetext>,
//! <https://core.telegram.org/bots/api#sendchataction>, <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>.
//! No `parse_mode`: an agent's words are never markup, so that no stray asterisk can make a reply unsendable.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::api::{Api, CallError};
use crate::ids::{MessageId, RoomId, ThreadId};
use crate::platform::{Outgoing, SpeakError, Speaker};

/// The voice of one bot.
pub(super) struct Mouth {
    api: Arc<Api>,
}

impl Mouth {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }

    async fn say(&self, mut message: SendMessage<'_>) -> Result<MessageId, SpeakError> {
        let sent = match self.api.call("sendMessage", &message, self.api.call_limit()).await {
            // A group that became a supergroup has a new id, and nothing was sent to the old one:
            // https://core.telegram.org/bots/api#responseparameters
            Err(CallError::Declined { migrated_to: Some(supergroup), .. }) => {
                message.chat_id = Target::Number(supergroup);
                self.api.call("sendMessage", &message, self.api.call_limit()).await
            }
            first => first,
        };
        let sent = sent.map_err(speak_error)?;
        let sent: Sent = serde_json::from_str(sent.get()).map_err(|_| SpeakError::Unknown("Telegram's answer names no message".into()))?;
        Ok(MessageId::new(sent.message_id.to_string()))
    }
}

impl Speaker for Mouth {
    fn send(&self, out: Outgoing) -> BoxFuture<'_, Result<MessageId, SpeakError>> {
        Box::pin(async move {
            let thread = out.thread.as_ref().map(thread_number).transpose()?;
            let reply_to = out.reply_to.as_ref().and_then(|id| id.as_str().parse().ok());
            self.say(SendMessage {
                chat_id: Target::of(&out.room),
                message_thread_id: thread,
                text: &out.text,
                // A reply whose question was deleted is still a reply.
                reply_parameters: reply_to.map(|message_id| ReplyTo { message_id, allow_sending_without_reply: true }),
                link_preview_options: NO_PREVIEW,
            })
            .await
        })
    }

    fn edit(&self, out: Outgoing, message: MessageId) -> BoxFuture<'_, Result<(), SpeakError>> {
        Box::pin(async move {
            let message_id: i64 = message
                .as_str()
                .parse()
                .map_err(|_| SpeakError::Refused("the id of the message to edit is not one of Telegram's".into()))?;
            let edit = EditMessage { chat_id: Target::of(&out.room), message_id, text: &out.text, link_preview_options: NO_PREVIEW };
            match self.api.call("editMessageText", &edit, self.api.call_limit()).await {
                Ok(_) => Ok(()),
                // It reads as it should: an edit whose answer was lost, made again.
                Err(CallError::Declined { code: 400, description, .. }) if description.contains("message is not modified") => Ok(()),
                Err(error) => Err(speak_error(error)),
            }
        })
    }

    fn typing(&self, room: RoomId, thread: Option<ThreadId>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let message_thread_id = thread.as_ref().and_then(|thread| thread_number(thread).ok());
            let action = ChatAction { chat_id: Target::of(&room), message_thread_id, action: "typing" };
            if let Err(error) = self.api.call("sendChatAction", &action, self.api.call_limit()).await {
                tracing::debug!(?error, "typing was not shown");
            }
        })
    }
}

/// What a failed call means for a message.
pub(crate) fn speak_error(error: CallError) -> SpeakError {
    match error {
        // The answer speaks of "the request" alone, and the limits that are met in practice are each chat's own (one message a second,
        // twenty a minute in a group). One busy group must not silence everybody; if it is the bot's limit, each chat learns so.
        CallError::TooMany(after) => SpeakError::RetryAfter { after, room_only: true },
        CallError::NotSent(reason) => SpeakError::Broken(reason),
        CallError::BadAddress => SpeakError::Broken("the bot's address or token cannot be called".into()),
        // The bot's own trouble, not the message's: the message stays good.
        CallError::Declined { code: code @ (401 | 404), .. } => SpeakError::Broken(format!("Telegram rejects the token ({code})")),
        CallError::Declined { code: 403, description, .. } => {
            SpeakError::Refused(format!("the bot may not write there (403): {description}"))
        }
        CallError::Declined { code, description, .. } if code < 500 => {
            SpeakError::Refused(format!("Telegram does not take the message ({code}): {description}"))
        }
        CallError::Declined { code, description, .. } => SpeakError::Unknown(format!("Telegram is in trouble ({code}): {description}")),
        CallError::Foreign(code) if code < 500 => SpeakError::Broken(format!("something before Telegram answers {code}")),
        CallError::Foreign(code) => SpeakError::Unknown(format!("something before Telegram answers {code}")),
        CallError::Lost(reason) => SpeakError::Unknown(reason),
    }
}

fn thread_number(thread: &ThreadId) -> Result<i64, SpeakError> {
    thread.as_str().parse().map_err(|_| SpeakError::Refused("the thread is not one of Telegram's".into()))
}

/// A chat: its number, or the name of a public one (`@channel`).
#[derive(Serialize)]
#[serde(untagged)]
enum Target<'a> {
    Number(i64),
    Name(&'a str),
}

impl<'a> Target<'a> {
    fn of(room: &'a RoomId) -> Self {
        room.as_str().parse().map_or(Target::Name(room.as_str()), Target::Number)
    }
}

#[derive(Serialize)]
struct SendMessage<'a> {
    chat_id: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_parameters: Option<ReplyTo>,
    link_preview_options: LinkPreview,
}

#[derive(Serialize)]
struct EditMessage<'a> {
    chat_id: Target<'a>,
    message_id: i64,
    text: &'a str,
    link_preview_options: LinkPreview,
}

#[derive(Serialize)]
struct ChatAction<'a> {
    chat_id: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    action: &'a str,
}

#[derive(Serialize)]
struct ReplyTo {
    message_id: i64,
    allow_sending_without_reply: bool,
}

#[derive(Serialize)]
struct LinkPreview {
    is_disabled: bool,
}

const NO_PREVIEW: LinkPreview = LinkPreview { is_disabled: true };

#[derive(Deserialize)]
struct Sent {
    message_id: i64,
}
