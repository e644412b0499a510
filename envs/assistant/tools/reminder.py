"""Reminders: `{"reminder_id", "task", "due_date", "status"}` in the table `Reminder` of their owner, by id.

`due_date` may be null; `status` is `pending` or `complete`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tir_gym.envs.assistant.tools.ids import free_id
from tir_gym.envs.assistant.tools.session import signed_in
from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State, Table
from tir_gym.tool import tool


@tool(effect="write", scopes=("Reminder",), comparators={"task": "text:0.9", "due_date": "day"})
def AddReminder(state: State, task: str, due_date: str | None = None) -> dict[str, str]:
    """Remind the logged-in user of something to do.

    Args:
        task: What is to be done.
        due_date: By when, if there is a date. Format: YYYY-MM-DD HH:MM:SS.
    """
    reminders = state.table("Reminder", signed_in(state))
    if due_date is not None and not _is_moment(due_date):
        raise ToolError(f"Invalid due_date: {due_date}")
    record = {"task": task, "due_date": due_date, "status": "pending"}
    reminder_id = free_id(state, reminders, "AddReminder", record)
    reminders.put(reminder_id, {"reminder_id": reminder_id, **record})
    return {"reminder_id": reminder_id}


@tool(scopes=("Reminder",))
def GetReminders(state: State) -> dict[str, list[Any]]:
    """List all reminders of the logged-in user, pending and complete."""
    return {"reminders": list(state.table("Reminder", signed_in(state)).records())}


@tool(effect="write", scopes=("Reminder",))
def DeleteReminder(state: State, reminder_id: str) -> dict[str, str]:
    """Remove a reminder of the logged-in user.

    Args:
        reminder_id: Id of the reminder, as AddReminder and GetReminders give it.
    """
    reminders, _ = _find(state, reminder_id)
    reminders.delete(reminder_id)
    return {"status": "success"}


@tool(effect="write", scopes=("Reminder",))
def CompleteReminder(state: State, reminder_id: str) -> dict[str, str]:
    """Mark a reminder of the logged-in user as done.

    Args:
        reminder_id: Id of the reminder, as AddReminder and GetReminders give it.
    """
    reminders, reminder = _find(state, reminder_id)
    if reminder["status"] == "complete":
        raise ToolError(f"Reminder {reminder_id} already completed")
    reminders.put(reminder_id, {**reminder, "status": "complete"})
    return {"status": "success"}


TOOLS = (AddReminder, GetReminders, DeleteReminder, CompleteReminder)


def _find(state: State, reminder_id: str) -> tuple[Table, Any]:
    reminders = state.table("Reminder", signed_in(state))
    reminder = reminders.get(reminder_id)
    if reminder is None:
        raise ToolError(f"Reminder {reminder_id} not found in database")
    return reminders, reminder


def _is_moment(text: str) -> bool:
    """Whether it is `YYYY-MM-DD HH:MM:SS` to the letter, of the many forms that `fromisoformat` reads."""
    try:
        return str(datetime.fromisoformat(text)) == text
    except ValueError:
        return False
