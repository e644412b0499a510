"""The walls of a slot, and every trap that was fallen into while they were built (each test says which)."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ordinary_user import python_as_ordinary_user

import tir_gym
from tir_gym.errors import SandboxDied, SandboxUnavailable
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.jail.inside import seccomp
from tir_gym.sandboxes.jail.inside.syscalls import numbers
from tir_gym.sandboxes.jail.slot import Slot, probe_tier, start_slot
from tir_gym.sandboxes.jail.zygote import zygote

X86_64 = os.uname().machine == "x86_64"


@pytest.fixture(params=["A", "B"])
def tier(request: pytest.FixtureRequest) -> str:
    if reason := probe_tier(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def start(tier: str) -> Iterator[Callable[..., Slot]]:
    with ExitStack() as stack:

        def start(modules: tuple[str, ...] = (), **options: Any) -> Slot:
            slot = start_slot(Limits(), modules=modules, tier=tier, **options)
            stack.callback(slot.close)
            return slot

        yield start


@pytest.fixture
def slot(start: Callable[..., Slot]) -> Slot:
    return start()


def out(slot: Slot, code: str, mode: str = "fresh") -> str:
    reply = slot.request("call", code=code, mode=mode)
    assert reply["status"] == "ok", reply
    return str(reply["out"])


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def gone(pid: int, seconds: float = 2.0) -> bool:
    """Whether a process ends within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


# What can be seen.


def test_the_environment_is_not_the_hosts(start: Callable[..., Slot], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not by way of /proc/*/environ, where a cleared environment still stands (trap 2)."""
    monkeypatch.setenv("TIR_GYM_SECRET", "sesame")
    slot = start(modules=("bisect",), env={"GIVEN": "yes"})  # modules of its own, so a zygote started just now
    code = (
        "import glob, os\n"
        "seen = [repr(dict(os.environ)).encode()]\n"
        "for path in glob.glob('/proc/*/environ') + ['/proc/1/environ', f'/proc/{os.getppid()}/environ']:\n"
        "    try: seen.append(open(path, 'rb').read())\n"
        "    except OSError: pass\n"
        "print(any(b'sesame' in one or b'SECRET' in one for one in seen), os.environ['GIVEN'])"
    )
    assert out(slot, code) == "False yes\n"


def test_the_hosts_files_cannot_be_read(slot: Slot, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    tmp_path.chmod(0o755)
    secret.chmod(0o644)
    package = Path(tir_gym.__file__).resolve().parent
    paths = [str(secret), "/etc/shadow", "/etc/hostname", str(package / "errors.py"), str(package.parent / "README.md")]
    code = (
        "import os\n"
        f"for path in {paths!r}:\n"
        "    for way in (path, '/proc/self/root' + path, '/work/../' + path):\n"
        "        try: print(path, open(way).read()[:40])\n"
        "        except OSError: pass"
    )
    printed = out(slot, code)
    assert printed == "" or (slot.tier == "A" and printed == "/etc/hostname sandbox\n\n" * 3)


def test_users_are_made_up(slot: Slot) -> None:
    code = "import os, pwd\ntry: print(pwd.getpwuid(os.getuid()).pw_name)\nexcept (KeyError, OSError): print('none')"
    assert out(slot, code) in ("sandbox\n", "none\n")


def test_only_what_is_the_slots_own_can_be_written(slot: Slot) -> None:
    code = (
        "import os\n"
        "for path in ('/', '/usr', '/etc', '/dev', os.path.dirname(os.__file__), '/proc', '/opt', '/sys'):\n"
        "    try: open(path + '/x', 'w'); print('wrote', path)\n"
        "    except OSError: pass\n"
        "for path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger'):\n"
        "    try: open(path, 'r+').write('x'); print('wrote', path)\n"
        "    except (OSError, ValueError): pass"
    )
    assert out(slot, code) == ""


def test_no_privileges_are_left(slot: Slot) -> None:
    if slot.tier == "B":
        lines = Path(f"/proc/{slot.pid}/status").read_text()
    else:
        lines = out(slot, "print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in lines.splitlines() if ":\t" in line)
    assert {status[name].strip().strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    if slot.tier == "A" or os.getuid() == 0:
        assert int(status["CapBnd"], 16) == 0 or slot.tier == "B"
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_only_standard_descriptors_are_inherited(slot: Slot) -> None:
    """A fresh call has one more, where it reports; a session its own socket and copies of its output."""
    code = (
        "import os\n"
        "found = []\n"
        "for fd in range(4, 4096):\n"
        "    try: os.fstat(fd); found.append(fd)\n"
        "    except OSError: pass\n"
        "print(found)"
    )
    assert out(slot, code) == "[]\n"
    assert out(slot, code, "session") == "[4, 5, 6]\n"
    inherited = (
        "import subprocess, sys; print(subprocess.run(['ls', '/dev/fd/'], capture_output=True, text=True).stdout)"
    )
    if slot.tier == "A":
        assert out(slot, inherited, "session").split() == ["0", "1", "2", "3"]  # 3 is the listing itself


@pytest.mark.skipif(not X86_64, reason="numbers of x86_64")
def test_what_the_kernel_refuses(slot: Slot) -> None:
    """Among them what is not held by a network namespace (trap 5: vsock) and memory that belongs to nobody."""
    calls = {
        "ptrace": "101, 16, 1, 0, 0", "mount": "165, b'none', b'/work', b'tmpfs', 0, 0", "unshare": "272, 0x10000000",
        "setns": "308, 0, 0", "clone": "56, 0x10000011, 0, 0, 0, 0", "chroot": "161, b'/'", "bpf": "321, 0, 0, 0",
        "perf_event_open": "298, 0, 0, -1, -1, 0", "userfaultfd": "323, 0", "io_uring_setup": "425, 1, 0",
        "keyctl": "250, 0, 0", "add_key": "248, 0, 0, 0, 0, 0", "process_vm_readv": "310, 1, 0, 0, 0, 0, 0",
        "memfd_create": "319, b'x', 0", "memfd_secret": "447, 0", "shmget": "29, 0, 4096, 0o1600",
        "open_by_handle_at": "304, 0, 0, 0", "personality": "135, 0x40000", "kexec_load": "246, 0, 0, 0, 0",
        "init_module": "175, 0, 0, 0", "pidfd_getfd": "438, 0, 0, 0", "move_mount": "429, 0, 0, 0, 0, 0",
        "fsopen": "430, b'tmpfs', 0", "socket inet": "41, 2, 1, 0", "socket unix": "41, 1, 1, 0",
        "socket netlink": "41, 16, 3, 0", "socket vsock": "41, 40, 1, 0", "socket packet": "41, 17, 3, 0",
        "socketpair dgram": "53, 1, 2, 0, 0", "mknod device": "133, b'/work/d', 0o20666, 0x103", "syslog": "103, 3, 0",
        "msgget": "68, 0, 0o1600", "mq_open": "240, b'x', 0o102, 0o600, 0", "quotactl": "179, 0, 0, 0, 0",
        "clone3": "435, 0, 0", "seccomp": "317, 0, 0, 0", "acct": "163, 0", "swapon": "167, b'/work', 0",
        "unknown": "1999, 0", "tiocsti": "16, 0, 0x5412, b'x'", "setxattr": "188, b'/work', b'user.x', b'x', 1, 0",
    }  # fmt: skip
    code = (
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, arguments in {calls!r}.items():\n"
        "    ctypes.set_errno(0)\n"
        "    result = libc.syscall(*eval(f'({arguments},)'))\n"
        "    print(name, result, errno.errorcode.get(ctypes.get_errno()), sep='|')"
    )
    answers = dict(line.split("|", 1) for line in out(slot, code).splitlines())
    absent = {"clone3", "seccomp", "unknown"}
    expected = {name: "-1|ENOSYS" if name in absent else "-1|EPERM" for name in calls} | {"tiocsti": "-1|ENOTTY"}
    assert answers == expected


@pytest.mark.skipif(not X86_64, reason="machine code of x86_64")
@pytest.mark.parametrize("code", [b"\xb8\x14\x00\x00\x00\xcd\x80\xc3", b"\xb8\x27\x00\x00\x40\x0f\x05\xc3"])
def test_other_instruction_sets_are_killed(slot: Slot, code: bytes) -> None:
    """`int 0x80` (32 bits) and x32 calls would have other numbers."""
    program = (
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)\n"
        f"m.write({code!r})\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_long)(address)(), flush=True)"
    )
    reply = slot.request("call", code=program, mode="fresh")
    assert (reply["status"], reply["code"], reply["out"]) == ("died", -signal.SIGSYS, "")


def test_the_supervisor_cannot_be_reached(slot: Slot) -> None:
    code = (
        "import os\n"
        "parent = os.getppid()\n"
        "for number in (9, 19, 15, 2, 11, 6):\n"
        "    try: os.kill(parent, number)\n"
        "    except OSError: pass\n"
        "for name in ('mem', 'environ', 'maps', 'fd/3', 'root/etc/shadow', 'cwd/x'):\n"
        "    try: print('open', open(f'/proc/{parent}/{name}', 'rb').read(10))\n"
        "    except OSError: pass\n"
        "try: os.kill(-1, 19)\n"
        "except OSError: pass"
    )
    reply = slot.request("call", code=code, mode="fresh", limits={"wall_seconds": 2.0})
    assert reply["out"] == ""
    assert out(slot, "print('well')") == "well\n"


def test_processes_of_the_host_cannot_be_signalled(slot: Slot) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        tries = f"try: os.kill({victim.pid}, number); print('sent')"
        code = f"import os\nfor number in (0, 9):\n    {tries}\n    except OSError: pass"
        assert out(slot, code) == ""
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_slots_cannot_see_each_other(start: Callable[..., Slot]) -> None:
    one, other = start(), start()
    one.request("write", files={"mine": {"text": "secret"}})
    here = out(one, "import os; print(os.path.abspath('mine'))").strip()
    pid = out(one, "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)", "session").strip()
    code = (
        "import os, signal\n"
        f"try: print(open({here!r}).read())\nexcept OSError: pass\n"
        "try: print(os.listdir(os.path.dirname(os.path.dirname(os.getcwd()))) if os.getcwd() != '/work' else [])\n"
        "except OSError: print([])\n"
        f"try: os.kill({pid}, 9)\nexcept OSError: pass"
    )
    assert out(other, code) == "[]\n"
    assert out(one, "import os; os.waitpid(-1, os.WNOHANG)", "session") == ""


# Users.


@pytest.mark.skipif(os.getuid() != 0, reason="only root has users to give")
def test_each_slot_of_root_is_a_user_of_its_own(start: Callable[..., Slot]) -> None:
    users = {os.stat(f"/proc/{start().pid}/task").st_uid or _user(start().pid) for _ in range(3)}
    assert len(users) == 3
    assert 0 not in users


def _user(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[1])


def test_eight_slots_have_their_own_count_of_processes(start: Callable[..., Slot]) -> None:
    """Trap 3: a limit on processes set outside the user namespace counts those of all slots together."""
    slots = [start_slot(Limits(processes=12), modules=(), tier=start().tier) for _ in range(8)]
    try:
        code = "import subprocess\nkept = [subprocess.Popen(['sleep', '1000']) for _ in range(9)]\nprint(len(kept))"
        assert [out(slot, code, "session") for slot in slots] == ["9\n"] * 8
    finally:
        for slot in slots:
            slot.close()


def test_an_ordinary_user_has_the_same(tier: str) -> None:
    tests = Path(__file__).parent / "test_jail_slot.py"
    wanted = "notebook or grandchild or snapshot_is_gone or commands or planted or eight or chance"
    program = (
        "import sys, pytest\n"
        f"sys.exit(pytest.main([{str(tests)!r}, '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '-rs',"
        f" '-k', '({wanted}) and {tier}']))"
    )
    done = python_as_ordinary_user(program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout


# Life and death.

HOST = """
import sys, time
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.jail.slot import start_slot
from tir_gym.sandboxes.jail.zygote import zygote
slots = [start_slot(Limits(), modules=(), tier=sys.argv[1]) for _ in range(2)]
for slot in slots:
    slot.request("call", code="import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
place = slots[0].request("call", code="import os; print(os.getcwd())")["out"].strip()
print(zygote((), sys.argv[1]).pid, *(slot.pid for slot in slots), place, flush=True)
if sys.argv[2] == "busy":
    slots[0].request("call", code="import time; time.sleep(1000)")
time.sleep(1000)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_nothing_outlives_a_host_that_is_killed(tier: str, state: str) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, tier, state], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    *pids, place = host.stdout.readline().split()
    if state == "busy":
        time.sleep(0.3)
    inside = [int(name) for pid in pids[1:] for name in _below(int(pid))]
    assert len(inside) >= 4
    host.kill()
    host.wait()
    host.stdout.close()
    assert [pid for pid in (*map(int, pids), *inside) if not gone(pid)] == []
    if tier == "B":
        deadline = time.monotonic() + 5
        while os.path.exists(place) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not os.path.exists(place)


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


def test_a_closed_slot_leaves_nothing(start: Callable[..., Slot]) -> None:
    slot = start()
    place = out(slot, "import os; print(os.getcwd())").strip()
    out(slot, "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)", "session")
    pids = [slot.pid, *_below(slot.pid)]
    slot.close()
    assert [pid for pid in pids if not gone(pid)] == []
    assert place == "/work" or not os.path.exists(place)


def test_a_slot_that_is_collected_is_closed(start: Callable[..., Slot], tier: str) -> None:
    slot = start_slot(Limits(), modules=(), tier=tier)
    pid = slot.pid
    del slot
    assert gone(pid)


def test_a_supervisor_killed_from_outside_is_noticed(slot: Slot) -> None:
    out(slot, "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)", "session")
    below = _below(slot.pid)
    os.kill(slot.pid, signal.SIGKILL)
    with pytest.raises(SandboxDied):
        slot.request("ping")
    assert [pid for pid in below if not gone(pid)] == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("time.sleep(1000)", "did not answer 'ping' within"),
        ("socket.sendall(b'\\xff\\xff\\xff\\x7f')", "an answer of 2147483647 bytes"),
        ("socket.sendall(b'\\x03\\0\\0\\0{x}')", "not JSON"),
        ("socket.sendall(b'\\x07\\0\\0\\0{\"n\":9}')", "was not asked"),
        ("socket.sendall(b'\\x08\\0\\0\\0{}')", "gone"),
    ],
)
def test_the_host_believes_no_slot(
    start: Callable[..., Slot], monkeypatch: pytest.MonkeyPatch, answer: str, message: str
) -> None:
    """What answers too late, too much, or nonsense is ended."""
    monkeypatch.setattr("tir_gym.sandboxes.jail.slot.GRACE", 0.3)
    program = f"import time\ndef main(socket, config):\n    socket.recv(1000)\n    {answer}"
    limits = Limits(wall_seconds=0.3)
    slot = start_slot(limits, modules=(), tier=start().tier, program=program)
    with pytest.raises(SandboxDied, match=message):
        slot.request("ping")
    assert gone(slot.pid)
    assert not slot.alive


def test_a_zygote_that_was_killed_is_replaced(start: Callable[..., Slot], tier: str) -> None:
    slot = start(modules=("heapq",))
    pid = zygote(("heapq",), tier).pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert out(start(modules=("heapq",)), "print(2)") == "2\n"
    assert out(slot, "print(1)") == "1\n"


def test_a_forked_process_has_zygotes_of_its_own(tier: str) -> None:
    """Run apart: forking is done in a process that has no threads yet."""
    program = (
        "import os\n"
        "from tir_gym.sandbox import Limits\n"
        "from tir_gym.sandboxes.jail.slot import start_slot\n"
        "from tir_gym.sandboxes.jail.zygote import zygote\n"
        f"tier = {tier!r}\n"
        "slot = start_slot(Limits(), modules=(), tier=tier)\n"
        "first = zygote((), tier).pid\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    assert not slot.alive\n"
        "    other = start_slot(Limits(), modules=(), tier=tier)\n"
        "    assert zygote((), tier).pid != first\n"
        "    assert other.request('call', code='print(1)')['out'] == '1\\n'\n"
        "    other.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "print(slot.request('call', code='print(2)')['out'], end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


def test_a_slot_started_in_a_thread_outlives_it(start: Callable[..., Slot]) -> None:
    """Trap 1: a death signal of the parent is sent when the *thread* that forked ends."""
    slots: list[Slot] = []
    thread = threading.Thread(target=lambda: slots.append(start(modules=("operator",))))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert out(slots[0], "print(1)") == "1\n"


def test_shown_folders_may_lie_where_the_new_root_is_built(
    start: Callable[..., Slot], tier: str, tmp_path: Path
) -> None:
    """Trap 7: a source below the folder that the root is built on vanishes under it."""
    (tmp_path / "given").write_text("for all to read")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    inside = "/data" if tier == "A" else str(tmp_path)
    slot = start(read_only=[(str(tmp_path), inside)])
    assert out(slot, f"print(open('{inside}/given').read())") == "for all to read\n"
    assert slot.request("call", code=f"open('{inside}/new', 'w')", mode="fresh")["status"] == "raised"
    assert not (tmp_path / "new").exists()


def test_a_tier_that_cannot_be_had_is_refused_with_the_reason(tier: str) -> None:
    with pytest.raises(SandboxUnavailable, match=f"tier {tier} cannot be had: .*no-such-folder") as refusal:
        start_slot(Limits(), modules=(), tier=tier, read_only=[("/no-such-folder", "/no-such-folder")])
    assert refusal.value.kind == "tier_missing"


def test_a_host_without_namespaces_gets_no_tier_a() -> None:
    program = (
        "import ctypes, struct, sys\n"
        "from tir_gym.sandboxes.jail.inside import seccomp\n"
        "steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 272), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)]\n"
        "seccomp.install(b''.join(struct.pack('=HBBI', *step) for step in steps))\n"
        # This process may not `unshare` any more, as in a container.
        "from tir_gym.sandboxes.jail.slot import probe_tier\n"
        "print(probe_tier('A')); print(probe_tier('B'))"
    )
    if not X86_64 or probe_tier("B"):
        pytest.skip("needs x86_64 and Landlock")
    done = python_as_ordinary_user(program)
    first, second = done.stdout.splitlines()
    assert "unshare: Operation not permitted" in first
    assert second == "None"


# The filter itself, both processors.


def verdict(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a filter says, by running its instructions."""
    data = struct.pack(
        "=iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *(*arguments, *([0] * 6))[:6]
    )
    at = value = 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == seccomp.RETURN:
            return int(operand)
        if code == seccomp.LOAD:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == seccomp.MASK:
            value &= operand
        elif code == seccomp.JUMP:
            at += operand
        else:
            met = {
                seccomp.EQUAL: value == operand,
                seccomp.AT_LEAST: value >= operand,
                seccomp.ANY_BIT: bool(value & operand),
            }[code]
            at += if_true if met else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_says_for_every_number_what_the_lists_say(machine: str) -> None:
    program, arch = seccomp.program(machine), seccomp.ARCHITECTURES[machine]
    table = numbers(machine)
    allowed, refused = set(table["allowed"].values()), set(table["refused"].values())
    examined = set(table["examined"].values())
    assert not allowed & refused
    for number in range(1024):
        if number in examined:
            continue
        expected = seccomp.ALLOW if number in allowed else seccomp.ERRNO | (1 if number in refused else 38)
        assert verdict(program, arch, number) == expected, number
    assert verdict(program, arch, 0x40000000) == seccomp.KILL_PROCESS
    assert verdict(program, 0x40000003, 1) == seccomp.KILL_PROCESS
    assert len(program) // 8 < 4096


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_examined_calls(machine: str) -> None:
    program, arch = seccomp.program(machine), seccomp.ARCHITECTURES[machine]
    table = numbers(machine)["examined"]
    allow, refuse = seccomp.ALLOW, seccomp.ERRNO | 1
    for name, arguments, expected in (
        ("clone", (0x003D0F00,), allow),  # a thread
        ("clone", (17,), allow),
        *(("clone", (17 | 1 << bit,), refuse) for bit in (17, 25, 26, 27, 28, 29, 30)),
        ("socketpair", (1, 1), allow),
        ("socketpair", (1, 1 | 0o2000000), allow),
        ("socketpair", (1, 2), refuse),
        ("socketpair", (2, 1), refuse),
        ("ioctl", (0, 0x5401), allow),
        ("ioctl", (0, 0x5412), seccomp.ERRNO | 25),
        ("setsockopt", (3, 1, 16), allow),
        ("setsockopt", (3, 1, 7), refuse),
        ("setsockopt", (3, 6, 16), refuse),
        ("mknodat", (0, 0, 0o010644), allow),
        ("mknodat", (0, 0, 0o020644), refuse),
        ("mknodat", (0, 0, 0o060644), refuse),
    ):
        assert verdict(program, arch, table[name], arguments) == expected, (name, arguments)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_second_filter_keeps_to_its_own_process(machine: str) -> None:
    arch, table = seccomp.ARCHITECTURES[machine], numbers(machine)["allowed"]
    open_, shut = (
        seccomp.second(machine, signals=True, attributes=True),
        seccomp.second(machine, signals=False, attributes=False),
    )
    allow, refuse, nothing = seccomp.ALLOW, seccomp.ERRNO | 1, seccomp.ERRNO
    assert verdict(open_, arch, table["kill"]) == allow
    assert verdict(shut, arch, table["kill"]) == refuse
    assert verdict(open_, arch, table["fchmodat"]) == allow
    assert verdict(shut, arch, table["fchmodat"]) == nothing
    for program in (open_, shut):
        assert verdict(program, arch, table["prlimit64"], (0,)) == allow
        assert verdict(program, arch, table["prlimit64"], (1,)) == refuse
        assert verdict(program, arch, table["fcntl"], (3, 1)) == allow
        assert verdict(program, arch, table["fcntl"], (3, 8)) == refuse
        assert verdict(program, arch, table["setpriority"], (0, 0)) == allow
        assert verdict(program, arch, table["setpriority"], (2, 0)) == refuse


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_nobody_limit_or_slow_the_supervisor(machine: str) -> None:
    arch, table = seccomp.ARCHITECTURES[machine], numbers(machine)["allowed"]
    program = seccomp.program(machine)
    allow, refuse = seccomp.ALLOW, seccomp.ERRNO | 1
    for pid in (0, 1, 2):
        for name in seccomp.OF_ANOTHER:
            assert verdict(program, arch, table[name], (pid,)) == (refuse if pid == 1 else allow), name
        assert verdict(program, arch, table["setpriority"], (0, pid)) == (refuse if pid == 1 else allow)
    assert verdict(program, arch, table["setpriority"], (2, 0)) == refuse


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_notebook_limits_nobody_but_itself_and_not_how_many_processes_it_has(machine: str) -> None:
    arch, table = seccomp.ARCHITECTURES[machine], numbers(machine)["allowed"]
    program = seccomp.fixed_processes(machine)
    allow, refuse = seccomp.ALLOW, seccomp.ERRNO | 1
    for name in seccomp.OF_ANOTHER:
        assert verdict(program, arch, table[name], (0, 7, 8)) == allow, name
        assert verdict(program, arch, table[name], (2, 7, 8)) == refuse, name
    assert verdict(program, arch, table["prlimit64"], (0, 6, 0)) == allow
    assert verdict(program, arch, table["prlimit64"], (0, 6, 8)) == refuse


OTHERS = """
import os, resource
for change in (
    lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)),
    lambda pid: resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20)),
    lambda pid: os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))}),
    lambda pid: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
    lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
    lambda pid: os.setpriority(os.PRIO_USER, 0, 19),
):
    for pid in PIDS:
        try:
            change(pid)
        except (PermissionError, ProcessLookupError):
            continue
        print(change, pid)
"""


@pytest.mark.parametrize("mode", ["fresh", "session"])
def test_the_supervisor_cannot_be_limited_or_slowed(slot: Slot, mode: str) -> None:
    assert out(slot, OTHERS.replace("PIDS", "[1]"), mode) == ""
    assert out(slot, "print(6 * 7)", mode) == "42\n"


def test_snapshots_cannot_be_limited_or_slowed(slot: Slot) -> None:
    limits = (
        "import os, resource; print(resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0))"
    )
    before = out(slot, f"{limits}; x = 1", "session")
    id = slot.request("snapshot")["id"]
    assert out(slot, OTHERS.replace("PIDS", "sorted(set(range(1, 40)) - {os.getpid()})"), "session") == ""
    assert slot.request("restore", id=id)["lost"] is False
    assert out(slot, f"{limits}; assert x == 1", "session") == before


def test_the_kernel_takes_the_filter_that_is_tested(slot: Slot) -> None:
    """The same verdicts, from the kernel: a socket pair works, a socket does not."""
    code = (
        "import socket\n"
        "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n"
        "try: socket.socket()\n"
        "except PermissionError as error: print(error.errno)"
    )
    assert out(slot, code) == "b'x'\n1\n"
    assert socket.socketpair()
