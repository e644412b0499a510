"""Alarms: `{"alarm_id", "time"}` in the table `Alarm` of their owner, by id."""

from __future__ import annotations

from typing import Any

from tir_gym.envs.assistant.tools.ids import free_id
from tir_gym.envs.assistant.tools.session import signed_in
from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State
from tir_gym.tool import tool
from tir_gym.types import TimeOfDay


@tool(effect="write", scopes=("Alarm",))
def AddAlarm(state: State, time: TimeOfDay) -> dict[str, str]:
    """Set an alarm for a time of day.

    Args:
        time: When it rings, on a 24-hour clock.
    """
    alarms = state.table("Alarm", signed_in(state))
    alarm_id = free_id(state, alarms, "AddAlarm", time)
    alarms.put(alarm_id, {"alarm_id": alarm_id, "time": time})
    return {"alarm_id": alarm_id}


@tool(effect="write", scopes=("Alarm",))
def DeleteAlarm(state: State, alarm_id: str) -> dict[str, str]:
    """Remove an alarm of the logged-in user.

    Args:
        alarm_id: Id of the alarm, as AddAlarm and FindAlarms give it.
    """
    alarms = state.table("Alarm", signed_in(state))
    if alarm_id not in alarms:
        raise ToolError(f"Alarm {alarm_id} not found.")
    alarms.delete(alarm_id)
    return {"status": "success"}


@tool(scopes=("Alarm",))
def FindAlarms(
    state: State, start_range: TimeOfDay | None = None, end_range: TimeOfDay | None = None
) -> dict[str, list[Any]]:
    """List the alarms of the logged-in user, all of them or those within a range of the day.

    Args:
        start_range: Earliest time, itself included; from midnight where absent.
        end_range: Latest time, itself included; to midnight where absent.
    """
    alarms = state.table("Alarm", signed_in(state)).records()
    if start_range is not None and end_range is not None and start_range > end_range:
        raise ToolError("start_range must not be after end_range.")
    first, last = start_range or "00:00:00", end_range or "23:59:59"
    return {"alarms": [alarm for alarm in alarms if first <= alarm["time"] <= last]}


TOOLS = (AddAlarm, DeleteAlarm, FindAlarms)
