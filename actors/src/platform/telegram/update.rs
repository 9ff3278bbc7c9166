//! From one update to what it means for us. Each is decoded by itself, and whatever cannot be decoded still has its number.
//!
//! Sources: <https://core.telegram.org/bots/api#update>, <https://core.telegram.org/bots/api#message>,
//! <https://core.telegram.org/bots/api#user>, <https://core.telegram.org/bots/api#chat>,
//! <https://core.telegram.org/bots/features#commands> (`/command@bot`), <https://core.telegram.org/bots/api#messageorigin> (what was forwarded).

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::exchange::trimmed;
use crate::ids::{Cursor, DeliveryId, MessageId, RoomId, ThreadId, UserId};
use crate::platform::{Content, Inbound, Said, Sender};

/// The longest name that is kept: both halves as long as Telegram's apps take them, and more than anybody reads.
const NAME: usize = 129;

/// The number of an update, whatever else it holds; `None` when it has none.
pub(crate) fn number(update: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Numbered {
        update_id: i64,
    }
    serde_json::from_str::<Numbered>(update.get()).ok().map(|numbered| numbered.update_id)
}

/// What the update `number` means for the bot called `us`.
pub(crate) fn meaning(number: i64, update: &RawValue, us: &str) -> Inbound {
    let content = match serde_json::from_str::<Update>(update.get()) {
        Ok(Update { message: Some(message) }) => said(message, us),
        Ok(Update { message: None }) => Err("an update of a kind that was not asked for"),
        Err(_) => Err("an update that cannot be decoded"),
    };
    Inbound {
        delivery: DeliveryId::new(number.to_string()),
        cursor: Some(Cursor::new(number.to_string())),
        content: match content {
            Ok(said) => Content::Message(said),
            Err(reason) => Content::Nothing { reason: reason.into() },
        },
    }
}

#[derive(Deserialize)]
struct Update {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    message_id: i64,
    chat: Chat,
    from: Option<User>,
    /// Set when somebody speaks as a chat: anonymous administrators, channels. `from` is then a stand-in.
    sender_chat: Option<Chat>,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    text: Option<String>,
    caption: Option<String>,
    /// Set when it is forwarded, from whomever.
    forward_origin: Option<IgnoredAny>,
    /// The same, from Bot API servers of before version 7.0 (2023), which people run themselves.
    forward_date: Option<IgnoredAny>,
    /// Set when an inline bot wrote the words, and the sender only chose them.
    via_bot: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
    #[serde(rename = "type", default)]
    kind: String,
    title: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    is_bot: bool,
    #[serde(default)]
    first_name: String,
    last_name: Option<String>,
}

fn said(message: Message, us: &str) -> Result<Said, &'static str> {
    let sender = sender(&message);
    let relayed = message.forward_origin.is_some() || message.forward_date.is_some() || message.via_bot.is_some();
    let text = message.text.or(message.caption).filter(|text| !text.is_empty()).ok_or("a message without words")?;
    Ok(Said {
        room: RoomId::new(message.chat.id.to_string()),
        // In a supergroup without topics every answer carries a thread id too, so it counts only together with the flag.
        thread: message.message_thread_id.filter(|_| message.is_topic_message).map(|thread| ThreadId::new(thread.to_string())),
        group: message.chat.kind != "private",
        sender,
        message: Some(MessageId::new(message.message_id.to_string())),
        // What was passed on is nobody's command, and stays as it was said.
        text: if relayed { text } else { addressed(text, us).ok_or("a command for another bot")? },
        relayed,
    })
}

fn sender(message: &Message) -> Sender {
    if let Some(chat) = &message.sender_chat {
        return faceless(chat);
    }
    let Some(user) = &message.from else { return faceless(&message.chat) };
    let name = format!("{} {}", user.first_name, user.last_name.as_deref().unwrap_or_default());
    Sender { user: UserId::new(user.id.to_string()), name: trimmed(&name, NAME), person: !user.is_bot }
}

/// A chat that speaks. Ids of groups and channels are negative, so that none is ever taken for a person's.
fn faceless(chat: &Chat) -> Sender {
    Sender { user: UserId::new(chat.id.to_string()), name: trimmed(chat.title.as_deref().unwrap_or_default(), NAME), person: false }
}

/// `/stop@us now` becomes `/stop now`; a command for somebody else is `None`; all else stays as it is.
fn addressed(text: String, us: &str) -> Option<String> {
    let head = text.split_whitespace().next().unwrap_or_default();
    let Some((command, bot)) = head.strip_prefix('/').and_then(|head| head.split_once('@')) else { return Some(text) };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !text.starts_with('/') || !word(command) || !word(bot) {
        return Some(text); // a path or an address, not a command
    }
    bot.eq_ignore_ascii_case(us).then(|| format!("/{command}{}", &text[head.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an update comes to, as one line.
    fn check(update: &str, expected: &str) {
        let raw: Box<RawValue> = serde_json::from_str(update).expect("a test's update is JSON");
        let number = number(&raw).expect("a test's update has a number");
        let line = match meaning(number, &raw, "OurBot").content {
            Content::Nothing { reason } => reason,
            Content::Message(said) => format!(
                "{}{}{} {}{}#{}: {}{}",
                said.room,
                said.thread.map(|thread| format!("/{thread}")).unwrap_or_default(),
                if said.group { " group" } else { "" },
                said.sender.user,
                if said.sender.person { format!(" ({})", said.sender.name) } else { format!(" (stranger {})", said.sender.name) },
                said.message.expect("every message has an id"),
                if said.relayed { "relayed " } else { "" },
                said.text,
            ),
        };
        assert_eq!(line, expected, "{update}");
    }

    fn message(rest: &str) -> String {
        format!(r#"{{"update_id":1,"message":{{"message_id":5,"date":1,{rest}}}}}"#)
    }

    const ANN: &str = r#""from":{"id":7,"is_bot":false,"first_name":"Ann","last_name":"Lee"}"#;
    const PRIVATE: &str = r#""chat":{"id":7,"type":"private"}"#;
    const GROUP: &str = r#""chat":{"id":-100,"type":"supergroup","title":"All"}"#;

    #[test]
    fn who_speaks_where() {
        for (rest, expected) in [
            (format!(r#"{ANN},{PRIVATE},"text":"hi","later_field":{{"x":[1]}}"#), "7 7 (Ann Lee)#5: hi"),
            (format!(r#"{ANN},{GROUP},"text":"hi""#), "-100 group 7 (Ann Lee)#5: hi"),
            (format!(r#"{ANN},{GROUP},"text":"hi","message_thread_id":9,"is_topic_message":true"#), "-100/9 group 7 (Ann Lee)#5: hi"),
            (format!(r#"{ANN},{GROUP},"text":"hi","message_thread_id":9"#), "-100 group 7 (Ann Lee)#5: hi"),
            (format!(r#"{ANN},{PRIVATE},"photo":[],"caption":"look""#), "7 7 (Ann Lee)#5: look"),
            (format!(r#"{ANN},{PRIVATE},"sticker":{{}}"#), "a message without words"),
            (format!(r#"{ANN},{PRIVATE},"text":"""#), "a message without words"),
            (format!(r#"{ANN},{PRIVATE},"text":17"#), "an update that cannot be decoded"),
            (format!(r#"{ANN},"text":"no chat""#), "an update that cannot be decoded"),
            (format!(r#"{PRIVATE},"text":"\ud800""#), "an update that cannot be decoded"),
            (format!(r#"{GROUP},"from":{{"id":3,"is_bot":true,"first_name":"B"}},"text":"x""#), "-100 group 3 (stranger B)#5: x"),
            (
                format!(
                    r#"{GROUP},"from":{{"id":1087968824,"is_bot":true,"first_name":"Group"}},"sender_chat":{{"id":-100,"title":"All"}},"text":"x""#
                ),
                "-100 group -100 (stranger All)#5: x",
            ),
            (
                format!(r#"{GROUP},"from":{{"id":777000,"first_name":"T"}},"sender_chat":{{"id":-200}},"text":"x""#),
                "-100 group -200 (stranger )#5: x",
            ),
            (format!(r#"{GROUP},"text":"x""#), "-100 group -100 (stranger All)#5: x"),
        ] {
            check(&message(&rest), expected);
        }
        check(r#"{"update_id":1,"edited_message":{"text":"x"}}"#, "an update of a kind that was not asked for");
        check(r#"{"update_id":1,"hologram":{"x":"\ud800"}}"#, "an update of a kind that was not asked for");
    }

    #[test]
    fn g23_what_was_forwarded_or_written_by_an_inline_bot_is_no_command() {
        let origin = r#""forward_origin":{"type":"hidden_user","sender_user_name":"Boss","date":1}"#;
        let bot = r#""via_bot":{"id":9,"is_bot":true,"first_name":"Inline"}"#;
        for (more, text, expected) in [
            (origin, "/shutdown", "relayed /shutdown"),
            (origin, "/shutdown@OurBot", "relayed /shutdown@OurBot"),
            (r#""forward_date":1"#, "/stop", "relayed /stop"),
            (bot, "/new@OtherBot", "relayed /new@OtherBot"),
            (r#""forward_origin":null,"via_bot":null"#, "/stop@OurBot", "/stop"),
        ] {
            check(&message(&format!(r#"{ANN},{PRIVATE},{more},"text":"{text}""#)), &format!("7 7 (Ann Lee)#5: {expected}"));
        }
        check(&message(&format!(r#"{ANN},{PRIVATE},{origin},"photo":[],"caption":"/stop""#)), "7 7 (Ann Lee)#5: relayed /stop");
    }

    #[test]
    fn an_update_without_a_number_is_seen_as_such() {
        for update in [r#"{}"#, r#"{"update_id":"x"}"#, "3", "null", r#"{"update_id":99999999999999999999}"#] {
            let raw: Box<RawValue> = serde_json::from_str(update).expect("JSON");
            assert_eq!(number(&raw), None, "{update}");
        }
    }

    #[test]
    fn commands_for_us_lose_our_name() {
        for (text, expected) in [
            ("/stop@OurBot", Some("/stop")),
            ("/stop@ourbot now please", Some("/stop now please")),
            ("/new@OurBot\nand more", Some("/new\nand more")),
            ("/stop@OtherBot", None),
            ("/stop", Some("/stop")),
            ("hello @OurBot", Some("hello @OurBot")),
            ("/srv/a@host:b", Some("/srv/a@host:b")),
            ("/@OtherBot", Some("/@OtherBot")),
            (" /stop@OtherBot", Some(" /stop@OtherBot")),
        ] {
            assert_eq!(addressed(text.into(), "OurBot").as_deref(), expected, "{text}");
        }
    }
}
