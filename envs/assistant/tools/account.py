"""Accounts: log in and out, register, look people up, change what an account holds.

An account is `{"username", "email", "phone", "name", "password", "session_token", "verification_code"?}` in the table
`Account`, by username. `session_token` is always null (see `session.py`); the code is there once one was sent.
"""

from __future__ import annotations

import re
from typing import Any

from tir_gym.envs.assistant.tools.session import begin_session, current_user, end_session, own_account, signed_in
from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State
from tir_gym.tool import tool

EMAIL_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
_PHONE_NUMBER = re.compile(r"\d{3}-\d{3}-\d{4}", re.ASCII)


@tool(scopes=("Account", "Session"))
def GetAccountInformation(state: State) -> dict[str, Any]:
    """Show the account of the logged-in user: username, email, phone and name."""
    _, account = own_account(state)
    return {"user": _public(account)}


@tool(effect="irreversible", scopes=("Account", "Session"))
def DeleteAccount(state: State, password: str) -> dict[str, str]:
    """Delete the account of the logged-in user for good. The user is logged out with it.

    Args:
        password: The user's password, to confirm.
    """
    username, account = own_account(state)
    _check_password(account, password)
    state.table("Account").delete(username)
    end_session(state)
    return {"status": "success"}


@tool(effect="write", scopes=("Account", "Session"))
def UserLogin(state: State, username: str, password: str) -> dict[str, str]:
    """Log a user in. Only one user can be logged in at a time.

    Args:
        username: Who logs in.
        password: The user's password.
    """
    _refuse_second_user(state)
    account = _account_of(state, username)
    _check_password(account, password)
    begin_session(state, username)
    return {"session_token": state.new_id("UserLogin", username)}


@tool(effect="write", scopes=("Session",))
def LogoutUser(state: State) -> dict[str, str]:
    """Log out the user who is logged in."""
    signed_in(state)
    end_session(state)
    return {"status": "success"}


@tool(effect="write", scopes=("Account", "Session"))
def ChangePassword(state: State, old_password: str, new_password: str) -> dict[str, str]:
    """Give the logged-in user a new password.

    Args:
        old_password: The password so far.
        new_password: The password from now on.
    """
    username, account = own_account(state)
    if account["password"] != old_password:
        raise ToolError("The old password is incorrect.")
    state.table("Account").put(username, {**account, "password": new_password})
    return {"status": "success"}


@tool(effect="write", scopes=("Account", "Session"))
def RegisterUser(
    state: State, username: str, password: str, email: str, name: str | None = None, phone: str | None = None
) -> dict[str, Any]:
    """Open an account for a new user and log the user in. Nobody may be logged in.

    Args:
        username: The name to log in with; nobody else may have it.
        password: The password to log in with.
        email: The user's email address.
        name: The user's full name.
        phone: The user's phone number, in the form 123-456-7890.
    """
    _refuse_second_user(state)
    accounts = state.table("Account")
    if username in accounts:
        raise ToolError("The username already exists.")
    if not EMAIL_ADDRESS.fullmatch(email):
        raise ToolError("The email format is invalid.")
    if phone is not None and not _PHONE_NUMBER.fullmatch(phone):
        raise ToolError("The phone number format is invalid.")
    account = {"username": username, "email": email, "phone": phone, "name": name}
    accounts.put(username, {**account, "password": password, "session_token": None})
    begin_session(state, username)
    return {"session_token": state.new_id("RegisterUser", username), "user": account}


@tool(effect="irreversible", scopes=("Account",))
def SendVerificationCode(state: State, username: str, email: str) -> dict[str, str]:
    """Mail a six-digit verification code to a user who has forgotten the password. ResetPassword takes the code.

    Args:
        username: Who has forgotten the password.
        email: The email address of that account.
    """
    account = _account_of(state, username)
    if account["email"] != email:
        raise ToolError("The email is incorrect.")
    code = state.new_id("SendVerificationCode", username)
    state.table("Account").put(username, {**account, "verification_code": code})
    return {"status": "success"}


@tool(effect="write", scopes=("Account",))
def ResetPassword(state: State, username: str, verification_code: str, new_password: str) -> dict[str, str]:
    """Give a user a new password with the verification code that SendVerificationCode has mailed.

    Args:
        username: Whose password it is.
        verification_code: The six digits of the code.
        new_password: The password from now on.
    """
    account = _account_of(state, username)
    if account.get("verification_code") != verification_code:
        raise ToolError("The verification code is incorrect.")
    state.table("Account").put(username, {**account, "password": new_password})
    return {"status": "success"}


@tool(scopes=("Account", "Session"))
def QueryUser(state: State, username: str | None = None, email: str | None = None) -> dict[str, Any]:
    """Look users up by username or by email address. Give at least one; the username counts where both are given.

    Args:
        username: Exact username.
        email: Exact email address; several users may share one.
    """
    signed_in(state)
    accounts = state.table("Account")
    if username is not None:
        account = accounts.get(username)
        return {"users": [] if account is None else [_public(account)]}
    if email is None:
        raise ToolError("You need to provide at least one of username and email.")
    return {"users": [_public(account) for account in accounts.records() if account["email"] == email]}


@tool(effect="write", scopes=("Account", "Session"))
def UpdateAccountInformation(
    state: State,
    password: str,
    new_email: str | None = None,
    new_phone_number: str | None = None,
    new_name: str | None = None,
) -> dict[str, str]:
    """Change the logged-in user's email address, phone number or both, and the full name along with them.

    Args:
        password: The user's password, to confirm.
        new_email: New email address.
        new_phone_number: New phone number, in the form 123-456-7890.
        new_name: New full name.
    """
    username, account = own_account(state)
    _check_password(account, password)
    if new_email is None and new_phone_number is None:
        raise ToolError("You need to provide at least one of new_email and new_phone_number.")
    changes = {}
    if new_email is not None:
        if not EMAIL_ADDRESS.fullmatch(new_email):
            raise ToolError("The email is invalid.")
        changes["email"] = new_email
    if new_phone_number is not None:
        if not _PHONE_NUMBER.fullmatch(new_phone_number):
            raise ToolError("The phone number is invalid.")
        changes["phone"] = new_phone_number
    if new_name is not None:
        changes["name"] = new_name
    state.table("Account").put(username, {**account, **changes})
    return {"status": "success"}


TOOLS = (
    GetAccountInformation,
    DeleteAccount,
    UserLogin,
    LogoutUser,
    ChangePassword,
    RegisterUser,
    SendVerificationCode,
    ResetPassword,
    QueryUser,
    UpdateAccountInformation,
)


def _public(account: Any) -> dict[str, Any]:
    """What others may see of an account."""
    return {field: account[field] for field in ("username", "email", "phone", "name")}


def _account_of(state: State, username: str) -> Any:
    account = state.table("Account").get(username)
    if account is None:
        raise ToolError("The username does not exist.")
    return account


def _check_password(account: Any, password: str) -> None:
    if account["password"] != password:
        raise ToolError("The password is incorrect.")


def _refuse_second_user(state: State) -> None:
    username = current_user(state)
    if username is not None:
        raise ToolError(f"{username} is logged in. Only one user can be logged in at a time; log out first.")
