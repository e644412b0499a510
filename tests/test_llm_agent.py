"""The `llm` agent against a real HTTP server: what it sends, what it survives, and whose failure it is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from openai_server import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    OpenAIServer,
    Reply,
    Script,
    completion,
    error_reply,
    in_turn,
    oracle_model,
    tool_call,
)

import tir_gym
from tir_gym.agent import AgentFailure
from tir_gym.agents import make_agent
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.errors import UsageError
from tir_gym.records import Task

CALCULATOR = "tir_gym/Calculator-v0"
SHIPPED = [CALCULATOR, "tir_gym/Assistant-v0"]
TASK = "test/0"
BUSY = error_reply(429, "slow down", retry_after="0")
BROKEN = error_reply(500, "something broke", retry_after="0")


@pytest.fixture(autouse=True)
def _straight_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def make_env(dialect: str = "openai", env_id: str = CALCULATOR) -> tir_gym.ToolEnv:
    env = gymnasium.make(env_id, dialect=dialect).unwrapped
    assert isinstance(env, tir_gym.ToolEnv)
    return env


def play(script: Script, *, dialect: str = "openai", **options: Any) -> tuple[PlayedEpisode, OpenAIServer]:
    """An episode against a server with that script."""
    with OpenAIServer(script) as server:
        agent = make_agent(f"llm:scripted@{server.base_url}", **{"backoff": 0.001, **options})
        try:
            played = play_episode(make_env(dialect), agent, task=TASK, name="llm")
        finally:
            agent.close()  # type: ignore[attr-defined]
    return played, server


def the_oracle(dialect: str = "openai") -> Script:
    return oracle_model(make_env(dialect), TASK)


@pytest.mark.parametrize("dialect", ["openai", "hermes", "json"])
@pytest.mark.parametrize("env_id", SHIPPED)
def test_a_model_that_is_right_does_the_tasks_of_every_family(env_id: str, dialect: str) -> None:
    env = make_env(dialect, env_id=env_id)
    with OpenAIServer(in_turn(error_reply(500, "not yet scripted"))) as server:
        agent = make_agent(f"llm:scripted@{server.base_url}")
        for task in env.task_ids(12):
            server.script = oracle_model(env, task)
            assert play_episode(env, agent, task=task).trace.success is True
        agent.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("dialect", ["openai", "hermes", "json"])
def test_what_a_model_costs_is_counted(dialect: str) -> None:
    played, _ = play(the_oracle(dialect), dialect=dialect)
    turns = len(played.trace.turns)
    assert played.trace.success is True
    assert played.trace.turns[0].calls
    assert played.usage == {
        "requests": turns,
        "retries": 0,
        "prompt_tokens": PROMPT_TOKENS * turns,
        "completion_tokens": COMPLETION_TOKENS * turns,
        "context_overflows": 0,
    }


def test_native_requests_carry_tools_and_the_model_s_messages_as_they_were() -> None:
    played, server = play(the_oracle(), temperature=0.5, max_tokens=99, extra_body={"seed": 3})
    first, last = server.requests[0].body, server.requests[-1].body
    env = make_env()
    observation, info = env.reset(options={"task": TASK})
    assert first == {
        "model": "scripted",
        "messages": [dict(message) for message in observation],
        "tools": info["tools"],
        "temperature": 0.5,
        "max_tokens": 99,
        "seed": 3,
    }
    said = [message for message in last["messages"] if message["role"] == "assistant"]
    assert said == [turn.action for turn in played.trace.turns[:-1]]
    ids = [call["id"] for message in said for call in message["tool_calls"]]
    assert ids[0] == "model_0_0"
    assert [message["tool_call_id"] for message in last["messages"] if message["role"] == "tool"] == ids


@pytest.mark.parametrize(("dialect", "mark"), [("hermes", "<tool_response>"), ("json", "Result of ")])
def test_text_requests_say_the_tools_in_words_and_hold_nothing_native(dialect: str, mark: str) -> None:
    _, server = play(the_oracle(dialect), dialect=dialect)
    for request in server.requests:
        assert "tools" not in request.body
        assert {message["role"] for message in request.body["messages"]} <= {"system", "user", "assistant"}
        assert '"multiply"' in request.body["messages"][0]["content"]
    assert server.requests[1].body["messages"][-1]["role"] == "user"
    assert server.requests[1].body["messages"][-1]["content"].startswith(mark)


def test_parallel_calls_of_one_message_are_one_turn_and_each_is_answered_by_id() -> None:
    calls = [tool_call("add", '{"a": 1, "b": 2}', id="x"), tool_call("multiply", '{"a": 3, "b": 4}', id="y")]
    played, server = play(in_turn(completion({"content": None, "tool_calls": calls}), completion({"content": "7"})))
    assert [result.content for result in played.trace.turns[0].results] == [3.0, 12.0]
    sent = server.requests[1].body["messages"][-2:]
    assert [(message["tool_call_id"], message["content"]) for message in sent] == [("x", "3.0"), ("y", "12.0")]


def test_text_results_of_parallel_calls_come_back_in_one_message() -> None:
    text = make_env("hermes").dialect.render(
        "", [tir_gym.ToolCall("add", {"a": 1, "b": 2}), tir_gym.ToolCall("add", {"a": 3, "b": 4})]
    )
    _, server = play(in_turn(completion({"content": text}), completion({"content": "7"})), dialect="hermes")
    roles = [message["role"] for message in server.requests[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert server.requests[1].body["messages"][-1]["content"].count("<tool_response>") == 2


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [('{"a": 1, "b": ', "malformed"), ("[1, 2]", "malformed"), ('{"a": "one", "b": 2}', "invalid_arguments")],
)
def test_bad_arguments_reach_the_environment_as_they_are(arguments: str, kind: str) -> None:
    bad = completion({"content": None, "tool_calls": [tool_call("add", arguments)]})
    played, server = play(in_turn(bad, completion({"content": "done"})))
    turn = played.trace.turns[0]
    assert turn.action["tool_calls"][0]["function"]["arguments"] == arguments
    assert "error" in json.loads(turn.observation[0]["content"])
    if kind == "malformed":
        assert len(turn.malformed) == 1
        assert turn.calls == ()
    else:
        assert turn.results[0].error_kind == kind
    assert played.trace.success is False
    assert server.requests[1].body["messages"][-2]["tool_calls"][0]["function"]["arguments"] == arguments


def test_an_unknown_tool_is_the_model_s_mistake() -> None:
    bad = completion({"content": None, "tool_calls": [tool_call("ad", "{}")]})
    played, _ = play(in_turn(bad, completion({"content": "done"})))
    assert played.trace.turns[0].results[0].error_kind == "unknown_tool"
    assert "did you mean add" in played.trace.turns[0].observation[0]["content"]
    assert played.trace.infra_error is None


def test_a_server_that_refuses_unreadable_calls_in_the_conversation_gets_them_quoted() -> None:
    """As many servers do, which parse the arguments of earlier calls to render them."""

    def strict(request: dict[str, Any], number: int) -> Reply:
        said = [message for message in request["messages"] if message["role"] == "assistant"]
        if not said:
            return completion({"content": None, "tool_calls": [tool_call("add", '{"a": ')]})
        try:
            json.loads(said[0]["tool_calls"][0]["function"]["arguments"])
        except ValueError as error:
            return error_reply(400, str(error))
        return completion({"content": "done"})

    played, server = play(strict)
    assert played.trace.ending == "answer"
    assert played.trace.success is False
    assert played.trace.turns[0].action["tool_calls"][0]["function"]["arguments"] == '{"a": '
    assert played.usage["requests"] == 3
    assert played.usage["retries"] == 1
    sent = server.requests[-1].body["messages"][-2]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(sent) == {"unreadable": '{"a": '}


@pytest.mark.parametrize("id", [None, ""])
def test_calls_without_an_id_get_one(id: str | None) -> None:
    call = completion({"content": None, "tool_calls": [tool_call("add", '{"a": 1, "b": 2}', id=id)]})
    played, _ = play(in_turn(call, completion({"content": "3"})))
    assert played.trace.turns[0].results[0].content == 3.0


def test_null_content_without_calls_is_an_empty_answer() -> None:
    played, _ = play(in_turn(completion({"content": None, "refusal": None, "tool_calls": []})))
    assert played.trace.ending == "answer"
    assert played.trace.turns[0].text == ""
    assert played.trace.success is False


def test_a_refusal_is_marked_as_one() -> None:
    played, _ = play(in_turn(completion({"content": None, "refusal": "I will not."})))
    assert played.trace.ending == "refusal"


def test_fields_that_only_this_server_knows_are_kept() -> None:
    call = {"content": None, "reasoning_content": "first add", "tool_calls": [tool_call("add", '{"a": 1, "b": 2}')]}
    played, server = play(in_turn(completion(call), completion({"content": "3"})))
    assert played.trace.turns[0].action["reasoning_content"] == "first add"
    assert server.requests[1].body["messages"][-2]["reasoning_content"] == "first add"


FAULTS = {
    "rate limit": BUSY,
    "server error": BROKEN,
    "unavailable": error_reply(503, "starting"),
    "not JSON": Reply(b"<html>bad gateway</html>"),
    "no choices": Reply({"choices": []}),
    "null choices": Reply({"choices": None}),
    "null message": Reply({"choices": [{"message": None}]}),
    "a list": Reply([1, 2]),
    "cut in the body": Reply({"choices": [{"message": {"content": "x" * 500}}]}, cut=40),
    "cut at once": Reply({"choices": []}, cut=0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_passes_is_retried(fault: Reply) -> None:
    right = the_oracle()
    played, server = play(in_turn(right, fault, fault, right))
    assert played.trace.success is True
    assert played.usage["retries"] == 2
    assert played.usage["requests"] == len(played.trace.turns) + 2
    assert played.usage["prompt_tokens"] == PROMPT_TOKENS * len(played.trace.turns)
    assert server.requests[1].body == server.requests[3].body


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (BUSY, "rate_limit"),
        (BROKEN, "server_error"),
        (Reply(b"<html>"), "bad_response"),
        (Reply({"choices": []}), "bad_response"),
        (Reply({"choices": [{"message": {"content": "x" * 500}}]}, cut=40), "connection"),
        (Reply({}, delay=30.0), "timeout"),
    ],
    ids=["429", "500", "not-json", "no-choices", "disconnect", "timeout"],
)
def test_a_fault_that_stays_is_an_infrastructure_failure(fault: Reply, kind: str) -> None:
    played, server = play(in_turn(the_oracle(), fault), max_retries=2, timeout=0.2 if kind == "timeout" else 20.0)
    trace = played.trace
    assert trace.infra_error is not None
    assert trace.infra_error["kind"] == "agent_failure"
    assert trace.infra_error["message"].startswith(f"{kind}: {server.base_url}")
    assert "given up after 3 attempts" in trace.infra_error["message"]
    assert trace.success is None
    assert trace.ending == "infra_error"
    assert len(trace.turns) == 1
    assert played.usage["requests"] == 4
    assert played.usage["retries"] == 2


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (error_reply(400, "no such field"), "bad_request", "no such field"),
        (error_reply(401, "no key"), "unauthorized", "OPENAI_API_KEY"),
        (error_reply(404, "no such model"), "not_found", "'scripted'"),
        (error_reply(429, "pay first", code="insufficient_quota"), "quota", "pay first"),
        (error_reply(429, "later", retry_after="86400"), "rate_limit", "86400"),
    ],
)
def test_what_no_retry_can_mend_is_not_retried(fault: Reply, kind: str, words: str) -> None:
    played, server = play(in_turn(fault), max_retries=5)
    assert played.trace.infra_error is not None
    assert played.trace.infra_error["message"].startswith(f"{kind}: ")
    assert words in played.trace.infra_error["message"]
    assert played.trace.success is None
    assert len(server.requests) == 1


OVERFLOWS = [
    error_reply(400, "too long", code="context_length_exceeded"),
    error_reply(400, "This model's maximum context length is 1024 tokens. However, you requested 2000 tokens"),
    error_reply(400, "the request exceeds the available context size. try increasing the context size"),
    error_reply(500, "the request exceeds the available context size"),
    error_reply(400, "prompt is too long: 213462 tokens > 200000 maximum"),
]


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_a_conversation_that_outgrows_the_context_is_scored(overflow: Reply) -> None:
    played, server = play(in_turn(the_oracle(), overflow))
    assert played.trace.success is False
    assert played.trace.infra_error is None
    assert played.trace.ending == "answer"
    assert played.usage["context_overflows"] == 1
    assert len(server.requests) == 2


def test_a_task_that_does_not_fit_the_context_at_all_is_not_scored() -> None:
    played, _ = play(in_turn(OVERFLOWS[0]))
    assert played.trace.success is None
    assert played.trace.infra_error is not None
    assert played.trace.infra_error["message"].startswith("context_overflow: ")


@pytest.mark.parametrize("form", ["seconds", "milliseconds"])
def test_retry_after_is_honoured(form: str) -> None:
    headers = {"retry_after": "0.4"} if form == "seconds" else {"retry_after_ms": "400"}
    _, server = play(in_turn(error_reply(429, "wait", **headers), the_oracle()), backoff=0.0)
    assert server.requests[1].at - server.requests[0].at >= 0.4


def test_retry_after_may_be_a_date_and_one_that_has_passed_means_now() -> None:
    past = error_reply(503, "wait", retry_after=formatdate(0, usegmt=True))
    played, _ = play(in_turn(past, the_oracle()), backoff=3600.0)
    assert played.trace.success is True
    assert played.usage["retries"] == 1


def test_waits_grow_and_a_retry_after_that_cannot_be_read_is_ignored() -> None:
    odd = error_reply(503, "wait", retry_after="soon")
    _, server = play(in_turn(odd, odd, odd, the_oracle()), backoff=0.1)
    gaps = [b.at - a.at for a, b in zip(server.requests[:3], server.requests[1:4], strict=True)]
    assert [gap >= 0.075 * 2**i for i, gap in enumerate(gaps)] == [True] * 3


def test_nobody_at_the_port_is_an_infrastructure_failure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agent = make_agent(f"llm:m@http://127.0.0.1:{port}/v1", max_retries=1, backoff=0.0)
    played = play_episode(make_env(), agent, task=TASK)
    assert played.trace.infra_error is not None
    assert played.trace.infra_error["message"].startswith("connection: ")
    assert "is the server running" in played.trace.infra_error["message"]


def test_a_dead_endpoint_is_waited_for_once_and_not_for_every_task() -> None:
    with socket.socket() as unused:  # bound and not listening: whoever connects is refused
        unused.bind(("127.0.0.1", 0))
        agent = make_agent(f"llm:m@http://127.0.0.1:{unused.getsockname()[1]}/v1", max_retries=2, backoff=0.0)
        requests = []
        for task in ("test/0", "test/1"):
            play_episode(make_env(), agent, task=task)
            requests.append(agent.usage["requests"])
        agent.close()
    assert requests == [3, 1]


def test_a_key_is_sent_from_the_variable_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    monkeypatch.setenv("OTHER_KEY", "other")
    _, server = play(the_oracle())
    assert server.requests[0].headers["authorization"] == "Bearer usual"
    _, server = play(the_oracle(), api_key_env="OTHER_KEY")
    assert server.requests[0].headers["authorization"] == "Bearer other"
    with pytest.raises(UsageError, match="NO_SUCH_KEY"):
        make_agent("llm:m@http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY")


def test_a_new_episode_forgets_the_last_one() -> None:
    env = make_env()
    with OpenAIServer(the_oracle()) as server:
        agent = make_agent(f"llm:scripted@{server.base_url}")
        first = play_episode(env, agent, task=TASK)
        second = play_episode(env, agent, task=TASK)
        agent.close()  # type: ignore[attr-defined]
    assert first.usage == second.usage
    assert first.trace.canonical() == second.trace.canonical()


def history_request(history: list[dict[str, Any]], observation: tuple[dict[str, Any], ...], dialect: str) -> Any:
    """The messages of the request that follows when an environment has told another history."""
    env = make_env(dialect)
    _, info = env.reset(options={"task": TASK})
    with OpenAIServer(in_turn(completion({"content": "hm"}))) as server:
        agent = make_agent(f"llm:scripted@{server.base_url}")
        agent.begin({"env_id": "x", "task_id": "y", "tools": info["tools"], "dialect": dialect, "seed": 0})
        agent.act(({"role": "user", "content": "first"},), {})
        agent.act(observation, {"history": history})
        agent.close()  # type: ignore[attr-defined]
    return server.requests[-1].body["messages"]


HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "add 1 and 2"},
    {"role": "assistant", "content": None, "tool_calls": [tool_call("add", '{"a": 1, "b": 2}', id="h")]},
    {"role": "tool", "tool_call_id": "h", "name": "add", "content": "3.0"},
    {"role": "assistant", "content": "It is 3."},
]
NEXT = {"role": "user", "content": "and now?"}


def test_a_history_replaces_the_conversation() -> None:
    assert history_request(HISTORY, (NEXT,), "openai") == [*HISTORY, NEXT]


def test_a_history_may_hold_the_observation_already() -> None:
    assert history_request([*HISTORY, NEXT], (NEXT,), "openai") == [*HISTORY, NEXT]


def test_a_history_is_told_in_the_dialect() -> None:
    system, *rest = history_request(HISTORY, (NEXT,), "hermes")
    assert system["role"] == "system"
    assert [message["role"] for message in rest] == ["user", "assistant", "user", "assistant", "user"]
    call = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
    assert rest[1]["content"] == f"<tool_call>\n{call}\n</tool_call>"
    assert rest[2]["content"] == "<tool_response>\n3.0\n</tool_response>"


@pytest.mark.parametrize("dialect", ["openai", "hermes"])
def test_published_conversations_are_shown_in_place_of_the_agent_s_own(shared: Path, dialect: str) -> None:
    folder = shared / "data" / "tooltalk"
    if not folder.is_dir():
        pytest.skip(f"no ToolTalk dialogues at {folder}")
    env = gymnasium.make("tir_gym/ToolTalk-v0", data_dir=str(folder), dialect=dialect).unwrapped
    assert isinstance(env, tir_gym.ToolEnv)
    with OpenAIServer(in_turn(completion({"content": "I will not remember this."}))) as server:
        agent = make_agent(f"llm:scripted@{server.base_url}")
        for task in env.task_ids()[:5]:
            trace = play_episode(env, agent, task=task).trace
            assert trace.infra_error is None
        agent.close()  # type: ignore[attr-defined]
    assert len(server.requests) > 5
    assert "I will not remember this." not in json.dumps([request.body for request in server.requests])
    roles = {message["role"] for request in server.requests for message in request.body["messages"]}
    assert roles == {"system", "user", "assistant"} | ({"tool"} if dialect == "openai" else set())


def test_a_user_who_answers_is_heard() -> None:
    """A task with a scripted user: words without calls are not the end."""
    env = make_env()
    env.reset(options={"task": TASK})
    data = env.task.model_dump(mode="json")
    data["user"] = {"replies": [{"text": "Go on."}]}
    task = Task.model_validate(data)
    with OpenAIServer(in_turn(completion({"content": None}), completion({"content": "bye"}))) as server:
        agent = make_agent(f"llm:scripted@{server.base_url}")
        observation, info = env.reset(options={"task": task})
        begin = {"env_id": "x", "task_id": "y", "tools": info["tools"], "dialect": "openai", "seed": 0}
        agent.begin(begin)
        observation, _, terminated, _, info = env.step(agent.act(observation, info))
        assert not terminated
        _, _, terminated, _, _ = env.step(agent.act(observation, info))
        agent.close()  # type: ignore[attr-defined]
    assert terminated
    assert server.requests[1].body["messages"][-2:] == [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Go on."},
    ]


@pytest.mark.parametrize("target", ["foo", "foo@", "@http://x/v1", "foo@localhost:8000/v1", "foo@ftp://x"])
def test_a_target_of_another_form_says_the_right_one(target: str) -> None:
    with pytest.raises(UsageError, match="llm:MODEL@BASE_URL"):
        make_agent(f"llm:{target}")


def test_model_names_may_hold_slashes_colons_and_at_signs() -> None:
    right = the_oracle()
    with OpenAIServer(right) as server:
        agent = make_agent(f"llm:org/model@v2:8b-q4@{server.base_url}")
        assert play_episode(make_env(), agent, task=TASK).trace.success
        agent.close()  # type: ignore[attr-defined]
    assert server.requests[0].body["model"] == "org/model@v2:8b-q4"


@pytest.mark.parametrize("option", [{"timeout": 0}, {"max_retries": -1}, {"backoff": -1}])
def test_options_that_cannot_be_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        make_agent("llm:m@http://127.0.0.1:1/v1", **option)


def test_the_client_library_is_not_imported_before_the_first_request() -> None:
    code = (
        "import sys, tir_gym.agents as a; a.make_agent('llm:m@http://127.0.0.1:1/v1'); "
        "print([m for m in ('openai', 'rich', 'scipy', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"


def test_an_agent_failure_is_raised_to_who_plays_by_hand() -> None:
    with OpenAIServer(in_turn(error_reply(400, "no"))) as server:
        agent = make_agent(f"llm:m@{server.base_url}")
        agent.begin({"env_id": "x", "task_id": "y", "tools": [], "dialect": "openai", "seed": 0})
        with pytest.raises(AgentFailure, match="bad_request"):
            agent.act(({"role": "user", "content": "hi"},), {})
        agent.close()  # type: ignore[attr-defined]
    assert "tools" not in server.requests[0].body
