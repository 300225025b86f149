"""A strict provider of OpenID Connect that signs everybody in as alice at once, and answers codes as it is told.

Usage: oidc_provider.py PORT MANNER. It shows its keys and issues codes in every manner; MANNER is what is wrong with its tokens.
"""

import base64
import hashlib
import json
import secrets
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

PORT, MANNER = int(sys.argv[1]), sys.argv[2]
ISSUER = f"http://127.0.0.1:{PORT}/realm"
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
CODES, REFRESH = {}, set()


def part(number):
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def token(asked):
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "shop",
        "sub": "alice",
        "email": "alice@example.com",
        "groups": ["staff", "admin"],
        "iat": now,
        "exp": now + 3600,
        "nonce": asked["nonce"],
    }
    claims |= {
        "nonce": {"nonce": "another"},
        "audience": {"aud": "other"},
        "party": {"aud": ["shop", "other"], "azp": "other"},
        "expired": {"exp": now - 3600},
        "issuer": {"iss": "http://other.test"},
        "guest": {"groups": ["guest"]},
    }.get(MANNER, {})
    if MANNER == "unsigned":
        return jwt.encode(claims, None, algorithm="none", headers={"kid": "1"})
    return jwt.encode(claims, OTHER if MANNER == "key" else KEY, algorithm="ES256", headers={"kid": "1"})


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, fields=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        if path == "/realm/.well-known/openid-configuration":
            names = {"authorization": "/authorize?theme=dark", "token": "/token"}
            told = {f"{name}_endpoint": f"{ISSUER}{path}" for name, path in names.items()}
            self.answer(200, told | {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
        elif path == "/realm/keys":
            numbers = KEY.public_key().public_numbers()
            key = {"kty": "EC", "crv": "P-256", "kid": "1", "x": part(numbers.x), "y": part(numbers.y)}
            self.answer(200, {"keys": [key]})
        elif path == "/realm/authorize":
            wanted = {"response_type": "code", "client_id": "shop", "code_challenge_method": "S256", "theme": "dark"}
            assert wanted.items() <= asked.items() and "openid" in asked["scope"].split(), asked
            code = secrets.token_urlsafe() + "/+="
            CODES[code] = asked
            back = urllib.parse.urlencode({"code": code, "state": asked["state"]})
            self.answer(302, b"", [("Location", f"{asked['redirect_uri']}?{back}")])
        else:
            self.answer(404, b"")

    def renew(self, **more):
        REFRESH.add(given := secrets.token_hex())
        self.answer(200, {"refresh_token": given, "expires_in": 2} | more)

    def do_POST(self):
        if self.path == "/revoke":
            REFRESH.clear()
            return self.answer(200, b"")
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        asked = CODES.pop(form.get("code"), None)
        shown = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        verified = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        is_right = asked and form["redirect_uri"] == asked["redirect_uri"]
        if shown != "shop:s%3Acret":
            self.answer(401, {"error": "invalid_client"})
        elif form.get("grant_type") == "refresh_token" and form["refresh_token"] in REFRESH:
            # Each is good for once.
            REFRESH.remove(form["refresh_token"])
            self.renew()
        elif not is_right or verified.decode() != asked["code_challenge"]:
            self.answer(400, {"error": "invalid_grant"})
        elif MANNER == "silent":
            time.sleep(60)
        elif MANNER == "nonsense":
            self.answer(200, b"<html>")
        elif MANNER == "broken":
            self.answer(500, b"")
        elif MANNER == "refuses":
            self.answer(400, {"error": "invalid_grant"})
        elif MANNER == "nobody":
            self.answer(200, {"access_token": "x", "expires_in": 60})
        elif MANNER == "short":
            self.renew(id_token=token(asked))
        elif MANNER == "large":
            self.answer(200, {"id_token": token(asked), "refresh_token": secrets.token_hex(4000), "expires_in": "3600"})
        else:
            self.answer(200, {"id_token": token(asked), "expires_in": 3600})


ThreadingHTTPServer(("127.0.0.1", PORT), Provider).serve_forever()
