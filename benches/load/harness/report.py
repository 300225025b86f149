"""The tables, as Markdown."""
import statistics

from .measure import median

ours = "ringress"


def spread(values, digits=1):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ratios(results, key, other):
    """Ours to another peer's, round by round; nothing where one of them has none."""
    mine, theirs = results.get(ours), results.get(other)
    if not isinstance(mine, list) or not isinstance(theirs, list):
        return None
    return [a[key] / b[key] for a, b in zip(mine, theirs)]


def best_peer(results, peers, key="cpu_us"):
    """The peer with the lowest median, ours and the references left out."""
    found = [peer.key for peer in peers
             if peer.key != ours and not peer.is_reference and isinstance(results.get(peer.key), list) and results[peer.key]]
    return min(found, key=lambda name: median(results[name], key), default=None)


def cell(outcomes, key, digits):
    if outcomes is None:
        return "–"
    if isinstance(outcomes, str):
        return "left out" if outcomes.startswith("left out") else "**void**"
    return spread([outcome[key] for outcome in outcomes], digits)


def cpu_table(table, peers):
    """CPU microseconds for each request (= seconds per million), and our ratio to the best peer and to the relay."""
    lines = ["| workload | " + " | ".join(peer.name for peer in peers) + " | to the best peer | to the relay |",
             "|---" * (len(peers) + 3) + "|"]
    for row in table:
        results = row["results"]
        best = best_peer(results, peers)
        ends = []
        for other in (best, "relay"):
            found = ratios(results, "cpu_us", other) if other else None
            ends.append(f"{spread(found, 2)}" + (f" {name_of(other, peers)}" if other != "relay" else "") if found else "–")
        cells = [cell(results.get(peer.key), "cpu_us", 1) for peer in peers]
        lines.append(f"| {row['title']} | " + " | ".join(cells + ends) + " |")
    return "\n".join(lines)


def rate_table(table, peers):
    """Requests per second, and how busy the proxy's CPUs were."""
    lines = ["| workload | direct | " + " | ".join(peer.name for peer in peers) + " |", "|---" * (len(peers) + 2) + "|"]
    for row in table:
        cells = []
        for peer in peers:
            outcomes = row["results"].get(peer.key)
            if isinstance(outcomes, list) and outcomes:
                cells.append(f"{median(outcomes, 'rate'):,.0f} ({median(outcomes, 'busy') * 100:.0f} %)")
            else:
                cells.append(cell(outcomes, "rate", 0))
        direct = f"{row['direct']:,.0f}" if row.get("direct") else "–"
        lines.append(f"| {row['title']} | {direct} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def voids(table, peers):
    """Why cells are void or left out, a line each."""
    lines = []
    for row in table:
        for peer in peers:
            why = row["results"].get(peer.key)
            if isinstance(why, str):
                lines.append(f"- {row['title']}, {peer.name}: {why.removeprefix('left out: ')}")
    return "\n".join(lines)


def name_of(key, peers):
    return next(peer.name for peer in peers if peer.key == key)


def latency_table(latencies, peers):
    """Latencies at a fixed rate, in microseconds."""
    lines = ["| proxy | requests/s | p50, µs | p90 | p99 | p99.9 |", "|---|---|---|---|---|---|"]
    for peer in peers:
        found = latencies.get(peer.key)
        if not found:
            continue
        if isinstance(found, str):
            lines.append(f"| {peer.name} | **void**: {found} | | | | |")
            continue
        values = [spread([outcome["latency_us"][key] for outcome in found], 0) for key in ("p50", "p90", "p99", "p999")]
        lines.append(f"| {peer.name} | {median(found, 'rate'):,.0f} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def facts_table(facts, peers):
    """What one process costs."""
    lines = ["| proxy | memory of an idle connection, KiB | with TLS | start to first answer, ms | system calls a request | io_uring_enter | io_uring operations |",
             "|---|---|---|---|---|---|---|"]
    for peer in peers:
        found = facts.get(peer.key, {})
        calls = found.get("calls") or {}

        def number(value, digits):
            return "–" if value is None else f"{value:.{digits}f}"

        lines.append(f"| {peer.name} | {number(found.get('idle_kib'), 1)} | {number(found.get('idle_tls_kib'), 1)} | "
                     f"{number(found.get('start_ms'), 0)} | {number(calls.get('raw_syscalls:sys_enter'), 2)} | "
                     f"{number(calls.get('syscalls:sys_enter_io_uring_enter'), 3)} | "
                     f"{number(calls.get('io_uring:io_uring_submit_req'), 2)} |")
    return "\n".join(lines)


def curve_table(title, points):
    """What a request costs while something grows."""
    names = list(points)
    steps = sorted({step for values in points.values() for step, _ in values})
    lines = [f"| {title} | " + " | ".join(f"{step:,}" for step in steps) + " |", "|---" * (len(steps) + 1) + "|"]
    for name in names:
        values = dict(points[name])
        lines.append(f"| {name} | " + " | ".join(f"{values[step]:.1f}" if step in values else "–" for step in steps) + " |")
    return "\n".join(lines)
