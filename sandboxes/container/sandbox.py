"""`ContainerSandbox`: Python in a container of Docker's or Podman's, behind the engine's walls and our own inside."""

from __future__ import annotations

import atexit
import base64
import functools
import logging
import os
from collections.abc import Iterable
from functools import partial
from typing import Any

from tir_gym.errors import InfrastructureError, MissingExtra, UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.container.commit import Kept, keep, kept
from tir_gym.sandboxes.container.engine import Engine, connect, failures, sdk
from tir_gym.sandboxes.container.image import DEFAULT_IMAGE, missing
from tir_gym.sandboxes.container.reaping import reap
from tir_gym.sandboxes.container.slot import ContainerSlot, Terms
from tir_gym.sandboxes.jail.pool import SlotPool
from tir_gym.sandboxes.python import Mode, PythonSandbox, module_names
from tir_gym.sandboxes.slotted import Files, Slot

log = logging.getLogger("tir_gym.sandbox")

_MOST_CPUS = 1024

containers = SlotPool(max_live=256, ready=0)
"""The containers of this process. Set `ready` to have some started ahead, at some thirty megabytes each."""

atexit.register(containers.close)
os.register_at_fork(after_in_child=containers.start_over)


class ContainerSandbox(PythonSandbox):
    """Runs Python in a container: no network, read-only system, no capabilities, no new privileges, an ordinary user,
    our own filter on system calls, and memory, processes and processors bounded by the engine.

    Args:
        limits: What each container may use.
        files: Initial content of the work folder, by relative path.
        mode: `session`: a notebook, variables stay from call to call. `fresh`: each call in a new interpreter, only
            files stay.
        modules: Imported once, when a container starts; they must be in the image.
        image: An image with `python3` (3.9 or newer) on its path; `build_image` makes the default one.
        engine: `unix:///path`, `tcp://host:port` or `ssh://`; see `connect` for where it is looked for otherwise.
        runtime: The engine's OCI runtime: `runsc` for gVisor, a kernel of its own in front of the host's. The
            engine's default where absent.
        network: The name of a network of the engine that code may use; none where absent.
        cpus: Processors' worth of time that a container may use.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        files: Files | None = None,
        mode: Mode = "session",
        modules: Iterable[str] = (),
        image: str = DEFAULT_IMAGE,
        engine: str | None = None,
        runtime: str | None = None,
        network: str | None = None,
        cpus: float = 1.0,
    ) -> None:
        if not isinstance(cpus, (int, float)) or not 0.01 <= cpus <= _MOST_CPUS:
            raise UsageError(f"cpus={cpus!r}: give processors' worth of time, from 0.01 to {_MOST_CPUS}")
        for name, value in (("image", image), ("engine", engine), ("runtime", runtime), ("network", network)):
            if value == "" or not isinstance(value, str | None) or (name == "image" and value is None):
                raise UsageError(f"{name}={value!r}: give a name as text" + ("" if name == "image" else ", or None"))
        super().__init__(limits=limits or Limits(), files=files, mode=mode)
        self.engine = engine
        self.terms = Terms(image, self.limits, module_names(modules), float(cpus), network, runtime)

    def start(self) -> None:
        """See that the engine and the image are there; the container itself is started at the first call.

        Raises:
            MissingExtra: The Docker SDK is not installed.
            SandboxUnavailable: No engine answers (`engine_missing`), or it lacks the image (`image_missing`).
        """
        engine = connect(self.engine)
        with failures(engine, "to look for an image"):
            try:
                engine.client.api.inspect_image(self.terms.image)
            except sdk().errors.ImageNotFound as error:
                raise missing(engine, self.terms.image) from error

    def lease(self) -> Slot:
        engine = connect(self.engine)
        _reap_once(os.getpid(), engine)
        return containers.lease((engine.url, self.terms), partial(ContainerSlot, engine, self.terms))

    def commit(self, tag: str) -> str:
        """Keep the files as they are now in an image; `ContainerSandbox(image=tag)` begins with them.

        Variables of a session are no part of it. The engine may push the image, so that other machines have it.

        Args:
            tag: The name of the image, `name:version`.

        Returns:
            The id of the image.

        Raises:
            SandboxUnavailable: The engine refused.
            SandboxDied: The engine or the container is gone.
        """
        archive = base64.b64decode(self.request("pack", changes=False)["tar"])
        return keep(connect(self.engine), self.terms.image, tag, archive)

    @functools.cached_property
    def _kept(self) -> Kept:
        return kept(connect(self.engine), self.terms.image)

    def _initial(self) -> dict[str, dict[str, Any]]:
        return {**self._kept.entries, **super()._initial()}

    def _content_before(self, path: str) -> bytes:
        return self._files[path] if path in self._files else self._kept.contents.get(path, b"")


@functools.cache
def _reap_once(process: int, engine: Engine) -> None:
    """Remove what others have left, the first time that this process uses an engine."""
    for id in reap(engine):
        log.warning("removed container %s, whose owner has ended", id)


def fault(runtime: str | None = None, *, engine: str | None = None) -> str | None:
    """Why containers cannot be had here; `None` where one starts and works. Tried each time.

    Args:
        runtime: See `ContainerSandbox`.
        engine: See `connect`.
    """
    try:
        with ContainerSandbox(runtime=runtime, engine=engine) as sandbox:
            result = sandbox.call(ToolCall("python", {"code": "print(6 * 7)"}))
    except (MissingExtra, InfrastructureError) as error:
        return str(error)
    return None if result == ToolResult("42\n") else f"it starts and then fails: {result}"
