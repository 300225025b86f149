"""Every kind of call of gRPC, of bytes that nobody decodes. grpc_server.py PORT"""

import sys
import time
from concurrent import futures

import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 16)]


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "1"),))
    return request


def slow(request, context):
    time.sleep(3)
    return request


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so")


def details(request, context):
    """A status with details: trailers beyond what HTTP/1 has room for."""
    context.set_trailing_metadata(tuple((f"x_detail_{at}", "d" * 200) for at in range(100)))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "see the details")


def down(request, context):
    for at in range(int(request)):
        yield b"x" * 1000 + str(at).encode()


def up(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def both(requests, context):
    yield from requests


def health(request, context):
    """`grpc.health.v1`: the server serves, a service `bad` does not, others are not known."""
    if request == b"":
        return b"\x08\x01"
    if request == b"\x0a\x03bad":
        return b"\x08\x02"
    context.abort(grpc.StatusCode.NOT_FOUND, "unknown")


class Handler(grpc.GenericRpcHandler):
    CALLS = {
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(health),
        "/test.Test/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/test.Test/Slow": grpc.unary_unary_rpc_method_handler(slow),
        "/test.Test/Fail": grpc.unary_unary_rpc_method_handler(fail),
        "/test.Test/Details": grpc.unary_unary_rpc_method_handler(details),
        "/test.Test/Down": grpc.unary_stream_rpc_method_handler(down),
        "/test.Test/Up": grpc.stream_unary_rpc_method_handler(up),
        "/test.Test/Both": grpc.stream_stream_rpc_method_handler(both),
    }

    def service(self, details):
        return self.CALLS.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(16), options=OPTIONS)
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
