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

from .peers import Process, Running, free_ports, programs_path

IDLE_CONNECTIONS = 5_000
# The part of a run in which perf counts.
PERF_SHARE = 0.5
# Beyond its own time, before a run is given up.
LONGEST_SECONDS = 60


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

    def close(self):
        self.origin.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, peer, routes=0, access_log=False):
        return Running(peer, self.setup, self.port, self.folder, routes, access_log)

    def load(self, running, load, seconds=None, during=None):
        """One run against a peer, or against the origin where `running` is none. Errors are in the outcome."""
        port = running.port if running else self.port
        arguments = ["taskset", "-c", self.setup.load_cpus, self.tool, "generate", "--connect", str(port), "--threads",
                     str(self.setup.load_threads), "--seconds", str(seconds or self.setup.seconds), *load.split()]
        if running:
            arguments += ["--pids", ",".join(map(str, running.pids()))]
        tool = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # A peer that is silent must not hold the whole run up.
        alarm = threading.Timer(LONGEST_SECONDS + (seconds or self.setup.seconds), tool.kill)
        alarm.start()
        try:
            if tool.stdout.readline() != "ready\n":
                tool.stdin.close()
                raise RuntimeError((tool.stderr.read().strip().splitlines() or ["the load tool was ended: no answer"])[0])
            tool.stdin.write("\n")
            tool.stdin.flush()
            with during(running) if during else contextlib.nullcontext():
                outcome = json.loads(tool.stdout.readline() or '{"errors": 1, "requests": 0, "first_error": "no answer"}')
            tool.stdin.close()
        finally:
            alarm.cancel()
            if tool.poll() is None and not tool.stdin.closed:
                tool.kill()
            tool.wait()
        if outcome["errors"] or not outcome["requests"]:
            raise RuntimeError(outcome["first_error"] or "no request was answered")
        if outcome.get("cpu_seconds") is not None:
            outcome["cpu_us"] = outcome["cpu_seconds"] / outcome["requests"] * 1e6
            outcome["busy"] = outcome["cpu_seconds"] / outcome["seconds"]
        outcome["rate"] = outcome["requests"] / outcome["seconds"]
        return outcome

    def rounds(self, peers, load, routes=0, access_log=False, rounds=None):
        """Interleaved rounds over peers, whose order turns. For each peer its outcomes, or why there are none."""
        results, running = {}, {}
        try:
            for peer in peers:
                try:
                    running[peer.key] = self.start(peer, routes, access_log)
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

    def idle_kib(self, peer):
        """Proportional memory of one idle kept-alive client connection that had an answer, in a process that had no others."""
        running = self.start(peer)
        try:
            self.load(running, "--connections 8", 0.2)
            before = running.kib("Pss")
            tool = subprocess.Popen([self.tool, "hold", "--connect", str(running.port), "--connections", str(IDLE_CONNECTIONS)],
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


