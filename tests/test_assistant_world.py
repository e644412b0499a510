"""The Assistant's worlds: people, meetings, mail and messages that hang together."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from spoken import spoken_day, spoken_time

from tir_gym.envs.assistant.world import Facts, make_world


@pytest.fixture(params=[("train", 7), ("test", 7), ("train", 40)], ids=str)
def world(request: pytest.FixtureRequest) -> Facts:
    split, people = request.param
    return make_world(split, "some seed", people)


def test_a_world_is_the_same_every_time_and_another_one_for_another_seed() -> None:
    assert make_world("train", "1") == make_world("train", "1")
    assert make_world("train", "1") != make_world("train", "2")
    sizes = [len(json.dumps(make_world("train", str(seed)).tables)) for seed in range(20)]
    assert 30_000 < min(sizes) < max(sizes) < 70_000


def test_meetings_stand_in_the_calendars_of_those_who_attend_and_nobody_is_in_two(world: Facts) -> None:
    calendars = world.tables["Calendar"]
    for username, events in calendars.items():
        spans = sorted((event["start_time"], event["end_time"]) for event in events.values())
        assert all(start < end for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        for id, event in events.items():
            assert event["event_id"] == id
            for attendee in event["attendees"] or ():
                assert calendars[attendee][id] == event
            assert (event["event_type"] == "meeting") == (username in (event["attendees"] or ()))


def test_mail_and_messages_come_from_people_and_invitations_tell_the_truth(world: Facts) -> None:
    addresses = {account["email"]: username for username, account in world.tables["Account"].items()}
    assert len(addresses) == len(world.usernames)
    invitations = 0
    for username, box in world.tables["Email"].items():
        assert len({mail["date"] for mail in box.values()}) == len(box), "the newest mail is one"
        for id, mail in box.items():
            assert mail["email_id"] == id
            assert mail["date"] < str(world.now)
            assert username in [addresses[receiver] for receiver in mail["receivers"]]
            assert all(mail == world.tables["Email"][addresses[receiver]][id] for receiver in mail["receivers"])
            if mail["subject"].startswith("Invitation: "):
                name = mail["subject"].removeprefix("Invitation: ")
                (event,) = [event for event in world.tables["Calendar"][username].values() if event["name"] == name]
                assert event["attendees"][0] == addresses[mail["sender"]]
                assert event["location"] in mail["body"]
                assert spoken_time(event["start_time"][11:]) in mail["body"]
                assert spoken_day(event["start_time"]) in mail["body"]
                assert mail["date"] < event["start_time"]
                invitations += 1
    assert invitations
    for username, box in world.tables["Message"].items():
        assert all(message["sender"] in world.usernames for message in box.values())
        assert all(message["sender"] != username for message in box.values())


def test_ids_have_the_format_of_the_tools(world: Facts) -> None:
    forms = {"Alarm": (4, 4), "Calendar": (8, 4), "Email": (2, 4, 8), "Message": (8, 8), "Reminder": (2, 4)}
    for table, groups in forms.items():
        form = "-".join(f"[0-9a-f]{{{size}}}" for size in groups)
        for records in world.tables[table].values():
            assert all(re.fullmatch(form, id) for id in records)
