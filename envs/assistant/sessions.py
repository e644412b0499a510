"""Who is served: logging in, registering, getting back in after a lost password, and leaving."""

from __future__ import annotations

from collections.abc import Callable

from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.writing.draft import quote

# At the beginning, while nobody is logged in.


def log_in(d: Draft) -> str:
    username = d.pick(d.facts.usernames)
    _enter(d, username, password := str(d.account(username)["password"]))
    return d.say("log_in", username=quote(username), password=quote(password))


def recover(d: Draft) -> str:
    """Ask for a code, be told it by the user, set a new password with it, log in."""
    username = d.pick(d.facts.usernames)
    address, password = d.account(username)["email"], d.new_password()
    words = d.say("recover", username=quote(username), address=address, password=quote(password))
    d.call("SendVerificationCode", username=username, email=address)
    code = d.sandbox.state.table("Account").get(username)["verification_code"]  # type: ignore[index]
    d.ask("verification code", ("verification code", "code", "digits"), d.say("reply_code", code=code))
    d.barrier()
    d.call("ResetPassword", username=username, verification_code=code, new_password=password)
    d.barrier()
    _enter(d, username, password)
    return words


def register(d: Draft) -> str:
    first, last = d.rng.choice(d.words.first_names), d.rng.choice(d.words.last_names)
    username = d.pick(
        [name for name in [f"{first}{last}{d.rng.randrange(10, 100)}".lower()] if name not in d.facts.usernames]
    )
    account = {
        "password": d.new_password(),
        "email": f"{username}@{d.rng.choice(d.words.mail_domains)}",
        "name": f"{first} {last}",
        "phone": f"{d.rng.randrange(201, 990)}-{d.rng.randrange(201, 990)}-{d.rng.randrange(10000):04d}",
    }
    d.call("RegisterUser", username=username, **account)
    d.owner = username
    d.barrier()
    account["password"] = quote(account["password"])
    return d.say("register", username=quote(username), **account)


# At the end, or between two users.


def log_out(d: Draft) -> str:
    d.barrier()
    d.call("LogoutUser")
    return d.say("log_out")


def close_account(d: Draft) -> str:
    d.only_once("account")  # what was changed in the account before would be gone with it
    d.barrier()
    password = d.password
    d.call("DeleteAccount", password=password)
    return d.say("close_account", password=quote(password))


def switch_user(d: Draft) -> str:
    username = d.pick(d.others())
    password = str(d.account(username)["password"])
    d.barrier()
    d.call("LogoutUser")
    d.barrier()
    _enter(d, username, password)
    return d.say("switch_user", username=quote(username), password=quote(password))


OPENINGS: tuple[Callable[[Draft], str], ...] = (log_in, log_in, recover, register)


def _enter(d: Draft, username: str, password: str) -> None:
    d.call("UserLogin", username=username, password=password)
    d.owner = username
    d.people.clear()
    d.barrier()
