//! What a client's certificate says of its owner, as text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

/// The names of a certificate, and its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Whose it is, as RFC 4514 writes it: the most specific part first.
    pub subject: String,
    /// Who vouches for it, in the same form.
    pub issuer: String,
    /// Its number, in hexadecimal digits.
    pub serial: String,
}

/// The bytes of a certificate that RFC 9440 §2.2 writes.
#[must_use]
pub fn der_of(client: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(client.strip_prefix(':')?.strip_suffix(':')?).ok()
}

/// What a certificate says; `None` where its bytes are none.
#[must_use]
pub fn names_of(der: &[u8]) -> Option<CertificateNames> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut serial = String::new();
    // The zero before a first bit that is set is a matter of DER.
    let number = certificate.raw_serial();
    put_hexadecimal(&mut serial, number.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(number));
    Some(CertificateNames { subject: text_of(certificate.subject()), issuer: text_of(certificate.issuer()), serial })
}

/// RFC 4514 §2, with everything but printable ASCII as pairs of hexadecimal digits.
fn text_of(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (at, part) in parts.into_iter().rev().enumerate() {
        for (of_part, attribute) in part.iter().enumerate() {
            if at + of_part > 0 {
                text.push(if of_part > 0 { '+' } else { ',' });
            }
            match oid2abbrev(attribute.attr_type(), oid_registry()) {
                Ok(short) => text.push_str(short),
                Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(&mut text, value),
                // No text that is known here: as its bytes (RFC 4514 §2.4).
                Err(_) => {
                    text.push('#');
                    put_hexadecimal(&mut text, attribute.attr_value().as_bytes());
                }
            }
        }
    }
    text
}

fn put_hexadecimal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
}

fn escape(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let is_at_edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' if !is_at_edge => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_from_the_most_specific_part_on() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "DE");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "A, B \u{e4}");
        params.distinguished_name.push(rcgen::DnType::CommonName, "#me\r\nX: y");
        params.serial_number = Some(vec![1, 0xab].into());
        let names = names_of(params.self_signed(&key).unwrap().der()).unwrap();
        let subject = "CN=\\23me\\0D\\0AX: y,O=A\\, B \\C3\\A4,C=DE";
        assert_eq!(names, CertificateNames { subject: subject.into(), issuer: subject.into(), serial: "01AB".into() });
        assert_eq!(names_of(b"no certificate"), None);
        assert_eq!(der_of(":YWJj:").unwrap(), b"abc");
        assert_eq!(der_of("YWJj"), None);
    }
}
