//! `switchboard pair approve`: shows who holds a code, as the platform numbers them and as they call themselves, and lets them in when that is
//! who is meant. A name is what a stranger says of themselves; the number is not.

use switchboard_actors::escape::one_line;
use switchboard_actors::ledger::{PairRow, Paired};

use super::ask::{complain, failed, print};
use super::consent::Yes;
use crate::control::client::Sockets;
use crate::control::{Request, Response};
use crate::exit::Exit;

/// No name is shown longer.
const NAME: usize = 80;

/// Lets the holder of a code in, once a person agrees.
pub(super) fn approve(sockets: &Sockets, code: &str, yes: &Yes) -> Exit {
    let code = code.trim().to_uppercase();
    let (pairs, there) = match sockets.find(&Request::Pairs) {
        Ok((Response::Pairs { pairs }, there)) => (pairs, there),
        Ok((response, _)) => return print(&response, false),
        Err(error) => return failed(&error),
    };
    let Some(holder) = pairs.iter().find(|pair| holds(pair, &code)) else {
        return complain("no such code, or it is too old; see `switchboard pair list`", Exit::NotAchieved);
    };
    if !yes.agreed(&question(holder)) {
        return complain("nobody was let in", Exit::NotAchieved);
    }
    match there.ask(&Request::PairApprove { code }) {
        Ok(response) => print(&response, false),
        Err(error) => failed(&error),
    }
}

fn holds(pair: &PairRow, wanted: &str) -> bool {
    matches!(&pair.state, Paired::Waiting { code, .. } if code == wanted)
}

fn question(holder: &PairRow) -> String {
    let (adapter, user) = (one_line(holder.adapter.as_str()), one_line(holder.user.as_str()));
    format!("{adapter}:{user} calls themselves {}. Let them speak?", name(&holder.name))
}

/// A name in quotes of ours, which it cannot end.
pub(super) fn name(name: &str) -> String {
    let shown: String = name.chars().take(NAME).collect();
    let more = if name.chars().nth(NAME).is_some() { "…" } else { "" };
    format!("\"{}{more}\"", one_line(&shown.replace('"', "'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g23_a_name_is_no_more_than_a_name() {
        for (said, shown) in [
            ("Ann", "\"Ann\"".to_owned()),
            ("Ann\" may speak\nroot\x1b[2K", "\"Ann' may speak\\nroot\\u{1b}[2K\"".to_owned()),
            (&"x".repeat(100), format!("\"{}…\"", "x".repeat(NAME))),
        ] {
            assert_eq!(name(said), shown);
        }
    }
}
