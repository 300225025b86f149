//! What the cluster is told, by one of several; and what is kept for a start without it.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{World, ingress, named, service, slices};
use crate::api_server::{ApiServer, Fault};
use crate::support::{Proxy, eventually};

/// The addresses in the status of the Ingress `web`.
fn reached(api: &ApiServer) -> String {
    let object = api.get("ingresses", "shop", "web").unwrap();
    object["status"]["loadBalancer"]["ingress"].to_string()
}

#[test]
fn a_status_says_where_an_ingress_is_reached_while_it_is_ours() {
    let one = named("one");
    let web = ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let keys = "publish_addresses = [\"203.0.113.7\", \"lb.example.com\"]";
    let world = World::new("epoll", keys, &(service("one", &[one.address]) + &web));
    let expected = r#"[{"hostname":"lb.example.com"},{"ip":"203.0.113.7"}]"#;
    eventually("the status is written", || reached(&world.api) == expected);
    world.api.apply("shop", &web.replace("ingressClassName: ringress", "ingressClassName: other"));
    eventually("the status is cleared", || reached(&world.api) == "[]");
    assert_eq!(world.status("a.test", "/"), 404);
}

#[test]
fn the_status_is_that_of_the_service_in_front() {
    let one = named("one");
    let web = ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let front = "---\napiVersion: v1\nkind: Service\nmetadata: { name: front }\nspec: { type: LoadBalancer }\n\
                 status: { loadBalancer: { ingress: [{ ip: 198.51.100.1 }] } }\n";
    let objects = service("one", &[one.address]) + &web + front;
    let world = World::new("epoll", "publish_service = \"shop/front\"", &objects);
    eventually("the status is written", || reached(&world.api) == r#"[{"ip":"198.51.100.1"}]"#);
    world.api.apply("shop", &front.replace("198.51.100.1", "198.51.100.2"));
    eventually("the status follows", || reached(&world.api) == r#"[{"ip":"198.51.100.2"}]"#);
}

#[test]
fn the_status_is_that_of_the_nodes_of_ready_pods() {
    let pod = |name: &str, node: &str, ready: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, namespace: edge, labels: {{ app: ringress }} }}\nspec: {{ nodeName: {node} }}\n\
             status: {{ hostIP: 10.0.0.9, conditions: [{{ type: Ready, status: \"{ready}\" }}] }}\n"
        )
    };
    let node = |name: &str, addresses: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{ name: {name} }}\nstatus: {{ addresses: [{addresses}] }}\n"
        )
    };
    let one = named("one");
    let web = ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let both = "{ type: InternalIP, address: 10.0.0.1 }, { type: ExternalIP, address: 203.0.113.1 }";
    let objects = service("one", &[one.address])
        + &web
        + &node("n1", both)
        + &node("n2", "{ type: Hostname, address: n2 }, { type: InternalIP, address: 10.0.0.2 }")
        + &pod("p1", "n1", "True")
        + &pod("p2", "n2", "False")
        + &pod("p3", "nobody-knows", "True")
        + &pod("p4", "n2", "True").replace("app: ringress", "app: other");
    let world = World::new("epoll", "publish_pods = \"edge/app=ringress\"", &objects);
    let expected = r#"[{"ip":"10.0.0.9"},{"ip":"203.0.113.1"}]"#;
    eventually("the status is written", || reached(&world.api) == expected);
    world.api.apply("edge", &pod("p2", "n2", "True"));
    let expected = r#"[{"ip":"10.0.0.2"},{"ip":"10.0.0.9"},{"ip":"203.0.113.1"}]"#;
    eventually("the status follows", || reached(&world.api) == expected);
    world.api.delete("pods", "edge", "p3");
    let expected = r#"[{"ip":"10.0.0.2"},{"ip":"203.0.113.1"}]"#;
    eventually("the status follows", || reached(&world.api) == expected);
    // Somebody else writes into it: it is put right.
    let other = web.replace("spec:\n", "status: { loadBalancer: { ingress: [{ ip: 192.0.2.9 }] } }\nspec:\n");
    world.api.apply("shop", &other);
    assert_ne!(reached(&world.api), expected);
    eventually("the status is put right", || reached(&world.api) == expected);
}

#[test]
fn one_of_two_writes_and_a_conflict_is_tried_again() {
    let one = named("one");
    let web = ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let api = ApiServer::start();
    api.apply("shop", &(service("one", &[one.address]) + &web));
    api.fail(Fault::Conflict);
    let keys = "publish_addresses = [\"203.0.113.7\"]";
    let first = World::of("epoll", api, keys, "");
    eventually("it has tried", || first.api.requests().iter().any(|request| request.starts_with("PATCH")));
    assert_eq!(reached(&first.api), "null");
    first.api.fail(Fault::None);
    let config = format!("[kubernetes]\nkubeconfig = \"{}\"\n{keys}\n", first.kubeconfig().display());
    let second = Proxy::start("epoll", &config);
    eventually("the status is written", || reached(&first.api) == r#"[{"ip":"203.0.113.7"}]"#);
    let patches = || first.api.requests().iter().filter(|request| request.starts_with("PATCH")).count();
    let before = patches();
    let holder = || first.api.get("leases", "ringress", "ringress-leader").unwrap()["spec"]["holderIdentity"].clone();
    let known = holder();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!((patches(), holder()), (before, known), "nobody takes the other's place or writes the same again");
    drop(second);
}

#[test]
fn an_object_is_told_what_is_wrong_with_it_once() {
    let web = ingress("web", &[("a.test", "/", "Prefix", "nowhere")]);
    let world = World::new("epoll", "", &web);
    let events = || world.api.store.list("events", "shop").0;
    eventually("there is an event", || !events().is_empty());
    let event = &events()[0];
    assert_eq!(event["involvedObject"]["name"], "web");
    assert_eq!(event["reason"], "NotServedAsWritten");
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with("there is no Service `shop/nowhere`"), "{message}");
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(events().len(), 1);
}

#[test]
fn a_start_without_the_api_server_serves_what_was_known() {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("ringress-cache-{}-{number}", std::process::id()));
    let keys = format!("cache = \"{}\"", folder.display());
    let (one, two) = (named("one"), named("two"));
    let objects = service("one", &[one.address]) + &ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let mut world = World::new("io_uring", &keys, &objects);
    let file = folder.join("objects.json");
    eventually("it is kept", || file.exists());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it has keys in it");
    world.api.fail(Fault::Away);
    let config = format!("[kubernetes]\nkubeconfig = \"{}\"\n{keys}\n", world.kubeconfig().display());
    world.proxy = Proxy::start("io_uring", &config);
    assert_eq!(world.get("a.test", "/"), (200, "one".to_owned()));
    world.api.apply("shop", &slices("one", &[two.address], "ready: true"));
    world.api.fail(Fault::None);
    world.eventually("a.test", "/", (200, "two"));
    let _ = std::fs::remove_dir_all(folder);
}
