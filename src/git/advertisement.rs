//! What a server said it can do, kept so that the next fetch need not ask again.

use bytes::Bytes;

/// The answer to `GET info/refs` of a server that speaks protocol 2. It lists abilities and no
/// refs, so it stays true until the server is upgraded; the fetch that fails over it asks anew.
#[derive(Clone, Debug)]
pub(super) struct Advertisement {
    /// The address that answered, after a redirect on the same host.
    pub(super) base: String,
    pub(super) body: Bytes,
}

impl Advertisement {
    /// Small and of protocol 2, else it is not worth keeping or not safe to.
    pub(super) fn new(base: &str, body: &Bytes) -> Option<Self> {
        const LARGEST: usize = 4096;
        let marker = b"version 2\n";
        let speaks_two = body.windows(marker.len()).any(|window| window == marker);
        (speaks_two && body.len() <= LARGEST).then(|| Self {
            base: base.to_owned(),
            body: body.clone(),
        })
    }
}
