//! `switchboard update`: its words, and how it ends. What it does stands in [`crate::update`].

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use semver::Version;
use switchboard_actors::escape::lines;

use super::ask::{Place, complain};
use super::say;
use crate::config::{Config, Surroundings};
use crate::exit::Exit;
use crate::update::{self, Refusal};

#[derive(Debug, Args)]
pub(super) struct Order {
    /// Only say which version there is
    #[arg(long)]
    check: bool,
    /// This version instead of the newest; one that is still installed needs no source
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// Where releases are: an address or a directory with their manifest.json [default: update.source]
    #[arg(long, value_name = "URL|FILE")]
    from: Option<String>,
    /// Believe a manifest whose time is over, or that says none
    #[arg(long)]
    expired: bool,
    /// How long the version must stay ready to count [default: restart.dwell]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", hide_short_help = true)]
    dwell: Option<Duration>,
    /// How long it may take to be ready [default: restart.start_limit]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME", hide_short_help = true)]
    start_limit: Option<Duration>,
}

impl Order {
    pub(super) fn carry_out(&self, file: Option<&Path>, socket: Option<&Path>, around: &Surroundings) -> Exit {
        match self.update(file, socket, around) {
            Ok(words) => say(&format!("{}\n", lines(&words))),
            Err(Refusal(exit, words)) => complain(&words, exit),
        }
    }

    fn update(&self, file: Option<&Path>, socket: Option<&Path>, around: &Surroundings) -> Result<String, Refusal> {
        let program =
            std::env::current_exe().map_err(|error| Refusal(Exit::NotAchieved, format!("this program's place is not known: {error}")))?;
        let layout = update::layout(&program, around)?;
        // Both versions read it, from other directories than this one.
        let file = file.and_then(|file| std::path::absolute(file).ok());
        let file = file.as_deref();
        let config = Config::load(file, around);
        // An update that was cut knows its own.
        let sockets = Place { socket, file, around }.sockets(config.as_ref().ok());
        let order = update::Order {
            check: self.check,
            to: self.to.clone(),
            from: self.from.clone(),
            expired: self.expired,
            dwell: self.dwell,
            start_limit: self.start_limit,
            config: file.map(Path::to_owned),
        };
        update::update(&layout, &order, config, &sockets, &mut |words| {
            // Whoever listened may be gone; the update goes on.
            _ = writeln!(std::io::stderr(), "{}", lines(words));
        })
    }
}
