//! `systemctl reload`: what it says is what happened, and the unit stays up whatever the configuration is.

use super::host::{BRIEF, Host};
use crate::gateway::until;

#[test]
fn g29_systemctl_reloads_and_tells_a_bad_configuration() {
    let Some(host) = Host::serving(BRIEF) else { return };
    let (instance, pid) = (host.instance().expect("ready"), host.main_pid());
    host.configure(|text| text.replace("[access]", "[texts]\nunknown = \"What?\"\n[access]"));
    host.done(&["systemctl", "reload", "switchboard"]);
    host.home.telegram.push_text(1, 1, "/nonsense");
    host.home.told(1, "What?");
    assert_eq!(host.property("ActiveState"), "active");

    host.configure(|text| text.replace("agent = \"default\"", "agent = \"nobody\""));
    let bad = host.run(&["systemctl", "reload", "switchboard"]);
    assert_ne!(bad.code, Some(0), "{bad:?}");
    assert!(host.log().contains("there is no agent \"nobody\""));
    until("a status that tells it", || host.property("StatusText").contains("the last reload failed").then_some(()));
    host.wait_for_property("ActiveState", "active");
    host.home.telegram.push_text(2, 2, "hello");
    host.home.told(2, "You said: hello");

    // By a signal, as from 253 on.
    host.configure(ToOwned::to_owned);
    host.done(&["systemctl", "kill", "--signal=HUP", "--kill-whom=main", "switchboard"]);
    until("a status without it", || (!host.property("StatusText").contains("the last reload failed")).then_some(()));
    host.wait_for_property("ActiveState", "active");
    assert_eq!((host.instance(), host.main_pid()), (Some(instance), pid));
    assert_eq!(host.property("NRestarts"), "0");
}
