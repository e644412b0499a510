"""The assistant's tools, each with what it does and every refusal that it has."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.compare import comparator
from tir_gym.envs.assistant.tools import FIELD_COMPARATORS, PLUGINS, TOOLKIT, AssistantIds
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandboxes.state import StateSandbox, World

NOW = datetime(2025, 3, 10, 9, 0)

ACCOUNTS = {
    "nora": ("nora@post.example", "111-222-3333", "Nora Quist", "sesame"),
    "omar": ("omar@post.example", None, None, "hunter2"),
    "pia": ("shared@post.example", None, "Pia Roth", "pw"),
    "quim": ("shared@post.example", None, "Quim Roth", "pw"),
}


def mail(id: str, date: str, sender: str, subject: str, body: str) -> dict[str, Any]:
    return {
        "email_id": id,
        "date": date,
        "sender": sender,
        "receivers": ["nora@post.example"],
        "subject": subject,
        "body": body,
    }


def event(id: str, start: str, end: str, **fields: Any) -> dict[str, Any]:
    given = {"name": "Standup", "event_type": "event", "location": None, "description": None, "attendees": None}
    return {"event_id": id, "start_time": start, "end_time": end, **given, **fields}


DATA: dict[str, Any] = {
    "Account": {
        name: {"username": name, "email": email, "phone": phone, "name": full, "password": word, "session_token": None}
        for name, (email, phone, full, word) in ACCOUNTS.items()
    },
    "Alarm": {
        "nora": {id: {"alarm_id": id, "time": time} for id, time in (("a1", "06:30:00"), ("a2", "22:00:00"))},
        "omar": {"a3": {"alarm_id": "a3", "time": "07:00:00"}},
    },
    "Calendar": {
        "nora": {
            "e1": event("e1", "2025-03-11 10:00:00", "2025-03-11 11:00:00", location="Room 1", attendees=["nora"]),
            "e2": event("e2", "2025-03-12 10:00:00", "2025-03-14 11:00:00", name="Fair"),
        },
        "pia": {},
    },
    "Email": {
        "nora": {
            f"m{n}": mail(f"m{n}", f"2025-03-0{n} 08:00:00", "omar@post.example", f"Report {n}", f"Draft {n} attached")
            for n in range(1, 8)
        }
        | {
            "m8": mail("m8", "2025-03-05 12:00:00", "pia@post.example", "Lunch", "Shall we have lunch on Friday?"),
            "m9": mail("m9", "2025-03-10 09:00:01", "pia@post.example", "Lunch", "This mail is of the future."),
        },
    },
    "Message": {
        "nora": {
            "t1": {"message_id": "t1", "timestamp": "2025-03-02 08:00:00", "sender": "omar", "message": "Bring MILK"},
            "t2": {"message_id": "t2", "timestamp": "2025-03-03 08:00:00", "sender": "pia", "message": "Milk and tea"},
        }
    },
    "Reminder": {
        "nora": {
            "r1": {"reminder_id": "r1", "task": "Pay rent", "due_date": "2025-04-01 00:00:00", "status": "pending"},
            "r2": {"reminder_id": "r2", "task": "Call Pia", "due_date": None, "status": "complete"},
        },
        "omar": {"r3": {"reminder_id": "r3", "task": "Shop", "due_date": None, "status": "pending"}},
    },
    "Weather": {
        "lisbon": {
            f"2025-03-{day}": {"date": f"2025-03-{day}", "high": day + 50, "low": day + 40, "conditions": "Sunny"}
            for day in (10, 11, 12, 13)
        },
        "oslo": {"2025-03-11": {"date": "2025-03-11", "high": 40, "low": 30, "conditions": "Snow"}},
    },
    "HistoricWeather": {"lisbon": {"march": {"min_temp": 50, "max_temp": 64, "snow_days": 0}}},
}
WORLD = World(DATA)
LOGGED_IN = World({**DATA, "Session": {"current": {"username": "nora"}}})


def world_of(username: str | None) -> World:
    return WORLD if username is None else World({**DATA, "Session": {"current": {"username": username}}})


@pytest.fixture
def box() -> StateSandbox:
    """Nora is logged in."""
    return StateSandbox(TOOLKIT, LOGGED_IN, NOW, AssistantIds(0))


@pytest.fixture
def nobody() -> StateSandbox:
    return StateSandbox(TOOLKIT, WORLD, NOW, AssistantIds(0))


def run(box: StateSandbox, name: str, /, **arguments: Any) -> ToolResult:
    return box.call(ToolCall(name, arguments))


def done(box: StateSandbox, name: str, /, **arguments: Any) -> Any:
    result = run(box, name, **arguments)
    assert result.error is None
    return json.loads(json.dumps(result.content))


def refusal(box: StateSandbox, name: str, /, **arguments: Any) -> str:
    """The tool's refusal, which must leave nothing behind."""
    before = box.digest(), box.snapshot()[1]
    result = run(box, name, **arguments)
    assert result.error is not None, result.content
    assert result.error_kind == "refused", result.error
    assert (box.digest(), box.snapshot()[1]) == before
    return result.error


def changed(box: StateSandbox, table: str) -> dict[str, Any]:
    """Records of a table that have changed, after the change."""
    return {key: row["after"] for key, row in box.diff().get(table, {}).items()}


# The toolkit


def test_seven_plugins_hold_28_tools() -> None:
    assert [len(tools) for tools in PLUGINS.values()] == [10, 3, 4, 2, 2, 4, 3]
    assert len(TOOLKIT) == 28


def test_tools_are_those_of_the_benchmark(shared: Path) -> None:
    facts = json.loads((shared / "specs" / "tooltalk_tools.json").read_text(encoding="utf-8"))
    assert set(facts) == set(TOOLKIT)
    for name, fact in facts.items():
        spec = TOOLKIT[name].spec
        assert name in {tool.spec.name for tool in PLUGINS[fact["plugin"]]}
        assert (spec.effect != "read") == fact["is_action"], name
        assert set(spec.parameters["properties"]) == set(fact["parameters"])
        required = {parameter for parameter, about in fact["parameters"].items() if about["required"]}
        assert set(spec.parameters.get("required", ())) == required, name


def test_every_tool_and_argument_is_described() -> None:
    for spec in TOOLKIT.specs:
        assert spec.description.endswith("."), spec.name
        for argument, about in spec.parameters["properties"].items():
            assert about["description"].endswith("."), (spec.name, argument)


def test_event_type_is_the_argument_with_an_enum() -> None:
    properties = TOOLKIT["CreateEvent"].spec.parameters["properties"]
    assert properties["event_type"]["enum"] == ["meeting", "event"]
    assert "enum" not in properties["name"]


def test_field_comparators_name_comparators_and_fields(box: StateSandbox) -> None:
    done(box, "SendEmail", to=["a@b.c"], subject="s", body="b")
    done(box, "SendMessage", receiver="omar", message="hi")
    tables = {"SentEmail": changed(box, "SentEmail/nora"), "SentMessage": changed(box, "SentMessage/nora")}
    for place, name in FIELD_COMPARATORS.items():
        comparator(name)
        table, field = place.split(".")
        records = tables[table] if table in tables else DATA[table]["nora"]
        assert all(field in record for record in records.values()), place


# Who is logged in

NEEDS_LOGIN: dict[str, dict[str, Any]] = {
    "GetAccountInformation": {},
    "DeleteAccount": {"password": "sesame"},
    "LogoutUser": {},
    "ChangePassword": {"old_password": "sesame", "new_password": "x"},
    "QueryUser": {"username": "omar"},
    "UpdateAccountInformation": {"password": "sesame", "new_email": "n@post.example"},
    "AddAlarm": {"time": "07:00:00"},
    "DeleteAlarm": {"alarm_id": "a1"},
    "FindAlarms": {},
    "CreateEvent": {
        "name": "x",
        "event_type": "event",
        "start_time": "2025-03-11 10:00:00",
        "end_time": "2025-03-11 11:00:00",
    },
    "DeleteEvent": {"event_id": "e1"},
    "ModifyEvent": {"event_id": "e1", "new_name": "x"},
    "QueryCalendar": {"start_time": "2025-03-11 00:00:00", "end_time": "2025-03-12 00:00:00"},
    "SendEmail": {"to": ["omar@post.example"], "subject": "x", "body": "y"},
    "SearchInbox": {"query": "lunch"},
    "SendMessage": {"receiver": "omar", "message": "hi"},
    "SearchMessages": {"query": "milk"},
    "AddReminder": {"task": "x"},
    "GetReminders": {},
    "DeleteReminder": {"reminder_id": "r1"},
    "CompleteReminder": {"reminder_id": "r1"},
}
NEEDS_NO_LOGIN: dict[str, dict[str, Any]] = {
    "UserLogin": {"username": "nora", "password": "sesame"},
    "RegisterUser": {"username": "rut", "password": "x", "email": "rut@post.example"},
    "SendVerificationCode": {"username": "nora", "email": "nora@post.example"},
    "CurrentWeather": {"location": "Lisbon"},
    "ForecastWeather": {"location": "Lisbon"},
    "HistoricWeather": {"location": "Lisbon", "month": "March"},
}


@pytest.mark.parametrize("name", NEEDS_LOGIN)
def test_tools_of_a_user_need_a_login(box: StateSandbox, nobody: StateSandbox, name: str) -> None:
    assert "log in" in refusal(nobody, name, **NEEDS_LOGIN[name]).lower()
    assert run(box, name, **NEEDS_LOGIN[name]).ok


@pytest.mark.parametrize("name", NEEDS_NO_LOGIN)
def test_other_tools_need_none(nobody: StateSandbox, name: str) -> None:
    assert run(nobody, name, **NEEDS_NO_LOGIN[name]).ok


def test_every_tool_is_in_one_of_the_two_lists() -> None:
    assert {*NEEDS_LOGIN, *NEEDS_NO_LOGIN, "ResetPassword"} == set(TOOLKIT)


def test_the_session_token_is_no_argument(box: StateSandbox) -> None:
    result = run(box, "FindAlarms", session_token="98a5a87a-7714-b404")
    assert result.error_kind == "invalid_arguments"


def test_login_and_logout(nobody: StateSandbox) -> None:
    token = done(nobody, "UserLogin", username="nora", password="sesame")["session_token"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}", token)
    assert done(nobody, "GetAccountInformation")["user"]["username"] == "nora"
    assert done(nobody, "LogoutUser") == {"status": "success"}
    assert nobody.diff() == {}
    refusal(nobody, "LogoutUser")


def test_logging_in_again_leads_to_the_same_state(nobody: StateSandbox) -> None:
    done(nobody, "UserLogin", username="nora", password="sesame")
    once = nobody.digest()
    done(nobody, "LogoutUser")
    done(nobody, "UserLogin", username="nora", password="sesame")
    assert nobody.digest() == once


def test_login_refusals(nobody: StateSandbox) -> None:
    assert refusal(nobody, "UserLogin", username="zoe", password="x") == "The username does not exist."
    assert refusal(nobody, "UserLogin", username="nora", password="x") == "The password is incorrect."
    assert run(nobody, "UserLogin", username="nora", password="sesame").ok
    assert "nora is logged in" in refusal(nobody, "UserLogin", username="omar", password="hunter2")
    again = refusal(nobody, "RegisterUser", username="rut", password="x", email="rut@post.example")
    assert "nora is logged in" in again


# Accounts


def test_account_information_shows_no_password(box: StateSandbox) -> None:
    user = {"username": "nora", "email": "nora@post.example", "phone": "111-222-3333", "name": "Nora Quist"}
    assert done(box, "GetAccountInformation") == {"user": user}


def test_delete_account(box: StateSandbox) -> None:
    assert refusal(box, "DeleteAccount", password="wrong") == "The password is incorrect."
    assert done(box, "DeleteAccount", password="sesame") == {"status": "success"}
    assert changed(box, "Account") == {"nora": None}
    assert changed(box, "Session") == {"current": None}
    assert refusal(box, "UserLogin", username="nora", password="sesame") == "The username does not exist."


def test_change_password(box: StateSandbox) -> None:
    error = refusal(box, "ChangePassword", old_password="wrong", new_password="x")
    assert error == "The old password is incorrect."
    assert done(box, "ChangePassword", old_password="sesame", new_password="open") == {"status": "success"}
    assert changed(box, "Account") == {"nora": {**DATA["Account"]["nora"], "password": "open"}}


def test_register_user(nobody: StateSandbox) -> None:
    given = {"username": "rut", "password": "pw", "email": "rut@post.example"}
    assert refusal(nobody, "RegisterUser", **{**given, "username": "omar"}) == "The username already exists."
    for address in ("rut", "rut@", "@post", "a b@post.example", "a@b@c"):
        assert refusal(nobody, "RegisterUser", **{**given, "email": address}) == "The email format is invalid."
    for number in ("1112223333", "111-222-333", "111-222-33334", "+111-222-3333", ""):
        assert refusal(nobody, "RegisterUser", **given, phone=number) == "The phone number format is invalid."
    made = done(nobody, "RegisterUser", **given, phone="111-222-3333")
    user = {"username": "rut", "email": "rut@post.example", "phone": "111-222-3333", "name": None}
    assert made["user"] == user
    assert changed(nobody, "Account") == {"rut": {**user, "password": "pw", "session_token": None}}
    assert done(nobody, "GetAccountInformation") == {"user": user}


def test_password_reset_with_a_verification_code(nobody: StateSandbox) -> None:
    reset = {"username": "nora", "new_password": "fresh"}
    assert refusal(nobody, "ResetPassword", **reset, verification_code="") == "The verification code is incorrect."
    send = {"username": "nora", "email": "nora@post.example"}
    assert refusal(nobody, "SendVerificationCode", **{**send, "email": "x@y.z"}) == "The email is incorrect."
    assert refusal(nobody, "SendVerificationCode", **{**send, "username": "zoe"}) == "The username does not exist."
    assert done(nobody, "SendVerificationCode", **send) == {"status": "success"}
    code = changed(nobody, "Account")["nora"]["verification_code"]
    assert re.fullmatch(r"\d{6}", code)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    assert refusal(nobody, "ResetPassword", **reset, verification_code=wrong) == "The verification code is incorrect."
    unknown = refusal(nobody, "ResetPassword", username="zoe", verification_code=code, new_password="x")
    assert unknown == "The username does not exist."
    assert done(nobody, "ResetPassword", **reset, verification_code=code) == {"status": "success"}
    assert run(nobody, "UserLogin", username="nora", password="fresh").ok


def test_query_user(box: StateSandbox) -> None:
    def names(**by: str) -> list[str]:
        return [user["username"] for user in done(box, "QueryUser", **by)["users"]]

    assert names(username="omar") == ["omar"]
    assert names(username="zoe") == []
    assert names(email="shared@post.example") == ["pia", "quim"]
    assert names(email="nobody@post.example") == []
    assert names(username="omar", email="shared@post.example") == ["omar"]
    assert set(done(box, "QueryUser", username="omar")["users"][0]) == {"username", "email", "phone", "name"}
    assert refusal(box, "QueryUser") == "You need to provide at least one of username and email."


def test_update_account_information(box: StateSandbox) -> None:
    def change(**changes: Any) -> dict[str, Any]:
        return {"password": "sesame", **changes}

    neither = "You need to provide at least one of new_email and new_phone_number."
    assert refusal(box, "UpdateAccountInformation", **change()) == neither
    assert refusal(box, "UpdateAccountInformation", **change(new_name="Nora Q.")) == neither
    wrong = refusal(box, "UpdateAccountInformation", password="wrong", new_email="n@post.example")
    assert wrong == "The password is incorrect."
    assert refusal(box, "UpdateAccountInformation", **change(new_email="n")) == "The email is invalid."
    both = change(new_email="n@post.example", new_phone_number="12")
    assert refusal(box, "UpdateAccountInformation", **both) == "The phone number is invalid."
    all_three = change(new_email="n@post.example", new_phone_number="999-888-7777", new_name="Nora Q.")
    assert done(box, "UpdateAccountInformation", **all_three) == {"status": "success"}
    now = {**DATA["Account"]["nora"], "email": "n@post.example", "phone": "999-888-7777", "name": "Nora Q."}
    assert changed(box, "Account") == {"nora": now}


# Alarms


def test_alarms(box: StateSandbox) -> None:
    id = done(box, "AddAlarm", time="12:00:00")["alarm_id"]
    assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{4}", id)
    assert changed(box, "Alarm/nora") == {id: {"alarm_id": id, "time": "12:00:00"}}
    assert done(box, "DeleteAlarm", alarm_id="a1") == {"status": "success"}
    assert [alarm["alarm_id"] for alarm in done(box, "FindAlarms")["alarms"]] == ["a2", id]


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({}, ["a1", "a2"]),
        ({"start_range": "06:30:00"}, ["a1", "a2"]),
        ({"start_range": "06:30:01"}, ["a2"]),
        ({"end_range": "22:00:00"}, ["a1", "a2"]),
        ({"end_range": "21:59:59"}, ["a1"]),
        ({"start_range": "07:00:00", "end_range": "08:00:00"}, []),
        ({"start_range": None, "end_range": None}, ["a1", "a2"]),
    ],
)
def test_alarms_within_a_range(box: StateSandbox, bounds: dict[str, Any], found: list[str]) -> None:
    assert [alarm["alarm_id"] for alarm in done(box, "FindAlarms", **bounds)["alarms"]] == found


def test_alarm_refusals(box: StateSandbox) -> None:
    assert refusal(box, "DeleteAlarm", alarm_id="a9") == "Alarm a9 not found."
    assert refusal(box, "DeleteAlarm", alarm_id="a3") == "Alarm a3 not found."  # Omar's
    assert "after" in refusal(box, "FindAlarms", start_range="08:00:00", end_range="07:00:00")
    for time in ("7:00:00", "24:00:00", "07:00", "soon"):
        result = run(box, "AddAlarm", time=time)
        assert result.error_kind == "invalid_arguments"
        assert result.error == f"argument `time`: expected HH:MM:SS, got {time!r}"


# Calendar

PARTY = {
    "name": "Party",
    "event_type": "event",
    "start_time": "2025-03-15 18:00:00",
    "end_time": "2025-03-15 23:00:00",
}


def test_create_event(box: StateSandbox) -> None:
    id = done(box, "CreateEvent", **PARTY)["event_id"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}", id)
    nothing_else = {"location": None, "description": None, "attendees": None}
    assert changed(box, "Calendar/nora") == {id: {"event_id": id, **PARTY, **nothing_else}}


def test_create_meeting_adds_the_user(box: StateSandbox) -> None:
    meeting = {**PARTY, "event_type": "meeting"}
    without = done(box, "CreateEvent", **meeting, attendees=["omar"])["event_id"]
    within = done(box, "CreateEvent", **meeting, attendees=["nora", "omar"])["event_id"]
    events = changed(box, "Calendar/nora")
    assert events[without]["attendees"] == ["omar", "nora"]
    assert events[within]["attendees"] == ["nora", "omar"]


def test_create_event_refusals(box: StateSandbox) -> None:
    def error(**changes: Any) -> str:
        return refusal(box, "CreateEvent", **{**PARTY, **changes})

    assert error(event_type="party") == "Event type party not supported."
    assert error(event_type="meeting") == "Meeting must have attendees."
    assert error(event_type="meeting", attendees=[]) == "Meeting must have attendees."
    assert error(end_time="2025-03-15 17:59:59") == "Start time must be before end time."
    assert error(start_time="2025-03-10 08:59:59") == "Start time and end time must be in the future."
    assert run(box, "CreateEvent", **{**PARTY, "start_time": "2025-03-10 09:00:00"}).ok
    assert run(box, "CreateEvent", **{**PARTY, "end_time": PARTY["start_time"]}).ok
    assert run(box, "CreateEvent", **{**PARTY, "start_time": "2025-03-15"}).error_kind == "invalid_arguments"


def test_delete_event(box: StateSandbox) -> None:
    assert refusal(box, "DeleteEvent", event_id="e9") == "Event e9 not found."
    assert done(box, "DeleteEvent", event_id="e1") == {"status": "success"}
    assert changed(box, "Calendar/nora") == {"e1": None}


def test_modify_event(box: StateSandbox) -> None:
    start, end = "2025-03-20 08:00:00", "2025-03-20 09:00:00"
    new = {"new_name": "Sync", "new_description": "Weekly", "new_location": "Room 2"}
    assert done(
        box, "ModifyEvent", event_id="e1", new_start_time=start, new_end_time=end, new_attendees=["omar"], **new
    ) == {"status": "success"}
    assert changed(box, "Calendar/nora") == {
        "e1": {
            **DATA["Calendar"]["nora"]["e1"],
            "name": "Sync",
            "description": "Weekly",
            "location": "Room 2",
            "start_time": start,
            "end_time": end,
            "attendees": ["omar", "nora"],
        }
    }


def test_modify_event_keeps_what_is_not_given(box: StateSandbox) -> None:
    done(box, "ModifyEvent", event_id="e1", new_location="Room 2")
    assert changed(box, "Calendar/nora") == {"e1": {**DATA["Calendar"]["nora"]["e1"], "location": "Room 2"}}


def test_modify_event_refusals(box: StateSandbox) -> None:
    def error(event_id: str = "e1", **changes: Any) -> str:
        return refusal(box, "ModifyEvent", event_id=event_id, new_name="Sync", **changes)

    start, end = "2025-03-20 08:00:00", "2025-03-20 09:00:00"
    assert error("e9") == "Event e9 not found."
    assert error(new_start_time=start) == "new_end_time must be provided if new_start_time is provided."
    assert error(new_end_time=end) == "new_start_time must be provided if new_end_time is provided."
    assert error(new_start_time=end, new_end_time=start) == "Start time must be before end time."
    past = error(new_start_time="2025-03-01 08:00:00", new_end_time=end)
    assert past == "Start time and end time must be in the future."


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2025-03-11 00:00:00", "2025-03-11 23:59:59", ["e1"]),
        ("2025-03-11 10:30:00", "2025-03-11 10:40:00", ["e1"]),  # within the event
        ("2025-03-11 11:00:00", "2025-03-11 12:00:00", ["e1"]),  # touches its end
        ("2025-03-11 11:00:01", "2025-03-12 09:59:59", []),
        ("2025-03-13 00:00:00", "2025-03-13 23:59:59", ["e2"]),
        ("2025-03-01 00:00:00", "2025-03-31 23:59:59", ["e1", "e2"]),
    ],
)
def test_query_calendar(box: StateSandbox, start: str, end: str, found: list[str]) -> None:
    events = done(box, "QueryCalendar", start_time=start, end_time=end)["events"]
    assert [event["event_id"] for event in events] == found


def test_query_calendar_refusals(box: StateSandbox) -> None:
    day = {"start_time": "2025-03-11 00:00:00", "end_time": "2025-03-11 23:59:59"}
    backwards = {"start_time": day["end_time"], "end_time": day["start_time"]}
    assert refusal(box, "QueryCalendar", **backwards) == "Start time must be before end time."
    omar = StateSandbox(TOOLKIT, world_of("omar"), NOW, AssistantIds(0))
    assert refusal(omar, "QueryCalendar", **day) == "User omar has no events."
    done(omar, "CreateEvent", **PARTY)
    assert done(omar, "QueryCalendar", **day) == {"events": []}
    pia = StateSandbox(TOOLKIT, world_of("pia"), NOW, AssistantIds(0))
    assert done(pia, "QueryCalendar", **day) == {"events": []}  # an empty calendar is one


# Mail and messages


def test_send_email_is_kept_with_its_sender(box: StateSandbox) -> None:
    to = ["omar@post.example", "x@y.z"]
    id = done(box, "SendEmail", to=to, subject="Hi", body="")["email_id"]
    assert re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{4}-[0-9a-f]{8}", id)
    sent = {"date": "2025-03-10 09:00:00", "sender": "nora@post.example", "receivers": to, "subject": "Hi", "body": ""}
    assert box.diff().keys() == {"SentEmail/nora"}
    assert changed(box, "SentEmail/nora") == {id: {"email_id": id, **sent}}
    assert refusal(box, "SendEmail", to=["x@y.z", "omar"], subject="Hi", body="") == "omar is not an email address."


def test_send_message_is_kept_with_its_sender(box: StateSandbox) -> None:
    id = done(box, "SendMessage", receiver="somebody", message="hi")["message_id"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}", id)
    sent = {"timestamp": "2025-03-10 09:00:00", "sender": "nora", "receiver": "somebody", "message": "hi"}
    assert box.diff().keys() == {"SentMessage/nora"}
    assert changed(box, "SentMessage/nora") == {id: {"message_id": id, **sent}}
    assert refusal(box, "SendMessage", receiver="omar", message="") == "Message cannot be empty."


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"query": "report"}, ["m7", "m6", "m5", "m4", "m3"]),  # newest first, five at most
        ({"query": "REPORT 2"}, ["m7", "m6", "m5", "m4", "m3"]),  # any keyword, in any case
        ({"query": "report 2", "match_type": "all"}, ["m2"]),
        ({"query": "2 report", "match_type": "all"}, ["m2"]),  # one in the subject, one in the text
        ({"query": "draft lunch", "match_type": "all"}, []),
        ({"query": "lun"}, ["m8"]),  # inside of a word; m9 lies in the future
        ({"sender": "pia@post.example"}, ["m8"]),
        ({"sender": "pia"}, []),
        ({"sender": "omar@post.example", "query": "lunch"}, []),
        ({"start_date": "2025-03-05 12:00:00", "end_date": "2025-03-06 08:00:00"}, ["m6", "m8"]),
        ({"start_date": "2025-03-07 08:00:01"}, []),
        ({"end_date": "2025-03-02 08:00:00"}, ["m2", "m1"]),
        ({"end_date": "2030-01-01 00:00:00", "query": "lunch"}, ["m8"]),
        ({"query": "", "end_date": "2025-03-01 08:00:00"}, ["m1"]),
    ],
)
def test_search_inbox(box: StateSandbox, filters: dict[str, Any], found: list[str]) -> None:
    assert [mail["email_id"] for mail in done(box, "SearchInbox", **filters)["emails"]] == found


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"query": "milk"}, ["t2", "t1"]),
        ({"query": "milk tea"}, ["t2", "t1"]),
        ({"query": "milk tea", "match_type": "all"}, ["t2"]),
        ({"sender": "omar"}, ["t1"]),
        ({"start_date": "2025-03-03 08:00:00"}, ["t2"]),
        ({"end_date": "2025-03-03 07:59:59"}, ["t1"]),
    ],
)
def test_search_messages(box: StateSandbox, filters: dict[str, Any], found: list[str]) -> None:
    assert [message["message_id"] for message in done(box, "SearchMessages", **filters)["messages"]] == found


@pytest.mark.parametrize(("name", "key"), [("SearchInbox", "emails"), ("SearchMessages", "messages")])
def test_search_refusals(box: StateSandbox, name: str, key: str) -> None:
    assert "at least one of" in refusal(box, name)
    assert "at least one of" in refusal(box, name, match_type="all")
    dates = {"start_date": "2025-03-05 12:00:00", "end_date": "2025-03-05 11:59:59"}
    assert "after" in refusal(box, name, **dates)
    assert run(box, name, query="x", match_type="some").error_kind == "invalid_arguments"
    quim = StateSandbox(TOOLKIT, world_of("quim"), NOW, AssistantIds(0))
    assert done(quim, name, query="a") == {key: []}


@given(
    bodies=st.lists(st.lists(st.sampled_from(["tea", "milk", "rice"]), max_size=3).map(" ".join), max_size=8),
    keywords=st.lists(st.sampled_from(["TEA", "milk", "ric"]), min_size=1, max_size=3),
    match_type=st.sampled_from(["any", "all"]),
)
def test_search_finds_what_a_plain_reading_finds(bodies: list[str], keywords: list[str], match_type: str) -> None:
    texts = {f"t{n}": body for n, body in enumerate(bodies)}
    messages = {
        id: {"message_id": id, "timestamp": f"2025-03-0{1 + n} 08:00:00", "sender": "omar", "message": body}
        for n, (id, body) in enumerate(texts.items())
    }
    world = World({"Message": {"nora": messages}, "Session": {"current": {"username": "nora"}}})
    box = StateSandbox(TOOLKIT, world, NOW)
    found = done(box, "SearchMessages", query=" ".join(keywords), match_type=match_type)["messages"]
    right = [
        id
        for id, body in texts.items()
        if (any if match_type == "any" else all)([keyword.lower() in body for keyword in keywords])
    ]
    assert [message["message_id"] for message in found] == right[::-1][:5]


# Reminders


def test_reminders(box: StateSandbox) -> None:
    id = done(box, "AddReminder", task="Buy tea")["reminder_id"]
    assert re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{4}", id)
    dated = done(box, "AddReminder", task="Buy tea", due_date="2025-03-12 12:00:00")["reminder_id"]
    assert changed(box, "Reminder/nora") == {
        id: {"reminder_id": id, "task": "Buy tea", "due_date": None, "status": "pending"},
        dated: {"reminder_id": dated, "task": "Buy tea", "due_date": "2025-03-12 12:00:00", "status": "pending"},
    }
    assert done(box, "CompleteReminder", reminder_id="r1") == {"status": "success"}
    assert done(box, "DeleteReminder", reminder_id=id) == {"status": "success"}
    listed = {record["reminder_id"]: record["status"] for record in done(box, "GetReminders")["reminders"]}
    assert listed == {"r1": "complete", "r2": "complete", dated: "pending"}


@pytest.mark.parametrize(
    "date", ["tomorrow", "", "2025-03-12", "2025-02-30 12:00:00", "2025-03-12T12:00:00", "2025-03-12 08+01:00"]
)
def test_reminder_with_an_odd_date(box: StateSandbox, date: str) -> None:
    assert refusal(box, "AddReminder", task="x", due_date=date) == f"Invalid due_date: {date}"


def test_reminder_refusals(box: StateSandbox) -> None:
    assert refusal(box, "CompleteReminder", reminder_id="r2") == "Reminder r2 already completed"
    for name in ("CompleteReminder", "DeleteReminder"):
        for id in ("r9", "r3"):  # r3 is Omar's
            assert refusal(box, name, reminder_id=id) == f"Reminder {id} not found in database"


# Weather


def test_weather(nobody: StateSandbox) -> None:
    days = DATA["Weather"]["lisbon"]
    assert done(nobody, "CurrentWeather", location=" LISBON ") == {"weather": days["2025-03-10"]}
    forecast = [days[f"2025-03-{day}"] for day in (11, 12, 13)]
    assert done(nobody, "ForecastWeather", location="Lisbon") == {"forecast": forecast}
    usual = DATA["HistoricWeather"]["lisbon"]["march"]
    assert done(nobody, "HistoricWeather", location="lisbon", month="MARCH") == {"weather": usual}


def test_weather_refusals(nobody: StateSandbox) -> None:
    for name in ("CurrentWeather", "ForecastWeather"):
        assert refusal(nobody, name, location=" Atlantis") == "Location atlantis not found in database"
    assert refusal(nobody, "CurrentWeather", location="Oslo") == "No weather data for oslo on 2025-03-10"
    assert refusal(nobody, "ForecastWeather", location="Oslo") == "No weather data for oslo on 2025-03-12"
    gone = refusal(nobody, "HistoricWeather", location="Oslo", month="March")
    assert gone == "Location oslo not found in database"
    missing = refusal(nobody, "HistoricWeather", location="Lisbon", month="June")
    assert missing == "Historic weather data for lisbon missing for month june"


# Several calls in one turn, and ids


def turn(box: StateSandbox, *calls: tuple[str, dict[str, Any]]) -> list[ToolResult]:
    return box.run_turn([ToolCall(name, arguments) for name, arguments in calls])


def test_two_writes_of_one_field_conflict(box: StateSandbox) -> None:
    first, second = turn(
        box,
        ("ModifyEvent", {"event_id": "e1", "new_location": "Room 2"}),
        ("ModifyEvent", {"event_id": "e1", "new_location": "Room 3"}),
    )
    assert first.ok
    assert second.error_kind == "conflict"
    assert changed(box, "Calendar/nora")["e1"]["location"] == "Room 2"
    assert run(box, "ModifyEvent", event_id="e1", new_location="Room 3").ok  # a turn of its own


def test_two_writes_of_different_fields_both_hold(box: StateSandbox) -> None:
    results = turn(
        box,
        ("ModifyEvent", {"event_id": "e1", "new_location": "Room 2"}),
        ("ModifyEvent", {"event_id": "e1", "new_name": "Sync"}),
        ("ChangePassword", {"old_password": "sesame", "new_password": "open"}),
        ("UpdateAccountInformation", {"password": "open", "new_email": "n@post.example"}),
    )
    assert all(result.ok for result in results)
    row = changed(box, "Calendar/nora")["e1"]
    assert (row["location"], row["name"]) == ("Room 2", "Sync")


def test_equal_records_of_one_turn_get_ids_of_their_own(box: StateSandbox) -> None:
    first, second = turn(box, ("AddAlarm", {"time": "07:00:00"}), ("AddAlarm", {"time": "07:00:00"}))
    assert first.content["alarm_id"] != second.content["alarm_id"]
    assert len(changed(box, "Alarm/nora")) == 2


def test_ids_come_from_seed_and_content_alone() -> None:
    def ids(seed: int, *times: str) -> dict[str, str]:
        box = StateSandbox(TOOLKIT, LOGGED_IN, NOW, AssistantIds(seed))
        return {time: done(box, "AddAlarm", time=time)["alarm_id"] for time in times}

    assert ids(1, "07:00:00", "08:00:00") == ids(1, "08:00:00", "07:00:00")
    assert ids(1, "07:00:00") != ids(2, "07:00:00")


def test_an_id_that_is_taken_is_not_given(box: StateSandbox) -> None:
    taken = done(box, "AddAlarm", time="07:00:00")["alarm_id"]
    data = {**DATA, "Alarm": {"nora": {taken: {"alarm_id": taken, "time": "05:00:00"}}}}
    world = World({**data, "Session": {"current": {"username": "nora"}}})
    other = StateSandbox(TOOLKIT, world, NOW, AssistantIds(0))
    given = done(other, "AddAlarm", time="07:00:00")["alarm_id"]
    assert given != taken
    assert [alarm["time"] for alarm in done(other, "FindAlarms")["alarms"]] == ["05:00:00", "07:00:00"]


def test_a_snapshot_brings_back_the_next_id(box: StateSandbox) -> None:
    start = box.snapshot()
    first = done(box, "AddReminder", task="x")
    box.restore(start)
    assert done(box, "AddReminder", task="x") == first
