//! Listening sockets that the service manager holds for us, so that a restart refuses no connection: whoever connects in between waits in
//! the kernel until the new instance accepts.
//!
//! There are two ways, both of systemd. With a .socket unit it listens for us, and starts us when somebody comes. Without one we listen
//! ourselves and leave it a copy (the file descriptor store), which it gives back to the next instance and forgets when the service is
//! stopped: then nobody who comes by starts what an operator stopped. That is why it is the default.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, RawFd};

use sd_notify::NotifyState;

use crate::handover::adopt;

/// What listening sockets are for, with the names by which the manager knows them. A name that is none of these is that of a .socket unit for
/// the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The page, at `http.listen`.
    Page,
    /// Probes alone, at `http.probes`.
    Probes,
}

/// The name of a .socket unit's sockets for probes (`FileDescriptorName=probes`).
const PROBES: &str = "probes";

impl Purpose {
    /// The name of those that we left with the manager.
    fn kept(self) -> &'static str {
        match self {
            Purpose::Page => "http-kept",
            Purpose::Probes => "probes-kept",
        }
    }

    /// What sockets of this name are for.
    fn of(name: &str) -> Self {
        if name == PROBES || name == Purpose::Probes.kept() { Purpose::Probes } else { Purpose::Page }
    }

    /// The key that says where they listen.
    pub fn key(self) -> &'static str {
        match self {
            Purpose::Page => "http.listen",
            Purpose::Probes => "http.probes",
        }
    }
}

/// Sockets by their purpose; none: listen yourself.
#[derive(Debug, Default)]
pub struct Held {
    /// Where the page is.
    pub page: Option<Vec<TcpListener>>,
    /// Where probes are alone.
    pub probes: Option<Vec<TcpListener>>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// Listen ourselves; what was kept listens elsewhere by now.
    Bind,
    /// Those at these places in the list.
    Use(Vec<usize>),
}

/// Which of the sockets, each with its name and address, serve `wanted`: those of a .socket unit as they are, kept ones only where they are
/// exactly what is wanted.
fn choose(purpose: Purpose, found: &[(String, Option<SocketAddr>)], wanted: &[SocketAddr]) -> Choice {
    let is = |at: usize, kept: bool| {
        let (name, address) = &found[at];
        Purpose::of(name) == purpose && (name == purpose.kept()) == kept && address.is_some()
    };
    let of = |kept: bool| (0..found.len()).filter(|at| is(*at, kept)).collect::<Vec<_>>();
    let (activated, kept) = (of(false), of(true));
    if !activated.is_empty() {
        return Choice::Use(activated);
    }
    let addresses: Vec<SocketAddr> = kept.iter().filter_map(|at| found[*at].1).collect();
    if same(&addresses, wanted) && !kept.is_empty() { Choice::Use(kept) } else { Choice::Bind }
}

/// Whether these are the same addresses, in whatever order.
fn same(some: &[SocketAddr], others: &[SocketAddr]) -> bool {
    some.len() == others.len() && others.iter().all(|other| some.contains(other))
}

/// The sockets that the image before left us, where they are what the configuration says now.
pub fn as_configured(listeners: Vec<TcpListener>, listen: &str, probes: &str) -> Held {
    let wanted = addresses(probes);
    let (aside, page) = listeners.into_iter().partition(|listener| listener.local_addr().is_ok_and(|at| wanted.contains(&at)));
    Held { page: exactly(page, &addresses(listen)), probes: exactly(aside, &wanted) }
}

/// These sockets, where they are all of those wanted.
fn exactly(listeners: Vec<TcpListener>, wanted: &[SocketAddr]) -> Option<Vec<TcpListener>> {
    // Any port is every port.
    let serves = |at: &SocketAddr, wanted: &SocketAddr| at == wanted || (wanted.port() == 0 && at.ip() == wanted.ip());
    let found: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let same = found.len() == wanted.len() && wanted.iter().all(|wanted| found.iter().any(|at| serves(at, wanted)));
    (same && !found.is_empty()).then_some(listeners)
}

/// What `listen` names; nothing when it is empty.
fn addresses(listen: &str) -> Vec<SocketAddr> {
    listen.to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

/// The sockets that the manager holds for the page and, where it is at an address of its own, for `probes`. To be asked once, before anything
/// else opens descriptors.
pub fn take(listen: &str, probes: &str) -> Held {
    let given: Vec<(RawFd, String)> = match sd_notify::listen_fds_with_names() {
        Ok(given) => given.collect(),
        Err(error) => {
            tracing::warn!(%error, "the service manager's sockets cannot be used");
            return Held::default();
        }
    };
    let sockets = given.into_iter().filter_map(|(number, name)| Some((TcpListener::from(adopt(number).ok()?), name)));
    let mut sockets: Vec<Option<(TcpListener, String)>> = sockets.map(Some).collect();
    let page = chosen(Purpose::Page, &mut sockets, listen);
    let probes = chosen(Purpose::Probes, &mut sockets, probes);
    Held { page, probes }
}

/// Takes those for `purpose` out of what is left of the manager's sockets; what was kept and is not wanted any more stops listening.
fn chosen(purpose: Purpose, sockets: &mut [Option<(TcpListener, String)>], listen: &str) -> Option<Vec<TcpListener>> {
    let address = |socket: &TcpListener| socket.local_addr().ok();
    let found: Vec<_> = sockets.iter().map(|held| held.as_ref().map(|(socket, name)| (name.clone(), address(socket)))).collect();
    let found: Vec<_> = found.into_iter().map(Option::unwrap_or_default).collect();
    let wanted = addresses(listen);
    match choose(purpose, &found, &wanted) {
        Choice::Use(_) if listen.is_empty() => {
            tracing::warn!("the .socket unit listens for probes, but {} is empty: nobody answers there", purpose.key());
            None
        }
        Choice::Use(places) => {
            let chosen = places.into_iter().filter_map(|place| sockets[place].take()).map(|(socket, _)| socket);
            let chosen: Vec<TcpListener> = chosen.collect();
            let addresses: Vec<_> = chosen.iter().filter_map(address).collect();
            tracing::info!(?addresses, "listening on what the service manager holds");
            if !same(&addresses, &wanted) {
                tracing::warn!(
                    ?addresses,
                    configured = listen,
                    "the .socket unit listens elsewhere than {} says, and it counts",
                    purpose.key()
                );
            }
            Some(chosen)
        }
        Choice::Bind => {
            if found.iter().any(|(name, _)| name == purpose.kept()) {
                for (socket, _) in sockets.iter().flatten().filter(|(_, name)| name == purpose.kept()) {
                    stop_listening(socket);
                }
                tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(purpose.kept())]);
            }
            None
        }
    }
}

/// Ends the listening of every copy of a socket, also the manager's: it gives that up only in a while, and until then its address would be taken.
fn stop_listening(socket: &TcpListener) {
    if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
        tracing::debug!(%error, "a kept socket still listens");
    }
}

/// Leaves copies of sockets that we listen on ourselves with the manager, for the next instance.
pub fn keep(purpose: Purpose, listeners: &[TcpListener]) {
    for listener in listeners {
        if let Err(error) = sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(purpose.kept())], &[listener.as_fd()]) {
            tracing::debug!(%error, "the service manager keeps no socket");
        }
    }
}

fn tell(news: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_image_before_serve_only_the_address_that_is_configured() {
        let socket = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (one, other) = (socket(), socket());
        let (here, elsewhere) = (one.local_addr().expect("it listens"), other.local_addr().expect("it listens"));
        let check = |left: &[&TcpListener], listen: &str, probes: &str, expected: (bool, bool)| {
            let left = left.iter().map(|socket| socket.try_clone().expect("a copy")).collect();
            let held = as_configured(left, listen, probes);
            assert_eq!((held.page.is_some(), held.probes.is_some()), expected, "{listen:?} and {probes:?}");
        };
        let (here, elsewhere) = (&*here.to_string(), &*elsewhere.to_string());
        check(&[&one], here, "", (true, false));
        check(&[&one], elsewhere, "", (false, false));
        check(&[&one, &other], here, "", (false, false));
        check(&[&one], "127.0.0.1:0", "", (true, false));
        check(&[], here, "", (false, false));
        check(&[&one, &other], here, elsewhere, (true, true));
        check(&[&one], here, elsewhere, (true, false));
        check(&[&one], elsewhere, here, (false, true));
    }

    #[test]
    fn kept_sockets_serve_only_the_addresses_that_are_configured() {
        let serve = |purpose: Purpose, found: &[(&str, Option<&str>)], wanted: &[&str], expected: Choice| {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let found: Vec<_> = found.iter().map(|(name, at)| ((*name).to_owned(), at.map(address))).collect();
            let wanted: Vec<_> = wanted.iter().map(|text| address(text)).collect();
            assert_eq!(choose(purpose, &found, &wanted), expected, "{found:?} for {wanted:?}");
        };
        let check = |found: &[(&str, Option<&str>)], wanted: &[&str], expected: Choice| serve(Purpose::Page, found, wanted, expected);
        const KEPT: &str = "http-kept";
        let (one, two) = ("127.0.0.1:7878", "[::1]:7878");
        check(&[], &[one], Choice::Bind);
        check(&[(KEPT, Some(one))], &[one], Choice::Use(vec![0]));
        check(&[(KEPT, Some(one)), (KEPT, Some(two))], &[two, one], Choice::Use(vec![0, 1]));
        check(&[(KEPT, Some(one))], &["127.0.0.1:7879"], Choice::Bind);
        check(&[(KEPT, Some(one))], &[one, two], Choice::Bind);
        check(&[(KEPT, Some(one)), (KEPT, Some(two))], &[one], Choice::Bind);
        check(&[("http", Some(two)), (KEPT, Some(one))], &[one], Choice::Use(vec![0]));
        check(&[("http", None)], &[one], Choice::Bind);
        check(&[("probes", Some(two)), ("http", Some(one))], &[one], Choice::Use(vec![1]));
        check(&[("probes", Some(one)), ("probes-kept", Some(one))], &[one], Choice::Bind);
        serve(Purpose::Probes, &[("probes", Some(two)), ("http", Some(one))], &[two], Choice::Use(vec![0]));
        serve(Purpose::Probes, &[("probes-kept", Some(two)), (KEPT, Some(one))], &[two], Choice::Use(vec![0]));
        serve(Purpose::Probes, &[("probes-kept", Some(two))], &[], Choice::Bind);
    }
}
