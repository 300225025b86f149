"""Runs behaviour cases (cases/README.md) against a controller and an API server: applies objects, sends requests, compares.

Arguments are one JSON object: api, http, https (addresses), kubeconfig, ringress (the program, for cases that need a controller of their own),
backend (the program of the services), backends ({service: [[ip, port], …]}), control (who says what backends saw), cluster_ips ({service: ip}),
backend_ca and backend_cert (files), folder (for keys), cases (files), only (ids), configmap ([namespace, name]). Prints a line of JSON for each
case: {"id", "outcome": "passed" | "failed" | "skipped", "why"}.
"""

import concurrent.futures
import json
import os
import re
import sys
import time

import yaml

from client import Client
from cluster import Api, Blackhole, Controller, Keys, Mismatch
from expect import compare, compare_tls, is_seen, seen

PATIENCE = 5.0
# What a case may need and this runner can give.
MET = {"reply-control", "auth", "jar", "no-webhook", "port", "pods-seen", "configmap-step", "parallel", "timing", "scale", "observed", "grpc", "grpc-tls",
       "body-bytes", "certs", "tls", "tls-resume", "connection-state", "blackhole-address", "broken-pod", "flags", "controller-steps", "restart",
       "namespaces", "cluster-objects", "reload-count", "zone-hints", "log", "nginx-directives"}
# Of the objects by which the runner knows that what was applied before them is served.
SENTINEL_CLASS = "ringress"
# Packets to it are lost.
BLACKHOLE = "192.0.2.77"


class Runner:
    """One controller, one API server, one case after another."""

    def __init__(self, settings):
        self.settings = settings
        self.api = Api(settings["api"], settings.get("token", "secret"))
        self.keys = Keys(settings["folder"])
        self.number = 0
        self.made = []
        self.client = Client(settings, self.keys)
        self.met = MET | ({"upstream-address"} if settings.get("cluster_ips") else set())
        self.blackhole = Blackhole(settings.get("blackhole", "127.20.249.1"))

    def base(self, backends):
        """What every case has: Services with their slices, and Secrets."""
        for service, endpoints in self.settings["backends"].items():
            asked = backends.get(service, {})
            pods = endpoints[:asked.get("pods", 2)]
            if asked.get("broken"):
                pods = self.settings["backends"][f"broken-{asked['answers']}"][:asked["broken"]] + pods[asked["broken"]:]
            yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service},
                   "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}],
                            **self.cluster_ip(service)}}
            yield self.slice(service, pods)
        yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "empty"}, "spec": {"ports": [{"port": 80}], "clusterIP": "None"}}
        yield self.keys.secret("cert-a", {"tls.crt": "cert-a.crt", "tls.key": "cert-a.key"})
        yield self.keys.secret("client-ca", {"ca.crt": "client-ca.crt"})
        yield self.keys.secret("tls-echo-ca", {"ca.crt": self.settings["backend_ca"], "tls.crt": "good.crt", "tls.key": "good.key"})

    def cluster_ip(self, service):
        ip = self.settings.get("cluster_ips", {}).get(service, "None")
        return {"clusterIP": ip, "clusterIPs": [ip]}

    def slice(self, service, endpoints):
        port = endpoints[0][1] if endpoints else 8080
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip, _ in endpoints],
                "ports": [{"name": "http", "port": port}]}

    def run(self, case):
        needs = set(case.get("needs") or [])
        if needs - self.met:
            return "skipped", f"needs {', '.join(sorted(needs - self.met))}"
        self.number += 1
        self.space = f"case-{self.number}-{os.getpid()}"
        self.made, self.secrets, self.sentinel = [], {}, "status"
        self.client = Client(self.settings, self.keys)
        try:
            self.namespace(self.space, case.get("namespace_labels"))
            for body in self.base(case.get("backends") or {}):
                self.apply(body)
            self.configmap = {}
            self.configure(case.get("configmap") or {})
            self.certificates(case.get("certs") or {})
            self.apply_all(case["objects"])
            for name, other in self.fill(case.get("other_namespaces") or {}).items():
                self.namespace(name, other.get("labels"))
                for body in self.base({}):
                    body["metadata"]["namespace"] = name
                    self.apply(body)
                self.apply_all(other["objects"], name)
            if needs & {"flags", "controller-steps", "restart"}:
                self.client.controller = Controller(self.settings, self.fill(case.get("flags") or {}))
            self.settle()
            for number, step in enumerate(case["steps"]):
                try:
                    self.step(step)
                except (Mismatch, OSError) as wrong:
                    return "failed", f"step {number + 1}: {wrong}"
            return "passed", ""
        except Mismatch as wrong:
            return "failed", str(wrong)
        finally:
            if self.client.controller:
                self.client.controller.end()
            for kind, space, name in reversed(self.made):
                self.api.delete(kind, space, name)
            self.configure({}, fresh=True)

    def namespace(self, name, labels=None):
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": self.fill(labels or {})}})

    def fill(self, value):
        return json.loads(self.fill_text(json.dumps(value)))

    def fill_text(self, text):
        return text.replace("${NAMESPACE}", self.space).replace("${CLIENT_IP}", "127.0.0.1").replace(BLACKHOLE, self.blackhole.address)

    def certificates(self, wanted):
        """Secrets with certificates of this case; those that are made later are kept."""
        for name, asked in wanted.items():
            if asked.get("client"):
                vouching = {"tls-echo-ca": self.settings["backend_ca"], "client-ca": "client-ca.crt"}[asked["ca_from"]]
                self.secrets[name] = {"tls.crt": "good.crt", "tls.key": "good.key", "ca.crt": vouching}
            else:
                self.keys.leaf(name, asked["hosts"][0], "client-ca", asked["hosts"])
                self.secrets[name] = {"tls.crt": f"{name}.crt", "tls.key": f"{name}.key"}
            if asked.get("create") != "later":
                self.apply(self.keys.secret(name, self.secrets[name]))

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

    def apply_all(self, text, space=None):
        for body in yaml.safe_load_all(self.fill_text(text)):
            if not body:
                continue
            if "delete" in body:
                kind, name = body["delete"].split("/")
                self.api.delete(kind, self.space, name)
            else:
                if space:
                    body["metadata"]["namespace"] = space
                self.apply(body)

    def settle(self):
        """Waits until what was applied is served: an Ingress that was applied behind it is."""
        self.number += 1
        host = f"sentinel-{self.number}.test"
        self.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": f"sentinel-{self.number}"},
                    "spec": {"ingressClassName": self.settings.get("sentinel_class", SENTINEL_CLASS), "rules": [{"host": host, "http": {"paths": [
                        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": self.sentinel, "port": {"number": 80}}}}]}}]}})
        end = time.monotonic() + self.settings.get("patience", 20)
        while time.monotonic() < end:
            try:
                self.logged = host
                answer = self.client.exchange({"host": host, "path": "/"})
                if answer[0] == 200 and seen(answer).get("service") == self.sentinel:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise Mismatch("what was applied is not served")

    def step(self, step):
        known = {"send", "expect", "apply", "apply_in", "derived", "scale", "configmap", "wait", "event", "accepted", "observed", "controller", "restart",
                 "create_cert", "label_namespace", "reloads", "log"}
        if set(step) - known:
            raise Mismatch(f"the runner does not know {sorted(set(step) - known)}")
        if "configmap" in step:
            self.configure(step["configmap"])
        if "create_cert" in step:
            self.apply(self.keys.secret(step["create_cert"], self.secrets[step["create_cert"]]))
        if "label_namespace" in step:
            asked = self.fill(step["label_namespace"])
            self.namespace(asked["name"], asked["labels"])
        if "apply" in step:
            self.apply_all(step["apply"], self.fill(step.get("apply_in") or {}).get("namespace"))
        if "restart" in step:
            self.client.controller.restart()
            self.settle()
        if "controller" in step:
            self.client.controller.step(step["controller"])
        if "log" in step:
            self.look_at_log(step["log"])
        if "observed" in step:
            self.look(self.fill(step["observed"]))
        if "scale" in step:
            for service, pods in step["scale"].items():
                if service == "status":
                    # Who answers for what was applied must stay.
                    self.sentinel = "slow"
                self.apply(self.slice(service, self.settings["backends"][service][:pods]))
        if {"apply", "configmap", "scale", "create_cert", "label_namespace"} & set(step):
            self.settle()
        if "wait" in step:
            time.sleep(float(str(step["wait"]).rstrip("s")))
        if "send" in step:
            self.check(self.fill(step["send"]), self.fill(step.get("expect") or {}))

    def look_at_log(self, expect):
        """Reads what a log has of this case, once a request that was sent after all others is in it. Workers write their lines apart: what should be
        there is waited for, and what should not has a second in which it could come."""
        self.number += 1
        mark = f"/log-mark-{self.number}"
        file = self.settings["logs"]["access"]
        self.client.exchange({"host": self.logged, "path": mark})
        end = time.monotonic() + PATIENCE
        while mark not in self.log(file):
            if time.monotonic() > end:
                raise Mismatch(f"{mark} is not in the log")
            time.sleep(0.05)
        file = self.settings["logs"][expect["kind"]]
        while "matches" in expect and not re.search(expect["matches"], self.log(file)):
            if time.monotonic() > end:
                raise Mismatch(f"{expect['matches']!r} is not in the log")
            time.sleep(0.05)
        if "absent" in expect:
            time.sleep(1)
            if re.search(expect["absent"], self.log(file)):
                raise Mismatch(f"{expect['absent']!r} is in the log")

    def log(self, file):
        with open(file, encoding="utf-8", errors="replace") as source:
            return source.read()

    def check_tls(self, answer, expect):
        if expect.get("handshake") == "refused":
            if answer[0] != 0:
                raise Mismatch(f"the handshake was made, and {answer[0]} came")
            return
        known = {name: self.keys.der(f"{name}.crt") for name in ["cert-a", *self.secrets] if os.path.exists(self.keys.file(f"{name}.crt"))}
        compare_tls(self.client.shook, expect, {"backend": self.keys.der(self.settings["backend_cert"]), **known})
        if "chain" in expect and (count := self.client.chain(self.client.shook["name"])) != expect["chain"]:
            raise Mismatch(f"{count} certificates came, not {expect['chain']}")

    def look(self, expect):
        """Waits until a backend has seen what it shall have seen, though nobody saw its answer."""
        end, found, count = time.monotonic() + PATIENCE, [], expect.get("count")
        while time.monotonic() < end:
            all_of_it = [one for one in self.client.control("GET") if one["service"] == expect["service"]]
            found = [one for one in all_of_it if is_seen(one, expect)]
            if len(found) == count if count is not None else found:
                return
            time.sleep(0.05)
        raise Mismatch(f"{expect['service']} saw {len(found)} such requests: {all_of_it}")

    def check(self, send, expect, attempts=3):
        self.client.control("DELETE")
        port = self.client.entry(False)[1]
        if send.get("grpc"):
            status, message, told = self.client.call(send)
            if not re.search(str(expect["grpc_status"]), status):
                raise Mismatch(f"grpc-status {status} ({message}), not {expect['grpc_status']}")
            compare((200, [], told), {"seen": expect.get("seen")}, port)
            return
        times = send.get("times", 1)
        started = time.monotonic()
        if send.get("keep_alive"):
            answers, connections = self.client.in_a_row(send, times)
            if "connections" in expect and connections != expect["connections"]:
                raise Mismatch(f"{connections} connections, not {expect['connections']}")
        elif send.get("parallel"):
            with concurrent.futures.ThreadPoolExecutor(send["parallel"]) as pool:
                answers = list(pool.map(lambda _: self.client.exchange(send), range(max(times, send["parallel"]))))
        else:
            answers = [self.client.exchange(send) for _ in range(times)]
        took = time.monotonic() - started
        seconds = [float(str(text).rstrip("s")) for text in expect.get("takes", ["0s", "1e9s"])]
        if took > seconds[1] and attempts > 1 and "statuses" not in expect:
            # The host may have been busy with something else.
            self.check(send, expect, attempts - 1)
            return
        if not seconds[0] <= took <= seconds[1]:
            raise Mismatch(f"it took {took:.2f} s, not {expect['takes']}")
        if "statuses" in expect:
            for code, number in expect["statuses"].items():
                count = sum(1 for answer in answers if answer[0] == int(code))
                low, high = number if isinstance(number, list) else (number, number)
                if not low <= count <= high:
                    raise Mismatch(f"{count} answers of {code}, not {number}")
        for answer in answers:
            compare(answer, expect, port)
        if "tls" in expect:
            self.check_tls(answers[-1], expect["tls"])
        if "upstream" in expect:
            upstream = "cluster-ip" if seen(answers[-1]).get("pod", "").startswith("cluster-ip") else "endpoint"
            if upstream != expect["upstream"]:
                raise Mismatch(f"{upstream} answered, not {expect['upstream']}")
        pods = [seen(answer).get("pod") for answer in answers]
        if expect.get("same_backend") and len(set(pods)) != 1:
            raise Mismatch(f"several pods answered: {set(pods)}")
        if expect.get("same_backend_as_before"):
            before = self.client.jars.get("pod:" + str(send.get("jar")))
            if before and pods[0] != before:
                raise Mismatch(f"{pods[0]} answered, and {before} before")
        if send.get("jar"):
            self.client.jars["pod:" + str(send["jar"])] = pods[-1]
        if "pods" in expect and len(set(pods)) != expect["pods"]:
            raise Mismatch(f"{len(set(pods))} pods answered, not {expect['pods']}")
        for service, (low, high) in (expect.get("share") or {}).items():
            share = sum(1 for answer in answers if seen(answer).get("service") == service) / len(answers)
            if not low <= share <= high:
                raise Mismatch(f"{service} has a share of {share:.2f}, not {low} to {high}")



def main():
    settings = json.loads(sys.argv[1])
    runner = Runner(settings)
    runner.api.apply("", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings["configmap"][0]}})
    for file in settings["cases"]:
        with open(file, encoding="utf-8") as source:
            cases = yaml.safe_load(source)
        for case in cases:
            if settings.get("only") and not any(re.search(one, case["id"]) for one in settings["only"]):
                continue
            outcome, why = runner.run(case)
            print(json.dumps({"id": case["id"], "outcome": outcome, "why": why}), flush=True)


main()
