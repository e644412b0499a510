"""The engine that runs containers: Docker, or Podman's service that speaks the same API. Found, asked what it is, and
its failures told apart. What a container is allowed is in `hardening.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tir_gym.errors import MissingExtra, SandboxDied, SandboxUnavailable

if TYPE_CHECKING:
    from docker import DockerClient

HOW_TO_START = (
    "Start Docker or Podman's service (`podman system service --time 0 unix:///run/podman/podman.sock`) and name its "
    "socket in DOCKER_HOST or as engine='unix:///path/to/socket'. On a machine without either, "
    "tests/container_engine.sh shows how to start one by hand."
)

CALL_SECONDS = 60.0
"""How long the engine may take to answer one request of its API."""


@dataclass(frozen=True)
class Engine:
    """A container engine that has answered."""

    url: str
    client: DockerClient
    is_podman: bool
    version: str
    architecture: str
    """Of its processors, in the engines' words: `amd64`, `arm64`."""

    def __str__(self) -> str:
        return f"{'Podman' if self.is_podman else 'Docker'} {self.version} at {self.url}"


def connect(engine: str | None = None) -> Engine:
    """The engine at a URL, asked afresh whether it is there; one client per URL and process.

    Args:
        engine: `unix:///path`, `tcp://host:port` or `ssh://`; where absent `DOCKER_HOST`, else the first of the usual
            sockets that exists.

    Raises:
        MissingExtra: The Docker SDK is not installed.
        SandboxUnavailable: Nothing answers there (`engine_missing`).
    """
    docker = sdk()
    url = engine or os.environ.get("DOCKER_HOST") or usual_socket()
    if url is None:
        raise SandboxUnavailable(
            f"no container engine: DOCKER_HOST is not set and there is none of {', '.join(usual_sockets())}. "
            f"{HOW_TO_START}",
            kind="engine_missing",
        )
    key = os.getpid(), url
    with _lock:
        known = _engines.get(key)
    try:
        if known is not None:
            known.client.ping()
            return known
        # What the environment says of TLS holds for the engine that it names, not for one that is named here.
        tls = {} if engine else docker.utils.kwargs_from_env()
        client = docker.DockerClient(**{**tls, "base_url": url, "version": "auto", "timeout": CALL_SECONDS})
        found = _ask(url, client)
    except (docker.errors.DockerException, OSError) as error:
        with _lock:
            _engines.pop(key, None)
        raise SandboxUnavailable(
            f"no container engine answers at {url}: {error}. {HOW_TO_START}", kind="engine_missing"
        ) from error
    with _lock:
        return _engines.setdefault(key, found)


def sdk() -> Any:
    """The Docker SDK.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import docker
    except ImportError as error:
        raise MissingExtra("containers need the Docker SDK: pip install 'tir-gym[docker]'") from error
    return docker


@contextmanager
def failures(engine: Engine, doing: str) -> Iterator[None]:
    """Turns what the SDK raises while something is asked of the engine into this project's errors.

    Raises:
        SandboxUnavailable: The engine refused (`engine_refused`).
        SandboxDied: The engine is gone.
    """
    errors = sdk().errors
    try:
        yield
    except errors.APIError as error:
        said = str(error.explanation or error)
        raise SandboxUnavailable(f"{engine} refused {doing}: {said}", kind="engine_refused") from error
    except (errors.DockerException, OSError) as error:
        raise SandboxDied(f"{engine} went away while {doing}: {error}") from error


def usual_sockets() -> list[str]:
    """Where engines listen by default: Docker, Docker without root, Podman without root, Podman."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return [
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]


def usual_socket() -> str | None:
    """The first of them that exists, as a URL."""
    return next((f"unix://{path}" for path in usual_sockets() if os.path.exists(path)), None)


_engines: dict[tuple[int, str], Engine] = {}
_lock = threading.Lock()


def _ask(url: str, client: DockerClient) -> Engine:
    said = client.version()
    parts = {part.get("Name", ""): part.get("Version", "") for part in said.get("Components") or ()}
    podman = next((version for name, version in parts.items() if name.startswith("Podman")), None)
    return Engine(url, client, podman is not None, podman or said.get("Version", "?"), said.get("Arch", "amd64"))
