"""Asks twice with Digest credentials, the second time once the challenge has come to its end.

Usage: digest_client.py URL VERSION USER PASSWORD SECONDS, with 1 or 2 for the version of HTTP, without TLS; prints for each request its
status, how many challenges came before it, and whether one said that the old one was stale.
"""

import sys
import time

import httpx

url, version, user, password, seconds = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])
spoken = {"http1": version == "1", "http2": version == "2"}
with httpx.Client(**spoken, auth=httpx.DigestAuth(user, password), trust_env=False, timeout=20) as client:
    for turn in range(2):
        if turn:
            time.sleep(seconds)
        response = client.get(url)
        challenge = response.history[0].headers["www-authenticate"] if response.history else ""
        print(response.status_code, len(response.history), "stale=true" in challenge)
