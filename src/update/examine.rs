//! The look before the leap: the new version checks the configuration and a copy of the ledger, and the old one says whether it could still read what
//! came of that. Nothing that is in use is touched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use semver::Version;
use switchboard_actors::ledger::sqlite::SqliteLedger;

use super::machine::Change;
use super::subject::Subject;
use crate::durable;
use crate::exit::Exit;
use crate::install::Layout;

/// A check may take so long: a large ledger is brought up to date in it.
const LIMIT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a program printed, and how it ended.
struct Printed {
    code: Option<i32>,
    text: String,
}

/// Whether a program is the version that it should be.
///
/// # Errors
/// When it does not run here, or is another.
pub fn is_version(program: &Path, version: &Version) -> Result<(), String> {
    let printed = run(Command::new(program).arg("-V").env_clear().stdin(Stdio::null()))?;
    let said = printed.text.trim();
    match said == format!("switchboard {version}") {
        true => Ok(()),
        false => Err(format!("the program of version {version} says that it is {said:?}")),
    }
}

/// Lets the new version check everything. What it does to the ledger.
///
/// # Errors
/// When it, or the old one after it, finds something wrong; in words.
pub fn examine(layout: &Layout, subject: &Subject, from: &Version, to: &Version) -> Result<Change, String> {
    let state = subject.state();
    let check = |version: &Version| {
        let mut command = subject.command(&layout.program(&version.to_string()));
        command.arg("check");
        command
    };
    if !state.ledger().exists() {
        let printed = run(&mut check(to))?;
        return if printed.code == Some(0) { Ok(Change::Readable) } else { Err(objection(to, &printed)) };
    }
    let copy = Copy::of(&state.ledger(), &state.path().join("ledger.check.sqlite3"))?;
    let printed = run(check(to).arg("--ledger").arg(&copy.0).arg("--upgrade"))?;
    if printed.code != Some(0) {
        return Err(objection(to, &printed));
    }
    let printed = run(check(from).arg("--ledger").arg(&copy.0))?;
    match printed.code {
        Some(0) => Ok(Change::Readable),
        Some(code) if code == i32::from(Exit::State.code()) => Ok(Change::Breaking),
        // It could not be gone back to.
        _ => Err(objection(from, &printed)),
    }
}

fn objection(version: &Version, printed: &Printed) -> String {
    let code = printed.code.and_then(|code| u8::try_from(code).ok()).map_or_else(|| "was killed".into(), crate::exit::in_words);
    format!("version {version} checked the configuration and a copy of the ledger, and ended with {code}:\n{}", printed.text.trim())
}

/// A copy of the ledger, with all that a check leaves beside it.
struct Copy(PathBuf);

impl Copy {
    fn of(ledger: &Path, path: &Path) -> Result<Self, String> {
        let copy = Self(path.to_owned());
        copy.remove();
        SqliteLedger::copy(ledger, path).map_err(|error| format!("the ledger cannot be copied to be checked: {error}"))?;
        Ok(copy)
    }

    /// What is left after a cut goes with the next copy.
    fn remove(&self) {
        let rubbish = durable::beside(&self.0, "").unwrap_or_default();
        rubbish.iter().for_each(|path| _ = std::fs::remove_file(path));
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

fn run(command: &mut Command) -> Result<Printed, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let broken = |error: std::io::Error| format!("{program}: it cannot be run ({error})");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(broken)?;
    let until = Instant::now() + LIMIT;
    while child.try_wait().map_err(broken)?.is_none() {
        if Instant::now() >= until {
            child.kill().map_err(broken)?;
            return Err(format!("{program}: it did not end within {}", humantime::format_duration(LIMIT)));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let output = child.wait_with_output().map_err(broken)?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Printed { code: output.status.code(), text })
}
