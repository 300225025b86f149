//! What a method says of a request, whoever sends it.

/// True where it asks for nothing to be done (RFC 9110 §9.2.1).
#[must_use]
pub const fn is_safe(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE")
}

/// True where doing it twice is as doing it once (RFC 9110 §9.2.2).
#[must_use]
pub const fn is_idempotent(method: &[u8]) -> bool {
    is_safe(method) || matches!(method, b"PUT" | b"DELETE")
}

/// True where a request has no body by custom (RFC 9110 §9.3).
#[must_use]
pub const fn has_usually_no_body(method: &[u8]) -> bool {
    is_safe(method) || matches!(method, b"DELETE")
}
