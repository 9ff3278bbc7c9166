//! Telegram from outside: real sockets, against a server that keeps the Bot API's documented rules.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::ids::{Cursor, MessageId, OutboxId, RoomId, Seq, ThreadId};
use crate::platform::{Content, Listener, Offer, Outgoing, SpeakError, Speaker, Taken, Voice};
use crate::testkit::fake_telegram::{FakeTelegram, Fault};

/// Far longer than anything takes; a test that needs it fails.
const BOUND: Duration = Duration::from_secs(20);

/// As long as Telegram allows; no test waits so long.
const LONG_POLL: Duration = Duration::from_secs(50);

fn telegram_with(fake: &FakeTelegram, token: &str, call_limit: Duration) -> Telegram {
    built(fake, token, call_limit, Duration::from_secs(1))
}

fn telegram_polling(fake: &FakeTelegram, poll: Duration) -> Telegram {
    built(fake, fake.token(), BOUND, poll)
}

fn built(fake: &FakeTelegram, token: &str, call_limit: Duration, poll: Duration) -> Telegram {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let config = TelegramConfig { adapter: "main".into(), token: token.into(), api_root: fake.api_root(), poll, call_limit };
    Telegram::new(config, client)
}

fn telegram(fake: &FakeTelegram) -> Telegram {
    telegram_with(fake, fake.token(), BOUND)
}

async fn connected(fake: &FakeTelegram, cursor: Option<i64>) -> (Box<dyn Listener>, Arc<dyn Speaker>) {
    let mut connection = telegram(fake).connect().await.expect("connected");
    connection.listener.resume(cursor.map(|cursor| Cursor::new(cursor.to_string())));
    (connection.listener, connection.speaker)
}

fn words(offer: &Offer) -> String {
    match &offer.inbound.content {
        Content::Message(said) => said.text.clone(),
        Content::Nothing { reason } => format!("({reason})"),
    }
}

fn all_words(offers: &[Offer]) -> Vec<String> {
    offers.iter().map(words).collect()
}

fn accept(offers: Vec<Offer>) {
    offers.into_iter().for_each(|offer| offer.receipt.settle(Taken::Accepted));
}

fn out(chat: i64, text: &str) -> Outgoing {
    Outgoing {
        room: RoomId::new(chat.to_string()),
        thread: None,
        text: text.into(),
        key: OutboxId(Seq(1)),
        voice: Voice::Agent,
        draft: false,
        reply_to: None,
    }
}

fn offsets(fake: &FakeTelegram) -> Vec<Option<i64>> {
    fake.calls("getUpdates").iter().map(|call| call.parameters["offset"].as_i64()).collect()
}

#[tokio::test]
async fn the_offset_follows_only_what_was_accepted() {
    let fake = FakeTelegram::start();
    let numbers: Vec<i64> = ["a", "b", "c", "d", "e"].iter().map(|text| fake.push_text(7, 7, text)).collect();
    let connection = telegram(&fake).connect().await.expect("connected");
    assert_eq!(connection.account, Account::new("telegram:4711"));
    let mut listener = connection.listener;
    listener.resume(None);

    let batch = listener.next().await.expect("a batch");
    assert_eq!(all_words(&batch), ["a", "b", "c", "d", "e"]);
    assert_eq!(batch[1].inbound.cursor, Some(Cursor::new(numbers[1].to_string())));
    for (offer, accepted) in batch.into_iter().zip([true, false, true, false, false]) {
        offer.receipt.settle(if accepted { Taken::Accepted } else { Taken::Later(Duration::from_millis(1)) });
    }
    let again = listener.next().await.expect("what was not accepted");
    assert_eq!(all_words(&again), ["b", "d", "e"]);
    assert_eq!(fake.unconfirmed(), numbers, "nothing was confirmed, not even what was accepted behind a gap");
    accept(again);

    fake.push_text(7, 7, "f");
    let next = listener.next().await.expect("the next batch");
    assert_eq!(all_words(&next), ["f"]);
    assert_eq!(offsets(&fake), [None, Some(numbers[4] + 1)]);
    assert_eq!(fake.unconfirmed(), [numbers[4] + 1]);
}

#[tokio::test]
async fn a_new_connection_starts_at_the_stored_cursor() {
    let fake = FakeTelegram::start();
    let first = fake.push_text(7, 7, "old");
    fake.push_text(7, 7, "new");
    let (mut listener, _) = connected(&fake, Some(first)).await;
    assert_eq!(all_words(&listener.next().await.expect("a batch")), ["new"]);
    let (mut listener, _) = connected(&fake, None).await;
    assert_eq!(all_words(&listener.next().await.expect("a batch")), ["new"], "what was confirmed is forgotten");
    let mut foreign = telegram(&fake).connect().await.expect("connected").listener;
    foreign.resume(Some(Cursor::new("s72594_4483")));
    assert_eq!(all_words(&foreign.next().await.expect("a batch")), ["new"], "a cursor that is none of Telegram's loses nothing");
}

#[tokio::test]
async fn one_strange_update_spoils_nothing() {
    let fake = FakeTelegram::start();
    fake.push_text(7, 7, "before");
    fake.push_update(json!({ "hologram": { "deep": [[[1]]] } }));
    fake.push_update(json!({ "message": "not an object" }));
    fake.push_message(json!({ "chat": { "id": 7, "type": "private" }, "sticker": {} }));
    fake.push_text(-100, 8, "/stop@otherbot");
    let last = fake.push_text(-100, 8, "/stop@ourbot");
    let (mut listener, _) = connected(&fake, None).await;
    let batch = listener.next().await.expect("a batch");
    assert_eq!(
        all_words(&batch),
        [
            "before",
            "(an update of a kind that was not asked for)",
            "(an update that cannot be decoded)",
            "(a message without words)",
            "(a command for another bot)",
            "/stop",
        ]
    );
    assert!(batch.iter().all(|offer| offer.inbound.cursor.is_some()), "each moves the cursor");
    accept(batch);
    assert_eq!(all_words(&listener.next().await.expect("an empty batch")), [""; 0], "a poll without news is an empty batch");
    assert_eq!(offsets(&fake).last(), Some(&Some(last + 1)));
    assert_eq!(fake.calls("getUpdates")[0].parameters["allowed_updates"], json!(["message"]));
}

#[tokio::test]
async fn numbers_may_start_anew() {
    let fake = FakeTelegram::start();
    fake.push_text(7, 7, "before the silence");
    let (mut listener, _) = connected(&fake, None).await;
    accept(listener.next().await.expect("a batch"));
    assert!(listener.next().await.expect("an empty poll").is_empty(), "which confirms the batch");
    fake.renumber_from(5);
    let low = fake.push_text(7, 7, "after it");
    // This poll still asks for the high number, which the server answers from its oldest.
    let batch = listener.next().await.expect("a batch");
    assert_eq!(all_words(&batch), ["after it"]);
    accept(batch);
    fake.push_text(7, 7, "and on");
    let batch = listener.next().await.expect("a batch");
    assert_eq!(all_words(&batch), ["and on"], "the same batch does not come for ever");
    assert_eq!(offsets(&fake).last(), Some(&Some(low + 1)));
}

#[tokio::test]
async fn every_way_to_fail_at_connecting() {
    let fake = FakeTelegram::start();
    let cases = [
        (Fault::Declined(401, "Unauthorized".into()), "token rejected (401). Check adapters.main.token"),
        (Fault::Declined(404, "Not Found".into()), "token rejected (404). Check adapters.main.token"),
        (Fault::Page(404), "answers 404, and not as Telegram does. Check adapters.main.api_root"),
        (Fault::Page(502), "answers 502, and not as Telegram does"),
        (Fault::Declined(500, "Internal\nServer Error".into()), "Telegram declines (500): Internal Server Error"),
        (Fault::TooMany(Some(7)), "Telegram asks to wait 7s"),
        (Fault::Garbage, "cannot be understood"),
        (Fault::HangUp, "connection lost"),
        (Fault::Hang, "no answer in time"),
    ];
    for (fault, expected) in cases {
        fake.fail_next("getMe", fault.clone());
        let limit = if matches!(fault, Fault::Hang) { Duration::from_millis(200) } else { BOUND };
        let error = telegram_with(&fake, fake.token(), limit).connect().await.err().expect("a failure");
        let told = error.to_string();
        assert!(told.starts_with("telegram adapter `main`: ") && told.contains(expected), "{fault:?}: {told}");
        assert!(!told.contains(fake.token()), "{told}");
        let wait = match &error {
            PlatformError::Broken { retry_after, .. } => *retry_after,
            _ => None,
        };
        assert_eq!(wait, matches!(fault, Fault::TooMany(_)).then_some(Duration::from_secs(7)));
        let refused = matches!(fault, Fault::Declined(401 | 404, _) | Fault::Page(404));
        assert_eq!(matches!(error, PlatformError::Refused { .. }), refused, "{told}");
    }
    let rejected = telegram_with(&fake, "4711:other", BOUND).connect().await.err().expect("a failure");
    assert!(rejected.to_string().contains("token rejected (401)"), "{rejected}");
    fake.go_away();
    let gone = telegram(&fake).connect().await.err().expect("a failure").to_string();
    assert!(gone.contains("cannot reach http://127.0.0.1") && !gone.contains(fake.token()), "{gone}");
    fake.come_back();
    let back = async { while telegram(&fake).connect().await.is_err() {} };
    tokio::time::timeout(BOUND, back).await.expect("it is there again");
}

#[tokio::test]
async fn a_second_poller_and_a_webhook_are_named() {
    let fake = FakeTelegram::start();
    let (mut listener, _) = connected(&fake, None).await;
    assert!(listener.next().await.expect("the first poll does not wait").is_empty());
    let waiting = tokio::spawn(async move { listener.next().await.map(|batch| batch.len()) });
    let polling = async {
        while fake.polling() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, polling).await.expect("the first polls");
    let (mut other, _) = connected(&fake, None).await;
    let (beaten, winner) = tokio::join!(waiting, other.next());
    let told = beaten.expect("no panic").expect_err("a conflict").to_string();
    assert!(told.contains("somebody else polls with the same token (409)") && told.contains("adapters.main.token"), "{told}");
    assert!(winner.expect("the later poll goes on").is_empty());

    let webhook = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
    fake.fail_next("getUpdates", Fault::Declined(409, webhook.into()));
    let error = other.next().await.expect_err("a conflict");
    assert!(matches!(error, PlatformError::Broken { .. }), "it is tried again: {error:?}");
    assert!(error.to_string().contains("a webhook is set for this bot") && error.to_string().contains("deleteWebhook"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_poll_hangs_up_and_loses_nothing() {
    let fake = FakeTelegram::start();
    let mut listener = telegram_polling(&fake, LONG_POLL).connect().await.expect("connected").listener;
    assert!(listener.next().await.expect("the first poll does not wait").is_empty());
    let polled = async {
        while fake.polling() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        batch = listener.next() => panic!("there is nothing to hear: {batch:?}"),
        () = polled => {}
    }
    let dropped = std::time::Instant::now();
    let hung_up = || fake.wait_for("the connection is closed", BOUND, |state| (state.polling() == 0).then_some(()));
    tokio::task::block_in_place(hung_up);
    assert!(dropped.elapsed() < LONG_POLL, "it was closed, and did not just end");
    fake.push_text(7, 7, "later");
    assert_eq!(all_words(&listener.next().await.expect("a batch")), ["later"]);
}

#[tokio::test]
async fn one_chat_that_fails_fails_alone() {
    let fake = FakeTelegram::start();
    let (_, speaker) = connected(&fake, None).await;
    fake.fail_chat(7, Some(Fault::TooMany(Some(60))));
    assert_eq!(speaker.send(out(7, "a")).await, Err(SpeakError::RetryAfter { after: Duration::from_secs(60), room_only: true }));
    speaker.send(out(8, "b")).await.expect("the others are heard");
    fake.fail_chat(7, None);
    speaker.send(out(7, "a")).await.expect("and so is it, once it is well again");
    fake.fail_always("sendMessage", Some(Fault::Page(503)));
    fake.fail_next("sendMessage", Fault::Slow(Duration::from_millis(1)));
    speaker.send(out(8, "late, but in the end")).await.expect("what waits in line comes first");
    speaker.send(out(8, "c")).await.expect_err("everybody fails");
    fake.fail_always("sendMessage", None);
    speaker.send(out(8, "c")).await.expect("and nobody");
    assert_eq!(fake.texts_in(8), ["b", "late, but in the end", "c"]);
}

#[tokio::test]
async fn a_message_is_sent_and_edited() {
    let fake = FakeTelegram::start();
    let (_, speaker) = connected(&fake, None).await;
    let mut first = out(-100, "*no* markup_");
    first.thread = Some(ThreadId::new("9"));
    first.reply_to = Some(MessageId::new("55"));
    let id = speaker.send(first.clone()).await.expect("sent");
    let sent = &fake.sent()[0];
    assert_eq!((sent.id.to_string().as_str(), sent.chat, sent.thread, sent.reply_to), (id.as_str(), -100, Some(9), Some(55)));
    let asked = &fake.calls("sendMessage")[0].parameters;
    assert_eq!(asked["reply_parameters"], json!({ "message_id": 55, "allow_sending_without_reply": true }));
    assert_eq!(asked["link_preview_options"], json!({ "is_disabled": true }));
    assert_eq!(asked.get("parse_mode"), None);

    first.text = "changed".into();
    speaker.edit(first.clone(), id.clone()).await.expect("edited");
    speaker.edit(first.clone(), id).await.expect("an edit to the same words is done already");
    assert_eq!(fake.texts_in(-100), ["changed"]);
    let error = speaker.edit(first, MessageId::new("999")).await.expect_err("there is no such message");
    assert_eq!(error, SpeakError::Refused("Telegram does not take the message (400): Bad Request: message to edit not found".into()));

    speaker.typing(RoomId::new("-100"), Some(ThreadId::new("9"))).await;
    assert_eq!(fake.calls("sendChatAction")[0].parameters, json!({ "chat_id": -100, "message_thread_id": 9, "action": "typing" }));
    fake.fail_next("sendChatAction", Fault::Page(500));
    speaker.typing(RoomId::new("7"), None).await;
}

#[test]
fn a_configuration_can_be_printed() {
    let config = TelegramConfig {
        adapter: "main".into(),
        token: "123:SECRET".into(),
        api_root: "http://h".into(),
        poll: LONG_POLL,
        call_limit: BOUND,
    };
    let printed = format!("{config:?}");
    assert!(printed.contains("main") && !printed.contains("SECRET"), "{printed}");
}

#[tokio::test]
async fn every_way_to_fail_at_sending() {
    let fake = FakeTelegram::start();
    let wait = |seconds| SpeakError::RetryAfter { after: Duration::from_secs(seconds), room_only: true };
    let refused = |words: &str| SpeakError::Refused(words.into());
    let long = "x".repeat(300);
    let cases = [
        (Fault::TooMany(Some(35)), wait(35)),
        (Fault::TooMany(None), wait(1)),
        (Fault::TooMany(Some(1_000_000)), wait(3600)),
        (
            Fault::Declined(403, "Forbidden: bot was blocked by the user".into()),
            refused("the bot may not write there (403): Forbidden: bot was blocked by the user"),
        ),
        (Fault::Declined(400, long), refused(&format!("Telegram does not take the message (400): {}…", "x".repeat(200)))),
        (Fault::Declined(401, "Unauthorized".into()), SpeakError::Broken("Telegram rejects the token (401)".into())),
        (Fault::Page(403), SpeakError::Broken("something before Telegram answers 403".into())),
        (Fault::Page(502), SpeakError::Unknown("something before Telegram answers 502".into())),
        (Fault::Declined(500, "Oops".into()), SpeakError::Unknown("Telegram is in trouble (500): Oops".into())),
        (Fault::Garbage, SpeakError::Unknown("its answer cannot be understood".into())),
        (Fault::Hang, SpeakError::Unknown("no answer in time".into())),
    ];
    let connection = telegram(&fake).connect().await.expect("connected");
    let impatient = Mouth::new(Arc::clone(&telegram_with(&fake, fake.token(), Duration::from_millis(300)).api));
    for (fault, expected) in cases {
        fake.fail_next("sendMessage", fault.clone());
        let speaker: &dyn Speaker = if matches!(fault, Fault::Hang) { &impatient } else { &*connection.speaker };
        assert_eq!(speaker.send(out(7, "hello")).await, Err(expected), "{fault:?}");
        assert!(fake.sent().is_empty(), "{fault:?}");
    }
    for (fault, delivered) in [(Fault::HangUp, 0), (Fault::LoseAnswer, 1)] {
        fake.fail_next("sendMessage", fault.clone());
        let error = connection.speaker.send(out(7, "hello")).await.expect_err("the connection was lost");
        assert!(matches!(error, SpeakError::Unknown(_)), "nobody knows: {error:?}");
        assert!(!error.to_string().contains(fake.token()), "{error}");
        assert_eq!(fake.texts_in(7).len(), delivered, "{fault:?}");
    }
    let error = connection.speaker.send(out(7, " ")).await.expect_err("nothing to say");
    assert_eq!(error, refused("Telegram does not take the message (400): Bad Request: message text is empty"));
    fake.go_away();
    let gone = telegram_gone(&fake).await;
    assert!(matches!(gone, SpeakError::Broken(_)), "nothing was written: {gone:?}");
}

/// The failure of a send over a new connection to a server that is gone; a pooled connection may still be dying.
async fn telegram_gone(fake: &FakeTelegram) -> SpeakError {
    let telegram = telegram(fake);
    Mouth::new(Arc::clone(&telegram.api)).send(out(7, "hello")).await.expect_err("nobody is there")
}

#[tokio::test]
async fn a_group_that_became_a_supergroup_is_followed() {
    let fake = FakeTelegram::start();
    let (_, speaker) = connected(&fake, None).await;
    fake.migrate(-5, -1005);
    speaker.send(out(-5, "hello")).await.expect("sent to the supergroup");
    assert_eq!(fake.texts_in(-1005), ["hello"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_chats_at_once() {
    let fake = FakeTelegram::start();
    for chat in 1..=1000 {
        fake.push_text(chat, chat, &format!("hello from {chat}"));
    }
    let (mut listener, speaker) = connected(&fake, None).await;
    let mut heard = 0;
    while heard < 1000 {
        let batch = listener.next().await.expect("a batch");
        heard += batch.len();
        let sends = batch.iter().map(|offer| match &offer.inbound.content {
            Content::Message(said) => speaker.send(Outgoing { room: said.room.clone(), ..out(0, "hi") }),
            Content::Nothing { reason } => panic!("{reason}"),
        });
        assert!(join_all(sends).await.iter().all(Result::is_ok));
        accept(batch);
    }
    assert_eq!((heard, fake.sent().len()), (1000, 1000));
    let mut ids: Vec<i64> = fake.sent().iter().map(|sent| sent.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}
