//! The endpoints among which one is picked, as a picker sees them.

/// What a picker must know of the endpoints, in their order.
pub trait Endpoints {
    /// How many there are.
    fn count(&self) -> usize;
    /// The share of one among the others; 0 where it takes no request now.
    fn share(&self, at: usize) -> u32;
    /// Requests of this worker that it is busy with.
    fn busy(&self, at: usize) -> usize;
    /// How long one takes to answer, in microseconds; 0 where nothing is known.
    fn latency_us(&self, at: usize) -> f64;
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of [`Fixed`].
    pub(in super::super) struct One {
        share: u32,
        pub(in super::super) busy: usize,
        pub(in super::super) latency_us: f64,
    }

    pub(in super::super) struct Fixed(pub(in super::super) Vec<One>);

    impl Fixed {
        /// Endpoints by their shares, and what each is busy with.
        pub(in super::super) fn new(endpoints: impl IntoIterator<Item = (u32, usize)>) -> Self {
            Self(endpoints.into_iter().map(|(share, busy)| One { share, busy, latency_us: 0.0 }).collect())
        }
    }

    impl Endpoints for Fixed {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn share(&self, at: usize) -> u32 {
            self.0[at].share
        }
        fn busy(&self, at: usize) -> usize {
            self.0[at].busy
        }
        fn latency_us(&self, at: usize) -> f64 {
            self.0[at].latency_us
        }
    }
}
