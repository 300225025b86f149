//! An API server of Kubernetes in memory, which fails as a real one rarely does: for tests, and to have very many objects.
//!
//! It lists, watches, reads, makes, replaces, patches and deletes any kind. It validates nothing.
#![allow(dead_code, unused_imports, reason = "each program that uses it needs a part")]

mod http;
mod store;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

pub use store::Store;

/// How it misbehaves, until it is told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Every watch is answered 410: what it asks for was compacted away.
    Gone,
    /// Watches are cut in the middle of an event.
    Cut,
    /// Watches stay open, and nothing comes.
    Stalled,
    /// Everything is answered 429 with `Retry-After: 1`.
    Busy,
    /// Everything is answered 401: the token has expired.
    Expired,
    /// Everything is answered 403, as without a role.
    Forbidden,
    /// Whoever wants to change something is told that it has changed meanwhile.
    Conflict,
    /// Connections are closed as they come.
    Away,
    /// Lists come in another order each time, and events twice.
    Disorder,
}

/// The server.
pub struct ApiServer {
    pub address: SocketAddr,
    pub store: Arc<Store>,
    shared: Arc<Shared>,
}

/// What all its connections know.
pub struct Shared {
    store: Arc<Store>,
    fault: Mutex<Fault>,
    /// Counts changes of the fault: watches that began before one end.
    era: AtomicUsize,
    /// Requests that came, by what they asked for.
    requests: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl ApiServer {
    /// Listens on a port of its own.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// Listens here.
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(Store::default());
        let shared = Arc::new(Shared {
            store: Arc::clone(&store),
            fault: Mutex::default(),
            era: AtomicUsize::new(0),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if accepting.fault() == Fault::Away {
                    continue;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || http::converse(&shared, stream));
            }
        });
        Self { address, store, shared }
    }

    /// Misbehaves so from now on; watches that are open end, but where they are to stall.
    pub fn fail(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        self.shared.era.fetch_add(1, Ordering::SeqCst);
        self.store.wake();
    }

    /// What was asked for so far: `GET /api/v1/services`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Makes or replaces what this YAML says; `namespace` where it names none.
    pub fn apply(&self, namespace: &str, objects: &str) {
        for object in documents(objects) {
            self.store.apply(namespace, object);
        }
    }

    /// Takes an object away.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        assert!(self.store.delete(plural, namespace, name), "there is no {plural} {namespace}/{name}");
    }

    /// An object as it is now.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.store.get(plural, namespace, name)
    }

    /// A kubeconfig that leads here, in this folder.
    pub fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let path = folder.join("kubeconfig.yaml");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{ server: \"http://{}\" }}\n\
             users:\n- name: u\n  user: {{ token: secret }}\n\
             contexts:\n- name: x\n  context: {{ cluster: c, user: u }}\ncurrent-context: x\n",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.fail(Fault::Away);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(100));
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn era(&self) -> usize {
        self.era.load(Ordering::SeqCst)
    }
}

/// The objects of a text in YAML, with `---` between them. JSON is YAML.
pub fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = text
        .split("\n---")
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let path = Path::new("objects.yaml");
            let same = |name: &str| Some(format!("${{{name}}}"));
            let part = part.replace('$', "$$");
            ringress::config::document::Node::parse(&part, ringress::config::document::Syntax::Yaml, path, &same)
                .unwrap_or_else(|problems| panic!("{problems:?} in {part}"))
                .value()
        })
        .collect();
    documents.into_iter().filter(|document| document.as_object().is_some_and(|object| !object.is_empty())).collect()
}
