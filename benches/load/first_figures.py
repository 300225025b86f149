#!/usr/bin/env python3
"""CPU seconds per 1,000 requests beside nginx, and memory of idle connections beside nginx.

One worker each on CPU 0, origin (nginx) and load generator (wrk) on CPU 1, rounds interleaved. Everything is
on the loopback interface and ends with the script. Usage: first_figures.py [ROUNDS] [SECONDS]
"""
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
IDLE = 8000
ORIGIN, NGINX, RINGRESS, ADMIN = 19100, 19200, 19300, 19301
TICKS = os.sysconf("SC_CLK_TCK")
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="ringress-bench-"))


def need(name, package):
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if not path:
        sys.exit(f"{name} is not installed; apt-get install {package} brings it")
    return path


def write(name, text):
    path = FOLDER / name
    path.write_text(text)
    return str(path)


def pinned(cpu, *command):
    return subprocess.Popen(["taskset", "-c", str(cpu), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def nginx_config(name, body):
    temp = " ".join(f"{kind}_temp_path {FOLDER}/{name}-{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    return write(name + ".conf", f"worker_processes 1; master_process off; daemon off; pid {FOLDER}/{name}.pid;"
                 f"error_log {FOLDER}/{name}.err; worker_rlimit_nofile 30000; events {{ worker_connections 25000; }}"
                 f"http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; {temp} {body} }}\n")


def start():
    nginx = need("nginx", "nginx-light")
    small = "x" * 200
    (FOLDER / "www").mkdir(exist_ok=True)
    (FOLDER / "www/16k").write_text("y" * 16384)
    origin = nginx_config("origin", f"server {{ listen 127.0.0.1:{ORIGIN} backlog=8192; root {FOLDER}/www;"
                          f"location = / {{ default_type text/plain; return 200 \"{small}\"; }} }}")
    proxy = nginx_config("proxy", f"upstream up {{ server 127.0.0.1:{ORIGIN}; keepalive 1024; keepalive_requests 1000000000; }}"
                         f"server {{ listen 127.0.0.1:{NGINX} backlog=8192; location / {{ proxy_pass http://up; proxy_http_version 1.1;"
                         "proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;"
                         "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; } }")
    ours = write("ringress.toml", f"[workers]\nthreads = [0]\n[listeners.web]\naddress = \"127.0.0.1:{RINGRESS}\"\n"
                 "timeouts = { idle = \"3600s\" }\n"
                 f"[admin]\naddress = \"127.0.0.1:{ADMIN}\"\n[[routes]]\nname = \"all\"\nservice = \"up\"\n[services.up]\n"
                 f"endpoints = [\"127.0.0.1:{ORIGIN}\"]\nkeep_alive = {{ idle = \"600s\", per_worker = 1024 }}\n")
    binary = os.environ.get("RINGRESS", str(ROOT / "target/release/ringress"))
    processes = {"origin": pinned(1, nginx, "-c", origin), "nginx": pinned(0, nginx, "-c", proxy),
                 "ringress": pinned(0, binary, "run", ours)}
    for port in (ORIGIN, NGINX, RINGRESS):
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


def rss_kib(process):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1])


def measure(process, port, connections, path):
    wrk = need("wrk", "wrk")
    before = cpu_seconds(process)
    text = subprocess.run(["taskset", "-c", "1", wrk, "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency",
                           f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(process) - before
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return used / requests * 1000, requests / SECONDS


def idle_kib(process, port):
    """Memory of one idle kept-alive connection that has had one answer, in a process that had no others before:
    what the rows before left in the allocator would hide it."""
    held = []
    def hold(count):
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(4096)
            held.append(connection)
    hold(100)
    before = rss_kib(process)
    hold(IDLE)
    after = rss_kib(process)
    for connection in held:
        connection.close()
    return (after - before) / IDLE


def stop(processes):
    for process in processes.values():
        process.kill()
        process.wait()


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    processes = start()
    ports = {"nginx": NGINX, "ringress": RINGRESS}
    results = {}
    try:
        for row, connections, path in [("GET 200 B, 64 connections", 64, "/"), ("GET 16 KiB, 64 connections", 64, "/16k"),
                                       ("GET 200 B, 1,000 connections", 1000, "/")]:
            for name, port in ports.items():
                measure(processes[name], port, connections, path)
            samples = {name: [] for name in ports}
            for _ in range(ROUNDS):
                for name, port in ports.items():
                    samples[name].append(measure(processes[name], port, connections, path))
            results[row] = samples
        print(f"| {ROUNDS} rounds of {SECONDS} s | nginx, CPU s per 1,000 | ringress | ratio of medians (each round) | requests/s |")
        print("|---|---|---|---|---|")
        for row, samples in results.items():
            cpu = {name: [sample[0] for sample in rounds] for name, rounds in samples.items()}
            ratios = [ours / theirs for ours, theirs in zip(cpu["ringress"], cpu["nginx"])]
            median = {name: statistics.median(values) for name, values in cpu.items()}
            spread = {name: f"{median[name]:.4f} ({min(values):.4f} to {max(values):.4f})" for name, values in cpu.items()}
            rate = {name: statistics.median(sample[1] for sample in rounds) for name, rounds in samples.items()}
            print(f"| {row} | {spread['nginx']} | {spread['ringress']} | {median['ringress'] / median['nginx']:.2f} "
                  f"({min(ratios):.2f} to {max(ratios):.2f}) | {rate['nginx']:.0f}, {rate['ringress']:.0f} |")
        stop(processes)
        processes = start()
        print(f"\n| {IDLE} idle connections | KiB each |\n|---|---|")
        for name, port in ports.items():
            print(f"| {name} | {idle_kib(processes[name], port):.1f} |")
    finally:
        stop(processes)
        shutil.rmtree(FOLDER)


main()
