"""However a process ends, its jails end with it: no process and no mount is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox

def forever(sandbox):
    return sandbox.call(ToolCall("python", {"code": "import subprocess; subprocess.Popen(['sleep', '600'])"}))

boxes = [make_sandbox("jail", modules=()) for _ in range(3)]
for box in boxes:
    assert forever(box).error is None
print(*(box._slot.pid for box in boxes), flush=True)
"""
ENDS = {
    "runs out": "",
    "raises": "raise RuntimeError('a bug of the caller')",
    "exits": "sys.exit(3)",
    "exits at once": "os._exit(3)",
    "waits": "time.sleep(600)",
}


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def family(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(below for child in children(pid) for below in family(child))]


@pytest.mark.parametrize(
    ("end", "sent"),
    [
        ("runs out", None),
        ("raises", None),
        ("exits", None),
        ("exits at once", None),
        ("waits", signal.SIGINT),
        ("waits", signal.SIGTERM),
        ("waits", signal.SIGKILL),
    ],
)
def test_nothing_outlives_the_process_that_made_it(end: str, sent: signal.Signals | None) -> None:
    mounts = disks()
    host = subprocess.Popen([sys.executable, "-c", SCRIPT + ENDS[end]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert host.stdout is not None
    slots = [int(pid) for pid in host.stdout.readline().split()]
    assert len(slots) == 3
    if sent is not None:
        everyone = family(host.pid) + [pid for slot in slots for pid in family(slot)]
        assert len(everyone) >= 3 + 2 * 3  # the host, a zygote and its parts, and in each slot more than a supervisor
        os.kill(host.pid, sent)
    else:
        everyone = slots
    host.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while left := [pid for pid in everyone if is_running(pid)]:
        assert time.monotonic() < deadline, f"{left} of {everyone} still run"
        time.sleep(0.05)
    assert disks() == mounts


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def disks() -> set[str]:
    """Mounts of this host that look like a slot's; its own are its own namespace's, so there should be no new one."""
    return {line for line in Path("/proc/self/mounts").read_text().splitlines() if "nr_inodes=" in line}
