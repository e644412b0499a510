"""Mail: received mails in the table `Email` of their owner, sent ones in `SentEmail` of their sender, by id.

A mail is `{"email_id", "date", "sender", "receivers", "subject", "body"}` with addresses, not usernames. A sent mail is
on its way: it reaches no inbox within an episode.
"""

from __future__ import annotations

from typing import Any

from tir_gym.envs.assistant.tools.account import EMAIL_ADDRESS
from tir_gym.envs.assistant.tools.ids import free_id
from tir_gym.envs.assistant.tools.search import MatchType, newest_matches
from tir_gym.envs.assistant.tools.session import own_account, signed_in
from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State
from tir_gym.tool import tool
from tir_gym.types import DateTime


@tool(
    effect="irreversible",
    scopes=("SentEmail",),
    comparators={"to": "set", "subject": "text:0.9", "body": "text:0.8"},
)
def SendEmail(state: State, to: list[str], subject: str, body: str) -> dict[str, str]:
    """Send an email in the name of the logged-in user.

    Args:
        to: Email addresses of the receivers.
        subject: The subject line.
        body: The text.
    """
    username, account = own_account(state)
    for address in to:
        if not EMAIL_ADDRESS.fullmatch(address):
            raise ToolError(f"{address} is not an email address.")
    mail = {"date": str(state.now), "sender": account["email"], "receivers": to, "subject": subject, "body": body}
    sent = state.table("SentEmail", username)
    email_id = free_id(state, sent, "SendEmail", mail)
    sent.put(email_id, {"email_id": email_id, **mail})
    return {"email_id": email_id}


@tool(scopes=("Email",))
def SearchInbox(
    state: State,
    query: str | None = None,
    match_type: MatchType = "any",
    sender: str | None = None,
    start_date: DateTime | None = None,
    end_date: DateTime | None = None,
) -> dict[str, list[Any]]:
    """Search the mail that the logged-in user has received; the five newest matches come back, newest first.

    Give at least one of query, sender, start_date and end_date. A mail must pass all that are given.

    Args:
        query: Keywords to look for in subject and text, separated by spaces.
        match_type: Whether any keyword is enough or all must be found.
        sender: Exact email address of the sender.
        start_date: Earliest date.
        end_date: Latest date.
    """
    mails = state.table("Email", signed_in(state)).records()
    found = newest_matches(
        mails,
        now=str(state.now),
        date_field="date",
        text_fields=("subject", "body"),
        query=query,
        match_type=match_type,
        sender=sender,
        start_date=start_date,
        end_date=end_date,
    )
    return {"emails": found}


TOOLS = (SendEmail, SearchInbox)
