//! HPACK (RFC 7541): how the fields of a head are written in a few bytes, by what was said before on the same connection.

pub mod decoder;
pub mod encoder;
pub mod huffman;
mod integer;
mod table;
