"""An upstream of HTTP/2 whose connections many share. shared_origin.py PORT MANNER

    says-its-limit      takes heads of 8 KiB and says so (SETTINGS_MAX_HEADER_LIST_SIZE); a longer one ends the connection
    chokes              a head above 8 KiB ends the connection without a word
    chokes-with-goaway  a head above 8 KiB ends it by GOAWAY with an error, as Netty and Undertow do
    malformed           answers that break the rules, by path; `/slow` takes a second

Frames are written by hand: no library would send what some of these do.
"""

import socket
import sys
import threading
import time

from hpack import Decoder, Encoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from frames import PREFACE, raw_frame

port, manner = int(sys.argv[1]), sys.argv[2]
LIMIT = 8192
DATA, HEADERS, CONTINUATION, PING, SETTINGS = 0, 1, 9, 6, 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class Connection:
    def __init__(self, accepted):
        self.socket = accepted
        self.lock = threading.Lock()
        self.decoder, self.encoder = Decoder(max_header_list_size=1 << 20), Encoder()
        self.block = b""

    def send(self, data):
        with self.lock:
            try:
                self.socket.sendall(data)
            except OSError:
                pass

    def answer(self, stream, fields, body=b"", ends=True):
        with self.lock:
            block = self.encoder.encode(fields)
        head = raw_frame(HEADERS, END_HEADERS | (0 if body or not ends else END_STREAM), stream, block)
        self.send(head + (raw_frame(DATA, END_STREAM if ends else 0, stream, body) if body else b""))

    def serve(self):
        settings = {SettingsFrame.MAX_HEADER_LIST_SIZE: LIMIT} if manner == "says-its-limit" else {}
        self.send(SettingsFrame(0, settings=settings).serialize())
        buffered = b""
        while len(buffered) < len(PREFACE):
            buffered += self.socket.recv(65536)
        buffered = buffered[len(PREFACE):]
        while True:
            while len(buffered) >= 9 and len(buffered) >= 9 + int.from_bytes(buffered[:3], "big"):
                length = int.from_bytes(buffered[:3], "big")
                kind, flags = buffered[3], buffered[4]
                stream = int.from_bytes(buffered[5:9], "big")
                payload, buffered = buffered[9:9 + length], buffered[9 + length:]
                if not self.take(kind, flags, stream, payload):
                    return
            more = self.socket.recv(65536)
            if not more:
                return
            buffered += more

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.send(raw_frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(raw_frame(PING, ACK, 0, payload))
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                block, self.block = self.block, b""
                fields = self.decoder.decode(block)
                if manner != "malformed" and sum(len(name) + len(value) + 32 for name, value in fields) > LIMIT:
                    if manner == "chokes-with-goaway":
                        self.send(GoAwayFrame(0, last_stream_id=stream - 2, error_code=1).serialize())
                    self.socket.close()
                    return False
                threading.Thread(target=self.respond, args=(stream, dict(fields)), daemon=True).start()
        return True

    def respond(self, stream, fields):
        path = fields[":path"]
        if manner != "malformed":
            time.sleep(0.01)
            return self.answer(stream, [(":status", "200"), ("content-length", "2")], b"ok")
        if path == "/slow":
            time.sleep(1)
            self.answer(stream, [(":status", "200"), ("content-length", "2")], b"ok")
        elif path == "/capital":
            self.answer(stream, [(":status", "200"), ("X-Capital", "1")], b"ok")
        elif path == "/control":
            self.answer(stream, [(":status", "200"), ("x-control", "\x01")], b"ok")
        elif path == "/status":
            self.answer(stream, [(":status", "20")], b"ok")
        else:
            self.answer(stream, [(":status", "200"), ("content-length", "1")], b"ok")


listener = socket.create_server(("127.0.0.1", port))
while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=Connection(accepted).serve, daemon=True).start()
