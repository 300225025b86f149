//! An annotation of any dialect, whatever it says, gives routes or problems, reads no file, and never panics.
#![no_main]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::config::kubernetes::{Dialect, KubernetesSpec};
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::control::kubernetes::index::{Index, Object};
use ringress::control::kubernetes::translate::world::{EntryPoints, World};
use ringress::control::kubernetes::translate::{nginx, own, traefik, translate};

thread_local! {
    // Names of zones are kept for as long as the process lives, as one that serves keeps them.
    static KEPT: RefCell<Kept> = RefCell::default();
}

const BASE: &str = "[listeners.web]\naddress = \":80\"\n[listeners.early]\naddress = \":443\"\ntls = { early_data = true }\n\
    [listeners.strict]\naddress = \":8443\"\ntls = { min_version = \"1.3\" }\n";

/// The annotation that a number stands for, with the class that it is for.
fn key(number: usize) -> (String, &'static str) {
    let all = nginx::rows::ROWS.len() + own::rows::ROWS.len() + traefik::rows::ROWS.len();
    let at = number % all;
    if let Some(row) = nginx::rows::ROWS.get(at) {
        return (format!("{}{}", nginx::rows::PREFIX, row.name), "nginx");
    }
    let at = at - nginx::rows::ROWS.len();
    match own::rows::ROWS.get(at) {
        Some(row) => (format!("{}{}", own::rows::PREFIX, row.name), "ringress"),
        None => {
            let row = &traefik::rows::ROWS[at - own::rows::ROWS.len()];
            (format!("{}{}", traefik::rows::PREFIXES[0], row.name), "traefik")
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((number, text)) = data.split_first_chunk::<2>() else { return };
    // Longer ones are only slower: expressions in them are compiled.
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| text.len() <= 512) else { return };
    let (key, class) = key(usize::from(u16::from_le_bytes(*number)));
    let mut annotations = serde_json::json!({ "nginx.ingress.kubernetes.io/auth-url": "http://a.test/", "nginx.ingress.kubernetes.io/enable-cors": "true" });
    annotations[&key] = text.into();
    let ingress = serde_json::json!({ "metadata": { "namespace": "shop", "name": "i", "annotations": annotations },
        "spec": { "ingressClassName": class, "rules": [{ "host": "a.test", "http": { "paths": [
            { "path": "/a", "pathType": "Prefix", "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
    let map = serde_json::json!({ "metadata": { "namespace": "shop", "name": "map" },
        "data": { "allow-snippet-annotations": "true", "annotations-risk-level": "Critical", "ssl-ciphers": text, "ssl-session-ticket-key": text,
            "block-user-agents": text, "ssl-session-timeout": text, "ssl-protocols": text, "keep-alive": text } });
    let mut index = Index::default();
    let (Ok(ingress), Ok(map)) = (serde_json::from_value(ingress), serde_json::from_value(map)) else { return };
    index.put(Object::Ingress(Arc::new(ingress)));
    index.put(Object::ConfigMap(Arc::new(map)));
    let spec = KubernetesSpec {
        dialects: vec![Dialect::Ringress, Dialect::IngressNginx, Dialect::Traefik1],
        config_map: Some("shop/map".to_owned()),
        ..KubernetesSpec::default()
    };
    let plan = translate(World { index: &index, spec: &spec, entry_points: &EntryPoints::new() });
    let base = Source::parse(BASE, Syntax::Toml, Path::new("r.toml"), &|_| None).unwrap();
    let (config, places) = plan.join(&base.config, &index, &spec);
    let joined = base.with_objects(config, places);
    assert_eq!(joined.files.paths().count(), 0, "an annotation names no file");
    let compiled = KEPT.with_borrow_mut(|kept| compile(&joined, &Resolved::new(), kept, 1));
    match compiled {
        Ok(compiled) => assert_eq!(compiled.snapshot.listeners.len(), 3, "an object ended a listener"),
        Err(problems) => panic!("an object refuses the file: {problems:?}"),
    }
});
