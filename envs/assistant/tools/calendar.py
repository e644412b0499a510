"""Calendar: events in the table `Calendar` of their owner, by id.

An event is `{"event_id", "name", "event_type", "start_time", "end_time", "location", "description", "attendees"}`;
location, description and attendees may be null. An event stands in the calendar of its maker alone.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tir_gym.envs.assistant.tools.ids import free_id
from tir_gym.envs.assistant.tools.session import signed_in
from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State
from tir_gym.tool import tool
from tir_gym.types import DateTime

EVENT_TYPES = ("meeting", "event")


@tool(
    effect="write",
    scopes=("Calendar",),
    comparators={"name": "text:0.9", "description": "text:0.9", "location": "text:0.9", "attendees": "set"},
)
def CreateEvent(
    state: State,
    name: str,
    event_type: Annotated[str, Field(json_schema_extra={"enum": list(EVENT_TYPES)})],
    start_time: DateTime,
    end_time: DateTime,
    description: str | None = None,
    location: str | None = None,
    attendees: list[str] | None = None,
) -> dict[str, str]:
    """Put an event into the calendar of the logged-in user.

    Args:
        name: What the event is called.
        event_type: Either meeting, which needs attendees, or event.
        start_time: When it begins, not in the past.
        end_time: When it ends, not before it begins.
        description: What it is about.
        location: Where it takes place.
        attendees: Usernames of those who take part. The logged-in user is added where missing.
    """
    username = signed_in(state)
    if event_type not in EVENT_TYPES:
        raise ToolError(f"Event type {event_type} not supported.")
    if event_type == "meeting" and not attendees:
        raise ToolError("Meeting must have attendees.")
    _check_times(state, start_time, end_time)
    event = {
        "name": name,
        "event_type": event_type,
        "start_time": start_time,
        "end_time": end_time,
        "location": location,
        "description": description,
        "attendees": None if attendees is None else _with(username, attendees),
    }
    events = state.table("Calendar", username)
    event_id = free_id(state, events, "CreateEvent", event)
    events.put(event_id, {"event_id": event_id, **event})
    return {"event_id": event_id}


@tool(effect="write", scopes=("Calendar",))
def DeleteEvent(state: State, event_id: str) -> dict[str, str]:
    """Remove an event from the calendar of the logged-in user.

    Args:
        event_id: Id of the event, as CreateEvent and QueryCalendar give it.
    """
    events = state.table("Calendar", signed_in(state))
    if event_id not in events:
        raise ToolError(f"Event {event_id} not found.")
    events.delete(event_id)
    return {"status": "success"}


@tool(
    effect="write",
    scopes=("Calendar",),
    comparators={
        "new_name": "text:0.9",
        "new_description": "text:0.9",
        "new_location": "text:0.9",
        "new_attendees": "set",
    },
)
def ModifyEvent(
    state: State,
    event_id: str,
    new_name: str | None = None,
    new_start_time: DateTime | None = None,
    new_end_time: DateTime | None = None,
    new_description: str | None = None,
    new_location: str | None = None,
    new_attendees: list[str] | None = None,
) -> dict[str, str]:
    """Change an event in the calendar of the logged-in user. What is not given stays as it is.

    Args:
        event_id: Id of the event, as CreateEvent and QueryCalendar give it.
        new_name: New name.
        new_start_time: New beginning, not in the past; needs new_end_time.
        new_end_time: New end, not before the beginning; needs new_start_time.
        new_description: New description.
        new_location: New place.
        new_attendees: Usernames of all who take part from now on. The logged-in user is added where missing.
    """
    username = signed_in(state)
    events = state.table("Calendar", username)
    event = events.get(event_id)
    if event is None:
        raise ToolError(f"Event {event_id} not found.")
    if new_start_time is not None and new_end_time is None:
        raise ToolError("new_end_time must be provided if new_start_time is provided.")
    if new_end_time is not None and new_start_time is None:
        raise ToolError("new_start_time must be provided if new_end_time is provided.")
    if new_start_time is not None and new_end_time is not None:
        _check_times(state, new_start_time, new_end_time)
    changes = {
        "name": new_name,
        "start_time": new_start_time,
        "end_time": new_end_time,
        "description": new_description,
        "location": new_location,
        "attendees": None if new_attendees is None else _with(username, new_attendees),
    }
    events.put(event_id, {**event, **{field: value for field, value in changes.items() if value is not None}})
    return {"status": "success"}


@tool(scopes=("Calendar",))
def QueryCalendar(state: State, start_time: DateTime, end_time: DateTime) -> dict[str, list[Any]]:
    """List the events of the logged-in user that touch a range of time.

    Args:
        start_time: Beginning of the range.
        end_time: End of the range.
    """
    username = signed_in(state)
    events = list(state.table("Calendar", username).records())
    # A calendar that was emptied is still a calendar.
    if not events and username not in state.world.records(("Calendar",)):
        raise ToolError(f"User {username} has no events.")
    if start_time > end_time:
        raise ToolError("Start time must be before end time.")
    # The end is looked at on its own because published events may end before they start.
    return {
        "events": [
            event
            for event in events
            if start_time <= event["start_time"] <= end_time
            or start_time <= event["end_time"] <= end_time
            or (event["start_time"] <= start_time and event["end_time"] >= end_time)
        ]
    }


TOOLS = (CreateEvent, DeleteEvent, ModifyEvent, QueryCalendar)


def _check_times(state: State, start: str, end: str) -> None:
    if start > end:
        raise ToolError("Start time must be before end time.")
    if start < str(state.now):
        raise ToolError("Start time and end time must be in the future.")


def _with(username: str, attendees: list[str]) -> list[str]:
    return attendees if username in attendees else [*attendees, username]
