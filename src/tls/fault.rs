//! Names what went wrong in TLS: short and stable, for causes, metrics and the log.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library adds errors as it likes; each has a name here or a common one"
)]

use rustls::{AlertDescription, CertificateError, Error};

use crate::failure::TlsFault;

/// The name of an error.
#[must_use]
pub fn name(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(fault) => certificate_fault(fault),
        Error::AlertReceived(alert) => alert_name(*alert),
        Error::NoCertificatesPresented => "no_certificate",
        Error::NoApplicationProtocol => "no_application_protocol",
        Error::PeerIncompatible(rustls::PeerIncompatible::NoCipherSuitesInCommon) => "no_common_cipher",
        Error::PeerIncompatible(
            rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13
            | rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | rustls::PeerIncompatible::Tls12NotOffered
            | rustls::PeerIncompatible::Tls12NotOfferedOrEnabled
            | rustls::PeerIncompatible::Tls13RequiredForQuic
            | rustls::PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "version",
        Error::PeerIncompatible(_) => "incompatible",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "no_tls",
        Error::InappropriateHandshakeMessage { .. } | Error::PeerMisbehaved(_) => "misbehaved",
        Error::DecryptError => "decrypt_error",
        Error::PeerSentOversizedRecord => "oversized_record",
        Error::General(_) => "no_name",
        _ => "failed",
    }
}

/// The error of a handshake with an upstream, as a cause.
#[must_use]
pub fn cause(error: &Error) -> TlsFault {
    match error {
        Error::InvalidCertificate(_) => TlsFault::Certificate(name(error)),
        Error::AlertReceived(_) => TlsFault::Alert(name(error)),
        _ => TlsFault::Protocol(name(error)),
    }
}

fn certificate_fault(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer => "unknown_issuer",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not_valid_yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "name_mismatch",
        CertificateError::Revoked => "revoked",
        CertificateError::BadSignature => "bad_signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "wrong_purpose",
        // The library has no name of its own for it.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => "is_an_authority",
        _ => "bad_certificate",
    }
}

const fn alert_name(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::HandshakeFailure => "alert_handshake_failure",
        AlertDescription::BadCertificate => "alert_bad_certificate",
        AlertDescription::UnsupportedCertificate => "alert_unsupported_certificate",
        AlertDescription::CertificateRevoked => "alert_certificate_revoked",
        AlertDescription::CertificateExpired => "alert_certificate_expired",
        AlertDescription::CertificateUnknown => "alert_certificate_unknown",
        AlertDescription::CertificateRequired => "alert_certificate_required",
        AlertDescription::UnknownCA => "alert_unknown_ca",
        AlertDescription::AccessDenied => "alert_access_denied",
        AlertDescription::ProtocolVersion => "alert_protocol_version",
        AlertDescription::InternalError => "alert_internal_error",
        AlertDescription::UnrecognisedName => "alert_unrecognized_name",
        AlertDescription::NoApplicationProtocol => "alert_no_application_protocol",
        _ => "alert",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_reason_is_named() {
        assert_eq!(name(&Error::InvalidCertificate(CertificateError::UnknownIssuer)), "unknown_issuer");
        assert_eq!(name(&Error::InvalidCertificate(CertificateError::Expired)), "expired");
        assert_eq!(name(&Error::AlertReceived(AlertDescription::UnknownCA)), "alert_unknown_ca");
    }
}
