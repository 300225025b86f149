//! A sign-in on its way: what the browser carries to the provider and back (OpenID Connect Core 1.0 §3.1, RFC 7636).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::sealed::Sealer;
use crate::proto::h1::field::Known;
use crate::proto::h1::parameters::argument;
use crate::proto::h1::percent::put_parameter;
use crate::proto::h1::request::RequestHead;

const PURPOSE: &str = "state";
/// How long a sign-in may take, in seconds.
pub(super) const LOGIN_S: u64 = 600;
/// What was asked for and is longer is forgotten: the browser goes to the root then.
const ASKED_BYTES_MAX: usize = 1_024;

/// What `state` says, sealed.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Login {
    /// The code verifier.
    verifier: String,
    /// What the browser's own cookie must say.
    browser: String,
    /// What was asked for, in origin form.
    pub asked: String,
    /// Until when it may come back, in seconds since 1970.
    until_s: u64,
}

impl Login {
    /// One that begins with this request; `None` where there is no randomness.
    pub(super) fn begin(head: &RequestHead, browser: &str, unix_s: u64) -> Option<Self> {
        let sent = head.raw_target();
        let asked = if sent.starts_with(b"/") { sent } else { head.target().resolved() };
        let asked = std::str::from_utf8(asked).ok().filter(|asked| asked.len() <= ASKED_BYTES_MAX).unwrap_or("/");
        Some(Self {
            verifier: random()?,
            browser: browser.to_owned(),
            asked: asked.to_owned(),
            until_s: unix_s + LOGIN_S,
        })
    }

    /// The one that comes back with a request, to the browser that began it.
    pub(super) fn of(head: &RequestHead, browser: Option<&[u8]>, sealer: &Sealer, unix_s: u64) -> Option<Self> {
        let login: Self = serde_json::from_slice(&sealer.open(PURPOSE, argument(head, b"state")?)?).ok()?;
        (browser == Some(login.browser.as_bytes()) && unix_s < login.until_s).then_some(login)
    }

    /// What the token of this sign-in must say in `nonce`.
    pub(super) fn nonce(&self) -> String {
        hash(&format!("nonce\n{}", self.verifier))
    }

    /// Where the browser goes.
    pub(super) fn location(&self, authorization: &str, fixed: &[(&str, &[u8])], sealer: &Sealer) -> Option<Vec<u8>> {
        let state = sealer.seal(PURPOSE, &serde_json::to_vec(self).ok()?)?;
        let (nonce, challenge) = (self.nonce(), hash(&self.verifier));
        let own = [
            ("response_type", &b"code"[..]),
            ("state", state.as_bytes()),
            ("nonce", nonce.as_bytes()),
            ("code_challenge", challenge.as_bytes()),
            ("code_challenge_method", b"S256"),
        ];
        let mut location = authorization.as_bytes().to_vec();
        let mut start = if authorization.contains('?') { b'&' } else { b'?' };
        for (name, value) in fixed.iter().chain(&own) {
            location.push(start);
            put_parameter(&mut location, name, value);
            start = b'&';
        }
        Some(location)
    }

    /// What is asked at the provider for the code that came with a request; `None` where none came.
    pub(super) fn exchange(&self, head: &RequestHead, redirect_uri: &[u8]) -> Option<Vec<u8>> {
        // It is in the form of URLs already.
        let code = argument(head, b"code").filter(|code| !code.is_empty())?;
        let mut body = b"grant_type=authorization_code&code=".to_vec();
        body.extend_from_slice(code);
        body.push(b'&');
        put_parameter(&mut body, "redirect_uri", redirect_uri);
        body.push(b'&');
        put_parameter(&mut body, "code_verifier", self.verifier.as_bytes());
        Some(body)
    }
}

/// 256 bits in letters, digits, `-` and `_`; `None` where there is no randomness.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// True for what [`random`] may have made.
pub(super) fn is_random(text: &[u8]) -> bool {
    text.len() == 43 && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn hash(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// True where somebody waits before a browser: a redirect to a page would be no answer to a script or a program.
pub(super) fn is_navigation(head: &RequestHead) -> bool {
    if !matches!(head.method(), b"GET" | b"HEAD") || head.upgrade().is_some() {
        return false;
    }
    match head.value(b"sec-fetch-mode") {
        Some(mode) => &mode[..] == b"navigate",
        None => {
            head.value(b"x-requested-with").is_none()
                && head.values(Known::Accept).any(|accept| memchr::memmem::find(accept, b"text/html").is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::compile::tests::head_of;
    use super::*;

    #[test]
    fn a_login_comes_back_to_its_browser_and_in_time() {
        let sealer = Sealer::new([&b"secret"[..]], "me".to_owned()).unwrap();
        let begun = head_of("GET /a?b=c HTTP/1.1\nHost: a\n");
        let login = Login::begin(&begun, "browser", 1_000).unwrap();
        let location = login.location("https://a.test/x?y=z", &[("client_id", b"me & you")], &sealer).unwrap();
        let location = String::from_utf8(location).unwrap();
        assert!(location.starts_with("https://a.test/x?y=z&client_id=me%20%26%20you&response_type=code&state="));
        let state = location.split("state=").nth(1).unwrap().split('&').next().unwrap();
        let back = head_of(&format!("GET /callback?state={state}&code=a%2Bb HTTP/1.1\nHost: a\n"));
        let of = |browser: Option<&[u8]>, unix_s| Login::of(&back, browser, &sealer, unix_s);
        let found = of(Some(b"browser"), 1_599).unwrap();
        assert_eq!((&*found.asked, found.nonce()), ("/a?b=c", login.nonce()));
        assert_eq!(of(Some(b"browser"), 1_600), None);
        assert_eq!(of(Some(b"other"), 1_000), None);
        assert_eq!(of(None, 1_000), None);
        let body = String::from_utf8(found.exchange(&back, b"https://b/callback").unwrap()).unwrap();
        assert!(body.contains("&code=a%2Bb&redirect_uri=https%3A%2F%2Fb%2Fcallback&code_verifier="), "{body}");
        let none = head_of("GET /callback HTTP/1.1\nHost: a\n");
        assert!(found.exchange(&none, b"").is_none() && Login::of(&none, None, &sealer, 0).is_none());
    }

    #[test]
    fn only_browsers_that_show_a_page_are_sent_elsewhere() {
        for (text, is_page) in [
            ("GET / HTTP/1.1\nAccept: text/html,*/*\n", true),
            ("GET / HTTP/1.1\nAccept: */*\n", false),
            ("GET / HTTP/1.1\n", false),
            ("POST / HTTP/1.1\nAccept: text/html\nContent-Length: 0\n", false),
            ("GET / HTTP/1.1\nAccept: text/html\nX-Requested-With: XMLHttpRequest\n", false),
            ("GET / HTTP/1.1\nAccept: text/html\nSec-Fetch-Mode: cors\n", false),
            ("GET / HTTP/1.1\nAccept: */*\nSec-Fetch-Mode: navigate\n", true),
            ("GET / HTTP/1.1\nAccept: text/html\nConnection: upgrade\nUpgrade: websocket\n", false),
        ] {
            assert_eq!(is_navigation(&head_of(&format!("{text}Host: a\n"))), is_page, "{text}");
        }
    }
}
