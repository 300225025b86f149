//! The schema that people write, in TOML or YAML.
//!
//! `document` reads a text into a tree with places, `decode` turns the tree into a [`Config`] or tells every
//! problem; what the values mean together is checked by `control::compile`. A part of the schema that the data plane uses
//! as it is written is declared where it is used: timeouts, retries, limits, filters.

pub mod decode;
pub mod document;
pub mod files;
pub mod foreign;
pub mod health;
pub mod kubernetes;
pub mod listeners;
pub mod problem;
pub mod routes;
pub mod schema;
pub mod services;
pub mod source;
pub mod tls;
mod words;

pub use schema::{Config, EngineChoice, LogFormat};
pub use source::Source;
