//! An API server that fails: what was known goes on being served, and what changed meanwhile is taken up.

use super::{World, ingress, named, service, slices};
use crate::api_server::Fault;

/// The first service's requests go on while the fault lasts, and the change that was made meanwhile is served after it.
fn survives(fault: Fault) {
    let (one, two) = (named("one"), named("two"));
    let objects = service("one", &[one.address]) + &ingress("web", &[("a.test", "/", "Prefix", "one")]);
    let world = World::new("io_uring", "", &objects);
    assert_eq!(world.get("a.test", "/"), (200, "one".to_owned()));
    world.api.fail(fault);
    world.api.apply("shop", &slices("one", &[two.address], "ready: true"));
    let after = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    while std::time::Instant::now() < after {
        assert_eq!(world.status("a.test", "/"), 200, "{fault:?}");
    }
    world.api.fail(Fault::None);
    world.eventually("a.test", "/", (200, "two"));
}

#[test]
fn watches_that_are_told_410_begin_anew() {
    survives(Fault::Gone);
}

#[test]
fn watches_that_break_in_the_middle_of_an_event_begin_anew() {
    survives(Fault::Cut);
}

#[test]
fn a_server_that_has_too_much_to_do_is_asked_again() {
    survives(Fault::Busy);
}

#[test]
fn a_token_that_expired_and_a_role_that_is_missing_do_not_stop_what_is_served() {
    survives(Fault::Expired);
    survives(Fault::Forbidden);
}

#[test]
fn a_server_that_is_away_is_missed_by_nobody() {
    survives(Fault::Away);
}

#[test]
fn lists_and_events_may_come_in_any_order_and_twice() {
    survives(Fault::Disorder);
}
