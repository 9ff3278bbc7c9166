//! `switchboard service`: puts the gateway under systemd and works it there, as a system service or a user's own.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Subcommand};
use nix::unistd::{Uid, User};

use super::ask::complain;
use super::consent::Yes;
use super::{restart as restarting, say};
use crate::config::{Config, Faults, Restart, Surroundings};
use crate::control::client::{AskError, Sockets};
use crate::control::{Request, Response};
use crate::exit::Exit;
use crate::install::Layout;
use crate::restart;
use crate::restart::help::Origin;
use crate::unit::file::{UnitFile, addresses};
use crate::unit::setup::{self, Difference, SetupError, Wanted};
use crate::unit::{Scope, Unit};

/// What a manager that ends a process needs itself, beside its limit.
const AIR: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Service {
    /// A service of your own instead of the system's
    #[arg(long, global = true)]
    user: bool,
    #[command(subcommand)]
    command: ServiceCommand,
}

impl Service {
    /// Whether it does more than look.
    pub(super) fn acts(&self) -> bool {
        !matches!(self.command, ServiceCommand::Status | ServiceCommand::Logs(_))
    }
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Put this program and its unit in place, with the times of the configuration
    Install(Install),
    /// Stop the service and remove its unit; programs, configuration and what was said stay
    Uninstall(Yes),
    /// Start it, and wait until it is ready and stays so
    Start,
    /// Stop it: running tasks may finish within the grace, and everybody is told
    Stop,
    /// Restart it, and wait until a new gateway is ready and stays so
    Restart(restarting::Order),
    /// Show how it is, as systemd and as the gateway sees it
    Status,
    /// Show its log
    Logs(Logs),
}

#[derive(Debug, Args)]
struct Install {
    /// Also let systemd listen for the page, and start the gateway when somebody comes
    #[arg(long)]
    with_socket: bool,
    #[command(flatten)]
    yes: Yes,
}

#[derive(Debug, Args)]
struct Logs {
    /// Go on as it grows
    #[arg(long, short)]
    follow: bool,
    /// How many lines
    #[arg(long, short = 'n', default_value_t = 50)]
    lines: u32,
}

/// What every command here works with.
struct Desk<'a> {
    scope: Scope,
    unit: Unit,
    chosen: Option<&'a Path>,
    config: Result<Config, Faults>,
    around: &'a Surroundings,
}

/// Carries a command out.
pub(super) fn service(service: &Service, chosen: Option<&Path>, config: Result<Config, Faults>, around: &Surroundings) -> Exit {
    let scope = if service.user { Scope::User } else { Scope::System };
    let desk = Desk { scope, unit: Unit::ours(scope), chosen, config, around };
    let done = match &service.command {
        ServiceCommand::Install(install) => desk.install(install),
        ServiceCommand::Uninstall(yes) => desk.uninstall(yes),
        ServiceCommand::Start => desk.start(),
        ServiceCommand::Stop => desk.stop(),
        ServiceCommand::Restart(order) => desk.restart(order),
        ServiceCommand::Status => Ok(desk.status()),
        ServiceCommand::Logs(logs) => Ok(desk.logs(logs)),
    };
    done.unwrap_or_else(|error| complain(&error.to_string(), Exit::NotAchieved))
}

impl Desk<'_> {
    fn install(&self, install: &Install) -> Result<Exit, SetupError> {
        let Some(version) = setup::manager_version() else {
            return Ok(complain("systemctl cannot be run: there is no systemd here to install a service for", Exit::NotAchieved));
        };
        let config = match &self.config {
            Ok(config) => config,
            Err(faults) => return Ok(complain(&faults.to_string(), Exit::Config)),
        };
        let (Some(layout), Some(folder)) = (Layout::of(self.scope, self.around), setup::unit_folder(self.scope, self.around)) else {
            return Ok(complain("HOME is not set: there is no place for a user's service", Exit::NotAchieved));
        };
        let chosen = self.chosen.and_then(|path| std::path::absolute(path).ok());
        let unit = UnitFile::new(self.scope, version, layout.current_program(), chosen, &config.settings.shutdown);
        let mut wanted = vec![Wanted { path: folder.join(setup::NAME), text: unit.service() }];
        if install.with_socket {
            match config.http.port().and_then(|port| addresses(config.http.host(), port)) {
                Some(addresses) => wanted.push(Wanted { path: folder.join(setup::SOCKET), text: UnitFile::socket(&addresses) }),
                None => {
                    let reason = format!("http.listen = {:?}: a socket's unit needs an address, not a name", config.http.listen);
                    return Ok(complain(&reason, Exit::NotAchieved));
                }
            }
        }
        let Some(changes) = agree(wanted, &install.yes)? else {
            return Ok(complain("nothing was changed", Exit::NotAchieved));
        };
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        say(&format!("{}\n", setup::put_program(&layout, &program, env!("CARGO_PKG_VERSION"))?));
        for file in &changes {
            file.write()?;
            say(&format!("{} was written\n", file.path.display()));
        }
        setup::reload_manager(self.scope)?;
        self.unit.order("enable")?;
        if install.with_socket {
            self.unit.socket().order("enable")?;
        }
        self.warn_of_lingering();
        let flag = if self.scope == Scope::User { " --user" } else { "" };
        Ok(say(&format!("the service is installed. To start it: switchboard service start{flag}\n")))
    }

    /// A user's service ends with the user's last login unless it lingers. Who that is says the process, not an inherited variable.
    fn warn_of_lingering(&self) {
        let user = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name);
        if self.scope == Scope::User && !user.as_deref().is_some_and(setup::lingers) {
            eprintln!(
                "warning: it ends when you log out, and does not start before you log in. To change that: loginctl enable-linger {}",
                user.unwrap_or_default()
            );
        }
    }

    fn uninstall(&self, yes: &Yes) -> Result<Exit, SetupError> {
        let Some(folder) = setup::unit_folder(self.scope, self.around) else {
            return Ok(complain("HOME is not set: there is no user's service", Exit::NotAchieved));
        };
        let files: Vec<PathBuf> =
            [setup::SOCKET, setup::NAME].map(|name| folder.join(name)).into_iter().filter(|path| path.exists()).collect();
        if files.is_empty() {
            return Ok(complain(&format!("there is no service in {}", folder.display()), Exit::NotAchieved));
        }
        if !yes.agreed(&format!("stop the service and remove {}?", shown(&files))) {
            return Ok(complain("nothing was changed", Exit::NotAchieved));
        }
        self.stop_units()?;
        for path in &files {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(setup::NAME);
            Unit { name: name.into(), scope: self.scope }.order("disable")?;
            std::fs::remove_file(path).map_err(|source| SetupError::File {
                path: path.display().to_string(),
                denied: source.kind() == std::io::ErrorKind::PermissionDenied,
                source,
            })?;
        }
        setup::reload_manager(self.scope)?;
        Ok(say("the service is gone; programs, configuration and state are where they were\n"))
    }

    fn start(&self) -> Result<Exit, SetupError> {
        self.unit.order("reset-failed").ok();
        let (started, seen) = (self.unit.order("start"), self.unit.state().unwrap_or_default());
        let origin = Origin::silent(self.unit.clone(), seen.last_pid.filter(|_| started.is_err()));
        if let Err(error) = started {
            eprintln!("{error}");
            // A unit whose first process ended before it was ready has failed to start for systemctl, though the manager is about to try again.
            if seen.stopped || seen.failed.is_some() {
                return Ok(complain(&origin.help(&[]), Exit::NotAchieved));
            }
        }
        let settings = self.settings();
        let limits = restart::limits(Duration::ZERO, settings.start_limit, settings.dwell);
        Ok(restarting::prove(&self.sockets(), &origin, limits, "started", &AtomicBool::new(false)))
    }

    fn stop(&self) -> Result<Exit, SetupError> {
        self.stop_units()?;
        Ok(match self.unit.state() {
            Some(state) if state.main_pid.is_none() && state.failed.is_none() => say("stopped\n"),
            _ => complain(&Origin::silent(self.unit.clone(), None).help(&[]), Exit::NotAchieved),
        })
    }

    /// The socket first: whoever comes by would start the service again.
    fn stop_units(&self) -> Result<(), SetupError> {
        if self.unit.socket().is_active() {
            self.unit.socket().order("stop")?;
        }
        self.unit.order("stop")
    }

    /// Asks the gateway; where none answers, its manager.
    fn restart(&self, order: &restarting::Order) -> Result<Exit, SetupError> {
        let Some(pid) = self.unit.state().and_then(|state| state.main_pid) else { return self.start() };
        let (sockets, settings) = (self.sockets(), self.settings());
        Ok(match sockets.ask(&Request::Status) {
            Ok(Response::Status(_)) | Err(AskError::Denied { .. }) => restarting::restart(&sockets, order, &settings),
            _ => {
                let origin = Origin::silent(self.unit.clone(), Some(pid));
                let within = self.unit.stop_limit().unwrap_or_else(|| self.longest_shutdown());
                restarting::restart_silent(&sockets, &origin, &self.unit, within + AIR, order, &settings)
            }
        })
    }

    fn status(&self) -> Exit {
        let Some(words) = self.unit.in_words() else {
            return complain("the service manager does not answer", Exit::NotAchieved);
        };
        say(&format!("{words}\n"));
        if self.unit.state().is_none_or(|state| state.main_pid.is_none()) {
            return Exit::NoGateway;
        }
        super::ask::status(&self.sockets())
    }

    fn logs(&self, logs: &Logs) -> Exit {
        let mut command = Command::new("journalctl");
        command.args(self.scope.flags()).args(["--unit", &self.unit.name, "--lines", &logs.lines.to_string()]);
        if logs.follow {
            command.arg("--follow");
        }
        let error = command.exec();
        complain(&format!("journalctl cannot be run: {error}"), Exit::NotAchieved)
    }

    /// Where the service listens for operators.
    fn sockets(&self) -> Sockets {
        match (self.scope, &self.config) {
            (Scope::System, _) => Sockets(vec![super::ask::SYSTEM_SOCKET.into()]),
            (Scope::User, Ok(config)) => Sockets(vec![config.control.socket.clone()]),
            (Scope::User, Err(_)) => Sockets(self.around.default_sockets()),
        }
    }

    fn longest_shutdown(&self) -> Duration {
        self.config.as_ref().map_or(Duration::ZERO, Config::longest_shutdown)
    }

    fn settings(&self) -> Restart {
        self.config.as_ref().map_or_else(|_| Restart::defaults(), |config| config.restart)
    }
}

/// Shows what would change of these files and asks; those that are to be written, or none when nothing may be.
fn agree(wanted: Vec<Wanted>, yes: &Yes) -> Result<Option<Vec<Wanted>>, SetupError> {
    let mut changes = Vec::new();
    for file in wanted {
        match file.difference()? {
            Difference::None => {}
            Difference::New => changes.push(file),
            Difference::Changed(shown) => {
                say(&shown);
                if !yes.agreed(&format!("overwrite {}?", file.path.display())) {
                    return Ok(None);
                }
                changes.push(file);
            }
        }
    }
    Ok(Some(changes))
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}
