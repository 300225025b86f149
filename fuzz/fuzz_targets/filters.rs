//! What filters read of configurations and of clients: nothing panics, and what is refused lets nobody in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::filter::context::{Context, Notes, Verdict};
use ringress::filter::error_pages::StatusRange;
use ringress::filter::jwk::{Algorithm, keys_of};
use ringress::filter::mirror::Share;
use ringress::filter::oidc::provider::{Provider, ProviderPlace};
use ringress::filter::oidc::sealed::Sealer;
use ringress::filter::passwords::{HashKind, verify};
use ringress::filter::shared::SharedParts;
use ringress::filter::template::{Template, Values, Within};
use ringress::filter::{Chain, Filter};
use ringress::proto::coding::{Coding, accepted};
use ringress::proto::h1::auth_params::auth_params;
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::rules::HeadRules;
use ringress::tls::subject::names_of;
use ringress::upstream::sticky::{Sticky, StickyMode, StickyTokens, Tie};
use ringress::upstream::trip::{Seen, TripExpression};

/// A head with these fields, where they may stand in one.
fn head(target: &str, fields: &[(&str, &[u8])]) -> Option<RequestHead> {
    let mut bytes = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let mut head = RequestHead::default();
    head.parse(bytes, HeadRules::default()).ok().map(|()| head)
}

fn chain(filters: &str) -> Chain {
    let filters: Vec<Filter> = serde_json::from_str(filters).expect("it is written right");
    Chain::compile(&filters, &mut SharedParts::default(), |_, fault| panic!("{fault:?}"))
}

/// True where a chain lets a request pass.
fn passes(chain: &Chain, head: &mut RequestHead) -> bool {
    let context = Context { unix_s: 1_000, ..Context::of_nobody("http") };
    matches!(chain.on_request(head, &context, &mut Notes::default()), Verdict::Pass)
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    match kind % 14 {
        13 => {
            // What an expression says of counts that are there, whatever they are.
            struct Window(u32, u32);
            impl Seen for Window {
                fn ratio(&self, _: usize) -> (u32, u32) {
                    (self.0, self.1)
                }
                fn latency_ms(&self, quantile: f64) -> f64 {
                    quantile * f64::from(self.0)
                }
            }
            let Ok(expression) = TripExpression::parse(&text) else { return };
            let mut counts = Default::default();
            expression.count(502, &mut counts);
            let _ = expression.holds(&Window(counts[0].0, counts[0].1));
            let written = serde_json::to_value(&expression).expect("it is a text");
            assert_eq!(serde_json::from_value::<TripExpression>(written).expect("it was read before"), expression);
        }
        0 => {
            let Ok(template) = Template::parse(&text, 3) else { return };
            let Some(head) = head("/a/b?c=d", &[("Cookie", b"e=f"), ("X-Field", b"g h")]) else { return };
            let context = Context::of_nobody("https");
            let written = template.text(&Values::of(&head, &context), Within::Url);
            assert!(template.literal().is_none_or(|literal| literal == written));
        }
        1 => {
            let cors = chain(
                r#"[{"cors": {"origins": ["https://*.a.test", "https://b.test:8443"], "credentials": true, "methods": ["*"]}}]"#,
            );
            let fields: [(&str, &[u8]); 2] = [("Origin", data), ("Access-Control-Request-Method", b"PUT")];
            let Some(mut head) = head("/", &fields) else { return };
            let mut notes = Notes::default();
            let _ = cors.on_request(&mut head, &Context::of_nobody("http"), &mut notes);
            let allowed = notes.edits.response.put.iter().find(|(name, _)| &**name == b"Access-Control-Allow-Origin");
            let is_ours = |origin: &[u8]| {
                let origin = origin.to_ascii_lowercase();
                let bare = origin.strip_suffix(b":443").unwrap_or(&origin);
                bare.starts_with(b"https://") && (bare.ends_with(b".a.test") || bare == b"https://b.test:8443")
            };
            assert!(allowed.is_none_or(|(_, origin)| is_ours(origin)), "{text}");
        }
        2 => {
            // What takes long is left to others: rounds are chosen by whoever writes the hash.
            if HashKind::of(&text).is_none_or(|kind| matches!(kind, HashKind::Apr1 | HashKind::Sha1 | HashKind::Plain))
            {
                let _ = verify(&text, b"secret");
            }
        }
        3 => {
            let auth = chain(r#"[{"basic_auth": {"users": ["me:{PLAIN}a secret that nobody guesses"]}}]"#);
            let Some(mut head) = head("/", &[("Authorization", data)]) else { return };
            assert!(!passes(&auth, &mut head), "{text}");
        }
        4 => {
            let keys = keys_of(data).unwrap_or_default();
            assert!(keys.iter().all(|key| !key.verifies(Algorithm::RS256, b"signed", data)), "{text}");
        }
        5 => {
            let key = chain(r#"[{"api_key": {"keys": {"a": "a key that nobody guesses"}, "cookie": "k"}}]"#);
            let Some(mut head) = head("/", &[("Cookie", data)]) else { return };
            assert!(!passes(&key, &mut head), "{text}");
        }
        6 => {
            // A certificate that says anything of its owner: what a field would end at does not come out of it.
            let Some(names) = names_of(data) else { return };
            let is_plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            assert!(is_plain(&names.subject) && is_plain(&names.issuer) && is_plain(&names.serial), "{names:?}");
        }
        7 => {
            let sticky = Sticky::default();
            let tokens = StickyTokens::new("s", ["10.0.0.1:80"]);
            let Some(head) = head("/", &[("Cookie", data)]) else { return };
            assert_eq!(sticky.tie(&tokens, &head, || 0), Tie::Free, "{text}");
            let balanced = Sticky { mode: StickyMode::Balanced, ..sticky };
            let told = balanced.tie(&tokens, &head, || 0);
            let Tie::Session(id) = told else { return };
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        8 => {
            if let Ok(share) = text.parse::<Share>() {
                assert!(share.has(0), "{text}");
            }
            if let Ok(range) = text.parse::<StatusRange>() {
                assert!((400..=599).contains(range.0.start()) && range.0.start() <= range.0.end(), "{text}");
            }
        }
        9 => {
            let digest =
                chain(r#"[{"digest_auth": {"users": ["me:r:3d78807defe7de2157e2b0b6573a855f"], "realm": "r"}}]"#);
            let Some(mut head) = head("/", &[("Authorization", &[b"Digest ", data].concat())]) else { return };
            assert!(!passes(&digest, &mut head), "{text}");
            if let Some(parameters) = auth_params(data, b"digest") {
                assert!(parameters.iter().all(|(name, _)| !name.is_empty()), "{text}");
            }
        }
        10 => {
            let sealer = Sealer::new([&b"secret"[..]], "me".to_owned()).expect("there is a secret");
            assert!(sealer.open("session", data).is_none(), "{text}");
            let sealed = sealer.seal("session", data).expect("there is randomness");
            assert_eq!(sealer.open("session", sealed.as_bytes()).as_deref(), Some(data));
        }
        11 => {
            if let Ok(provider) = Provider::read(data, "https://a.test") {
                assert!(!provider.keys.is_empty() && provider.token.target.starts_with('/'), "{text}");
            }
            if let Ok(place) = ProviderPlace::of(&text) {
                assert!(place.target.starts_with('/') && !place.host.contains('@'), "{text}");
            }
        }
        _ => {
            let ours = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
            let chosen = accepted(data, &ours);
            assert!(chosen.is_none_or(|coding| ours.contains(&coding)));
        }
    }
});
