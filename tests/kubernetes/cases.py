"""Runs behaviour cases (cases/README.md) against a controller and an API server: applies objects, sends requests, compares.

Arguments are one JSON object: api, http, https (addresses), admin, backends ({service: [[ip, port], …]}), folder (for keys), cases (files), only
(ids), configmap ([namespace, name]). Prints a line of JSON for each case: {"id", "outcome": "passed" | "failed" | "skipped", "why"}.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

import yaml

PATIENCE = 5.0
# What a case may need and this runner can give.
MET = {"reply-control", "auth", "jar", "no-webhook", "port", "pods-seen", "configmap-step", "parallel", "timing", "scale"}
PLURALS = {"Ingress": "apis/networking.k8s.io/v1", "IngressClass": "apis/networking.k8s.io/v1", "EndpointSlice": "apis/discovery.k8s.io/v1",
           "Service": "api/v1", "Secret": "api/v1", "ConfigMap": "api/v1"}


class Mismatch(Exception):
    """An answer is not what it must be."""


class Api:
    """An API server."""

    def __init__(self, url, token):
        self.url, self.token = url, token
        # It has a certificate that it made itself.
        self.context = ssl._create_unverified_context()

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/{path}", data=data, method=method, headers={"Content-Type": "application/json"})
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.context) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return {"code": error.code, "text": error.read().decode()}

    def path(self, kind, namespace, name=""):
        plural = kind.lower() + ("es" if kind.lower().endswith("ss") else "s")
        space = "" if kind == "IngressClass" else f"namespaces/{namespace}/"
        return f"{PLURALS[kind]}/{space}{plural}{'/' + name if name else ''}"

    def apply(self, namespace, body):
        kind, name = body["kind"], body["metadata"]["name"]
        space = body["metadata"].get("namespace", namespace)
        path = self.path(kind, space, name)
        done = self.call("POST", self.path(kind, space), body)
        if done.get("code") == 409:
            known = self.call("GET", path)
            if kind == "Service" and "clusterIP" not in body["spec"]:
                # What was given to it cannot be taken away.
                body["spec"].update({key: value for key, value in known["spec"].items() if key in ("clusterIP", "clusterIPs")})
            if body.get("spec", {}).get("type") == "ExternalName" or kind == "Service" and known["spec"].get("type") == "ExternalName":
                body["spec"].pop("clusterIP", None)
                body["spec"].pop("clusterIPs", None)
            body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
            done = self.call("PUT", path, body)
        if "code" in done:
            raise Mismatch(f"{kind} {name} was not taken: {done}")
        return kind, space, name

    def delete(self, kind, namespace, name):
        self.call("DELETE", self.path(kind, namespace, name))


class Keys:
    """Certificates that every case has."""

    def __init__(self, folder):
        self.folder = folder
        self.authority("client-ca")
        self.authority("other-ca")
        self.leaf("cert-a", "a.test", "client-ca", ["a.test", "*.a.test"])
        self.leaf("default", "default.test", "client-ca", ["default.test"])
        self.leaf("good", "good", "client-ca", [])
        self.leaf("other-ca-leaf", "good", "other-ca", [])
        self.authority("tls-echo-ca")
        self.leaf("tls-echo", "tls-echo", "tls-echo-ca", ["tls-echo"])

    def file(self, name):
        return os.path.join(self.folder, name)

    def run(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    def authority(self, name):
        self.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.crt"),
                 "-days", "30", "-subj", f"/CN={name}")

    def leaf(self, name, common, authority, hosts):
        self.run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.csr"), "-subj", f"/CN={common}")
        extra = self.file(f"{name}.ext")
        names = ",".join(f"DNS:{host}" for host in hosts) or f"DNS:{common}"
        with open(extra, "w", encoding="ascii") as out:
            out.write(f"subjectAltName={names}\n")
        self.run("x509", "-req", "-in", self.file(f"{name}.csr"), "-CA", self.file(f"{authority}.crt"), "-CAkey", self.file(f"{authority}.key"),
                 "-CAcreateserial", "-out", self.file(f"{name}.crt"), "-days", "30", "-extfile", extra)

    def text(self, name):
        with open(self.file(name), encoding="ascii") as source:
            return source.read()

    def secret(self, name, files):
        data = {key: base64.b64encode(self.text(file).encode()).decode() for key, file in files.items()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}


class Runner:
    """One controller, one API server, one case after another."""

    def __init__(self, settings):
        self.settings = settings
        self.api = Api(settings["api"], settings.get("token", "secret"))
        self.keys = Keys(settings["folder"])
        self.number = 0
        self.made = []
        self.jars = {}

    def base(self, backends):
        """What every case has: Services with their slices, and Secrets."""
        for service, endpoints in self.settings["backends"].items():
            pods = backends.get(service, {}).get("pods", 2)
            yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service},
                   "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}], "clusterIP": "None"}}
            yield self.slice(service, endpoints[:pods])
        yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "empty"}, "spec": {"ports": [{"port": 80}], "clusterIP": "None"}}
        yield self.keys.secret("cert-a", {"tls.crt": "cert-a.crt", "tls.key": "cert-a.key"})
        yield self.keys.secret("client-ca", {"ca.crt": "client-ca.crt"})
        yield self.keys.secret("tls-echo-ca", {"ca.crt": "tls-echo-ca.crt", "tls.crt": "good.crt", "tls.key": "good.key"})

    def slice(self, service, endpoints):
        port = endpoints[0][1] if endpoints else 8080
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip, _ in endpoints],
                "ports": [{"name": "http", "port": port}]}

    def run(self, case):
        needs = set(case.get("needs") or [])
        if needs - MET:
            return "skipped", f"needs {', '.join(sorted(needs - MET))}"
        self.number += 1
        self.space = f"case-{self.number}-{os.getpid()}"
        self.made, self.jars, self.sentinel = [], {}, "status"
        try:
            if self.settings.get("is_real"):
                self.namespace(self.space)
            for body in self.base(case.get("backends") or {}):
                self.apply(body)
            self.configmap = {}
            self.configure(case.get("configmap") or {})
            self.apply_all(case["objects"])
            self.settle()
            for number, step in enumerate(case["steps"]):
                try:
                    self.step(step)
                except Mismatch as wrong:
                    return "failed", f"step {number + 1}: {wrong}"
            return "passed", ""
        except Mismatch as wrong:
            return "failed", str(wrong)
        finally:
            for kind, space, name in reversed(self.made):
                self.api.delete(kind, space, name)
            self.configure({}, fresh=True)
            if self.settings.get("is_real"):
                self.api.call("DELETE", f"api/v1/namespaces/{self.space}")

    def namespace(self, name):
        self.api.call("POST", "api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def fill(self, value):
        return json.loads(json.dumps(value).replace("${NAMESPACE}", self.space).replace("${CLIENT_IP}", "127.0.0.1"))

    def configure(self, keys, fresh=False):
        if fresh:
            self.configmap = {}
        self.configmap.update({key: str(value) for key, value in self.fill(keys).items()})
        space, name = self.settings["configmap"]
        self.api.apply(space, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": space}, "data": self.configmap})

    def apply(self, body):
        done = self.api.apply(self.space, body)
        if done not in self.made:
            self.made.append(done)

    def apply_all(self, text):
        for body in yaml.safe_load_all(text.replace("${NAMESPACE}", self.space)):
            if not body:
                continue
            if "delete" in body:
                kind, name = body["delete"].split("/")
                self.api.delete(kind, self.space, name)
            else:
                self.apply(body)

    def settle(self):
        """Waits until what was applied is served: an Ingress that was applied behind it is."""
        self.number += 1
        host = f"sentinel-{self.number}.test"
        self.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": f"sentinel-{self.number}"},
                    "spec": {"ingressClassName": "ringress", "rules": [{"host": host, "http": {"paths": [
                        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": self.sentinel, "port": {"number": 80}}}}]}}]}})
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                answer = self.exchange({"host": host, "path": "/"})
                if answer[0] == 200 and self.seen(answer).get("service") == self.sentinel:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise Mismatch("what was applied is not served")

    def step(self, step):
        known = {"send", "expect", "apply", "derived", "scale", "configmap", "wait", "event", "accepted"}
        if set(step) - known:
            raise Mismatch(f"the runner does not know {sorted(set(step) - known)}")
        if "configmap" in step:
            self.configure(step["configmap"])
        if "apply" in step:
            self.apply_all(step["apply"])
        if "scale" in step:
            for service, pods in step["scale"].items():
                if service == "status":
                    # Who answers for what was applied must stay.
                    self.sentinel = "slow"
                self.apply(self.slice(service, self.settings["backends"][service][:pods]))
        if {"apply", "configmap", "scale"} & set(step):
            self.settle()
        if "wait" in step:
            time.sleep(float(str(step["wait"]).rstrip("s")))
        if "send" in step:
            self.check(self.fill(step["send"]), self.fill(step.get("expect") or {}))

    def check(self, send, expect):
        times = send.get("times", 1)
        started = time.monotonic()
        if send.get("parallel"):
            with concurrent.futures.ThreadPoolExecutor(send["parallel"]) as pool:
                answers = list(pool.map(lambda _: self.exchange(send), range(max(times, send["parallel"]))))
        else:
            answers = [self.exchange(send) for _ in range(times)]
        took = time.monotonic() - started
        seconds = [float(str(text).rstrip("s")) for text in expect.get("takes", ["0s", "1e9s"])]
        if not seconds[0] <= took <= seconds[1]:
            raise Mismatch(f"it took {took:.2f} s, not {expect['takes']}")
        if "statuses" in expect:
            for code, number in expect["statuses"].items():
                count = sum(1 for answer in answers if answer[0] == int(code))
                low, high = number if isinstance(number, list) else (number, number)
                if not low <= count <= high:
                    raise Mismatch(f"{count} answers of {code}, not {number}")
        for answer in answers:
            self.compare(answer, expect)
        pods = [self.seen(answer).get("pod") for answer in answers]
        if expect.get("same_backend") and len(set(pods)) != 1:
            raise Mismatch(f"several pods answered: {set(pods)}")
        if expect.get("same_backend_as_before"):
            before = self.jars.get("pod:" + str(send.get("jar")))
            if before and pods[0] != before:
                raise Mismatch(f"{pods[0]} answered, and {before} before")
        if send.get("jar"):
            self.jars["pod:" + str(send["jar"])] = pods[-1]
        if "pods" in expect and len(set(pods)) != expect["pods"]:
            raise Mismatch(f"{len(set(pods))} pods answered, not {expect['pods']}")
        for service, (low, high) in (expect.get("share") or {}).items():
            share = sum(1 for answer in answers if self.seen(answer).get("service") == service) / len(answers)
            if not low <= share <= high:
                raise Mismatch(f"{service} has a share of {share:.2f}, not {low} to {high}")

    def seen(self, answer):
        try:
            seen = json.loads(answer[2])
            return seen if isinstance(seen, dict) else {}
        except ValueError:
            return {}

    def compare(self, answer, expect):
        status, fields, body = answer
        allowed = expect.get("status")
        if allowed is not None and status not in (allowed if isinstance(allowed, list) else [allowed]):
            raise Mismatch(f"status {status}, not {allowed}; {body[:150]!r}")
        for name, pattern in (expect.get("headers") or {}).items():
            self.match(f"field {name}", [value for known, value in fields if known.lower() == name.lower()], pattern)
        for name, count in (expect.get("header_count") or {}).items():
            found = [value for known, value in fields if known.lower() == name.lower()]
            if len(found) != count:
                raise Mismatch(f"{name} is there {len(found)} times, not {count}: {found}")
        if "body" in expect and not re.search(expect["body"], body):
            raise Mismatch(f"body {body[:200]!r} is not {expect['body']!r}")
        seen = self.seen(answer)
        if "service" in expect and seen.get("service") != expect["service"]:
            raise Mismatch(f"{seen.get('service')} answered ({status}), not {expect['service']}; {body[:100]!r}")
        for name, value in (expect.get("seen") or {}).items():
            if name == "headers":
                for field, pattern in value.items():
                    if field.lower() == "x-forwarded-port":
                        # Cases have the controller at ports 80 and 443.
                        pattern = str(pattern).replace("80", str(self.settings["http"][1]))
                    found = [one for known, values in (seen.get("headers") or {}).items() if known.lower() == field.lower() for one in values]
                    self.match(f"the backend's {field}", found, pattern)
            elif name in ("path", "host", "method") and seen.get(name) != value and not re.search(f"^(?:{value})" if str(value).startswith("^") else f"^(?:{value})$", str(seen.get(name))):
                raise Mismatch(f"the backend saw {name} {seen.get(name)!r}, not {value!r}")
            elif name in ("proto", "body") and not re.search(str(value), str(seen.get(name))):
                raise Mismatch(f"the backend saw {name} {seen.get(name)!r}, not {value!r}")

    def match(self, what, found, pattern):
        if pattern == "absent":
            if found:
                raise Mismatch(f"{what} is {found}, and should not be there")
        elif not any(re.search(str(pattern), value) for value in found):
            raise Mismatch(f"{what} is {found}, not {pattern!r}")

    def exchange(self, send):
        secure = send.get("scheme", "http") == "https"
        host, port = self.settings["https" if secure else "http"]
        sock = socket.create_connection((host, port), timeout=30)
        name = send.get("host") or ""
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if send.get("client_cert"):
                file = {"good": "good", "other-ca": "other-ca-leaf"}.get(send["client_cert"])
                if file is None:
                    raise Mismatch(f"the runner has no certificate {send['client_cert']}")
                context.load_cert_chain(self.keys.file(f"{file}.crt"), self.keys.file(f"{file}.key"))
            try:
                sock = context.wrap_socket(sock, server_hostname=name or None)
            except (ssl.SSLError, ConnectionError) as error:
                return 0, [], f"handshake: {error}"
        fields = {"Host": name or host}
        fields.update({key: str(value) for key, value in (send.get("headers") or {}).items()})
        jar = self.jars.setdefault(send["jar"], {}) if send.get("jar") else None
        if jar:
            fields["Cookie"] = "; ".join(f"{key}={value}" for key, value in jar.items())
        body = str(send.get("body") or "").encode()
        if body or send.get("method") in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(body))
        head = f"{send.get('method', 'GET')} {send.get('path', '/')} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        with sock:
            try:
                sock.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
                response = http.client.HTTPResponse(sock, method=send.get("method", "GET"))
                response.begin()
                text = response.read().decode(errors="replace")
            except (ssl.SSLError, ConnectionError, http.client.HTTPException) as error:
                return 0, [], f"no answer: {error}"
        fields = response.getheaders()
        if jar is not None:
            for key, value in fields:
                if key.lower() == "set-cookie":
                    pair = value.split(";")[0].split("=", 1)
                    jar[pair[0]] = pair[1]
        return response.status, fields, text


def main():
    settings = json.loads(sys.argv[1])
    runner = Runner(settings)
    if settings.get("is_real"):
        runner.namespace(settings["configmap"][0])
    for file in settings["cases"]:
        with open(file, encoding="utf-8") as source:
            cases = yaml.safe_load(source)
        for case in cases:
            if settings.get("only") and not any(re.search(one, case["id"]) for one in settings["only"]):
                continue
            if case.get("flags"):
                outcome, why = "skipped", "needs flags of the controller"
            else:
                outcome, why = runner.run(case)
            print(json.dumps({"id": case["id"], "outcome": outcome, "why": why}), flush=True)


main()
