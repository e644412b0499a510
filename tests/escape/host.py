"""The host under attack: what an attacker would want, planted where it can be watched.

Secrets are random words in places that a sandbox must not show (a file, the environment, another process's memory);
finding one in what a call gives back is a breach. Listeners count who reaches them, a sentinel process says whether it
was signalled, traced or changed, and the folder, the disk and the kernel's settings are compared with what they were.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pty
import resource
import secrets
import selectors
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from escape.watch import Watch

HERE = Path(__file__).parent
SYSTEM = (
    "/",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local/lib",
    "/etc",
    "/opt",
    "/var",
    "/dev",
    "/dev/shm",
    "/tmp",
    "/var/tmp",
)
"""Folders of the host in which no file of an attacker may appear."""


class Host:
    """Canaries of one process that uses sandboxes. Make it before anything of a sandbox is imported: what the sandbox
    inherits from this process is part of the attack.
    """

    def __init__(self) -> None:
        self.token = f"esc{secrets.token_hex(5)}"  # fits into a process's name
        self.prefix = f"tirkey{secrets.token_hex(3)}"
        self.secrets: dict[str, str] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="tir-gym-escape-"))
        self._closers: list[Any] = []
        self._plant_files()
        self._plant_in_this_process()
        self._plant_shared_memory()
        self._terminal()
        self.listeners = Listeners(self.folder / "public" / "listener", self.token, self._secret("wire"))
        self.sentinel = Sentinel(
            self._secret("argument"), self._secret("environment_of_another"), self._secret("memory")
        )
        self.arm()

    def arm(self) -> None:
        """Take the present state as the untouched one, and replace what an earlier attack broke."""
        if not self.sentinel.sound():
            self.sentinel.close()
            self.sentinel = Sentinel(*self.sentinel.secrets)
        self.remove_traces()
        self.listeners.reset()
        if self.tty is not None:
            _drain(self.tty)
        self._settings = _settings()
        self._tree = _tree(self.folder)
        self.word = f"reached-{secrets.token_hex(6)}"

    def target(self) -> dict[str, Any]:
        """What the attacker is told: every address and path, no secret."""
        return {
            "token": self.token,
            "word": self.word,
            "prefix": self.prefix,
            "forged": f"forged-{self.token}",
            "folder": str(self.folder),
            "secret_file": str(self.folder / "secret.txt"),
            "home": str(self.folder / "home"),
            "handle": self.handle,
            "public": str(self.folder / "public"),
            "shm": self.shm,
            "pid": self.sentinel.pid,
            "address": self.sentinel.address,
            "pids": [self.sentinel.pid, os.getpid()],
            "prefixes": sorted({sys.prefix, sys.base_prefix}),
            **self.listeners.addresses(),
        }

    def found(self, text: str) -> dict[str, str]:
        """The canaries that sing, by name: secrets in `text`, and whatever was touched since `arm`."""
        hits = {name: "shown to the attacker" for name, value in self.secrets.items() if value in text}
        said = [line.split(self.word, 1)[1].strip() for line in text.splitlines() if self.word in line]
        if said:
            hits["said"] = "; ".join(said)[:500]
        hits.update(self.listeners.reached())
        hits.update(self.sentinel.harm())
        if _tree(self.folder) != self._tree:
            hits["folder"] = "the host's folder has changed"
        if planted := self._planted():
            hits["planted"] = f"the attacker's file exists: {planted}"
        if self.token in Path("/proc/self/mountinfo").read_text():
            hits["mount"] = "the attacker's mount is the host's"
        for name, value in _settings().items():
            if value != self._settings[name]:
                hits["settings"] = f"{name} is {value!r}, was {self._settings[name]!r}"
        if self.tty is not None and self.token.encode() in _drain(self.tty):
            hits["terminal"] = "the attacker wrote on the host's terminal"
        return hits

    def watch(self) -> Watch:
        """Watches the attacker's processes while a call runs."""
        return Watch(self.token)

    def remove_traces(self) -> None:
        """Put back what an attack that got through has changed."""
        planted = [Path(path) for path in self._planted()]
        left = [path for path in self.folder.iterdir() if path.name not in ("secret.txt", "home", "public")]
        left += [path for path in (self.folder / "public").iterdir() if path.name != "listener"]
        for path in planted + left:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif os.path.lexists(path):
                path.unlink()
        self._write_files()

    def close(self) -> None:
        self.sentinel.close()
        self.listeners.close()
        for close in self._closers:
            close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _secret(self, name: str) -> str:
        self.secrets[name] = f"{self.prefix}-{secrets.token_hex(12)}"
        return self.secrets[name]

    def _plant_files(self) -> None:
        self._secret("file")
        self._secret("home")
        (self.folder / "home").mkdir()
        (self.folder / "public").mkdir()
        (self.folder / "public").chmod(0o777)
        self._write_files()

    def _write_files(self) -> None:
        """Readable for everybody: nothing but the sandbox's own wall hides them."""
        self.folder.chmod(0o755)
        for path, name in (("secret.txt", "file"), ("home/.credentials", "home")):
            file = self.folder / path
            if not file.exists() or file.read_text() != self.secrets[name]:
                file.write_text(self.secrets[name])
            file.chmod(0o644)
        self.handle = _handle(self.folder / "secret.txt")

    def _plant_in_this_process(self) -> None:
        os.environ["TIR_GYM_ESCAPE_SECRET"] = self._secret("environment")
        os.environ["HOME"] = str(self.folder / "home")
        with tempfile.TemporaryFile() as file:  # has no name, so only the descriptor leads to it
            file.write(self._secret("descriptor").encode())
            file.flush()
            # High, where a sweep that stops too early does not reach.
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            number = min(soft, 1100) - 1
            os.dup2(file.fileno(), number, inheritable=True)
        self._closers.append(lambda: os.close(number))
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(folder, True)
        self._closers.append(lambda: os.close(folder))

    def _plant_shared_memory(self) -> None:
        """A System V segment that everybody may read, already marked for removal: gone with this process."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        self.shm = libc.shmget(0, 4096, 0o1000 | 0o666)
        if self.shm < 0:
            raise OSError(ctypes.get_errno(), "shmget")
        address = libc.shmat(self.shm, None, 0)
        value = self._secret("shared_memory").encode()
        ctypes.memmove(address, value, len(value))
        libc.shmctl(self.shm, 0, None)

    def _terminal(self) -> None:
        """A terminal of this process, as somebody has who starts a program by hand. Needs to lead a session."""
        self.tty: int | None = None
        if os.getsid(0) != os.getpid():
            return
        master, slave = pty.openpty()
        try:
            import fcntl
            import termios

            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        except OSError:
            os.close(master)
            os.close(slave)
            return
        os.set_blocking(master, False)
        self.tty = master

    def _planted(self) -> list[str]:
        """Files of the attacker, whose names begin with the token, in folders of the system."""
        folders = {*SYSTEM, sys.prefix, sys.base_prefix, str(Path(os.__file__).parent)}
        return [f"{folder}/{name}" for folder in sorted(folders) for name in _names(folder) if self.token in name]


class Listeners:
    """Sockets of the host that count who reaches them; a datagram with the secret `wire` goes round on loopback."""

    def __init__(self, path: Path, name: str, wire: str) -> None:
        self._wire = wire.encode()
        self._counts: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._addresses: dict[str, Any] = {"hosts": _own_addresses(), "unix_path": str(path), "abstract": name}
        self._open("tcp", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0))
        self._open("udp", socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0))
        self._open("unix_path", socket.AF_UNIX, socket.SOCK_STREAM, str(path))
        path.chmod(0o777)
        self._open("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name)
        self._open("abstract_datagram", socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + name + "d")
        self.dialled: str | None = None
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, "")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def addresses(self) -> dict[str, Any]:
        return dict(self._addresses)

    def reset(self) -> None:
        self._counts = dict.fromkeys(self._counts, 0)

    def reached(self) -> dict[str, str]:
        return {name: f"reached {count} times" for name, count in self._counts.items() if count}

    def chatter(self) -> None:
        """Send the secret to itself, as two programs of the host would talk to each other."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(self._wire, ("127.0.0.1", self._addresses["udp_port"]))

    def close(self) -> None:
        self._wake.close()
        self._thread.join(5)

    def _open(self, name: str, family: int, kind: int, address: Any) -> None:
        sock = socket.socket(family, kind)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        sock.setblocking(False)
        if family == socket.AF_INET:
            self._addresses[f"{name}_port"] = sock.getsockname()[1]
        self._counts[name] = 0
        self._selector.register(sock, selectors.EVENT_READ, name)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock, name = key.fileobj, key.data
                assert isinstance(sock, socket.socket)
                if not name:
                    return
                try:
                    if sock.type == socket.SOCK_STREAM:
                        sock.accept()[0].close()
                    elif sock.recv(4096) == self._wire:
                        continue
                except OSError:
                    continue
                self._counts[name] += 1


class Sentinel:
    """A process of the host, of the same user, that knows secrets and notices what is done to it."""

    def __init__(self, argument: str, environment: str, memory: str) -> None:
        self.secrets = (argument, environment, memory)
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "sentinel.py"), argument],
            env={"SENTINEL_SECRET": environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.address = self._ask(memory)["address"]
        self._first = self._ask("")

    def harm(self) -> dict[str, str]:
        """What happened to it, by name of the canary."""
        if self._process.poll() is not None:
            return {"sentinel": f"killed, status {self._process.returncode}"}
        try:
            now = self._ask("")
        except (OSError, ValueError, TimeoutError) as error:
            return {"sentinel": f"answers no more: {error!r}"}
        changed = {key: value for key, value in now.items() if value != self._first[key]}
        return {"sentinel": f"changed: {changed}"} if changed else {}

    def sound(self) -> bool:
        return not self.harm()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(5):
                raise TimeoutError("no answer in 5 s")
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _own_addresses() -> list[str]:
    found = ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing; asks which address would be used
            found.append(sock.getsockname()[0])
        except OSError:
            pass
    return found


def _settings() -> dict[str, str]:
    found = {"hostname": socket.gethostname(), "umask": "", "folder": os.getcwd()}
    for name in ("kernel/core_pattern", "kernel/hostname", "kernel/domainname", "vm/user_reserve_kbytes"):
        found[name] = Path("/proc/sys", name).read_text()
    return found


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _tree(folder: Path) -> str:
    """Digest of names, kinds, modes, links and contents."""
    rows = []
    for path in sorted([folder, *folder.rglob("*")]):
        about = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(about.st_mode) else ""
        rows.append((str(path), about.st_mode, about.st_uid, about.st_nlink, content))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _handle(path: Path) -> list[Any]:
    """What `name_to_handle_at` says, so that the attacker may try `open_by_handle_at`; empty where it says nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(136)
    ctypes.c_uint.from_buffer(buffer).value = 128
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, bytes(path), buffer, ctypes.byref(mount), 0) != 0:
        return []
    size = ctypes.c_uint.from_buffer(buffer).value
    return [size, ctypes.c_int.from_buffer(buffer, 4).value, buffer.raw[8 : 8 + size].hex()]


def _drain(descriptor: int) -> bytes:
    text = b""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            text += os.read(descriptor, 65536)
        except (BlockingIOError, OSError):
            break
    return text
