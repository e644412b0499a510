"""What goes into the trace store comes out again, once, from every database. `test_store_postgres.py` runs all of it
on a real server as well; here each test gets a SQLite file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event
from tiny_agents import Down, Gold, Wild

from tir_gym.env import ToolEnv
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.errors import UsageError
from tir_gym.making import make_env
from tir_gym.records import Trace
from tir_gym.store import (
    Run,
    Store,
    conversation,
    export_jsonl,
    export_openai,
    import_jsonl,
    open_store,
)
from tir_gym.store.learning import plain
from tir_gym.store.rows import Rows, outcome_of, rows_of

CONFIG = {"env_id": "tir_gym/Calculator-v0", "env_kwargs": {"split": "test"}, "agent": "gold", "seed": 7, "k": 2}
PARTS = ("traces", "turns", "calls", "matches", "rewards")


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Where the store of a test lies, as `open_store` takes it."""
    return str(tmp_path / "made" / "on the way" / "runs.db")


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> Run:
    return store.begin_run("first", CONFIG)


@pytest.fixture(scope="module")
def env() -> ToolEnv:
    return make_env("tir_gym/Calculator-v0", split="test")


@pytest.fixture(scope="module")
def gold(env: ToolEnv) -> PlayedEpisode:
    return play_episode(env, Gold(), task="test/3", name="gold")


@pytest.fixture(scope="module")
def wild(env: ToolEnv) -> PlayedEpisode:
    return play_episode(env, Wild(), task="test/4", name="w\x00ld \udc80")


@pytest.fixture(scope="module")
def down(env: ToolEnv) -> PlayedEpisode:
    return play_episode(env, Down(), task="test/3")


def rows(place: str, sql: str) -> list[tuple[Any, ...]]:
    """What another program sees."""
    engine = sqlalchemy.create_engine(place if "://" in place else f"sqlite:///{place}")
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(sql))]
    finally:
        engine.dispose()


def retold(played: PlayedEpisode, task: str) -> PlayedEpisode:
    """The same episode as one of another task."""
    provenance = played.trace.provenance.model_copy(update={"task_id": task})
    return PlayedEpisode(played.trace.model_copy(update={"provenance": provenance}), 0.1, (), {})


# Episodes in, episodes out.


@pytest.mark.parametrize("which", ["gold", "wild", "down"])
def test_an_episode_comes_back_to_the_byte(run: Run, which: str, request: pytest.FixtureRequest) -> None:
    played = request.getfixturevalue(which)
    run.record(played, repeat=3, oracle_return=4.5, tags=("long", "ünïcödé"))
    (row,) = run.episodes()
    assert row.trace().canonical() == played.trace.canonical()
    assert (row.task_id, row.repeat) == (played.trace.provenance.task_id, 3)
    assert (row.success, row.ending, row.infra_error) == (
        played.trace.success,
        played.trace.ending,
        played.trace.infra_error,
    )
    assert row.return_ == sum(turn.reward for turn in played.trace.turns)
    assert (row.turns, row.gold_calls) == (len(played.trace.turns), played.trace.gold_calls)
    assert (row.seconds, row.usage, row.turn_seconds()) == (played.seconds, played.usage, played.turn_seconds)
    assert (row.oracle_return, row.tags) == (4.5, ("long", "ünïcödé"))


def test_wall_clock_and_counts_are_not_in_the_trace(run: Run, gold: PlayedEpisode) -> None:
    run.record(PlayedEpisode(gold.trace, 123456.75, (98765.25,), {"prompt_tokens": 31415926}), repeat=0)
    (row,) = run.episodes()
    text = row.trace_text()
    assert not any(figure in text for figure in ("123456.75", "98765.25", "31415926", "seconds"))
    assert text.isascii()


def test_an_episode_is_taken_apart_for_queries(run: Run, place: str, wild: PlayedEpisode, gold: PlayedEpisode) -> None:
    run.record(gold, repeat=0)
    trace = gold.trace
    assert rows(place, "select turn, reward, hindsight, seconds from turns order by turn") == [
        (i, turn.reward, trace.turn_rewards[i], gold.turn_seconds[i]) for i, turn in enumerate(trace.turns)
    ]
    found = rows(place, "select turn, call, name, arguments, error_kind from calls order by turn, call")
    assert [(t, c, name, json.loads(arguments), kind) for t, c, name, arguments, kind in found] == [
        (i, j, call.name, call.arguments, None)
        for i, turn in enumerate(trace.turns)
        for j, call in enumerate(turn.calls)
    ]
    assert rows(place, "select turn, call, gold, score from matches order by turn, call") == [
        (match.turn, match.call, match.gold, match.score) for match in trace.matches
    ]
    assert rows(place, "select turn, term, value from rewards order by turn, term") == [
        (i, term, turn.parts[term]) for i, turn in enumerate(trace.turns) for term in sorted(turn.parts)
    ]

    run.record(wild, repeat=0)
    query = (
        "select name, error_kind, error from calls join episodes on episodes.id = episode_id where task_id = 'test/4'"
    )
    (unknown, added) = rows(place, query + " order by turn, call")
    assert unknown[:2] == ("no\\u0000such", "unknown_tool")
    assert added == ("add", None, None)
    texts = rows(place, "select text from turns join episodes on episodes.id = episode_id where task_id = 'test/4'")
    assert ("half a pair \\udc00, a NUL \\u0000, ünïcödé 😀",) in texts


def test_versions_are_written_down(store: Store, place: str) -> None:
    import tir_gym

    found = dict(rows(place, "select name, version from versions"))
    assert found == {"schema": "1", "trace": "1", "tir_gym": tir_gym.__version__}


def test_an_episode_is_recorded_once(run: Run, place: str, gold: PlayedEpisode) -> None:
    run.record(gold, repeat=0)
    with pytest.raises(UsageError, match="task test/3, repeat 0 is recorded already"):
        run.record(gold, repeat=0)
    run.record(gold, repeat=1)
    assert run.done() == {("test/3", 0), ("test/3", 1)}
    assert rows(place, "select count(*) from traces") == [(2,)]


def test_an_infrastructure_failure_gives_way_to_the_rerun(
    run: Run, place: str, gold: PlayedEpisode, down: PlayedEpisode
) -> None:
    run.record(gold, repeat=0)
    run.record(down, repeat=1)
    assert run.done() == {("test/3", 0)}
    run.record(down, repeat=1)  # failed again
    assert [row.infra_error["kind"] for row in run.episodes() if row.infra_error] == ["agent_failure"]
    stale = next(row for row in run.episodes() if row.infra_error)
    run.record(gold, repeat=1)
    assert run.done() == {("test/3", 0), ("test/3", 1)}
    with pytest.raises(UsageError, match="task test/3, repeat 1 was replaced"):
        stale.trace()
    assert rows(place, "select count(*) from episodes") == [(2,)]
    for table in PARTS:  # nothing of the replaced episodes is left
        ((orphans,),) = rows(place, f"select count(*) from {table} where episode_id not in (select id from episodes)")
        assert orphans == 0
    with pytest.raises(UsageError, match="recorded already"):
        run.record(down, repeat=1)


def test_what_has_not_ended_is_refused(run: Run, env: ToolEnv, gold: PlayedEpisode) -> None:
    env.reset(options={"task": "test/0"})
    with pytest.raises(UsageError, match="task test/0 has not ended"):
        run.record(PlayedEpisode(env.trace(), 0.0, ()), repeat=0)
    with pytest.raises(UsageError, match="repeat=-1"):
        run.record(gold, repeat=-1)
    assert list(run.episodes()) == []


def test_episodes_come_in_order_however_many(run: Run, gold: PlayedEpisode) -> None:
    """More than a page, recorded in another order; sorted by code point, whatever the database's language."""
    names = [f"test/{i}" for i in range(600)] + ["Zebra", "apple", "Ärger", "_", "test/3/x"]
    recorded = {(name, repeat) for name in names for repeat in ((0, 1) if name in ("apple", "test/77") else (0,))}
    for name, repeat in sorted(recorded, key=lambda each: hash(each)):
        run.record(retold(gold, name), repeat=repeat)
    assert [(row.task_id, row.repeat) for row in run.episodes()] == sorted(recorded)
    assert run.done() == recorded
    episodes = run.episodes()
    next(episodes)
    run.record(retold(gold, "zzz"), repeat=0)  # a reader that dawdles holds nobody up
    assert sum(1 for _ in episodes) == len(recorded)


def test_oracle_returns_are_remembered(run: Run, gold: PlayedEpisode) -> None:
    run.record(gold, repeat=0, oracle_return=5.0)
    run.record(retold(gold, "test/9"), repeat=0)
    assert run.oracle_returns() == {"test/3": 5.0}


def test_summary_counts_up_to_the_k_of_the_config(
    run: Run, store: Store, gold: PlayedEpisode, wild: PlayedEpisode, down: PlayedEpisode
) -> None:
    run.record(gold, repeat=0, oracle_return=sum(turn.reward for turn in gold.trace.turns))
    run.record(wild, repeat=0)
    run.record(down, repeat=1)
    summary = run.summary()
    assert (summary.episodes, summary.successes, summary.infra_failures, summary.k) == (2, 1, 1, 2)
    assert summary.oracle_share is not None
    assert summary.oracle_share.value == 1.0
    assert summary.errors == {"malformed": 2, "unknown_tool": 1}
    free = store.begin_run("without k", {})
    for repeat in range(3):
        free.record(gold, repeat=repeat)
    assert free.summary().pass_hat_k[3].value == 1.0


# Runs.


def test_a_name_is_taken_once(store: Store, run: Run) -> None:
    with pytest.raises(UsageError, match="there is a run 'first' already; resume it, or choose another name"):
        store.begin_run("first", CONFIG)
    store.begin_run("second", CONFIG)
    assert [info.name for info in store.runs()] == ["first", "second"]


def test_another_run_gets_the_next_number_behind_its_name(store: Store, run: Run) -> None:
    names = [store.begin_another(run.name, {}).name for _ in range(2)]
    assert names == [f"{run.name}-2", f"{run.name}-3"]
    assert store.begin_another("other", {}).name == "other"
    with pytest.raises(UsageError, match="printable"):
        store.begin_another("", {})


def test_resuming_goes_on(store: Store, run: Run, gold: PlayedEpisode) -> None:
    run.record(gold, repeat=0)
    run.finish()
    assert run.status == "finished"
    again = store.begin_run("first", {**CONFIG, "concurrency": 8, "created_at": "later"}, resume=True)
    assert again.done() == {("test/3", 0)}
    assert again.status == "running"
    assert again.config == CONFIG
    assert store.begin_run("not there yet", CONFIG, resume=True).done() == set()


@pytest.mark.parametrize(
    ("key", "value"),
    [("env_id", "x"), ("env_kwargs", {}), ("agent", "random"), ("seed", 8), ("k", 3), ("tasks", ["a"]), ("n", 5)],
)
def test_resuming_as_something_else_is_refused(store: Store, run: Run, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"run 'first' was begun with {key}=.* cannot be resumed with {key}="):
        store.begin_run("first", {**CONFIG, key: value}, resume=True)
    without = {name: each for name, each in CONFIG.items() if name != key}
    if key in CONFIG:
        with pytest.raises(UsageError, match=f"{key}=null"):
            store.begin_run("first", without, resume=True)


def test_a_bad_name_or_config_is_refused(store: Store) -> None:
    for name in ("", "  ", "a\nb", "a\x00b", "\ud800"):
        with pytest.raises(UsageError, match="give some printable text"):
            store.begin_run(name, {})
    with pytest.raises(UsageError, match="config of run 'x' is no JSON data"):
        store.begin_run("x", {"env": object()})
    assert store.runs() == []


def test_a_missing_run_is_named(store: Store) -> None:
    with pytest.raises(UsageError, match="no run 'x' in this store; the store is empty"):
        store.run("x")
    store.begin_run("y", {})
    with pytest.raises(UsageError, match="no run 'x' in this store; the latest are 'y'"):
        store.run("x")


def test_the_list_of_runs(
    store: Store, run: Run, gold: PlayedEpisode, wild: PlayedEpisode, down: PlayedEpisode
) -> None:
    for repeat, played in enumerate((gold, wild, down)):
        run.record(retold(played, "test/3"), repeat=repeat)
    store.begin_run("empty", {"note": "nül\x00"})
    first, empty = store.runs()
    returns = [sum(turn.reward for turn in played.trace.turns) for played in (gold, wild)]
    assert (first.name, first.status, first.config) == ("first", "running", CONFIG)
    assert (first.episodes, first.successes, first.infra_failures) == (2, 1, 1)
    assert first.mean_return == pytest.approx(sum(returns) / 2)
    assert first.created_at.endswith("+00:00")
    assert first.finished_at is None
    assert (empty.episodes, empty.successes, empty.infra_failures, empty.mean_return) == (0, 0, 0, None)
    assert empty.config == {"note": "nül\x00"}
    run.finish()
    assert store.runs()[0].finished_at is not None


def test_a_store_opens_again(store: Store, run: Run, place: str, gold: PlayedEpisode) -> None:
    run.record(gold, repeat=0)
    store.close()
    store.close()
    with open_store(place) as again:
        (row,) = again.run("first").episodes()
        assert row.trace() == gold.trace


def test_a_newer_store_is_refused(store: Store, place: str) -> None:
    store.close()
    engine = sqlalchemy.create_engine(place if "://" in place else f"sqlite:///{place}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("update versions set version = '2' where name = 'schema'"))
    engine.dispose()
    with pytest.raises(UsageError, match=r"has schema version 2; this tir-gym reads up to 1: upgrade it"):
        open_store(place)


def test_the_tables_of_another_program_are_left_alone(place: str) -> None:
    if "://" not in place:
        Path(place).parent.mkdir(parents=True)
    engine = sqlalchemy.create_engine(place if "://" in place else f"sqlite:///{place}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table runs (uuid text)"))
    engine.dispose()
    with pytest.raises(UsageError, match=r"has tables of another program \(runs\)"):
        open_store(place)


def test_recording_takes_few_statements(store: Store, run: Run, gold: PlayedEpisode) -> None:
    """One per table besides the look for an earlier episode, however many turns there are."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        run.record(gold, repeat=0)
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    assert len([sql for sql in statements if sql.startswith("INSERT")]) == 1 + len(PARTS)
    assert len(statements) <= 3 + len(PARTS)


# JSONL.


def test_jsonl_carries_a_run_over(
    store: Store, run: Run, tmp_path: Path, gold: PlayedEpisode, wild: PlayedEpisode, down: PlayedEpisode
) -> None:
    run.record(gold, repeat=0, oracle_return=2.0, tags=("t",))
    run.record(wild, repeat=1)
    run.record(down, repeat=1)
    run.finish()
    first, second = tmp_path / "out" / "first.jsonl", tmp_path / "second.jsonl"
    assert export_jsonl(run, first) == 3
    copy = import_jsonl(store, first, "copy")
    assert export_jsonl(copy, second) == 3
    assert first.read_bytes() == second.read_bytes()
    assert list(copy.episodes()) == list(run.episodes())
    assert [row.trace().canonical() for row in copy.episodes()] == [row.trace().canonical() for row in run.episodes()]
    assert (copy.status, copy.config["env_id"], copy.config["k"]) == ("finished", "tir_gym/Calculator-v0", 2)
    assert copy.summary() == run.summary()
    stream = io.StringIO()
    export_jsonl(run, stream)
    assert stream.getvalue() == first.read_text(encoding="utf-8")


def test_a_line_is_whole_by_itself(run: Run, gold: PlayedEpisode) -> None:
    run.record(gold, repeat=0)
    stream = io.StringIO()
    export_jsonl(run, stream)
    line = json.loads(stream.getvalue())
    assert (line["format"], line["version"], line["beside"]["repeat"]) == ("tir-gym-episode", 1, 0)
    trace = line["trace"]
    assert trace["messages"][0]["role"] == "system"
    assert trace["tools"][0]["parameters"]["type"] == "object"
    assert trace["turns"][0]["calls"][0]["arguments"]
    assert trace["turns"][0]["parts"] == {"match": float(len(trace["turns"][0]["calls"]))}
    assert Trace.model_validate(trace) == gold.trace


def _cut(line: str) -> str:
    return line[: len(line) // 2]


def _with(**changes: Any) -> Any:
    def change(line: str) -> str:
        data = json.loads(line)
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = data
            for parent in parents:
                target = target[parent]
            target[last] = value
        return json.dumps(data)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_cut, "no JSON"),
        (lambda line: "[]", "no episode"),
        (_with(format="other"), "no episode"),
        (_with(version=2), "version 2 is newer than 1; upgrade tir-gym"),
        (_with(version="1"), "version '1' is none"),
        (_with(trace__version=2), "trace version 2 is newer than 1; upgrade tir-gym"),
        (_with(trace__turns=[{"text": 1}]), "no trace: turns/0"),
        (_with(trace=None), "no trace"),
        (_with(trace__ending=None), "has not ended"),
        (_with(beside__repeat=-1), "beside/repeat"),
        (_with(beside={}), "beside/repeat"),
        (_with(beside__repeat=0), "task test/3, repeat 0 is on line 1 already"),
    ],
)
def test_a_bad_line_imports_nothing(
    store: Store, run: Run, tmp_path: Path, gold: PlayedEpisode, change: Any, told: str
) -> None:
    for repeat in range(3):
        run.record(gold, repeat=repeat)
    file = tmp_path / "episodes.jsonl"
    export_jsonl(run, file)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([lines[0], "", change(lines[1]), lines[2]]), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"episodes\.jsonl, line 3: .*{told}"):
        import_jsonl(store, file, "copy")
    assert [info.name for info in store.runs()] == ["first"]
    assert list(run.episodes())[2].trace() == gold.trace


def test_a_run_is_added_whole_or_not_at_all(store: Store, place: str, gold: PlayedEpisode) -> None:
    def breaking_off() -> Iterator[Rows]:
        yield rows_of(gold, outcome_of(gold, repeat=0))
        raise OSError("the disk that the file lay on is gone")

    with pytest.raises(OSError, match="the disk"):
        store.add_run("x", {}, breaking_off())
    assert store.runs() == []
    assert rows(place, "select count(*) from episodes") == rows(place, "select count(*) from turns") == [(0,)]
    whole = store.add_run("x", {}, (rows_of(gold, outcome_of(gold, repeat=i)) for i in range(2)))
    assert len(whole.done()) == 2


def test_files_that_are_none(store: Store, run: Run, tmp_path: Path, gold: PlayedEpisode) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*absent"):
        import_jsonl(store, tmp_path / "absent.jsonl", "copy")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="holds no episode"):
        import_jsonl(store, tmp_path / "empty.jsonl", "copy")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no UTF-8 text"):
        import_jsonl(store, tmp_path / "latin.jsonl", "copy")
    run.record(gold, repeat=0)
    export_jsonl(run, tmp_path / "good.jsonl")
    with pytest.raises(UsageError, match="there is a run 'first' already"):
        import_jsonl(store, tmp_path / "good.jsonl", "first")


# OpenAI messages.


def check_conversation(messages: list[dict[str, Any]]) -> None:
    """Every call is answered by the tool message with its id, in order, before anything else is said."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
        else:
            assert waiting == []
            waiting = [call["id"] for call in message.get("tool_calls", ())]
        if message["role"] == "assistant":
            assert isinstance(message["content"], str) or message["tool_calls"]
    assert waiting == []


class Nameless(Gold):
    """Plays gold in text, where calls have no ids."""

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        message = super().act(observation, info)
        calls = [call["function"] for call in message.get("tool_calls", ())]
        if not calls:
            return message["content"]
        return json.dumps([{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in calls])


def test_conversations_carry_the_ids_that_the_environment_answered_with(gold: PlayedEpisode) -> None:
    env = make_env("tir_gym/Calculator-v0", split="test", dialect="json")
    nameless = play_episode(env, Nameless(), task="test/3").trace
    assert nameless.turns[1].calls[0].id is None
    messages = conversation(nameless)
    check_conversation(messages)
    said = [message for message in messages if message["role"] == "assistant"]
    assert [call["id"] for call in said[1]["tool_calls"]] == [
        f"call_1_{i}" for i in range(len(nameless.turns[1].calls))
    ]
    assert messages[: len(nameless.messages)] == [dict(message) for message in nameless.messages]
    check_conversation(conversation(gold.trace))
    assert conversation(gold.trace)[-1] == {"role": "assistant", "content": gold.trace.turns[-1].text}


def test_conversations_leave_out_what_could_not_be_read(wild: PlayedEpisode) -> None:
    messages = conversation(wild.trace)
    check_conversation(messages)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    first, second = messages[2]["tool_calls"]
    assert (first["id"], first["function"]["name"]) == ("c\x001", "no\x00such")
    assert (second["id"], json.loads(second["function"]["arguments"])) == ("call_0_2", {"a": 1, "b": 2})


def test_openai_export(run: Run, tmp_path: Path, gold: PlayedEpisode, wild: PlayedEpisode, down: PlayedEpisode) -> None:
    run.record(gold, repeat=0)
    run.record(wild, repeat=0)
    run.record(down, repeat=1)
    assert export_openai(run, tmp_path / "all.jsonl", only_success=False) == 2
    assert export_openai(run, tmp_path / "good.jsonl", only_success=True) == 1
    for name, traces in (("all", [gold.trace, wild.trace]), ("good", [gold.trace])):
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text("utf-8").splitlines()]
        assert [line["messages"] for line in lines] == [plain(conversation(trace)) for trace in traces]
        assert all(line["tools"] == [tool.to_openai() for tool in gold.trace.tools] for line in lines)
