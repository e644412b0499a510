"""The bound on processes in tier B of an ordinary user, where the kernel asks the janitor before each fork.

Run as root, the slots are started by another process that has become an ordinary user: `as_user` calls a function of
this file there.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ordinary_user import python_as_ordinary_user
from tracing import users_refusal

from tir_gym.errors import SandboxDied
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.jail.slot import Slot, probe_tier, start_slot

if reason := probe_tier("B"):
    pytest.skip(reason, allow_module_level=True)
if reason := users_refusal():
    pytest.skip(f"the kernel lets no ordinary user trace: {reason}", allow_module_level=True)

MOST = 12
FORKS = """
import errno, os, signal, threading, time

def fork(child=signal.pause):
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(0)
    return pid

def many(make, *arguments):
    made = []
    try:
        while len(made) < 200:
            made.append(make(*arguments))
    except OSError as error:
        assert error.errno == errno.EAGAIN, error
    except RuntimeError as error:
        assert str(error) == "can't start new thread", error
    return made

def end(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


def as_user(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of this file gives in a process of an ordinary user."""
    code = (
        f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {Path(__file__).stem} as tests\n"
        f"print(json.dumps(tests.{function.__name__}(*json.loads(sys.argv[1]))))"
    )
    done = python_as_ordinary_user(code, json.dumps(arguments), timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def started(**limits: Any) -> Slot:
    return start_slot(Limits(**{"processes": MOST, "wall_seconds": 60.0, **limits}), modules=(), tier="B")


def out(slot: Slot, code: str, mode: str = "session", **fields: Any) -> str:
    reply = slot.request("call", code=FORKS + code, mode=mode, **fields)
    assert reply["status"] == "ok", reply
    return str(reply["out"])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def gone(pid: int) -> bool:
    """Whether a process ends in time."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def printed(code: str, mode: str, processes: int = MOST) -> str:
    slot = started(processes=processes)
    assert not slot.watched
    if mode == "fresh":
        out(slot, "", mode, ahead=True)  # so that the process of the next one waits already
    return out(slot, code, mode)


@pytest.mark.parametrize("mode", ["session", "fresh"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        # The interpreter itself is one of them.
        ("print(len(many(fork)))", [MOST - 1]),
        ("a = many(fork); end(a[:3]); b = many(fork); end(a[3:] + b); print(len(a), len(b))", [MOST - 1, 3]),
        # One that has ended counts until somebody waits for it.
        ("a = many(fork, int); os.waitpid(a[0], 0); print(len(a), len(many(fork, int)))", [MOST - 1, 1]),
        (
            "import _thread\ndone = _thread.allocate_lock(); done.acquire()\n"
            "a = many(_thread.start_new_thread, done.acquire, ()); print(len(a), len(many(fork)))",
            [MOST - 1, 0],
        ),
        ("print(len(many(os.posix_spawn, '/bin/sleep', ['sleep', '60'], {})))", [MOST - 1]),
        # As raw as it gets.
        (
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            "def clone():\n"
            "    pid = libc.syscall(number, 17, 0, 0, 0, 0)\n"
            "    if pid == 0: signal.pause()\n"
            "    if pid < 0: raise OSError(ctypes.get_errno(), 'clone')\n"
            "number = {'x86_64': 56}.get(os.uname().machine, 220); print(len(many(clone)))",
            [MOST - 1],
        ),
    ],
    ids=["fork", "again", "zombies", "threads", "spawn", "clone"],
)
def test_the_bound_is_exact(code: str, told: list[int], mode: str) -> None:
    assert [int(word) for word in as_user(printed, code, mode).split()] == told


CROWD = """
reads, writes = os.pipe()
def breed():
    os.write(writes, b"x")
    try:
        while True:
            fork(breed)
    except OSError:
        signal.pause()
fork(breed)
end = time.monotonic() + 30
born = 0
while born < most - 1 and time.monotonic() < end:
    born += len(os.read(reads, 4096))
time.sleep(0.2)
os.set_blocking(reads, False)
try:
    born += len(os.read(reads, 4096))
except BlockingIOError:
    pass
print(born)
"""


def crowd(slots: int) -> list[int]:
    """Slots in which all processes fork at the same time, as fast as they can, and none ends: how many were born."""
    running = [started() for _ in range(slots)]
    with ThreadPoolExecutor(slots) as pool:
        return [int(text) for text in pool.map(lambda slot: out(slot, f"most = {MOST}\n{CROWD}", "fresh"), running)]


def test_no_more_are_born_when_all_fork_at_once_in_many_slots() -> None:
    assert as_user(crowd, 8) == [MOST - 1] * 8


def pictures() -> list[Any]:
    slot = started()
    found: list[Any] = [out(slot, "a = many(fork); end(a); print(len(a))")]
    ids = [slot.request("snapshot")["id"] for _ in range(3)]
    found.append(out(slot, "a = many(fork); end(a); print(len(a))"))  # pictures take none of the room
    found.append(out(slot, "a = many(fork); print(len(a))"))
    reply = slot.request("snapshot")  # there is room for a picture when there is none for anything else
    found.append(reply["session"])
    found.append(out(slot, "print(len(many(fork)))"))  # but only for that
    found.append(slot.request("restore", id=ids[0])["lost"])
    found.append(out(slot, "print(len(many(fork)))"))
    found.append(out(slot, "print(len(many(fork)))", "fresh"))  # what the notebook has left running takes none either
    found.append(out(slot, "print(len(many(fork)))", limits={"processes": MOST + 3}))
    # A notebook with threads is copied by way of a process in between.
    slot.request("restore", id=ids[0])
    out(slot, f"threads = [threading.Thread(target=time.sleep, args=(600,), daemon=True) for _ in range({MOST - 1})]")
    out(slot, "for thread in threads: thread.start()")
    found.append(slot.request("snapshot")["session"])
    return found


def test_pictures_have_room_of_their_own() -> None:
    one, all_of_it = f"{MOST - 1}\n", [f"{MOST - 1}\n"] * 3
    assert as_user(pictures) == [*all_of_it, True, "0\n", False, one, one, "3\n", True]


INTERRUPTED = """
import subprocess
from concurrent.futures import ThreadPoolExecutor
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for _ in range(100):
    os.waitpid(fork(int), 0)
signal.setitimer(signal.ITIMER_REAL, 0)

def breed():
    for number in range(100):
        assert os.waitstatus_to_exitcode(os.waitpid(fork(int), 0)[1]) == 0
        os.write(writes, b"x")

reads, writes = os.pipe()
breeder = fork(breed)
born = 0
while born < 100:
    os.kill(breeder, signal.SIGSTOP)
    os.kill(breeder, signal.SIGCONT)
    born += len(os.read(reads, 100))
assert os.waitstatus_to_exitcode(os.waitpid(breeder, 0)[1]) == 0
script = "for i in $(seq 60); do true & (true) | cat; wait; done; for i in 3 2 1; do (echo $i | cat); done | sort"
with ThreadPoolExecutor(2) as pool:
    ran = list(pool.map(lambda shell: subprocess.run([shell, "-c", script], capture_output=True), ["sh", "bash"]))
print(len(ticks) > 0, born, [(one.stdout, one.stderr) for one in ran])
"""


SORTED = b"1\n2\n3\n"


def test_signals_and_programs_that_fork_much_see_nothing_of_it() -> None:
    assert as_user(printed, INTERRUPTED, "session", 64) == f"True 100 {[(SORTED, b'')] * 2}\n"


ATTACKS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(os.getpid())
def error(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0
def raw(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
tracing = {"x86_64": 101, "aarch64": 117}[os.uname().machine]
reading = {"x86_64": 310, "aarch64": 270}[os.uname().machine]
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV):
    print(error(os.kill, janitor, number), error(os.killpg, janitor, number))
    print(error(signal.pidfd_send_signal, os.pidfd_open(janitor), number))
print(error(raw, tracing, 16, janitor, 0, 0), error(raw, tracing, 0x4206, janitor, 0, 0))
print(error(raw, reading, janitor, 0, 0, 0, 0, 0), error(raw, 438, os.pidfd_open(janitor), 3, 0))
print(error(open, f"/proc/{janitor}/mem"), error(os.listdir, f"/proc/{janitor}/fd"))
print(error(os.open, f"/proc/{os.getppid()}/mem", os.O_RDWR), error(os.listdir, f"/proc/{os.getppid()}/map_files"))
"""


def attacked() -> list[Any]:
    slot = started()
    janitor = parent(slot.pid)
    said = out(slot, f"janitor = {janitor}\n{ATTACKS}").splitlines()
    notebook = int(said[0].split()[0])
    shared = [
        [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/zero" in line]
        for pid in (notebook, janitor)
    ]
    return [
        [int(word) for line in said[1:] for word in line.split()],
        [len(pages) for pages in shared],
        out(slot, "print(len(many(fork)))"),
    ]


def test_agents_reach_neither_the_janitor_nor_the_bound() -> None:
    errors, pages, forks = as_user(attacked)
    assert 0 not in errors
    assert pages == [0, 1]
    assert forks == f"{MOST - 1}\n"


BREEDERS = """
def breed():
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            fork(int if time.monotonic() % 1 < 0.5 else breed)
            os.waitpid(-1, os.WNOHANG)
        except OSError:
            pass
for _ in range(3):
    fork(breed)
print(os.getcwd())
"""


def below(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found[1:]


def killed(who: str) -> dict[str, Any]:
    """A slot full of processes that fork without end loses its supervisor or its janitor."""
    slot = started()
    janitor = parent(slot.pid)
    folder = Path(out(slot, BREEDERS).strip()).parent
    everybody = [janitor, slot.pid, *below(slot.pid)]
    os.kill({"supervisor": slot.pid, "janitor": janitor}[who], signal.SIGKILL)
    told: dict[str, Any] = {"left": [pid for pid in everybody if not gone(pid)]}
    if who == "supervisor":
        told["folder"] = folder.exists()
    else:
        shutil.rmtree(folder)  # nobody is left to do it
        try:
            slot.request("call", code="print(1)")
        except SandboxDied as error:
            told["call"] = type(error).__name__
    return told


def test_nothing_is_left_when_the_supervisor_is_killed_under_fire() -> None:
    assert as_user(killed, "supervisor") == {"folder": False, "left": []}


def test_all_end_when_the_janitor_is_killed() -> None:
    assert as_user(killed, "janitor") == {"call": "SandboxDied", "left": []}


PROGRAM = """
import os, signal

def main(host, config):
    told = []
    for number in range(5):
        reads, writes = os.pipe()
        if os.fork() == 0:
            try:
                if os.fork() == 0:
                    signal.pause()
                os.write(writes, b"forked")
            except OSError as error:
                os.write(writes, str(error.errno).encode())
            signal.pause()
        told.append(os.read(reads, 20).decode())
    host.sendall(" ".join(told).encode())
"""


def program() -> str:
    slot = start_slot(Limits(processes=6), modules=(), program=PROGRAM, tier="B")
    told = slot.socket.recv(1000).decode()
    slot.close()
    return told


def test_a_trusted_program_forks_as_it_likes_and_what_it_forks_does_not() -> None:
    assert as_user(program).split() == ["forked"] * 3 + [str(errno.EAGAIN)] * 2


def under_another_tracer() -> None:
    """Prints what slots are like in a process that is traced already, with all that it starts, as by a debugger."""
    from tir_gym.sandboxes.jail.inside import asking
    from tir_gym.sandboxes.jail.tiers import caveat

    tracer, traced = socket.socketpair()
    pid = os.fork()
    if pid:
        asking.serve(pid, asking.Bound(), tracer)
        os._exit(0)
    traced.recv(1)
    slot = started()
    reply = slot.request("call", code=FORKS + "many(fork); time.sleep(60)", mode="fresh")
    print(json.dumps([slot.watched, out(slot, "print(6 * 7)"), caveat("B"), reply["status"]]), flush=True)
    slot.close()
    os._exit(0)


def test_under_another_tracer_processes_are_watched_and_it_is_said() -> None:
    watched, printed, caveat, status = as_user(under_another_tracer)
    assert (watched, printed, status) == (True, "42\n", "process_limit")
    assert "processes" in caveat


def no_caveat() -> Any:
    from tir_gym.sandboxes.jail.tiers import caveat

    return caveat("B")


def test_otherwise_there_is_nothing_to_say() -> None:
    assert as_user(no_caveat) is None
