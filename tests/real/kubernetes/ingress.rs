//! Ingress objects: rules, services, endpoints, certificates, and what is told where something is wrong.

use super::{World, ingress, named, service, slices};
use crate::support::{ENGINES, eventually};

#[test]
fn rules_lead_to_the_pods_of_their_services() {
    for engine in ENGINES {
        let (one, two) = (named("one"), named("two"));
        let objects = service("one", &[one.address])
            + "---\n"
            + &service("two", &[two.address])
            + &ingress(
                "web",
                &[
                    ("a.test", "/", "Prefix", "one"),
                    ("a.test", "/two", "Prefix", "two"),
                    ("a.test", "/only", "Exact", "two"),
                    ("*.b.test", "/", "Prefix", "two"),
                    ("c.test", "/known", "Prefix", "one"),
                ],
            );
        let world = World::new(engine, "", &objects);
        for (host, path, expected) in [
            ("a.test", "/", (200, "one")),
            ("a.test", "/two/x", (200, "two")),
            ("a.test", "/twofold", (200, "one")),
            ("a.test", "/only", (200, "two")),
            ("a.test", "/only/x", (200, "one")),
            ("x.b.test", "/", (200, "two")),
        ] {
            assert_eq!(world.get(host, path), (expected.0, expected.1.to_owned()), "{engine} {host}{path}");
        }
        for (host, path) in [("x.y.b.test", "/"), ("b.test", "/"), ("c.test", "/other"), ("d.test", "/")] {
            assert_eq!(world.status(host, path), 404, "{engine} {host}{path}");
        }
    }
}

#[test]
fn endpoints_that_come_and_go_are_taken_up_alone() {
    let (one, two) = (named("one"), named("two"));
    let objects = service("one", &[one.address]) + &ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let world = World::new("io_uring", "", &objects);
    assert_eq!(world.get("a.test", "/"), (200, "one".to_owned()));
    world.api.apply("shop", &slices("one", &[two.address], "ready: true"));
    world.eventually("a.test", "/", (200, "two"));
    world.api.apply("shop", &slices("one", &[two.address], "ready: false"));
    world.eventually("a.test", "/", (503, ""));
    world.api.apply("shop", &slices("one", &[two.address], "ready: false, serving: true, terminating: true"));
    world.eventually("a.test", "/", (200, "two"));
    world.api.delete("endpointslices", "shop", "one-0");
    world.eventually("a.test", "/", (503, ""));
    assert!(!world.proxy.process_log().contains("objects of the cluster changed"), "routes were not touched");
}

#[test]
fn objects_that_come_change_and_go_are_served_as_they_are() {
    let (one, two) = (named("one"), named("two"));
    let objects = service("one", &[one.address]) + "---\n" + &service("two", &[two.address]);
    let world = World::new("io_uring", "", &objects);
    assert_eq!(world.status("a.test", "/"), 404);
    world.api.apply("shop", &ingress("web", &[("a.test", "/", "Prefix", "one")]));
    world.eventually("a.test", "/", (200, "one"));
    world.api.apply("shop", &ingress("web", &[("a.test", "/", "Prefix", "two")]));
    world.eventually("a.test", "/", (200, "two"));
    world.api.delete("services", "shop", "two");
    world.eventually("a.test", "/", (503, ""));
    world.api.delete("ingresses", "shop", "web");
    world.eventually("a.test", "/", (404, ""));
}

#[test]
fn what_is_wrong_with_one_object_is_told_and_the_others_are_served() {
    let one = named("one");
    let objects = service("one", &[one.address])
        + &ingress("good", &[("a.test", "/", "Prefix", "one")])
        + &ingress("lost", &[("b.test", "/", "Prefix", "nowhere")])
        + &ingress("bad", &[("c.test", "no-path", "Prefix", "one")])
        + &ingress("host", &[("not a host", "/", "Prefix", "one")]);
    let world = World::new("epoll", "", &objects);
    assert_eq!(world.get("a.test", "/"), (200, "one".to_owned()));
    assert_eq!(world.status("b.test", "/"), 503);
    assert_eq!(world.status("c.test", "/"), 404);
    let log = world.proxy.process_log();
    for expected in [
        "Ingress shop/lost: there is no Service `shop/nowhere`; its requests are answered 503",
        "Ingress shop/bad: routes.2.paths.0: `no-path` is not a path",
        "Ingress shop/host: routes.3.hosts.0: `not a host` is not a host",
    ] {
        eventually(expected, || world.proxy.process_log().contains(expected));
    }
    assert!(!log.contains("not reloaded"));
}

#[test]
fn annotations_of_ingress_nginx_copy_requests() {
    let (one, two) = (named("one"), named("two"));
    let annotated = ingress("web", &[("a.test", "/", "Prefix", "one")])
        .replace("ingressClassName: ringress", "ingressClassName: nginx")
        .replace(
            "{ name: web }",
            "{ name: web, annotations: { nginx.ingress.kubernetes.io/mirror-target: \"http://two.shop.svc$request_uri\", \
             nginx.ingress.kubernetes.io/mirror-host: copies.test } }",
        );
    let objects = service("one", &[one.address]) + "---\n" + &service("two", &[two.address]) + &annotated;
    let world = World::new("io_uring", "dialects = [\"ingress-nginx\"]", &objects);
    assert_eq!(world.get("a.test", "/x?y=1"), (200, "one".to_owned()));
    eventually("the copy arrives", || !two.requests().is_empty());
    let copy = &two.requests()[0];
    assert_eq!((copy.target(), copy.field("host")), ("/x?y=1", Some("copies.test")));
}
