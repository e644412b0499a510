"""The environment server: each request runs once, nobody waits for another's tool, and nothing hostile gets through."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("uvicorn", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from serving import BareClient, http, server_here, server_process

from tir_gym.cli import main
from tir_gym.envs.remote.connection import Connection
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.making import make_env
from tir_gym.server import Bounds, Catalogue, EnvironmentServer, Terms
from tir_gym.server.figures import Figures
from tir_gym.server.house import Connection as Way
from tir_gym.server.house import House
from tir_gym.server.playing import Player
from tir_gym.server.protocol import ErrorReply, Reply, schema
from tir_gym.server.sessions import Session, Sessions
from tir_gym.server.wire import failed, ok, succeeded

CALCULATOR, SLOW = "tir_gym/Calculator-v0", "slow_tools:SlowEnv"
ADD = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
]}  # fmt: skip


def wait(seconds: float) -> dict[str, Any]:
    call = {"name": "wait", "arguments": json.dumps({"seconds": seconds})}
    return {"content": None, "tool_calls": [{"id": "c", "type": "function", "function": call}]}


def run_number(reply: dict[str, Any]) -> int:
    """How often the tool had run when it gave this."""
    number: int = json.loads(reply["result"]["observation"][0]["content"])["run"]
    return number


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server_here(CALCULATOR, SLOW, "tir_gym/Assistant-v0", message=200_000) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[BareClient]:
    client = BareClient(url)
    yield client
    client.connection.close()


# The schema


def test_the_published_schema_is_the_one_that_is_checked(checkout: Path, url: str) -> None:
    published = json.loads((checkout / "docs/server.schema.json").read_text(encoding="utf-8"))
    assert published == schema(), "write it again: tir-gym serve --schema > docs/server.schema.json"
    assert json.loads(http(f"{url}/schema")[1]) == published


def test_what_is_said_is_in_the_schema(client: BareClient) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    said = jsonschema.Draft202012Validator(schema())
    client.open(CALCULATOR, render_mode="ansi")
    for op, fields in [
        ("reset", {"seed": 3}),
        ("step", {"action": ADD}),
        ("snapshot", {}),
        ("fork", {}),
        ("render", {}),
        ("trace", {}),
        ("tasks", {"n": 2}),
        ("task", {"task": "test/1"}),
        ("forget", {"snapshots": ["none"]}),
        ("truncate", {"ending": "max_tokens"}),
        ("step", {"action": ADD}),
        ("close", {}),
        ("step", {"action": ADD}),
    ]:
        request = {"op": op, "id": client.last + 1, "session": client.session, **fields}
        said.validate(request)
        reply = client.ask(op, **fields)
        said.validate(reply)
        (Reply if reply["ok"] else ErrorReply).model_validate(reply)


# Once


def test_a_repeated_request_gets_its_reply_and_runs_no_second_time(client: BareClient) -> None:
    client.open(SLOW)
    client.ask("reset", seed=1)
    first = client.ask("step", action=wait(0))
    again = client.say(op="step", id=client.last, session=client.session, action=wait(0))
    assert again == first
    other = client.say(op="render", id=client.last, session=client.session)["error"]
    assert (other["kind"], other["message"]) == ("out_of_order", f"id {client.last} was a step")
    assert run_number(client.ask("step", action=wait(0))) == run_number(first) + 1
    key = "a-random-text-of-a-client"
    made = client.say(op="create", id=key, env_id=CALCULATOR)
    assert client.say(op="create", id=key, env_id=CALCULATOR) == made


def test_numbers_have_an_order(client: BareClient) -> None:
    client.open(CALCULATOR)
    client.ask("reset", seed=1)
    for wrong in (3, 99):
        error = client.say(op="step", id=wrong, session=client.session, action="x")["error"]
        assert error["kind"] == "out_of_order"
        assert "2" in error["message"]
    assert client.ask("step", action=ADD)["ok"]


def test_a_session_goes_on_over_another_connection_and_what_ran_is_told(url: str) -> None:
    """The connection drops while a tool runs: the client comes back, asks again, and gets the one run's reply."""
    client = BareClient(url)
    client.open(SLOW)
    client.ask("reset", seed=1)
    before = run_number(client.ask("step", action=wait(0)))
    message = json.dumps({"op": "step", "id": 3, "session": client.session, "action": wait(0.3)})
    client.connection.send(message)
    assert client.connection._socket is not None
    client.connection._socket.close()  # no farewell
    client.connection._socket = None
    other = Connection(url, None, 30.0)
    replies = [json.loads(other.ask(message)) for _ in range(3)]  # the first while it still runs
    assert replies[0] == replies[1] == replies[2]
    assert run_number(replies[0]) == before + 1
    client.connection, client.last = other, 3
    assert run_number(client.ask("step", action=wait(0))) == before + 2


def test_while_a_request_runs_another_one_of_the_session_is_refused_and_uses_no_number(url: str) -> None:
    client, other = BareClient(url), Connection(url, None, 30.0)
    client.open(SLOW)
    client.ask("reset", seed=1)
    client.connection.send(json.dumps({"op": "step", "id": 2, "session": client.session, "action": wait(2)}))
    time.sleep(0.3)
    next_one = json.dumps({"op": "step", "id": 3, "session": client.session, "action": wait(0)})
    assert json.loads(other.ask(next_one))["error"]["kind"] == "busy"
    assert json.loads(client.connection.receive())["ok"]
    assert json.loads(other.ask(next_one))["ok"]


# Counted


@given(st.text(max_size=64), st.text(max_size=64))
def test_a_reply_says_whether_the_request_succeeded_whatever_its_client_calls_itself(id: str, session: str) -> None:
    assert succeeded(ok(id, session, {"ok": False}))
    assert not succeeded(failed(id, session, "usage", '"ok":true'))
    assert not succeeded(failed('"ok":true,' + id, session, "usage", "no"))


def test_requests_are_counted_by_operation_failure_and_seconds() -> None:
    figures = Figures(lambda: 3.0, 5)
    for seconds in (0.0002, 0.04, 100.0):
        figures.count("step", ok(1, "x", {}), seconds)
    figures.count("step", failed("é" * 60, "x", "usage", "no"))
    said = figures.text().decode().splitlines()
    for line in (
        "tir_gym_sessions 3.0",
        'tir_gym_requests_total{failed="false",op="step"} 3.0',
        'tir_gym_requests_total{failed="true",op="step"} 1.0',
        'tir_gym_request_seconds_bucket{le="0.0002",op="step"} 1.0',
        'tir_gym_request_seconds_bucket{le="0.01",op="step"} 1.0',
        'tir_gym_request_seconds_bucket{le="0.05",op="step"} 2.0',
        'tir_gym_request_seconds_bucket{le="30.0",op="step"} 2.0',
        'tir_gym_request_seconds_bucket{le="+Inf",op="step"} 3.0',
        'tir_gym_request_seconds_count{op="step"} 3.0',
        'tir_gym_request_seconds_sum{op="step"} 100.0402',
    ):
        assert line in said


# Beside each other


def test_a_slow_tool_holds_up_no_other_session(url: str) -> None:
    slow, quick = BareClient(url), BareClient(url)
    slow.open(SLOW)
    slow.ask("reset", seed=1)
    quick.open(CALCULATOR)
    slow.connection.send(json.dumps({"op": "step", "id": 2, "session": slow.session, "action": wait(60)}))
    for _ in range(5):  # as many steps as there is time for, and resets, which run in threads
        assert quick.ask("reset", seed=1)["ok"]
        assert quick.ask("step", action=ADD)["ok"]
    assert not slow.connection.is_stale()  # its reply is not there yet
    slow.connection.close()


def test_what_is_long_is_played_in_a_thread() -> None:
    async def play() -> None:
        bounds = Bounds()
        sessions = Sessions(bounds)
        house = House(Player(Catalogue([CALCULATOR]), sessions), Figures(lambda: 0.0, 1))
        session = sessions.open(CALCULATOR, make_env(CALCULATOR))
        session.env.reset(seed=1)
        session.at_once = True

        def step(id: int, text: str) -> str | asyncio.Future[str]:
            call = {"id": "c", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
            action = {"content": text, "tool_calls": [call]}
            return house.call(json.dumps({"op": "step", "id": id, "session": session.token, "action": action}))

        assert isinstance(step(1, "short"), str)
        later = step(2, "x" * 20_000)
        assert isinstance(later, asyncio.Future)
        assert json.loads(await later)["ok"]

        def where(_: Session) -> threading.Thread:
            return threading.current_thread()

        assert await house.run(session, "mcp", where, 100) is threading.current_thread()
        assert await house.run(session, "mcp", where, 20_000) is not threading.current_thread()
        await house.close()

    asyncio.run(play())


def test_one_connection_may_use_many_sessions_at_the_same_time(url: str) -> None:
    client = BareClient(url)
    sessions = []
    for _ in range(8):
        client.open(SLOW)
        client.ask("reset", seed=1)
        sessions.append(client.session)
    for session in sessions:
        action = wait(2 if session == sessions[0] else 0)
        client.connection.send(json.dumps({"op": "step", "id": 2, "session": session, "action": action}))
    replies = [json.loads(client.connection.receive()) for _ in sessions]
    assert all(reply["ok"] for reply in replies)
    assert {reply["session"] for reply in replies} == set(sessions)
    assert replies[-1]["session"] == sessions[0]  # the others did not wait for it


def test_many_clients_get_the_very_episode_each(url: str) -> None:
    env = make_env(CALCULATOR, split="test")
    played = {}
    for task in env.task_ids(6):
        _, info = env.reset(options={"task": task})
        actions = [env.dialect.render(*move) for move in info["oracle"].script()]
        played[task] = [(action, env.step(action)) for action in actions]

    def play(task: str) -> None:
        client = BareClient(url)
        client.open(CALCULATOR)
        client.ask("reset", task=task)
        for action, (observation, reward, *_) in played[task]:
            result = client.ask("step", action=action)["result"]
            assert (tuple(result["observation"]), result["reward"]) == (observation, reward)
        client.ask("close")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(play, [*played] * 3))


# Bounds


def test_idle_sessions_and_dropped_ones_expire() -> None:
    with server_here(CALCULATOR, idle=2.0, grace=0.2) as url:
        held, dropped = BareClient(url), BareClient(url)
        held.open()
        dropped.open()
        dropped.connection.close()
        for _ in range(12):  # used, it lives longer than it may stand idle
            assert held.ask("tasks", n=1)["ok"]
            time.sleep(0.25)
        until_expired(url, 1)
        message = {"op": "render", "id": 1, "session": dropped.session}
        assert json.loads(http(f"{url}/v1/call", message)[1])["error"]["kind"] == "no_session"
        until_expired(url, 2)
        assert held.ask("tasks", n=1)["error"]["kind"] == "no_session"


def test_connections_hold_no_sessions_that_are_no_longer_theirs() -> None:
    async def play() -> None:
        bounds = Bounds()
        sessions = Sessions(bounds)
        house = House(Player(Catalogue([CALCULATOR]), sessions), Figures(lambda: 0.0, 1))
        first, second, third = Way(), Way(), Way()

        async def create(id: str, connection: Way, drop: bool = False) -> Session:
            reply = house.call(json.dumps({"op": "create", "id": id}), connection)
            assert isinstance(reply, asyncio.Future)
            if drop:
                house.drop(connection)
            session = sessions.get(json.loads(await reply)["session"])
            assert session is not None
            return session

        session = await create("a" * 16, first)
        assert first.sessions == {session}
        house.call(json.dumps({"op": "forget", "id": 1, "session": session.token, "snapshots": []}), second)
        while session.pending is not None:
            await session.pending
        assert (first.sessions, second.sessions) == (set(), {session})
        house.drop(first)
        assert session.dropped is None  # it is used over another one
        await house.finish(session)
        assert second.sessions == set()
        late = await create("b" * 16, third, drop=True)
        assert late.dropped is not None  # nobody heard of it, so its time of grace runs
        assert late.connection is None
        await house.close()

    asyncio.run(play())


def until_expired(url: str, count: int) -> None:
    """Wait until so many sessions have expired, a minute at most."""
    for _ in range(600):
        if f"tir_gym_expired_sessions_total {count}.0" in http(f"{url}/metrics")[1]:
            return
        time.sleep(0.1)
    pytest.fail(f"{count} sessions have not expired")


def test_sessions_snapshots_and_messages_are_bounded() -> None:
    with server_here(CALCULATOR, sessions=2, snapshots=2, message=2000) as url:
        first, second, third = (BareClient(url) for _ in range(3))
        first.open()
        second.open()
        error = third.say(op="create", id="x" * 16)["error"]
        assert error["kind"] == "limit"
        first.ask("reset", seed=1)
        no_room = first.ask("fork")
        assert no_room["error"]["kind"] == "limit"
        again = first.say(op="fork", id=first.last, session=first.session)
        assert again == no_room  # it has used up its number, as the schema says
        kept = [first.ask("snapshot")["result"]["snapshot"] for _ in range(2)]
        assert first.ask("snapshot")["error"]["kind"] == "limit"
        first.ask("forget", snapshots=kept[:1])
        assert first.ask("snapshot")["ok"]
        assert first.ask("restore", snapshot=kept[0])["error"]["kind"] == "usage"
        assert second.ask("close")["ok"]
        third.open()  # there is room again
        with pytest.raises(InfrastructureError, match="--max-message") as refused:
            third.ask("step", action="x" * 3000)
        assert refused.value.kind == "message_too_big"
        status, reply = http(f"{url}/v1/call", {"op": "step", "action": "x" * 3000})
        assert status == 413
        assert json.loads(reply)["error"] == {
            "kind": "limit", "message": "a message of more than 2000 bytes", "cause": None
        }  # fmt: skip
        assert third.say(op="tasks", id=1, session=third.session, n=1)["ok"]  # the session has not suffered


def test_turns_that_a_client_chooses_are_bounded() -> None:
    with server_here(CALCULATOR, turns=7) as url:
        client = BareClient(url)
        refused = client.say(op="create", id="x" * 16, options={"max_turns": 10**9})["error"]
        assert refused["kind"] == "usage"
        assert "'max_turns' is 1000000000, and on this server at most 7" in refused["message"]
        assert client.open(max_turns=7)["result"]["max_turns"] == 7
        with pytest.raises(UsageError, match="at most 7"):
            make_env("tir_gym/Remote-v0", url=url, max_turns=8)


def test_a_token_is_demanded_and_shown_in_three_ways() -> None:
    with server_here(CALCULATOR, token="secret") as url:
        assert http(f"{url}/healthz") == (200, '{"status":"ok"}')
        for path in ("/metrics", "/schema", "/environments", "/openenv/Calculator-v0/health"):
            assert http(f"{url}{path}")[0] == 401
        assert http(f"{url}/metrics", Authorization="Bearer wrong")[0] == 401
        assert http(f"{url}/metrics", Authorization="Bearer secret")[0] == 200
        with pytest.raises(InfrastructureError, match="401") as refused:
            BareClient(url).open()
        assert refused.value.kind == "server_refused"
        assert BareClient(url, "secret").open()["ok"]
        assert BareClient(url.replace("://", "://anybody:secret@")).open()["ok"]


def test_no_page_of_somebody_else_gets_in(url: str) -> None:
    call = {"op": "create", "id": "x" * 16, "env_id": CALCULATOR}
    assert http(f"{url}/v1/call", call, Origin="https://evil.example")[0] == 403
    assert http(f"{url}/v1/call", call, Host="evil.example")[0] == 403  # a name that was made to lead here
    assert http(f"{url}/v1/call", call, Host="127.evil.example")[0] == 403
    assert http(f"{url}/v1/call", call, Origin=url)[0] == 200


def test_others_are_let_in_with_a_token_only() -> None:
    with pytest.raises(UsageError, match="token"):
        EnvironmentServer(Catalogue([CALCULATOR]), Bounds(), Terms(host="0.0.0.0", port=0))


@pytest.mark.parametrize("token", [" ", "t\u00f6ken", "two\nlines", "blank "])
def test_a_token_that_no_header_can_hold_is_refused(token: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("TIR_GYM_TOKEN", token)
    assert main(["serve", CALCULATOR, "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "($TIR_GYM_TOKEN) goes through a header" in capsys.readouterr().err
    with pytest.raises(UsageError, match="visible ASCII"):
        EnvironmentServer(Catalogue([CALCULATOR]), Bounds(), Terms(port=0, token=token))


def test_an_address_that_is_taken_is_told_in_a_line(capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", CALCULATOR, "--port", port]) == 2
    said = f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another port"
    assert capsys.readouterr().err.strip() == said


def test_a_client_that_is_not_let_in_leaves_no_error_in_the_server_s_log(caplog: pytest.LogCaptureFixture) -> None:
    with server_here(CALCULATOR, token="the right one") as url:
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        for _ in range(2):
            with pytest.raises(InfrastructureError, match="401"):
                make_env("tir_gym/Remote-v0", url=url, token="the wrong one")
        assert http(f"{url}/metrics", Authorization="Bearer the right one")[0] == 200
    logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == []


# Hostile messages


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"step"',
        "{",
        "[" * 100_000,
        '{"op": "step"}',
        '{"op": "fly", "id": 1, "session": "x"}',
        '{"op": "step", "id": true, "session": "x", "action": 1}',
        '{"op": "step", "id": "1", "session": "x", "action": 1}',
        '{"op": "step", "id": 1, "session": {"x": 1}, "action": 1}',
        '{"op": "step", "id": 1, "session": "x", "action": 1, "more": 2}',
        '{"op": "reset", "id": 1, "session": "x", "task": {"id": "mine"}}',
        '{"op": "create", "id": "short"}',
        '{"op": "tasks", "id": 1, "session": "x", "n": 10001}',
        '{"op": "tasks", "id": 1, "session": "x", "n": 1, "first": 2147483649}',
        '{"op": "tasks", "id": 1, "session": "x", "n": ' + "9" * 5000 + "}",
        '{"op": "\\ud800", "id": "\\ud800", "session": "\\ud800"}',
    ],
)
def test_what_cannot_be_read_is_told_and_the_connection_stands(client: BareClient, text: str) -> None:
    reply = json.loads(client.connection.ask(text))
    assert reply["error"]["kind"] == "bad_message"
    assert len(reply["error"]["message"]) < 2000
    assert client.open(CALCULATOR)["ok"]


def test_no_action_breaks_a_session(client: BareClient) -> None:
    client.open(CALCULATOR)
    client.ask("reset", seed=1)
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    for action in (None, 7, [], {}, {"tool_calls": 7}, deep, {"content": "\ud800"}, "\x00", float("nan")):
        reply = client.ask("step", action=action)
        if not reply["ok"] or reply["result"]["terminated"]:
            assert reply["ok"] or reply["error"]["kind"] == "usage"
            assert client.ask("reset", seed=1)["ok"]


@pytest.mark.parametrize(
    ("env_id", "options", "word"),
    [
        ("os:system", {}, "not on this server"),
        ("tir_gym/SQL-v0", {}, "not on this server"),
        (CALCULATOR, {"data_dir": "/etc"}, "cannot be chosen"),
        (CALCULATOR, {"task": {"id": "mine"}}, "id of one"),
        (CALCULATOR, {"split": "secret"}, "no split"),
        (CALCULATOR, {"reward": {"lambda": 1}}, "reward"),
        (None, {}, "env_id is missing"),
    ],
)
def test_clients_make_what_is_offered_and_nothing_else(
    client: BareClient, env_id: Any, options: Any, word: str
) -> None:
    reply = client.say(op="create", id="x" * 20 + word[:10], env_id=env_id, options=options)
    assert reply["error"]["kind"] == "usage"
    assert word in reply["error"]["message"]


def test_a_session_is_nobody_elses_who_lacks_its_token(client: BareClient) -> None:
    client.open(CALCULATOR)
    guess = client.session[:-1] + ("A" if client.session[-1] != "A" else "B")
    assert client.say(op="step", id=1, session=guess, action="x")["error"]["kind"] == "no_session"


# Gold


def test_gold_and_matching_stay_at_the_server_unless_exposed(client: BareClient) -> None:
    client.open(CALCULATOR)
    replies = [client.ask("reset", task="test/1"), client.ask("step", action=ADD), client.ask("trace")]
    replies.append(client.ask("task", task="test/1"))
    env = make_env(CALCULATOR)
    _, info = env.reset(options={"task": "test/1"})
    text = json.dumps(replies)
    for call in info["oracle"].calls[2:]:  # the first ones are in the words of the request
        assert json.dumps(call.arguments) not in text
    for key in ('"match"', '"oracle"', '"gold"', '"similarity"'):
        assert key not in text
    trace = replies[2]["result"]["trace"]
    assert (trace["matches"], trace["gold_calls"], trace["turns"][0]["parts"]) == ([], 0, {})
    assert env.task.tags
    assert replies[0]["result"]["tags"] == replies[3]["result"]["tags"] == []
    with server_here(CALCULATOR, expose_gold=True) as url:
        trusted = BareClient(url)
        assert trusted.open()["result"]["gold"]
        assert len(trusted.ask("reset", task="test/1")["result"]["info"]["oracle"]["calls"]) == len(
            info["oracle"].calls
        )
        match = trusted.ask("step", action=ADD)["result"]["info"]["match"]
        assert match == env.step(ADD)[4]["match"].to_dict()
        assert trusted.ask("trace")["result"]["trace"]["matches"]
        assert tuple(trusted.ask("task", task="test/1")["result"]["tags"]) == env.task.tags


def test_how_calls_are_compared_stays_at_the_server(client: BareClient) -> None:
    client.open("tir_gym/Assistant-v0")
    client.ask("reset", task="test/1")
    env = make_env("tir_gym/Assistant-v0")
    env.reset(options={"task": "test/1"})
    specs = [spec.model_dump() for spec in env.task.tools]
    assert any(spec["comparators"] for spec in specs)
    sent = client.ask("trace")["result"]["trace"]["tools"]
    assert sent == json.loads(json.dumps([{**spec, "comparators": {}, "same_result": ""} for spec in specs]))


@pytest.mark.parametrize("expose_gold", [False, True])
def test_what_the_operator_has_fixed_is_in_no_reply(expose_gold: bool) -> None:
    task = make_env(CALCULATOR).task_named("test/1").model_copy(update={"id": "a-secret-task"})
    catalogue = Catalogue([CALCULATOR], fixed={"task": task, "max_turns": 3})
    server = EnvironmentServer(catalogue, terms=Terms(port=0, expose_gold=expose_gold))
    with server.background() as url:
        client = BareClient(url)
        refused = client.say(op="create", id="x" * 16, options={"task": "test/2"})["error"]
        assert refused["kind"] == "usage"
        assert "'task' is fixed" in refused["message"]
        assert "a-secret-task" not in refused["message"]
        client.open(split="test")
        client.ask("reset")
        assert client.ask("trace")["result"]["trace"]["provenance"]["env_kwargs"] == {"split": "test"}
        client.session, client.last = client.ask("fork")["result"]["session"], 0
        assert client.ask("trace")["result"]["trace"]["provenance"]["env_kwargs"] == {"split": "test"}


def test_only_an_option_that_an_environment_has_can_be_left_to_clients() -> None:
    lookup = "tir_gym/Lookup-v0"
    with pytest.raises(UsageError, match=r"option 'hopz' cannot be allowed: .* they have .*\bhops\b"):
        Catalogue([CALCULATOR, lookup], allowed=["hops", "hopz"])
    env = Catalogue([CALCULATOR, lookup], allowed=["hops"]).make(lookup, {"hops": [1, 1]})
    env.reset(options={"task": "test/1"})
    assert "hops-1" in env.task.tags
    env.close()


# The other faces


def test_plain_http_says_the_same(url: str) -> None:
    made = json.loads(http(f"{url}/v1/call", {"op": "create", "id": "h" * 16, "env_id": CALCULATOR})[1])
    session = made["result"]["session"]
    status, reset = http(f"{url}/v1/call", {"op": "reset", "id": 1, "session": session, "task": "test/1"})
    assert status == 200
    env = make_env(CALCULATOR)
    assert tuple(json.loads(reset)["result"]["observation"]) == env.reset(options={"task": "test/1"})[0]
    for message, status in [
        ({"op": "step", "id": 9, "session": session, "action": "x"}, 409),
        ({"op": "step", "id": 1, "session": "none", "action": "x"}, 404),
        ({"op": "restore", "id": 2, "session": session, "snapshot": "none"}, 422),
        (b"\xff\xfe", 400),
    ]:
        assert http(f"{url}/v1/call", message)[0] == status
    assert [each["id"] for each in json.loads(http(f"{url}/environments")[1])][:1] == [CALCULATOR]


def test_an_agent_over_mcp_plays_the_episode(url: str) -> None:
    pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")
    from mcp import Client, MCPError

    client = BareClient(url)
    client.open("tir_gym/Assistant-v0")
    task = "test/3"
    client.ask("reset", task=task)
    local = make_env("tir_gym/Assistant-v0")
    _, info = local.reset(options={"task": task})

    async def play() -> None:
        async with Client(f"{url}/mcp/{client.session}") as agent:
            names = [tool.name for tool in (await agent.list_tools()).tools]
            assert names == [tool["function"]["name"] for tool in info["tools"]] + ["say"]
            listed = (await agent.list_tools()).tools[:-1]
            assert not any((tool.meta or {})["tir-gym"]["comparators"] for tool in listed)
            shown = (await agent.get_prompt("task")).messages
            assert [message.content.text for message in shown] == [  # type: ignore[union-attr]
                message["content"] for message in local.task.messages
            ]
            for text, calls in info["oracle"].script():
                for call in calls:
                    given = await agent.call_tool(call.name, dict(call.arguments))
                    _, reward, *_ = local.step(local.dialect.render("", [call]))
                    assert given.meta is not None
                    assert given.meta["tir-gym"]["reward"] == reward
                    assert given.is_error is (not local.results[0].ok)
                if not calls:
                    given = await agent.call_tool("say", {"text": text})
                    *_, last = local.step(text)
            assert given.meta is not None
            assert given.meta["tir-gym"]["terminated"]
            assert given.meta["tir-gym"]["info"]["success"] is last["success"] is True
            with pytest.raises(MCPError, match="has ended"):
                await agent.call_tool("say", {"text": "more"})

    asyncio.run(play())
    trace = client.ask("trace")["result"]["trace"]  # the session's own numbers are as they were
    assert trace["success"] is True
    assert http(f"{url}/mcp/none", {})[0] == 404


def test_a_call_over_mcp_asks_the_episode_once(url: str) -> None:
    """The SDK would list the tools before each call, to look at the called one's schema."""
    pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")
    from mcp import Client

    client = BareClient(url)
    client.open(CALCULATOR)
    client.ask("reset", seed=1)

    def asked() -> float:
        lines = http(f"{url}/metrics")[1].splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("tir_gym_requests_total{") and '"mcp"' in line
        )

    async def play() -> None:
        async with Client(f"{url}/mcp/{client.session}") as agent:
            await agent.list_tools()
            before = await asyncio.to_thread(asked)
            for name in ("add", "subtract", "no such tool"):
                await agent.call_tool(name, {"a": 1, "b": 2})
            assert await asyncio.to_thread(asked) == before + 3

    asyncio.run(play())


def test_openenv_messages(url: str) -> None:
    """Their protocol as it stands; `make test-openenv` has their own client say it."""
    from websockets.sync.client import connect

    env = make_env(CALCULATOR)
    observation, _ = env.reset(seed=4)
    with connect(f"{url.replace('http', 'ws')}/openenv/{CALCULATOR}/ws") as line:

        def say(kind: str, **data: Any) -> tuple[str, Any]:
            line.send(json.dumps({"type": kind, "data": data}))
            reply = json.loads(line.recv(10))
            return reply["type"], reply["data"]

        assert say("step", message="too soon")[0] == "error"
        kind, began = say("reset", seed=4, episode_id="mine", unknown=1)
        assert (kind, tuple(began["observation"]["messages"])) == ("observation", observation)
        assert (began["reward"], began["done"]) == (None, False)
        _, listed = say("step", type="list_tools", metadata={})
        assert [tool["name"] for tool in listed["observation"]["tools"]] == ["add", "subtract", "multiply", "divide"]
        _, called = say("step", type="call_tool", tool_name="add", arguments={"a": 1, "b": 2})
        assert called["observation"]["result"] == {"data": 3.0}
        assert called["reward"] == env.step(ADD)[1]
        _, ended = say("step", message="I give up.")
        assert (ended["done"], ended["observation"]["info"]["success"]) == (True, False)
        assert say("state")[1] == {"episode_id": "mine", "step_count": 2, "task_id": env.task.id}
        hostile = (
            '{"type": "fly"}',
            "[]",
            "",
            '{"type": "reset", "data": {"seed": -1}}',
            '{"type": "step", "data": 5}',
        )
        for text in hostile:
            line.send(text)
            assert json.loads(line.recv(10))["type"] == "error"
    with connect(f"{url.replace('http', 'ws')}/openenv/none/ws") as line:
        assert json.loads(line.recv(10))["data"]["code"] == "FACTORY_ERROR"


# The process


def test_a_killed_connection_loses_no_session_and_sigterm_ends_the_server() -> None:
    with server_process(CALCULATOR, SLOW, "--max-sessions", "50") as (url, process):
        clients = [BareClient(url) for _ in range(20)]
        threads = [threading.Thread(target=client.open, args=[SLOW]) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert "tir_gym_sessions 20.0" in http(f"{url}/metrics")[1]
        clients[0].ask("reset", seed=1)
        clients[0].connection.send(
            json.dumps({"op": "step", "id": 2, "session": clients[0].session, "action": wait(600)})
        )
        time.sleep(0.2)
        process.terminate()
        assert process.wait(60) == 0  # it does not wait for a tool that hangs
