"""An episode in which every word is an attack, for tests of what shows episodes."""

from __future__ import annotations

from tir_gym.records import MatchedCall, Provenance, ToolCall, ToolResult, Trace, Turn

EVIL = (
    '<script>document.title="owned"</script><img src=x onerror=\'document.title="owned"\'>"\'&amp;</pre></article>'
    "\x1b[31m\x00\u202e\u2066\u061c\ud800 |`*_[x](javascript:alert(1)) ```\n```\n<b>"
    "http://evil.example www.evil.example"
)
NAME = EVIL.replace("\ud800", "").replace("\x00", "")
"""What a database takes as the name of a task."""


def hostile(env_id: str, task: str = NAME) -> Trace:
    """An episode in which every word is an attack, and one tool gave back 5 MB."""
    calls = (ToolCall(EVIL, {EVIL: EVIL}), ToolCall("huge"), *(ToolCall(f"flood{i}") for i in range(64)))
    results = (ToolResult(None, EVIL, EVIL), ToolResult("<i>" * 1_700_000), *(ToolResult(EVIL) for _ in range(64)))
    turn = Turn(
        action=EVIL,
        text=EVIL,
        calls=calls,
        results=results,
        malformed=(EVIL,) * 100,
        observation=({"role": "user", "content": EVIL},),
        reward=0.5,
        parts={EVIL: 0.5},
    )
    return Trace(
        provenance=Provenance(env_id=env_id, tir_gym="0", task_id=task, agent=EVIL),
        messages=({"role": EVIL, "content": EVIL},),
        tools=(),
        turns=(turn,) * 3,
        matches=(MatchedCall(turn=0, call=0, gold=0, score=0.5),),
        gold_calls=1,
        terminated=True,
        ending=NAME,
        success=False,
        checks={EVIL: False},
        turn_rewards=(0.5,) * 3,
        metrics={EVIL: 1.0},
    )
