"""A browser that signs in: follows redirects with its cookies, and fills in the provider's form where there is one.

Usage: oidc_client.py STEP...; each step is asked in its order and printed as a line of JSON. A step is a URL, `deny URL` to refuse at the
form, `script URL` to ask as a script does, `post URL`, `sleep SECONDS`, `tamper` to change the session, or `stranger` to forget all cookies
but keep the latest redirect, which is followed then.
"""

import json
import sys
import time

import httpx

client = httpx.Client(trust_env=False, timeout=20)
PAGE = {"Accept": "text/html", "X-Email": "forged"}


def browse(url, deny=False):
    hops, response = [], client.get(url, headers=PAGE)
    while True:
        if response.is_redirect:
            url = response.headers["location"]
            hops.append(url)
            response = client.get(url, headers=PAGE)
        elif "<form" in response.text and "Authorize Client" in response.text:
            form = {"action": "deny"} if deny else {"sub": "alice@example.com"}
            response = client.post(url, data=form, headers=PAGE)
        else:
            return response, url, hops


def tell(response, url, hops=()):
    cookies = response.headers.get_list("set-cookie")
    told = {
        "status": response.status_code,
        "url": url,
        "hops": len(hops),
        "why": response.headers.get("proxy-status", ""),
        "challenge": response.headers.get("www-authenticate", ""),
        "body": response.text.lower(),
        "set": [cookie.split("=")[0] for cookie in cookies],
        "ends": all("max-age=0" in cookie.lower() for cookie in cookies),
        "kept": sorted(cookie.name for cookie in client.cookies.jar),
    }
    print(json.dumps(told))


for step in sys.argv[1:]:
    verb, _, rest = step.rpartition(" ")
    if step == "tamper":
        for cookie in client.cookies.jar:
            cookie.value = cookie.value[:-8] + "AAAAAAAA"
    elif step == "stranger":
        response = client.get(LAST, headers=PAGE)
        back = client.post(response.headers["location"], data={"sub": "alice@example.com"}, headers=PAGE)
        client.cookies.clear()
        location = back.headers["location"]
        tell(client.get(location, headers=PAGE), location)
    elif verb == "sleep":
        time.sleep(float(rest))
    elif verb == "script":
        tell(client.get(rest, headers={"Accept": "*/*", "Sec-Fetch-Mode": "cors", "X-Email": "forged"}), rest)
    elif verb == "post":
        tell(client.post(rest, headers=PAGE, data={"a": "b"}), rest)
    elif verb == "leave":
        response = client.get(rest, headers=PAGE)
        tell(response, response.headers["location"])
    else:
        LAST = rest
        tell(*browse(rest, verb == "deny"))
