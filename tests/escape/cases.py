"""The cases: what each probe is after, how the host knows that it got there, and how the probe is kept honest.

A case has a file of its name in `probes/`; its first comment line says what it attacks. `canary` names what has to sing
on the runner without protection (`host.py`, `attack.py`); in a sandbox no canary may sing at all, and the call has to
end in one of the ways in `ends`.
"""

from __future__ import annotations

import io
import socket
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

PROBES = Path(__file__).parent / "probes"
MIB = 1 << 20


class Box(Protocol):
    """What an attack needs of a sandbox."""

    def run(self, code: str) -> Any: ...

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, content: bytes) -> None: ...

    def unpack(self, archive: bytes) -> None: ...

    def snapshot(self) -> Any: ...

    def restore(self, picture: Any) -> None: ...


Step = Callable[[Box, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Control:
    """How the probe is run without protection, so that it gets through and the machine lives."""

    prefix: tuple[str, ...] = ()
    """Command in front of Python: a namespace or a limit that keeps the harm in."""
    user: int = 0
    """As this user; 0 for the one who runs the tests."""
    root: bool = False
    """Only root gets through, so the control needs root."""
    missing: str | None = None
    """Why there can be none."""
    unless: Callable[[], str | None] = lambda: None
    """Why there can be none on this machine."""


@dataclass(frozen=True)
class Case:
    """One attack."""

    name: str
    canary: str
    """Names of canaries, one of which must sing without protection, separated by spaces."""
    ends: tuple[str | None, ...] = (None,)
    """How the call may end in a sandbox: kinds of errors, `None` for well."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    tells: Mapping[str, Any] = field(default_factory=dict)
    """What the probe is told besides addresses: how much to try for, and how much would be allowed."""
    control: Control = Control()
    after: Step | None = None
    """What the host does afterwards, as its user would; what it gets back is judged too."""
    modes: tuple[str, ...] = ("session",)
    tenant: bool = False
    """Another sandbox runs beside it, with a secret, and has to stay as it is."""
    elsewhere: bool = False
    """The probe may spoil its own interpreter; the next call is made in a new sandbox."""
    only: tuple[str, ...] = ()
    """Kinds of sandboxes that it applies to; empty for all."""

    @property
    def source(self) -> str:
        return (PROBES / f"{self.name}.py").read_text(encoding="utf-8")

    @property
    def patience(self) -> float:
        """Seconds after which the runner without protection is taken to hang."""
        return 1.5 if "time" in self.canary else 8.0

    @property
    def about(self) -> str:
        """What it attacks."""
        return self.source.splitlines()[0].removeprefix("# ")


def fetch(*paths: str) -> Step:
    """Fetches files of the work folder to the host, as a user's program would."""

    def step(box: Box, target: Mapping[str, Any]) -> str:
        shown = []
        for path in paths:
            try:
                shown.append(box.read(path.format(**target))[: 1 << 20].decode(errors="replace"))
            except Exception as error:  # refused is as good as absent; a hang shows in the time
                shown.append(repr(error)[:300])
        return "\n".join(shown)

    return step


def upload(box: Box, target: Mapping[str, Any]) -> str:
    """Puts files and archives into the work folder whose names, or what lies there, lead out of it."""
    shown = []
    outside = target["public"]
    for path in ("inbox/planted", "input.txt", "../" * 12 + outside.lstrip("/") + "/planted", outside + "/planted"):
        try:
            box.write(path, b"planted")
        except Exception as error:
            shown.append(f"{path}: {error!r}"[:200])
    for archive in _archives(outside):
        try:
            box.unpack(archive)
        except Exception as error:
            shown.append(repr(error)[:200])
    return "\n".join(shown)


def _no_crypto() -> str | None:
    try:
        socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    except OSError as error:
        return f"this kernel has no crypto sockets: {error}"
    return None


def _archives(outside: str) -> list[bytes]:
    found = []
    for name, kind, link in (
        ("../" * 12 + outside.lstrip("/") + "/planted", tarfile.REGTYPE, ""),
        (outside + "/planted", tarfile.REGTYPE, ""),
        ("way", tarfile.SYMTYPE, outside),
        ("hard", tarfile.LNKTYPE, outside + "/../secret.txt"),
        ("device", tarfile.CHRTYPE, ""),
    ):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, 7 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"planted"))
            if kind == tarfile.SYMTYPE:
                through = tarfile.TarInfo(f"{name}/planted")
                through.size = 7
                tar.addfile(through, io.BytesIO(b"planted"))
        found.append(data.getvalue())
    return found


def _import_again(box: Box, target: Mapping[str, Any]) -> str:
    result = box.run("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import traceback'])")
    return str(result.content)


def _pictures(box: Box, target: Mapping[str, Any]) -> str:
    """Takes pictures and goes back to them, with calls between."""
    for _ in range(1 if target.get("once") else 3):
        picture = box.snapshot()
        box.run("y = 1\nif 'spoil' in globals(): spoil()")
        box.restore(picture)
        told = box.run("print('x' in globals(), 'y' in globals())")
        if told.content != "True False\n" and told.error_kind != "died":  # who dies is told that all is lost
            return f"{target['word']} another state than the picture's: {told!r}"
        box.restore(picture)
    return ""


def _show_late(box: Box, target: Mapping[str, Any]) -> str:
    return fetch("result.pkl")(box, target)


RAISED = ("raised",)
STOPPED = ("time_limit", "cpu_limit")
SHORT = {"wall_seconds": 1.0, "cpu_seconds": 5.0}
MEMORY = {"memory": 32 * MIB, "wall_seconds": 8.0}
BYTES = {"bytes": 128 * MIB, "allowed": 32 * MIB}
ROOT = Control(root=True)
BOTH = ("session", "fresh")
NO_PICTURES = Control(missing="a runner without protection takes no pictures")

CASES: tuple[Case, ...] = (
    # Files of the host.
    Case("fs_secret_file", "file"),
    Case("fs_home", "home"),
    Case("fs_temporary_files", "file"),
    Case("fs_write_host", "folder"),
    Case("fs_write_system", "planted", control=ROOT),
    Case("fs_symlink", "file folder"),
    Case("fs_hardlink", "file folder"),
    Case("fs_handle", "file", control=ROOT),
    Case("fs_devices", "said", control=ROOT),
    Case("fs_setuid", "said", control=Control(root=True, user=65534)),
    Case("fs_own_program", "said", control=ROOT),
    Case(
        "fs_disk_bytes",
        "said",
        ends=(None, "disk_limit"),
        limits={"disk": 4 * MIB},
        tells={"bytes": 24 * MIB, "allowed": 13 * MIB},
    ),
    Case(
        "fs_disk_inodes",
        "said",
        ends=(None, "file_limit", "disk_limit"),
        limits={"files": 200},
        tells={"many": 1000, "allowed": 620},
    ),
    Case(
        "fs_disk_attributes",
        "said",
        ends=(None, "disk_limit", "file_limit"),
        limits={"disk": MIB, "files": 200},
        tells={"allowed": MIB + MIB // 2},
    ),
    # The host takes files out, or puts them in.
    Case(
        "fetch_link",
        "file",
        after=fetch("report.txt", "results/secret.txt", "deep/report.txt", "{secret_file}", "environ"),
    ),
    Case("fetch_fifo", "time", limits=SHORT, after=fetch("fifo", "zero", "stdin", "socket", "hole")),
    Case("upload_traversal", "folder", after=upload),
    # The environment, descriptors, other processes' knowledge.
    Case("env_secret", "environment"),
    Case("env_of_others", "environment_of_another"),
    Case("env_argument", "argument"),
    Case("env_own_memory", "environment", modes=BOTH),
    Case("proc_of_host", "said"),
    Case("fd_inherited", "descriptor", modes=BOTH),
    Case("fd_only_three", "said", modes=BOTH),
    # Sockets.
    Case("net_tcp", "tcp"),
    Case("net_udp", "udp"),
    Case("net_unix_path", "unix_path"),
    Case("net_unix_abstract", "abstract"),
    Case("net_sniff", "wire", control=ROOT),
    Case("net_netlink", "said"),
    Case("net_families", "said"),
    Case("net_vsock", "said"),
    Case("net_crypto", "said", control=Control(unless=_no_crypto)),
    Case("net_listen", "dialled"),
    Case("net_names", "udp"),
    # Processes of the host, and the one that supervises.
    Case("signal_host", "sentinel"),
    Case("signal_everybody", "said"),
    Case("ptrace_host", "memory"),
    Case("memory_of_host", "memory"),
    Case("descriptor_theft", "said"),
    Case("limits_of_host", "sentinel"),
    Case("supervisor_memory", "said", modes=BOTH),
    Case("supervisor_kill", "next", ends=(None, "died"), modes=BOTH),
    # The way back to the host.
    Case("wire_forged", "forged", ends=("died",), modes=BOTH),
    Case("wire_huge_frame", "infrastructure time", ends=("died",), modes=BOTH, limits=SHORT),
    Case("wire_garbage", "infrastructure time", ends=("died",), modes=BOTH, limits=SHORT),
    Case("wire_closed", "time next infrastructure", ends=(None, "died", "raised"), modes=BOTH, limits=SHORT),
    Case("wire_half", "time", ends=(*STOPPED, "died"), modes=BOTH, limits=SHORT),
    Case("wire_stolen", "next time infrastructure", ends=(None, "died"), limits=SHORT, modes=BOTH),
    Case(
        "runner_patched",
        "forged time infrastructure",
        ends=(None, "died", "raised", *STOPPED),
        limits=SHORT,
        modes=BOTH,
        elsewhere=True,
    ),
    Case("import_poison", "folder", after=_import_again, modes=BOTH),
    Case("pickle_bomb", "folder", ends=(None, "died"), modes=BOTH, after=_show_late),
    # Pictures of a living interpreter, which helps to make them.
    Case(
        "picture_no_copy", "", ends=(None, "died"), limits={"wall_seconds": 10.0}, after=_pictures, control=NO_PICTURES
    ),
    Case(
        "picture_wrong_copy",
        "",
        ends=(None, "died"),
        limits={"wall_seconds": 20.0},
        tells={"once": True},
        after=_pictures,
        control=NO_PICTURES,
    ),
    Case(
        "picture_killed", "", ends=(None, "died"), limits={"wall_seconds": 10.0}, after=_pictures, control=NO_PICTURES
    ),
    Case(
        "picture_descriptors",
        "",
        ends=(None, "died"),
        limits={"wall_seconds": 10.0},
        after=_pictures,
        control=NO_PICTURES,
    ),
    Case(
        "picture_after_bombs",
        "",
        limits={"wall_seconds": 6.0, "memory": 256 * MIB, "processes": 16},
        tells={"bytes": 40 * MIB},
        after=_pictures,
        control=NO_PICTURES,
    ),
    # Near to the kernel.
    Case("ns_nested", "said"),
    Case("mount", "said", control=Control(root=True, prefix=("unshare", "--mount"))),
    Case("keyring", "said"),
    Case("kernel_bpf", "said", control=ROOT),
    Case("kernel_io_uring", "said"),
    Case("kernel_userfaultfd", "said", control=ROOT),
    Case("kernel_perf", "said", control=ROOT),
    Case("kernel_memory_files", "said"),
    Case("kernel_sysv", "shared_memory"),
    Case("kernel_calls", "said", control=Control(root=True, prefix=("unshare", "--uts"))),
    Case("kernel_abi", "said"),
    Case("kernel_settings", "said", control=ROOT),
    Case("kernel_cgroups", "said", control=ROOT),
    Case("kernel_tty", "terminal"),
    Case("kernel_rights", "said"),
    Case("kernel_users", "said", control=ROOT),
    Case("kernel_limits", "said", modes=BOTH),
    Case("kernel_boost", "said", control=ROOT),
    Case("kernel_time", "said", control=ROOT),
    # Bombs.
    Case(
        "bomb_fork",
        "said processes",
        ends=(None, "process_limit", "died"),
        limits={"processes": 24, "wall_seconds": 5.0},
        tells={"many": 160, "allowed": 32},
        modes=BOTH,
    ),
    Case(
        "bomb_fork_tree",
        "processes",
        ends=(None, "process_limit", "died", *STOPPED),
        limits={"processes": 24, "wall_seconds": 4.0},
        tells={"many": 100, "allowed": 32},
        modes=BOTH,
    ),
    Case(
        "bomb_threads",
        "said processes",
        ends=(None, "process_limit"),
        limits={"processes": 48},
        tells={"many": 300, "allowed": 64},
    ),
    Case("bomb_memory", "said memory", ends=("raised", "memory_limit", "died"), limits=MEMORY, tells=BYTES),
    Case(
        "bomb_memory_at_once",
        "said infrastructure time",
        ends=(None, "memory_limit"),
        limits=MEMORY,
        control=Control(missing="a machine without limits is brought down, or refuses by luck"),
    ),
    Case("bomb_memory_forked", "said memory", ends=("memory_limit", "died"), limits=MEMORY, tells=BYTES),
    Case("bomb_memory_shared", "said memory", ends=("memory_limit", "raised", "died"), limits=MEMORY, tells=BYTES),
    Case(
        "bomb_memory_hidden",
        "said memory",
        ends=(None, "memory_limit"),
        limits={**MEMORY, "disk": 8 * MIB},
        tells=BYTES,
    ),
    Case(
        "bomb_pipes",
        "said",
        ends=(None, "memory_limit"),
        tells={"bytes": 192 * MIB, "allowed": 160 * MIB},
    ),
    Case(
        "bomb_sockets",
        "said",
        ends=(None, "memory_limit"),
        limits={"memory": 32 * MIB},
        tells={"bytes": 120 * MIB, "allowed": 64 * MIB},
    ),
    Case("bomb_cpu", "time", ends=("cpu_limit",), limits={"cpu_seconds": 0.5, "wall_seconds": 10.0}, modes=BOTH),
    Case("bomb_cpu_children", "time", ends=("cpu_limit",), limits={"cpu_seconds": 1.0, "wall_seconds": 20.0}),
    Case("bomb_sleep", "time", ends=("time_limit",), limits=SHORT, modes=BOTH),
    Case("bomb_stopped", "time", ends=("time_limit", "died"), limits=SHORT, modes=BOTH),
    Case("bomb_number", "time", ends=(*STOPPED, "memory_limit"), limits=SHORT),
    Case("bomb_pattern", "time", ends=STOPPED, limits=SHORT),
    Case("bomb_digits", "time", ends=STOPPED, limits={"wall_seconds": 2.0, "cpu_seconds": 10.0}),
    Case("bomb_compile", "next infrastructure time", ends=("died", "raised", "memory_limit", *STOPPED), limits=MEMORY),
    Case(
        "bomb_descriptors",
        "said",
        ends=("died", None),
        tells={"many": 20_000, "allowed": 2048},
    ),
    Case("time_signals_caught", "time", ends=STOPPED, limits={"wall_seconds": 3.0, "cpu_seconds": 0.7}, modes=BOTH),
    Case("time_alarm_stolen", "time", ends=STOPPED, limits=SHORT, modes=BOTH),
    Case("time_at_exit", "time next", ends=(None, "raised", "died", *STOPPED), limits=SHORT, modes=BOTH),
    Case("time_in_error", "time", ends=(*STOPPED, "raised"), limits=SHORT, modes=BOTH),
    Case("daemon", "left", modes=BOTH),
    # Output and ends.
    Case("out_held", "left", modes=BOTH),
    Case(
        "out_flood",
        "output time",
        ends=("output_limit", *STOPPED),
        limits={"output": 100_000, "wall_seconds": 1.5, "cpu_seconds": 10.0},
        modes=BOTH,
    ),
    Case("out_flood_one_line", "output", ends=("output_limit",), limits={"output": 100_000}),
    Case("out_binary", "infrastructure", ends=(None, "raised"), modes=BOTH),
    Case("out_terminal", "infrastructure", control=Control(missing="harmless without protection too"), modes=BOTH),
    Case("out_reply", "forged", control=Control(missing="harmless without protection too"), modes=BOTH),
    Case("out_exception", "infrastructure next time", ends=(None, "raised", "died", "output_limit"), modes=BOTH),
    Case("end_status", "time", ends=("died",), modes=BOTH),
    Case("end_crash", "time", ends=("died",), modes=BOTH),
    Case("end_abort", "time", ends=("died",), modes=BOTH),
    Case("end_exec", "file time", ends=("died", None, "raised"), modes=BOTH),
    Case("end_interrupt", "time", ends=("died", "raised", None), modes=BOTH),
    # Another user's sandbox.
    Case("tenant_files", "tenant", tenant=True),
    Case("tenant_processes", "tenant", tenant=True),
    Case("tenant_sockets", "tenant", tenant=True),
    Case("tenant_leftovers", "tenant", tenant=True, modes=BOTH),
)

BY_NAME: Mapping[str, Case] = {case.name: case for case in CASES}
