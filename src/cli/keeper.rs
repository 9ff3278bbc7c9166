//! Commands over a state directory that root was asked for: done by a child as whoever keeps it, and its words printed as somebody else's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ask::complain;
use super::{Check, History, Ledger, TokenCommand, say};
use crate::account::way::Way;
use crate::account::within::Given;
use crate::account::{self, Account};
use crate::child;
use crate::config::{Config, Surroundings};
use crate::exit::Exit;
use crate::unit::installed::Installed;
use switchboard_actors::escape::one_line;

/// Does a command by a child where somebody else keeps the state directory; none: it is ours, and to be done here.
pub(super) fn elsewhere(config: &Config, words: Vec<OsString>, around: &Surroundings) -> Option<Exit> {
    over(&config.state_dir, config, words, around)
}

/// The same for `check`, which may be about a ledger elsewhere: then as whoever keeps that one's directory.
pub(super) fn check(config: &Config, order: &Check, around: &Surroundings) -> Option<Exit> {
    let Some(ledger) = &order.ledger else { return elsewhere(config, vec!["check".into()], around) };
    if !Account::of_caller().is_root() {
        return None;
    }
    let real = match std::fs::canonicalize(ledger) {
        Ok(real) => real,
        Err(error) => return Some(complain(&format!("{}: {error}", ledger.display()), Exit::State)),
    };
    let place = real.parent().unwrap_or(Path::new("/")).to_owned();
    let mut words = vec!["check".into(), "--ledger".into(), real.into()];
    words.extend(order.upgrade.then(|| "--upgrade".into()));
    // The way that was typed must not be one that others can exchange, either.
    match Way::to(ledger) {
        Ok(way) if way.refuses_links().is_none() => over(&place, config, words, around),
        Ok(way) => Some(complain(&way.refuses_links().unwrap_or_default(), Exit::Refused)),
        Err(error) => Some(complain(&format!("{}: {error}", ledger.display()), Exit::State)),
    }
}

fn over(place: &Path, config: &Config, words: Vec<OsString>, around: &Surroundings) -> Option<Exit> {
    if !Account::of_caller().is_root() {
        return None;
    }
    match keeper(place, config, around) {
        Err(reason) => Some(complain(&reason, Exit::Refused)),
        Ok(None) => None,
        Ok(Some((account, service))) => Some(send(account, place, config.file.clone(), words, &service)),
    }
}

/// Who keeps a directory, if that is not root; and the service as whom.
fn keeper(place: &Path, config: &Config, around: &Surroundings) -> Result<Option<(Account, Installed)>, String> {
    let roots = Way::to(place).is_ok_and(|way| way.owner().is_none_or(|uid| uid == 0));
    let service = if roots { None } else { account::service_of(config, &around.variables) };
    let gateway = service.as_ref().map(|service| Account::of_unit(&service.unit, &config.state_dir)).transpose()?;
    Ok(account::keeper(place, gateway)?.zip(service))
}

fn send(account: Account, place: &Path, file: Option<PathBuf>, words: Vec<OsString>, service: &Installed) -> Exit {
    let file = file.and_then(|file| std::path::absolute(file).ok());
    let file = file.into_iter().flat_map(|file| ["--config".into(), file.into_os_string()]);
    let mut command = account.child_of_ours(place, file.chain(words));
    let given = serde_json::to_vec(&Given { variables: service.variables.clone() }).expect("plain data");
    match child::run(&mut command, &given) {
        Ok(printed) => {
            printed.out.lines().for_each(|line| _ = say(&format!("{}\n", one_line(line))));
            let exit = printed.code.and_then(|code| u8::try_from(code).ok()).and_then(Exit::of_code).unwrap_or(Exit::NotAchieved);
            let said = printed.err.lines().map(one_line).collect::<Vec<_>>().join("\n");
            if said.is_empty() { exit } else { complain(&said, exit) }
        }
        Err(reason) => complain(&reason, Exit::NotAchieved),
    }
}

/// The words of `history`.
pub(super) fn history(order: &History) -> Vec<OsString> {
    let mut words = vec!["history".into(), "--lines".into(), order.lines.to_string().into()];
    words.extend(order.json.json.then(|| "--json".into()));
    words
}

/// The words of `token`.
pub(super) fn token(order: &TokenCommand) -> Vec<OsString> {
    let TokenCommand::Rotate { browsers, operate } = order;
    let flags = [(*browsers, "--browsers"), (*operate, "--operate")].into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag);
    ["token", "rotate"].into_iter().chain(flags).map(OsString::from).collect()
}

/// The words of `ledger`.
pub(super) fn ledger(order: &Ledger) -> Vec<OsString> {
    let words: Vec<&str> = match order {
        Ledger::Move { from, to } => vec!["ledger", "move", "--", from, to],
        Ledger::Drop { adapter } => vec!["ledger", "drop", "--", adapter],
    };
    words.into_iter().map(OsString::from).collect()
}
