//! Whom a request comes from, as far as its connection tells.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};

use crate::config::Ranges;

/// Who shares what is granted to one address: the [origin](origin()) of a request, in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    /// The peer itself, or whom a proxy that is trusted names: the last address of
    /// `X-Forwarded-For` that is no such proxy. What stands before it anybody can write.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, proxies: &Ranges) -> Self {
        Self(origin(Self::address(peer, headers, proxies)))
    }

    fn address(peer: IpAddr, headers: &HeaderMap, proxies: &Ranges) -> IpAddr {
        if !proxies.contains(peer) {
            return peer;
        }
        let named = headers.get_all("x-forwarded-for").iter();
        let named: Vec<&str> = named
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(','))
            .collect();
        for text in named.iter().rev() {
            match text.trim().parse::<IpAddr>() {
                Ok(address) if proxies.contains(address) => {}
                Ok(address) => return address,
                Err(_) => break,
            }
        }
        peer
    }
}

/// Who shares what is granted: an address of version 4, and the network of one of version 6, as whoever
/// has one of those has all of it.
pub(super) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
    }
}

/// Whether a trusted proxy says that it was asked by https.
pub(super) fn is_by_https(peer: IpAddr, headers: &HeaderMap, proxies: &Ranges) -> bool {
    let scheme = headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
    proxies.contains(peer) && scheme == Some(b"https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_names_others() {
        let proxies = Ranges::parse(&["10.0.0.0/8".to_owned()]).unwrap();
        let client = |peer: &str, named: &[&str]| {
            let headers = named
                .iter()
                .map(|it| ("x-forwarded-for".parse().unwrap(), it.parse().unwrap()));
            let headers: HeaderMap = headers.collect();
            Client::of(peer.parse().unwrap(), &headers, &proxies)
                .0
                .to_string()
        };
        assert_eq!(client("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(
            client("10.0.0.1", &["198.51.100.1, 192.0.2.7, 10.2.3.4"]),
            "192.0.2.7"
        );
        assert_eq!(
            client("10.0.0.1", &["198.51.100.1", "192.0.2.7"]),
            "192.0.2.7"
        );
        assert_eq!(client("10.0.0.1", &["192.0.2.7, nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("192.0.2.9", &["192.0.2.7"]), "192.0.2.9");
    }

    #[test]
    fn a_network_of_version_6_is_one_origin() {
        let of = |text: &str| origin(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8::1:2:3:4"), "2001:db8::");
        assert_eq!(of("10.1.2.3"), "10.1.2.3");
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
    }
}
