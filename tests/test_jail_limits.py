"""What happens at each limit of a slot, in both tiers: the right status, the host unharmed, the next call right."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.jail.slot import Slot, probe_tier, start_slot

MODES = ("session", "fresh")


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


def run(slot: Slot, code: str, mode: str) -> dict[str, Any]:
    """Run code that meets a limit, and see that the slot is well afterwards."""
    reply = slot.request("call", code=code, mode=mode)
    after = slot.request("call", code="print('well')", mode=mode)
    assert (after["status"], after["out"]) == ("ok", "well\n"), (reply, after)
    return reply


def below(pid: int) -> set[int]:
    """The processes below one, on the host."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return found - {pid}


@pytest.mark.parametrize("mode", MODES)
def test_processor_time(start: Callable[..., Slot], mode: str) -> None:
    slot = start(cpu_seconds=0.3)
    reply = run(slot, "while True: pass", mode)
    assert reply["status"] == "cpu_limit"
    assert reply["cpu"] < 3
    code = "import os, time\nfor _ in range(3): os.fork()\nwhile True: pass"
    assert run(slot, code, mode)["status"] == "cpu_limit"
    assert (
        run(slot, "import subprocess; subprocess.run(['sh', '-c', 'while :; do :; done'])", mode)["status"]
        == "cpu_limit"
    )


def test_processor_time_of_a_session_counts_by_the_call(start: Callable[..., Slot]) -> None:
    slot = start(cpu_seconds=1.0)
    code = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    for _ in range(5):
        reply = slot.request("call", code=code)
        assert reply["status"] == "ok", reply
        assert 0.35 < reply["cpu"] < 0.9


@pytest.mark.parametrize("mode", MODES)
def test_time_on_the_clock(start: Callable[..., Slot], mode: str) -> None:
    slot = start(wall_seconds=0.5)
    for code in (
        "import time; time.sleep(1000)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import signal, time\nfor n in {*signal.Signals} - {9, 19}: signal.signal(n, signal.SIG_IGN)\ntime.sleep(1000)",
    ):
        reply = run(slot, code, mode)
        if "kill" not in code or reply["status"] != "raised":  # where signals are refused altogether
            assert reply["status"] == "time_limit", (code, reply)
            assert reply["lost"] is (mode == "session")


def test_a_call_may_have_limits_of_its_own(start: Callable[..., Slot]) -> None:
    slot = start()
    limits = {"wall_seconds": 0.2}
    assert slot.request("call", code="import time; time.sleep(1000)", limits=limits)["status"] == "time_limit"
    assert slot.request("run", argv=["sleep", "1000"], limits=limits)["status"] == "time_limit"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "code",
    [
        "b = bytearray(1 << 30)",
        "b = []\nwhile True: b.append(bytes([1]) * (1 << 20))",
        "import os, time\nfor _ in range(4):\n  if os.fork() == 0: break\nb = bytes([1]) * (40 << 20)\ntime.sleep(30)",
        "import mmap, time\nm = mmap.mmap(-1, 200 << 20)\nfor n in range(0, len(m), 4096): m[n] = 1\ntime.sleep(30)",
        "import mmap, os, time\n"  # shared memory that the process has let go of is still there
        "m = mmap.mmap(-1, 200 << 20)\n"
        "for n in range(0, len(m), 4096): m[n] = 1\n"
        "m.madvise(mmap.MADV_DONTNEED)\n"
        "time.sleep(30)",
    ],
    ids=["at once", "bit by bit", "forked", "shared", "hidden"],
)
def test_memory(start: Callable[..., Slot], mode: str, code: str) -> None:
    slot = start(memory=100 * MIB)
    assert run(slot, code, mode)["status"] == "memory_limit"


@pytest.mark.parametrize("mode", MODES)
def test_memory_in_sockets(start: Callable[..., Slot], mode: str) -> None:
    slot = start(memory=48 * MIB)
    if slot.tier == "B":
        pytest.skip("sockets are counted by their network, and tier B has none of its own")
    code = (
        "import socket, time\n"
        "kept = [socket.socketpair() for _ in range(200)]\n"
        "for pair in kept:\n"
        "    for end in pair:\n"
        "        end.setblocking(False)\n"
        "        try: end.send(bytes(1 << 18))\n"
        "        except BlockingIOError: pass\n"
        "time.sleep(30)"
    )
    assert run(slot, code, mode)["status"] == "memory_limit"


@pytest.mark.parametrize("mode", MODES)
def test_memory_that_is_enough(start: Callable[..., Slot], mode: str) -> None:
    slot = start(memory=100 * MIB)
    assert run(slot, "b = bytes([1]) * (80 << 20)\ndel b", mode)["status"] == "ok"
    # Forks share what they do not change, and that counts once.
    code = (
        "import os, time\n"
        "b = bytes([1]) * (60 << 20)\n"
        "pids = [os.fork() for _ in range(1)]\n"
        "if 0 in pids: time.sleep(0.5); os._exit(0)\n"
        "os.waitpid(pids[0], 0)\n"
        "del b"
    )
    assert run(slot, code, mode)["status"] == "ok"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", ["memfd_create", "shmget"])
def test_memory_that_belongs_to_no_process_is_refused(start: Callable[..., Slot], mode: str, code: str) -> None:
    calls = {
        "memfd_create": "import os; os.memfd_create('x')",
        "shmget": (
            "import ctypes, os\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "if libc.shmget(0, 4096, 0o1600) < 0: raise PermissionError(ctypes.get_errno(), 'shmget')"
        ),
    }
    assert "PermissionError" in run(start(), calls[code], mode)["err"]


@pytest.mark.parametrize("mode", MODES)
def test_processes(start: Callable[..., Slot], mode: str) -> None:
    slot = start(processes=24, wall_seconds=60.0)
    most = 0
    reply = run(slot, "import os\nwhile True: os.fork()", mode)
    assert reply["status"] in ("process_limit", "memory_limit", "cpu_limit"), reply
    code = "import subprocess\nkept = []\nwhile True: kept.append(subprocess.Popen(['sleep', '1000']))"
    reply = run(slot, code, mode)
    assert reply["status"] == "process_limit"
    most = len(below(slot.pid))
    assert most <= 24 + 2
    code = "import threading as t\nevent = t.Event()\nwhile True: t.Thread(target=event.wait, daemon=True).start()"
    assert run(slot, code, mode)["status"] == "process_limit"


def test_32_threads_and_forks_are_allowed(start: Callable[..., Slot]) -> None:
    slot = start()
    code = (
        "import threading\n"
        "barrier = threading.Barrier(33)\n"
        "threads = [threading.Thread(target=barrier.wait) for _ in range(32)]\n"
        "for thread in threads: thread.start()\n"
        "barrier.wait()\n"
        "for thread in threads: thread.join()\n"
        "print('all')"
    )
    for mode in MODES:
        assert slot.request("call", code=code, mode=mode)["out"] == "all\n"


@pytest.mark.parametrize("mode", MODES)
def test_disk(start: Callable[..., Slot], mode: str) -> None:
    slot = start(disk=4 * MIB)
    assert run(slot, "open('big', 'wb').write(bytes(100 << 20))", mode)["status"] == "disk_limit"
    run(slot, "import os; os.unlink('big')", mode)
    code = "import time\nfor n in range(10): open(f'b{n}', 'wb').write(bytes(1 << 20))\ntime.sleep(0.3)"
    assert run(slot, code, mode)["status"] == "disk_limit"
    assert run(slot, "import os\nfor name in os.listdir(): os.unlink(name)", mode)["status"] == "ok"
    assert run(slot, "open('small', 'wb').write(bytes(3 << 20))", mode)["status"] == "ok"


@pytest.mark.parametrize("mode", MODES)
def test_files(start: Callable[..., Slot], mode: str) -> None:
    slot = start(files=100)
    code = "import time\nfor n in range(1000): open(f'f{n}', 'w').close()\ntime.sleep(0.3)"
    assert run(slot, code, mode)["status"] == "file_limit"
    assert run(slot, "import os\nfor name in os.listdir(): os.unlink(name)", mode)["status"] == "ok"
    assert run(slot, "for n in range(90): open(f'f{n}', 'w').close()", mode)["status"] == "ok"


@pytest.mark.parametrize("mode", MODES)
def test_open_files(start: Callable[..., Slot], mode: str) -> None:
    assert run(start(), "kept = []\nwhile True: kept.append(open('/dev/null'))", mode)["status"] == "file_limit"


def test_commands_meet_limits_too(start: Callable[..., Slot]) -> None:
    slot = start(cpu_seconds=0.5, wall_seconds=30.0, disk=4 * MIB)
    statuses = {
        "cpu_limit": "while :; do :; done",
        "disk_limit": "head -c 20000000 /dev/zero > big",
    }
    for status, command in statuses.items():
        assert slot.request("run", argv=["sh", "-c", command])["status"] == status
    slot.request("run", argv=["rm", "-f", "big"])
    reply = slot.request("run", argv=["sh", "-c", "yes | head -c 20000000"])
    assert (reply["status"], reply["truncated"]) == ("ok", True)


def test_limits_cannot_be_raised(start: Callable[..., Slot]) -> None:
    slot = start(processes=16, memory=64 * MIB)
    code = (
        "import resource\n"
        "for name in ('DATA', 'AS', 'NOFILE', 'NPROC', 'CORE', 'FSIZE', 'MEMLOCK'):\n"
        "    kind = getattr(resource, f'RLIMIT_{name}')\n"
        "    try: resource.setrlimit(kind, (resource.RLIM_INFINITY,) * 2)\n"
        "    except (ValueError, OSError): continue\n"
        "    print('raised', name)"
    )
    for mode in MODES:
        assert slot.request("call", code=code, mode=mode)["out"] == ""
    # A notebook's hard limit on processes lies above its soft one, for snapshots; that is none of its business.
    code = (
        "import resource, subprocess\n"
        "hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]\n"
        "try: resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))\n"
        "except (ValueError, OSError): print('refused', flush=True)\n"
        "kept = [subprocess.Popen(['sleep', '1000']) for _ in range(60)]\n"
        "import time; time.sleep(1000)"
    )
    reply = slot.request("call", code=code)
    assert reply["out"] == "refused\n"
    # The kernel makes no further process, or where it does not count, the watch ends the call.
    assert reply["status"] in ("raised", "process_limit")


def test_nothing_runs_on_after_a_call(start: Callable[..., Slot]) -> None:
    slot = start()
    assert below(slot.pid) == set()
    code = (
        "import os, subprocess\n"
        "subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        __import__('time').sleep(1000)\n"
        "    os._exit(0)"
    )
    assert slot.request("call", code=code, mode="fresh", ahead=True)["status"] == "ok"
    assert len(below(slot.pid)) == 1  # the next fresh call's, see test_jail_fresh.py
    slot.request("run", argv=["sh", "-c", "sleep 1000 & setsid sleep 1000 & exec true"])
    assert below(slot.pid) == set()
