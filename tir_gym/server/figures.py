"""What the server counts, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from tir_gym.server.wire import succeeded

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


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
        self._served: dict[str, _Served] = {}
        self._registry.register(self)

    def count(self, op: str, reply: str, seconds: float | None = None) -> None:
        """Count a request. Belongs to the event loop's thread.

        Args:
            op: What was asked.
            reply: What it got back; empty for faces with replies of their own.
            seconds: How long it took, if it was run.
        """
        served = self._served.get(op)
        if served is None:
            served = self._served[op] = _Served()
        if not reply or succeeded(reply):
            served.well += 1
        else:
            served.failed += 1
        if seconds is not None:
            served.seconds += seconds
            served.within[bisect_left(_SECONDS, seconds)] += 1

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What was counted of requests, for `prometheus_client`.

        Its own counters take a lock for each addition, which for a quick step is a good part of what the server does.
        """
        requests = CounterMetricFamily(
            "tir_gym_requests", "Requests served, by operation and whether they failed.", labels=["op", "failed"]
        )
        seconds = HistogramMetricFamily(
            "tir_gym_request_seconds", "From reading a request to its reply, by operation.", labels=["op"]
        )
        for op, served in list(self._served.items()):
            for failed, count in (("false", served.well), ("true", served.failed)):
                if count:
                    requests.add_metric([op, failed], count)
            if any(served.within):
                bounds = [*map(str, _SECONDS), "+Inf"]
                seconds.add_metric(
                    [op], list(zip(bounds, accumulate(served.within), strict=True)), sum_value=served.seconds
                )
        return iter((requests, seconds))


class _Served:
    """Requests of one operation."""

    __slots__ = ("failed", "seconds", "well", "within")

    def __init__(self) -> None:
        self.well = self.failed = 0
        self.seconds = 0.0
        self.within = [0] * (len(_SECONDS) + 1)
        """How many took at most so long as `_SECONDS` says and longer than the one before; at last, longer than all."""
