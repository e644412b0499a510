"""Messages: received ones in the table `Message` of their owner, sent ones in `SentMessage` of their sender, by id.

A received message is `{"message_id", "timestamp", "sender", "message"}`, a sent one has `receiver` besides. People are
named by username. A sent message is on its way: it reaches nobody within an episode.
"""

from __future__ import annotations

from typing import Any

from tir_gym.envs.assistant.tools.ids import free_id
from tir_gym.envs.assistant.tools.search import MatchType, newest_matches
from tir_gym.envs.assistant.tools.session import signed_in
from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State
from tir_gym.tool import tool
from tir_gym.types import DateTime


@tool(effect="irreversible", scopes=("SentMessage",), comparators={"message": "text:0.8"})
def SendMessage(state: State, receiver: str, message: str) -> dict[str, str]:
    """Send a message in the name of the logged-in user.

    Args:
        receiver: Username of the receiver.
        message: The text.
    """
    username = signed_in(state)
    if not message:
        raise ToolError("Message cannot be empty.")
    # Any receiver is taken: people may have accounts that this world does not list.
    record = {"timestamp": str(state.now), "sender": username, "receiver": receiver, "message": message}
    sent = state.table("SentMessage", username)
    message_id = free_id(state, sent, "SendMessage", record)
    sent.put(message_id, {"message_id": message_id, **record})
    return {"message_id": message_id}


@tool(scopes=("Message",))
def SearchMessages(
    state: State,
    query: str | None = None,
    match_type: MatchType = "any",
    sender: str | None = None,
    start_date: DateTime | None = None,
    end_date: DateTime | None = None,
) -> dict[str, list[Any]]:
    """Search the messages that the logged-in user has received; the five newest matches come back, newest first.

    Give at least one of query, sender, start_date and end_date. A message must pass all that are given.

    Args:
        query: Keywords to look for in the text, separated by spaces.
        match_type: Whether any keyword is enough or all must be found.
        sender: Exact username of the sender.
        start_date: Earliest date.
        end_date: Latest date.
    """
    messages = state.table("Message", signed_in(state)).records()
    found = newest_matches(
        messages,
        now=str(state.now),
        date_field="timestamp",
        text_fields=("message",),
        query=query,
        match_type=match_type,
        sender=sender,
        start_date=start_date,
        end_date=end_date,
    )
    return {"messages": found}


TOOLS = (SendMessage, SearchMessages)
