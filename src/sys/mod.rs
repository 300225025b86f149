//! The operating system where no library reaches it: the only place of `unsafe`.

pub mod clock;
pub mod limits;
pub mod memory;
pub mod process;
pub mod signals;
pub mod socket;
