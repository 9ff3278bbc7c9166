//! The effective configuration as TOML: what is in force and where each value was written, without secrets.

use std::fmt::Write as _;

use super::fault::Origin;
use super::layers::Merged;

/// Keys whose values are secrets.
pub(super) const SECRETS: [&str; 2] = ["token", "api_key"];
/// Comments begin here.
const COLUMN: usize = 48;

/// Renders the merged layers. What it prints can be read again, once the masked secrets are put back.
pub(super) fn render(merged: &Merged) -> String {
    let mut out = String::new();
    write_table(&merged.table, "", merged, &mut out);
    out
}

/// Scalars first: behind a header they would belong to the table below it.
fn write_table(table: &toml::Table, path: &str, merged: &Merged, out: &mut String) {
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in table {
        let shown = match value {
            _ if SECRETS.contains(&key.as_str()) && path.starts_with("a") => masked(value),
            toml::Value::Table(_) => continue,
            value => value.to_string(),
        };
        let line = format!("{key} = {shown}");
        match (line.contains('\n'), merged.origin(&inner(key))) {
            (_, Origin::Defaults) => _ = writeln!(out, "{line}"),
            (true, origin) => _ = writeln!(out, "# {origin}\n{line}"),
            (false, origin) => _ = writeln!(out, "{line:<COLUMN$}# {origin}"),
        }
    }
    for (key, value) in table {
        if let toml::Value::Table(table) = value
            && !(SECRETS.contains(&key.as_str()) && path.starts_with("a"))
        {
            let path = inner(key);
            let only_tables = !table.is_empty() && table.values().all(toml::Value::is_table);
            if !only_tables {
                _ = writeln!(out, "\n[{path}]");
            }
            write_table(table, &path, merged, out);
        }
    }
}

/// Where a secret is may be shown; what it is may not.
fn masked(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(way) => {
            let ways: Vec<String> = way.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{{ {} }}", ways.join(", "))
        }
        _ => "\"[secret]\"".to_owned(),
    }
}
