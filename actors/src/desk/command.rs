//! The commands of a chat, and how they are recognised.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `/help`, and `/start`, which some platforms send by themselves.
    Help,
    /// `/status`
    Status,
    /// `/stop`
    Stop,
    /// `/stop all`
    StopAll,
    /// `/new`
    New,
    /// `/retry`
    Retry,
    /// `/approve`
    Approve,
    /// `/deny`
    Deny,
    /// `/queue`
    Queue,
    /// `/whoami`
    Whoami,
    /// `/sessions`
    Sessions,
    /// `/restart`
    Restart,
    /// `/shutdown`
    Shutdown,
    /// A word behind a slash that nobody knows.
    Unknown,
    /// One for administrators, from somebody else.
    Forbidden,
}

impl Command {
    /// Whether only administrators may use it.
    pub fn is_for_admins(self) -> bool {
        matches!(self, Command::StopAll | Command::Sessions | Command::Restart | Command::Shutdown)
    }
}

/// The command that a message is, if it is one: a slash and a word of letters, at its very start. `/etc/hosts` is no command.
pub fn parse(text: &str) -> Option<Command> {
    let mut words = text.split_whitespace();
    let name = words.next()?.strip_prefix('/')?.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
        return None;
    }
    let rest = words.next().map(str::to_ascii_lowercase);
    Some(match (name.as_str(), rest.as_deref()) {
        ("help" | "start", _) => Command::Help,
        ("status", _) => Command::Status,
        ("stop", Some("all")) => Command::StopAll,
        ("stop", _) => Command::Stop,
        ("new", _) => Command::New,
        ("retry", _) => Command::Retry,
        ("approve", _) => Command::Approve,
        ("deny", _) => Command::Deny,
        ("queue", _) => Command::Queue,
        ("whoami", _) => Command::Whoami,
        ("sessions", _) => Command::Sessions,
        ("restart", _) => Command::Restart,
        ("shutdown", _) => Command::Shutdown,
        _ => Command::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_a_slash_and_a_word() {
        let check = |text: &str, expected: Option<Command>| assert_eq!(parse(text), expected, "{text:?}");
        check("/stop", Some(Command::Stop));
        check("  /STOP now please", Some(Command::Stop));
        check("/stop all", Some(Command::StopAll));
        check("/retry", Some(Command::Retry));
        check("/approve", Some(Command::Approve));
        check("/deny it", Some(Command::Deny));
        check("/frobnicate", Some(Command::Unknown));
        check("/etc/hosts is broken", None);
        check("/", None);
        check("/1", None);
        check("please /stop", None);
        check("", None);
    }
}
