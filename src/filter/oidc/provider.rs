//! What a provider says of itself (OpenID Connect Discovery 1.0), as the control plane fetched it.

use http::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::super::jwk::{VerifyingKey, public_keys};

/// A place that is asked: an authority, and a target in origin form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPlace {
    /// The authority.
    pub host: String,
    /// The target.
    pub target: String,
}

impl ProviderPlace {
    /// That of a URL.
    ///
    /// # Errors
    /// It is none of `http` or `https`.
    pub fn of(url: &str) -> Result<Self, String> {
        let what = || format!("`{url}` is not a URL of https or http");
        let uri: Uri = url.parse().map_err(|_| what())?;
        let is_known = matches!(uri.scheme_str(), Some("https" | "http"));
        let host =
            uri.authority().filter(|authority| is_known && !authority.as_str().contains('@')).ok_or_else(what)?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self { host: host.to_string(), target: target.to_owned() })
    }

    /// Where the configuration of an issuer is.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_configuration(issuer: &str) -> Result<Self, String> {
        Self::of(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
    }

    /// Where the keys are that a configuration names.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn of_keys(configuration: &[u8], issuer: &str) -> Result<Self, String> {
        let configuration: Configuration = read(configuration)?;
        Self::of(&configuration.checked(issuer)?.jwks_uri)
    }
}

/// The parts of a configuration that are used.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    end_session_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Configuration {
    fn checked(self, issuer: &str) -> Result<Self, String> {
        if self.issuer == issuer { Ok(self) } else { Err(format!("it calls itself `{}`", self.issuer)) }
    }
}

fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("what it says of itself cannot be read: {error}"))
}

/// Configuration and keys in one.
#[derive(Deserialize)]
struct Bundle {
    configuration: Configuration,
    keys: Value,
}

/// Puts a configuration and a JWK set together, once both are found to be good.
///
/// # Errors
/// What is wrong with one of them.
pub fn bundle(configuration: &[u8], keys: &[u8], issuer: &str) -> Result<Vec<u8>, String> {
    let (configuration, keys): (Value, Value) = (read(configuration)?, read(keys)?);
    let bundle = serde_json::json!({"configuration": configuration, "keys": keys}).to_string().into_bytes();
    Provider::read(&bundle, issuer).map(|_| bundle)
}

/// A provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where browsers are sent to sign in.
    pub authorization: String,
    /// Where codes are exchanged.
    pub token: ProviderPlace,
    /// Where browsers are sent to sign out.
    pub end_session: Option<String>,
    /// Whether it takes the secret of a client in `Authorization`.
    pub takes_basic: bool,
    /// What its signatures are verified by.
    pub keys: Vec<VerifyingKey>,
}

impl Provider {
    /// Reads what [`bundle`] wrote.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(bytes: &[u8], issuer: &str) -> Result<Self, String> {
        let Bundle { configuration, keys } = read(bytes)?;
        let configuration = configuration.checked(issuer)?;
        ProviderPlace::of(&configuration.authorization_endpoint)?;
        configuration.end_session_endpoint.as_deref().map(ProviderPlace::of).transpose()?;
        let methods = configuration.token_endpoint_auth_methods_supported;
        Ok(Self {
            token: ProviderPlace::of(&configuration.token_endpoint)?,
            authorization: configuration.authorization_endpoint,
            end_session: configuration.end_session_endpoint,
            // What holds where nothing is said (OpenID Connect Discovery 1.0 §3).
            takes_basic: methods.is_none_or(|methods| {
                let has = |name: &str| methods.iter().any(|method| method == name);
                has("client_secret_basic") || !has("client_secret_post")
            }),
            keys: public_keys(&keys)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"{"keys": [{"kty": "RSA", "n": "AAAA", "e": "AQAB"}]}"#;

    fn configuration(change: impl Fn(String) -> String) -> String {
        change(
            r#"{"issuer": "https://a.test/x", "authorization_endpoint": "https://a.test/x/authorize?y=1", "token_endpoint": "https://b.test:81/token",
                "jwks_uri": "https://a.test/keys", "end_session_endpoint": "https://a.test/out", "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "unknown": [1]}"#
                .to_owned(),
        )
    }

    #[test]
    fn what_a_provider_says_is_read() {
        let text = configuration(|text| text);
        let bundle = bundle(text.as_bytes(), KEYS.as_bytes(), "https://a.test/x").unwrap();
        let provider = Provider::read(&bundle, "https://a.test/x").unwrap();
        assert_eq!(provider.token, ProviderPlace { host: "b.test:81".to_owned(), target: "/token".to_owned() });
        assert_eq!(provider.authorization, "https://a.test/x/authorize?y=1");
        assert!(!provider.takes_basic && provider.keys.len() == 1);
        let keys = ProviderPlace::of_keys(text.as_bytes(), "https://a.test/x").unwrap();
        assert_eq!((&*keys.host, &*keys.target), ("a.test", "/keys"));
        let place = ProviderPlace::of_configuration("https://a.test/x/").unwrap();
        assert_eq!(place.target, "/x/.well-known/openid-configuration");
    }

    #[test]
    fn nonsense_is_no_provider() {
        for (from, to) in [
            ("https://a.test/x\"", "https://other.test/x\""),
            ("\"token_endpoint\"", "\"token_end\""),
            ("https://b.test:81/token", "/token"),
            ("https://b.test:81/token", "ftp://b.test/token"),
            ("https://b.test:81/token", "https://me@b.test/token"),
            ("https://a.test/out", "javascript:alert(1)"),
            ("[1]}", "[1]"),
        ] {
            let text = configuration(|text| text.replacen(from, to, 1));
            assert!(bundle(text.as_bytes(), KEYS.as_bytes(), "https://a.test/x").is_err(), "{from} → {to}");
        }
        let text = configuration(|text| text);
        let secret = r#"{"keys": [{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
        for keys in ["", "{}", "{\"keys\": []}", secret] {
            assert!(bundle(text.as_bytes(), keys.as_bytes(), "https://a.test/x").is_err(), "{keys}");
        }
    }
}
