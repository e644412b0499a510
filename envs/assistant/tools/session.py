"""Who is logged in. One user at a time; tools never take a token, the state knows whom they act for."""

from __future__ import annotations

from typing import Any

from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State

CURRENT = "current"
"""Key of the one record of the table `Session`; there is none while nobody is logged in."""


def current_user(state: State) -> str | None:
    """Username of who is logged in."""
    session = state.table("Session").get(CURRENT)
    return None if session is None else str(session["username"])


def signed_in(state: State) -> str:
    """Username of who is logged in.

    Raises:
        ToolError: Nobody is.
    """
    username = current_user(state)
    if username is None:
        raise ToolError("Nobody is logged in. Log in with UserLogin or register with RegisterUser first.")
    return username


def own_account(state: State) -> tuple[str, Any]:
    """Username and account record of who is logged in; errors as `signed_in`."""
    username = signed_in(state)
    return username, state.table("Account").get(username)


def begin_session(state: State, username: str) -> None:
    """Log a user in.

    The token that login returns is not kept, because no tool asks for it: so two ways to the same user logged in lead
    to the same state.
    """
    state.table("Session").put(CURRENT, {"username": username})


def end_session(state: State) -> None:
    state.table("Session").delete(CURRENT)
