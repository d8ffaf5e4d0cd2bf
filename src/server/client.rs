//! Whose connection it is, and how many one address may have.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, HeaderValue};

use super::rates::origin;
use crate::config::Ranges;

/// The address that a request comes from, in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    /// The peer itself, or whom a proxy that is trusted names: the last address of
    /// `X-Forwarded-For` that is no such proxy. What stands before it anybody can write.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, proxies: &Ranges) -> Self {
        if !proxies.contains(peer) {
            return Self(peer);
        }
        let named = headers.get_all("x-forwarded-for").iter();
        let named: Vec<&str> = named
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(','))
            .collect();
        for text in named.iter().rev() {
            match text.trim().parse::<IpAddr>() {
                Ok(address) if proxies.contains(address) => {}
                Ok(address) => return Self(address),
                Err(_) => break,
            }
        }
        Self(peer)
    }
}

/// Whether a trusted proxy says that it was asked by https.
pub(super) fn is_by_https(peer: IpAddr, headers: &HeaderMap, proxies: &Ranges) -> bool {
    let scheme = headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
    proxies.contains(peer) && scheme == Some(b"https")
}

/// Counts the connections of each address.
#[derive(Clone, Default)]
pub(super) struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that is counted as long as it is there.
pub(super) struct Guest {
    guests: Guests,
    origin: IpAddr,
}

impl Guests {
    /// None when the address has too many already.
    pub(super) fn admit(&self, address: IpAddr, most: usize) -> Option<Guest> {
        let origin = origin(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(origin).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest {
            guests: self.clone(),
            origin,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.origin);
            }
        }
    }
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
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let guests = Guests::default();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = guests.admit(one, 2).unwrap();
        let _second = guests.admit(one, 2).unwrap();
        assert!(guests.admit(one, 2).is_none() && guests.admit(other, 2).is_some());
        drop(first);
        assert!(guests.admit(one, 2).is_some());
        assert_eq!(
            guests.0.lock().unwrap().len(),
            1,
            "who has none is forgotten"
        );
    }
}
