//! What is found wrong with an object while it is translated, and whether its requests are refused for that.

use std::cell::{Cell, RefCell};

use super::plan::{Owner, Plan};
use crate::filter::Filter;

/// What is wrong with an object.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The object.
    pub owner: Owner<'a>,
    is_denied: Cell<bool>,
    /// What, with the key where it stands.
    problems: RefCell<Vec<(String, String)>>,
}

impl<'a> Findings<'a> {
    /// Nothing so far.
    #[must_use]
    pub const fn new(owner: Owner<'a>) -> Self {
        Self { owner, is_denied: Cell::new(false), problems: RefCell::new(Vec::new()) }
    }

    /// Notes what is wrong at a key.
    pub fn tell(&self, key: &str, what: &str) {
        self.problems.borrow_mut().push((key.to_owned(), what.to_owned()));
    }

    /// Has all requests of this object refused, for what is wrong at a key.
    pub fn deny(&self, key: &str, what: &str) {
        self.tell(key, &format!("{what}; its requests are answered 503"));
        self.is_denied.set(true);
    }

    /// True where all its requests are refused.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        self.is_denied.get()
    }

    /// Tells what was found wrong until now, each once.
    pub fn finish(&self, plan: &mut Plan) {
        let mut problems = self.problems.take();
        problems.sort();
        problems.dedup();
        for (key, what) in problems {
            plan.problem(self.owner, &key, what, "");
        }
    }

    /// A filter as the configuration writes it. What does not fit is a fault at this key, and requests are refused for it.
    #[must_use]
    pub fn filter(&self, key: &str, written: serde_json::Value) -> Option<Filter> {
        serde_json::from_value(written).map_err(|error| self.deny(key, &error.to_string())).ok()
    }
}
