//! Enter, pressed at the terminal that the gateway was started in. A thread waits for it, which keeps nobody from ending.
//!
//! As a job in the background the gateway must neither take what is typed for the shell, nor be stopped for trying: with SIGTTIN blocked, the system
//! refuses the read instead (EIO, see "Job control" in tty_ioctl(4) and read(2)).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use rustix::event::{PollFd, PollFlags, poll};

/// What is typed for others is not looked at again before.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls `pressed` for each line that is typed, until the terminal is gone.
///
/// # Errors
/// When the system has no thread to give.
pub(super) fn heard(pressed: impl Fn() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("enter".into()).spawn(move || listen(&pressed)).map(|_| ())
}

fn listen(pressed: &dyn Fn()) {
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTIN);
    if pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&stops), None).is_err() {
        return;
    }
    let stdin = io::stdin();
    let mut typed = [0; 256];
    loop {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        if poll(&mut ready, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        if ready[0].revents().intersects(PollFlags::HUP | PollFlags::NVAL) {
            return;
        }
        match rustix::io::read(stdin.as_fd(), &mut typed) {
            Ok(0) => return,
            Ok(length) if typed[..length].contains(&b'\n') => pressed(),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::IO) => std::thread::sleep(PAUSE),
            Err(_) => return,
        }
    }
}
