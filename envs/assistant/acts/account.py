"""Changing the account of the one who is logged in."""

from __future__ import annotations

from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.writing.draft import quote


def change_password(d: Draft) -> str:
    d.only_once("account")
    old, new = d.password, d.new_password()
    d.call("ChangePassword", old_password=old, new_password=new)
    return d.say("change_password", old=quote(old), new=quote(new))


def change_phone(d: Draft, ask: bool = False) -> str:
    d.only_once("account")
    phone, password = (
        f"{d.rng.randrange(201, 990)}-{d.rng.randrange(201, 990)}-{d.rng.randrange(10000):04d}",
        d.password,
    )
    words = d.say("change_phone_ask" if ask else "change_phone", phone=phone, password=quote(password))
    if ask:
        d.ask("number", ("number", "phone", "digits"), d.say("reply_phone", phone=phone))
    d.call("UpdateAccountInformation", password=password, new_phone_number=phone)
    return words


def change_address(d: Draft) -> str:
    d.only_once("account")
    address = f"{d.owner}{d.rng.randrange(100)}@{d.rng.choice(d.words.mail_domains)}"
    password = d.password
    d.call("UpdateAccountInformation", password=password, new_email=address)
    return d.say("change_address", address=address, password=quote(password))
