"""An API server, what every case has in it, and a controller of its own for a case that needs one."""

import base64
import json
import os
import socket
import ssl
import subprocess
import time
import tomllib
import urllib.request

import yaml

PLURALS = {"Ingress": "apis/networking.k8s.io/v1", "IngressClass": "apis/networking.k8s.io/v1", "EndpointSlice": "apis/discovery.k8s.io/v1",
           "Service": "api/v1", "Secret": "api/v1", "ConfigMap": "api/v1", "Namespace": "api/v1"}
CLUSTER_WIDE = {"IngressClass", "Namespace"}


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
        space = "" if kind in CLUSTER_WIDE else f"namespaces/{namespace}/"
        return f"{PLURALS[kind]}/{space}{plural}{'/' + name if name else ''}"

    def apply(self, namespace, body):
        kind, name = body["kind"], body["metadata"]["name"]
        space = body["metadata"].get("namespace", namespace)
        path = self.path(kind, space, name)
        done = self.call("POST", self.path(kind, space), body)
        if done.get("code") == 409:
            known = self.call("GET", path)
            if kind == "Namespace":
                body["spec"] = known.get("spec", {})
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
        # It ended yesterday.
        self.leaf("expired", "good", "client-ca", [], ["-days", "-1"])

    def file(self, name):
        return os.path.join(self.folder, name)

    def run(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    def authority(self, name):
        self.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.crt"),
                 "-days", "30", "-subj", f"/CN={name}")

    def leaf(self, name, common, authority, hosts, times=("-days", "30")):
        self.run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.csr"), "-subj", f"/CN={common}")
        extra = self.file(f"{name}.ext")
        names = ",".join(f"DNS:{host}" for host in hosts) or f"DNS:{common}"
        with open(extra, "w", encoding="ascii") as out:
            out.write(f"subjectAltName={names}\n")
        self.run("x509", "-req", "-in", self.file(f"{name}.csr"), "-CA", self.file(f"{authority}.crt"), "-CAkey", self.file(f"{authority}.key"),
                 "-CAcreateserial", "-out", self.file(f"{name}.crt"), *times, "-extfile", extra)

    def text(self, name):
        with open(self.file(name), encoding="ascii") as source:
            return source.read()

    def der(self, name):
        return ssl.PEM_cert_to_DER_cert(self.text(name))

    def secret(self, name, files):
        data = {key: base64.b64encode(self.text(file).encode()).decode() for key, file in files.items()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}


class Blackhole:
    """An address whose connections are never taken: its queue is full."""

    def __init__(self, address):
        self.address = address
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.address, 80))
        self.listener.listen(0)
        self.waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((self.address, 80))
            self.waiting.append(sock)


class Controller:
    """A controller for one case, with flags as ingress-nginx has them."""

    def __init__(self, settings, flags):
        free = []
        for _ in range(2):
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            free.append(sock)
        ports = [sock.getsockname()[1] for sock in free]
        for sock in free:
            sock.close()
        self.settings = {"http": ["127.0.0.1", ports[0]], "https": ["127.0.0.1", ports[1]]}
        flags = {"configmap": "/".join(settings["configmap"]), **flags}
        words = [f"--{name}={value}" for name, value in flags.items()]
        run = subprocess.run([settings["ringress"], "import", "ingress-nginx", "--", *words], capture_output=True, text=True, check=False)
        if run.returncode:
            raise Mismatch(f"the flags have no equal: {run.stderr}")
        config = tomllib.loads(run.stdout)
        del config["admin"]
        for name, port in (("web", ports[0]), ("websecure", ports[1])):
            config["listeners"][name].update(address=f"127.0.0.1:{port}", details="body")
        config["kubernetes"].update(kubeconfig=settings["kubeconfig"], write_status=False)
        self.file = os.path.join(settings["folder"], "controller.yaml")
        with open(self.file, "w", encoding="utf-8") as out:
            yaml.safe_dump(config, out)
        self.program, self.child = settings["ringress"], None
        self.start()

    def start(self):
        log = open(f"{self.file}.log", "ab")
        self.child = subprocess.Popen([self.program, "run", self.file], stdout=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(self.settings["http"], timeout=1).close()
                return
            except OSError:
                if self.child.poll() is not None:
                    break
                time.sleep(0.02)
        with open(f"{self.file}.log", encoding="utf-8", errors="replace") as told:
            raise Mismatch(f"the controller did not start: {told.read()[-600:]}")

    def restart(self):
        self.child.terminate()
        self.child.wait(60)
        self.start()

    def step(self, asked):
        if asked.get("signal") == "TERM":
            self.child.terminate()
        if "exited_within" in asked:
            try:
                self.child.wait(float(str(asked["exited_within"]).rstrip("s")))
            except subprocess.TimeoutExpired as late:
                raise Mismatch("it did not end in that time") from late

    def end(self):
        self.child.kill()
        self.child.wait()
