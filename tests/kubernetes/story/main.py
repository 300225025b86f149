"""The application: a login that takes its time, and a page for those who are logged in."""

import json
import os
import time


def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"] == "/account/users/login/":
        user = json.load(environ["wsgi.input"])["user"]
        if "EXECUTED" in os.environ:
            with open(os.environ["EXECUTED"], "ab", buffering=0) as executed:
                executed.write(b"x")
        time.sleep(0.1)
        status, answer = "200 OK", json.dumps({"user": user, "token": "x" * 214})
    else:
        status, answer = "401 Unauthorized", '{"detail": "no token"}'
    body = answer.encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
