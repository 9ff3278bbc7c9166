//! Whether an address is this machine's own: what goes there passes no wire, needs no TLS, and is no proxy's business.

use std::net::IpAddr;

/// Whether this host names the machine itself. An unspecified address is none to listen on for oneself alone.
pub fn is_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        // RFC 6761, section 6.3.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether what is sent to this address stays on the machine. What is sent to an unspecified address does, too.
pub fn is(address: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(address) else { return false };
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    is_host(host) || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_has_many_names() {
        for (host, itself) in [
            ("localhost", true),
            ("LOCALHOST.", true),
            ("model.localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("[::1]", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("", false),
        ] {
            assert_eq!(is_host(host), itself, "{host}");
        }
        for (address, itself) in [
            ("http://127.0.0.1:8080/v1", true),
            ("http://[::1]/", true),
            ("http://0.0.0.0:8080/", true),
            ("http://0x7f.1/", true),
            ("http://localhost@evil.example/", false),
            ("https://api.example.org/v1", false),
            ("nonsense", false),
        ] {
            assert_eq!(is(address), itself, "{address}");
        }
    }
}
