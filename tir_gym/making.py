"""Make an environment from its name: a registered id, or `module:Class` for a `ToolEnv` that is not registered.

What `gym.make` gives, without its wrappers and with errors that say what to do: for code that plays whole episodes.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.registration import cards


def make_env(id: str, /, **options: Any) -> ToolEnv:
    """An environment, unwrapped, its `spec` set so that its traces say where they come from.

    Args:
        id: `tir_gym/Calculator-v0`, `Calculator-v0`, or `module:Class`.
        options: For its constructor.

    Raises:
        UsageError: No such environment, a class that is no `ToolEnv`, or an option that it does not take.
    """
    try:
        if is_registered(id):
            return _registered(_full_id(id), options)
        env = _class_named(id)(**options)
        env.spec = EnvSpec(id=id, entry_point=id, kwargs=options)
        return env
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        raise UsageError(f"{id} has no option {unknown[1]!r}; it has {', '.join(options_of(id))}") from None


def options_of(id: str) -> list[str]:
    """What an environment's constructor takes by name, with what it passes on to the classes below it.

    Raises:
        UsageError: No such environment.
    """
    made = _creator(_full_id(id)) if is_registered(id) else _class_named(id)
    found: dict[str, None] = {}
    for each in made.__mro__ if isinstance(made, type) else (made,):
        if isinstance(each, type) and "__init__" not in vars(each):
            continue
        parameters = inspect.signature(each).parameters.values()
        found |= dict.fromkeys(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return sorted(found)


def is_registered(id: str) -> bool:
    """Whether the id is in Gymnasium's registry, so that making it imports nothing that its name alone chose."""
    return id in gymnasium.registry or id.removeprefix("tir_gym:") in gymnasium.registry


def _full_id(id: str) -> str:
    """One spelling for traces, whichever was given."""
    name = id.removeprefix("tir_gym:")
    full = f"tir_gym/{name}"
    return full if full in gymnasium.registry else name


def _registered(id: str, options: dict[str, Any]) -> ToolEnv:
    creator = _creator(id)
    if isinstance(creator, type) and not issubclass(creator, ToolEnv):
        raise UsageError(f"{id} is a {creator.__name__}, which is no ToolEnv; see `tir-gym list`")
    env: Any = gymnasium.make(id, disable_env_checker=True, **options).unwrapped
    if not isinstance(env, ToolEnv):
        raise UsageError(f"{id} makes a {type(env).__name__}, which is no ToolEnv; see `tir-gym list`")
    return env


def _creator(id: str) -> Any:
    entry_point = gymnasium.spec(id).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _class_named(id: str) -> type[ToolEnv]:
    module, _, name = id.partition(":")
    if not module or not name:
        raise UsageError(_no_such(id))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and lacks something itself
        raise UsageError(f"{id}: there is no module {module!r}; run from the folder that holds it") from None
    if not (isinstance(found, type) and issubclass(found, ToolEnv)):
        raise UsageError(f"{id}: {module} has no class {name!r} that extends ToolEnv")
    return found


def _no_such(id: str) -> str:
    known = list(cards())
    short = {name.rpartition("/")[2].casefold(): name for name in known}
    near = difflib.get_close_matches(id.rpartition("/")[2].casefold(), short, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(short[name] for name in near)}?" if near else f"there are {', '.join(known)}."
    return f"no environment {id!r}; {hint} An environment of your own is `module:Class`."
