"""A client of HTTP/2 that sends what it is told, right or wrong, and reads every frame."""

import socket
import ssl

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame,
    SettingsFrame, WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE_S = 5.0

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11


class Ended(Exception):
    """The proxy closed the connection."""


class Client:
    """One connection. Its own SETTINGS are sent and the proxy's acknowledged, unless it is told otherwise."""

    def __init__(self, address, tls=None, settings=None, shakes_hands=True):
        host, port = address.rsplit(":", 1)
        self.authority = address
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scheme = "http"
        if tls:
            context = ssl.create_default_context(cafile=tls)
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="a.test")
            assert self.socket.selected_alpn_protocol() == "h2"
            self.scheme = "https"
        self.encoder, self.decoder = Encoder(), Decoder()
        self.bytes = b""
        self.settings = {}
        if shakes_hands:
            self.raw(PREFACE)
            self.send(SettingsFrame(0, settings=settings or {}))
            self.await_settings()

    def close(self):
        self.socket.close()

    def raw(self, data):
        """Sends bytes; that the proxy has closed is found out by reading."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def send(self, *frames):
        self.raw(b"".join(frame.serialize() for frame in frames))

    def frame(self, kind, flags, stream, payload=b""):
        """Sends a frame that no library would write."""
        self.raw(raw_frame(kind, flags, stream, payload))

    def fields(self, method="GET", path="/", extra=(), **pseudo):
        fields = [(":method", method), (":scheme", self.scheme), (":path", path), (":authority", self.authority)]
        return fields + list(extra)

    def block(self, fields):
        return self.encoder.encode(fields)

    def request(self, stream, fields=None, ends=True, ends_headers=True):
        frame = HeadersFrame(stream, self.block(fields or self.fields()))
        if ends_headers:
            frame.flags.add("END_HEADERS")
        if ends:
            frame.flags.add("END_STREAM")
        self.send(frame)

    def data(self, stream, payload, ends=False):
        frame = DataFrame(stream, payload)
        if ends:
            frame.flags.add("END_STREAM")
        self.send(frame)

    def receive(self, timeout=PATIENCE_S):
        """The next frame; TimeoutError where none comes, Ended at the connection's end."""
        self.socket.settimeout(timeout)
        while True:
            if len(self.bytes) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.bytes[:9]))
                if len(self.bytes) >= 9 + length:
                    frame.parse_body(memoryview(self.bytes[9:9 + length]))
                    self.bytes = self.bytes[9 + length:]
                    return frame
            try:
                more = self.socket.recv(65536)
            except (TimeoutError, socket.timeout):
                raise TimeoutError from None
            except OSError:
                more = b""
            if not more:
                raise Ended
            self.bytes += more

    def await_settings(self):
        while True:
            frame = self.receive()
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                self.settings = dict(frame.settings)
                self.send(SettingsFrame(0, flags=["ACK"]))
                return

    def until(self, is_it):
        """The first frame that is it; the others are passed over. HPACK is followed all the same."""
        while True:
            frame = self.receive()
            if isinstance(frame, (HeadersFrame, ContinuationFrame)):
                frame.fields = self.decoder.decode(frame.data)
            if is_it(frame):
                return frame

    # What a case may expect.

    def answered(self, stream=1, status="200"):
        head = self.until(lambda f: isinstance(f, HeadersFrame) and f.stream_id == stream)
        found = dict(head.fields)[":status"]
        assert found == status, f"status {found}, expected {status}"
        if "END_STREAM" not in head.flags:
            self.until(lambda f: isinstance(f, (DataFrame, HeadersFrame)) and f.stream_id == stream and "END_STREAM" in f.flags)
        return head

    def alive(self):
        """Answers a PING: the connection goes on."""
        self.send(PingFrame(0, opaque_data=b"canary!!"))
        self.until(lambda f: isinstance(f, PingFrame) and "ACK" in f.flags and f.opaque_data == b"canary!!")

    def connection_error(self, *codes):
        """GOAWAY with one of the codes, or the end of the connection."""
        try:
            frame = self.until(lambda f: isinstance(f, GoAwayFrame))
            assert frame.error_code in codes, f"GOAWAY with {frame.error_code}, expected one of {codes}"
        except Ended:
            pass

    def stream_error(self, stream, *codes):
        """RST_STREAM with one of the codes, or a connection error with one."""
        try:
            frame = self.until(
                lambda f: isinstance(f, GoAwayFrame) or isinstance(f, RstStreamFrame) and f.stream_id == stream)
            assert frame.error_code in codes, f"{type(frame).__name__} with {frame.error_code}, expected one of {codes}"
        except Ended:
            pass


def raw_frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
