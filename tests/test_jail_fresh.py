"""The process that waits for the next fresh call: when there is one, and that it is like one made for the call.

As root both tiers; `test_jail_forks.py` has the bound on processes where the kernel asks before each fork.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.jail.slot import Slot, probe_tier, start_slot


@pytest.fixture(params=["A", "B"])
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Slot]]:
    """Starts slots that are closed at the end of the test."""
    if reason := probe_tier(request.param):
        pytest.skip(reason)
    with ExitStack() as stack:

        def start(**limits: Any) -> Slot:
            slot = start_slot(Limits(**limits), modules=(), tier=request.param)
            stack.callback(slot.close)
            return slot

        yield start


def out(slot: Slot, code: str, mode: str = "fresh", **fields: Any) -> str:
    reply = slot.request("call", code=code, mode=mode, **{"ahead": True, **fields})
    assert reply["status"] == "ok", reply
    return str(reply["out"])


def waiting(slot: Slot) -> list[int]:
    """Children of the supervisor, by their numbers on the host."""
    children = Path(f"/proc/{slot.pid}/task/{slot.pid}/children").read_text().split()
    return [
        int(child) for child in children if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    ]


def inside(pid: int) -> int:
    """The number of a process in its own namespace."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("NSpid")).split()[-1])


PID = "import os; print(os.getpid())"


def test_the_next_call_runs_in_the_process_that_waits(start: Callable[..., Slot]) -> None:
    slot = start()
    assert waiting(slot) == []  # who never makes a fresh call never pays for one
    out(slot, "x = 1", "session")
    assert len(waiting(slot)) == 1
    slot = start()
    for _ in range(3):
        last = int(out(slot, PID))
        (ready,) = (inside(pid) for pid in waiting(slot))
        assert int(out(slot, PID)) == ready > last


def test_there_is_none_where_it_is_not_wanted(start: Callable[..., Slot]) -> None:
    """As where all cores are busy: making it then only takes time from somebody else."""
    slot = start()
    out(slot, PID)
    (ready,) = (inside(pid) for pid in waiting(slot))
    assert int(out(slot, PID, ahead=False)) == ready
    assert waiting(slot) == []


def test_it_is_given_up_before_anything_else_of_the_agents_runs(start: Callable[..., Slot]) -> None:
    slot = start()
    picture = slot.request("snapshot")["id"]
    for op, fields in (
        ("run", {"argv": ["sh", "-c", "exit"]}),
        ("restore", {"id": picture}),
        ("call", {"code": "import time; time.sleep(0)", "mode": "session"}),
    ):
        out(slot, PID)
        (ready,) = waiting(slot)
        slot.request(op, **fields)
        assert ready not in waiting(slot)
    # Beside a notebook there is none: the notebook's threads could lay hands on it.
    (notebook,) = waiting(slot)
    out(slot, PID)
    assert waiting(slot) == [notebook]


def test_it_sees_files_as_they_are_when_the_call_begins(start: Callable[..., Slot]) -> None:
    slot = start()
    look = "import os; print(sorted(os.listdir()), open('a').read() if os.path.exists('a') else None, os.getcwd())"
    here = out(slot, look)
    slot.request("write", files={"a": {"text": "1"}})
    assert out(slot, look) == here.replace("[]", "['a']").replace("None", "1")
    tar = slot.request("pack")["tar"]
    slot.request("write", files={"a": {"text": "2"}})
    slot.request("unpack", tar=tar, wipe=True)
    assert out(slot, look) == here.replace("[]", "['a']").replace("None", "1")
    assert out(slot, "open('b', 'w').write('3')") == ""
    assert out(slot, look) == here.replace("[]", "['a', 'b']").replace("None", "1")


def test_it_begins_like_the_first_one(start: Callable[..., Slot]) -> None:
    slot = start()
    state = """
import gc, os, random, resource, signal, sys, threading
def is_open(fd):
    try: return os.fstat(fd) is not None
    except OSError: return False
kinds = sorted(kind for kind in dir(resource) if kind.startswith("RLIMIT"))
print([(kind, resource.getrlimit(getattr(resource, kind))) for kind in kinds])
print(sorted(os.environ.items()), os.getcwd(), os.umask(0o22), sys.argv, sorted(sys.modules), os.nice(0))
print([signal.getsignal(number) for number in signal.valid_signals()], signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(os.sched_getaffinity(0), random.random(), hash("text"), threading.active_count(), gc.isenabled())
print(os.getsid(0) == os.getpid(), [fd for fd in range(64) if is_open(fd)], sorted(globals()), sys.stdin.read())
"""
    first = out(slot, state)
    assert out(slot, state) == first
    assert out(slot, state, seed=5) == out(slot, state, seed=5) != first


def test_other_limits_are_those_of_the_call(start: Callable[..., Slot]) -> None:
    slot = start(memory=256 * MIB)
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CPU)[0]); x = bytearray(128 << 20)"
    assert out(slot, code) == "10\n"
    reply = slot.request("call", code=code, mode="fresh", limits={"memory": 64 * MIB, "cpu_seconds": 3})
    assert (reply["status"], reply["out"]) == ("memory_limit", "3\n")
    assert out(slot, code) == "10\n"


def test_as_many_processes_may_be_made_in_each_call(start: Callable[..., Slot]) -> None:
    slot = start(processes=8)
    if slot.watched:
        pytest.skip("here processes are only watched")
    code = """
import os, signal
made = 0
try:
    while made < 100:
        if os.fork() == 0: signal.pause()
        made += 1
except OSError: print(made)
"""
    assert [out(slot, code) for _ in range(4)] == ["7\n"] * 4


def test_one_that_was_killed_is_nobodys_fault(start: Callable[..., Slot]) -> None:
    slot = start()
    out(slot, PID)
    (ready,) = waiting(slot)
    os.kill(ready, signal.SIGKILL)
    end = time.monotonic() + 30
    while waiting(slot) and time.monotonic() < end:
        time.sleep(0.001)
    assert out(slot, "print(6 * 7)") == "42\n"


MOLEST = """
import os, resource, signal, sys, time
if os.fork() == 0:
    os.setsid()
    own = os.getpid()
    for _ in range(3): os.fork()
    while True:
        for pid in range(own + 1, own + 40):
            for lay_hands in (
                lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (7, 7)),
                lambda: os.setpriority(os.PRIO_PROCESS, pid, 5),
                lambda: os.kill(pid, signal.SIGINT),
                lambda: os.kill(pid, signal.SIGSTOP),
            ):
                try: lay_hands()
                except OSError: pass
time.sleep(0.01)
"""


def test_what_a_call_leaves_running_cannot_lay_hands_on_it(start: Callable[..., Slot]) -> None:
    slot = start(wall_seconds=30.0)
    look = "import os, resource; print(resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0))"
    first = out(slot, look)
    for _ in range(10):
        out(slot, MOLEST)
        assert out(slot, look) == first


def test_long_code_reaches_it_and_too_long_code_is_a_limit(start: Callable[..., Slot]) -> None:
    slot = start(memory=64 * MIB)
    for _ in range(2):
        assert out(slot, f"x = {'7' * (1 << 20)!r}; print(len(x))") == f"{1 << 20}\n"
    for _ in range(2):
        reply = slot.request("call", code=f"x = {'7' * (100 << 20)!r}", mode="fresh")
        assert reply["status"] == "memory_limit"
