//! A program that we run and hear to its end: bounded in time and in words, whatever it does.

use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// It may take so long: a large ledger is copied and brought up to date in it.
const LIMIT: Duration = Duration::from_secs(600);
/// Of each of its two outputs so much is kept.
const MOST_WORDS: u64 = 1 << 20;
/// Once it has ended, what it left may hold its outputs for so long.
const LEFT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Printed {
    /// Its code; none where it was killed.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Printed {
    /// Both.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a program that is told `given`, to its end.
///
/// # Errors
/// When it cannot be run, or does not end in time.
pub fn run(command: &mut Command, given: &[u8]) -> Result<Printed, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let broken = |error: std::io::Error| format!("{program}: it cannot be run ({error})");
    let input = if given.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(broken)?;
    // As it comes: one that says more than a pipe holds would never end.
    let readers = [read(child.stdout.take()), read(child.stderr.take())];
    // One that does not listen says why.
    _ = child.stdin.take().map(|mut pipe| pipe.write_all(given));
    let until = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(broken)? {
            break status;
        }
        if Instant::now() >= until {
            // With what it started, where it has a group of its own: that number is its, as long as it is not waited for.
            _ = i32::try_from(child.id()).map(|pid| killpg(Pid::from_raw(pid), Signal::SIGKILL));
            child.kill().and_then(|()| child.wait()).map_err(broken)?;
            return Err(format!("{program}: it did not end within {}", humantime::format_duration(LIMIT)));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let [out, err] = readers.map(|reader| reader.recv_timeout(LEFT));
    let (Ok(out), Ok(err)) = (out, err) else { return Err(format!("{program}: it ended, and left somebody who holds what it says")) };
    Ok(Printed { code: status.code(), out, err })
}

fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (said, heard) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read was not said; what is too much is heard and forgotten.
        if let Some(mut pipe) = pipe {
            _ = pipe.by_ref().take(MOST_WORDS).read_to_end(&mut bytes);
            _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        _ = said.send(String::from_utf8_lossy(&bytes).into_owned()); // nobody waits any more: fine
    });
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_says_much_is_heard_to_its_end() {
        let check = |bytes: usize, kept: usize| {
            let much = format!("yes | head -c {bytes}; yes | head -c {bytes} >&2; exit 3");
            let printed = run(Command::new("sh").args(["-c", &much]), b"").expect("a shell");
            assert_eq!((printed.code, printed.out.len(), printed.err.len()), (Some(3), kept, kept));
        };
        check(300_000, 300_000);
        check(3 << 20, 1 << 20);
    }

    #[test]
    fn one_is_told_what_it_is_given_and_may_not_listen() {
        let given = vec![b'x'; 200_000];
        let printed = run(Command::new("wc").arg("-c"), &given).expect("it is everywhere");
        assert_eq!(printed.out.trim(), "200000");
        assert_eq!(run(&mut Command::new("true"), &given).expect("it is everywhere").code, Some(0));
    }
}
