//! The operator's half of the control socket. Blocking: a command has nothing else to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use serde::{Deserialize, Serialize};

use super::{Envelope, MOST_BYTES, Request, Response};
use crate::invocation::command;

/// An answer takes at most this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a gateway may listen, in the order to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets(pub Vec<PathBuf>);

/// The process that listens, as the kernel knows it: what a gateway says of itself may be a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process; none where it is in another namespace.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no gateway is running (tried {tried}). Start it with `{}`, or name its socket with --socket", command("run"))]
    NoGateway {
        /// Where.
        tried: String,
    },
    /// Somebody listens, and we may not speak.
    #[error("{path}: permission denied. Run this as the gateway's user or as root")]
    Denied {
        /// Where.
        path: String,
    },
    /// The gateway hung up, or does not answer.
    #[error("{path}: {source}. The gateway may be busy or going down; try again")]
    Broken {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Sockets {
    /// Only the place where its own configuration has a gateway listen.
    pub fn own(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// Asks the first gateway that listens.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn ask(&self, request: &Request) -> Result<Response, AskError> {
        self.find(request).map(|(response, _)| response)
    }

    /// As [`ask`](Self::ask), and where it was answered. Whoever goes on with that gateway asks there alone: while it is gone, another one may answer
    /// elsewhere.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn find(&self, request: &Request) -> Result<(Response, Self), AskError> {
        self.find_peer(request).map(|(response, there, _)| (response, there))
    }

    /// As [`find`](Self::find), and which process answered.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn find_peer(&self, request: &Request) -> Result<(Response, Self, Peer), AskError> {
        let mut denied = None;
        for path in &self.0 {
            let stream = match UnixStream::connect(path) {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    denied.get_or_insert(AskError::Denied { path: path.display().to_string() });
                    continue;
                }
                Err(_) => continue, // nobody there, or a file left behind
            };
            let answer = peer(&stream).and_then(|peer| Ok((exchange(stream, request)?, peer)));
            let answer = answer.map_err(|source| AskError::Broken { path: path.display().to_string(), source });
            return answer.map(|(answer, peer)| (answer, Self(vec![path.clone()]), peer));
        }
        let tried = self.0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Err(denied.unwrap_or(AskError::NoGateway { tried }))
    }
}

/// unix(7), `SO_PEERCRED`: who called listen(2).
fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let found = getsockopt(stream, PeerCredentials)?;
    Ok(Peer { pid: u32::try_from(found.pid()).ok().filter(|pid| *pid > 0), uid: found.uid(), gid: found.gid() })
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Response> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(Envelope::write(request).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MOST_BYTES as u64)).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up"));
    }
    serde_json::from_str(&line)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("its answer is not understood ({error})")))
}
