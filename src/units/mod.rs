//! The words of a configuration: durations, sizes, addresses. Each is parsed once, with an error that names the remedy.

pub mod addresses;
pub mod hidden;
mod material;
mod quantities;
pub mod text;

pub use addresses::{EndpointAddress, ListenAddress};
pub use material::Material;
pub use quantities::{Duration, FileMode, Size};
