"""A page that is closed while its WebSocket over HTTP/2 is open: the stream is cancelled. websocket_cancel.py ADDRESS"""

import sys

from hyperframe.frame import HeadersFrame, RstStreamFrame

from frames import CANCEL, Client

address = sys.argv[1]
client = Client(address)
fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
          (":authority", address), ("sec-websocket-version", "13")]
client.request(1, fields, ends=False)
head = client.until(lambda f: isinstance(f, HeadersFrame))
assert dict(head.fields)[":status"] == "200", head.fields
client.send(RstStreamFrame(1, error_code=CANCEL))
# The connection goes on with another request.
client.request(3, [(":method", "GET"), (":scheme", "http"), (":path", "/after"), (":authority", address)], ends=True)
assert client.until(lambda f: isinstance(f, HeadersFrame) and f.stream_id == 3)
