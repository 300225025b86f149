//! What bytes pass through: connections, plain or with TLS, and the streams of HTTP/2. It knows no request.

pub(crate) mod connection;
pub(crate) mod early;
pub(crate) mod ends;
pub(crate) mod fault;
pub(crate) mod h2;
pub(crate) mod link;
pub(crate) mod records;
pub(crate) mod send;
pub(crate) mod tls;
pub(crate) mod tunnel;
