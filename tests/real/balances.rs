//! Which endpoint of a service gets a request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::origin::{After, reply, write};
use crate::support::proxy::{free_address, service};
use crate::support::{Client, ENGINES, Origin, Proxy};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Who answers, in the order of the requests.
fn answers(proxy: &Proxy, targets: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut client = Client::connect(proxy.address);
    targets.into_iter().map(|target| client.get(&target).text().to_owned()).collect()
}

#[test]
fn a_hash_of_any_text_keeps_its_requests_together() {
    let origins = NAMES.map(Origin::text);
    let endpoints: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &service(&endpoints, "balance = \"hash:{host}{query:user}\""));
        let of = |user: usize, turn: usize| format!("/{turn}?user={user}");
        let mut homes = BTreeSet::new();
        for user in 0..40 {
            let told: BTreeSet<String> = answers(&proxy, (0..5).map(|turn| of(user, turn))).into_iter().collect();
            assert_eq!(told.len(), 1, "{engine}, user {user}");
            homes.extend(told);
        }
        assert_eq!(homes.len(), 4, "{engine}: forty users are spread over all");
    }
}

#[test]
fn a_hash_may_have_several_endpoints() {
    let origins = NAMES.map(Origin::text);
    let endpoints: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    for engine in ENGINES {
        let keys = "balance = \"hash:header:X-User\"\nhash_subset = 2";
        let proxy = Proxy::start(engine, &service(&endpoints, keys));
        let mut told = BTreeMap::<String, usize>::new();
        for answer in answers(&proxy, (0..100).map(|turn| format!("/{turn}"))) {
            *told.entry(answer).or_default() += 1;
        }
        assert_eq!(told.len(), 2, "{engine}: {told:?}");
        assert!(told.values().all(|count| *count > 20), "{engine}: {told:?}");
    }
}

/// Origins that hold their answers until so many requests have come to them together.
fn holding(count: usize, until: usize) -> (Vec<Origin>, Vec<Arc<AtomicUsize>>) {
    let all = Arc::new(AtomicUsize::new(0));
    let each: Vec<Arc<AtomicUsize>> = (0..count).map(|_| Arc::default()).collect();
    let origin = |own: &Arc<AtomicUsize>| {
        let (all, own) = (Arc::clone(&all), Arc::clone(own));
        Origin::start(move |_, stream| {
            own.fetch_add(1, Ordering::SeqCst);
            all.fetch_add(1, Ordering::SeqCst);
            while all.load(Ordering::SeqCst) < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            reply(stream, b"x")
        })
    };
    (each.iter().map(origin).collect(), each)
}

#[test]
fn a_hash_that_all_have_is_bounded_by_load() {
    for engine in ENGINES {
        for (bound, most) in [("", 40), ("\nhash_load_percent = 150", 17)] {
            let (origins, counts) = holding(4, 40);
            let endpoints: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
            let keys = format!("balance = \"hash:host\"{bound}");
            let proxy = Proxy::start(engine, &service(&endpoints, &keys));
            let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(proxy.address)).collect();
            for client in &mut clients {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            assert!(clients.iter_mut().all(|client| client.response("GET").text() == "x"));
            // A worker bounds its own: half a request each may be above the share.
            let busiest = counts.iter().map(|count| count.load(Ordering::SeqCst)).max().unwrap();
            assert!(busiest <= most && (most < 40 || busiest == 40), "{engine}, {bound}: {busiest}");
        }
    }
}

#[test]
fn the_nearest_zone_comes_first_and_the_others_where_it_is_full_or_gone() {
    let text = |near: &str, keys: &str, far: SocketAddr| {
        format!(
            "[services.s]\nzone = \"one\"\nendpoints = [{{ address = \"{near}\", zone = \"one\" }}, \
             {{ address = \"{far}\", zone = \"two\" }}]\n{keys}\n[[routes]]\nname = \"all\"\nservice = \"s\"\n"
        )
    };
    let far = Origin::text("far");
    for engine in ENGINES {
        for balance in ["round_robin", "least_requests", "least_latency", "random", "hash:client_ip"] {
            let balance = format!("balance = \"{balance}\"");
            let near = Origin::text("near");
            let proxy = Proxy::start(engine, &text(&near.address.to_string(), &balance, far.address));
            assert!(answers(&proxy, (0..20).map(|_| "/".to_owned())).iter().all(|answer| answer == "near"));
            let proxy = Proxy::start(engine, &text(&free_address().to_string(), &balance, far.address));
            assert!(answers(&proxy, (0..20).map(|_| "/".to_owned())).iter().all(|answer| answer == "far"));
        }
        // One at once at each: while the near one is busy, the far one is asked and nobody waits.
        let (origins, counts) = holding(1, 1_000);
        let limits = "limits = { endpoint_in_flight = 1, queue = 10 }";
        let proxy = Proxy::start(engine, &text(&origins[0].address.to_string(), limits, far.address));
        let mut first = Client::connect(proxy.address);
        first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        crate::support::eventually("the near one is busy", || counts[0].load(Ordering::SeqCst) == 1);
        assert_eq!(answers(&proxy, ["/".to_owned()]), ["far"], "{engine}");
        counts[0].store(1, Ordering::SeqCst);
    }
}

#[test]
fn least_latency_goes_where_answers_come_sooner() {
    for engine in ENGINES {
        let slow = Origin::start(|_, stream| {
            std::thread::sleep(Duration::from_millis(60));
            reply(stream, b"slow")
        });
        let fast = Origin::text("fast");
        let failing = Origin::start(|_, _| After::Close);
        let broken = Origin::start(|_, stream| write(stream, b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nbroken"));
        let endpoints = [slow.address, fast.address, failing.address, broken.address];
        let keys = "balance = \"least_latency\"\nejection = { failures = 1000 }\nretry = { attempts = 3 }";
        let proxy = Proxy::start(engine, &service(&endpoints, keys));
        let told = answers(&proxy, (0..120).map(|_| "/".to_owned()));
        let count = |name: &str| told.iter().filter(|answer| *answer == name).count();
        // Of six pairs that are drawn with equal chance three have the fast one, and two the slow one and one that fails.
        assert_eq!(count("slow") + count("fast") + count("broken"), 120, "{engine}");
        assert!(count("fast") > count("slow"), "{engine}: {} to {}", count("fast"), count("slow"));
        let soon = failing.requests().len() + broken.requests().len();
        assert!(soon < 80, "{engine}: failing soon is not being fast: {soon}");
    }
}

#[test]
fn what_fits_no_balance_is_told() {
    let check = |keys: &str, endpoint: &str| {
        let text = format!("[listeners.l]\naddress = \":80\"\n[services.s]\n{keys}\nendpoints = [{endpoint}]\n");
        let path = std::env::temp_dir().join(format!("ringress-balance-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringress")).arg("check").arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let endpoint = "\"127.0.0.1:1\"";
    for (keys, told) in [
        ("balance = \"hash:ip\"", "`ip` is not a key"),
        ("balance = \"fastest\"", "is not a balance"),
        ("balance = \"hash:{path}{unix_seconds}\"", "the time is another in every request"),
        ("balance = \"hash:header:a b\"", "is the same for every request"),
        ("hash_subset = 3", "it is for balances that hash"),
        ("balance = \"hash:host\"\nhash_subset = 17", "17 is out of its range"),
        ("balance = \"hash:host\"\nhash_load_percent = 100", "100 is out of its range"),
        ("zone = \"a\"", "no endpoint is in the zone `a`"),
    ] {
        let (is_right, text) = check(keys, endpoint);
        assert!(!is_right && text.contains(told), "{keys}: {text}");
    }
    let right = check("zone = \"a\"\nbalance = \"hash:{cookie:id}\"", "{ address = \"127.0.0.1:1\", zone = \"a\" }");
    assert!(right.0, "{}", right.1);
}
