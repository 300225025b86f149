//! What the files hold that a configuration names: read once with it, so that what is compiled is what was read.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::schema::Config;
use super::tls::Material;
use crate::filter::Filter;

/// Files by the names that the configuration gives them.
#[derive(Debug, Default)]
pub struct Files {
    /// The folder that relative names begin at.
    base: PathBuf,
    contents: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
    /// The authorities of the system, once somebody asked for them.
    authorities: OnceCell<Vec<CertificateDer<'static>>>,
    authorities_print: OnceCell<u64>,
    folders: BTreeMap<PathBuf, Result<Folder, String>>,
}

/// The certificates of a folder, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Certificates with their keys, which may stand in one file.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// Certificates without a key, such as the authority's beside them.
    pub alone: Vec<PathBuf>,
}

impl Files {
    /// Reads everything that `config` names; what cannot be read is told where it is used.
    pub(super) fn read(base: &Path, config: &Config) -> Self {
        let mut files = Self { base: base.to_owned(), ..Self::default() };
        for tls in config.listeners.values().filter_map(|listener| listener.tls.as_ref()) {
            tls.materials().for_each(|material| files.take_material(material));
            tls.directory.iter().for_each(|folder| files.take_folder(folder));
        }
        for material in config.filter_lists().flatten().flat_map(Filter::materials) {
            files.take_material(material);
        }
        let of_cluster = config.kubernetes.iter().map(|kubernetes| &kubernetes.service);
        let services = config.services.values().map(|service| &**service).chain(of_cluster);
        for tls in services.filter_map(|service| service.tls.as_ref()) {
            tls.materials().for_each(|material| files.take_material(material));
        }
        files
    }

    fn take_material(&mut self, material: &Material) {
        match material {
            Material::Path(path) => self.take(path),
            Material::Memory(..) => {}
        }
    }

    fn take_folder(&mut self, folder: &Path) {
        let read = read_folder(&self.base.join(folder)).map_err(|error| error.to_string());
        for (cert, key) in read.iter().flat_map(|folder| &folder.pairs) {
            self.take(cert);
            self.take(key);
        }
        self.folders.insert(folder.to_owned(), read);
    }

    fn take(&mut self, name: &Path) {
        let read = || std::fs::read(self.base.join(name)).map_err(|error| error.to_string());
        if !self.contents.contains_key(name) {
            let content = read();
            self.contents.insert(name.to_owned(), content);
        }
    }

    /// The authorities of the system, read once.
    pub fn system_authorities(&self) -> &[CertificateDer<'static>] {
        self.authorities.get_or_init(|| rustls_native_certs::load_native_certs().certs)
    }

    /// A number that is another where the system's authorities are others.
    pub fn system_print(&self) -> u64 {
        *self.authorities_print.get_or_init(|| {
            let mut print = DefaultHasher::new();
            self.system_authorities().hash(&mut print);
            print.finish()
        })
    }

    /// The bytes of a certificate, a key or an authority.
    ///
    /// # Errors
    /// Why they could not be read.
    pub fn get<'a>(&'a self, material: &'a Material) -> Result<&'a [u8], String> {
        let path = match material {
            Material::Path(path) => path,
            Material::Memory(_, bytes) => return Ok(bytes),
        };
        match self.contents.get(path) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => Err(error.clone()),
            None => Err("it was not read".to_owned()),
        }
    }

    /// What is in a folder.
    ///
    /// # Errors
    /// Why it could not be read.
    pub fn folder(&self, folder: &Path) -> Result<&Folder, String> {
        match self.folders.get(folder) {
            Some(Ok(read)) => Ok(read),
            Some(Err(error)) => Err(error.clone()),
            None => Err("it was not read".to_owned()),
        }
    }

    /// The folders of certificates, where what comes and goes changes something.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.keys().map(|name| self.base.join(name))
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.contents.keys().map(|name| self.base.join(name))
    }

    /// What the same names hold now.
    #[must_use]
    pub fn read_again(&self) -> Self {
        let mut again = Self { base: self.base.clone(), ..Self::default() };
        self.folders.keys().for_each(|folder| again.take_folder(folder));
        self.contents.keys().for_each(|name| again.take(name));
        again
    }

    /// True where the same names hold the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.contents == other.contents && self.folders == other.folders
    }
}

/// Each certificate in a folder: with the key beside it, with the one in its own file, or alone.
fn read_folder(folder: &Path) -> std::io::Result<Folder> {
    let mut found = Folder::default();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.extension().is_some_and(|extension| extension == "crt" || extension == "pem") {
            continue;
        }
        let key = path.with_extension("key");
        if key.exists() {
            found.pairs.push((path, key));
            continue;
        }
        let text = std::fs::read(&path).unwrap_or_default();
        let has = |label: &[u8]| memchr::memmem::find(&text, label).is_some();
        match (has(b"BEGIN CERTIFICATE-----"), has(b"PRIVATE KEY-----")) {
            (true, true) => found.pairs.push((path.clone(), path)),
            (_, false) => found.alone.push(path),
            // A key whose certificate has another name says nothing.
            (false, true) => {}
        }
    }
    found.pairs.sort();
    found.alone.sort();
    Ok(found)
}
