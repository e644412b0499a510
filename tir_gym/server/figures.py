"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
_FAILED = '"ok":false'


class Figures:
    """The metrics of one server process.

    Args:
        open_sessions: How many sessions are open now.
        room: How many may be.
    """

    def __init__(self, open_sessions: Callable[[], float], room: int) -> None:
        self._registry = CollectorRegistry()
        gauge = Gauge("tir_gym_sessions", "Open sessions.", registry=self._registry)
        gauge.set_function(open_sessions)
        Gauge("tir_gym_sessions_limit", "Sessions that may be open.", registry=self._registry).set(room)
        self.connections = Gauge("tir_gym_connections", "WebSocket connections.", registry=self._registry)
        self.repeated = Counter(
            "tir_gym_repeated_requests", "Requests that had run already and got their reply again.",
            registry=self._registry,
        )  # fmt: skip
        self.expired = Counter("tir_gym_expired_sessions", "Sessions closed for want of use.", registry=self._registry)
        self._requests = Counter(
            "tir_gym_requests", "Requests served, by operation and whether they failed.", ["op", "failed"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "tir_gym_request_seconds", "From reading a request to its reply, by operation.", ["op"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._children: dict[tuple[str, bool], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def count(self, op: str, reply: str, seconds: float | None = None) -> None:
        """Count a request.

        Args:
            op: What was asked.
            reply: What it got back.
            seconds: How long it took, if it was run.
        """
        key = (op, _FAILED in reply[:160])
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(op, str(key[1]).lower())
        child.inc()
        if seconds is not None:
            timer = self._timers.get(op)
            if timer is None:
                timer = self._timers[op] = self._seconds.labels(op)
            timer.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
