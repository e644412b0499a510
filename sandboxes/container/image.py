"""The image that containers start from: an interpreter and the modules one wants. Built from the Dockerfile beside."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tir_gym.errors import SandboxUnavailable
from tir_gym.sandboxes.container.engine import Engine, connect, failures, sdk

DEFAULT_IMAGE = "tir-gym/sandbox:latest"
DEFAULT_BASE = "python:3.12-slim"
DOCKERFILE = Path(__file__).with_name("Dockerfile")


def build_image(
    tag: str = DEFAULT_IMAGE,
    *,
    base: str = DEFAULT_BASE,
    packages: Sequence[str] = ("numpy", "pandas", "sympy"),
    engine: str | None = None,
    network: str | None = None,
) -> str:
    """Build an image for `ContainerSandbox`.

    Args:
        tag: The image's name.
        base: The image to start from: whatever has `python3` (3.9 or newer) on its path and a shell.
        packages: What pip installs on top.
        engine: See `connect`.
        network: Of the engine, for pip: `host`, `none`, or a network's name; the engine's own choice where absent.

    Returns:
        The id of the image.

    Raises:
        MissingExtra: The Docker SDK is not installed.
        SandboxUnavailable: No engine, or it could not build the image; with the last lines of what it said.
    """
    found = connect(engine)
    errors = sdk().errors
    with failures(found, "to build an image"):
        try:
            image, _ = found.client.images.build(
                fileobj=_context(),
                custom_context=True,
                tag=tag,
                buildargs={"BASE": base, "PACKAGES": " ".join(packages)},
                network_mode=network,
                rm=True,
                forcerm=True,
            )
        except errors.BuildError as error:
            said = [str(line.get("stream") or line.get("error") or "").rstrip() for line in error.build_log]
            last = "\n".join([line for line in said if line][-10:])
            raise SandboxUnavailable(
                f"{found} could not build {tag} from {base}: {error.msg}\n{last}", kind="image_unbuildable"
            ) from error
    return str(image.id)


def missing(engine: Engine, image: str) -> SandboxUnavailable:
    """The error to raise where the engine does not have the image."""
    return SandboxUnavailable(
        f"{engine} has no image {image!r}. Make one with tir_gym.sandboxes.container.build_image({image!r}), which "
        f"takes any image with python3 as base=, or pull one that has python3 and name it as image=",
        kind="image_missing",
    )


def _context() -> io.BytesIO:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        data = DOCKERFILE.read_bytes()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    context.seek(0)
    return context
