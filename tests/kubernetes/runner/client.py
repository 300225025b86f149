"""Sends what a step says: requests over HTTP/1 with and without TLS, and calls of gRPC."""

import http.client
import json
import socket
import ssl
import subprocess
import urllib.request


class Client:
    """A client of one case. An answer is its status, its fields and its body; the status is 0 where none came."""

    def __init__(self, settings, keys):
        self.settings, self.keys = settings, keys
        # The controller of this case alone, where it has one.
        self.controller = None
        self.jars = {}
        # What the last handshake came to, and what it left for one that goes on from it.
        self.shook, self.session = {}, (None, None)

    def entry(self, secure):
        """The address where the controller of this case is reached."""
        return (self.controller or self).settings["https" if secure else "http"]

    def shake(self, sock, send):
        """A handshake as a step wants it, with what it came to in `shook`."""
        wanted, name = send.get("tls") or {}, (send.get("host") or "").rstrip(".")
        context, session = self.session if wanted.get("resume") else (None, None)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if wanted.get("max"):
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2}[str(wanted["max"])]
                context.set_ciphers("ALL:@SECLEVEL=0")
            if wanted.get("tickets") is False:
                context.options |= ssl.OP_NO_TICKET
            if send.get("client_cert"):
                file = {"good": "good", "other-ca": "other-ca-leaf", "expired": "expired"}[send["client_cert"]]
                context.load_cert_chain(self.keys.file(f"{file}.crt"), self.keys.file(f"{file}.key"))
        sock = context.wrap_socket(sock, server_hostname=name or None, session=session)
        session = sock.session
        self.shook = {"version": sock.version(), "cipher": sock.cipher()[0], "resumed": sock.session_reused, "der": sock.getpeercert(True),
                      "ticket": bool(session and session.has_ticket), "name": name}
        if not wanted.get("resume"):
            self.session = (context, session)
        return sock

    def exchange(self, send):
        secure = send.get("scheme", "http") == "https"
        host, port = self.entry(secure)
        port = send.get("port", port)
        try:
            sock = socket.create_connection((host, port), timeout=30)
        except ConnectionRefusedError:
            return 0, [], "refused"
        name = send.get("host") or ""
        if secure:
            try:
                sock = self.shake(sock, send)
            except (ssl.SSLError, ConnectionError) as error:
                return 0, [], f"handshake: {error}"
        fields = {"Host": name or host}
        fields.update({key: str(value) for key, value in (send.get("headers") or {}).items()})
        jar = self.jars.setdefault(send["jar"], {}) if send.get("jar") else None
        if jar:
            fields["Cookie"] = "; ".join(f"{key}={value}" for key, value in jar.items())
        body = b"x" * send["body_bytes"] if send.get("body_bytes") else str(send.get("body") or "").encode()
        if body or send.get("method") in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(body))
        head = f"{send.get('method', 'GET')} {send.get('path', '/')} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        with sock:
            try:
                try:
                    sock.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
                except ConnectionError:
                    # It may have answered before it had all of it.
                    if not send.get("body_bytes"):
                        raise
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

    def in_a_row(self, send, times):
        """So many requests over as few connections as the controller lets them have."""
        connection, answers, connections = None, [], 0
        for _ in range(times):
            if connection is None:
                connection, connections = http.client.HTTPConnection(*self.entry(False), timeout=30), connections + 1
            connection.request(send.get("method", "GET"), send.get("path", "/"), headers={"Host": send["host"]})
            response = connection.getresponse()
            answers.append((response.status, response.getheaders(), response.read().decode(errors="replace")))
            if response.getheader("Connection", "").lower() == "close":
                connection.close()
                connection = None
        return answers, connections

    def call(self, send):
        """One call of gRPC, by a program of its own: its status, what was said of it, and what the backend saw."""
        secure = send.get("scheme", "http") == "https"
        host, port = self.entry(secure)
        wanted = {"address": f"{host}:{port}", "tls": secure, "host": send.get("host", ""), "method": send["grpc"],
                  "headers": {name: str(value) for name, value in (send.get("headers") or {}).items()}}
        run = subprocess.run([self.settings["backend"], "call", json.dumps(wanted)], check=True, capture_output=True, text=True)
        told = json.loads(run.stdout)
        return str(told["status"]), told["message"], told["body"]

    def chain(self, name):
        """How many certificates come for a name."""
        host, port = self.entry(True)
        said = subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", name, "-showcerts"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
        return said.count("BEGIN CERTIFICATE")

    def control(self, method):
        """What backends saw; with DELETE it is forgotten."""
        host, port = self.settings["control"]
        with urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/", method=method), timeout=10) as response:
            return json.load(response)
