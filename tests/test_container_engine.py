"""The sandbox `container` on a real engine, Docker or Podman: code in, what was printed or a typed error out; what is
left when somebody dies.

`$TIR_GYM_ENGINE_URL` names an engine with the default image in it; these tests are skipped without it.
`tests/container_engine.sh` starts one for one run, `make test-container` does so for all of them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tir_gym.errors import SandboxDied, SandboxUnavailable, UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.container import ContainerSandbox, build_image, connect, reap
from tir_gym.sandboxes.container.reaping import OWNER
from tir_gym.sandboxes.container.sandbox import containers as pool

URL = os.environ.get("TIR_GYM_ENGINE_URL")
KIND = os.environ.get("TIR_GYM_ENGINE_KIND")

pytestmark = pytest.mark.skipif(not URL, reason="TIR_GYM_ENGINE_URL is not set; see tests/container_engine.sh")

QUICK = Limits(wall_seconds=4, cpu_seconds=2, memory=128 * MIB, processes=16, files=64, disk=4 * MIB, output=4096)


THREADS = """
import threading, time
for _ in range(64):
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
"""


def code(text: str) -> ToolCall:
    return ToolCall("python", {"code": text})


@pytest.fixture
def box() -> Iterator[ContainerSandbox]:
    with ContainerSandbox(limits=QUICK, engine=URL) as sandbox:
        yield sandbox


def printed(sandbox: ContainerSandbox, text: str) -> str:
    result = sandbox.call(code(text))
    assert result.error is None, result
    assert isinstance(result.content, str)
    return result.content


def containers() -> set[str]:
    """Ids of all containers of this engine that are ours, running or not."""
    return {found["Id"] for found in connect(URL).client.api.containers(all=True, filters={"label": OWNER})}


def within(seconds: float, what: str) -> Iterator[None]:
    """Goes round until the caller has seen it happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def test_what_is_printed_comes_back() -> None:
    with make_sandbox("container", limits=QUICK, engine=URL) as sandbox:
        assert sandbox.call(code("print(1 + 1)")) == ToolResult("2\n")
    assert containers() == set()


def test_variables_stay_in_a_session(box: ContainerSandbox) -> None:
    assert printed(box, "x = 20") == ""
    assert printed(box, "x += 1; print(x)") == "21\n"


def test_only_files_stay_between_fresh_calls() -> None:
    with ContainerSandbox(limits=QUICK, engine=URL, mode="fresh", files={"data/a.txt": "one"}) as sandbox:
        assert printed(sandbox, "x = open('data/a.txt').read(); open('b.txt', 'w').write(x * 2); print(x)") == "one\n"
        assert printed(sandbox, "print(open('b.txt').read(), 'x' in globals())") == "oneone False\n"


def test_the_agent_s_mistakes_are_data(box: ContainerSandbox) -> None:
    raised = box.call(code("print('before')\n1 / 0"))
    assert (raised.content, raised.error_kind) == ("before\n", "raised")
    assert "ZeroDivisionError" in str(raised.error)
    assert box.call(ToolCall("python", {"code": 3})).error_kind == "invalid_arguments"
    assert box.call(ToolCall("perl", {"code": "1"})).error_kind == "unknown_tool"
    assert printed(box, "print('still')") == "still\n"


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
)
@pytest.mark.parametrize("mode", ["session", "fresh"])
def test_each_limit_is_an_error_of_its_own_and_the_next_call_works(mode: str, kind: str, text: str) -> None:
    patient = 4 if kind == "time_limit" else 30  # on a busy machine a second of work takes many on the clock
    limits = QUICK.model_copy(update={"wall_seconds": patient})
    with make_sandbox("container", limits=limits, engine=URL, mode=mode) as sandbox:
        result = sandbox.call(code(text))
        assert result.error_kind == kind, result
        if kind == "time_limit":
            assert result.content == "waits\n"
        assert sandbox.call(code("print('well')")) == ToolResult("well\n")


def test_pictures_forks_and_the_tree(box: ContainerSandbox) -> None:
    printed(box, "x = [1]; open('a', 'w').write('first')")
    picture = box.snapshot()
    printed(box, "x.append(2); open('a', 'w').write('second'); open('b', 'w').close()")
    for _ in range(2):
        box.restore(picture)
        assert printed(box, "print(x, open('a').read())") == "[1] first\n"
        assert list(box.diff()["files"]) == ["a"]
    with box.fork() as twin:
        assert twin.digest() == box.digest()
        printed(twin, "x = 'twin'; open('a', 'w').write('twin')")
        assert printed(twin, "print(x, open('a').read())") == "twin twin\n"
        assert printed(box, "print(x, open('a').read())") == "[1] first\n"
        twin.restore(box.snapshot())
        assert printed(twin, "print(x, open('a').read())") == "[1] first\n"


def test_there_is_room_for_many_pictures(box: ContainerSandbox) -> None:
    pictures = []
    for number in range(40):  # more than a container may have processes at first
        printed(box, f"x = {number}")
        pictures.append(box.snapshot())
    for number in (39, 0, 17):
        box.restore(pictures[number])
        assert printed(box, "print(x)") == f"{number}\n"


def test_files_are_kept_in_an_image_and_begun_from() -> None:
    tag = "tir-gym/test-kept:1"
    made = (
        "import os; os.makedirs('a/b'); open('a/f', 'w').write('kept'); os.chmod('a/f', 0o700); os.symlink('f', 'a/l')"
    )
    try:
        with ContainerSandbox(limits=QUICK, engine=URL, files={"g": "given"}) as first:
            printed(first, made)
            id = first.commit(tag)
            assert connect(URL).client.api.inspect_image(tag)["Id"] == id
        with ContainerSandbox(limits=QUICK, engine=URL, image=tag) as second:
            untouched = second.digest()
            assert second.diff() == {}
            assert (
                printed(second, "import os; print(open('a/l').read(), open('g').read(), os.listdir('a/b'))")
                == "kept given []\n"
            )
            assert second.diff() == {}
            printed(second, "open('a/f', 'w').write('changed')")
            (row,) = second.diff()["files"].values()
            assert (row["before"]["text"], row["after"]["text"]) == ("kept", "changed")
            with second.fork() as third:
                assert printed(third, "print(open('a/f').read())") == "changed\n"
            assert untouched != second.digest()
    finally:
        connect(URL).client.api.remove_image(tag, force=True)


def test_what_the_page_shows_works(checkout: Path) -> None:
    page = (checkout / "docs/sandboxes.md").read_text()
    blocks = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (shown,) = (block for block in blocks if 'make_sandbox("container"' in block)
    try:
        subprocess.run([sys.executable, "-c", shown], env={**os.environ, "DOCKER_HOST": str(URL)}, check=True)
    finally:
        connect(URL).client.api.remove_image("my/start:1", force=True)


def test_what_is_only_made_or_forked_holds_no_container(box: ContainerSandbox) -> None:
    twin = box.fork()
    start = twin.snapshot()
    assert containers() == set()
    printed(twin, "x = 1")
    assert len(containers()) == 1
    twin.restore(start)
    assert containers() == set()
    printed(twin, "x = 1")
    del twin, start
    gc.collect()
    assert containers() == set()


def test_the_walls_are_those_that_were_asked_for(box: ContainerSandbox) -> None:
    probe = """
import ctypes, json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
found = {name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
found["user"] = os.getuid() == os.getgid() != 0
found["interfaces"] = sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else ["lo"]
writable = []
for folder, _, _ in os.walk("/"):
    if not folder.startswith(("/proc", "/sys")) and os.access(folder, os.W_OK):
        writable.append(folder)
found["writable"] = [folder for folder in writable if folder not in ("/dev/mqueue",)]
syscall = ctypes.CDLL(None, use_errno=True).syscall
found["namespace"] = syscall(272, 0x10000000)
found["files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 1024
print(json.dumps(found))
"""
    found = json.loads(printed(box, probe))
    assert int(found.pop("CapEff"), 16) == int(found.pop("CapBnd"), 16) == 0
    assert found == {
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "user": True,
        "interfaces": ["lo"],
        "writable": ["/tmp", "/work"],
        "namespace": -1,
        "files": True,
    }
    terms = connect(URL).client.api.inspect_container(next(iter(containers())))["HostConfig"]
    assert terms["NetworkMode"] == "none"
    assert terms["ReadonlyRootfs"] is True
    assert terms["Memory"] == terms["MemorySwap"] > 0
    assert terms["PidsLimit"] > 0


def test_containers_can_be_started_ahead() -> None:
    pool.ready = 1
    try:
        with ContainerSandbox(limits=QUICK, engine=URL) as sandbox:
            printed(sandbox, "x = 1")
            for _ in within(30, "another one is started"):
                if len(containers()) == 2:
                    break
            with sandbox.fork() as twin, ContainerSandbox(limits=QUICK, engine=URL) as other:
                assert printed(twin, "print(x)") == "1\n"
                assert "NameError" in str(other.call(code("print(x)")).error)
    finally:
        pool.ready = 0
        for _ in within(30, "those that nobody has used are closed"):
            pool.close()
            if containers() == set():
                break


def test_doctor_says_that_containers_work() -> None:
    command = [sys.executable, "-c", "from tir_gym.cli import main; main()", "doctor", "--json"]
    said = subprocess.run(command, env={**os.environ, "DOCKER_HOST": str(URL)}, capture_output=True, check=True).stdout
    tiers = {tier["letter"]: tier["fault"] for tier in json.loads(said)["tiers"]}
    assert tiers["D"] is None
    if tiers["E"] is None:
        with ContainerSandbox(limits=QUICK, engine=URL, runtime="runsc") as sandbox:
            assert "gVisor" in printed(
                sandbox, "import subprocess; print(subprocess.run('dmesg', capture_output=1).stdout)"
            )
    assert containers() == set()


def test_a_network_is_there_only_where_it_is_named(box: ContainerSandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        dial = f"import socket; print(socket.create_connection(('127.0.0.1', {port}), timeout=5).getpeername()[1])"
        assert "PermissionError" in str(box.call(code(dial)).error)
        with ContainerSandbox(limits=QUICK, engine=URL, network="host") as open_box:
            assert printed(open_box, dial) == f"{port}\n"


def test_a_killed_owner_leaves_no_container() -> None:
    before = containers()
    program = f"""
import os, sys, time
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
boxes = [make_sandbox("container", engine={URL!r}) for _ in range(2)]
for box in boxes:
    box.call(ToolCall("python", {{"code": "x = 1"}}))
child = os.fork()  # a forked process, which lives on, must not keep them open
if child == 0:
    print("ready", os.getpid(), flush=True)
    time.sleep(600)
boxes[1].call(ToolCall("python", {{"code": "import time; time.sleep(600)"}}))
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline().split()[1])
    try:
        assert len(containers() - before) == 2
        owner.kill()
        owner.wait()
        for _ in within(30, "the containers end"):
            if containers() <= before:
                break
    finally:
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()


@pytest.mark.parametrize("end", ["normal", "exception", "ctrl-c"])
def test_nothing_is_left_however_a_program_ends(end: str) -> None:
    before = containers()
    program = f"""
import time
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
box = make_sandbox("container", engine={URL!r})  # never closed
box.call(ToolCall("python", {{"code": "x = 1"}}))
print("ready", flush=True)
if {end!r} == "exception":
    raise ValueError
if {end!r} == "ctrl-c":
    box.call(ToolCall("python", {{"code": "import time; time.sleep(600)"}}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        assert done.stdout.readline() == "ready\n"
        if end == "ctrl-c":
            time.sleep(0.5)
            done.send_signal(signal.SIGINT)
        done.communicate(timeout=60)
    assert containers() == before


def left_behind() -> str:
    """The id of a container whose owner was killed before it could start it."""
    program = f"""
import os
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.container import connect
from tir_gym.sandboxes.container.slot import Terms, create
create(connect({URL!r}), Terms("tir-gym/sandbox:latest", Limits()))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (left,) = containers()
    return left


def test_what_an_owner_left_before_it_could_start_it_is_reaped() -> None:
    assert reap(connect(URL)) == []
    left = left_behind()
    assert reap(connect(URL)) == [left]
    assert containers() == set()
    left_behind()
    program = f"""
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
with make_sandbox("container", engine={URL!r}) as box:
    print(box.call(ToolCall("python", {{"code": "print(7)"}})).content)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, containers()) == ("7\n\n", set()), "whoever comes next clears up"


def test_a_container_that_is_removed_from_outside_is_an_infrastructure_failure(box: ContainerSandbox) -> None:
    printed(box, "x = 1")
    (id,) = containers()
    caught: list[BaseException] = []

    def call() -> None:
        try:
            box.call(code("import time; time.sleep(60)"))
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.5)
    assert box._slot is not None
    assert box._slot.alive
    connect(URL).client.api.remove_container(id, force=True)
    thread.join(10)
    assert not box._slot.alive
    assert isinstance(caught[0], SandboxDied)
    assert caught[0].tool == "python"
    with pytest.raises(SandboxDied):  # it had a state, which is gone; it does not start over in silence
        box.call(code("print(1)"))


def test_a_missing_image_is_said_with_how_to_make_it() -> None:
    for make in (
        lambda: make_sandbox("container", engine=URL, image="tir-gym/nowhere:1").start(),
        lambda: make_sandbox("container", engine=URL, image="tir-gym/nowhere:1").call(code("1")),
    ):
        with pytest.raises(SandboxUnavailable, match=r"tir-gym/nowhere:1.*build_image") as caught:
            make()
        assert caught.value.kind == "image_missing"
    assert containers() == set()


def test_an_image_without_python_and_terms_that_cannot_be_are_refused() -> None:
    engine = connect(URL)
    build_image("tir-gym/test-broken:1", base="tir-gym/sandbox:latest", packages=(), engine=URL, network="none")
    with pytest.raises(SandboxUnavailable, match="could not build") as caught:
        build_image("tir-gym/test-broken:2", base="tir-gym/sandbox:latest", packages=("x",), engine=URL, network="none")
    assert caught.value.kind == "image_unbuildable"
    engine.client.api.remove_image("tir-gym/test-broken:1")
    with pytest.raises(SandboxUnavailable, match="runtime"):
        make_sandbox("container", engine=URL, runtime="nonesuch").call(code("1"))
    with pytest.raises(SandboxUnavailable, match="nonesuch"):
        make_sandbox("container", engine=URL, network="nonesuch").call(code("1"))
    with pytest.raises(UsageError, match="no_such_module"):
        make_sandbox("container", engine=URL, modules=("no_such_module",)).call(code("1"))
    assert containers() == set()


def test_modules_are_there_beforehand() -> None:
    with make_sandbox("container", engine=URL, limits=QUICK, modules=("decimal",), mode="fresh") as sandbox:
        assert sandbox.call(code("import sys; print('decimal' in sys.modules)")) == ToolResult("True\n")


@contextlib.contextmanager
def engine_of_our_own() -> Iterator[tuple[str, int, Path]]:
    """A second engine of the same kind, to be killed: its URL, its daemon, its folder."""
    script = Path(__file__).with_name("container_engine.sh")
    tell = 'echo "$DOCKER_HOST $TIR_GYM_ENGINE_PID"; read -r _'
    engine = subprocess.Popen(
        ["bash", str(script), str(KIND), "bash", "-c", tell],
        env={**os.environ, "PYTHON": sys.executable},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    try:
        url, daemon = engine.stdout.readline().split()
        yield url, int(daemon), Path(url.removeprefix("unix://")).parent
    finally:
        engine.communicate("\n", timeout=60)
    assert engine.returncode == 0


@pytest.mark.skipif(KIND is None, reason="the engine is not ours to kill")
def test_a_daemon_that_dies_in_the_middle_of_a_call() -> None:
    with engine_of_our_own() as (url, daemon, folder):
        box = ContainerSandbox(limits=QUICK, engine=url)
        idle = ContainerSandbox(limits=QUICK, engine=url)
        for sandbox in (box, idle):
            printed(sandbox, "x = 1")
        inside = [process for slot in (box._slot, idle._slot) for process, _ in slot._host_process]  # type: ignore[union-attr]
        assert len(inside) == 2
        threading.Timer(0.5, os.kill, (daemon, signal.SIGKILL)).start()
        with pytest.raises(SandboxDied, match="is gone") as caught:
            box.call(code("import time; time.sleep(60)"))
        assert caught.value.kind == "sandbox_died"
        assert idle._slot is not None
        assert not idle._slot.alive, "nobody has asked it anything"
        with pytest.raises(SandboxDied):
            idle.call(code("print(x)"))
        for _ in within(10, "what ran in the containers ends"):
            if not any(Path(f"/proc/{process}").exists() for process in inside):
                break
        with pytest.raises(SandboxUnavailable) as refused:
            ContainerSandbox(limits=QUICK, engine=url).call(code("print(1)"))
        assert refused.value.kind == "engine_missing"
        box.close()
        idle.close()
    assert not folder.exists()
    mounts = Path("/proc/self/mounts").read_text()
    assert str(folder) not in mounts
    cgroups = list(Path("/sys/fs/cgroup").rglob(folder.name))
    assert cgroups == []
