//! What stands in the unit's files: one text for the newest systemd, and what is different for older ones, for a user's own, and for other
//! times. `deploy/systemd/` holds what comes of the defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchboard_actors::shutdown::Budgets;

use super::Scope;

/// The unit, as it ships.
const SERVICE: &str = include_str!("../../deploy/systemd/switchboard.service");
const SOCKET: &str = include_str!("../../deploy/systemd/switchboard.socket");
/// From here on the manager reloads by `Type=notify-reload` (systemd.service(5)).
const NOTIFY_RELOAD: u32 = 253;
/// Beyond grace and margin: for a stop that had to wait for the processor, and for the manager's own work.
const AIR: Duration = Duration::from_secs(25);
/// What a user's manager cannot grant, or what means another place there.
const SYSTEM_ONLY: [&str; 27] = [
    "Wants",
    "After",
    "DynamicUser",
    "StateDirectory",
    "StateDirectoryMode",
    "ExecStopPost",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "CapabilityBoundingSet",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateUsers",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictSUIDSGID",
    "RemoveIPC",
    "MemoryDenyWriteExecute",
    "SystemCallFilter",
];

/// What a unit depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Whose manager reads it.
    pub scope: Scope,
    /// The manager's version.
    pub version: u32,
    /// The program, by a path that survives an update.
    pub program: PathBuf,
    /// The configuration, if it is not at the usual place.
    pub config: Option<PathBuf>,
    /// How long a shutdown takes.
    pub grace: Duration,
    /// And beyond that, before the process ends itself.
    pub margin: Duration,
}

impl UnitFile {
    /// The unit for these budgets; the grace is at least what the phases need.
    pub fn new(scope: Scope, version: u32, program: PathBuf, config: Option<PathBuf>, budgets: &Budgets) -> Self {
        Self { scope, version, program, config, grace: budgets.grace.max(budgets.least()), margin: budgets.margin }
    }

    /// The service's file.
    pub fn service(&self) -> String {
        let stop = (self.grace + self.margin + AIR).as_secs();
        let (grace, margin) = (humantime::format_duration(self.grace), humantime::format_duration(self.margin));
        let config = self.config.as_ref().map(|path| format!(" --config {}", word(path))).unwrap_or_default();
        let lines = SERVICE.lines().filter_map(|line| {
            Some(match line.split_once('=').map_or("", |(key, _)| key) {
                // It waits for the answer: a reload that fails is one that systemctl knows of.
                "Type" if self.version < NOTIFY_RELOAD => format!("Type=notify\nExecReload={}{config} reload", word(&self.program)),
                "ExecStart" => format!("ExecStart={}{config} run", word(&self.program)),
                "TimeoutStopSec" => format!("TimeoutStopSec={stop}"),
                "WantedBy" if self.scope == Scope::User => "WantedBy=default.target".into(),
                key if self.scope == Scope::User && SYSTEM_ONLY.contains(&key) => return None,
                _ if self.scope == Scope::User && line.starts_with("# What the gateway cannot say") => return None,
                _ if line.starts_with("# Grace (") => {
                    format!(
                        "# Grace ({grace}) and margin ({margin}), and air for the rest. A drain that still makes progress asks for more."
                    )
                }
                _ if line.starts_with("# Switchboard as") => self.title(),
                _ => line.to_owned(),
            })
        });
        lines.collect::<Vec<String>>().join("\n") + "\n"
    }

    /// The socket's file, for these addresses.
    pub fn socket(addresses: &[SocketAddr]) -> String {
        let listen: Vec<String> = addresses.iter().map(|address| format!("ListenStream={address}")).collect();
        let lines = SOCKET.lines().map(|line| if line.starts_with("ListenStream=") { listen.join("\n") } else { line.to_owned() });
        lines.collect::<Vec<String>>().join("\n") + "\n"
    }

    fn title(&self) -> String {
        let whose = match self.scope {
            Scope::System => "as a system service",
            Scope::User => "as a user's own service (it runs without a login only after `loginctl enable-linger`)",
        };
        let since = if self.version < NOTIFY_RELOAD { "systemd 247 to 252" } else { "systemd 253 and newer" };
        match (self.scope, self.version < NOTIFY_RELOAD) {
            (Scope::System, false) => SERVICE.lines().next().unwrap_or_default().to_owned(),
            _ => format!("# Switchboard {whose}, for {since}."),
        }
    }
}

/// The addresses of `http.listen` that a .socket unit can name: `localhost` stands for the loopback.
pub fn addresses(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let ip = if host == "localhost" { IpAddr::from(Ipv4Addr::LOCALHOST) } else { host.parse().ok()? };
    Some(vec![SocketAddr::new(ip, port)])
}

/// A path as a word of a command in a unit (systemd.syntax(7)): quoted where it has to be, `%` and `$` doubled.
fn word(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%$@".contains(c);
    if text.chars().all(plain) { text } else { format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use switchboard_actors::settings::Settings;

    use super::*;

    fn unit(scope: Scope, version: u32) -> UnitFile {
        let program = match scope {
            Scope::System => "/opt/switchboard/current/switchboard",
            Scope::User => "%h/.local/share/switchboard/current/switchboard",
        };
        let mut unit = UnitFile::new(scope, version, program.into(), None, &Settings::defaults().shutdown);
        if scope == Scope::User {
            unit.program = program.into();
        }
        unit
    }

    /// What ships is what is written for the defaults. `UPDATE_DEPLOY=1` writes it.
    #[test]
    fn g12_the_shipped_units_have_the_times_of_the_defaults() {
        let check = |file: &str, text: String| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(file);
            if std::env::var_os("UPDATE_DEPLOY").is_some() {
                std::fs::write(&path, &text).expect("writable");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{file}: run this test with UPDATE_DEPLOY=1");
        };
        check("switchboard.service", unit(Scope::System, 253).service());
        check("before-v253/switchboard.service", unit(Scope::System, 252).service());
        // systemd expands %h: the shipped file is for every user.
        check("user/switchboard.service", unit(Scope::User, 252).service().replace("%%h", "%h"));
        check("switchboard.socket", UnitFile::socket(&addresses("127.0.0.1", 7878).expect("an address")));
    }

    #[test]
    fn g12_the_stop_limit_follows_from_grace_and_margin() {
        let mut budgets = Settings::defaults().shutdown;
        let stop = |budgets: &Budgets| {
            let text = UnitFile::new(Scope::System, 252, "/x y/s%".into(), Some("/etc/$a.toml".into()), budgets).service();
            assert!(text.contains("ExecStart=\"/x y/s%%\" --config /etc/$$a.toml run\n"), "{text}");
            text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.parse::<u64>().ok()).expect("there is a limit")
        };
        assert_eq!(stop(&budgets), 90);
        budgets.grace = Duration::from_secs(600);
        assert_eq!(stop(&budgets), 630);
        budgets.grace = Duration::ZERO;
        assert_eq!(stop(&budgets), budgets.least().as_secs() + 30, "a grace below what the phases need is raised");
    }
}
