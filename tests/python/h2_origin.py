"""An upstream of HTTP/2 whose manners are a word: it counts what it executes. h2_origin.py PORT MANNER

    refuses-first   the first stream of each connection is refused (REFUSED_STREAM)
    goes-away       a connection says GOAWAY before it has looked at its second stream, then ends
    resets          every stream is executed, then reset (INTERNAL_ERROR)
    resets-as-asked every stream is reset, by the code that its path ends with, after the milliseconds before that
    truncates       the answer's body ends in a reset
    ignores         answers 200 to everything
"""

import socket
import sys
import threading
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

port, manner = int(sys.argv[1]), sys.argv[2]
executed = 0


def serve(stream):
    global executed
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    stream.sendall(connection.data_to_send())
    seen, paths = 0, {}
    while data := stream.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                seen += 1
                paths[event.stream_id] = dict(event.headers)[b":path"].decode()
            if isinstance(event, DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if not isinstance(event, StreamEnded):
                continue
            if manner == "refuses-first" and seen == 1:
                connection.reset_stream(event.stream_id, 7)
                continue
            if manner == "goes-away" and seen == 2:
                connection.close_connection(last_stream_id=event.stream_id - 2)
                stream.sendall(connection.data_to_send())
                stream.shutdown(socket.SHUT_WR)
                return
            executed += 1
            if manner == "resets-as-asked":
                _, delay_ms, code = paths[event.stream_id].rsplit("/", 2)
                time.sleep(int(delay_ms) / 1000)
                connection.reset_stream(event.stream_id, int(code))
                continue
            if manner == "resets":
                connection.reset_stream(event.stream_id, 2)
                continue
            body = str(executed).encode()
            if manner == "truncates":
                connection.send_headers(event.stream_id, [(":status", "200"), ("content-length", "100")])
                connection.send_data(event.stream_id, body)
                connection.reset_stream(event.stream_id, 2)
                continue
            connection.send_headers(event.stream_id, [(":status", "200"), ("content-length", str(len(body)))])
            connection.send_data(event.stream_id, body, end_stream=True)
        stream.sendall(connection.data_to_send())


listener = socket.create_server(("127.0.0.1", port))
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
