//! Which route does a request take? Lookup whose cost does not grow with the number of routes.
//!
//! Precedence is Gateway API's: the most specific host, then the exact path before a regular expression before
//! the longest prefix, then the route that asks for a method, more fields, more query parameters, and then the
//! one written first. `priority` goes before all of it. A host that matches with no path that matches falls
//! through to the next host.

mod condition;
mod expressions;
mod path;
pub mod targets;

use std::collections::HashSet;
use std::sync::Arc;

pub use condition::{Conditions, ValueTest};
pub use expressions::KnownExpressions;
pub use path::PathPattern;
use path::{Map, PathTable};

use crate::proto::h1::request::RequestHead;

/// A condition on the host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Any, or none.
    Any,
    /// This one.
    Exact(Box<[u8]>),
    /// One below this, by any number of labels: holds `.example.org` for `*.example.org`.
    Wildcard(Box<[u8]>),
    /// One below this by one label.
    OneLabel(Box<[u8]>),
}

/// One route as the router sees it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Any of these hosts; not empty.
    pub hosts: Vec<HostPattern>,
    /// Any of these paths; not empty.
    pub paths: Vec<PathPattern>,
    /// And all of these.
    pub conditions: Arc<Conditions>,
    /// Higher goes first.
    pub priority: i32,
    /// Higher goes first among paths of one host that match in the same way.
    pub order: u32,
    /// Its hosts are answered by their own routes alone.
    pub is_closed: bool,
}

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct Router {
    /// By priority, the highest first: one in nearly every configuration.
    tiers: Vec<Tier>,
    /// Hosts, and suffixes of wildcards, that no other host's routes answer.
    closed: HashSet<HostPattern>,
    left_out: Vec<usize>,
}

#[derive(Debug, Default)]
struct Tier {
    priority: i32,
    exact: Map<PathTable>,
    wildcard: Map<PathTable>,
    one_label: Map<PathTable>,
    any: PathTable,
}

impl Router {
    /// Builds the tables of rules, whose positions are what [`Self::find`] gives. They keep their order where nothing else
    /// decides.
    pub fn build<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Self {
        Self::build_with(rules, &mut KnownExpressions::default())
    }

    /// The same, with the sets of regular expressions that are known.
    pub fn build_with<'r>(rules: impl IntoIterator<Item = &'r Rule>, known: &mut KnownExpressions) -> Self {
        let mut rules: Vec<_> = rules.into_iter().enumerate().collect();
        let more = std::cmp::Reverse::<u32>;
        rules.sort_by_key(|(_, rule)| (std::cmp::Reverse(rule.priority), more(rule.order), rule.conditions.rank()));
        let mut router = Self::default();
        for (at, rule) in rules {
            if router.tiers.last().is_none_or(|tier| tier.priority != rule.priority) {
                router.tiers.push(Tier { priority: rule.priority, ..Tier::default() });
            }
            if let Some(tier) = router.tiers.last_mut() {
                tier.insert(at, rule);
            }
            if rule.is_closed {
                router.closed.extend(rule.hosts.iter().cloned());
            }
        }
        for tier in &mut router.tiers {
            tier.finish(known, &mut router.left_out);
        }
        known.forget_unused();
        router.left_out.sort_unstable();
        router.left_out.dedup();
        router
    }

    /// The positions of rules whose regular expressions are left out, for those of their host are too large together. A request of that host
    /// that meets the other conditions of such a rule gets it, so that nobody else answers what could be its own.
    #[must_use]
    pub fn left_out(&self) -> &[usize] {
        &self.left_out
    }

    /// The route of this request.
    #[must_use]
    pub fn find(&self, head: &RequestHead) -> Option<usize> {
        let host = head.host();
        let last = if self.closed.is_empty() { None } else { self.last_that_may(host) };
        self.tiers.iter().find_map(|tier| tier.find(head, host, last))
    }

    /// The closed host that a request is for: behind it no other host is asked.
    fn last_that_may(&self, host: &[u8]) -> Option<HostStep> {
        steps(host).find(|step| match step {
            HostStep::Exact => self.closed.contains(&HostPattern::Exact(host.into())),
            HostStep::Below(at) => {
                let suffix = || Box::from(&host[*at..]);
                let is_one_label = !host[..*at].contains(&b'.');
                self.closed.contains(&HostPattern::Wildcard(suffix()))
                    || is_one_label && self.closed.contains(&HostPattern::OneLabel(suffix()))
            }
            HostStep::Any => false,
        })
    }
}

/// Where routes of a host are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostStep {
    /// Those of the host itself.
    Exact,
    /// Those of wildcards whose suffix begins there.
    Below(usize),
    /// Those of any host.
    Any,
}

/// The steps for a host, the most specific first.
fn steps(host: &[u8]) -> impl Iterator<Item = HostStep> {
    let suffixes = memchr::memchr_iter(b'.', host).filter(|at| *at > 0).map(HostStep::Below);
    std::iter::once(HostStep::Exact).chain(suffixes).chain(std::iter::once(HostStep::Any))
}

impl Tier {
    fn insert(&mut self, at: usize, rule: &Rule) {
        for host in &rule.hosts {
            let table = match host {
                HostPattern::Any => &mut self.any,
                HostPattern::Exact(host) => self.exact.entry(host.clone()).or_default(),
                HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.clone()).or_default(),
                HostPattern::OneLabel(suffix) => self.one_label.entry(suffix.clone()).or_default(),
            };
            for path in &rule.paths {
                table.insert(path, at, &rule.conditions);
            }
        }
    }

    fn finish(&mut self, known: &mut KnownExpressions, left_out: &mut Vec<usize>) {
        let tables = self.exact.values_mut().chain(self.wildcard.values_mut()).chain(self.one_label.values_mut());
        tables.chain(std::iter::once(&mut self.any)).for_each(|table| table.finish(known, left_out));
    }

    /// The route of a request for this host. Behind the step `last` none is looked for.
    fn find(&self, head: &RequestHead, host: &[u8], last: Option<HostStep>) -> Option<usize> {
        if let Some(route) = self.exact.get(host).and_then(|table| table.find(head)) {
            return Some(route);
        }
        if last == Some(HostStep::Exact) {
            return None;
        }
        if !self.wildcard.is_empty() || !self.one_label.is_empty() {
            for at in memchr::memchr_iter(b'.', host).filter(|at| *at > 0) {
                let is_one_label = !host[..at].contains(&b'.');
                let one_label = self.one_label.get(&host[at..]).filter(|_| is_one_label);
                let tables = one_label.into_iter().chain(self.wildcard.get(&host[at..]));
                let found = tables.into_iter().find_map(|table| table.find(head));
                if found.is_some() || last == Some(HostStep::Below(at)) {
                    return found;
                }
            }
        }
        // A closed host has nobody behind it, in no tier.
        if last.is_some() { None } else { self.any.find(head) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    fn head(method: &str, host: &str, target: &str, fields: &str) -> RequestHead {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        head.parse(text.into_bytes(), HeadRules::default()).unwrap();
        head
    }

    fn rule(host: &str, path: PathPattern) -> Rule {
        let host = match (host, host.strip_prefix('*')) {
            ("", _) => HostPattern::Any,
            (_, Some(suffix)) => HostPattern::Wildcard(suffix.as_bytes().into()),
            _ => HostPattern::Exact(host.as_bytes().into()),
        };
        Rule {
            hosts: vec![host],
            paths: vec![path],
            conditions: Arc::default(),
            priority: 0,
            order: 0,
            is_closed: false,
        }
    }

    fn prefix(path: &str) -> PathPattern {
        PathPattern::prefix(path)
    }

    fn find(router: &Router, host: &str, target: &str) -> Option<usize> {
        router.find(&head("GET", host, target, ""))
    }

    #[test]
    fn the_most_specific_host_goes_first_and_falls_through() {
        let router = Router::build(&[
            rule("", prefix("/")),
            rule("*.org", prefix("/")),
            rule("*.example.org", prefix("/")),
            rule("a.example.org", prefix("/only")),
        ]);
        assert_eq!(find(&router, "a.example.org", "/only/x"), Some(3));
        assert_eq!(find(&router, "a.example.org", "/other"), Some(2));
        assert_eq!(find(&router, "b.c.example.org:81", "/"), Some(2));
        assert_eq!(find(&router, "example.org", "/"), Some(1));
        assert_eq!(find(&router, "org", "/"), Some(0));
        assert_eq!(find(&router, "A.EXAMPLE.org.", "/only"), Some(3));
    }

    #[test]
    fn exact_goes_before_regex_before_the_longest_prefix_by_elements() {
        let router = Router::build(&[
            rule("", prefix("/")),
            rule("", prefix("/a")),
            rule("", prefix("/a/b/")),
            rule("", PathPattern::regex("^/a/b/[0-9]+$").unwrap()),
            rule("", PathPattern::exact("/a/b/7")),
        ]);
        for (path, route) in [
            ("/a/b/7", 4),
            ("/a/b/8", 3),
            ("/a/b/x", 2),
            ("/a/b", 2),
            ("/a/bc", 1),
            ("/a", 1),
            ("/ab", 0),
            ("/", 0),
            ("/%61/b/7?q", 4),
        ] {
            assert_eq!(find(&router, "h", path), Some(route), "{path}");
        }
    }

    #[test]
    fn methods_then_fields_then_query_then_order_decide() {
        let conditions = |methods: &[&str], headers: usize, query: usize| Conditions {
            methods: methods.iter().map(|method| method.as_bytes().into()).collect(),
            headers: vec![(b"x-a"[..].into(), ValueTest::Present); headers],
            query: vec![(b"q"[..].into(), ValueTest::Equal(b"1"[..].into())); query],
        };
        let with = |conditions| Rule { conditions: Arc::new(conditions), ..rule("", prefix("/")) };
        let router = Router::build(&[
            with(conditions(&[], 0, 0)),
            with(conditions(&[], 0, 1)),
            with(conditions(&[], 1, 0)),
            with(conditions(&["POST"], 0, 0)),
            with(conditions(&[], 0, 0)),
        ]);
        assert_eq!(router.find(&head("POST", "h", "/?q=1", "X-A: 1\r\n")), Some(3));
        assert_eq!(router.find(&head("GET", "h", "/?q=1", "X-A: 1\r\n")), Some(2));
        assert_eq!(router.find(&head("GET", "h", "/?p=2&q=%31", "")), Some(1));
        assert_eq!(router.find(&head("GET", "h", "/?q=2", "")), Some(0));
    }

    #[test]
    fn priority_goes_before_everything() {
        let mut high = rule("", prefix("/"));
        high.priority = 10;
        let router = Router::build(&[rule("h", PathPattern::exact("/x")), high]);
        assert_eq!(find(&router, "h", "/x"), Some(1));
    }

    #[test]
    fn a_wildcard_may_be_of_one_label() {
        let one = Rule { hosts: vec![HostPattern::OneLabel(b".x.org"[..].into())], ..rule("", prefix("/one")) };
        let router = Router::build(&[rule("*.x.org", prefix("/")), one, rule("", prefix("/"))]);
        assert_eq!(find(&router, "a.x.org", "/one"), Some(1));
        assert_eq!(find(&router, "a.x.org", "/two"), Some(0));
        assert_eq!(find(&router, "a.b.x.org", "/one"), Some(0));
        assert_eq!(find(&router, "x.org", "/one"), Some(2));
    }

    #[test]
    fn a_closed_host_is_answered_by_its_own_routes_alone() {
        let closed = |host: &str, path: &str| Rule { is_closed: true, ..rule(host, prefix(path)) };
        let mut low = rule("a.x.org", prefix("/low"));
        low.priority = -1;
        let router = Router::build(&[
            closed("a.x.org", "/a"),
            low,
            closed("*.y.org", "/y"),
            rule("*.org", prefix("/")),
            rule("", prefix("/")),
        ]);
        let high = Rule { priority: 1, ..rule("", prefix("/high")) };
        let tiers = Router::build(&[closed("*.y.org", "/y"), high]);
        assert_eq!([find(&tiers, "b.y.org", "/high"), find(&tiers, "z", "/high")], [None, Some(1)], "in no tier");
        for (host, target, route) in [
            ("a.x.org", "/a", Some(0)),
            ("a.x.org", "/low", Some(1)),
            ("a.x.org", "/b", None),
            ("b.x.org", "/b", Some(3)),
            ("b.y.org", "/y", Some(2)),
            ("c.b.y.org", "/other", None),
            ("y.org", "/other", Some(3)),
            ("z", "/", Some(4)),
        ] {
            assert_eq!(find(&router, host, target), route, "{host}{target}");
        }
    }

    #[test]
    fn the_longest_beginning_goes_first_by_bytes_or_by_elements() {
        let starts = |text: &str| rule("", PathPattern::starts_with(text));
        let router = Router::build(&[
            starts("/"),
            starts("/foo"),
            rule("", prefix("/foo")),
            starts("/foo/b"),
            rule("", prefix("/foo/bar")),
        ]);
        for (target, route) in [
            ("/", 0),
            ("/fo", 0),
            ("/foobar", 1),
            ("/foo", 2),
            ("/foo/x", 2),
            ("/foo/bx", 3),
            ("/foo/bar/x", 4),
            ("/foo/bar", 4),
            ("/foo/barx", 3),
        ] {
            assert_eq!(find(&router, "h", target), Some(route), "{target}");
        }
    }

    #[test]
    fn expressions_of_one_host_go_by_their_order() {
        let regex = |pattern: &str, order| Rule { order, ..rule("h", PathPattern::regex(pattern).unwrap()) };
        let router = Router::build(&[regex("(?i)^/a", 2), regex("(?i)^/a/longer", 9), regex("(?i)^/", 1)]);
        assert_eq!(find(&router, "h", "/A/longer/x"), Some(1));
        assert_eq!(find(&router, "h", "/a/l"), Some(0));
        assert_eq!(find(&router, "h", "/b"), Some(2));
    }

    #[test]
    fn nothing_matches_where_no_route_does() {
        let router = Router::build(&[rule("a", prefix("/x"))]);
        assert_eq!(find(&router, "b", "/x"), None);
        assert_eq!(find(&router, "a", "/"), None);
        assert_eq!(Router::default().find(&head("OPTIONS", "a", "*", "")), None);
    }

    #[test]
    fn expressions_that_are_too_large_together_close_their_host_and_no_other() {
        let large = |at: usize| {
            let regex = regex::bytes::Regex::new(&format!("^/{at}/[a-z]{{1,400}}$")).unwrap();
            rule("a", PathPattern::Regex(regex))
        };
        let mut rules: Vec<_> = (0..3_000).map(large).collect();
        let few = Router::build(&rules[..10]);
        assert_eq!((few.left_out(), find(&few, "a", "/7/x")), (&[][..], Some(7)));
        rules.extend([rule("a", PathPattern::exact("/exact")), rule("a", prefix("/")), rule("b", prefix("/"))]);
        let router = Router::build(&rules);
        let first = *router.left_out().first().unwrap();
        assert!(first > 10, "several sets hold some: {first}");
        assert!(router.left_out().iter().copied().eq(first..3_000));
        assert_eq!(find(&router, "a", "/7/x"), Some(7), "the others of its host go on");
        assert_eq!(find(&router, "a", "/exact"), Some(3_000));
        for path in ["/2999/x", "/elsewhere"] {
            assert_eq!(find(&router, "a", path), Some(first), "nobody else answers what could be theirs");
        }
        assert_eq!(find(&router, "b", "/2999/x"), Some(3_002));
    }
}
