//! Ranges of addresses, `10.0.0.0/8` (RFC 4632) or `2001:db8::/32` (RFC 4291).

use std::net::IpAddr;

/// Some ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(IpAddr, u32)>);

impl Ranges {
    /// One without a length is a single address. Names the text that is no range.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let range = |text: &String| {
            let wrong = || format!("\"{text}\" is no range of addresses such as 10.0.0.0/8");
            let (address, length) = match text.split_once('/') {
                None => (text.as_str(), None),
                Some((address, length)) => (address, Some(length)),
            };
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let length = length
                .map_or(Ok(longest), str::parse)
                .map_err(|_| wrong())?;
            (length <= longest)
                .then_some((address, length))
                .ok_or_else(wrong)
        };
        texts.iter().map(range).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(range, length)| match (range, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let differs = u32::from(*range) ^ u32::from(address);
                differs.leading_zeros() >= *length
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let differs = u128::from(*range) ^ u128::from(address);
                differs.leading_zeros() >= *length
            }
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_begins_as_it_does() {
        let texts = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"];
        let ranges = Ranges::parse(&texts.map(str::to_owned)).unwrap();
        for (address, expected) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::ffff:10.1.1.1", true),
        ] {
            assert_eq!(
                ranges.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        let all = Ranges::parse(&["0.0.0.0/0".to_owned()]).unwrap();
        assert!(all.contains("203.0.113.1".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "10/8", "a/8", "10.0.0.0/", "::/129"] {
            Ranges::parse(&[wrong.to_owned()]).expect_err(wrong);
        }
    }
}
