"""The sandbox `jail` as an environment uses it: code in, what was printed or a typed error out, and its state."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tir_gym.errors import SandboxUnavailable, UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.jail import JailSandbox, lease_slot
from tir_gym.sandboxes.jail.pool import SlotPool, slots
from tir_gym.sandboxes.jail.slot import start_slot
from tir_gym.sandboxes.jail.tiers import choose
from tir_gym.sandboxes.slotted import Slot

QUICK = Limits(wall_seconds=60, cpu_seconds=1, memory=128 * MIB, processes=16, files=64, disk=4 * MIB, output=4096)

THREADS = """
import threading, time
for _ in range(64):
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
"""


def code(text: str) -> ToolCall:
    return ToolCall("python", {"code": text})


@pytest.fixture
def jail() -> Iterator[JailSandbox]:
    with JailSandbox(limits=QUICK, modules=()) as sandbox:
        yield sandbox


def printed(sandbox: JailSandbox, text: str) -> str:
    result = sandbox.call(code(text))
    assert result.error is None, result
    assert isinstance(result.content, str)
    return result.content


def test_what_is_printed_comes_back() -> None:
    with make_sandbox("jail", limits={"wall_seconds": 5}) as sandbox:
        assert sandbox.call(code("print(1 + 1)")) == ToolResult("2\n")
        assert sandbox.call(code("import numpy; print(numpy.arange(4).sum())")) == ToolResult("6\n")


def test_variables_stay_in_a_session(jail: JailSandbox) -> None:
    assert printed(jail, "x = 20") == ""
    assert printed(jail, "x += 1; print(x)") == "21\n"


def test_only_files_stay_between_fresh_calls() -> None:
    with JailSandbox(limits=QUICK, modules=(), mode="fresh", files={"data/a.txt": "one"}) as sandbox:
        assert printed(sandbox, "x = open('data/a.txt').read(); open('b.txt', 'w').write(x * 2); print(x)") == "one\n"
        assert printed(sandbox, "print(open('b.txt').read(), 'x' in globals())") == "oneone False\n"


def test_the_agent_s_mistakes_are_data(jail: JailSandbox) -> None:
    raised = jail.call(code("print('before')\n1 / 0"))
    assert (raised.content, raised.error_kind) == ("before\n", "raised")
    assert raised.error is not None
    assert "ZeroDivisionError" in raised.error
    assert "line 2" in raised.error
    unreadable = jail.call(code("def ("))
    assert unreadable.error_kind == "raised"
    assert "SyntaxError" in str(unreadable.error)
    assert jail.call(ToolCall("python", {"code": 3})).error_kind == "invalid_arguments"
    assert jail.call(ToolCall("python", {"code": "1", "more": 1})).error_kind == "invalid_arguments"
    assert jail.call(ToolCall("perl", {"code": "1"})).error_kind == "unknown_tool"
    assert jail.call(code("import sys; sys.exit(3)")).error_kind == "raised"
    assert printed(jail, "import sys; print('still'); sys.exit(0)") == "still\n"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("cpu_limit", "while True: pass"),
        ("time_limit", "print('waits', flush=True)\nimport time; time.sleep(60)"),
        ("memory_limit", "x = bytearray(10**9)"),
        ("memory_limit", "x = []\nwhile True: x.append(bytearray(10**6))"),
        ("disk_limit", "open('big', 'wb').write(bytes(8 * 2**20))"),
        ("file_limit", "for i in range(1000): open(f'f{i}', 'w').close()"),
        ("process_limit", THREADS),
        ("output_limit", "print('x' * 10000)"),
        ("died", "import os; os._exit(3)"),
        ("died", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["session", "fresh"])
def test_each_limit_is_an_error_of_its_own_and_the_next_call_works(mode: str, kind: str, text: str) -> None:
    # On a busy machine a second of processor time can take a while.
    limits = QUICK.model_copy(update={"wall_seconds": 2.0}) if kind == "time_limit" else QUICK
    with make_sandbox("jail", limits=limits, modules=(), mode=mode) as sandbox:
        result = sandbox.call(code(text))
        assert result.error_kind == kind, result
        assert result.error
        if kind == "output_limit":
            assert result.content == "x" * 4096
        if kind == "time_limit":
            assert result.content == "waits\n"
        assert sandbox.call(code("print('well')")) == ToolResult("well\n")


def test_a_lost_session_says_so(jail: JailSandbox) -> None:
    printed(jail, "x = 1; open('kept', 'w').write('yes')")
    assert "variables are gone" in str(jail.call(code("import os; os._exit(0)")).error)
    assert printed(jail, "print('x' in globals(), open('kept').read())") == "False yes\n"


def test_a_picture_holds_variables_and_files(jail: JailSandbox) -> None:
    printed(jail, "x = [1]; open('a', 'w').write('first')")
    before = jail.digest()
    picture = jail.snapshot()
    printed(jail, "x.append(2); open('a', 'w').write('second'); open('b', 'w').close()")
    assert jail.digest() != before
    for _ in range(2):  # as often as one likes
        jail.restore(picture)
        assert printed(jail, "print(x, open('a').read())") == "[1] first\n"
        assert list(jail.diff()["files"]) == ["a"]


def test_a_picture_outlives_its_slot(jail: JailSandbox) -> None:
    start = jail.snapshot()
    printed(jail, "x = 5; open('a', 'w').write('kept')")
    picture = jail.snapshot()
    jail.restore(start)
    assert jail.diff() == {}
    jail.restore(picture)
    assert printed(jail, "print(x, open('a').read())") == "5 kept\n"


def test_a_picture_that_the_code_has_killed_is_made_again(jail: JailSandbox) -> None:
    printed(jail, "x = 5; open('a', 'w').write('kept')")
    picture = jail.snapshot()
    others = "[int(pid) for pid in os.listdir('/proc') if pid.isdigit() and int(pid) != os.getpid()]"
    jail.call(code(f"import os\nfor pid in {others}: os.kill(pid, 9)"))
    printed(jail, "x = 6")
    jail.restore(picture)
    assert printed(jail, "print(x, open('a').read())") == "5 kept\n"


def test_pictures_without_number_can_be_had_back(jail: JailSandbox) -> None:
    pictures = []
    for number in range(80):
        printed(jail, f"x = {number}")
        pictures.append(jail.snapshot())
    for number in (0, 79, 40):
        jail.restore(pictures[number])
        assert printed(jail, "print(x)") == f"{number}\n"


def test_files_that_do_not_fit_are_the_caller_s_mistake() -> None:
    with pytest.raises(UsageError, match="files:"):
        JailSandbox(limits=QUICK, modules=(), files={"big": bytes(8 * MIB)}).call(code("1"))


def test_a_fork_goes_its_own_way(jail: JailSandbox) -> None:
    printed(jail, "x = 1; open('a', 'w').write('both')")
    with jail.fork() as twin:
        assert twin.digest() == jail.digest()
        printed(twin, "x = 2; open('a', 'w').write('twin')")
        assert printed(jail, "print(x, open('a').read())") == "1 both\n"
        assert printed(twin, "print(x, open('a').read())") == "2 twin\n"
        twin.restore(jail.snapshot())
        assert printed(twin, "print(x, open('a').read())") == "1 both\n"


def test_the_tree_is_the_state() -> None:
    files = {"kept.txt": "k", "old/changed.txt": "one", "gone.txt": "g"}
    with JailSandbox(limits=QUICK, modules=(), mode="fresh", files=files) as sandbox:
        untouched = sandbox.digest()
        assert sandbox.diff() == {}
        printed(sandbox, "print(open('kept.txt').read())")
        assert (sandbox.digest(), sandbox.diff()) == (untouched, {})
        printed(sandbox, "import os; os.remove('gone.txt'); open('old/changed.txt', 'w').write('two')")
        printed(
            sandbox, "import os; os.mkdir('new'); open('new/b', 'wb').write(bytes([255])); os.symlink('b', 'new/l')"
        )
        rows = sandbox.diff()["files"]
        assert rows["gone.txt"] == {"before": {"kind": "file", "executable": False, "text": "g"}, "after": {}}
        assert rows["old/changed.txt"]["after"]["text"] == "two"
        assert rows["new"] == {"before": {}, "after": {"kind": "folder"}}
        assert set(rows["new/b"]["after"]) == {"kind", "executable", "sha256"}
        assert rows["new/l"]["after"] == {"kind": "link", "target": "b"}
        assert "kept.txt" not in rows


def test_same_code_same_bytes() -> None:
    text = "import random, numpy\nprint(random.random(), numpy.random.rand(), hash('a'), list({'a', 'b', 'c'}))"
    said = set()
    for mode in ("session", "fresh", "session"):
        with make_sandbox("jail", limits=Limits(), mode=mode) as sandbox:
            said.add(sandbox.call(code(text)).content)
    assert len(said) == 1


def test_what_is_only_made_or_forked_holds_no_process() -> None:
    slots.close()
    gc.collect()  # what other tests let go of
    live = slots.live()
    with JailSandbox(limits=QUICK, modules=()) as sandbox:
        twin = sandbox.fork()
        start = twin.snapshot()
        assert slots.live() == live
        printed(twin, "x = 1")
        assert slots.live() == live + 1
        twin.restore(start)
        assert slots.live() == live
        printed(twin, "x = 1")
        del twin, start
        gc.collect()
        assert slots.live() == live


def test_sandboxes_do_not_see_each_other(jail: JailSandbox) -> None:
    printed(jail, "import os; places = os.environ['HOME'], os.environ['TMPDIR']")
    printed(jail, "for place in places: open(f'{place}/secret', 'w').write('s')")
    look = "import os; print(os.listdir(os.environ['HOME']) + os.listdir(os.environ['TMPDIR']))"
    with jail.fork() as fork, JailSandbox(limits=QUICK, modules=()) as other:
        assert printed(fork, look) == "['secret', 'secret']\n"
        assert printed(other, look) == "[]\n"


def test_asynchronous_callers_do_not_wait_for_each_other() -> None:
    async def one(number: int) -> ToolResult:
        async with JailSandbox(limits=QUICK, modules=()) as sandbox:
            return await sandbox.acall(code(f"print({number})"))

    async def many() -> list[ToolResult]:
        return await asyncio.gather(*(one(number) for number in range(6)))

    assert [result.content for result in asyncio.run(many())] == [f"{number}\n" for number in range(6)]


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "."])
def test_files_stay_inside_the_work_folder(path: str) -> None:
    with pytest.raises(UsageError, match="relative path"):
        JailSandbox(files={path: "x"})


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="choose 'session' or 'fresh'"):
        make_sandbox("jail", mode="cold")
    with pytest.raises(UsageError, match="require="):
        make_sandbox("jail", require="Z").start()
    with pytest.raises(UsageError, match="no_such_module"):
        make_sandbox("jail", modules=("no_such_module",)).call(code("1"))
    with pytest.raises(UsageError, match="has no option 'colour'"):
        make_sandbox("jail", colour="blue")
    with pytest.raises(UsageError, match="no sandbox"):
        make_sandbox("jain")


def test_the_pool_bounds_what_lives_and_replaces_what_died() -> None:
    pool = SlotPool(max_live=2, ready=1, patience=0.2)

    def start() -> object:
        return lease_slot(QUICK)

    first, second = pool.lease("sort", start), pool.lease("sort", start)  # type: ignore[arg-type]
    with pytest.raises(SandboxUnavailable, match="close some"):
        pool.lease("sort", start)  # type: ignore[arg-type]
    os.kill(first.pid, 9)  # type: ignore[attr-defined]
    while first.alive:
        pass
    third = pool.lease("sort", start)  # type: ignore[arg-type]
    assert third.request("call", code="print(3)", mode="fresh")["out"] == "3\n"
    for slot in (first, second, third):
        slot.close()
    pool.close()


def one_slot() -> Slot:
    return start_slot(QUICK, modules=(), tier=choose())


def test_the_pool_s_bound_holds_for_callers_at_the_same_time() -> None:
    pool = SlotPool(max_live=5, ready=0, patience=0.0)

    def ask(_: int) -> Slot | None:
        try:
            return pool.lease("sort", one_slot)
        except SandboxUnavailable:
            return None

    with ThreadPoolExecutor(40) as threads:
        given = [slot for slot in threads.map(ask, range(40)) if slot is not None]
    assert len(given) == pool.live() == 5
    given[0].close()
    given.append(pool.lease("sort", one_slot))
    assert ask(0) is None
    for slot in given:
        slot.close()


def test_a_start_that_fails_takes_no_room_in_the_pool() -> None:
    pool = SlotPool(max_live=1, ready=0, patience=0.0)

    def fail() -> Slot:
        raise SandboxUnavailable("no slot today")

    for _ in range(3):
        with pytest.raises(SandboxUnavailable, match="no slot today"):
            pool.lease("sort", fail)
    pool.lease("sort", one_slot).close()


def test_sandboxes_of_many_sorts_leave_no_crowd_of_unused_slots() -> None:
    pool = SlotPool(max_unused=3)
    made: list[Slot] = []

    def start() -> Slot:
        made.append(one_slot())
        return made[-1]

    for sort in range(8):
        pool.lease(sort, start).close()
    deadline = time.monotonic() + 60
    while len(made) < 16 or sum(slot.alive for slot in made) > 3:
        assert time.monotonic() < deadline, (len(made), sum(slot.alive for slot in made))
        time.sleep(0.01)
    pool.close()
    assert not any(slot.alive for slot in made)
