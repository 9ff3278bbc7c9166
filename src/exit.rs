//! How the process ends: one table. A code states the intent, not the verdict; the verdict is in report, log and marker.

use std::process::ExitCode;

/// Every way to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The gateway stopped as asked; a command did what it should.
    Done = 0,
    /// A command did not achieve what it should.
    NotAchieved = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A command found no gateway running.
    NoGateway = 69,
    /// The gateway gave up: a part that it cannot do without is broken for good, or a port is in use.
    GaveUp = 70,
    /// The state directory is locked or cannot be written, or its ledger is newer or corrupt.
    State = 73,
    /// The gateway wants to be started again.
    Restart = 75,
    /// A command was refused.
    Refused = 77,
    /// The configuration is bad.
    Config = 78,
    /// The gateway was found hung while no shutdown was under way.
    Hung = 86,
}

impl Exit {
    /// How a command of ours ended that ended with this number.
    pub fn of_code(code: u8) -> Option<Self> {
        use Exit::{Config, Done, GaveUp, Hung, NoGateway, NotAchieved, Refused, Restart, State, Usage};
        let all = [Done, NotAchieved, Usage, NoGateway, GaveUp, State, Restart, Refused, Config, Hung];
        all.into_iter().find(|exit| exit.code() == code)
    }

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// A code of `run` in words, for whoever sees only the number.
pub fn in_words(code: u8) -> String {
    let meanings = [
        (Exit::Done, "stopped as asked"),
        (Exit::GaveUp, "gave up"),
        (Exit::State, "state directory locked or unusable"),
        (Exit::Restart, "wants to be restarted"),
        (Exit::Config, "bad configuration"),
        (Exit::Hung, "found hung"),
    ];
    let known = meanings.iter().find(|(exit, _)| exit.code() == code);
    known.map_or_else(|| format!("exit code {code}"), |(_, meaning)| format!("exit code {code}: {meaning}"))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
