//! What a filter knows of a request beside its head, and what it can say of it.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::failure::Failure;

/// What is known of a request beside its head. Each fact is asked once for a request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks, behind trusted proxies.
    pub client: IpAddr,
    /// The scheme that the client used, behind trusted proxies: `http` or `https`.
    pub scheme: &'static str,
    /// True where a trusted proxy's word of the client is believed.
    pub is_trusted: bool,
    /// What the TLS handshake came to, where there was one.
    pub tls: Option<&'a crate::tls::Facts>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It goes on.
    Pass,
    /// It is answered so.
    Answer(Answer<'a>),
    /// It is refused.
    Fail(Failure),
}

/// An answer of our own, in the upstream's place.
#[derive(Debug)]
pub struct Answer<'a> {
    /// 200 to 599.
    pub status: u16,
    /// Fields beside those of the connection, the date and the length.
    pub fields: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    /// The body.
    pub body: Cow<'a, [u8]>,
}
