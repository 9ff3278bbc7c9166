//! The command by which this program was started, for remedies: what they tell to type is what works where it was typed.

use std::path::Path;
use std::sync::LazyLock;

use crate::restart::help::quoted;

/// How this program was started.
static STARTED: LazyLock<Started> = LazyLock::new(Started::this);

/// How a program was started.
struct Started {
    /// As typed, or as `cargo run` was.
    program: String,
    /// Between the program and the command: `--config`, where one was named.
    configuration: String,
    /// Of the program, what anybody may know.
    name: String,
}

/// This program's command line with other arguments: `switchboard --config family.toml url`.
pub fn command(arguments: &str) -> String {
    let Started { program, configuration, .. } = &*STARTED;
    format!("{program}{configuration} {arguments}")
}

/// The same for whom no path of this machine concerns: `switchboard url`.
pub fn for_strangers(arguments: &str) -> String {
    format!("{} {arguments}", STARTED.name)
}

impl Started {
    fn this() -> Self {
        let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let found = std::env::var_os("PATH").and_then(|path| {
            let first = std::env::split_paths(&path).map(|dir| dir.join("switchboard")).find(|path| path.is_file())?;
            std::fs::canonicalize(first).ok()
        });
        let is_in_path = found.is_some() && found == std::env::current_exe().and_then(std::fs::canonicalize).ok();
        Self::of(&words, std::env::var_os("CARGO").is_some(), is_in_path)
    }

    /// `by_cargo`: cargo says so to whatever it runs, and to the programs that those run. `is_in_path`: it is what `switchboard` means in a shell.
    fn of(words: &[String], by_cargo: bool, is_in_path: bool) -> Self {
        let program = words.first().map_or("switchboard", String::as_str);
        let (dir, file) = program.rsplit_once('/').unwrap_or(("", program));
        let profile = dir.rsplit('/').next().unwrap_or_default();
        let built = Path::new(dir).parent().is_some_and(|target| target.ends_with("target"));
        let cargo = (by_cargo && built).then(|| match profile {
            "debug" => "cargo run --".to_owned(),
            "release" => "cargo run --release --".to_owned(),
            other => format!("cargo run --profile {other} --"),
        });
        let chosen = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--config") {
            Some("") => words.get(at + 1).map(String::as_str),
            Some(value) => value.strip_prefix('='),
            None => None,
        });
        let configuration = chosen.map(|file| format!(" --config {}", quoted(file))).unwrap_or_default();
        let name = cargo.clone().unwrap_or_else(|| quoted(file));
        let program = cargo.unwrap_or_else(|| if is_in_path { "switchboard".to_owned() } else { quoted(program) });
        Self { program, configuration, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_command_as_it_was_started() {
        let check = |line: &str, by_cargo, is_in_path, expected: &str, to_strangers: &str| {
            let words: Vec<String> = line.split('|').map(str::to_owned).collect();
            let started = Started::of(&words, by_cargo, is_in_path);
            assert_eq!((&*format!("{}{}", started.program, started.configuration), &*started.name), (expected, to_strangers), "{line}");
        };
        check("target/release/switchboard", true, false, "cargo run --release --", "cargo run --release --");
        check("target/debug/switchboard|run", true, false, "cargo run --", "cargo run --");
        check("/home/ann/x/target/small/switchboard", true, false, "cargo run --profile small --", "cargo run --profile small --");
        check("target/release/switchboard", false, false, "target/release/switchboard", "switchboard");
        check("/opt/switchboard/current/switchboard|run", true, true, "switchboard", "switchboard");
        check("/opt/switchboard/current/switchboard|run", false, false, "/opt/switchboard/current/switchboard", "switchboard");
        check("switchboard|--config|family.toml", false, true, "switchboard --config family.toml", "switchboard");
        check("./switchboard|run|--config=my file.toml", false, false, "./switchboard --config 'my file.toml'", "switchboard");
    }
}
