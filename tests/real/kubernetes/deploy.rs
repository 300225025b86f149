//! The manifests of `deploy/kubernetes`: what they allow is what is needed, and what they run is right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{World, ingress, named, service};
use crate::api_server::{ApiServer, documents};
use crate::support::eventually;

fn manifests(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(name);
    documents(&std::fs::read_to_string(path).unwrap())
}

/// What somebody may do: verb, group and resource.
fn allowed(file: &str) -> BTreeSet<(String, String, String)> {
    let mut allowed = BTreeSet::new();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for role in manifests(file).iter().filter(|role| role["rules"].is_array()) {
        for rule in role["rules"].as_array().unwrap() {
            for verb in texts(&rule["verbs"]) {
                for group in texts(&rule["apiGroups"]) {
                    allowed.extend(
                        texts(&rule["resources"]).into_iter().map(|resource| (verb.clone(), group.clone(), resource)),
                    );
                }
            }
        }
    }
    allowed
}

/// What a request needs: the same three.
fn needed(request: &str) -> (String, String, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let group = if parts[0] == "api" { parts.drain(..2).next().map(|_| "") } else { parts.drain(..3).nth(1) }.unwrap();
    if parts[0] == "namespaces" {
        parts.drain(..2);
    }
    let verb = match (method, parts.len()) {
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        (other, _) => other,
    };
    let resource = parts.get(2).map_or_else(|| parts[0].to_owned(), |below| format!("{}/{below}", parts[0]));
    (verb.to_owned(), group.to_owned(), resource)
}

#[test]
fn the_roles_allow_all_that_is_asked_and_nothing_else() {
    let one = named("one");
    let secret = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: late }\n\
                  spec: { ingressClassName: ringress, tls: [{ hosts: [b.test], secretName: late }], \
                  rules: [{ host: b.test, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: none, port: { number: 80 } } } }] } }] }\n";
    let objects = service("one", &[one.address]) + &ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: { name: p, labels: { app: ringress } }\nspec: { nodeName: n }\n\
               status: { hostIP: 10.0.0.9, conditions: [{ type: Ready, status: \"True\" }] }\n";
    let api = ApiServer::start();
    api.apply("shop", &objects);
    api.apply("ringress", pod);
    let world = World::of("epoll", api, "publish_pods = \"ringress/app=ringress\"", "");
    world.api.apply("shop", secret);
    let asked = |what: &str| world.api.requests().iter().any(|request| request.contains(what));
    for what in ["POST /api/v1/namespaces/shop/events", "PATCH", "PUT", "GET /api/v1/namespaces/shop/secrets/late"] {
        eventually(what, || asked(what));
    }
    let needed: BTreeSet<_> = world.api.requests().iter().map(|request| needed(request)).collect();
    let by_namespace = allowed("rbac-namespace.yaml");
    let allowed = allowed("rbac.yaml");
    // Nodes are of no namespace: there a pod's word counts.
    let of_cluster: BTreeSet<_> =
        allowed.difference(&by_namespace).map(|(verb, _, what)| format!("{verb} {what}")).collect();
    assert_eq!(of_cluster, BTreeSet::from(["get nodes".to_owned()]), "the same otherwise, for some namespaces");
    assert!(by_namespace.is_subset(&allowed));
    let missing: Vec<_> = needed.difference(&allowed).collect();
    assert!(missing.is_empty(), "it may not {missing:?}");
    // A watch is a list here; ConfigMaps are asked for as Secrets are, and Services are not.
    let unused: Vec<_> = allowed
        .difference(&needed)
        .filter(|(verb, _, resource)| {
            verb != "watch" && !(verb == "get" && matches!(resource.as_str(), "configmaps" | "services"))
        })
        .collect();
    assert!(unused.is_empty(), "nobody needs {unused:?}");
}

#[test]
fn the_configuration_of_the_daemonset_is_taken_and_its_probe_answers() {
    let manifests = manifests("daemonset.yaml");
    let text = manifests[0]["data"]["ringress.toml"].as_str().unwrap();
    let one = named("one");
    let world = World::new(
        "epoll",
        "",
        &(service("one", &[one.address]) + &ingress("web", &[("a.test", "/", "Prefix", "one")])),
    );
    let folder: PathBuf = std::env::temp_dir().join(format!("ringress-daemonset-{}", world.api.address.port()));
    std::fs::create_dir_all(&folder).unwrap();
    let port = |word: &str| text.replace(word, &format!("\"{}\"", crate::support::proxy::free_address()));
    let web = crate::support::proxy::free_address();
    let config = port("\":443\"")
        .replace("\":80\"", &format!("\"{web}\""))
        .replace("/run/ringress", &folder.display().to_string())
        .replace("[kubernetes]", &format!("[kubernetes]\nkubeconfig = \"{}\"", world.kubeconfig().display()));
    std::fs::write(folder.join("ringress.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringress"));
        command.args(arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command
    };
    let probe = manifests[1]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["exec"]["command"].clone();
    let socket = probe[2].as_str().unwrap().replace("/run/ringress", &folder.display().to_string());
    assert!(!run(&["ping", &socket]).status().unwrap().success(), "nobody is there yet");
    let mut process = run(&["run", folder.join("ringress.toml").to_str().unwrap()]).spawn().unwrap();
    eventually("the probe is answered", || run(&["ping", &socket]).status().unwrap().success());
    let mut client = crate::support::Client::connect(web);
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").response("GET").text(), "one");
    process.kill().unwrap();
    process.wait().unwrap();
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn the_configuration_of_the_deployment_is_right_and_its_probe_asks_where_it_says() {
    let manifests = manifests("deployment.yaml");
    let text = manifests[0]["data"]["ringress.toml"].as_str().unwrap();
    let file = std::env::temp_dir().join(format!("ringress-deployment-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_ringress")).arg("check").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let container = &manifests[1]["spec"]["template"]["spec"]["containers"][0];
    let ports: Vec<_> =
        container["ports"].as_array().unwrap().iter().map(|port| format!(":{}", port["containerPort"])).collect();
    assert!(ports.iter().all(|port| text.contains(&format!("address = \"{port}\""))), "{ports:?}");
    assert_eq!(container["readinessProbe"]["exec"]["command"][2], "127.0.0.1:9000");
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_process_without_a_file_says_how_a_cluster_is_reached() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_ringress")).args(["run", "--kubernetes"]).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("kubernetes.kubeconfig: ") && told.contains("run in a pod with a service account"), "{told}");
}

#[test]
fn migrate_says_what_becomes_of_each_annotation() {
    let folder = std::env::temp_dir().join(format!("ringress-migrate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let annotated = |name: &str, class: &str, annotations: &str| {
        ingress(name, &[("a.test", &format!("/{name}"), "Prefix", "one")])
            .replace("ingressClassName: ringress", &format!("ingressClassName: {class}"))
            .replace(&format!("{{ name: {name} }}"), &format!("{{ name: {name}, annotations: {{ {annotations} }} }}"))
    };
    let prefix = "nginx.ingress.kubernetes.io";
    let good = annotated("good", "nginx", &format!("{prefix}/proxy-body-size: 8m, {prefix}/proxy-buffering: \"on\""));
    let other = annotated("other", "haproxy", "");
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: { name: one }\nspec: { ports: [{ port: 80 }] }\n";
    std::fs::write(folder.join("all.yaml"), good + &other + service).unwrap();
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringress"));
        let output = command.arg("migrate").arg(&folder).args(more).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = run(&[]);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("Ingress default/good: served\n") && told.contains("/proxy-body-size: as before\n"),
        "{told}"
    );
    assert!(
        told.contains("/proxy-buffering: nothing to do: ") && told.contains("Ingress default/other: not ours"),
        "{told}"
    );
    let bad = format!("{prefix}/ssl-passthrough: \"true\", {prefix}/limit-rps: many");
    std::fs::write(folder.join("bad.yml"), annotated("bad", "nginx", &bad)).unwrap();
    let (code, told) = run(&["--json"]);
    assert_eq!(code, 1, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told[0]["name"], &told[0]["refused"]), (&"default/bad".into(), &true.into()), "{told:#}");
    let becomes: Vec<_> = told[0]["annotations"].as_array().unwrap().iter().map(|one| one["becomes"].clone()).collect();
    assert_eq!(becomes, ["refused", "refused"], "{told:#}");
    let _ = std::fs::remove_dir_all(folder);
}
