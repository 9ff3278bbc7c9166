//! Where the gateway under load lives: a state directory on the real disk, and the servers that it speaks to.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use switchboard_actors::testkit::fake_openai::FakeOpenAi;
use switchboard_actors::testkit::fake_telegram::FakeTelegram;
use tempfile::TempDir;

/// How long anything that is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A place for one gateway. Dropping it removes every file.
pub(crate) struct Site {
    /// Chats come from here.
    pub(crate) telegram: FakeTelegram,
    /// Answers come from here, at once unless told otherwise.
    pub(crate) model: FakeOpenAi,
    http: SocketAddr,
    dir: TempDir,
    /// Addresses of sockets are short: the control socket has a directory of its own.
    _sockets: TempDir,
}

impl Site {
    /// A place below `disk`, which should be on the disk that is to be measured.
    ///
    /// # Errors
    /// When no directory or port can be had.
    pub(crate) fn open(disk: &Path) -> io::Result<Self> {
        let (dir, sockets) = (tempfile::tempdir_in(disk)?, tempfile::tempdir()?);
        // Whoever takes the port in between is found by the gateway itself.
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (telegram, model) = (FakeTelegram::start(), FakeOpenAi::start());
        let config = config(dir.path(), sockets.path(), http, &telegram, &model);
        let site = Self { telegram, model, http, dir, _sockets: sockets };
        fs::write(site.config(), config)?;
        Ok(site)
    }

    /// The address of the probes.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// The log of every life.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A home without anything in it.
    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    /// When the platform was polled first after `since`.
    pub(crate) fn first_poll(&self, since: Instant) -> Instant {
        self.telegram.wait_for("a poll", PATIENCE, |state| {
            state
                .calls
                .iter()
                .rev()
                .take_while(|call| call.at > since)
                .filter(|call| call.method == "getUpdates")
                .last()
                .map(|call| call.at)
        })
    }
}

fn config(dir: &Path, sockets: &Path, http: SocketAddr, telegram: &FakeTelegram, model: &FakeOpenAi) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    format!(
        r#"
state_dir = {state}
[http]
listen = "{http}"
[control]
socket = {socket}
[restart]
mode = "exit"
[session]
sender_per_minute = 1000000
[recovery]
crash_loop = {{ starts = 0, within = "5m" }}
[agents.default]
kind = "openai"
base_url = "{model}"
model = "m"
[adapters.bot]
kind = "telegram"
token = "{token}"
api_root = "{telegram}"
agent = "default"
access = {{ allow = ["*"], admins = [], pairing = false }}
"#,
        state = quoted(dir.join("state")),
        socket = quoted(sockets.join("control.sock")),
        model = model.base_url(),
        token = telegram.token(),
        telegram = telegram.api_root(),
    )
}
