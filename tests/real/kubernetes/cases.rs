//! What ingress-nginx's own tests expect of an Ingress controller, as cases (`tests/kubernetes/cases`): all but those of a list.
//!
//! `CASES=PATTERN` runs those whose names have it, and tells of each.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::World;
use crate::api_server::ApiServer;
use crate::support::authority::{Authority, Issued};
use crate::support::proxy::free_address;
use crate::support::python::python;

/// The services of every case, with their pods.
const SERVICES: [(&str, usize); 12] = [
    ("echo", 6),
    ("echo-1", 2),
    ("echo-2", 2),
    ("echo-canary", 2),
    ("status", 2),
    ("slow", 2),
    ("auth", 2),
    ("grpc", 2),
    ("tls-echo", 2),
    ("fcgi", 2),
    ("grpc-tls", 2),
    // What a pod is that answers 502 to everything.
    ("broken-502", 2),
];

/// The pods, in one process.
struct Pods {
    child: Child,
    addresses: BTreeMap<&'static str, Vec<(String, u16)>>,
    /// Who says what they saw.
    control: (String, u16),
    /// The address of the Service `echo`.
    cluster_ip: String,
    /// Who vouches for those with TLS, and what they show.
    authority: Authority,
    identity: Issued,
}

impl Pods {
    /// Each at an address of its own below `network`, which has two bytes.
    fn start(network: &str) -> Self {
        let authority = Authority::new();
        let identity = authority.issue("tls-echo", &["tls-echo"]);
        let mut addresses: BTreeMap<&str, Vec<(String, u16)>> = BTreeMap::new();
        let mut pods = Vec::new();
        for (at, (service, count)) in SERVICES.iter().enumerate() {
            for number in 1..=*count {
                let ip = format!("{network}.{}.{number}", at + 1);
                let (cert, key) = if service.contains("tls") {
                    (identity.cert.display().to_string(), identity.key.display().to_string())
                } else {
                    (String::new(), String::new())
                };
                let status = if *service == "broken-502" { 502 } else { 0 };
                pods.push(
                    json!({ "service": service, "pod": format!("{service}-{number}"), "address": format!("{ip}:8080"),
                    "cert": cert, "key": key, "status": status }),
                );
                addresses.entry(service).or_default().push((ip, 8080));
            }
        }
        let (control, cluster_ip) = (format!("{network}.200.1"), format!("{network}.250.1"));
        pods.push(json!({ "service": "control", "address": format!("{control}:8080") }));
        pods.push(json!({ "service": "echo", "pod": "cluster-ip", "address": format!("{cluster_ip}:80") }));
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kubernetes/backend");
        assert!(program.is_file(), "the services of the cases are not built; `tests/run.sh` does it, with Go");
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(Value::from(pods).to_string().as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        Self { child, addresses, control: (control, 8080), cluster_ip, authority, identity }
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cases that end otherwise here, each with its reason.
fn exceptions() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/cases/exceptions.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap()).map(|(id, why)| (id.to_owned(), why.to_owned())).collect()
}

#[test]
fn every_case_ends_as_its_tests_expect_or_stands_in_the_list() {
    let api = ApiServer::start();
    let pods = Pods::start("127.20");
    let https = free_address();
    let keys = "dialects = [\"ringress\", \"ingress-nginx\"]\nconfig_map = \"ingress-nginx/controller\"\nexternal_names = true\n\
                write_status = false";
    let listener = format!("[listeners.websecure]\naddress = \"{https}\"\ntls = {{}}\n");
    let world = World::of("io_uring", api, keys, &listener);
    let folder: PathBuf = std::env::temp_dir().join(format!("ringress-cases-{}", https.port()));
    std::fs::create_dir_all(&folder).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/cases");
    let only = std::env::var("CASES").ok();
    let settings = json!({
        "api": format!("http://{}", world.api.address),
        "http": ["127.0.0.1", world.proxy.address.port()],
        "https": ["127.0.0.1", https.port()],
        "kubeconfig": world.kubeconfig(),
        "ringress": env!("CARGO_BIN_EXE_ringress"),
        "backend": Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kubernetes/backend"),
        "backends": pods.addresses,
        "control": pods.control,
        "cluster_ips": { "echo": pods.cluster_ip },
        "logs": { "access": world.proxy.folder.join("access.log"), "controller": world.proxy.folder.join("process.log") },
        "backend_ca": pods.authority.ca(),
        "backend_cert": pods.identity.cert,
        "folder": folder,
        "cases": [cases.join("part-a.yaml"), cases.join("part-b.yaml")],
        "only": only.iter().collect::<Vec<_>>(),
        "configmap": ["ingress-nginx", "controller"],
    });
    let mut runner =
        python("../kubernetes/runner/cases.py").arg(settings.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let exceptions = exceptions();
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<String, usize>::new());
    for line in BufReader::new(runner.stdout.take().unwrap()).lines() {
        let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        let (id, outcome, why) = (text("id"), text("outcome"), text("why"));
        *counts.entry(outcome.clone()).or_default() += 1;
        let is_excepted = exceptions.contains_key(&id);
        let is_either = exceptions.get(&id).is_some_and(|why| why.starts_with("either way: "));
        if only.is_some() {
            println!("{id}: {outcome} {why}");
        }
        match outcome.as_str() {
            "passed" if is_excepted && !is_either => wrong.push(format!("{id} passes by now; take it out of the list")),
            "failed" | "skipped" if !is_excepted => wrong.push(format!("{id}: {outcome}: {why}")),
            _ => {}
        }
    }
    let ended = runner.wait().unwrap();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(ended.success(), "the runner ended: {ended}");
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{} of {counts:?}:\n{}", wrong.len(), wrong.join("\n"));
}
