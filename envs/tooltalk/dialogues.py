"""The benchmark's data as published: eight databases and a file for each dialogue, read and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tir_gym.errors import UsageError
from tir_gym.frozen import freeze
from tir_gym.records import ToolCall, ToolResult
from tir_gym.types import DateTime

IN_SHARED = Path("data", "tooltalk")
"""Where the data lies under `$TIR_GYM_SHARED`."""

LEVELS = ("easy", "tooltalk")
"""Folders of dialogues: the easy ones of a single call, and the full ones."""

DATABASES = ("Account", "Alarm", "Calendar", "Email", "HistoricWeather", "Message", "Reminder", "Weather")


@dataclass(frozen=True)
class PublishedCall:
    """A gold call with what came of it when it was published."""

    call: ToolCall
    """Without the session token, which was never the agent's to give."""
    result: ToolResult


@dataclass(frozen=True)
class Exchange:
    """What the user says, what the assistant does about it, and what it says then."""

    user: str
    calls: tuple[PublishedCall, ...]
    assistant: str


@dataclass(frozen=True)
class Dialogue:
    """A dialogue up to the assistant's last words; a closing line of the user that nobody answers is left out."""

    name: str
    level: str
    """One of `LEVELS`."""
    plugins: tuple[str, ...]
    location: str
    now: str
    """`YYYY-MM-DD HH:MM:SS`."""
    username: str
    """The user, who need not have an account yet."""
    logged_in: bool
    verification_code: str | None
    """The code that the user has got by mail before, if any."""
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True)
class Benchmark:
    """All of it."""

    databases: Mapping[str, Any]
    """Frozen: table -> key -> record, or table -> owner -> key -> record."""
    dialogues: Mapping[str, Dialogue]
    """By name, sorted."""


def find_data(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds `databases`, `easy` and `tooltalk`.

    Args:
        data_dir: That folder, or the one whose `data` it is; `$TIR_GYM_SHARED/data/tooltalk` for `None`.

    Raises:
        UsageError: No such folder, or none that holds the benchmark.
    """
    if data_dir is not None:
        root, named = Path(data_dir).expanduser(), f"data_dir={os.fspath(data_dir)!r}"
    elif os.environ.get("TIR_GYM_SHARED"):
        root, named = Path(os.environ["TIR_GYM_SHARED"], IN_SHARED), f"$TIR_GYM_SHARED/{IN_SHARED.as_posix()}"
    else:
        raise UsageError(
            "ToolTalk needs its published data: give data_dir=FOLDER (--data-dir on the command line), "
            f"or set TIR_GYM_SHARED so that the data is in $TIR_GYM_SHARED/{IN_SHARED.as_posix()}"
        )
    if not root.is_dir():
        raise UsageError(f"{named}: there is no folder {root}; give the folder of the published ToolTalk data")
    for folder in (root / "data", root):
        if (folder / "databases").is_dir() and any((folder / level).is_dir() for level in LEVELS):
            return folder.resolve()
    raise UsageError(
        f"{named}: {root} holds no ToolTalk data; expected data/databases and data/easy or data/tooltalk in it, "
        "as in the benchmark's repository"
    )


@lru_cache(maxsize=4)
def load(folder: Path) -> Benchmark:
    """Read the benchmark.

    Args:
        folder: As `find_data` gives it.

    Raises:
        UsageError: A file is missing, is no JSON, or does not hold what it should; the text names it.
    """
    databases = {name: _read_json(folder / "databases" / f"{name}.json") for name in DATABASES}
    dialogues = {
        path.stem: _read_dialogue(path, level) for level in LEVELS for path in sorted((folder / level).glob("*.json"))
    }
    if not dialogues:
        raise UsageError(f"{folder} holds no dialogues; expected JSON files in {' and '.join(LEVELS)}")
    return Benchmark(freeze(databases), dict(sorted(dialogues.items())))


class _Published(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Request(_Published):
    api_name: str
    parameters: dict[str, Any]


class _Call(_Published):
    request: _Request
    response: dict[str, Any] | None
    exception: str | None


class _Turn(_Published):
    role: Literal["user", "assistant"]
    text: str
    apis: tuple[_Call, ...] = ()


class _User(_Published):
    username: str
    session_token: str | None = None
    verification_code: str | None = None


class _Metadata(_Published):
    location: str
    timestamp: DateTime


class _File(_Published):
    suites_used: tuple[str, ...] = ()
    user: _User
    metadata: _Metadata
    conversation: tuple[_Turn, ...]


_T = TypeVar("_T", bound=BaseModel)


def _read_dialogue(path: Path, level: str) -> Dialogue:
    file = _check(_File, _read_json(path), path)
    return Dialogue(
        name=path.stem,
        level=level,
        plugins=file.suites_used,
        location=file.metadata.location,
        now=file.metadata.timestamp,
        username=file.user.username,
        logged_in=file.user.session_token is not None,
        verification_code=file.user.verification_code,
        exchanges=_exchanges(file.conversation, path),
    )


def _exchanges(turns: tuple[_Turn, ...], path: Path) -> tuple[Exchange, ...]:
    """The conversation in pairs. What the user says in several turns running is one thing said."""
    found: list[Exchange] = []
    said: list[str] = []
    for turn in turns:
        if turn.role == "user":
            said.append(turn.text)
            continue
        if not said:
            raise UsageError(f"{path}: each turn of the assistant must follow one of the user, and one does not")
        found.append(Exchange("\n".join(said), tuple(_published(call) for call in turn.apis), turn.text))
        said = []
    if not found:
        raise UsageError(f"{path}: the assistant never speaks in it")
    return tuple(found)


def _published(call: _Call) -> PublishedCall:
    arguments = {name: value for name, value in call.request.parameters.items() if name != "session_token"}
    result = ToolResult(
        content=call.response, error=call.exception, error_kind=None if call.exception is None else "refused"
    )
    return PublishedCall(ToolCall(call.request.api_name, arguments), result)


def _read_json(path: Path) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is missing from the ToolTalk data; fetch the data again") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no valid JSON ({error}); fetch the data again") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path} must hold a JSON object, not a {type(data).__name__}; fetch the data again")
    return data


def _check(model: type[_T], data: Any, path: Path) -> _T:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is no ToolTalk dialogue: {place}: {first['msg']}; fetch the data again") from None
