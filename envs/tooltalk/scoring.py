"""The benchmark's figures: which calls match a gold call by its rules, and what follows from that.

An action is a call of a tool that is not read-only. Calls are gone through in order; each takes the first gold call,
of any turn, that it matches and that none has taken.

| figure | |
|---|---|
| `precision` | matches / calls, what could not be read as a call counted among them; 0 without calls |
| `recall` | matches / gold calls |
| `action_precision` | matched actions / actions; 1 without actions |
| `bad_action_rate` | bad actions / actions, bad being those that succeeded and match nothing; 0 without actions |
| `success` | 1 if recall is 1 and there is no bad action, else 0 |
| `soft_success` | recall * (1 - bad_action_rate) |

Besides these the counts they are made of, because the benchmark adds counts up over dialogues before it divides:
`calls`, `gold_calls`, `matches`, `actions`, `matched_actions`, `bad_actions`.

Texts are compared by `difflib` similarity (`text:RATIO` in `compare.py`) where the original compares sentence
embeddings by cosine, with the original's thresholds. Wordings that differ much for one meaning therefore match less
often here; texts that are equal but for case and spacing always match. The receiver of a message must be equal; the
original meant to compare it and does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tir_gym.compare import comparator, json_equal
from tir_gym.records import ToolCall, ToolResult

_RESULT_IGNORED = frozenset({"AddAlarm", "AddReminder", "CreateEvent", "ModifyEvent", "SendEmail", "SendMessage"})
"""Tools of which only success or refusal is compared, because their results hold a new id or nothing."""

_RESULT_IDS = {
    "FindAlarms": ("alarms", "alarm_id"),
    "GetReminders": ("reminders", "reminder_id"),
    "QueryCalendar": ("events", "event_id"),
    "SearchInbox": ("emails", "email_id"),
    "SearchMessages": ("messages", "message_id"),
}
"""Look-ups: right, whatever the arguments, when all ids of the gold result are among those found."""

_ARGUMENTS: dict[str, dict[str, str]] = {
    "AddReminder": {"task": "text:0.9", "due_date": "day"},
    "CreateEvent": {"name": "text:0.9", "description": "text:0.9", "location": "text:0.9"},
    "ModifyEvent": {"new_name": "text:0.9", "new_description": "text:0.9", "new_location": "text:0.9"},
    "SendEmail": {"to": "set", "subject": "text:0.9", "body": "text:0.8"},
    "SendMessage": {"message": "text:0.8"},
}
"""Comparators of arguments by tool; `exact` elsewhere. Not those of the tools themselves, which also pay rewards and
are more lenient where the benchmark is too strict."""


def score(
    made: Sequence[tuple[ToolCall, ToolResult]],
    gold: Sequence[tuple[ToolCall, ToolResult]],
    *,
    effects: Mapping[str, str],
    unread: int = 0,
) -> dict[str, float]:
    """The figures of one dialogue.

    Args:
        made: The agent's calls with their results, in order.
        gold: The gold calls with theirs.
        effects: Effect of each tool by name.
        unread: Attempts at a call that could not be read.

    Returns:
        Figures by name, see above.
    """
    left = list(range(len(gold)))
    matches = actions = matched_actions = bad_actions = 0
    for call, result in made:
        match = next((i for i in left if is_match(call, result, *gold[i])), None)
        if match is not None:
            left.remove(match)
        is_action = effects.get(call.name, "read") != "read"
        matches += match is not None
        actions += is_action
        matched_actions += is_action and match is not None
        bad_actions += is_action and match is None and result.ok
    calls = len(made) + unread
    recall = matches / len(gold) if gold else 1.0
    bad_action_rate = bad_actions / actions if actions else 0.0
    return {
        "precision": matches / calls if calls else 0.0,
        "recall": recall,
        "action_precision": matched_actions / actions if actions else 1.0,
        "bad_action_rate": bad_action_rate,
        "success": float(matches == len(gold) and not bad_actions),
        "soft_success": recall * (1.0 - bad_action_rate),
        "calls": float(calls),
        "gold_calls": float(len(gold)),
        "matches": float(matches),
        "actions": float(actions),
        "matched_actions": float(matched_actions),
        "bad_actions": float(bad_actions),
    }


def is_match(call: ToolCall, result: ToolResult, gold: ToolCall, wanted: ToolResult) -> bool:
    """Whether a call matches a gold call by the benchmark's rules."""
    if call.name != gold.name or result.error != wanted.error:
        return False
    if call.name in _RESULT_IDS and wanted.ok:
        return _ids(call.name, wanted) <= _ids(call.name, result)
    if call.name not in _RESULT_IGNORED and not json_equal(result.content, wanted.content):
        return False
    rules = _ARGUMENTS.get(call.name, {})
    return all(
        name in call.arguments and comparator(rules.get(name, "exact"))(call.arguments[name], value)
        for name, value in gold.arguments.items()
    )


def _ids(tool: str, result: ToolResult) -> set[str]:
    records, key = _RESULT_IDS[tool]
    return {record[key] for record in result.content[records]}
