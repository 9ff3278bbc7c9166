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

/// The name of sockets that we left with the manager. Any other name is that of a .socket unit.
const KEPT: &str = "http-kept";

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
fn choose(found: &[(String, Option<SocketAddr>)], wanted: &[SocketAddr]) -> Choice {
    let of = |kept: bool| (0..found.len()).filter(move |at| (found[*at].0 == KEPT) == kept && found[*at].1.is_some()).collect::<Vec<_>>();
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

/// The sockets that the image before left us, where they are what `listen` says now; none: listen yourself.
pub fn as_configured(listeners: Vec<TcpListener>, listen: &str) -> Option<Vec<TcpListener>> {
    let wanted: Vec<SocketAddr> = listen.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    // Any port is every port.
    let serves = |at: &SocketAddr, wanted: &SocketAddr| at == wanted || (wanted.port() == 0 && at.ip() == wanted.ip());
    let found: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let same = found.len() == wanted.len() && wanted.iter().all(|wanted| found.iter().any(|at| serves(at, wanted)));
    (same && !found.is_empty()).then_some(listeners)
}

/// The sockets that the manager holds for `listen`; none: listen yourself. To be asked once, before anything else opens descriptors.
pub fn take(listen: &str) -> Option<Vec<TcpListener>> {
    let given: Vec<(RawFd, String)> = match sd_notify::listen_fds_with_names() {
        Ok(given) => given.collect(),
        Err(error) => {
            tracing::warn!(%error, "the service manager's sockets cannot be used");
            return None;
        }
    };
    let mut sockets: Vec<Option<(TcpListener, String)>> =
        given.into_iter().map(|(number, name)| Some((TcpListener::from(adopt(number).ok()?), name))).collect();
    let address = |socket: &TcpListener| socket.local_addr().ok();
    let found: Vec<_> = sockets.iter().flatten().map(|(socket, name)| (name.clone(), address(socket))).collect();
    sockets.retain(Option::is_some);
    let wanted: Vec<SocketAddr> = listen.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    match choose(&found, &wanted) {
        Choice::Use(places) => {
            let chosen = places.into_iter().filter_map(|place| sockets[place].take()).map(|(socket, _)| socket);
            let chosen: Vec<TcpListener> = chosen.collect();
            let addresses: Vec<_> = chosen.iter().filter_map(address).collect();
            tracing::info!(?addresses, "listening on what the service manager holds");
            if !same(&addresses, &wanted) {
                tracing::warn!(?addresses, http.listen = listen, "the .socket unit listens elsewhere than http.listen says, and it counts");
            }
            Some(chosen)
        }
        Choice::Bind => {
            if found.iter().any(|(name, _)| name == KEPT) {
                for (socket, _) in sockets.iter().flatten().filter(|(_, name)| name == KEPT) {
                    stop_listening(socket);
                }
                tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(KEPT)]);
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
pub fn keep(listeners: &[TcpListener]) {
    for listener in listeners {
        if let Err(error) = sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(KEPT)], &[listener.as_fd()]) {
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
        assert!(as_configured(vec![one.try_clone().expect("a copy")], &here.to_string()).is_some());
        assert!(as_configured(vec![one.try_clone().expect("a copy")], &elsewhere.to_string()).is_none());
        assert!(as_configured(vec![one.try_clone().expect("a copy"), other], &here.to_string()).is_none());
        assert!(as_configured(vec![one], "127.0.0.1:0").is_some());
        assert!(as_configured(Vec::new(), &here.to_string()).is_none());
    }

    #[test]
    fn kept_sockets_serve_only_the_addresses_that_are_configured() {
        let check = |found: &[(&str, Option<&str>)], wanted: &[&str], expected: Choice| {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let found: Vec<_> = found.iter().map(|(name, at)| ((*name).to_owned(), at.map(address))).collect();
            let wanted: Vec<_> = wanted.iter().map(|text| address(text)).collect();
            assert_eq!(choose(&found, &wanted), expected, "{found:?} for {wanted:?}");
        };
        let (one, two) = ("127.0.0.1:7878", "[::1]:7878");
        check(&[], &[one], Choice::Bind);
        check(&[(KEPT, Some(one))], &[one], Choice::Use(vec![0]));
        check(&[(KEPT, Some(one)), (KEPT, Some(two))], &[two, one], Choice::Use(vec![0, 1]));
        check(&[(KEPT, Some(one))], &["127.0.0.1:7879"], Choice::Bind);
        check(&[(KEPT, Some(one))], &[one, two], Choice::Bind);
        check(&[(KEPT, Some(one)), (KEPT, Some(two))], &[one], Choice::Bind);
        check(&[("http", Some(two)), (KEPT, Some(one))], &[one], Choice::Use(vec![0]));
        check(&[("http", None)], &[one], Choice::Bind);
    }
}
