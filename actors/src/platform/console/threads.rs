//! The console's two threads. A read from a terminal cannot be cancelled, and a write blocks for as long as the terminal is held
//! (Ctrl-S): neither may sit on a runtime, whose end would wait for it.

use std::io::{self, BufRead, Read, Write};

use tokio::sync::{mpsc, oneshot};

/// Lines, or texts, that wait between a thread and the runtime.
const QUEUE: usize = 64;
/// The longest line that is read as one; what is behind it becomes the next.
const MAX_LINE: u64 = 1 << 20;

/// Lines as they are typed, without their ends; empty ones are left out.
pub(super) struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// The next line; `None` at the end of input.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }
}

/// Starts to read what `reader` makes. When nobody wants lines any more, the thread ends at its next one.
pub(super) fn read<R: BufRead>(reader: impl FnOnce() -> R + Send + 'static) -> io::Result<Lines> {
    let (sender, lines) = mpsc::channel(QUEUE);
    std::thread::Builder::new().name("console input".into()).spawn(move || {
        let mut reader = reader();
        loop {
            match line(&mut reader) {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the console cannot be read any more");
                    return;
                }
            }
        }
    })?;
    Ok(Lines(lines))
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned()))
}

/// Texts on their way to the terminal, in order.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Text>);

struct Text {
    text: String,
    written: oneshot::Sender<io::Result<()>>,
}

impl Writer {
    /// Writes a text, and returns when it is out.
    pub(super) async fn write(&self, text: String) -> io::Result<()> {
        let (written, done) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Text { text, written }).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

/// Starts to write to `writer`, until nobody has anything to write any more.
pub(super) fn write(mut writer: impl Write + Send + 'static) -> io::Result<Writer> {
    let (sender, mut texts) = mpsc::channel::<Text>(QUEUE);
    std::thread::Builder::new().name("console output".into()).spawn(move || {
        while let Some(Text { text, written }) = texts.blocking_recv() {
            let result = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
            // Whoever gave up waiting reads it on the terminal.
            let _ = written.send(result);
        }
    })?;
    Ok(Writer(sender))
}
