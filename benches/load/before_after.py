#!/usr/bin/env python3
"""CPU seconds per 1,000 requests of two builds of this program, paired: what a change costs on the healthy path.

One worker each on CPU 0, origin (nginx) and load generator (wrk) on CPU 1, rounds interleaved. Everything is on the
loopback interface and ends with the script. Usage: before_after.py BEFORE AFTER [ROUNDS] [SECONDS]
"""
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BEFORE, AFTER = sys.argv[1], sys.argv[2]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 7
SECONDS = int(sys.argv[4]) if len(sys.argv) > 4 else 3
ORIGIN, PORTS = 19100, {"before": 19300, "after": 19400}
TICKS = os.sysconf("SC_CLK_TCK")
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="ringress-paired-"))


def write(name, text):
    path = FOLDER / name
    path.write_text(text)
    return str(path)


def pinned(cpu, *command):
    return subprocess.Popen(["taskset", "-c", str(cpu), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start():
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or sys.exit("nginx is not installed")
    temp = " ".join(f"{kind}_temp_path {FOLDER}/{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    small = "x" * 200
    origin = write("origin.conf", f"worker_processes 1; master_process off; daemon off; pid {FOLDER}/pid; error_log {FOLDER}/err;"
                   "events { worker_connections 4096; } http { access_log off; keepalive_requests 1000000000; "
                   f"keepalive_timeout 3600s; {temp} server {{ listen 127.0.0.1:{ORIGIN} backlog=4096;"
                   f"location / {{ default_type text/plain; return 200 \"{small}\"; }} }} }}\n")
    processes = {"origin": pinned(1, nginx, "-c", origin)}
    for name, binary in [("before", BEFORE), ("after", AFTER)]:
        config = write(f"{name}.toml", f"[workers]\nthreads = [0]\n[listeners.web]\naddress = \"127.0.0.1:{PORTS[name]}\"\n"
                       "[[routes]]\nname = \"all\"\nservice = \"up\"\n[services.up]\n"
                       f"endpoints = [\"127.0.0.1:{ORIGIN}\"]\nkeep_alive = {{ idle = \"600s\", per_worker = 1024 }}\n")
        processes[name] = pinned(0, binary, "run", config)
    for port in [ORIGIN, *PORTS.values()]:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
    return processes


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(process, port, connections, script):
    before = cpu_seconds(process)
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/"]
    text = subprocess.run(command + (["-s", script] if script else []), capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(process) - before
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    return used / int(re.search(r"(\d+) requests in", text)[1]) * 1000


def main():
    processes = start()
    post = write("post.lua", "wrk.method = 'POST'; wrk.body = string.rep('x', 200)\n")
    print(f"| {ROUNDS} rounds of {SECONDS} s | before, CPU s per 1,000 | after | ratio of medians (each round) |\n|---|---|---|---|")
    try:
        for row, connections, script in [("GET 200 B, 64 connections", 64, None), ("POST 200 B, 64 connections", 64, post),
                                         ("GET 200 B, 1,000 connections", 1000, None)]:
            samples = {name: [] for name in PORTS}
            for turn in range(ROUNDS + 1):
                # Whoever goes first changes from round to round.
                for name in list(PORTS)[:: 1 if turn % 2 else -1]:
                    sample = measure(processes[name], PORTS[name], connections, script)
                    if turn > 0:
                        samples[name].append(sample)
            ratios = [after / before for before, after in zip(samples["before"], samples["after"])]
            cell = {name: f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})" for name, values in samples.items()}
            ratio = statistics.median(samples["after"]) / statistics.median(samples["before"])
            print(f"| {row} | {cell['before']} | {cell['after']} | {ratio:.3f} ({min(ratios):.2f} to {max(ratios):.2f}) |")
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(FOLDER)


main()
