"""An echo over WebSocket. websocket_server.py PORT"""

import sys

from websockets.sync.server import serve


def echo(socket):
    while (message := socket.recv()) != "close":
        socket.send(message)
    socket.close(4001, "as asked")


with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None) as server:
    server.serve_forever()
