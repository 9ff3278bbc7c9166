//! The clean flag while its own disk fails, or the power goes, at every step of its writing: whole or not there, and never wrong (G8).

use nix::sys::signal::Signal;

use crate::gateway::{Home, until};
use crate::tracer::Tracer;

/// What becomes of a step.
const FATES: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=SIGKILL"];

/// What the flag's writing does, one after the other; and whether the flag is there when this does not happen.
const STEPS: [(&str, &str, bool); 5] = [
    ("openat", "clean.new", false),
    ("write", "clean.new", false),
    ("fsync", "clean.new", false),
    ("?rename,?renameat,?renameat2", "clean.new", false),
    // The name is there; after a power cut it may be gone.
    ("fsync", "", true),
];

#[test]
fn g08_a_flag_whose_writing_fails_or_is_cut_anywhere_is_whole_or_not_there() {
    let home = Home::with_demo("");
    for fate in FATES {
        for (calls, file, is_there) in STEPS {
            let case = format!("{fate} at {calls} of {file:?}");
            let gateway = home.start();
            let page = home.browser();
            assert_eq!(page.say(&case), 200);
            page.shown("You said: ");
            until("rest", || home.status().filter(|status| status["replies_owed"] == 0 && status["turns_running"] == 0));
            assert!(!home.is_marked(), "{case}: it was consumed");
            let path = home.state().path().join(file);
            let Some(tracer) = Tracer::inject(&gateway, calls, fate, &[&path]) else { return };
            gateway.signal(Signal::SIGTERM);
            let killed = fate.contains("KILL");
            let code = tracer.ended(gateway);
            assert_eq!(code, (!killed).then_some(0), "{case}: the intent, not the verdict");
            assert_eq!(home.is_marked(), is_there, "{case}");
            let gateway = home.start();
            let end = home.status().expect("it runs")["last_end"].as_str().expect("words").to_owned();
            assert_eq!(end == "clean", is_there, "{case}: {end}");
            assert_eq!(page.lines(0).0.len(), 2, "{case}: everything is there, and once");
            assert_eq!(gateway.stop(), Some(0));
            assert!(home.is_marked(), "{case}: what a failed write left behind is in nobody's way");
        }
    }
}
