//! What makes a message of HTTP/2 malformed, and which rule of a head that breaks.

use crate::proto::h1::fault::{RequestFault, ResponseFault};

/// What makes a message malformed (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFault {
    /// Its fields are more than 64 KiB, counted with 32 bytes more for each.
    TooLarge,
    /// A name that is no token in lower case.
    FieldName,
    /// A value with a control character.
    FieldValue,
    /// A pseudo-field that is missing, repeated, unknown or behind another field.
    PseudoField,
    /// A field of a connection of HTTP/1 (§8.2.2).
    ConnectionField,
    /// A body that is not as long as the head says (§8.1.1).
    Length,
}

impl From<MessageFault> for RequestFault {
    fn from(fault: MessageFault) -> Self {
        match fault {
            MessageFault::TooLarge => Self::HeadTooLarge,
            MessageFault::FieldName => Self::FieldName,
            MessageFault::FieldValue => Self::FieldValue,
            MessageFault::PseudoField => Self::PseudoField,
            MessageFault::ConnectionField => Self::ConnectionField,
            MessageFault::Length => Self::BodyLength,
        }
    }
}

impl From<MessageFault> for ResponseFault {
    fn from(fault: MessageFault) -> Self {
        match fault {
            MessageFault::TooLarge => Self::HeadTooLarge,
            MessageFault::FieldName => Self::FieldName,
            MessageFault::FieldValue => Self::FieldValue,
            MessageFault::PseudoField => Self::PseudoField,
            MessageFault::ConnectionField => Self::ConnectionField,
            MessageFault::Length => Self::BodyLength,
        }
    }
}
