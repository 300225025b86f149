"""What clients do that is right, or wrong in one stream alone: the other streams of the connection must not feel it.

    neighbours.py ADDRESS

The origin echoes bodies, and heads where there is none; under `/slow` it takes 300 ms, under `/large` it answers with 2 MB.
"""

import sys
import time

from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from frames import CANCEL, Client, raw_frame

HEADERS, PRIORITY, RST_STREAM = 1, 2, 3
END_STREAM, END_HEADERS = 1, 4
CASES = []


def case(function):
    CASES.append(function)
    return function


class Answers:
    """Reads frames until every stream that is waited for has its answer, and keeps all of them."""

    def __init__(self, client):
        self.client = client
        self.status, self.body, self.fields, self.reset = {}, {}, {}, {}
        self.ended = set()
        self.on_data = lambda frame: None

    def take(self, frame):
        stream = frame.stream_id
        assert not isinstance(frame, GoAwayFrame), f"GOAWAY with {frame.error_code}"
        if isinstance(frame, RstStreamFrame):
            self.reset[stream] = frame.error_code
        elif isinstance(frame, HeadersFrame):
            fields = frame.fields
            self.fields.setdefault(stream, []).extend(fields)
            self.status.setdefault(stream, dict(fields).get(":status"))
        elif isinstance(frame, DataFrame):
            self.body[stream] = self.body.get(stream, b"") + frame.data
            self.on_data(frame)
        if "END_STREAM" in frame.flags:
            self.ended.add(stream)

    def until(self, streams):
        self.client.until(lambda frame: self.take(frame) or set(streams) <= self.ended | set(self.reset))


def get(client, stream, path="/", ends=True, method="GET", extra=()):
    client.request(stream, client.fields(method, path, extra), ends=ends)


@case
def a_ping_for_each_frame_of_a_body_is_no_flood(client):
    """As the bandwidth estimator of grpc-go does, and a WINDOW_UPDATE for the stream and one for the connection besides."""
    answers = Answers(client)
    pings = []

    def measure(frame):
        pings.append(client.send(PingFrame(0, opaque_data=b"estimate")))
        length = max(frame.flow_controlled_length, 1)
        client.send(WindowUpdateFrame(0, length), WindowUpdateFrame(frame.stream_id, length))

    answers.on_data = measure
    streams = list(range(1, 8, 2))
    for stream in streams:
        get(client, stream, "/large")
        answers.until([stream])
    assert all(len(answers.body[stream]) == 2_000_000 for stream in streams)
    assert len(pings) > 400, len(pings)


@case
def bodies_whose_end_comes_later_cost_nobody_anything(client):
    answers = Answers(client)
    for batch in range(25):
        streams = range(1 + 40 * batch, 41 + 40 * batch, 2)
        for stream in streams:
            client.request(stream, client.fields("POST", "/", [("content-length", "10")]), ends=False)
            client.data(stream, b"0123456789")
        # Every answer may be here before the ends are sent.
        time.sleep(0.02)
        for stream in streams:
            client.data(stream, b"", ends=True)
        answers.until(streams)
        assert all(answers.body[stream] == b"0123456789" for stream in streams)
    assert not answers.reset, answers.reset


@case
def a_client_that_cancels_what_we_reset_is_not_counted(client):
    """An answer that comes before the end of the body is followed by a reset, which clients answer by one of their own."""
    answers = Answers(client)
    for stream in range(1, 601, 2):
        client.request(stream, client.fields("POST", "/", [("content-length", "99999999")]), ends=False)
        answers.until([stream])
        assert answers.status[stream] == "413", answers.status
        client.send(RstStreamFrame(stream, CANCEL))
    get(client, 601)
    answers.until([601])


@case
def priorities_of_a_page_of_images_are_no_flood(client):
    client.raw(b"".join(raw_frame(PRIORITY, 0, 2 * at + 1, b"\0\0\0\0\x10") for at in range(250)))
    get(client, 601)
    Answers(client).until([601])
    client.alive()


@case
def who_runs_out_of_patience_takes_nobody_along(client):
    """300 requests of 300 ms, each second one given up after 100 ms: the slow upstream is not made an outage."""
    answers = Answers(client)
    lost = 0
    for batch in range(6):
        streams = list(range(1 + 100 * batch, 101 + 100 * batch, 2))
        for stream in streams:
            get(client, stream, "/slow")
        time.sleep(0.1)
        for stream in streams[::2]:
            client.send(RstStreamFrame(stream, CANCEL))
        answers.until(streams[1::2])
        lost += sum(answers.status.get(stream) != "200" for stream in streams[1::2])
    assert lost == 0, lost


MALFORMED = {
    "a byte outside of ASCII in the path": [(":path", b"/caf\xe9")],
    "a name with a capital": [("x-A", "1")],
    "a name with a space": [("x a", "1")],
    "a value with a control character": [("x-a", "\x01")],
    "an unknown pseudo-field": [(":other", "1")],
    "a field of a connection": [("connection", "close")],
    "a pseudo-field twice": [(":path", "/x")],
    "a line in a value": [("x-a", "1\r\nx-b: 2")],
}


@case
def a_malformed_request_costs_its_own_stream(client):
    answers = Answers(client)
    stream = 1
    for name, wrong in MALFORMED.items():
        get(client, stream, "/slow")
        fields = client.fields(path="/malformed")
        if wrong[0][0] == ":path" and "path" in name:
            fields = [field for field in fields if field[0] != ":path"]
        place = 3 if wrong[0][0].startswith(":") else len(fields)
        client.raw(raw_frame(HEADERS, END_STREAM | END_HEADERS, stream + 2,
                             client.block(fields[:place] + wrong + fields[place:])))
        answers.until([stream, stream + 2])
        assert answers.status[stream] == "200", (name, answers.status)
        assert answers.status[stream + 2] == "400" and b"cause: client_bad_request" in answers.body[stream + 2], name
        stream += 4
    client.alive()


@case
def crumbs_are_one_field(client):
    get(client, 1, extra=[("cookie", f"crumb{at}=1") for at in range(200)])
    answers = Answers(client)
    answers.until([1])
    assert answers.status[1] == "200" and answers.body[1].lower().count(b"cookie:") == 1, answers.body


@case
def a_body_must_be_seen_to_exist(client):
    answers = Answers(client)
    get(client, 1, ends=False)
    time.sleep(0.05)
    client.data(1, b"", ends=True)
    get(client, 3, ends=False, method="DELETE")
    # Its client never says: it is passed on with a body that may still come.
    answers.until([1])
    assert b"transfer-encoding" not in answers.body[1].lower(), answers.body[1]
    time.sleep(0.8)
    client.data(3, b"late")
    client.data(3, b"", ends=True)
    answers.until([3])
    assert answers.body[3] == b"late", answers.body


@case
def what_http1_lets_through_passes(client):
    answers = Answers(client)
    for stream, path in [(1, "/a<b"), (3, "/a?x=\"1\""), (5, "/a|b{c}"), (7, b"/caf\xc3\xa9")]:
        get(client, stream, path)
        answers.until([stream])
        assert answers.status[stream] == "200", (path, answers.status)


def main():
    for run in CASES:
        client = Client(sys.argv[1])
        try:
            run(client)
        except Exception as error:
            print(f"{run.__name__}: {type(error).__name__} {error}")
            raise
        finally:
            client.close()
    print("all passed")


main()
