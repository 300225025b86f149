//! An authority of the test's own: certificates for names, good, late or somebody else's, in files and in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{output, tool};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub der: CertificateDer<'static>,
    pub key_der: PrivateKeyDer<'static>,
}

impl Issued {
    /// As the configuration names it.
    pub fn toml(&self) -> String {
        format!("{{ cert = \"{}\", key = \"{}\" }}", self.cert.display(), self.key.display())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Authority {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ringress-authority-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("test authority {number}"));
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A response of OCSP that says the certificate is good, in a file.
    pub fn ocsp(&self, issued: &Issued) -> PathBuf {
        let path = |file: &str| self.folder.join(file);
        let serial = output(tool("openssl", "openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&issued.cert));
        let serial = serial.trim().trim_start_matches("serial=");
        std::fs::write(path("index.txt"), format!("V\t900101000000Z\t\t{serial}\tunknown\t/CN=x\n")).unwrap();
        std::fs::write(path("ca.key"), self.issuer.key().serialize_pem()).unwrap();
        let mut openssl = tool("openssl", "openssl");
        openssl
            .arg("ocsp")
            .arg("-index")
            .arg(path("index.txt"))
            .arg("-CA")
            .arg(self.ca())
            .arg("-issuer")
            .arg(self.ca());
        openssl.arg("-rsigner").arg(self.ca()).arg("-rkey").arg(path("ca.key")).arg("-cert").arg(&issued.cert);
        output(openssl.args(["-ndays", "5", "-respout"]).arg(path("ocsp.der")));
        path("ocsp.der")
    }

    /// A list of revoked certificates with these on it, in a file; it ends with the given year.
    pub fn revoke(&self, revoked: &[&Issued], year: i32) -> PathBuf {
        let entry = |issued: &&Issued| {
            let (_, certificate) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(certificate.raw_serial()),
                revocation_time: rcgen::date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let parameters = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = self.folder.join("revoked.crl");
        std::fs::write(&list, parameters.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        list
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for these names, in the files `file.crt` and `file.key`.
    pub fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_until(file, names, 2090)
    }

    /// One that ends with the given year.
    pub fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Issued {
        self.issue_ending(file, names, |parameters| parameters.not_after = rcgen::date_time_ymd(year, 12, 31))
    }

    /// One that ends in so many seconds.
    pub fn issue_for(&self, file: &str, names: &[&str], seconds: u64) -> Issued {
        self.issue_ending(file, names, |parameters| {
            let end = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
            parameters.not_after = end.into();
        })
    }

    fn issue_ending(&self, file: &str, names: &[&str], end: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        end(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let path = |extension: &str| self.folder.join(format!("{file}.{extension}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        Issued {
            cert: path("crt"),
            key: path("key"),
            der: certificate.der().clone(),
            key_der: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}
