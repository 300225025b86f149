"""What is asked of every peer."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """A row of the table: the load tool's arguments, and what a peer needs for it."""

    key: str
    title: str
    load: str
    routes: int = 0
    access_log: bool = False


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
]

# Curves: what grows, and the rows that it makes.
CONNECTIONS = [1, 4, 16, 64, 256, 1000, 4000]
ROUTES = [10, 100, 1000, 10_000]
BODIES = [("200", 200), ("1k", 1 << 10), ("4k", 4 << 10), ("16k", 16 << 10), ("64k", 64 << 10), ("256k", 256 << 10),
          ("1m", 1 << 20)]
# Shares of the rate with the worker saturated, at which latencies are measured.
RATES = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9]
