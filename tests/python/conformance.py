"""Cases of RFC 9113 and RFC 7541, by section: what a server must answer to frames that are right, and to those that are not.

    conformance.py ADDRESS [CA]

Prints one line for each case that fails and the number of those that passed; exits 1 where one failed.
"""

import sys
import time

from hyperframe.frame import (
    DataFrame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame,
)

from frames import (
    CANCEL, COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM,
    STREAM_CLOSED, Client, Ended,
)

CASES = []
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32


def case(name, shakes_hands=True, settings=None):
    def register(function):
        CASES.append((name, function, shakes_hands, settings))
        return function
    return register


def request_case(name, fields, check, body=None):
    """A request on stream 1, and what must come of it."""
    def run(c):
        c.request(1, fields(c), ends=body is None)
        if body is not None:
            c.data(1, body, ends=True)
        check(c)
    CASES.append((name, run, True, None))


def compression_error(c):
    c.connection_error(COMPRESSION_ERROR)


# 3.4 Connection preface

@case("3.4: a client's preface is answered by SETTINGS", shakes_hands=False)
def _(c):
    c.raw(PREFACE)
    c.send(SettingsFrame(0))
    c.await_settings()


@case("3.4: another preface ends the connection", shakes_hands=False)
def _(c):
    c.raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + SettingsFrame(0).serialize())
    c.connection_error(PROTOCOL_ERROR)


@case("3.4: a preface without SETTINGS behind it ends the connection", shakes_hands=False)
def _(c):
    c.raw(PREFACE)
    c.send(PingFrame(0, opaque_data=b"x" * 8))
    c.connection_error(PROTOCOL_ERROR)


# 4.1 Frame format

@case("4.1: a frame of an unknown type is passed over")
def _(c):
    c.frame(0x16, 0, 0, b"x" * 8)
    c.alive()


@case("4.1: flags that a type does not know are passed over")
def _(c):
    c.frame(PING, 0x16, 0, b"canary!!")
    c.until(lambda f: isinstance(f, PingFrame) and "ACK" in f.flags)


@case("4.1: the reserved bit of a stream's number is passed over")
def _(c):
    c.frame(PING, 0, 1 << 31, b"canary!!")
    c.until(lambda f: isinstance(f, PingFrame) and "ACK" in f.flags)


# 4.2 Frame size

@case("4.2: DATA of the greatest size is taken")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.data(1, b"x" * 16384, ends=True)
    c.answered()


@case("4.2: DATA that is larger is a stream's or connection's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(DATA, END_STREAM, 1, b"x" * 16385)
    c.stream_error(1, FRAME_SIZE_ERROR)


@case("4.2: HEADERS that are larger are the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block(c.fields()) + b"\x00\x01a" + b"\x7f" * 16384)
    c.connection_error(FRAME_SIZE_ERROR)


# 4.3 Header compression

@case("4.3: a block that cannot be read is a compression error")
def _(c):
    c.frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
    compression_error(c)


@case("4.3: PRIORITY inside of a block is the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM, 1, c.block(c.fields()))
    c.send(PriorityFrame(1, depends_on=0, stream_weight=1))
    c.connection_error(PROTOCOL_ERROR)


@case("4.3: HEADERS of another stream inside of a block are the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM, 1, c.block(c.fields()))
    c.request(3)
    c.connection_error(PROTOCOL_ERROR)


# 5.1 Stream states

for kind, payload, name in [(DATA, b"x", "DATA"), (RST_STREAM, b"\0\0\0\x08", "RST_STREAM"),
                            (WINDOW_UPDATE, b"\0\0\0\x64", "WINDOW_UPDATE"), (CONTINUATION, b"", "CONTINUATION")]:
    def idle(c, kind=kind, payload=payload):
        c.frame(kind, 0, 1, payload)
        c.connection_error(PROTOCOL_ERROR)
    CASES.append((f"5.1: {name} on an idle stream is the connection's error", idle, True, None))


def half_closed(kind, payload, flags):
    def run(c):
        c.request(1, c.fields("POST"))
        c.frame(kind, flags, 1, payload(c))
        c.stream_error(1, STREAM_CLOSED, PROTOCOL_ERROR)
    return run


for kind, payload, flags, name in [(DATA, lambda c: b"x", END_STREAM, "DATA"),
                                   (HEADERS, lambda c: c.block(c.fields()), END_STREAM | END_HEADERS, "HEADERS"),
                                   (CONTINUATION, lambda c: c.block(c.fields()), END_HEADERS, "CONTINUATION")]:
    CASES.append((f"5.1: {name} on a half-closed stream is an error", half_closed(kind, payload, flags), True, None))


def after_reset(kind, payload, flags):
    def run(c):
        c.request(1, c.fields("POST"), ends=False)
        c.send(RstStreamFrame(1, error_code=CANCEL))
        c.frame(kind, flags, 1, payload(c))
        c.stream_error(1, STREAM_CLOSED, PROTOCOL_ERROR)
    return run


for kind, payload, flags, name in [(DATA, lambda c: b"x", END_STREAM, "DATA"),
                                   (HEADERS, lambda c: c.block(c.fields()), END_STREAM | END_HEADERS, "HEADERS"),
                                   (CONTINUATION, lambda c: c.block(c.fields()), END_HEADERS, "CONTINUATION")]:
    CASES.append((f"5.1: {name} on a stream that was reset is an error", after_reset(kind, payload, flags), True, None))


def after_end(kind, payload, flags):
    def run(c):
        c.request(1)
        c.answered()
        c.frame(kind, flags, 1, payload(c))
        c.stream_error(1, STREAM_CLOSED, PROTOCOL_ERROR)
    return run


for kind, payload, flags, name in [(DATA, lambda c: b"x", END_STREAM, "DATA"),
                                   (HEADERS, lambda c: c.block(c.fields()), END_STREAM | END_HEADERS, "HEADERS"),
                                   (CONTINUATION, lambda c: c.block(c.fields()), END_HEADERS, "CONTINUATION")]:
    CASES.append((f"5.1: {name} on a stream that has ended is an error", after_end(kind, payload, flags), True, None))


@case("5.1: PRIORITY is taken in every state")
def _(c):
    c.send(PriorityFrame(1, depends_on=0, stream_weight=1))
    c.request(1)
    c.send(PriorityFrame(1, depends_on=0, stream_weight=2))
    c.answered()
    c.send(PriorityFrame(1, depends_on=0, stream_weight=3))
    c.alive()


@case("5.1: WINDOW_UPDATE is taken on a half-closed stream")
def _(c):
    c.request(1)
    c.send(WindowUpdateFrame(1, window_increment=100))
    c.answered()


@case("5.1.1: a stream of an even number is the connection's error")
def _(c):
    c.request(2)
    c.connection_error(PROTOCOL_ERROR)


@case("5.1.1: a stream of a lower number than before is the connection's error")
def _(c):
    c.request(5)
    c.answered(5)
    c.request(3)
    c.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("5.1.2: more streams than are allowed are refused")
def _(c):
    most = c.settings[SettingsFrame.MAX_CONCURRENT_STREAMS]
    for at in range(most + 1):
        c.request(2 * at + 1, c.fields("POST"), ends=False)
    c.stream_error(2 * most + 1, PROTOCOL_ERROR, REFUSED_STREAM)


# 5.3 Priority

@case("5.3: a stream that depends on itself is an error, or priorities are not heeded")
def _(c):
    frame = HeadersFrame(1, c.block(c.fields()), flags=["END_STREAM", "END_HEADERS", "PRIORITY"])
    frame.depends_on, frame.stream_weight = 1, 1
    c.send(frame)
    try:
        c.stream_error(1, PROTOCOL_ERROR)
    except TimeoutError:
        c.alive()


# 5.4 Error handling

@case("5.4.1: after a connection error comes GOAWAY, then the end")
def _(c):
    c.frame(DATA, END_STREAM, 0, b"x")
    c.until(lambda f: isinstance(f, GoAwayFrame))
    try:
        while True:
            c.receive()
    except Ended:
        pass


# 5.5 Extensions

@case("5.5: an unknown frame inside of a block is the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM, 1, c.block(c.fields()))
    c.frame(0xff, 0, 0, b"x" * 8)
    c.connection_error(PROTOCOL_ERROR)


@case("5.5: an unknown setting is passed over")
def _(c):
    c.frame(SETTINGS, 0, 0, b"\0\xff\0\0\0\x01")
    c.until(lambda f: isinstance(f, SettingsFrame) and "ACK" in f.flags)


# 6.1 DATA

@case("6.1: DATA on stream 0 is the connection's error")
def _(c):
    c.frame(DATA, END_STREAM, 0, b"x")
    c.connection_error(PROTOCOL_ERROR)


@case("6.1: padding is taken off")
def _(c):
    c.request(1, c.fields("POST", path="/echo", extra=[("content-length", "4")]), ends=False)
    c.frame(DATA, END_STREAM | PADDED, 1, b"\x05" + b"body" + b"\0" * 5)
    c.answered()


@case("6.1: padding that is longer than the frame is the connection's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(DATA, END_STREAM | PADDED, 1, b"\x06body\0")
    c.connection_error(PROTOCOL_ERROR)


# 6.2 HEADERS

@case("6.2: HEADERS on stream 0 are the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM | END_HEADERS, 0, c.block(c.fields()))
    c.connection_error(PROTOCOL_ERROR)


@case("6.2: padded HEADERS with a priority are taken")
def _(c):
    c.frame(HEADERS, END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY, 1,
            b"\x03" + b"\0\0\0\0\x10" + c.block(c.fields()) + b"\0" * 3)
    c.answered()


@case("6.2: padding of HEADERS that is longer than the frame is the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + c.block(c.fields()))
    c.connection_error(PROTOCOL_ERROR)


@case("6.2: a block that goes on in CONTINUATION is one")
def _(c):
    block = c.block(c.fields())
    c.frame(HEADERS, END_STREAM, 1, block[:3])
    c.frame(CONTINUATION, 0, 1, block[3:5])
    c.frame(CONTINUATION, END_HEADERS, 1, block[5:])
    c.answered()


# 6.3 PRIORITY

@case("6.3: PRIORITY on stream 0 is the connection's error")
def _(c):
    c.frame(PRIORITY, 0, 0, b"\x80\0\0\x01\x01")
    c.connection_error(PROTOCOL_ERROR)


@case("6.3: PRIORITY of another length than 5 is a stream's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(PRIORITY, 0, 1, b"\x80\0\0\x01")
    c.stream_error(1, FRAME_SIZE_ERROR)


# 6.4 RST_STREAM

@case("6.4: RST_STREAM on stream 0 is the connection's error")
def _(c):
    c.frame(RST_STREAM, 0, 0, b"\0\0\0\x08")
    c.connection_error(PROTOCOL_ERROR)


@case("6.4: RST_STREAM of another length than 4 is the connection's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(RST_STREAM, 0, 1, b"\0\0\0")
    c.connection_error(FRAME_SIZE_ERROR)


# 6.5 SETTINGS

@case("6.5: an acknowledgement with a payload is the connection's error")
def _(c):
    c.frame(SETTINGS, 1, 0, b"\0")
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.5: SETTINGS on another stream than 0 are the connection's error")
def _(c):
    c.frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64")
    c.connection_error(PROTOCOL_ERROR)


@case("6.5: SETTINGS of a length that is no multiple of 6 are the connection's error")
def _(c):
    c.frame(SETTINGS, 0, 0, b"\0\x03\0")
    c.connection_error(FRAME_SIZE_ERROR)


for number, value, code, name in [(2, 2, PROTOCOL_ERROR, "ENABLE_PUSH above 1"),
                                  (4, 1 << 31, FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above its range"),
                                  (5, 16383, PROTOCOL_ERROR, "MAX_FRAME_SIZE below its range"),
                                  (5, 1 << 24, PROTOCOL_ERROR, "MAX_FRAME_SIZE above its range")]:
    def setting(c, number=number, value=value, code=code):
        c.frame(SETTINGS, 0, 0, number.to_bytes(2, "big") + value.to_bytes(4, "big"))
        c.connection_error(code)
    CASES.append((f"6.5.2: {name} is the connection's error", setting, True, None))


@case("6.5.3: SETTINGS are acknowledged, and of two values the last holds")
def _(c):
    c.frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\x64" + b"\0\x04\0\0\0\x01")
    c.until(lambda f: isinstance(f, SettingsFrame) and "ACK" in f.flags)
    c.request(1)
    first = c.until(lambda f: isinstance(f, DataFrame) and f.data)
    assert len(first.data) == 1, f"{len(first.data)} bytes in a window of 1"


# 6.7 PING

@case("6.7: PING is answered with what it carries")
def _(c):
    c.alive()


@case("6.7: an acknowledgement is not answered")
def _(c):
    c.frame(PING, 1, 0, b"unasked!")
    c.send(PingFrame(0, opaque_data=b"canary!!"))
    answer = c.until(lambda f: isinstance(f, PingFrame))
    assert answer.opaque_data == b"canary!!", answer


@case("6.7: PING on another stream than 0 is the connection's error")
def _(c):
    c.frame(PING, 0, 1, b"x" * 8)
    c.connection_error(PROTOCOL_ERROR)


@case("6.7: PING of another length than 8 is the connection's error")
def _(c):
    c.frame(PING, 0, 0, b"x" * 6)
    c.connection_error(FRAME_SIZE_ERROR)


# 6.8 GOAWAY

@case("6.8: GOAWAY on another stream than 0 is the connection's error")
def _(c):
    c.frame(GOAWAY, 0, 1, b"\0" * 8)
    c.connection_error(PROTOCOL_ERROR)


# 6.9 WINDOW_UPDATE

@case("6.9: WINDOW_UPDATE of 0 on stream 0 is the connection's error")
def _(c):
    c.frame(WINDOW_UPDATE, 0, 0, b"\0" * 4)
    c.connection_error(PROTOCOL_ERROR)


@case("6.9: WINDOW_UPDATE of 0 on a stream is the stream's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(WINDOW_UPDATE, 0, 1, b"\0" * 4)
    c.stream_error(1, PROTOCOL_ERROR)


@case("6.9: WINDOW_UPDATE of another length than 4 is the connection's error")
def _(c):
    c.frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01")
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.9.1: a window of 1 gets bytes one by one", settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1})
def _(c):
    c.request(1)
    for _ in range(3):
        part = c.until(lambda f: isinstance(f, DataFrame) and f.data)
        assert len(part.data) == 1, f"{len(part.data)} bytes in a window of 1"
        c.send(WindowUpdateFrame(1, window_increment=1))


@case("6.9.1: a connection's window above its range is the connection's error")
def _(c):
    c.send(WindowUpdateFrame(0, window_increment=(1 << 31) - 1))
    c.send(WindowUpdateFrame(0, window_increment=(1 << 31) - 1))
    c.connection_error(FLOW_CONTROL_ERROR)


@case("6.9.1: a stream's window above its range is the stream's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.send(WindowUpdateFrame(1, window_increment=(1 << 31) - 1))
    c.send(WindowUpdateFrame(1, window_increment=(1 << 31) - 1))
    c.stream_error(1, FLOW_CONTROL_ERROR)


@case("6.9.2: a change of the initial window is a change of every stream's", settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0})
def _(c):
    c.request(1)
    c.until(lambda f: isinstance(f, HeadersFrame))
    c.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 2}))
    part = c.until(lambda f: isinstance(f, DataFrame) and f.data)
    assert len(part.data) == 2, f"{len(part.data)} bytes in a window of 2"


@case("6.9.2: a window may become negative", settings={SettingsFrame.INITIAL_WINDOW_SIZE: 3})
def _(c):
    c.request(1)
    c.until(lambda f: isinstance(f, DataFrame) and len(f.data) == 3)
    c.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1}))
    c.send(WindowUpdateFrame(1, window_increment=2))
    c.alive()
    c.send(WindowUpdateFrame(1, window_increment=1))
    part = c.until(lambda f: isinstance(f, DataFrame) and f.data)
    assert len(part.data) == 1, f"{len(part.data)} bytes in a window of 1"


# 6.10 CONTINUATION

@case("6.10: CONTINUATION after the end of a block is the connection's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(CONTINUATION, END_HEADERS, 1, c.block([("x", "y")]))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10: CONTINUATION on stream 0 is the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM, 1, c.block(c.fields()))
    c.frame(CONTINUATION, END_HEADERS, 0, c.block([("x", "y")]))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10: another frame than CONTINUATION inside of a block is the connection's error")
def _(c):
    c.frame(HEADERS, 0, 1, c.block(c.fields("POST")))
    c.data(1, b"x", ends=True)
    c.connection_error(PROTOCOL_ERROR)


@case("6.10: CONTINUATION after DATA is the connection's error")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.data(1, b"x")
    c.frame(CONTINUATION, END_HEADERS, 1, c.block([("x", "y")]))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10: CONTINUATION of another stream inside of a block is the connection's error")
def _(c):
    c.frame(HEADERS, END_STREAM, 1, c.block(c.fields()))
    c.frame(CONTINUATION, END_HEADERS, 3, c.block([("x", "y")]))
    c.connection_error(PROTOCOL_ERROR)


@case("6.6: PUSH_PROMISE of a client is the connection's error")
def _(c):
    c.frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + c.block(c.fields()))
    c.connection_error(PROTOCOL_ERROR)


# 7 Error codes

@case("7: an unknown code of GOAWAY is passed over")
def _(c):
    c.frame(GOAWAY, 0, 0, b"\0\0\0\0" + b"\0\0\0\xff")
    c.send(PingFrame(0, opaque_data=b"canary!!"))
    try:
        c.until(lambda f: isinstance(f, PingFrame))
    except Ended:
        pass


@case("7: an unknown code of RST_STREAM is passed over")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.frame(RST_STREAM, 0, 1, b"\0\0\0\xff")
    c.alive()


# 8 HTTP

def malformed(c):
    c.stream_error(1, PROTOCOL_ERROR)


def bad_request(c):
    """Malformed by its stream's rules, or answered so (RFC 9113 section 8.1.1 allows both)."""
    frame = c.until(lambda f: f.stream_id == 1 and isinstance(f, (HeadersFrame, RstStreamFrame)) or isinstance(f, GoAwayFrame))
    if isinstance(frame, HeadersFrame):
        assert dict(frame.fields)[":status"] == "400", frame.fields
    else:
        assert frame.error_code == PROTOCOL_ERROR, frame


for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]:
    request_case(f"8.1: {method} is answered", lambda c, m=method: c.fields(m), lambda c: c.answered())


@case("8.1: a request with trailers is answered")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.data(1, b"body")
    c.request(1, [("x-checksum", "1")], ends=True)
    c.answered()


@case("8.1: a second block of fields that does not end the stream is malformed")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.request(1, [("x", "y")], ends=False)
    malformed(c)


@case("8.1: a request in many small frames is answered")
def _(c):
    c.request(1, c.fields("POST", extra=[("content-length", "100")]), ends=False)
    for at in range(100):
        c.data(1, b"x", ends=at == 99)
    c.answered()


request_case("8.2.1: a name in capitals is malformed", lambda c: c.fields(extra=[("X-Test", "y")]), malformed)
request_case("8.2.1: a line feed in a value is malformed", lambda c: c.fields(extra=[("x", "a\nb")]), malformed)
request_case("8.2.1: a carriage return in a value is malformed", lambda c: c.fields(extra=[("x", "a\rb")]), malformed)
request_case("8.2.1: NUL in a value is malformed", lambda c: c.fields(extra=[("x", "a\0b")]), malformed)
request_case("8.2.1: a space in a name is malformed", lambda c: c.fields(extra=[("x y", "a")]), malformed)
request_case("8.2.1: a colon in a name is malformed", lambda c: c.fields(extra=[("x:y", "a")]), malformed)
for name, value in [("connection", "keep-alive"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"),
                    ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive")]:
    request_case(f"8.2.2: `{name}` is malformed", lambda c, n=name, v=value: c.fields(extra=[(n, v)]), malformed)
request_case("8.2.2: `te` with another value than trailers is malformed",
             lambda c: c.fields(extra=[("te", "trailers, deflate")]), malformed)
request_case("8.2.2: `te: trailers` is taken", lambda c: c.fields(extra=[("te", "trailers")]), lambda c: c.answered())
request_case("8.2.3: crumbs of a cookie are one field", lambda c: c.fields(extra=[("cookie", "a=1"), ("cookie", "b=2")]),
             lambda c: c.answered())
request_case("8.3: an unknown pseudo-field is malformed", lambda c: c.fields()[:1] + [(":test", "x")] + c.fields()[1:],
             malformed)
request_case("8.3: a response's pseudo-field is malformed", lambda c: c.fields() + [(":status", "200")], malformed)
request_case("8.3: a pseudo-field behind a field is malformed",
             lambda c: c.fields()[:3] + [("x", "y")] + c.fields()[3:], malformed)
request_case("8.3.1: an empty path is malformed", lambda c: c.fields(path=""), malformed)
request_case("8.3.1: a path that does not begin with / is malformed", lambda c: c.fields(path="x"), bad_request)
request_case("8.3.1: `*` for another method than OPTIONS is malformed", lambda c: c.fields(path="*"), bad_request)
request_case("8.3.1: OPTIONS * is answered", lambda c: c.fields("OPTIONS", path="*"), lambda c: c.answered())
request_case("8.3.1: a space in a path is malformed", lambda c: c.fields(path="/a b"), bad_request)
request_case("8.3.1: user information in an authority is malformed",
             lambda c: [f for f in c.fields() if f[0] != ":authority"] + [(":authority", "me@a.test")], bad_request)
request_case("8.3.1: an authority and a host that differ are malformed",
             lambda c: c.fields(extra=[("host", "other.test")]), bad_request)
request_case("8.3.1: a host without an authority is taken",
             lambda c: [f for f in c.fields() if f[0] != ":authority"] + [("host", c.authority)], lambda c: c.answered())
for missing in [":method", ":scheme", ":path"]:
    request_case(f"8.3.1: a request without {missing} is malformed",
                 lambda c, m=missing: [f for f in c.fields() if f[0] != m], malformed)
for twice in [":method", ":scheme", ":path", ":authority"]:
    request_case(f"8.3.1: a second {twice} is malformed",
                 lambda c, t=twice: c.fields() + [f for f in c.fields() if f[0] == t], malformed)
request_case("8.1.1: a content-length that is longer than the body is malformed",
             lambda c: c.fields("POST", extra=[("content-length", "5")]), malformed, body=b"four")
request_case("8.1.1: a content-length that is shorter than the body is malformed",
             lambda c: c.fields("POST", extra=[("content-length", "3")]), malformed, body=b"four")
request_case("8.1.1: two content-lengths are malformed",
             lambda c: c.fields("POST", extra=[("content-length", "4"), ("content-length", "5")]), bad_request,
             body=b"four")
request_case("8.1.1: a content-length that is no number is malformed",
             lambda c: c.fields("POST", extra=[("content-length", "+4")]), bad_request, body=b"four")
request_case("8.5: CONNECT is refused", lambda c: [(":method", "CONNECT"), (":authority", "a.test:443")],
             lambda c: c.answered(status="501"))


@case("8.1: a pseudo-field in trailers is malformed")
def _(c):
    c.request(1, c.fields("POST"), ends=False)
    c.data(1, b"body")
    c.request(1, [(":path", "/x")], ends=True)
    frame = c.until(lambda f: f.stream_id == 1 and isinstance(f, (HeadersFrame, RstStreamFrame)) or isinstance(f, GoAwayFrame))
    assert not isinstance(frame, HeadersFrame), "it was answered"


@case("9.1: many requests over one connection are answered, each once")
def _(c):
    for at in range(50):
        c.request(2 * at + 1)
    seen = set()
    while len(seen) < 50:
        head = c.until(lambda f: isinstance(f, HeadersFrame))
        assert head.stream_id not in seen
        seen.add(head.stream_id)


# RFC 7541, by its own sections

for name, before, behind in [
    ("HPACK 2.3.3: an index beyond the tables is a compression error", b"", b"\xff\x7f"),
    ("HPACK 2.3.3: a name's index beyond the tables is a compression error", b"", b"\x7f\x64\x01x"),
    ("HPACK 4.2: a change of the table's size behind a field is a compression error", b"", b"\x20"),
    ("HPACK 5.2: padding of a Huffman string longer than 7 bits is a compression error", b"", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
    ("HPACK 5.2: padding of a Huffman string with zeros is a compression error", b"", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
    ("HPACK 5.2: the end-of-string symbol in a Huffman string is a compression error", b"", b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
    ("HPACK 6.1: the index 0 is a compression error", b"", b"\x80"),
    ("HPACK 6.3: a table size above the agreed one is a compression error", b"\x3f\xe1\xff\x03", b""),
]:
    def unreadable(c, before=before, behind=behind):
        c.frame(HEADERS, END_STREAM | END_HEADERS, 1, before + c.block(c.fields()) + behind)
        compression_error(c)
    CASES.append((name, unreadable, True, None))


for name, field in [("a literal with indexing", b"\x40\x01x\x01y"), ("a literal without indexing", b"\x00\x01x\x01y"),
                    ("a literal that is never indexed", b"\x10\x01x\x01y"), ("an indexed name", b"\x0f\x2b\x01y"),
                    ("a Huffman string", b"\x00\x01x\x83\x49\x50\x9f"), ("an empty value", b"\x00\x01x\x00"),
                    ("a smaller table before it", None)]:
    def representation(c, field=field):
        block = b"\x20" + c.block(c.fields()) if field is None else c.block(c.fields()) + field
        c.frame(HEADERS, END_STREAM | END_HEADERS, 1, block)
        c.answered()
    CASES.append((f"HPACK 6: {name} is read", representation, True, None))


def main():
    address, ca = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    failed = 0
    for name, run, shakes_hands, settings in CASES:
        client = Client(address, ca, settings, shakes_hands)
        began = time.monotonic()
        try:
            run(client)
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {type(error).__name__} {error} after {time.monotonic() - began:.1f} s")
        finally:
            client.close()
    print(f"{len(CASES) - failed} of {len(CASES)} passed")
    sys.exit(failed > 0)


main()
