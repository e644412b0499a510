"""Calls per second of model-written Python in containers: our pipe, and the engine's `exec`, side by side.

    tests/container_engine.sh docker .venv/bin/python benchmarks/container.py [--seconds 3]

CPU-milliseconds are those of this process, of the engine's and of the containers', whatever else the machine does.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tir_gym.records import ToolCall
from tir_gym.sandboxes.container import DEFAULT_IMAGE, ContainerSandbox, connect

ENGINES = ("dockerd", "containerd", "podman", "conmon", "runc", "runsc", "exe")
"""Beginnings of the names of an engine's processes."""

Run = Callable[[str], str]


@contextmanager
def pipe(mode: str, callers: int, runtime: str | None) -> Iterator[list[Run]]:
    with ExitStack() as stack:
        made = [ContainerSandbox(mode=mode, runtime=runtime) for _ in range(callers)]  # type: ignore[arg-type]
        boxes = [stack.enter_context(box) for box in made]
        yield [lambda code, box=box: str(box.call(ToolCall("python", {"code": code})).content) for box in boxes]


@contextmanager
def exec_in_container(callers: int, runtime: str | None) -> Iterator[list[Run]]:
    """What peers do: a container that sleeps, and `exec` of a new interpreter for each call."""
    client = connect().client
    terms = {"detach": True, "network_mode": "none", "runtime": runtime}
    with ExitStack() as stack:
        runs: list[Run] = []
        for _ in range(callers):
            container = client.containers.run(DEFAULT_IMAGE, ["sleep", "3600"], **terms)
            stack.callback(container.remove, force=True)

            def run(code: str, container: Any = container) -> str:
                return str(container.exec_run(["python3", "-I", "-c", code]).output.decode())

            runs.append(run)
        yield runs


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
    before, start = spent(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    cpu = sum(seconds - before.get(process, 0.0) for process, seconds in spent().items())
    return len(times) / wall, statistics.median(times) * 1e3, cpu / len(times) * 1e3


def spent() -> dict[int, float]:
    """Seconds of processor time so far of this process, the engine's processes and what they have started, by pid.

    A process in a container is a child of the engine's, and counts for the one that waited for it once it has ended.
    """
    times: dict[int, float] = {}
    parents: dict[int, int] = {}
    wanted = {os.getpid()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            fields = rest.split()
            process = int(entry.name)
            parents[process] = int(fields[1])
            times[process] = sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
            if name.startswith(ENGINES):
                wanted.add(process)
    while more := {process for process, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return {process: times[process] for process in wanted if process in times}


def starts(count: int, runtime: str | None) -> tuple[float, float]:
    """Milliseconds from nothing to the first answer, and to give it back; medians."""
    began, ended = [], []
    for _ in range(count):
        start = time.perf_counter()
        box = ContainerSandbox(runtime=runtime)
        assert box.call(ToolCall("python", {"code": "print(1)"})).content == "1\n"
        middle = time.perf_counter()
        box.close()
        began.append(middle - start)
        ended.append(time.perf_counter() - middle)
    return statistics.median(began) * 1e3, statistics.median(ended) * 1e3


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runtime", help="the engine's OCI runtime: runsc for gVisor")
    options = parser.parse_args()
    print(f"{connect()}, {platform.release()}, {os.cpu_count()} cores, runtime {options.runtime or 'the default'}\n")
    print(f"{'print(1 + 1)':24}{'calls/s':>10}{'median ms':>11}{'CPU-ms':>8}")
    for callers in (1, 8):
        rates = {}
        for name, runner in (
            ("session", pipe("session", callers, options.runtime)),
            ("fresh", pipe("fresh", callers, options.runtime)),
            ("exec", exec_in_container(callers, options.runtime)),
        ):
            with runner as runs:
                rates[name], median, cpu = measure(runs, "print(1 + 1)", options.seconds)
            print(f"{f'{name} x{callers}':24}{rates[name]:>10.0f}{median:>11.2f}{cpu:>8.2f}", flush=True)
        print(
            f"  session {rates['session'] / rates['exec']:.0f} times exec, fresh {rates['fresh'] / rates['exec']:.0f}"
        )
    began, ended = starts(10, options.runtime)
    print(f"\nstart to the first answer {began:.0f} ms, end {ended:.0f} ms")
