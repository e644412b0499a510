"""What can be changed: statements that write, with their words. Whatever they name is named in the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tir_gym.env import Split
from tir_gym.envs.sql.questions import Kind


@dataclass(frozen=True)
class Change:
    """One thing that can be done. Braces name what `Draft.fields` has."""

    key: str
    words: Mapping[Split, str]
    table: str
    """What it writes to: no two changes of a task write to the same table, lest one undo the other."""
    sql: str
    about: Kind | None = None
    """What `{it}` is."""
    unless: str = ""
    """Counts the rows that it would leave as they are."""


def _words(train: str, test: str) -> Mapping[Split, str]:
    return {"train": train, "test": test}


CHANGES: tuple[Change, ...] = (
    Change(
        "set-status",
        _words("Set the status of the {event} with the id {event_id} to '{new_status}'.",
               "The {event} with the id {event_id} is '{new_status}' now; change its status."),
        "e",
        "UPDATE {e} SET status = '{new_status}' WHERE id = {event_id}",
        unless="SELECT COUNT(*) FROM {e} WHERE id = {event_id} AND status = '{new_status}'",
    ),
    Change(
        "raise-numbers",
        _words("Raise the {number_noun} of every one of the {things} of {it} by {step}.",
               "All {things} of {it}: add {step} to their {number_noun}."),
        "t",
        "UPDATE {t} SET {number} = {number} + {step} WHERE {g_id} = (SELECT id FROM {g} WHERE name = {it})",
        about="group",
    ),
    Change(
        "set-number",
        _words("Change the {number_noun} of {it} to {value}.", "From now on the {number_noun} of {it} is {value}."),
        "t",
        "UPDATE {t} SET {number} = {value} WHERE name = {it}",
        about="thing",
        unless="SELECT COUNT(*) FROM {t} WHERE name = {it} AND {number} = {value}",
    ),
    Change(
        "delete-old",
        _words("Delete all {events} with the status '{status}' from before {cut}.",
               "Remove the {events} from before {cut} whose status is '{status}'."),
        "e",
        "DELETE FROM {e} WHERE status = '{status}' AND {day} < '{cut}'",
    ),
    Change(
        "delete-of-person",
        _words("Delete the {events} of {it} that have the status '{status}'.",
               "Remove what {it} has of '{status}' {events}."),
        "e",
        "DELETE FROM {e} WHERE status = '{status}' AND {p_id} = (SELECT id FROM {p} WHERE name = {it})",
        about="person",
    ),
    Change(
        "move-person",
        _words("Change the {place_noun} of {it} to '{new_place}'.", "The {place_noun} of {it} is '{new_place}' now."),
        "p",
        "UPDATE {p} SET {place} = '{new_place}' WHERE name = {it}",
        about="person",
        unless="SELECT COUNT(*) FROM {p} WHERE name = {it} AND {place} = '{new_place}'",
    ),
    Change(
        "add-event",
        _words("Add a new {event} for {it}: the {thing} '{a_thing}', on {new_day}, with {amount_noun} {count} and "
               "status '{status}'.",
               "Enter a new {event} of {it} on {new_day}: the {thing} is '{a_thing}', the {amount_noun} {count}, "
               "the status '{status}'."),
        "e",
        "INSERT INTO {e} ({p_id}, {t_id}, {day}, {amount}, status) SELECT p.id, t.id, '{new_day}', {count}, '{status}' "
        "FROM {p} p, {t} t WHERE p.name = {it} AND t.name = '{a_thing}'",
        about="person",
    ),
    Change(
        "add-person",
        _words("Add a new {person}: {new_name}, {place_noun} '{new_place}', {since_noun} {new_day}.",
               "Enter {new_name} as a new {person}, with {place_noun} '{new_place}' and {since_noun} {new_day}."),
        "p",
        "INSERT INTO {p} (name, {place}, {since}) VALUES ('{new_name}', '{new_place}', '{new_day}')",
    ),
)  # fmt: skip
