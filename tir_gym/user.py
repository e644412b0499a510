"""The scripted user: answers what it was asked, says its next line when it has one, and never calls a model."""

from __future__ import annotations

from dataclasses import dataclass

from tir_gym.records import Reply, ScriptedUser


@dataclass(frozen=True, slots=True)
class Conversation:
    """How far the user's script has come. A value: `hear` gives the next one."""

    said: int = 0
    """Lines without a slot that were said."""
    given: frozenset[str] = frozenset()
    """Slots that were asked for and given."""

    @property
    def stage(self) -> int:
        """Number of replies so far."""
        return self.said + len(self.given)


def hear(user: ScriptedUser, so_far: Conversation, text: str) -> tuple[Reply | None, Conversation]:
    """What the user replies to an assistant message without calls.

    A value that was asked for comes first (the message is a question and names it), else the next line of the script.

    Returns:
        The reply, `None` when none is due, and how far the script has come then.
    """
    question = text.casefold() if "?" in text else ""
    for reply in user.replies:
        if reply.slot is None or reply.slot in so_far.given:
            continue
        if any(phrase.casefold() in question for phrase in reply.phrases):
            return reply, Conversation(so_far.said, so_far.given | {reply.slot})
    lines = [reply for reply in user.replies if reply.slot is None]
    if so_far.said < len(lines):
        return lines[so_far.said], Conversation(so_far.said + 1, so_far.given)
    return None, so_far
