"""`python:module:Class` and `python:path/to/file.py:Class`: an agent that the user wrote."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from tir_gym.agent import Agent
from tir_gym.errors import UsageError

_loading = threading.RLock()
"""Workers make their agents at the same time; none may see a file's module before it has run to its end."""

_FORM = "write python:MODULE:CLASS or python:PATH/TO/FILE.py:CLASS"


def load_agent(target: str, options: dict[str, Any]) -> Agent:
    """Import the class and make one.

    Args:
        target: `module:Class`, the module being found as `python -m` would find it, in the current directory first;
            or `file.py:Class`.
        options: Keyword arguments for the class.

    Raises:
        UsageError: No such module, file or attribute; it cannot be imported or made; or it lacks `begin` or `act`.
    """
    source, _, name = target.rpartition(":")
    if not source or not name:
        raise UsageError(f"python:{target}: {_FORM}")
    with _loading:
        module = _from_file(Path(source)) if source.endswith(".py") else _from_path(source)
    if not hasattr(module, name):
        classes = sorted(key for key, value in vars(module).items() if inspect.isclass(value))
        raise UsageError(f"{source} has no {name!r}; its classes are: {', '.join(classes) or 'none'}")
    make = getattr(module, name)
    if not callable(make):
        raise UsageError(f"{source}:{name} is a {type(make).__name__}; name a class, or a function that makes an agent")
    try:
        inspect.signature(make).bind(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{source}:{name} cannot be made with {options or 'no arguments'}: {error}") from error
    agent = make(**options)
    missing = [method for method in ("begin", "act") if not callable(getattr(agent, method, None))]
    if missing:
        raise UsageError(
            f"{source}:{name} lacks {' and '.join(missing)}; an agent has begin(env_info) and act(observation, info)"
        )
    return agent  # type: ignore[no-any-return]


def _from_path(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # console scripts, unlike `python -m`, do not look in the current directory
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"no module {name!r} in the current directory or among installed packages; {_FORM}"
            ) from None
        raise UsageError(f"importing {name} failed: {error}") from error
    except Exception as error:
        raise UsageError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"no file {path}; {_FORM}")
    # A name of its own, so that a file called random.py hides nothing; known by it, so that it is run once.
    name = f"{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # for modules beside it, as `python FILE.py` finds them
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"running {path} failed: {type(error).__name__}: {error}") from error
    return module
