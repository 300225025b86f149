"""Every kind of call of gRPC, through a proxy. grpc_client.py PORT [CA]"""

import queue
import sys

import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
           ("grpc.max_metadata_size", 1 << 16), ("grpc.ssl_target_name_override", "a.test")]
target = f"127.0.0.1:{sys.argv[1]}"
if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as ca:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(ca.read()), OPTIONS)
else:
    channel = grpc.insecure_channel(target, OPTIONS)


def fault(call, request=b"", **arguments):
    """The status of a call that fails."""
    try:
        call(request, **arguments)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it succeeded")


unary = channel.unary_unary("/test.Test/Unary")
answer, call = unary.with_call(b"hello", timeout=10)
assert answer == b"hello"
assert ("x-trailer", "1") in [tuple(pair) for pair in call.trailing_metadata()], call.trailing_metadata()
for size in [0, 1, 16384, 65536, 5_000_000]:
    assert unary(b"z" * size, timeout=30) == b"z" * size, size
assert fault(channel.unary_unary("/test.Test/Fail")) == (grpc.StatusCode.FAILED_PRECONDITION, "not so")
try:
    channel.unary_unary("/test.Test/Details")(b"", timeout=10)
    raise AssertionError("it succeeded")
except grpc.RpcError as error:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and error.details() == "see the details", error
    assert sum(name.startswith("x_detail_") for name, _ in error.trailing_metadata()) == 100
assert fault(channel.unary_unary("/test.Test/None"))[0] is grpc.StatusCode.UNIMPLEMENTED
assert fault(channel.unary_unary("/test.Test/Slow"), timeout=0.5)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
# No upstream is there: the failure is told in gRPC's own words.
code, details = fault(channel.unary_unary("/test.Gone/Unary"))
assert code is grpc.StatusCode.UNAVAILABLE and "connect_refused" in details, (code, details)
assert len(list(channel.unary_stream("/test.Test/Down")(b"1000", timeout=30))) == 1000
assert channel.stream_unary("/test.Test/Up")(iter([b"y" * 10_000] * 300), timeout=30) == b"3000000"
requests = queue.Queue()
answers = channel.stream_stream("/test.Test/Both")(iter(requests.get, None))
for at in range(50):
    requests.put(b"%d" % at)
    assert next(answers) == b"%d" % at
requests.put(None)
assert list(answers) == []
answers = channel.unary_stream("/test.Test/Down")(b"100000")
next(answers)
answers.cancel()
assert unary(b"after a cancellation", timeout=10) == b"after a cancellation"
print("all passed")
