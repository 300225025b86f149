//! What a filter must find out before it can say what becomes of a request: the worker finds out, and the chain goes on.

use std::sync::Arc;

use crate::failure::Failure;
use crate::label::Label;
use crate::proto::h1::field::{Known, KnownSet};
use crate::proto::h1::response::ResponseHead;

/// What must be found out.
pub enum Errand {
    /// What a service answers.
    Ask(Box<Question>),
    /// Whether the hash is of the password, which takes long to compute.
    Password {
        /// The hash.
        hash: Arc<str>,
        /// What was typed.
        password: Vec<u8>,
    },
}

/// It says what it is, and neither passwords nor what is shown to a service.
impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ask(question) => write!(f, "Ask({})", String::from_utf8_lossy(&question.target)),
            Self::Password { .. } => f.write_str("Password"),
        }
    }
}

/// A question to a service.
pub struct Question {
    /// The service.
    pub service: Label,
    /// The method, a token.
    pub method: Vec<u8>,
    /// The target in origin form.
    pub target: Vec<u8>,
    /// The authority; `None` for the endpoint's name.
    pub host: Option<Vec<u8>>,
    /// Fields, without `Host` and those of the connection.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The longest body of the request that goes in its place; `None` where that stays with the request.
    pub client_body_max: Option<u64>,
    /// Most bytes of the answer's body that are wanted.
    pub body_max: usize,
    /// How answers are remembered; `None` where they are not.
    pub memory: Option<AnswerMemory>,
}

/// How the answer to a question is remembered.
pub struct AnswerMemory {
    /// By what, beside service, method and target.
    pub key: Vec<u8>,
    /// For how long.
    pub times: AnswerTimes,
    /// What the service says of caches, and what it sets for one client alone, keeps an answer from being remembered.
    pub heeds_service: bool,
}

/// How long answers are remembered, by their status.
#[derive(Clone, Debug)]
pub struct AnswerTimes(pub Arc<[(u16, u64)]>);

impl AnswerTimes {
    /// For how many milliseconds one of this status is; `None` where it is not.
    #[must_use]
    pub fn for_ms(&self, status: u16) -> Option<u64> {
        self.0.iter().find(|(own, _)| *own == status).map(|(_, ms)| *ms)
    }
}

/// What was found out.
#[derive(Debug)]
pub enum FoundOut<'r> {
    /// The answer of the service, or why there is none.
    Reply(Result<ServiceReply<'r>, Failure>),
    /// Whether the password is right; `None` where nobody had time to compute it.
    Password(Option<bool>),
}

/// The answer to a question.
#[derive(Clone, Copy, Debug)]
pub struct ServiceReply<'r> {
    /// The head.
    pub head: &'r ResponseHead,
    /// What it was parsed from.
    pub bytes: &'r [u8],
    /// The body, or as much of it as was wanted.
    pub body: &'r [u8],
    /// True where that is all of it.
    pub is_whole: bool,
}

/// Fields and body of an answer that is not ours.
pub type OthersAnswer = (Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

impl ServiceReply<'_> {
    /// What a client gets of it: all but what is of its connection.
    #[must_use]
    pub fn answer(&self) -> OthersAnswer {
        const OF_CONNECTION: KnownSet =
            KnownSet::of(&[Known::ContentLength, Known::Date]).with(KnownSet::HOP_BY_HOP, true);
        let passing =
            self.head.fields(self.bytes).filter(|(field, ..)| !OF_CONNECTION.has(field.known) && !field.nominated);
        // A part of a body must not look like the whole.
        let is_kept = |name: &[u8]| self.is_whole || !name.eq_ignore_ascii_case(b"content-encoding");
        let passing = passing.filter(|(_, name, _)| is_kept(name));
        let body = if self.is_whole { self.body } else { b"" };
        (passing.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect(), body.to_vec())
    }
}
