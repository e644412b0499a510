"""A slot: what code, commands and files do in it, in both tiers."""

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tir_gym.errors import SandboxDied, UsageError
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.jail.slot import Slot, probe_tier, start_slot

MODES = ("session", "fresh")


@pytest.fixture(params=["A", "B"])
def tier(request: pytest.FixtureRequest) -> str:
    if reason := probe_tier(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def start(tier: str) -> Iterator[Callable[..., Slot]]:
    """Starts slots that are closed at the end of the test."""
    with ExitStack() as stack:

        def start(modules: tuple[str, ...] = (), program: str | None = None, **limits: Any) -> Slot:
            config = {"answer": 42} if program else None
            slot = start_slot(Limits(**limits), modules=modules, tier=tier, program=program, config=config)
            stack.callback(slot.close)
            return slot

        yield start


@pytest.fixture
def slot(start: Callable[..., Slot]) -> Slot:
    return start()


def call(slot: Slot, code: str, mode: str = "session", **fields: Any) -> dict[str, Any]:
    return slot.request("call", code=code, mode=mode, **fields)


def out(slot: Slot, code: str, mode: str = "session", **fields: Any) -> str:
    """What code prints that ends well."""
    reply = call(slot, code, mode, **fields)
    assert reply["status"] == "ok", reply
    return str(reply["out"])


# Code.


def test_a_session_is_a_notebook_and_a_fresh_call_keeps_only_files(slot: Slot) -> None:
    assert out(slot, "x = 40\nopen('kept', 'w').write('file')") == ""
    assert out(slot, "print(x + 2)") == "42\n"
    assert out(slot, "print('x' in globals(), open('kept').read())", "fresh") == "False file\n"
    assert out(slot, "y = 1", "fresh") == ""
    assert call(slot, "print(y)")["status"] == "raised"


@pytest.mark.parametrize("mode", MODES)
def test_errors_are_told_with_the_line_and_without_the_runner(slot: Slot, mode: str) -> None:
    reply = call(slot, "print('before')\ndef f():\n    return 1 / 0\nf()", mode)
    assert (reply["status"], reply["out"], reply["code"]) == ("raised", "before\n", 1)
    assert reply["err"].splitlines()[0] == "Traceback (most recent call last):"
    assert 'File "<tool>", line 3, in f' in reply["err"]
    assert "return 1 / 0" in reply["err"]
    assert reply["err"].endswith("ZeroDivisionError: division by zero\n")
    assert "interpreter.py" not in reply["err"]
    assert "SyntaxError" in call(slot, "def", mode)["err"]
    assert call(slot, "x = '\ud800'", mode)["status"] == "raised"


def test_lines_of_earlier_calls_are_not_mistaken_for_those_of_this_one(slot: Slot) -> None:
    out(slot, "def f():\n    raise KeyError('old')")
    err = call(slot, "print('a new first line')\nprint('a new second line')\nf()")["err"]
    assert 'File "<tool>", line 2, in f' in err
    assert "a new second line" not in err


@pytest.mark.parametrize("mode", MODES)
def test_exits(slot: Slot, mode: str) -> None:
    assert call(slot, "import sys; sys.exit()", mode)["status"] == "ok"
    assert call(slot, "import sys; sys.exit(0)", mode)["status"] == "ok"
    assert [call(slot, "raise SystemExit(3)", mode)[key] for key in ("status", "code")] == ["raised", 3]
    reply = call(slot, "import sys; sys.exit('no')", mode)
    assert (reply["status"], reply["code"], reply["err"]) == ("raised", 1, "no\n")
    reply = call(slot, "print('said', flush=True); import os; os._exit(0)", mode)
    assert (reply["status"], reply["out"], reply["code"]) == ("died", "said\n", 0)
    reply = call(slot, "import os; os.kill(os.getpid(), 9)" if slot.tier == "A" else "import os; os.abort()", mode)
    assert reply["status"] == "died"
    assert reply["code"] in (-9, -6)


def test_a_session_that_dies_is_told_so_once_and_the_next_is_new(slot: Slot) -> None:
    out(slot, "x = 1")
    assert call(slot, "import os; os._exit(1)")["lost"] is True
    reply = call(slot, "print(x)")
    assert (reply["status"], reply["lost"]) == ("raised", False)


def test_a_session_that_dies_between_calls_is_told_with_the_next(slot: Slot) -> None:
    out(slot, "import threading, os; threading.Timer(0.01, os._exit, (3,)).start()")
    replies = [call(slot, "import time; time.sleep(0.3); print('alive')")]
    if not replies[-1]["lost"]:
        replies.append(call(slot, "print('alive')"))
    assert replies[-1]["lost"] is True
    assert out(slot, "print(1)") == "1\n"


@pytest.mark.parametrize("mode", MODES)
def test_there_is_no_input(slot: Slot, mode: str) -> None:
    assert call(slot, "input()", mode)["err"].endswith("EOFError: EOF when reading a line\n")


@pytest.mark.parametrize("mode", MODES)
def test_chance_is_seeded(start: Callable[..., Slot], mode: str) -> None:
    code = "import random, numpy; print(random.random(), numpy.random.rand(), hash('text'))"
    one, other = start(("numpy",)), start(("numpy",))
    assert out(one, code, mode) == out(other, code, mode)
    if mode == "fresh":
        assert out(one, code, mode) == out(other, code, mode)
    assert out(one, code, mode, seed=7) == out(other, code, mode, seed=7)
    assert out(one, code, mode, seed=7) != out(one, code, mode, seed=8)
    assert out(one, code, mode, seed=-(1 << 80)) == out(other, code, mode, seed=-(1 << 80))
    assert out(one, code.replace("numpy.random", "random").replace("rand()", "random()"), "fresh") != ""


def test_what_a_program_does_at_its_end_is_done(slot: Slot) -> None:
    code = (
        "import atexit, threading, time, weakref\n"
        "atexit.register(print, 'exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
        "f = open('f', 'w'); f.write('not closed')\n"
        "print('main')"
    )
    assert out(slot, code, "fresh") == "main\nthread\nexit\n"
    assert out(slot, "print(open('f').read())", "fresh") == "not closed\n"


@pytest.mark.parametrize("mode", MODES)
def test_children_of_forks_end_where_the_code_ends(slot: Slot, mode: str) -> None:
    code = (
        "import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nprint('parent' if pid else 'child', flush=True)"
    )
    assert sorted(out(slot, code, mode).split()) == ["child", "parent"]
    assert out(slot, "print(1)", mode) == "1\n"


def test_modules_in_the_slot(start: Callable[..., Slot]) -> None:
    slot = start(("numpy",))
    for mode in MODES:
        assert out(slot, "import numpy; print(numpy.linalg.det(numpy.eye(3)))", mode) == "1.0\n"
    reply = slot.request("run", argv=["python", "-c", "import numpy, sys; print(int(numpy.ones(3).sum()))"])
    assert reply["out"] == "3\n", reply
    # Not imported beforehand, so found from inside.
    assert out(slot, "import scipy.sparse; print(scipy.sparse.eye(2).nnz)") == "2\n"


def test_a_module_that_cannot_be_imported_is_named(tier: str) -> None:
    with pytest.raises(UsageError, match="'no_such_module' cannot be imported"):
        start_slot(Limits(), modules=("no_such_module",), tier=tier)
    with pytest.raises(UsageError, match="tier='Z'"):
        start_slot(Limits(), tier="Z")


# Output.


@pytest.mark.parametrize("mode", MODES)
def test_64_mib_of_output_are_cut_and_are_no_timeout(start: Callable[..., Slot], mode: str) -> None:
    slot = start(output=100_000, wall_seconds=60.0, cpu_seconds=30.0)
    reply = call(slot, "for _ in range(64): print('x' * (1 << 20), end='')\nimport sys; sys.exit('end')", mode)
    assert (reply["status"], reply["truncated"]) == ("raised", True)
    assert len(reply["out"]) + len(reply["err"]) == 100_000
    assert reply["err"] == "end\n"
    reply = call(slot, f"print('y' * {100_000 - 1})", mode)
    assert (reply["status"], reply["truncated"], len(reply["out"])) == ("ok", False, 100_000)


@pytest.mark.parametrize("mode", MODES)
def test_broken_utf8_becomes_text(slot: Slot, mode: str) -> None:
    assert out(slot, r"import sys; sys.stdout.buffer.write(b'a\xff\xc3\x28\x00z\n')", mode) == "a\ufffd\ufffd(\0z\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "code",
    [
        "import os; os.close(1); os.close(2)",
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import sys; sys.stdout = sys.stderr = None",
        "import os; os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
        "import builtins; builtins.print = None; builtins.compile = None; builtins.exec = None",
        "import os; os.closerange(0, 100)",
        "import sys; sys.modules.clear()",
    ],
)
def test_broken_output_and_builtins_harm_one_call(slot: Slot, mode: str, code: str) -> None:
    call(slot, code, mode)
    if "builtins" in code and mode == "session":
        assert call(slot, "1")["status"] in ("died", "raised")  # its own interpreter's builtins are gone for good
        assert out(slot, "print('next')", "fresh") == "next\n"
        return
    reply = call(slot, "import os; os.write(1, b'next')", mode)
    if reply["status"] != "ok":  # a session that took its own descriptors away has died, and says so
        assert reply["lost"] is True
        reply = call(slot, "import os; os.write(1, b'next')", mode)
    assert reply["out"] == "next"


@pytest.mark.parametrize("mode", MODES)
def test_a_grandchild_that_holds_the_output_delays_nothing(slot: Slot, mode: str) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True); print('done')"
    reply = call(slot, code, mode)
    assert (reply["status"], reply["out"]) == ("ok", "done\n")
    assert reply["wall"] < 15


@pytest.mark.parametrize("tell", ["send", "flood", "forge"])
def test_forged_reports_end_the_session_and_nothing_else(slot: Slot, tell: str) -> None:
    send = {
        "send": "os.write(3, b'hello')",
        "flood": "[os.write(3, bytes(1000)) for _ in range(50)]",
        # Its own nonce is in the frames below; a report with it is believed, and the true one then comes too late.
        "forge": (
            "import sys, struct\n"
            "frame = sys._getframe()\n"
            "while 'nonce' not in frame.f_locals: frame = frame.f_back\n"
            "os.write(3, struct.pack('<16sBi', frame.f_locals['nonce'], 0, 0))"
        ),
    }[tell]
    reply = call(slot, f"import os\n{send}")
    assert reply["status"] in (("ok", "died") if tell == "forge" else ("died",))
    replies = [call(slot, f"print({n})") for n in range(4)]
    assert [reply["out"] for reply in replies[-2:]] == ["2\n", "3\n"]
    assert not any(reply["lost"] for reply in replies[-2:])


# Commands.


def test_commands(slot: Slot) -> None:
    reply = slot.request(
        "run", argv=["sh", "-c", "cat; echo err >&2; pwd -P; echo $X; exit 3"], stdin="in\n", env={"X": "1"}
    )
    assert (reply["status"], reply["code"], reply["err"]) == ("raised", 3, "err\n")
    first, folder, value = reply["out"].splitlines()
    assert (first, value) == ("in", "1")
    assert folder.endswith("/work")
    slot.request("write", files={"a/b": {"text": "x"}})
    assert slot.request("run", argv=["ls"], cwd="a")["out"] == "b\n"
    reply = slot.request("run", argv=["no-such-program"])
    assert (reply["status"], reply["code"]) == ("raised", 127)
    assert "no-such-program" in reply["err"]
    reply = slot.request("run", argv=["head", "-c", "1"], stdin="x" * MIB)
    assert (reply["status"], reply["out"]) == ("ok", "x")
    assert slot.request("run", argv=["sh", "-c", "kill -9 $$"])["status"] in ("died", "raised")


# Files.


def test_files_are_written_read_and_listed(slot: Slot) -> None:
    data = bytes(range(256))
    files = {"a/b/c.bin": {"base64": base64.b64encode(data).decode(), "mode": 0o755}, "t": {"text": "é"}}
    assert slot.request("write", files=files) == {"ok": True}
    out(slot, "import os; os.symlink('t', 'link'); os.mkfifo('pipe'); os.mkdir('empty')")
    reply = slot.request("read", path="a/b/c.bin", max=10)
    assert (base64.b64decode(reply["base64"]), reply["size"]) == (data[:10], 256)
    tree = slot.request("tree")["tree"]
    assert list(tree) == ["a", "a/b", "a/b/c.bin", "empty", "link", "pipe", "t"]
    assert tree["a/b/c.bin"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert tree["link"]["target"] == "t"
    assert [entry["kind"] for entry in tree.values()] == ["folder", "folder", "file", "folder", "link", "pipe", "file"]
    if slot.tier == "A":
        assert tree["a/b/c.bin"]["mode"] == 0o755


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "/", "x\0y", "/proc/self/mem"])
def test_paths_that_lead_out_are_refused(slot: Slot, path: str) -> None:
    assert slot.request("write", files={path: {"text": "x"}})["kind"] == "refused"
    assert slot.request("read", path=path)["kind"] in ("refused", "missing")


def test_planted_links_and_pipes_neither_mislead_nor_stop_the_supervisor(slot: Slot) -> None:
    code = (
        "import os\n"
        "for n, t in enumerate(['/etc/passwd', '/proc/self/mem', '/proc/1/environ', '/']): os.symlink(t, f'l{n}')\n"
        "os.mkfifo('p')\n"
        "os.symlink('/tmp', 'd')"
    )
    out(slot, code)
    for path in ("l0", "l1", "l2", "l3", "p", "d", "d/x", "l3/etc/passwd"):
        assert "error" in slot.request("read", path=path), path
    assert "error" in slot.request("write", files={"d/x": {"text": "x"}})
    assert slot.request("write", files={"p": {"text": "now a file"}, "l0": {"text": "now a file"}}) == {"ok": True}
    assert slot.request("tree")["tree"]["l0"]["kind"] == "file"


def test_a_tree_survives_being_packed(start: Callable[..., Slot]) -> None:
    one, other = start(), start()
    out(
        one,
        "import os; os.makedirs('a/b'); open('a/b/f', 'w').write('1'); os.symlink('a', 'l'); os.chmod('a/b/f', 0o700)",
    )
    tar = one.request("pack")["tar"]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(tar))) as archive:
        assert archive.getnames() == ["a", "a/b", "a/b/f", "l"]
    other.request("write", files={"old": {"text": "to go"}})
    assert other.request("unpack", tar=tar) == {"ok": True}
    assert other.request("tree")["tree"] == one.request("tree")["tree"]
    assert other.request("pack")["tar"] == tar
    assert "error" in other.request("unpack", tar="!")


def test_hostile_archives_are_refused(slot: Slot) -> None:
    for name, kind in (("../x", tarfile.REGTYPE), ("/etc/x", tarfile.REGTYPE), ("dev", tarfile.CHRTYPE)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
        assert "error" in slot.request("unpack", tar=base64.b64encode(buffer.getvalue()).decode())


def test_trees_that_hide_deep_or_closed_are_listed_and_emptied(slot: Slot) -> None:
    picture = slot.request("snapshot")["id"]
    code = (
        "import os\n"
        "open('secret', 'w').write('s'); os.chmod('secret', 0)\n"
        "os.mkdir('shut'); open('shut/in', 'w').close(); os.chmod('shut', 0)\n"
        "for _ in range(1500): os.mkdir('deep'); os.chdir('deep')\n"
    )
    out(slot, code, "fresh")
    tree = slot.request("tree")["tree"]
    assert tree["secret"]["sha256"] == hashlib.sha256(b"s").hexdigest()
    assert "shut/in" in tree
    assert slot.request("restore", id=picture)["ok"] is True
    assert slot.request("tree")["tree"] == {}


def test_files_full_of_holes_cost_nothing_to_look_at(slot: Slot) -> None:
    out(slot, "for n in range(500): open(f'h{n}', 'wb').truncate(60 << 20)", "fresh")
    tree = slot.request("tree")["tree"]
    assert tree["h0"]["size"] == 60 << 20
    assert tree["h0"]["sha256"] == tree["h499"]["sha256"]
    assert len(slot.request("pack")["tar"]) < 4 * MIB
    assert "id" in slot.request("snapshot")


# Snapshots.


def test_a_snapshot_is_gone_back_to_again_and_again(slot: Slot) -> None:
    out(slot, "x = [1]; open('f', 'w').write('one')")
    picture = slot.request("snapshot")["id"]
    for _ in range(3):
        out(
            slot,
            "import os; x.append(2); open('f', 'w').write('two'); open(os.environ['TMPDIR'] + '/g', 'w').close()",
        )
        assert slot.request("restore", id=picture) == {"ok": True, "lost": False}
        code = "import os; print(x, open('f').read(), os.listdir(os.environ['TMPDIR']))"
        assert out(slot, code) == "[1] one []\n"
    assert slot.request("drop", id=picture) == {"ok": True}
    assert slot.request("restore", id=picture)["kind"] == "missing"
    assert out(slot, "print(x)") == "[1]\n"


def test_snapshots_of_snapshots_and_of_nothing(slot: Slot) -> None:
    nothing = slot.request("snapshot")["id"]
    out(slot, "x = 1")
    one = slot.request("snapshot")["id"]
    out(slot, "x = 2")
    two = slot.request("snapshot")["id"]
    slot.request("restore", id=one)
    out(slot, "x += 10")
    eleven = slot.request("snapshot")["id"]
    for picture, value in ((two, 2), (eleven, 11), (one, 1), (eleven, 11)):
        slot.request("restore", id=picture)
        assert out(slot, "print(x)") == f"{value}\n"
    slot.request("restore", id=nothing)
    assert call(slot, "print(x)")["status"] == "raised"
    assert slot.request("ping")["snapshots"] == 4


def test_what_is_drawn_after_a_restore_is_drawn_again(slot: Slot) -> None:
    out(slot, "import random; random.random()")
    picture = slot.request("snapshot")["id"]
    first = out(slot, "print(random.random())")
    slot.request("restore", id=picture)
    assert out(slot, "print(random.random())") == first


def test_files_held_open_are_the_files_that_are_put_back(slot: Slot) -> None:
    code = (
        "import mmap\n"
        "log = open('log', 'w'); print('one', file=log, flush=True)\n"
        "open('big', 'wb').write(bytes(40 << 20)); big = open('big', 'rb')\n"
        "shared = open('shared', 'wb+'); shared.write(b'before'); shared.flush(); m = mmap.mmap(shared.fileno(), 6)"
    )
    out(slot, code)
    picture = slot.request("snapshot")["id"]
    for _ in range(3):
        out(slot, "print('two', file=log, flush=True); m[:] = b'after!'; import os; os.mkdir('new')")
        assert slot.request("restore", id=picture)["ok"] is True
        assert out(slot, "print(open('log').read(), open('shared').read())") == "one\n before\n"
        assert out(slot, "print('three', file=log, flush=True); print(open('log').read())") == "one\nthree\n\n"
        assert out(slot, "import os; print(os.path.getsize('big'), sorted(os.listdir()))").startswith("41943040 ['big'")
        slot.request("restore", id=picture)


def test_many_snapshots_leave_no_zombies_and_room_for_processes(start: Callable[..., Slot]) -> None:
    slot = start(processes=8)
    out(slot, "x = 0")
    pictures = []
    for _ in range(20):
        pictures.append(slot.request("snapshot")["id"])
        slot.request("restore", id=pictures[-1])
        out(slot, "x += 1")
    assert (
        out(slot, "import subprocess; print(subprocess.run(['echo', 'room'], capture_output=True, text=True).stdout)")
        == "room\n\n"
    )
    assert out(slot, "print('fresh')", "fresh") == "fresh\n"
    slot.request("restore", id=pictures[3])
    assert out(slot, "print(x)") == "3\n"
    for picture in pictures:
        slot.request("drop", id=picture)
    assert out(slot, "print(x)") == "3\n"


def test_a_snapshot_outlives_the_session_that_is_ended_for_a_limit(slot: Slot) -> None:
    out(slot, "x = 1")
    picture = slot.request("snapshot")["id"]
    code = "import subprocess, time; subprocess.Popen(['sleep', '1000'], start_new_session=True); time.sleep(1000)"
    assert call(slot, code, limits={"wall_seconds": 0.5})["status"] == "time_limit"
    assert slot.request("restore", id=picture) == {"ok": True, "lost": False}
    assert out(slot, "print(x)") == "1\n"


def test_a_snapshot_that_was_killed_gives_a_new_session(slot: Slot) -> None:
    """The agent's code can end its own pictures, where it may signal; that is its loss, and no failure."""
    out(slot, "x = 1; open('f', 'w').write('f')")
    picture = slot.request("snapshot")["id"]
    call(slot, "import os; os.kill(-1, 9)", "fresh")
    reply = slot.request("restore", id=picture)
    assert reply["ok"] is True
    again = call(slot, "print(x, open('f').read())")
    if reply["lost"]:
        assert (again["status"], again["lost"]) == ("raised", True)
        again = call(slot, "print(1, open('f').read())")
    assert (again["status"], again["out"]) == ("ok", "1 f\n")


def test_fresh_calls_and_commands_leave_session_and_snapshots_alive(slot: Slot) -> None:
    out(slot, "x = 1")
    picture = slot.request("snapshot")["id"]
    out(
        slot,
        "import os\nfor _ in range(3):\n    if os.fork() == 0:\n        os.setsid(); __import__('time').sleep(1000)",
        "fresh",
    )
    slot.request("run", argv=["sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 0"])
    assert out(slot, "print(x)") == "1\n"
    slot.request("restore", id=picture)
    assert out(slot, "print(x)") == "1\n"


# Life.


def test_background_work_of_a_session_waits_between_calls(slot: Slot) -> None:
    code = (
        "import threading, time\n"
        "n = 0\n"
        "def count():\n"
        "    global n\n"
        "    while True:\n"
        "        n += 1; time.sleep(0.001)\n"
        "threading.Thread(target=count, daemon=True).start()"
    )
    out(slot, code)
    threading.Event().wait(0.5)
    stopped = int(out(slot, "print(n)"))
    assert stopped < 400
    assert int(out(slot, "time.sleep(0.1); print(n)")) > stopped


def test_eight_slots_at_once_keep_apart(start: Callable[..., Slot]) -> None:
    slots = [start(processes=16) for _ in range(8)]
    wrong: list[Any] = []

    def work(number: int) -> None:
        slot = slots[number]
        for turn in range(10):
            out(slot, f"x = {number * 100 + turn}")
            if (
                out(slot, "import subprocess; print(x, subprocess.run(['true']).returncode)")
                != f"{number * 100 + turn} 0\n"
            ):
                wrong.append((number, turn))
            if out(slot, f"open('f', 'w').write('{number}'); print(open('f').read())", "fresh") != f"{number}\n":
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_slots_outlive_the_thread_that_started_them(start: Callable[..., Slot]) -> None:
    made: list[Slot] = []
    thread = threading.Thread(target=lambda: made.append(start()))
    thread.start()
    thread.join()
    assert out(made[0], "print(1)") == "1\n"


def test_requests_of_several_threads_wait_for_each_other(slot: Slot) -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda n=n: results.append(out(slot, f"print({n})"))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, results)) == list(range(16))


def test_a_closed_slot_says_so(slot: Slot) -> None:
    slot.close()
    slot.close()
    assert not slot.alive
    with pytest.raises(SandboxDied, match="closed"):
        slot.request("ping")


def test_what_is_no_request_is_refused(slot: Slot) -> None:
    assert slot.request("no-such-thing")["kind"] == "refused"
    assert slot.request("restore", id=99)["kind"] == "missing"
    assert slot.request("call")["error"] == "call: the field 'code' is missing"
    assert out(slot, "print(1)") == "1\n"


def test_another_program_runs_inside_the_walls(start: Callable[..., Slot]) -> None:
    program = (
        "import os, json\n"
        "def main(socket, config):\n"
        "    tried = []\n"
        "    for path in ('/etc/shadow', '/proc/1/environ', '/root/.bashrc'):\n"
        "        try: open(path); tried.append(path)\n"
        "        except OSError: pass\n"
        "    body = json.dumps({'n': 1, 'open': tried, 'answer': config['answer']}).encode()\n"
        "    socket.recv(1000)\n"
        "    socket.sendall(len(body).to_bytes(4, 'little') + body)\n"
        "    socket.recv(1000)\n"
    )
    assert start(program=program).request("anything") == {"open": [], "answer": 42}


def test_no_module_of_this_package_is_loaded_inside(slot: Slot) -> None:
    assert out(slot, "import sys; print([name for name in sys.modules if name.startswith('tir_gym')])") == "[]\n"
