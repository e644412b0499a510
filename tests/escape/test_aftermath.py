"""What is left when it is over: after the host's end, after a picture is put back, after a tier is missing."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from escape.drive import python
from escape.test_escape import ROOT, backends
from escape.watch import Watch
from tir_gym.sandboxes.jail.tiers import fault

TESTS = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(
    bool(os.environ.get("TIR_GYM_ENGINE_URL")), reason="of the jail; containers have tests of their own"
)

USER_NAMES = ["root", "user"] if ROOT else ["user"]
DAEMON = """
import ctypes, os, signal, time
ctypes.CDLL(None).prctl(15, {token!r}.encode(), 0, 0, 0)
for number in range(3):
    if os.fork() == 0:
        os.setsid()
        for name in signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP}}:
            signal.signal(name, signal.SIG_IGN)
        while True:
            time.sleep(0.01)
"""
USES_SANDBOXES = """
import sys, time
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
code, end = sys.argv[1:]
sandboxes = [make_sandbox("jail", mode="session") for _ in range(3)]
for sandbox in sandboxes:
    sandbox.start()
    result = sandbox.call(ToolCall("python", {"code": code}))
    assert result.error is None, result
    sandbox.snapshot()
print("ready", flush=True)
if end == "error":
    raise RuntimeError("on purpose")
if end == "exit":
    sys.exit()
if end == "call":
    sandboxes[0].call(ToolCall("python", {"code": "import time; time.sleep(60)"}))
time.sleep(60)
"""


@pytest.fixture
def watch() -> Iterator[Watch]:
    looking = Watch(f"aft{secrets.token_hex(5)}")
    yield looking
    looking.kill()


@pytest.mark.parametrize("user", USER_NAMES)
@pytest.mark.parametrize(
    ("end", "number"),
    [
        ("exit", None),
        ("error", None),
        ("wait", signal.SIGINT),
        ("call", signal.SIGINT),
        ("wait", signal.SIGTERM),
        ("wait", signal.SIGKILL),
        ("call", signal.SIGKILL),
    ],
)
def test_nothing_outlives_the_host(end: str, number: signal.Signals | None, user: str, watch: Watch) -> None:
    command = [*python(user), USES_SANDBOXES, DAEMON.format(token=watch.token), end]
    host = subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert host.stdout is not None
    assert host.stdout.readline() == "ready\n", host.communicate()[1]
    if number is not None:
        time.sleep(0.3)  # into the call, where there is one
        assert len(watch.left(0)) >= 12, "the sandboxes' processes are not to be found, so their end proves nothing"
        host.send_signal(number)
    host.communicate(timeout=30)
    assert watch.left(10) == []


LOOK = """
import ctypes, fcntl, json, os, resource, signal, sys, tempfile, threading
def works(call, *arguments):
    try:
        return call(*arguments)
    except OSError:
        return None
name = ctypes.create_string_buffer(16)
ctypes.CDLL(None).prctl(16, name, 0, 0, 0)
print(json.dumps({
    "folder": os.getcwd(), "umask": os.umask(0o22), "environment": dict(sorted(os.environ.items())),
    "limits": [resource.getrlimit(n) for n in range(16)], "name": name.value.decode(),
    "handlers": [str(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "threads": threading.active_count(),
    "files": sorted((t, sorted(f)) for t, _, f in os.walk(".")), "temporary": sorted(os.listdir(tempfile.gettempdir())),
    "shared memory": works(os.listdir, "/dev/shm"), "child": works(os.waitpid, -1, os.WNOHANG),
    "modules": sorted(sys.modules), "paths": sys.path, "print": repr(print), "variables": sorted(globals()),
    "recursion": sys.getrecursionlimit(),
    "descriptors": [n for n in range(3, 256) if works(fcntl.fcntl, n, fcntl.F_GETFD) is not None],
}))
"""
SPOIL = """
import builtins, json, os, resource, signal, sys, tempfile, threading, time
json.dumps = print = builtins.print = lambda *arguments, **names: "spoiled"
os.makedirs("deep/er"); open("deep/er/file", "w").write("x")
open("kept.txt", "a").write("changed"); os.chdir(tempfile.gettempdir())
for name in ("left", "/dev/shm/left"):
    try:
        open(name, "w").close()
    except OSError:
        pass
os.umask(0); os.environ["LEFT"] = "1"; sys.path.insert(0, "/tmp")
resource.setrlimit(resource.RLIMIT_CPU, (3, 3)); resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
signal.signal(signal.SIGTERM, lambda *_: None); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(); sys.setrecursionlimit(500)
for _ in range(3):
    if os.fork() == 0:
        time.sleep(1000)
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(9)]; variable = 5
"""


@pytest.mark.parametrize("user", USER_NAMES)
@pytest.mark.parametrize("backend", sorted({kind for kind, _ in backends()}))
def test_a_picture_put_back_is_the_state_that_was(backend: str, user: str) -> None:
    program = f"""
import json, sys
from escape.backends import BACKENDS
backend = BACKENDS[{backend!r}]()
if backend.fault():
    print(json.dumps({{"fault": backend.fault()}}))
    sys.exit()
with backend.open({{"wall_seconds": 10.0}}, "session", None) as box:
    box.run("import random, json, resource, tempfile, threading, signal, ctypes, fcntl\\nx = 1\\nrandom.seed(5)")
    box.write("kept.txt", b"kept")
    box.run({LOOK!r})
    picture = box.snapshot()
    looks = []
    for _ in range(2):
        first = box.run({LOOK!r} + "\\nprint(random.random(), x, open('kept.txt').read())")
        spoiled = box.run({SPOIL!r})
        box.restore(picture)
        looks.append([first.content, first.error, spoiled.error])
    print(json.dumps({{"looks": looks}}))
"""
    command = [*python(user), program]
    done = subprocess.run(
        command, cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    if "fault" in told:
        pytest.skip(told["fault"])
    for looked, error, error_of_spoiling in told["looks"]:
        assert (error, error_of_spoiling) == (None, None), looked
    first, second = (
        [json.loads(line) if "{" in line else line for line in look[0].splitlines()] for look in told["looks"]
    )
    assert {key: second[0][key] for key in first[0] if second[0][key] != first[0][key]} == {}
    assert first[0] == second[0]


NO_NAMESPACES = """
import sys
from tir_gym.errors import SandboxUnavailable
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
try:
    with make_sandbox("jail", require="A") as sandbox:
        print("ran", sandbox.call(ToolCall("python", {"code": "print(1)"})))
except SandboxUnavailable as error:
    print("refused", error.kind)
try:
    with make_sandbox("jail") as sandbox:
        # PR_GET_NO_NEW_PRIVS and PR_GET_SECCOMP: 1, and 2 behind a filter
        code = "import ctypes; ask = ctypes.CDLL(None).prctl; print(ask(39, 0, 0, 0, 0), ask(21, 0, 0, 0, 0))"
        print("weaker", str(sandbox.call(ToolCall("python", {"code": code})).content).strip())
except SandboxUnavailable as error:
    print("none", error.kind)
"""


@pytest.mark.skipif(not ROOT, reason="only root can forbid namespaces")
def test_a_missing_tier_is_said_and_never_made_up_for_in_silence() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    if fault("A") is not None:
        limited = []  # there are none here to forbid
    done = subprocess.run([*limited, sys.executable, "-c", NO_NAMESPACES], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "refused tier_missing"
    # Another tier, and said so; or none at all.
    assert second == "none tier_missing" or (second == "weaker 1 2" and "tier B" in done.stderr), done
