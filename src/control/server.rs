//! The gateway's half of the control socket: a file that only we may open, few clients, short lines, short waits.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::descent::descends;
use super::{Envelope, Handle, MOST_BYTES, NOT_FROM_WITHIN, Response};
use crate::caller::Caller;
use crate::config::Control;

/// A pause after an accept that failed (too many open files): the error does not go away by asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A socket that is listened on; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// The control socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("control socket {path}: {what} ({source}). Set control.socket to a path in a directory that the gateway can write")]
pub struct SocketError {
    path: String,
    what: &'static str,
    source: io::Error,
}

impl Socket {
    /// Listens at `path`. A file left by a dead gateway is replaced, that of a live one is not. Needs a tokio runtime.
    ///
    /// # Errors
    /// When somebody listens there, or the file cannot be made.
    pub fn listen(path: &Path) -> Result<Self, SocketError> {
        let broken = |what| move |source| SocketError { path: path.display().to_string(), what, source };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(broken("another gateway listens there")(io::ErrorKind::AddrInUse.into()));
        }
        // Made under another name, so that under its own it was never open to others; the rename replaces a dead one.
        let beside = path.with_extension("new");
        _ = std::fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside).map_err(broken("it cannot be made"))?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(broken("it cannot be made private"))?;
        std::fs::rename(&beside, path).map_err(broken("it cannot be put in place"))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers clients until it is dropped.
    pub async fn serve(self, handler: Arc<dyn Handle>, control: &Control) {
        let room = Arc::new(Semaphore::new(control.connections as usize));
        let limit = control.limit;
        let mut clients = tokio::task::JoinSet::new(); // ends them with the server
        loop {
            while clients.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a control client cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Without room the client sees the end of the connection, and says that the gateway is busy.
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
            let handler = Arc::clone(&handler);
            clients.spawn(async move {
                if let Err(error) = attend(stream, &*handler, limit).await {
                    tracing::debug!(%error, "a control client is gone");
                }
                drop(permit);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path); // gone already: fine
    }
}

/// Answers one client, request by request.
async fn attend(stream: UnixStream, handler: &dyn Handle, limit: Duration) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stream).take(MOST_BYTES as u64);
        if timeout(limit, bounded.read_until(b'\n', &mut line)).await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Ok(());
        }
        let response = match line.last() {
            Some(b'\n') => answer(&line, &peer, handler, limit).await,
            _ => Response::NotUnderstood { reason: "the line is too long, or has no end".into() },
        };
        let whole = line.ends_with(b"\n");
        let text = serde_json::to_string(&response).map_err(io::Error::other)? + "\n";
        timeout(limit, stream.write_all(text.as_bytes())).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if !whole {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], peer: &UCred, handler: &dyn Handle, limit: Duration) -> Response {
    let refused = |reason: &str| Response::Refused { reason: reason.into() };
    let request = match Envelope::read(line) {
        Ok(request) => request,
        Err(reason) => return Response::NotUnderstood { reason },
    };
    // The file's mode says the same; but it may have been changed, or the directory's owner be another.
    if !matches!(peer.uid(), 0) && peer.uid() != rustix::process::geteuid().as_raw() {
        return refused("only the gateway's own user and root may control it");
    }
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    if request.acts() && pid.is_some_and(|pid| descends(pid, std::process::id())) {
        return refused(NOT_FROM_WITHIN);
    }
    let caller = Caller::of(pid, peer.uid());
    match timeout(limit, handler.handle(request, &caller)).await {
        Ok(response) => response,
        Err(_) => Response::NotAchieved { reason: format!("no answer from within the gateway in {}", humantime::format_duration(limit)) },
    }
}
