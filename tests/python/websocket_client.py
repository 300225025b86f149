"""WebSocket over a stream of HTTP/2 (RFC 8441). websocket_client.py ADDRESS"""

import sys

from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from frames import Client

ENABLE_CONNECT_PROTOCOL = 8


class Socket:
    def __init__(self, address):
        self.client = Client(address)
        assert self.client.settings.get(ENABLE_CONNECT_PROTOCOL) == 1, self.client.settings
        fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
                  (":authority", address), ("sec-websocket-version", "13")]
        self.client.request(1, fields, ends=False)
        head = self.client.until(lambda f: isinstance(f, HeadersFrame))
        assert dict(head.fields)[":status"] == "200", head.fields
        assert not {"upgrade", "connection", "sec-websocket-accept"} & {name for name, _ in head.fields}, head.fields
        self.protocol = ClientProtocol(parse_uri(f"ws://{address}/chat"), max_size=None, state=OPEN)

    def flush(self):
        for data in self.protocol.data_to_send():
            for at in range(0, len(data), 16000):
                self.client.data(1, data[at:at + 16000])

    def frame(self):
        """The next frame of the WebSocket."""
        while True:
            for event in self.protocol.events_received():
                return event
            part = self.client.until(lambda f: isinstance(f, DataFrame) and f.stream_id == 1)
            if part.data:
                self.client.send(WindowUpdateFrame(0, window_increment=len(part.data)),
                                 WindowUpdateFrame(1, window_increment=len(part.data)))
                self.protocol.receive_data(bytes(part.data))
            if "END_STREAM" in part.flags:
                self.protocol.receive_eof()
                return None


socket = Socket(sys.argv[1])
for message in [b"", b"hello", b"x" * 1000, b"y" * 60000]:
    socket.protocol.send_binary(message)
    socket.flush()
    answer = b""
    while True:
        frame = socket.frame()
        answer += bytes(frame.data)
        if frame.fin:
            break
    assert answer == message, (len(answer), len(message))
socket.protocol.send_text(b"close")
socket.flush()
frame = socket.frame()
assert frame.opcode is Opcode.CLOSE and socket.protocol.close_rcvd.code == 4001, frame
assert socket.protocol.close_rcvd.reason == "as asked"
socket.flush()
print("all passed")
