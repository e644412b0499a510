"""The work folder of a sandbox kept in an image, so that others can begin from it, later or elsewhere.

What is kept are files. A live interpreter is no part of an image; engines that can freeze one (with CRIU) need root and
programs beside them, so nothing here asks for that.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from typing import Any

from tir_gym.sandboxes.container.engine import Engine, failures, sdk
from tir_gym.sandboxes.container.image import missing
from tir_gym.sandboxes.container.reaping import OWNER, owner

KEPT = "/.tir-gym/work.tar"
"""Where the files lie in an image; `first.py` puts them into the work folder."""
LABEL = "tir-gym.files"


@dataclass(frozen=True)
class Kept:
    """Files that an image was made with."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Path -> what counts of it, as `SlotSandbox` compares trees."""
    contents: dict[str, bytes] = field(default_factory=dict)


def keep(engine: Engine, image: str, tag: str, archive: bytes) -> str:
    """Make an image from another and the files of an archive.

    Args:
        engine: Where.
        image: What it is made from.
        tag: The name of the new image; one that has it loses it.
        archive: The work folder as a tar archive.

    Returns:
        The id of the new image.

    Raises:
        SandboxUnavailable: The engine refused.
        SandboxDied: The engine is gone.
    """
    api = engine.client.api
    name, _, version = tag.rpartition(":")
    if not name or "/" in version:
        name, version = tag, "latest"
    with failures(engine, "to make an image"):
        container = _unstarted(engine, image)
        try:
            api.put_archive(container, "/", _wrapped(archive))
            api.commit(container, repository=name, tag=version, changes=[f"LABEL {LABEL}={KEPT}"])
        finally:
            api.remove_container(container, force=True, v=True)
        return str(api.inspect_image(tag)["Id"])


def kept(engine: Engine, image: str) -> Kept:
    """The files that an image was made with; none if it was made otherwise.

    Raises:
        SandboxUnavailable: There is no such image, or the engine refused.
        SandboxDied: The engine is gone.
    """
    api, errors = engine.client.api, sdk().errors
    with failures(engine, "to read an image"):
        try:
            labels = api.inspect_image(image)["Config"].get("Labels") or {}
        except errors.ImageNotFound as error:
            raise missing(engine, image) from error
        if LABEL not in labels:
            return Kept()
        container = _unstarted(engine, image)
        try:
            stream, _ = api.get_archive(container, KEPT)
            outer = b"".join(stream)
        finally:
            api.remove_container(container, force=True, v=True)
    with tarfile.open(fileobj=io.BytesIO(outer)) as wrapped:
        inner = wrapped.extractfile(wrapped.getmembers()[0])
        return _read(b"" if inner is None else inner.read())


def _unstarted(engine: Engine, image: str) -> str:
    """A container that is only there to put files in or take them out."""
    labels = {OWNER: owner()}
    return str(engine.client.api.create_container(image, ["true"], entrypoint=[], labels=labels)["Id"])


def _wrapped(archive: bytes) -> bytes:
    """An archive that holds the archive, in its folder, for everybody to read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as wrapped:
        folder = tarfile.TarInfo(KEPT.strip("/").partition("/")[0])
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        wrapped.addfile(folder)
        file = tarfile.TarInfo(KEPT.strip("/"))
        file.size, file.mode = len(archive), 0o644
        wrapped.addfile(file, io.BytesIO(archive))
    return buffer.getvalue()


def _read(archive: bytes) -> Kept:
    found = Kept()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        for member in tree:
            if member.isfile():
                inner = tree.extractfile(member)
                data = b"" if inner is None else inner.read()
                found.contents[member.name] = data
                digest = hashlib.sha256(data).hexdigest()
                found.entries[member.name] = {
                    "kind": "file",
                    "sha256": digest,
                    "executable": bool(member.mode & 0o100),
                }
            elif member.issym():
                found.entries[member.name] = {"kind": "link", "target": member.linkname}
            else:
                found.entries[member.name] = {"kind": "folder" if member.isdir() else "pipe"}
    return found
