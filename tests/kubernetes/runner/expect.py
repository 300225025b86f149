"""What an answer must be, and what a backend must have seen."""

import json
import re

from cluster import Mismatch


def seen(answer):
    """What the backend says that it saw; empty where somebody else answered."""
    try:
        told = json.loads(answer[2])
        return told if isinstance(told, dict) else {}
    except ValueError:
        return {}


def match(what, found, pattern):
    if pattern == "absent":
        if found:
            raise Mismatch(f"{what} is {found}, and should not be there")
    elif not any(re.search(str(pattern), value) for value in found):
        raise Mismatch(f"{what} is {found}, not {pattern!r}")


def compare(answer, expect, port):
    """`port` is the one without TLS, which cases take for 80."""
    status, fields, body = answer
    if "connection" in expect and (body == "refused") != (expect["connection"] == "refused"):
        raise Mismatch(f"the connection was answered {status} ({body[:100]!r}), and should be {expect['connection']}")
    allowed = expect.get("status")
    if allowed is not None and status not in (allowed if isinstance(allowed, list) else [allowed]):
        raise Mismatch(f"status {status}, not {allowed}; {body[:150]!r}")
    for name, pattern in (expect.get("headers") or {}).items():
        if name.lower() == "location":
            pattern = str(pattern).replace(":80/", f":{port}/")
        match(f"field {name}", [value for known, value in fields if known.lower() == name.lower()], pattern)
    for name, count in (expect.get("header_count") or {}).items():
        found = [value for known, value in fields if known.lower() == name.lower()]
        if len(found) != count:
            raise Mismatch(f"{name} is there {len(found)} times, not {count}: {found}")
    if "body" in expect and not re.search(expect["body"], body):
        raise Mismatch(f"body {body[:200]!r} is not {expect['body']!r}")
    told = seen(answer)
    if "service" in expect and told.get("service") != expect["service"]:
        raise Mismatch(f"{told.get('service')} answered ({status}), not {expect['service']}; {body[:100]!r}")
    for name, value in (expect.get("seen") or {}).items():
        compare_seen(told, name, value, port)


def compare_seen(told, name, value, port):
    if name == "headers":
        for field, pattern in value.items():
            if field.lower() == "x-forwarded-port":
                pattern = str(pattern).replace("80", str(port))
            found = [one for known, values in (told.get("headers") or {}).items() if known.lower() == field.lower() for one in values]
            match(f"the backend's {field}", found, pattern)
        return
    found, pattern = str(told.get(name)), str(value)
    if name in ("path", "host", "method") and told.get(name) != value:
        pattern = f"^(?:{pattern})" if pattern.startswith("^") else f"^(?:{pattern})$"
    elif name not in ("proto", "body"):
        return
    if not re.search(pattern, found):
        raise Mismatch(f"the backend saw {name} {found!r}, not {value!r}")


def compare_tls(shook, expect, known):
    """`shook` is what the handshake came to, `known` are certificates by their names."""
    if "version" in expect and shook["version"] != f"TLSv{expect['version']}":
        raise Mismatch(f"{shook['version']} was spoken, not {expect['version']}")
    if "cipher" in expect and not re.search(expect["cipher"], shook["cipher"]):
        raise Mismatch(f"the cipher is {shook['cipher']}, not {expect['cipher']}")
    for name in ("resumed", "ticket"):
        if name in expect and shook[name] != expect[name]:
            raise Mismatch(f"{name} is {shook[name]}, not {expect[name]}")
    if "cert" in expect:
        shown = next((name for name, der in known.items() if der == shook["der"]), "default")
        if shown != expect["cert"]:
            raise Mismatch(f"the certificate {shown} was shown, not {expect['cert']}")


def is_seen(one, expect):
    """True where this request is one that a backend should have seen."""
    says = all(re.search(str(expect[name]), one[name]) for name in ("path", "method", "host", "body") if name in expect)
    fields = {name.lower(): values for name, values in one["headers"].items()}
    return says and all(any(re.search(str(pattern), value) for value in fields.get(name.lower(), []))
                        for name, pattern in (expect.get("headers") or {}).items())
