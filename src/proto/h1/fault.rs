//! The rules of a head by name, and what breaking one becomes: each variant is one way of being wrong.

#![expect(missing_docs, reason = "the variants are the rules' names, described in `rule`")]

use super::framing::FramingFault;
use super::target::TargetFault;
use crate::failure::Failure;

/// A way for a request head to be wrong. The fault is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault {
    Version,
    Method,
    Expectation,
    TargetTooLong,
    HeadTooLarge,
    BareLineFeed,
    RequestLine,
    FieldName,
    FieldValue,
    FieldUnderscore,
    Framing(FramingFault),
    HostMissing,
    HostRepeated,
    HostInvalid,
    HostDisagrees,
    TargetForm,
    TargetPercent,
    TargetCharacter,
    HiddenDots,
    Protocol,
    PseudoField,
    ConnectionField,
    BodyLength,
}

impl From<TargetFault> for RequestFault {
    fn from(fault: TargetFault) -> Self {
        match fault {
            TargetFault::Percent => Self::TargetPercent,
            TargetFault::Character => Self::TargetCharacter,
            TargetFault::Form => Self::TargetForm,
            TargetFault::HiddenDots => Self::HiddenDots,
        }
    }
}

impl RequestFault {
    /// The stable name of the rule that was broken.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Method => "method",
            Self::Expectation => "expectation",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::BareLineFeed => "bare_line_feed",
            Self::RequestLine => "request_line",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::FieldUnderscore => "field_underscore",
            Self::Framing(fault) => fault.rule(),
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostInvalid => "host_invalid",
            Self::HostDisagrees => "host_disagrees",
            Self::TargetForm => "target_form",
            Self::TargetPercent => "target_percent",
            Self::TargetCharacter => "target_character",
            Self::HiddenDots => "hidden_dots",
            Self::Protocol => "protocol",
            Self::PseudoField => "pseudo_field",
            Self::ConnectionField => "connection_field",
            Self::BodyLength => "body_length",
        }
    }
}

impl From<RequestFault> for Failure {
    fn from(fault: RequestFault) -> Self {
        match fault {
            RequestFault::Version => Self::ClientVersion,
            RequestFault::Method | RequestFault::Protocol => Self::ClientMethod,
            RequestFault::Expectation => Self::ClientExpectation,
            RequestFault::TargetTooLong => Self::ClientUriTooLong,
            RequestFault::HeadTooLarge => Self::ClientHeadTooLarge,
            RequestFault::BareLineFeed
            | RequestFault::RequestLine
            | RequestFault::FieldName
            | RequestFault::FieldValue
            | RequestFault::FieldUnderscore
            | RequestFault::Framing(_)
            | RequestFault::HostMissing
            | RequestFault::HostRepeated
            | RequestFault::HostInvalid
            | RequestFault::HostDisagrees
            | RequestFault::TargetForm
            | RequestFault::TargetPercent
            | RequestFault::TargetCharacter
            | RequestFault::HiddenDots
            | RequestFault::PseudoField
            | RequestFault::ConnectionField
            | RequestFault::BodyLength => Self::ClientBadRequest(fault.rule()),
        }
    }
}

/// A way for a response head to be wrong. The fault is the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    HeadTooLarge,
    BareLineFeed,
    StatusLine,
    Status,
    FieldName,
    FieldValue,
    Framing(FramingFault),
    TooManyInterim,
    UpgradeNotAsked,
    PseudoField,
    ConnectionField,
    BodyLength,
}

impl ResponseFault {
    /// The stable name of the rule that was broken.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head_too_large",
            Self::BareLineFeed => "bare_line_feed",
            Self::StatusLine => "status_line",
            Self::Status => "status",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::Framing(fault) => fault.rule(),
            Self::TooManyInterim => "too_many_interim",
            Self::UpgradeNotAsked => "upgrade_not_asked",
            Self::PseudoField => "pseudo_field",
            Self::ConnectionField => "connection_field",
            Self::BodyLength => "body_length",
        }
    }
}

impl From<ResponseFault> for Failure {
    fn from(fault: ResponseFault) -> Self {
        match fault {
            ResponseFault::HeadTooLarge => Self::UpstreamHeadTooLarge,
            ResponseFault::BareLineFeed
            | ResponseFault::StatusLine
            | ResponseFault::Status
            | ResponseFault::FieldName
            | ResponseFault::FieldValue
            | ResponseFault::Framing(_)
            | ResponseFault::TooManyInterim
            | ResponseFault::PseudoField
            | ResponseFault::ConnectionField
            | ResponseFault::BodyLength
            | ResponseFault::UpgradeNotAsked => Self::UpstreamBadHeader(fault.rule()),
        }
    }
}
