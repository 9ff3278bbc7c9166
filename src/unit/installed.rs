//! What an installed unit starts, as its manager knows it: for whoever has to do with a gateway that does not run now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Scope, Unit, property};
use crate::config::Variables;

/// What a user's gateway finds its directories by.
const USERS_OWN: [&str; 5] = ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"];

/// A gateway's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// It.
    pub unit: Unit,
    /// What it starts.
    pub program: PathBuf,
    /// With these words. Where one of them holds a space, its manager says two.
    pub arguments: Vec<String>,
    /// In this environment.
    pub variables: Variables,
    /// Whether it runs, or should.
    pub presence: Presence,
}

/// Whether a unit runs, or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is down, and was not meant to be up.
    Down,
    /// It is being stopped.
    Leaving,
    /// It is up, or failed, or about to be started again.
    Meant,
}

impl Installed {
    /// The unit of this program, of the system or of whoever asks, that starts `program`.
    pub fn starting(program: &Path, around: &Variables) -> Option<Self> {
        Self::all(around).find(|installed| installed.starts(program))
    }

    /// Whether it starts this program, or another of the same tree.
    pub fn starts(&self, program: &Path) -> bool {
        let tree = |program: &Path| std::fs::canonicalize(program.parent()?.parent()?).ok();
        self.program == program || (tree(&self.program).is_some() && tree(&self.program) == tree(program))
    }

    /// The unit of this name, of the system or else of whoever asks, whatever it starts.
    pub fn any(around: &Variables) -> Option<Self> {
        Self::all(around).next()
    }

    fn all(around: &Variables) -> impl Iterator<Item = Self> {
        [Scope::System, Scope::User].into_iter().filter_map(|scope| Self::of(Unit::ours(scope), around))
    }

    /// What this unit starts, as its manager knows it.
    pub fn of(unit: Unit, around: &Variables) -> Option<Self> {
        let properties = "--property=LoadState,ActiveState,Result,ExecStart,Environment,EnvironmentFiles,StateDirectory,RuntimeDirectory";
        let text = unit.ask("systemctl", &["show", properties, &unit.name])?;
        Self::read(unit, &text, around)
    }

    /// The file of its configuration, if one is named to it.
    pub fn config(&self) -> Option<PathBuf> {
        chosen(&self.arguments).map(|file| Path::new("/").join(file))
    }

    fn read(unit: Unit, text: &str, around: &Variables) -> Option<Self> {
        let value = |key: &str| property(text, key).unwrap_or_default();
        if value("LoadState") != "loaded" {
            return None;
        }
        let presence = match value("ActiveState") {
            "inactive" => Presence::Down,
            // One that goes for another reason failed: its manager will start it again.
            "deactivating" if value("Result") == "success" => Presence::Leaving,
            _ => Presence::Meant,
        };
        let mut words = value("ExecStart").split_once("argv[]=")?.1.split(" ; ").next()?.split_whitespace().map(str::to_owned);
        let program = PathBuf::from(words.next()?);
        let mut variables = Variables::new();
        match unit.scope {
            Scope::System => {
                let folders = [("STATE_DIRECTORY", "/var/lib", "StateDirectory"), ("RUNTIME_DIRECTORY", "/run", "RuntimeDirectory")];
                for (variable, root, key) in folders {
                    if let Some(folder) = value(key).split_whitespace().next() {
                        variables.insert(variable.into(), format!("{root}/{folder}"));
                    }
                }
            }
            Scope::User => {
                let own = USERS_OWN.iter().filter_map(|name| around.get_key_value(*name));
                variables.extend(own.map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        variables.extend(pairs(&spoken(value("Environment"))));
        for file in text.lines().filter_map(|line| line.strip_prefix("EnvironmentFiles=")) {
            let path = file.rsplit_once(" (").map_or(file, |(path, _)| path);
            let lines = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<String> =
                lines.lines().map(|line| line.trim().replace('"', "")).filter(|line| !line.starts_with(['#', ';'])).collect();
            variables.extend(pairs(&lines));
        }
        Some(Self { unit, program, arguments: words.collect(), variables, presence })
    }
}

/// The file of `--config` among the words behind a program.
fn chosen(words: &[String]) -> Option<PathBuf> {
    let mut words = words.iter();
    let mut file = None;
    while let Some(word) = words.next() {
        match word.strip_prefix("--config=") {
            Some(path) => file = Some(path.into()),
            None if word == "--config" => file = words.next().map(PathBuf::from),
            None => {}
        }
    }
    file
}

fn pairs(words: &[String]) -> BTreeMap<String, String> {
    words.iter().filter_map(|word| word.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The words of a line, as a manager quotes them.
fn spoken(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut letters) = (Vec::new(), None::<String>, false, line.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_told_from_the_other_words() {
        let check = |words: &str, file: Option<&str>| {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            assert_eq!(chosen(&words), file.map(PathBuf::from), "{words:?}");
        };
        check("", None);
        check("run", None);
        check("--config /a run", Some("/a"));
        check("run --config=/a --socket /s", Some("/a"));
        check("run --config", None);
    }

    #[test]
    fn a_unit_says_what_it_starts_and_where_that_lives() {
        let around: Variables = pairs(&["HOME=/home/kim".into(), "LANG=C".into()]);
        let check = |scope, text: &str, expected: Option<(&str, &str, &[&str], Presence)>| {
            let found = Installed::read(Unit::ours(scope), text, &around);
            let found = found.map(|it| (it.program, it.arguments.join(" "), it.variables, it.presence));
            let variables = |words: &[&str]| pairs(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            let expected =
                expected.map(|(program, words, all, presence)| (PathBuf::from(program), words.to_owned(), variables(all), presence));
            assert_eq!(found, expected, "{text}");
        };
        let start =
            "ExecStart={ path=/o/current/switchboard ; argv[]=/o/current/switchboard --config /c.toml run ; ignore_errors=no ; pid=7 }";
        let words = "--config /c.toml run";
        let folders = ["STATE_DIRECTORY=/var/lib/switchboard", "RUNTIME_DIRECTORY=/run/switchboard"];
        let system = format!("LoadState=loaded\n{start}\nStateDirectory=switchboard\nRuntimeDirectory=switchboard");
        let of = |state: &str| format!("ActiveState={state}\n{system}");
        for (state, presence) in [
            ("failed", Presence::Meant),
            ("activating", Presence::Meant),
            ("active", Presence::Meant),
            ("inactive", Presence::Down),
            ("deactivating\nResult=success", Presence::Leaving),
            ("deactivating\nResult=exit-code", Presence::Meant),
        ] {
            check(Scope::System, &of(state), Some(("/o/current/switchboard", words, &folders, presence)));
        }
        let more = format!("{}\nEnvironment=A=b \"C=d \\\"e\\\" f\"\nEnvironmentFiles=/nowhere (ignore_errors=yes)", of("failed"));
        let all = [&folders[..], &["A=b", "C=d \"e\" f"]].concat();
        check(Scope::System, &more, Some(("/o/current/switchboard", words, &all, Presence::Meant)));
        let own = format!("LoadState=loaded\nActiveState=failed\n{start}");
        check(Scope::User, &own, Some(("/o/current/switchboard", words, &["HOME=/home/kim"], Presence::Meant)));
        check(Scope::System, "LoadState=not-found\nActiveState=inactive", None);
    }
}
