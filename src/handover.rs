//! A restart in place: this process becomes the new image, and hands it its lock and its listening sockets, so that no connection is refused and
//! nobody else can take the state directory in between.
//!
//! The descriptors lose CLOEXEC only right before `execve`. Signals are blocked in every thread but the one that hears them, and when that is closed
//! in all (`signals`): one that arrives until the new image has handlers stays pending across `execve` and is heard by it.

use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::config::Variables;
use crate::lock::InstanceLock;

/// Names what was handed over: the process, the lock, the listeners. Only meant for the very process that it names.
pub(crate) const VARIABLE: &str = "SWITCHBOARD_HANDOVER";

/// What the next image gets.
pub struct Handover {
    /// The instance lock, held all the time.
    pub lock: InstanceLock,
    /// The listening sockets.
    pub listeners: Vec<TcpListener>,
}

impl Handover {
    /// What the image before left for us, if it did.
    pub fn take(variables: &Variables) -> Option<Self> {
        let numbers = parse(variables.get(VARIABLE)?, std::process::id())?;
        let mut handed = numbers.into_iter().map(adopt);
        let lock = InstanceLock::adopt(handed.next()?.ok()?);
        let listeners = handed.map(|fd| fd.map(TcpListener::from)).collect::<io::Result<Vec<_>>>().ok()?;
        Some(Self { lock, listeners })
    }
}

/// The numbers of the descriptors, the lock's first, if the text is meant for process `pid`: `PID:LOCK[,LISTENER…]`.
fn parse(text: &str, pid: u32) -> Option<Vec<RawFd>> {
    let (process, numbers) = text.split_once(':')?;
    (process.parse() == Ok(pid)).then_some(())?;
    numbers.split(',').map(|number| number.parse().ok().filter(|number| *number > 2)).collect()
}

/// Takes a descriptor that the image before, or the service manager, left open for us.
#[allow(unsafe_code)]
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // It is open, or this fails; it is nobody else's, since this image has only begun and opened nothing that outlives this look.
    let path = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
    tracing::debug!(number, path = %path.display(), "descriptor adopted");
    // SAFETY: the number names an open descriptor (looked up above) that the image before left for exactly one owner, this one.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// What was started: the program as it was named, so that a link to the current version is followed anew.
#[derive(Clone, Debug)]
pub struct Image {
    path: CString,
    arguments: Vec<CString>,
    variables: Variables,
}

impl Image {
    /// What this process was started as. To be asked early: a relative name means something else in another directory.
    ///
    /// # Errors
    /// When the program is not where its name says.
    pub fn of_this_process(variables: &Variables) -> io::Result<Self> {
        let name = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        let path = if name.components().count() > 1 {
            std::path::absolute(&name)?
        } else {
            let paths = variables.get("PATH").cloned().unwrap_or_default();
            let found = std::env::split_paths(&paths).map(|folder| folder.join(&name)).find(|path| path.is_file());
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{} is not in PATH", name.display())))?
        };
        let text = |bytes: &std::ffi::OsStr| CString::new(bytes.as_bytes()).map_err(|_| io::Error::other("an argument holds a zero byte"));
        Ok(Self {
            path: text(path.as_os_str())?,
            arguments: std::env::args_os().map(|argument| text(&argument)).collect::<io::Result<_>>()?,
            variables: variables.clone(),
        })
    }

    /// Becomes the new image. Returns only when that fails. Nobody hears signals any more: they wait for the new image.
    pub fn become_it(mut self, handover: Handover) -> io::Error {
        let Handover { lock, listeners } = handover;
        let handed: Vec<_> = std::iter::once(lock.as_fd()).chain(listeners.iter().map(AsFd::as_fd)).collect();
        let numbers: Vec<String> = handed.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        self.variables.insert(VARIABLE.into(), format!("{}:{}", std::process::id(), numbers.join(",")));
        let variables: Vec<CString> =
            self.variables.iter().filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok()).collect();
        for fd in &handed {
            if let Err(error) = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()) {
                return error.into();
            }
        }
        switchboard_actors::open_files::restore();
        match nix::unistd::execve(&self.path, &self.arguments, &variables) {
            Ok(never) => match never {},
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_is_only_for_the_process_that_it_names() {
        let check = |text: &str, expected: Option<Vec<RawFd>>| assert_eq!(parse(text, 7), expected, "{text:?}");
        check("7:4,5,6", Some(vec![4, 5, 6]));
        check("7:4", Some(vec![4]));
        check("8:4,5", None);
        check("7:", None);
        check("7:1,5", None);
        check("7:4,x", None);
        check("", None);
    }
}
