//! Log-in by OpenID Connect (Core 1.0): the authorization code flow with PKCE (RFC 7636), state and
//! nonce. What a token says counts only after [`verify`]; whom it names becomes a
//! [`claims::Person`].

mod claims;
mod keys;
mod provider;
mod verify;

pub(crate) use provider::{Attempt, Provider};

/// Why nobody is logged in. Says what is wrong, never what a token holds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("the provider could not be asked: {0}")]
    Provider(String),
    #[error("the provider's token is not taken: {0}")]
    Token(&'static str),
    #[error("the provider's token names nobody: {0}")]
    Nobody(String),
}
