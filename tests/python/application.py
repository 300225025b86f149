"""A WSGI application that tells what it is told, and fails as it is asked to. Each POST leaves one byte in the file of `EXECUTED`."""

import hashlib
import json
import os
import time

LOG = os.open(os.environ["EXECUTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def body_of(env):
    left = int(env.get("CONTENT_LENGTH") or 0)
    while left > 0:
        part = env["wsgi.input"].read(min(left, 65536))
        if not part:
            return
        left -= len(part)
        yield part


def application(env, start):
    if env["REQUEST_METHOD"] == "POST":
        os.write(LOG, b"x")
    path = env["PATH_INFO"]
    if path == "/environ":
        told = {name: value for name, value in env.items() if isinstance(value, str)}
        out = json.dumps(told).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(out)))])
        return [out]
    if path == "/sum":
        digest, length = hashlib.sha256(), 0
        for part in body_of(env):
            digest.update(part)
            length += len(part)
        start("200 OK", [("Content-Type", "text/plain")])
        return [f"{length} {digest.hexdigest()}".encode()]
    if path == "/large":
        start("200 OK", [("Content-Type", "application/octet-stream")])
        return (bytes([part % 251]) * 65536 for part in range(320))
    if path == "/ignores":
        start("403 Not For You", [("Content-Length", "2"), ("X-Own", "1")])
        return [b"no"]
    if path == "/raises":
        raise RuntimeError("asked for")
    if path == "/dies":
        start("200 OK", [("Content-Length", "1000000")])

        def part():
            yield b"x" * 100000
            time.sleep(0.2)
            os._exit(1)

        return part()
    if path == "/slow":
        time.sleep(3)
    if path == "/nothing":
        start("204 No Content", [])
        return [b""]
    for _ in body_of(env):
        pass
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
