//! Signals: what the first, the second and the third of them mean, and the thread that hears them.
//!
//! | signal | no shutdown under way | during one |
//! |---|---|---|
//! | SIGTERM, SIGINT, first | stop | joins it (a restart becomes a stop) |
//! | … second | | hurry: the drain's remaining time becomes zero |
//! | … third | | exit at once |
//! | SIGUSR1 | restart | ignored |
//! | SIGHUP | the configuration is read again | ignored |
//!
//! Only SIGTERM and SIGINT are counted; equal ones within half a second are one. The third is carried out by the thread that
//! hears it, so that it works while every runtime hangs. It is the only one that gets any, so that it can stop hearing without losing one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Origin, Process};
use switchboard_actors::last_words::Cause;
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::exit::Exit;
use crate::scribe::Scribe;
use crate::watchdog::Watchdog;

/// A terminal and a service manager often send the same signal twice; nobody presses twice so fast on purpose.
const TOGETHER: Duration = Duration::from_millis(500);
/// Effects that wait for the gateway to look.
const WAITING: usize = 16;

/// A signal that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// From service managers.
    Term,
    /// From terminals.
    Int,
    /// From operators.
    Usr1,
    /// From operators, and from terminals that go away.
    Hup,
}

impl Signal {
    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Term => "SIGTERM",
            Signal::Int => "SIGINT",
            Signal::Usr1 => "SIGUSR1",
            Signal::Hup => "SIGHUP",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a signal comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Stop; joins a shutdown that is under way.
    Stop(Signal),
    /// Come back anew.
    Restart(Signal),
    /// The drain's remaining time becomes zero.
    Hurry(Signal),
    /// End the process now.
    ExitNow(Signal),
    /// Read the configuration again.
    Reload(Signal),
    /// Nothing: one that means nothing during a shutdown.
    Ignored(Signal),
}

/// What a signal came to, and who sent it, in words; a terminal's has no sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What to do.
    pub effect: Effect,
    /// The process that sent it.
    pub sender: Option<String>,
}

/// Counts signals. A repeat of one that counts has no effect at all within half a second.
#[derive(Debug, Default)]
pub struct Presses {
    counted: u32,
    last: Vec<(Signal, Duration)>,
}

impl Presses {
    /// Takes one signal at `now`, a time since any fixed moment; `going_down`: a shutdown is under way, whoever asked for it.
    pub fn step(&mut self, now: Duration, signal: Signal, going_down: bool) -> Vec<Effect> {
        vec![match signal {
            Signal::Term | Signal::Int => {
                if self.last.iter().any(|(last, at)| *last == signal && now.saturating_sub(*at) < TOGETHER) {
                    return Vec::new();
                }
                self.last.retain(|(last, _)| *last != signal);
                self.last.push((signal, now));
                self.counted += 1;
                match self.counted {
                    1 => Effect::Stop(signal),
                    2 => Effect::Hurry(signal),
                    _ => Effect::ExitNow(signal),
                }
            }
            // A counted signal is a shutdown under way, even when nobody has said so yet.
            Signal::Usr1 | Signal::Hup if going_down || self.counted > 0 => Effect::Ignored(signal),
            Signal::Usr1 => Effect::Restart(signal),
            Signal::Hup => Effect::Reload(signal),
        }]
    }
}

/// What the process is about to do, for those who end it from outside every runtime. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Intent(Arc<AtomicU8>);

impl Intent {
    /// A shutdown is under way that ends in `exit`; to be told again when it becomes another.
    pub fn going_down(&self, exit: Exit) {
        self.0.store(exit.code() + 1, Ordering::Release);
    }

    /// The code of the shutdown that is under way.
    pub fn exit_code(&self) -> Option<u8> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }
}

/// Blocks the signals that are heard here in this thread and all that it starts from now on, so that only the thread that hears them gets them.
/// To be called before the process has other threads.
///
/// # Errors
/// When the system refuses.
pub fn block() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&ours()), None)?)
}

fn ours() -> SigSet {
    SigSet::from_iter([nix::sys::signal::SIGTERM, nix::sys::signal::SIGINT, nix::sys::signal::SIGUSR1, nix::sys::signal::SIGHUP])
}

/// The thread that hears signals.
#[derive(Debug)]
pub struct Ear {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Ear {
    /// Hears no more. What came before is told in the [`Intent`]; what comes from now on is pending for the image that this process becomes.
    pub fn close(self) {
        self.handle.close();
        _ = self.thread.join(); // one that panicked hears nothing either
    }
}

/// Begins to hear signals. What they come to arrives in the channel; the third ends the process by itself, with the code of the
/// intent, and a last word on who sent it.
///
/// A first wish to go arms the watchdog here, so that the process ends `within` of it even if the gateway no longer hears anything.
///
/// # Errors
/// When the system refuses a handler or a thread.
pub fn listen(
    intent: Intent,
    watchdog: Watchdog,
    within: impl Fn() -> Duration + Send + 'static,
    scribe: Scribe,
) -> io::Result<(Ear, mpsc::Receiver<Heard>)> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    let handle = signals.handle();
    let (effects, heard) = mpsc::channel(WAITING);
    let mut listener = Listener { start: Instant::now(), presses: Presses::default(), intent, watchdog, within, scribe, effects };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Err(error) = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&ours()), None) {
            tracing::error!(%error, "signals cannot be heard");
        }
        for origin in signals.forever() {
            listener.hear(&origin);
        }
        // From here on they are pending in the kernel; what was let in before that is in the pipe.
        if let Err(error) = block() {
            tracing::error!(%error, "signals cannot be blocked");
        }
        for origin in signals.pending() {
            listener.hear(&origin);
        }
    })?;
    Ok((Ear { handle, thread }, heard))
}

/// What the thread works with.
struct Listener<W> {
    start: Instant,
    presses: Presses,
    intent: Intent,
    watchdog: Watchdog,
    within: W,
    scribe: Scribe,
    effects: mpsc::Sender<Heard>,
}

impl<W: Fn() -> Duration> Listener<W> {
    fn hear(&mut self, origin: &Origin) {
        let signal = match origin.signal {
            SIGTERM => Signal::Term,
            SIGINT => Signal::Int,
            SIGUSR1 => Signal::Usr1,
            _ => Signal::Hup,
        };
        for effect in self.presses.step(self.start.elapsed(), signal, self.intent.exit_code().is_some()) {
            match effect {
                Effect::ExitNow(_) => self.exit_now(signal, origin),
                Effect::Stop(_) | Effect::Restart(_) => {
                    let exit = if matches!(effect, Effect::Stop(_)) { Exit::Done } else { Exit::Restart };
                    // One that joins changes what was wanted, not the time that was granted.
                    self.watchdog.arm(if self.intent.exit_code().is_none() { (self.within)() } else { Duration::MAX }, exit);
                    self.intent.going_down(exit);
                }
                // One that waits to be carried out reads the configuration as it is then; the other places are for those who end things.
                Effect::Reload(_) if self.effects.capacity() <= WAITING / 2 => continue,
                Effect::Hurry(_) | Effect::Reload(_) | Effect::Ignored(_) => {}
            }
            // A full channel means that the gateway hangs: the next signal but one ends it.
            _ = self.effects.try_send(Heard { effect, sender: origin.process.as_ref().map(|process| sender(process).to_string()) });
        }
    }

    fn exit_now(&self, signal: Signal, origin: &Origin) {
        // More of them would interrupt the wait for the last word again and again, which makes a sleep longer and longer (its timer's slack is
        // added each time). Where that fails it goes on as well.
        _ = block();
        let code = self.intent.exit_code().unwrap_or(Exit::Done.code());
        let signal = match &origin.process {
            Some(process) => format!("{signal} from {}", sender(process)),
            None => signal.to_string(),
        };
        self.scribe.last_word(code, Cause::ThirdSignal { signal });
        signal_hook::low_level::exit(i32::from(code));
    }
}

fn sender(process: &Process) -> Caller {
    Caller::of(u32::try_from(process.pid).ok(), process.uid)
}

#[cfg(test)]
mod tests {
    use super::Effect::*;
    use super::Signal::*;
    use super::*;

    /// Signals at their milliseconds, while a shutdown is under way or not, and all that they come to.
    fn check(signals: &[(u64, Signal, bool)], expected: &[Effect]) {
        let mut presses = Presses::default();
        let got: Vec<Effect> =
            signals.iter().flat_map(|(at, signal, down)| presses.step(Duration::from_millis(*at), *signal, *down)).collect();
        assert_eq!(got, expected, "{signals:?}");
    }

    #[test]
    fn g13_a_second_signal_hurries_and_a_third_exits() {
        check(&[(0, Term, false)], &[Stop(Term)]);
        check(&[(0, Term, false), (499, Term, true)], &[Stop(Term)]);
        check(&[(0, Term, false), (500, Term, true)], &[Stop(Term), Hurry(Term)]);
        check(&[(0, Term, false), (400, Term, true), (800, Term, true)], &[Stop(Term), Hurry(Term)]);
        check(&[(0, Term, false), (1, Int, true), (2, Int, true)], &[Stop(Term), Hurry(Int)]);
        check(&[(0, Int, false), (600, Int, true), (1200, Int, true)], &[Stop(Int), Hurry(Int), ExitNow(Int)]);
        check(&[(0, Int, false), (1, Term, true), (600, Int, true)], &[Stop(Int), Hurry(Term), ExitNow(Int)]);
    }

    #[test]
    fn a_restart_under_way_is_joined_by_the_first_stop() {
        check(&[(0, Usr1, false), (900, Term, true), (1800, Term, true)], &[Restart(Usr1), Stop(Term), Hurry(Term)]);
    }

    #[test]
    fn restart_and_reload_mean_nothing_while_going_down() {
        check(&[(0, Usr1, true), (0, Hup, true)], &[Ignored(Usr1), Ignored(Hup)]);
        check(&[(0, Term, false), (1, Usr1, false)], &[Stop(Term), Ignored(Usr1)]);
        check(&[(0, Hup, false), (10, Usr1, false)], &[Reload(Hup), Restart(Usr1)]);
    }

    #[test]
    fn g29_every_wish_to_reload_is_heard() {
        // The file may have been edited in between: a reload that is over did not read that.
        check(&[(0, Hup, false), (300, Hup, false), (301, Hup, false)], &[Reload(Hup), Reload(Hup), Reload(Hup)]);
    }

    #[test]
    fn the_intent_is_not_confused_with_none() {
        let intent = Intent::default();
        assert_eq!(intent.exit_code(), None);
        intent.going_down(Exit::Done);
        assert_eq!(intent.exit_code(), Some(0));
        intent.going_down(Exit::Restart);
        assert_eq!(intent.exit_code(), Some(75));
    }
}
