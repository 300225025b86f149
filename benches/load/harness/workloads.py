"""What is asked of every peer."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """A row of the table: the load tool's arguments, a line for h2load or for `streams/`, and what a peer needs for it."""

    key: str
    title: str
    load: str
    routes: int = 0
    access_log: bool = False
    # What clients speak and what the origin does: plain, tls, h2c, or grpc (TLS in front, HTTP/2 behind).
    front: str = "plain"


WORKLOADS = [
    Workload("get_200", "GET 200 B, 64 connections", "--connections 64"),
    Workload("get_200_1000", "GET 200 B, 1,000 connections", "--connections 1000"),
    Workload("get_16k", "GET 16 KiB, 64 connections", "--connections 64 --path /16k"),
    Workload("get_1m", "GET 1 MiB, 16 connections", "--connections 16 --path /1m"),
    Workload("post_4k", "POST 4 KiB, 64 connections", "--connections 64 --body 4096"),
    Workload("post_1m", "POST 1 MiB, 16 connections", "--connections 16 --body 1048576"),
    Workload("new_connection", "GET 200 B, a new connection for each", "--connections 64 --close"),
    Workload("pipelined", "GET 200 B, 16 pipelined, 16 connections", "--connections 16 --pipeline 16"),
    Workload("routes_100", "100 routes, a browser's 20 fields", "--connections 64 --browser --routes 100", routes=100),
    Workload("routes_10000", "10,000 routes", "--connections 64 --routes 10000", routes=10_000),
    Workload("idle_crowd", "GET 200 B, 64 busy beside 9,500 idle", "--connections 64 --idle 9500"),
    Workload("access_log", "GET 200 B, JSON access log", "--connections 64", access_log=True),
    Workload("chunked", "POST 4 KiB, chunked both ways", "--connections 64 --body 4096 --chunked --path /chunked"),
    Workload("websocket", "WebSocket echo of 125 B", "--connections 64 --websocket"),
    Workload("tls_full", "TLS 1.3, a full handshake for each GET", "handshakes", front="tls"),
    Workload("tls_resumed", "TLS 1.3, a resumed handshake for each GET", "handshakes --resumed", front="tls"),
    Workload("tls_200", "TLS, HTTP/1.1, GET 200 B, 64 connections", "h2load --h1 -c 64 /200", front="tls"),
    Workload("tls_1m", "TLS, HTTP/1.1, GET 1 MiB, 16 connections", "h2load --h1 -c 16 /1m", front="tls"),
    Workload("h2_8_16", "TLS, HTTP/2, GET 200 B, 8 connections × 16 streams", "h2load -c 8 -m 16 /200", front="tls"),
    Workload("h2_64_100", "TLS, HTTP/2, GET 200 B, 64 × 100", "h2load -c 64 -m 100 /200", front="tls"),
    Workload("h2_1m", "TLS, HTTP/2, GET 1 MiB, 8 × 2", "h2load -c 8 -m 2 /1m", front="tls"),
    *(Workload(f"h2_pieces_{size}", f"TLS, HTTP/2, 2 MB in chunks of {size:,} B, 4 × 2", f"h2load -c 4 -m 2 /pieces-{size}", front="tls")
      for size in [100, 1_000, 4_096, 16_384]),
    Workload("h2c_8_16", "HTTP/2 without TLS, GET 200 B, 8 × 16", "h2load -c 8 -m 16 /200", front="h2c"),
    Workload("h2c_64_100", "HTTP/2 without TLS, GET 200 B, 64 × 100", "h2load -c 64 -m 100 /200", front="h2c"),
    Workload("grpc", "gRPC unary over TLS, 8 × 16",
             "h2load -c 8 -m 16 -d {message} -H content-type:application/grpc -H te:trailers /unary", front="grpc"),
    *(Workload(f"h2_up_{kind}_{size}", f"HTTP/2 on both sides, {way} in frames of {size:,} B, 2 MB or 2,000 of them, 4 × 2", f"streams 4 2 {kind} {size}",
               front="grpc")
      for kind, way in [("download", "an answer"), ("upload", "an upload")] for size in [100, 1_000, 4_096, 16_384]),
    Workload("grpc_messages", "gRPC server streaming, 1,000 messages of 100 B, 4 × 4", "streams 4 4 messages 100", front="grpc"),
    Workload("grpc_pingpong", "gRPC ping-pong of 100 B, 4 × 16 streams", "streams 4 16 pingpong 100", front="grpc"),
]

# Curves: what grows, and the rows that it makes.
CONNECTIONS = [1, 4, 16, 64, 256, 1000, 4000]
ROUTES = [10, 100, 1000, 10_000]
BODIES = [("200", 200), ("1k", 1 << 10), ("4k", 4 << 10), ("16k", 16 << 10), ("64k", 64 << 10), ("256k", 256 << 10),
          ("1m", 1 << 20)]
# Shares of the rate with the worker saturated, at which latencies are measured.
RATES = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9]
