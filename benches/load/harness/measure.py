"""Runs loads against peers, interleaved, and keeps what came of them."""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from .peers import Process, Running, free_ports, h2load, programs_path
from .workloads import Workload

IDLE_CONNECTIONS = 5_000
# The part of a run in which perf counts.
PERF_SHARE = 0.5
# Beyond its own time, before a run is given up.
LONGEST_SECONDS = 60


# What facts are measured with.
PLAIN = Workload("plain", "", "--connections 64")
TLS = Workload("tls", "", "h2load --h1 -c 8 /200", front="tls")


@dataclasses.dataclass
class Setup:
    """How it is measured."""

    workers: int = 1
    proxy_cpus: str = "0"
    load_cpus: str = "1"
    load_threads: int = 1
    rounds: int = 5
    seconds: float = 1.5


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    """An origin that runs, a folder for the peers' files, and the load tool."""

    def __init__(self, setup):
        self.setup = setup
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ringress-load-"))
        self.tool = shutil.which("ringress-load", path=programs_path())
        if not self.tool:
            sys.exit("ringress-load is not built: benches/load/install.sh builds it")
        self.port = free_ports(1)[0]
        self.origin = Process(setup.load_cpus, [self.tool, "origin", "--listen", self.port, "--threads", setup.load_threads],
                              self.folder)
        self.origin.wait_for(self.port)
        # Origins that speak HTTP/2, by name, started when first asked for: their port and process.
        self.h2_origins = {}
        self.message = self.folder / "message"

    def close(self):
        self.origin.stop()
        for _, origin in self.h2_origins.values():
            origin.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, peer, workload=PLAIN):
        if workload.front != "plain":
            self.make_certificate()
        port = self.port
        if workload.front == "grpc":
            port = self.start_h2_origin("streams" if workload.load.startswith("streams ") else "unary")
        return Running(peer, self.setup, port, self.folder, workload)

    def make_certificate(self):
        """One for localhost, ECDSA on P-256; HAProxy wants certificate and key in one file."""
        certificate, key = self.folder / "server.crt", self.folder / "server.key"
        if not certificate.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
                           check=True, capture_output=True)
            (self.folder / "server.pem").write_text(certificate.read_text() + key.read_text())

    def start_h2_origin(self, name):
        """Speaks HTTP/2 without TLS: `unary` answers any call with one message of 32 bytes, `streams` is of Go."""
        if name not in self.h2_origins:
            port = free_ports(1)[0]
            command = self.unary_origin(port) if name == "unary" else [streams_program(), "origin", port]
            process = Process(self.setup.load_cpus, command, self.folder)
            self.h2_origins[name] = port, process
            process.wait_for(port, "h2c", "/unary")
        return self.h2_origins[name][0]

    def unary_origin(self, port):
        """A server of files whose one file is a message, its status in a trailer."""
        if not shutil.which("nghttpd"):
            raise RuntimeError("nghttpd is not installed (Debian: nghttp2-server)")
        self.message.write_bytes(b"\0" + (32).to_bytes(4, "big") + b"m" * 32)
        served = self.folder / "served"
        served.mkdir()
        shutil.copy(self.message, served / "unary")
        return ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", served, "-n", self.setup.load_threads, "--trailer", "grpc-status: 0",
                port]

    def load(self, running, load, seconds=None, during=None):
        """One run against a peer, or against the origin where `running` is none. Errors are in the outcome."""
        if load.startswith("h2load "):
            return self.load_by_h2load(running, load.split()[1:], seconds or self.setup.seconds)
        port = running.port if running else self.port
        if load.startswith("streams "):
            arguments = self.streams_arguments(port, load, seconds)
            return self.run_tool(running, arguments, seconds, during)
        program, *options = load.split() if load.startswith("handshakes") else ["generate", "--threads",
                                                                                str(self.setup.load_threads), *load.split()]
        arguments = ["taskset", "-c", self.setup.load_cpus, self.tool, program, "--connect", str(port),
                     "--seconds", str(seconds or self.setup.seconds), *options]
        if running:
            arguments += ["--pids", ",".join(map(str, running.pids()))]
        return self.run_tool(running, arguments, seconds, during)

    def streams_arguments(self, port, load, seconds):
        """`streams CONNECTIONS STREAMS KIND SIZE` as a command."""
        _, connections, streams, kind, size = load.split()
        return ["taskset", "-c", self.setup.load_cpus, streams_program(), "generate", str(port),
                str(int((seconds or self.setup.seconds) * 1e3)), connections, streams, kind, size]

    def run_tool(self, running, arguments, seconds, during):
        """What a load tool says that waits for a line of input. CPU time is read here where the tool does not."""
        tool = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # A peer that is silent must not hold the whole run up.
        alarm = threading.Timer(LONGEST_SECONDS + (seconds or self.setup.seconds), tool.kill)
        alarm.start()
        try:
            if tool.stdout.readline() != "ready\n":
                tool.stdin.close()
                raise RuntimeError((tool.stderr.read().strip().splitlines() or ["the load tool was ended: no answer"])[0])
            before = running.cpu_seconds() if running else None
            tool.stdin.write("\n")
            tool.stdin.flush()
            with during(running) if during else contextlib.nullcontext():
                outcome = json.loads(tool.stdout.readline() or '{"errors": 1, "requests": 0, "first_error": "no answer"}')
            if running:
                outcome.setdefault("cpu_seconds", running.cpu_seconds() - before)
            tool.stdin.close()
        finally:
            alarm.cancel()
            if tool.poll() is None and not tool.stdin.closed:
                tool.kill()
            tool.wait()
        if outcome["errors"] or not outcome["requests"]:
            raise RuntimeError(outcome["first_error"] or "no request was answered")
        return per_request(outcome)

    def load_by_h2load(self, running, arguments, seconds):
        """So many requests as take about so long by the last run's rate. Its connections are opened within the run."""
        arguments = [argument.replace("{message}", str(self.message)) for argument in arguments]
        connections = int(arguments[arguments.index("-c") + 1])
        streams = int(arguments[arguments.index("-m") + 1]) if "-m" in arguments else 1
        # The first run fills the pools, too.
        count = max(int(running.rate * seconds), connections) if running.rate else 5 * connections * streams
        pinned = ["-t", str(self.setup.load_threads), "--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "-n", str(count), *arguments]
        before = running.cpu_seconds()
        requests, taken = h2load(running.port, running.front, pinned, self.setup.load_cpus)
        outcome = per_request({"requests": requests, "seconds": taken, "cpu_seconds": running.cpu_seconds() - before})
        running.rate = outcome["rate"]
        return outcome

    def rounds(self, peers, workload, rounds=None):
        """Interleaved rounds over peers, whose order turns. For each peer its outcomes, or why there are none."""
        results, running = {}, {}
        load, access_log = workload.load, workload.access_log
        try:
            for peer in peers:
                try:
                    running[peer.key] = self.start(peer, workload)
                    self.load(running[peer.key], load, 0.2)
                    results[peer.key] = []
                except Exception as error:  # whatever it is, it voids this cell and no other
                    results[peer.key] = str(error)
            order = [key for key in results if not isinstance(results[key], str)]
            for number in range(rounds or self.setup.rounds):
                for key in order[number % len(order):] + order[:number % len(order)] if order else []:
                    if isinstance(results[key], str):
                        continue
                    try:
                        during = scrape if access_log else None
                        outcome = self.load(running[key], load, during=during)
                        results[key].append(outcome)
                    except Exception as error:
                        results[key] = str(error)
            for key in order if access_log else []:
                if isinstance(results[key], list):
                    lines, requests = running[key].log_lines(), sum(outcome["requests"] for outcome in results[key])
                    if lines < requests:
                        results[key] = f"{lines} lines in its log for {requests} requests"
        finally:
            for process in running.values():
                process.stop()
        return results

    def idle_kib(self, peer, workload=PLAIN):
        """Proportional memory of one idle kept-alive client connection that had an answer, in a process that had no others."""
        running = self.start(peer, workload)
        try:
            self.load(running, workload.load, 0.2)
            before = running.kib("Pss")
            tls = ["--tls"] if workload.front == "tls" else []
            tool = subprocess.Popen([self.tool, "hold", "--connect", str(running.port), "--connections", str(IDLE_CONNECTIONS), *tls],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            ready = tool.stdout.readline() == "ready\n"
            # What a peer gives back after a moment is not counted.
            time.sleep(2.5)
            after = running.kib("Pss")
            tool.stdin.close()
            tool.wait()
            return (after - before) / IDLE_CONNECTIONS if ready else None
        finally:
            running.stop()

    def start_ms(self, peer):
        """Milliseconds from the start of the process to the first answer."""
        begin = time.monotonic()
        running = self.start(peer)
        taken = (time.monotonic() - begin) * 1e3
        running.stop()
        return taken

    def calls(self, running, load):
        """System calls and io_uring's operations for one request, as perf counts them; nothing where it may not."""
        if not shutil.which("perf"):
            return None
        events = "raw_syscalls:sys_enter,syscalls:sys_enter_io_uring_enter,io_uring:io_uring_submit_req"
        counts = {}

        @contextlib.contextmanager
        def count(running):
            # Within the run, for perf takes its time to begin.
            perf = subprocess.Popen(["perf", "stat", "-x", ",", "-e", events, "-p", ",".join(map(str, running.pids())), "--",
                                     "sleep", str(PERF_SHARE * self.setup.seconds)], stderr=subprocess.PIPE, text=True)
            yield
            for line in perf.communicate()[1].splitlines():
                fields = line.split(",")
                if len(fields) > 2 and fields[0].isdigit():
                    counts[fields[2]] = int(fields[0])

        outcome = self.load(running, load, during=count)
        return {name: counts[name] / (PERF_SHARE * outcome["requests"]) for name in counts} or None


def streams_program():
    program = shutil.which("ringress-streams", path=programs_path())
    if not program:
        raise RuntimeError("ringress-streams is not built: benches/load/install.sh builds it, with Go")
    return program


def per_request(outcome):
    """The outcome of a run with what a request cost."""
    if outcome.get("cpu_seconds") is not None:
        outcome["cpu_us"] = outcome["cpu_seconds"] / outcome["requests"] * 1e6
        outcome["busy"] = outcome["cpu_seconds"] / outcome["seconds"]
    outcome["rate"] = outcome["requests"] / outcome["seconds"]
    return outcome


@contextlib.contextmanager
def scrape(running):
    """Takes the metrics of a peer that has some, each second, while the load runs."""
    path = running.peer.description.get("metrics")
    over = threading.Event()
    failed = []

    def run():
        while path:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{running.admin}{path}", timeout=10).read()
            except OSError as error:
                failed.append(f"its metrics: {error}")
            if over.wait(1):
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise RuntimeError(failed[0])


def median(outcomes, key):
    return statistics.median(outcome[key] for outcome in outcomes)


def machine():
    """What the measurement ran on, in one line."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kernel = os.uname().release.split("-")[0]
    return f"Linux {kernel}, {os.cpu_count()} CPUs ({cpu[1] if cpu else 'unknown'}), everything on the loopback interface"


