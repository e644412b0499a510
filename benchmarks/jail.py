"""Calls per second of model-written Python: our jail, a cold `python` process, `docker exec`; side by side.

    python benchmarks/jail.py [--seconds 3] [--live 1000]

CPU-milliseconds are those of the whole machine (/proc/stat) over the time of a cell, so let nothing else run.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tir_gym.records import ToolCall
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.jail import JailSandbox, lease_slot
from tir_gym.sandboxes.jail.pool import slots

PRINT = "print(1 + 1)"

# What a model writes for a data question: some fifty lines of numpy.
NUMPY = """
import numpy as np

rng = np.random.default_rng(7)
prices = 100 + np.cumsum(rng.normal(0, 1, 2000))
volume = rng.integers(100, 10_000, 2000)

def moving_average(values, window):
    kernel = np.ones(window) / window
    return np.convolve(values, kernel, mode="valid")

def drawdown(values):
    peak = np.maximum.accumulate(values)
    return ((values - peak) / peak).min()

short = moving_average(prices, 10)
long = moving_average(prices, 50)
aligned = short[-len(long):]
cross = np.flatnonzero(np.diff(np.sign(aligned - long)))

returns = np.diff(np.log(prices))
mean = returns.mean()
spread = returns.std(ddof=1)
sharpe = mean / spread * np.sqrt(252)

weights = volume / volume.sum()
vwap = float((prices * weights).sum())

design = np.column_stack([np.ones(len(prices)), np.arange(len(prices))])
solution, *_ = np.linalg.lstsq(design, prices, rcond=None)
fitted = design @ solution
residual = prices - fitted
r2 = 1 - (residual ** 2).sum() / ((prices - prices.mean()) ** 2).sum()

matrix = rng.normal(size=(40, 40))
covariance = matrix @ matrix.T
values = np.linalg.eigvalsh(covariance)

buckets = np.quantile(prices, [0.1, 0.25, 0.5, 0.75, 0.9])
counts, edges = np.histogram(prices, bins=12)

print(len(cross), round(float(drawdown(prices)), 4))
print(round(float(sharpe), 4), round(vwap, 3))
print(solution.round(4).tolist(), round(float(r2), 4))
print(round(float(values[-1]), 3), counts.tolist())
print(buckets.round(2).tolist())
"""

Run = Callable[[str], str]


@contextmanager
def jail(mode: str, callers: int) -> Iterator[list[Run]]:
    with ExitStack() as stack:
        boxes = [stack.enter_context(JailSandbox(mode=mode)) for _ in range(callers)]  # type: ignore[arg-type]
        yield [lambda code, box=box: str(box.call(ToolCall("python", {"code": code})).content) for box in boxes]


@contextmanager
def cold(callers: int) -> Iterator[list[Run]]:
    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout

    yield [run] * callers


def machine_cpu() -> float:
    """Seconds that all cores together were busy since boot."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def measure(runs: list[Run], code: str, seconds: float) -> tuple[float, float, float]:
    """Calls per second of all callers together, median milliseconds of a call, CPU-milliseconds per call."""
    expected = runs[0](code)
    for run in runs:
        assert run(code) == expected
    times: list[float] = []
    end = time.perf_counter() + seconds

    def caller(run: Run) -> None:
        while (start := time.perf_counter()) < end:
            assert run(code) == expected
            times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=caller, args=(run,)) for run in runs]
    cpu, start = machine_cpu(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    return len(times) / wall, statistics.median(times) * 1e3, (machine_cpu() - cpu) / len(times) * 1e3


def compare(seconds: float) -> None:
    print(f"{'':28}{'calls/s':>10}{'median ms':>11}{'CPU-ms':>8}")
    for title, code in (("print(1 + 1)", PRINT), ("50 lines of numpy", NUMPY)):
        rates: dict[tuple[str, int], float] = {}
        for callers in (1, 8):
            for name, runner in (
                ("session", jail("session", callers)),
                ("fresh", jail("fresh", callers)),
                ("cold python", cold(callers)),
            ):
                with runner as runs:
                    rate, median, cpu = measure(runs, code, seconds)
                rates[name, callers] = rate
                print(f"{f'{title}, {name} x{callers}':28.44}{rate:>10.0f}{median:>11.2f}{cpu:>8.2f}", flush=True)
        for callers in (1, 8):
            session, fresh = (rates[name, callers] / rates["cold python", callers] for name in ("session", "fresh"))
            print(f"  x{callers}: session {session:.0f} times a cold process, fresh {fresh:.1f} times")


def start_up(count: int) -> None:
    """Starting slots one after another, then many alive at once."""
    slots.ready = 0
    lease_slot(Limits(), modules=("numpy",)).close()
    cpu = machine_cpu()
    times = []
    for _ in range(100):
        start = time.perf_counter()
        slot = lease_slot(Limits(), modules=("numpy",))
        times.append(time.perf_counter() - start)
        slot.close()
    spent = (machine_cpu() - cpu) / 100 * 1e3
    print(f"start of a slot: median {statistics.median(times) * 1e3:.1f} ms, {spent:.1f} CPU-ms with its end")
    slots.max_live = count + 8
    before = available()
    start = time.perf_counter()
    boxes = [JailSandbox() for _ in range(count)]
    for number, box in enumerate(boxes):
        assert box.call(ToolCall("python", {"code": f"x = {number}; print(x)"})).content == f"{number}\n"
    made = time.perf_counter() - start
    used = (before - available()) / count / MIB
    start = time.perf_counter()
    for number, box in enumerate(boxes):
        assert box.call(ToolCall("python", {"code": "print(x)"})).content == f"{number}\n"
    print(
        f"{count} live jails with a session each: {used:.1f} MiB each, made in {made:.1f} s, "
        f"one call in each in {time.perf_counter() - start:.2f} s"
    )
    for box in boxes:
        box.close()


def available() -> int:
    """Bytes of memory that could still be had."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def snapshots() -> None:
    """A picture of a session and going back to it, by the size of its heap."""
    limits = Limits(memory=1024 * MIB)
    for heap in (0, 400):
        with JailSandbox(limits=limits) as box:
            box.call(ToolCall("python", {"code": f"import numpy; x = numpy.ones({heap} * 131072)"}))
            times = []
            for _ in range(20):
                start = time.perf_counter()
                box.restore(box.snapshot())
                times.append(time.perf_counter() - start)
            print(f"snapshot and restore, heap of {heap} MiB: median {statistics.median(times) * 1e3:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--live", type=int, default=1000)
    options = parser.parse_args()
    print(f"python {platform.python_version()}, {platform.release()}, {os.cpu_count()} cores\n")
    compare(options.seconds)
    print()
    snapshots()
    start_up(options.live)
