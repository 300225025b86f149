"""Tokens as PyJWT signs them: `jwt_tokens.py FOLDER` writes keys.json and secret there, and prints the tokens by name."""

import base64
import hashlib
import hmac
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALGORITHMS = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS512": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(name, key):
    described = json.loads(jwt.get_algorithm_by_name(name).to_jwk(key.public_key()))
    return described | {"kid": name, "alg": name, "use": "sig"}


def bad_tokens(keys, claims, now):
    """Tokens that must open nothing, each for another reason."""
    key = keys["RS256"]
    good = jwt.encode(claims, key, "RS256", headers={"kid": "RS256"})
    head, payload, signature = good.split(".")
    changed = json.dumps(claims | {"sub": "mallory"}).encode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    confused = encoded(json.dumps({"alg": "HS256", "kid": "RS256"}).encode()) + "." + payload
    confusion = encoded(hmac.new(public, confused.encode(), hashlib.sha256).digest())
    none = encoded(json.dumps({"alg": "none"}).encode())

    def signed(**more):
        changed_claims = {name: value for name, value in (claims | more).items() if value is not None}
        return jwt.encode(changed_claims, key, "RS256", headers={"kid": "RS256"})

    stranger = rsa.generate_private_key(65537, 2048)
    return {
        "token_signature": [
            f"{head}.{encoded(changed)}.{signature}",
            f"{head}.{payload}.",
            jwt.encode(claims, stranger, "RS256", headers={"kid": "RS256"}),
            jwt.encode(claims, keys["ES256"], "ES256", headers={"kid": "RS256"}),
            f"{confused}.{confusion}",
        ],
        "token_algorithm": [
            f"{none}.{payload}.",
            jwt.encode(claims, key, "RS256", headers={"kid": "RS256", "crit": ["x"], "x": 1}),
        ],
        "token_expired": [signed(exp=now - 100), signed(exp=None)],
        "token_early": [signed(nbf=now + 100)],
        "token_issuer": [signed(iss="https://evil.test"), signed(iss=None)],
        "token_audience": [signed(aud="other"), signed(aud=["x", "y"]), signed(aud=None)],
        "token_malformed": ["", "a", "a.b", "a.b.c", f"{head}.{payload}", f"{good}.x", f"{head}.{encoded(b'[1]')}.x", "%%.%%.%%"],
    }


def main():
    folder = pathlib.Path(sys.argv[1])
    now = int(time.time())
    keys = {name: make() for name, make in ALGORITHMS.items()}
    claims = {"iss": "https://issuer.test", "aud": ["api", "other"], "exp": now + 600, "sub": "alice", "roles": ["admin", "user"], "n": 7}
    secret = "a secret of more than sixty-four bytes, as HS512 would like to have it, and more"
    (folder / "keys.json").write_text(json.dumps({"keys": [jwk_of(name, key) for name, key in keys.items()]}))
    (folder / "secret").write_text(secret + "\n")
    good = {name: jwt.encode(claims, key, name, headers={"kid": name}) for name, key in keys.items()}
    good["HS256"] = jwt.encode(claims, secret, "HS256")
    good["HS512"] = jwt.encode(claims, secret, "HS512")
    plain = jwt.encode({name: value for name, value in claims.items() if name != "roles"}, keys["RS256"], "RS256")
    print(json.dumps({"good": good, "bad": bad_tokens(keys, claims, now), "plain": plain}))


main()
