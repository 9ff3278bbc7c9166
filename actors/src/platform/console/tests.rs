//! The console from outside, over pipes.

use std::io::{BufReader, Cursor as Bytes, Write as _, pipe};
use std::time::Duration;

use super::*;
use crate::ids::{OutboxId, Seq};
use crate::platform::{Taken, Voice};

async fn connected(console: &Console) -> Connection {
    console.connect().await.expect("a console always connects")
}

fn text(offer: &Offer) -> &str {
    match &offer.inbound.content {
        Content::Message(said) => &said.text,
        Content::Nothing { reason } => panic!("a line is a message, not {reason}"),
    }
}

fn out(text: &str) -> Outgoing {
    let key = OutboxId(Seq(1));
    Outgoing { room: RoomId::new("local"), thread: None, text: text.into(), key, voice: Voice::Agent, draft: false, reply_to: None }
}

/// The one offer of the next batch.
async fn one(connection: &mut Connection) -> Offer {
    let mut batch = connection.listener.next().await.expect("a line");
    assert_eq!(batch.len(), 1);
    batch.remove(0)
}

#[tokio::test]
async fn a_line_is_echoed_only_after_it_was_accepted() {
    let (reader, writer) = pipe().expect("a pipe");
    let mut screen = BufReader::new(reader);
    let console = Console::new(|| Bytes::new("hello\r\n\n  \nbye\n"), writer).expect("threads");
    let mut connection = connected(&console).await;
    connection.listener.resume(None);

    let first = one(&mut connection).await;
    let delivery = first.inbound.delivery.clone();
    assert_eq!(text(&first), "hello");
    first.receipt.settle(Taken::Later(Duration::from_millis(1)));
    let again = one(&mut connection).await;
    assert_eq!((text(&again), &again.inbound.delivery), ("hello", &delivery), "the same line, under the same id");
    // Not accepted yet: the first thing on the screen is what is sent now, not the echo.
    connection.speaker.send(out("a notice")).await.expect("written");
    again.receipt.settle(Taken::Accepted);

    let second = one(&mut connection).await;
    assert_eq!(text(&second), "bye", "empty lines are no messages");
    assert_ne!(second.inbound.delivery, delivery);
    second.receipt.settle(Taken::Accepted);
    assert_eq!(connection.listener.next().await.expect_err("the end of input"), PlatformError::Closed);
    connection.speaker.send(out("the last word")).await.expect("the way out stays open after the end of input");

    let lines: Vec<String> = (0..4).map(|_| read_line(&mut screen)).collect();
    assert_eq!(lines, ["a notice", "✓ hello", "✓ bye", "the last word"]);
}

fn read_line(screen: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    screen.read_line(&mut line).expect("a line on the screen");
    line.trim_end().to_owned()
}

#[tokio::test]
async fn g23_an_agents_words_command_no_terminal() {
    let (reader, writer) = pipe().expect("a pipe");
    let console = Console::new(std::io::empty, writer).expect("threads");
    connected(&console).await.speaker.send(out("a list:\n\t1\x1b[2J\x1b]0;title\x07\u{202e}")).await.expect("written");
    let mut screen = BufReader::new(reader);
    let lines: Vec<String> = (0..2).map(|_| read_line(&mut screen)).collect();
    assert_eq!(lines, ["a list:", "\t1\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{202e}"]);
}

#[tokio::test]
async fn a_line_that_was_read_survives_a_new_connection() {
    let console = Console::new(|| Bytes::new("hello\n"), std::io::sink()).expect("threads");
    let mut connection = connected(&console).await;
    let lost = one(&mut connection).await;
    let delivery = lost.inbound.delivery.clone();
    lost.receipt.settle(Taken::Later(Duration::ZERO));
    drop(connection);
    let mut connection = connected(&console).await;
    assert_eq!(one(&mut connection).await.inbound.delivery, delivery);
}

#[tokio::test]
async fn a_terminal_that_nobody_types_at_holds_nothing_up() {
    let (reader, mut keyboard) = pipe().expect("a pipe");
    let console = Console::new(move || BufReader::new(reader), std::io::sink()).expect("threads");
    let mut connection = connected(&console).await;
    tokio::time::timeout(Duration::from_millis(20), connection.listener.next()).await.expect_err("nothing was typed");
    keyboard.write_all("grüße\n".as_bytes()).expect("typed");
    assert_eq!(text(&one(&mut connection).await), "grüße");
}

#[tokio::test]
async fn nobody_at_the_other_end_is_not_delivered() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let console = Console::new(std::io::empty, writer).expect("threads");
    let error = connected(&console).await.speaker.send(out("hello")).await.expect_err("nobody reads");
    assert!(matches!(error, SpeakError::Broken(_)), "{error}");
}
