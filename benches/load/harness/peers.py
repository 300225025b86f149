"""Proxies that are measured: what a file in `peers/` says of one, and the process that comes of it."""
import contextlib
import dataclasses
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import tomllib
import urllib.request

HERE = pathlib.Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
START_SECONDS = 60


def programs_path():
    """Where programs are looked for: RINGRESS_PEERS, what is built here, and the usual places."""
    built = [ROOT / "target/release", HERE / "tool/target/release", HERE / "pingora/target/release", HERE / "installed"]
    return os.pathsep.join([os.environ.get("RINGRESS_PEERS", ""), *map(str, built), os.environ["PATH"], "/usr/sbin"])


def h2load(port, front, arguments, cpus=None):
    """One run of h2load to its end: requests that were answered with success, and seconds.

    `arguments` are its own, the path last. An answer that is none of success is an error.
    """
    scheme = "https" if front in ("tls", "grpc") else "http"
    command = ["h2load", *arguments[:-1], "--connect-to", f"127.0.0.1:{port}", f"{scheme}://localhost:{port}{arguments[-1]}"]
    ran = subprocess.run([*(["taskset", "-c", cpus] if cpus else []), *command], capture_output=True, text=True,
                         timeout=START_SECONDS)
    counts = re.search(r"requests: (\d+) total, .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", ran.stdout)
    finished = re.search(r"finished in ([\d.]+)(ms|us|s)", ran.stdout)
    if not counts or not finished or counts[1] != counts[3] or f"status codes: {counts[1]} 2xx" not in ran.stdout:
        raise RuntimeError("h2load: " + (counts[0] if counts else (ran.stderr.strip() or "no result")))
    return int(counts[3]), float(finished[1]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[finished[2]]


@dataclasses.dataclass
class Peer:
    """One file of `peers/`."""

    key: str
    description: dict

    @property
    def name(self):
        return self.description["name"]

    @property
    def is_reference(self):
        return self.description.get("reference", False)

    def lacks(self, workload):
        """Why it is not measured with this workload; nothing where it is."""
        left_out = self.description["workloads_left_out"].get(workload.key)
        if not left_out and workload.front not in self.description.get("fronts", ["plain"]):
            left_out = "it has no configuration for it here"
        return left_out

    @property
    def program(self):
        return shutil.which(self.description["program"], path=programs_path())

    def version(self):
        """The first line that names a version, or nothing."""
        if not self.description.get("version"):
            return ""
        ran = subprocess.run([self.program, *self.description["version"]], capture_output=True, text=True, timeout=20)
        lines = (ran.stdout + ran.stderr).strip().splitlines()
        named = next((line.strip() for line in lines if any(sign.isdigit() for sign in line)), "")
        return named.replace(self.program, self.description["program"])


def all_peers():
    """Every peer that has a file, by key."""
    files = sorted((HERE / "peers").glob("*.toml"))
    return {file.stem: Peer(file.stem, tomllib.loads(file.read_text())) for file in files}


def against(command):
    """A proxy that somebody else brings: a shell command with {listen}, {origin}, {workers} and {folder}."""
    return Peer("mine", {"name": command.split()[0].rsplit("/")[-1], "program": "sh", "arguments": ["-c", "exec " + command],
                         "workloads_left_out": {"access_log": "not known", "routes_100": "not known",
                                                "routes_10000": "not known"}, "files": {}})


def free_ports(count):
    """Ports that nobody listens on, below those that the kernel gives to clients, so that none is taken meanwhile."""
    found = []
    for port in range(20_000, 30_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
        if len(found) == count:
            return found
    raise SystemExit("no free ports on 127.0.0.1")


class Process:
    """A program pinned to CPUs, ended by its own id."""

    def __init__(self, cpus, command, folder, environment=None, stdout=subprocess.DEVNULL):
        self.stderr = open(pathlib.Path(folder) / "stderr", "a+b")
        self.child = subprocess.Popen(["taskset", "-c", cpus, *map(str, command)], cwd=folder, stdin=subprocess.DEVNULL,
                                      stdout=stdout, stderr=self.stderr, env=os.environ | (environment or {}))

    def cpu_seconds(self):
        """CPU time of all threads of all its processes so far, by the scheduler's count."""
        counts = [task.read_text() for pid in self.pids() for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(count.split()[0]) for count in counts) / 1e9

    def pids(self):
        """The process and all that came of it."""
        found = [self.child.pid]
        for pid in found:
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found

    def kib(self, what):
        """Kibibytes of all its processes: `VmHWM` and `VmRSS` of status, `Pss` of smaps_rollup."""
        total = 0
        for pid in self.pids():
            file = "smaps_rollup" if what == "Pss" else "status"
            for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(what + ":"):
                    total += int(line.split()[1])
        return total

    def wait_for(self, port, front="plain", path="/200"):
        """Until it answers with 200: some listen before they know their routes."""
        start = time.monotonic()
        while True:
            try:
                if front == "plain":
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
                else:
                    h2load(port, front, ["-n", "1", path])
                return
            except (OSError, http.client.HTTPException, RuntimeError):
                if self.child.poll() is not None or time.monotonic() - start > START_SECONDS:
                    self.stderr.seek(0)
                    raise RuntimeError(f"does not answer: {self.stderr.read()[-1000:].decode(errors='replace')}") from None
                time.sleep(0.01)

    def stop(self):
        pids = self.pids() if self.child.poll() is None else []
        if pids:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
            # Workers that outlive their main process would share the next one's CPU.
            for pid in pids[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.stderr.close()


class Running(Process):
    """A peer that runs with its own folder and ports."""

    def __init__(self, peer, setup, origin, folder, workload):
        self.peer, self.front = peer, workload.front
        # Requests per second of the last run; nothing before the first.
        self.rate = None
        routes, access_log = workload.routes, workload.access_log
        self.folder = pathlib.Path(folder) / f"{peer.key}-{workload.key}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.port, self.admin = free_ports(2)
        described = peer.description
        log = described.get("access_log", {})

        def fill(text):
            for key, template in described.get("route", {}).items():
                entries = (template.replace("{name}", f"r{number}").replace("{host}", f"h{number}.example")
                           .replace("{prefix}", f"/app{number}/") for number in range(routes))
                text = text.replace("{routes:%s}" % key, "\n".join(entries))
            text = text.replace("{access_log}", log.get("on" if access_log else "off", ""))
            for key, choices in described.get("front", {}).items():
                # gRPC is TLS in front, too, and differs where it says so.
                names = [self.front, "tls", "else"] if self.front == "grpc" else [self.front, "else"]
                text = text.replace("{front:%s}" % key, next((choices[name] for name in names if name in choices), ""))
            values = {"listen": self.port, "origin": origin, "admin": self.admin, "workers": setup.workers, "folder": self.folder,
                      "certificate": pathlib.Path(folder) / "server.crt", "key": pathlib.Path(folder) / "server.key"}
            for key, value in values.items():
                text = text.replace("{%s}" % key, str(value))
            return text

        for name, text in described.get("files", {}).items():
            (self.folder / name).write_text(fill(text))
        environment = {key: fill(value) for key, value in described.get("environment", {}).items()}
        stdout = subprocess.DEVNULL
        if access_log and log.get("to") == "stdout":
            stdout = open(self.folder / "access.log", "wb")
        super().__init__(setup.proxy_cpus, [peer.program, *map(fill, described["arguments"])], self.folder, environment, stdout)
        try:
            self.wait_for(self.port, self.front, "/unary" if self.front == "grpc" else "/200")
        except RuntimeError as error:
            self.stop()
            raise RuntimeError(f"{peer.name} {error}") from None

    def log_lines(self):
        """Lines in the access log, once it has stopped growing."""
        file, size = self.folder / "access.log", -1
        while file.exists() and file.stat().st_size != size:
            size = file.stat().st_size
            time.sleep(2)
        if not file.exists():
            return 0
        with open(file, "rb") as log:
            return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)
