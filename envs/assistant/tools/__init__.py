"""The assistant's 28 tools in seven plugins: the tools of the ToolTalk benchmark, on a state of plain tables.

The tables, which a world may hold and the tools read and write:

| table | path | record |
|---|---|---|
| `Session` | `current` | `{"username"}` of who is logged in; no record while nobody is |
| `Account` | username | see `account.py` |
| `Alarm`, `Calendar`, `Email`, `Message`, `Reminder` | username, id | see the module of that name |
| `SentEmail`, `SentMessage` | username of the sender, id | what was sent; written by the tools alone |
| `Weather` | location, day | see `weather.py` |
| `HistoricWeather` | location, month | see `weather.py` |

A published database file `NAME.json` is the table `NAME` as it stands. Ids of new records come from the state's
`IdSource`, the kind being the name of the tool that makes the record: `AssistantIds` for generated worlds.
"""

from tir_gym.envs.assistant.tools import account, alarm, calendar, email, message, reminder, weather
from tir_gym.envs.assistant.tools.ids import AssistantIds
from tir_gym.tool import Toolkit

PLUGINS = {
    "AccountTools": account.TOOLS,
    "Alarm": alarm.TOOLS,
    "Calendar": calendar.TOOLS,
    "Email": email.TOOLS,
    "Messages": message.TOOLS,
    "Reminder": reminder.TOOLS,
    "Weather": weather.TOOLS,
}
"""The tools by plugin."""

TOOLKIT = Toolkit(tool for tools in PLUGINS.values() for tool in tools)
"""All of them."""

FIELD_COMPARATORS = {
    "Calendar.name": "text:0.9",
    "Calendar.description": "text:0.9",
    "Calendar.location": "text:0.9",
    "Calendar.attendees": "set",
    "Reminder.task": "text:0.9",
    "Reminder.due_date": "day",
    "SentEmail.receivers": "set",
    "SentEmail.subject": "text:0.9",
    "SentEmail.body": "text:0.8",
    "SentMessage.message": "text:0.8",
}
"""How fields of final states are compared, for `StateCheck`: as leniently as the tools' own arguments."""

__all__ = ["FIELD_COMPARATORS", "PLUGINS", "TOOLKIT", "AssistantIds"]
