//! Objects in, configuration out: pure, with what is wrong with whom.

pub mod defaults;
pub mod endpoints;
pub mod findings;
pub mod ingress;
pub mod listener_words;
pub mod meaning;
pub mod nginx;
pub mod own;
pub mod plan;
pub mod texts;
pub mod traefik;
pub mod world;

use std::collections::HashMap;
use std::sync::Arc;

use super::index::Index;
use super::objects::{Ingress, ObjectName};
use crate::config::kubernetes::{Dialect, KubernetesSpec};
use crate::config::problem::Place;
use crate::config::routes::ChainSpec;
use crate::config::schema::Config;
use crate::config::tls::{ClientAuth, ListenerTls};
use defaults::defaults;
use listener_words::ListenerWords;
use meaning::Meaning;
use plan::{Owner, Plan};
use world::World;

/// Translates all objects of a cluster.
#[must_use]
pub fn translate(world: World<'_>) -> Plan {
    let World { index, spec, .. } = world;
    let mut plan = Plan::default();
    let (mut of_nginx, mut of_traefik) = (Vec::new(), Vec::new());
    for (name, dialect, ingress) in ours(index, spec) {
        let owner = Owner { kind: "Ingress", name };
        match dialect {
            Dialect::Ringress => own::translate(&mut plan, world, owner, ingress),
            Dialect::IngressNginx => of_nginx.push((owner, &**ingress)),
            Dialect::Traefik1 => of_traefik.push((owner, &**ingress)),
        }
    }
    nginx::translate(&mut plan, world, &of_nginx);
    traefik::translate(&mut plan, world, &of_traefik);
    defaults(&mut plan, world);
    plan
}

/// What becomes of an annotation by its whole name; `None` where it is none of this dialect's, `Some(None)` where only its prefix is.
#[must_use]
pub fn meaning(dialect: Dialect, key: &str) -> Option<Option<Meaning>> {
    match dialect {
        Dialect::Ringress => {
            let name = key.strip_prefix(own::rows::PREFIX)?;
            Some(own::rows::is_known(name).then_some(Meaning::Same))
        }
        Dialect::IngressNginx => {
            let name = key.strip_prefix(nginx::rows::PREFIX)?;
            Some(nginx::rows::row_of(name).map(|row| row.meaning))
        }
        Dialect::Traefik1 => {
            let row = traefik::rows::row_of_key(key);
            let is_of = traefik::rows::PREFIXES.iter().any(|prefix| key.starts_with(prefix));
            (is_of || row.is_some()).then_some(row.map(|row| row.meaning))
        }
    }
}

/// The Ingress objects that are ours, the oldest first.
fn ours<'a>(index: &'a Index, spec: &KubernetesSpec) -> Vec<(&'a ObjectName, Dialect, &'a Arc<Ingress>)> {
    let of_us = |(name, ingress): (&'a ObjectName, &'a Arc<Ingress>)| {
        Some((name, ingress::dialect(index, spec, ingress)?, ingress))
    };
    let mut ours: Vec<_> = index.ingresses.iter().filter_map(of_us).collect();
    ours.sort_by(|(one_name, _, one), (other_name, _, other)| {
        let age = |ingress: &Ingress| ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (age(one), one_name).cmp(&(age(other), other_name))
    });
    ours
}

/// The chain of filters for whom the ConfigMap lets in nowhere.
const BLOCKED: &str = "whom the ConfigMap blocks";

impl Plan {
    /// The configuration of a file with what this plan has beside it, and the place of each part that comes from here.
    #[must_use]
    pub fn join(&self, base: &Config, index: &Index, spec: &KubernetesSpec) -> (Config, HashMap<String, Place>) {
        let mut config = base.clone();
        let mut places = HashMap::with_capacity(self.services.len() + self.routes.len());
        for (name, planned) in &self.services {
            if !config.services.contains_key(name) {
                places.insert(format!("services.{name}"), planned.place.clone());
                config.services.insert(name.clone(), planned.with_endpoints(index));
            }
        }
        for (route, place) in &self.routes {
            places.insert(format!("routes.{}", config.routes.len()), place.clone());
            let mut route = Arc::clone(route);
            if route.listeners.is_empty() && !spec.listeners.is_empty() {
                Arc::make_mut(&mut route).listeners.clone_from(&spec.listeners);
            }
            config.routes.push(route);
        }
        if !self.listeners.blocked.is_empty() {
            config.filters.insert(BLOCKED.to_owned(), ChainSpec { chain: self.listeners.blocked.clone() });
            let owner = ObjectName::parse(spec.config_map.as_deref().unwrap_or_default(), "default");
            places.insert(format!("filters.{BLOCKED}"), owner.place("ConfigMap"));
        }
        let is_ours = |name: &String| spec.listeners.is_empty() || spec.listeners.contains(name);
        for (name, listener) in config.listeners.iter_mut().filter(|(name, _)| is_ours(name)) {
            if self.listeners != ListenerWords::default() {
                self.listeners.apply(Arc::make_mut(listener));
                if !self.listeners.blocked.is_empty() {
                    Arc::make_mut(listener).chains.insert(0, BLOCKED.to_owned());
                }
            }
            if listener.tls.is_some() {
                self.add_tls(name, listener, &mut places);
            }
        }
        (config, places)
    }

    fn add_tls(
        &self,
        name: &str,
        listener: &mut Arc<crate::config::listeners::ListenerSpec>,
        places: &mut HashMap<String, Place>,
    ) {
        let Some(tls): Option<&mut ListenerTls> = Arc::make_mut(listener).tls.as_mut() else { return };
        for (secret, files) in &self.certificates {
            places.insert(
                format!("listeners.{name}.tls.certificates.{}", tls.certificates.len()),
                secret.place("Secret"),
            );
            tls.certificates.push(files.clone());
        }
        // Early data comes before a client has shown anything.
        tls.early_data &= self.client_auth.is_empty();
        let known: Vec<String> =
            tls.client_auth.iter().flat_map(|rule| &rule.hosts).map(|host| host.to_ascii_lowercase()).collect();
        for (rule, place) in &self.client_auth {
            // What the configuration itself asks for a host goes before.
            let hosts: Vec<String> = rule.hosts.iter().filter(|host| !known.contains(host)).cloned().collect();
            if hosts.is_empty() {
                continue;
            }
            let rule = ClientAuth { hosts, ..rule.clone() };
            places.insert(format!("listeners.{name}.tls.client_auth.{}", tls.client_auth.len()), place.clone());
            tls.client_auth.push(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::world::EntryPoints;
    use super::*;
    use crate::config::document::Syntax;
    use crate::config::source::Source;
    use crate::control::compile::{Kept, Resolved, compile};
    use crate::control::kubernetes::index::Object;
    use std::path::Path;

    /// Texts that somebody could write who means harm, or nothing: those of the vulnerabilities of 2021 to 2026 among them.
    const HOSTILE: [&str; 33] = [
        "",
        "/",
        "a.test",
        "*.a.test",
        "true",
        "10",
        "-1",
        "99999999999999999999",
        "9223372036854775807",
        "0",
        "TLSv1.2",
        "http://auth.shop.svc.cluster.local/x",
        "https://a b/",
        "shop/secret",
        "other/secret",
        "../../etc/passwd",
        "/etc/passwd",
        "a\nlua_package_path evil;",
        "/x;#}\n\nssl_engine ../../../proc/1/fd/1;\n\n",
        "http://x/#;}}\nssl_engine /tmp/e;",
        "CN=abc #(\\n){}\n }}\nssl_engine e;",
        "}{$request_uri",
        "$1$2$9",
        "(((((((((((((((((((((a*)*)*)*)*",
        "[",
        "a{1000000000}",
        "\u{202e}txt.exe",
        "\0",
        "%2e%2e%2f",
        "{header:Authorization}",
        "'\"`<script>",
        "GET",
        "200 202 401 5m",
    ];

    fn hostile(random: &mut fastrand::Rng) -> &'static str {
        HOSTILE[random.usize(..HOSTILE.len())]
    }

    /// An annotation of Traefik 1.7 that says nonsense, or nonsense within what it reads.
    fn of_traefik(random: &mut fastrand::Rng) -> (String, String) {
        let row = &traefik::rows::ROWS[random.usize(..traefik::rows::ROWS.len())];
        let keys = traefik::rows::PREFIXES.map(|prefix| format!("{prefix}{}", row.name));
        let key = keys.into_iter().chain(row.old.iter().map(|old| (*old).to_owned())).nth(random.usize(..2));
        let inner = serde_json::Value::from(hostile(random));
        let text = match random.usize(..8) {
            0 => format!("{{extractorfunc: {inner}, rateset: {{a: {{period: {inner}, average: 1, burst: 9}}}}}}"),
            1 => format!("{{a: {{status: [{inner}, \"500-599\"], backend: {inner}, query: {inner}}}}}"),
            2 => format!("{{shop: {inner}, other: 50%}}"),
            3 => format!("{{maxrequestbodybytes: 1, retryexpression: {inner}}}"),
            4 => format!("ReplacePathRegex: {} /$1$2", hostile(random)),
            5 => ["Path", "PathPrefixStrip", "forward", "basic", "NetworkErrorRatio() > 0.5"][random.usize(..5)]
                .to_owned(),
            _ => hostile(random).to_owned(),
        };
        (key.unwrap_or_default(), text)
    }

    fn some_ingress(random: &mut fastrand::Rng, at: usize) -> serde_json::Value {
        let mut annotations = serde_json::Map::new();
        for _ in 0..random.usize(0..6) {
            let row = &nginx::rows::ROWS[random.usize(..nginx::rows::ROWS.len())];
            annotations.insert(format!("nginx.ingress.kubernetes.io/{}", row.name), hostile(random).into());
            let (name, text) = of_traefik(random);
            annotations.insert(name, text.into());
            let row = &own::rows::ROWS[random.usize(..own::rows::ROWS.len())];
            annotations.insert(format!("{}{}", own::rows::PREFIX, row.name), hostile(random).into());
        }
        let path = |random: &mut fastrand::Rng| {
            let kinds = ["Exact", "Prefix", "ImplementationSpecific", ""];
            serde_json::json!({ "path": hostile(random), "pathType": kinds[random.usize(..4)],
                "backend": { "service": { "name": hostile(random), "port": { "number": random.u16(..) } } } })
        };
        let rule = |random: &mut fastrand::Rng| {
            let paths: Vec<_> = (0..random.usize(0..4)).map(|_| path(random)).collect();
            serde_json::json!({ "host": hostile(random), "http": { "paths": paths } })
        };
        let rules: Vec<_> = (0..random.usize(0..3)).map(|_| rule(random)).collect();
        let class = ["ringress", "nginx", "traefik"][random.usize(..3)];
        serde_json::json!({ "metadata": { "namespace": "shop", "name": format!("i{at}"), "annotations": annotations },
            "spec": { "ingressClassName": class, "rules": rules, "tls": [{ "hosts": [hostile(random)], "secretName": hostile(random) }] } })
    }

    /// Whatever objects come: nothing panics, each is served or has a problem with a reason, and what is wrong is left out alone.
    #[test]
    fn hostile_objects_harm_nobody_but_themselves() {
        let base = "[listeners.web]\naddress = \":80\"\n[listeners.early]\naddress = \":443\"\ntls = { early_data = true }\n\
                    [listeners.strict]\naddress = \":8443\"\ntls = { min_version = \"1.3\", ciphers = [\"TLS_AES_128_GCM_SHA256\"] }\n";
        let base = Source::parse(base, Syntax::Toml, Path::new("r.toml"), &|_| None).unwrap();
        let dialects = vec![Dialect::Ringress, Dialect::IngressNginx, Dialect::Traefik1];
        let config_map = Some("shop/map".to_owned());
        let spec = KubernetesSpec { dialects, config_map, external_names: true, ..KubernetesSpec::default() };
        let garbage = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
        for seed in 0..400 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut index = Index::default();
            let keys = nginx::settings_keys();
            let map: serde_json::Map<_, _> =
                (0..6).map(|_| (keys[random.usize(..keys.len())].to_owned(), hostile(&mut random).into())).collect();
            let map = serde_json::json!({ "metadata": { "namespace": "shop", "name": "map" }, "data": map });
            index.put(Object::ConfigMap(Arc::new(serde_json::from_value(map).unwrap())));
            let count = 30;
            for at in 0..count {
                let ingress: Ingress = serde_json::from_value(some_ingress(&mut random, at)).unwrap();
                index.put(Object::Ingress(Arc::new(ingress)));
                let (annotation, text) = of_traefik(&mut random);
                let service = serde_json::json!({ "metadata": { "namespace": "shop", "name": hostile(&mut random),
                        "annotations": { annotation: text } },
                    "spec": { "type": "ExternalName", "externalName": hostile(&mut random), "ports": [{ "port": random.u16(..) }] } });
                index.put(Object::Service(Arc::new(serde_json::from_value(service).unwrap())));
                let secret = serde_json::json!({ "metadata": { "namespace": "shop", "name": hostile(&mut random) },
                    "data": { "auth": "bm9uc2Vuc2U=", "tls.crt": "bm9uc2Vuc2U=", "tls.key": "!", "ca.crt": if random.bool() { garbage } else { "" } } });
                index.put(Object::Secret(Arc::new(serde_json::from_value(secret).unwrap())));
                let slice = serde_json::json!({ "metadata": { "namespace": "shop", "name": format!("s{at}"),
                        "labels": { "kubernetes.io/service-name": hostile(&mut random) } },
                    "endpoints": [{ "addresses": [hostile(&mut random)] }], "ports": [{ "port": random.u16(..) }] });
                index.put(Object::Slice(Arc::new(serde_json::from_value(slice).unwrap())));
            }
            let plan = translate(World { index: &index, spec: &spec, entry_points: &EntryPoints::new() });
            let (config, places) = plan.join(&base.config, &index, &spec);
            let joined = base.with_objects(config, places);
            let compiled = compile(&joined, &Resolved::new(), &mut Kept::default(), 1)
                .unwrap_or_else(|problems| panic!("seed {seed}: an object refuses the file: {problems:?}"));
            assert_eq!(compiled.snapshot.listeners.len(), 3, "seed {seed}: an object ended a listener");
            let told: Vec<_> = plan.problems.iter().chain(&compiled.problems).map(ToString::to_string).collect();
            for (name, ingress) in &index.ingresses {
                let has_paths =
                    ingress.spec.rules.iter().any(|rule| rule.http.as_ref().is_some_and(|http| !http.paths.is_empty()));
                let start = format!("{name}:");
                let is_served = compiled.snapshot.routes.iter().any(|route| route.name.starts_with(&start));
                let is_told = told.iter().any(|problem| problem.starts_with(&format!("Ingress {name}:")));
                assert!(!has_paths || is_served || is_told, "seed {seed}: {name} is neither served nor told of");
            }
            for (text, name) in [("ssl_engine", "nginx"), ("lua_package_path", "nginx"), ("/etc/passwd", "a file")] {
                let is_read = joined.files.paths().any(|path| path.to_string_lossy().contains(text));
                assert!(!is_read, "seed {seed}: {text} reached {name}");
            }
        }
    }

    /// Whoever may write an Ingress and a Secret ends no listener by them, whatever they say of certificates of clients.
    #[test]
    fn what_objects_say_of_client_certificates_ends_no_listener() {
        let good = {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
        };
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        let text =
            "[listeners.web]\naddress = \":80\"\n[listeners.early]\naddress = \":443\"\ntls = { early_data = true }\n";
        let base = Source::parse(text, Syntax::Toml, Path::new("r.toml"), &|_| None).unwrap();
        let config_map = Some("shop/map".to_owned());
        let spec = KubernetesSpec { dialects: vec![Dialect::IngressNginx], config_map, ..KubernetesSpec::default() };
        for (ca, alias, asks) in [
            (&good, "c.test", 1),
            (&good, "b.test:80", 2),
            (&good, "x y", 2),
            (&garbage, "c.test", 0),
            (&"x".to_owned(), "c.test", 0),
        ] {
            let mut index = Index::default();
            let ca = serde_json::json!({ "metadata": { "namespace": "shop", "name": "ca" },
                "data": { "ca.crt": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, ca) } });
            index.put(Object::Secret(Arc::new(serde_json::from_value(ca).unwrap())));
            for host in ["a.test", "b.test"] {
                let annotations = serde_json::json!({ "nginx.ingress.kubernetes.io/auth-tls-secret": "shop/ca",
                    "nginx.ingress.kubernetes.io/server-alias": alias });
                let ingress = serde_json::json!({ "metadata": { "namespace": "shop", "name": host, "annotations": annotations },
                    "spec": { "ingressClassName": "nginx", "rules": [{ "host": host, "http": { "paths": [
                        { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
                index.put(Object::Ingress(Arc::new(serde_json::from_value(ingress).unwrap())));
            }
            let plan = translate(World { index: &index, spec: &spec, entry_points: &EntryPoints::new() });
            let asked: usize = plan.client_auth.iter().map(|(rule, _)| rule.hosts.len()).sum();
            assert!(asked >= asks, "{alias}: {:?}", plan.client_auth);
            let (config, places) = plan.join(&base.config, &index, &spec);
            let compiled = compile(&base.with_objects(config, places), &Resolved::new(), &mut Kept::default(), 1);
            let compiled = compiled.unwrap_or_else(|problems| panic!("an object refuses the file: {problems:?}"));
            assert_eq!(compiled.snapshot.listeners.len(), 2, "{alias}: an object ended a listener");
            if asks == 0 {
                let (route, _) = &plan.routes[0];
                assert!(format!("{:?}", route.filters).contains("status: 403"), "it is open: {route:?}");
            }
        }
    }

    /// Whoever may write an Ingress reads nothing of another namespace by it.
    #[test]
    fn what_is_in_another_namespace_is_not_named_from_here() {
        let spec = KubernetesSpec { dialects: vec![Dialect::IngressNginx], ..KubernetesSpec::default() };
        for (name, more) in [
            ("auth-secret", "auth-type: basic"),
            ("proxy-ssl-secret", "backend-protocol: HTTPS"),
            ("custom-headers", ""),
            ("fastcgi-params-configmap", "backend-protocol: FCGI"),
            ("auth-proxy-set-headers", "auth-url: http://a.test/"),
            ("auth-tls-secret", ""),
        ] {
            let mut annotations = serde_json::Map::new();
            annotations.insert(format!("nginx.ingress.kubernetes.io/{name}"), "vault/keys".into());
            if let Some((name, text)) = more.split_once(": ") {
                annotations.insert(format!("nginx.ingress.kubernetes.io/{name}"), text.into());
            }
            let ingress = serde_json::json!({ "metadata": { "namespace": "shop", "name": "i", "annotations": annotations },
                "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.test", "http": { "paths": [
                    { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
            let mut index = Index::default();
            index.put(Object::Ingress(Arc::new(serde_json::from_value(ingress).unwrap())));
            let plan = translate(World { index: &index, spec: &spec, entry_points: &EntryPoints::new() });
            let wanted = plan.wanted.secrets.iter().chain(&plan.wanted.config_maps);
            assert!(wanted.into_iter().all(|known| &*known.namespace != "vault"), "{name} is asked for");
            let (route, _) = &plan.routes[0];
            assert!(route.service.is_none() && route.targets.is_empty(), "{name}: it is served: {route:?}");
            let told: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|problem| problem.contains("is in another namespace")), "{name}: {told:?}");
        }
    }

    #[test]
    fn a_path_goes_to_the_oldest_ingress_that_names_it() {
        let object = |name: &str, time: &str| {
            serde_json::json!({ "metadata": { "namespace": "shop", "name": name, "creationTimestamp": time },
                "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.test", "http": { "paths": [
                    { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": name, "port": { "number": 80 } } } }] } }] } })
        };
        let mut index = Index::default();
        for (name, time) in [("young", "2026-01-02T00:00:00Z"), ("old", "2026-01-01T00:00:00Z")] {
            index.put(Object::Ingress(Arc::new(serde_json::from_value(object(name, time)).unwrap())));
        }
        let spec = KubernetesSpec { dialects: vec![Dialect::IngressNginx], ..KubernetesSpec::default() };
        let plan = translate(World { index: &index, spec: &spec, entry_points: &EntryPoints::new() });
        let names: Vec<_> = plan.routes.iter().map(|(route, _)| route.name.as_str()).collect();
        assert_eq!(names, ["shop/old:a.test/"]);
        let told: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        let expected = "Ingress shop/young: spec.rules: an older Ingress has the path `/` of the host `a.test` already";
        assert!(told.iter().any(|problem| problem == expected), "{told:?}");
    }
}
