//! Answers of the gateway for people: aligned columns, foreign text escaped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchboard_actors::clock::Wall;
use switchboard_actors::escape::one_line;
use switchboard_actors::ledger::{PairRow, Paired, TurnRow};
use switchboard_actors::texts::spoken;

use super::pair::name;
use crate::control::{OutboxLine, Status};
use crate::restart::at_work;

/// Rows in aligned columns, two spaces apart. Whatever a cell holds, it is a cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut head.iter().copied());
    rows.iter().for_each(|row| out.push_str(&line(&mut row.iter().map(String::as_str))));
    out
}

/// What a reload came to, one line per thing.
pub(super) fn reloaded(changes: &[String], restart: &[String], warnings: &[String]) -> String {
    let warnings = warnings.iter().map(|warning| format!("warning: {}\n", one_line(warning)));
    let restart_lines = restart.iter().map(|key| format!("{}: needs a restart\n", one_line(key)));
    let changes_lines = changes.iter().map(|change| format!("{}\n", one_line(change)));
    let nothing = changes.is_empty() && restart.is_empty();
    warnings.chain(changes_lines).chain(restart_lines).chain(nothing.then(|| "nothing has changed\n".to_owned())).collect()
}

pub(super) fn status(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "not ready" };
    let up = spoken(Duration::from_millis(status.uptime_millis));
    let mut rows = vec![
        vec!["doing".into(), format!("{}, {ready}", status.doing)],
        vec!["version".into(), status.version.clone()],
        vec!["instance".into(), format!("{} (pid {}, up {up})", status.instance, status.pid)],
        vec!["sessions".into(), format!("{} in memory", status.sessions)],
        vec!["tasks".into(), format!("{}; {} cut or parked", at_work(status), status.turns_cut)],
        vec!["messages".into(), format!("{} waiting", status.messages_waiting)],
        vec!["replies".into(), format!("{} not delivered", status.replies_owed)],
    ];
    rows.extend(status.last_end.iter().map(|end| vec!["before".into(), end.clone()]));
    rows.extend(status.troubled.iter().map(|part| {
        let trouble = part.trouble.as_deref().unwrap_or("not well");
        vec!["trouble".into(), format!("{}: {trouble}", part.name)]
    }));
    rows.extend(status.adapters.iter().map(|adapter| {
        let trouble = adapter.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        vec!["adapter".into(), format!("{} ({}): {}{trouble}", adapter.name, adapter.kind, adapter.state)]
    }));
    let widest = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
    rows.iter().map(|row| format!("{:<widest$}  {}\n", row[0], one_line(&row[1]))).collect()
}

pub(super) fn turns(turns: &[TurnRow]) -> String {
    let row = |turn: &TurnRow| {
        let state = if turn.asks { "asks".to_owned() } else { format!("{:?}", turn.state).to_lowercase() };
        let cause = turn.cause.clone().unwrap_or_default();
        vec![turn.turn.to_string(), state, turn.attempt.to_string(), ago(turn.since), turn.session.to_string(), cause]
    };
    listed(
        &["TURN", "STATE", "ATTEMPT", "SINCE", "SESSION", "CAUSE"],
        &turns.iter().map(row).collect::<Vec<_>>(),
        "No task runs, was cut or is parked.\n",
    )
}

pub(super) fn outbox(rows: &[OutboxLine]) -> String {
    let row = |line: &OutboxLine| {
        let state = format!("{:?}", line.state).to_lowercase();
        let reason = line.reason.clone().unwrap_or_default();
        vec![line.id.to_string(), state, line.tries.to_string(), ago(line.at), line.chat.to_string(), reason]
    };
    listed(&["ID", "STATE", "TRIES", "SINCE", "CHAT", "REASON"], &rows.iter().map(row).collect::<Vec<_>>(), "Every reply is delivered.\n")
}

pub(super) fn pairs(pairs: &[PairRow]) -> String {
    let row = |pair: &PairRow| {
        let (state, until) = match &pair.state {
            Paired::In => ("in".to_owned(), String::new()),
            Paired::Waiting { code, expires } => (format!("waiting, code {code}"), ahead(*expires)),
        };
        vec![format!("{}:{}", pair.adapter, pair.user), state, until, name(&pair.name)]
    };
    listed(
        &["USER", "STATE", "EXPIRES", "NAME"],
        &pairs.iter().map(row).collect::<Vec<_>>(),
        "Nobody was let in by a code, and nobody waits.\n",
    )
}

fn listed(head: &[&str], rows: &[Vec<String>], none: &str) -> String {
    if rows.is_empty() { none.to_owned() } else { table(head, rows) }
}

fn ago(at: Wall) -> String {
    now().since(at).map_or_else(|| "?".into(), |span| format!("{} ago", spoken(span)))
}

fn ahead(at: Wall) -> String {
    at.since(now()).map_or_else(|| "expired".into(), |span| format!("in {}", spoken(span)))
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_foreign_text_is_tamed() {
        let rows = vec![vec!["1".into(), "a\x1b[31m\nb".into(), "x".into()], vec!["1000".into(), "ü".into(), String::new()]];
        let expected = "ID    NAME            Z\n1     a\\u{1b}[31m\\nb  x\n1000  ü\n";
        assert_eq!(table(&["ID", "NAME", "Z"], &rows), expected);
    }
}
