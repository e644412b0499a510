"""The viewer: what it shows is what the store holds, who may look, and a hostile trace stays text on every page."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest
from hostile import EVIL, hostile
from pydantic import ValidationError
from sqlalchemy import create_engine, event

pytest.importorskip("starlette", reason="the extra `viewer` is not installed")

from starlette.testclient import TestClient

from tir_gym.advantages import ESTIMATORS, dual, gigpo
from tir_gym.agents.oracle import OracleAgent
from tir_gym.cli import main
from tir_gym.cli.reporting.learning import find_logs, learning_curves, read_log
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.listening import is_loopback
from tir_gym.making import make_env
from tir_gym.records import MatchedCall, Provenance, Trace
from tir_gym.replay_trace import env_of, replay_trace
from tir_gym.store import open_store
from tir_gym.store.rows import outcome_of, rows_of
from tir_gym.viewer.advantages import advantages_of
from tir_gym.viewer.app import make_app
from tir_gym.viewer.changes import FieldChange, changes_of
from tir_gym.viewer.comparing import compare
from tir_gym.viewer.episode import show_episode
from tir_gym.viewer.lines import PAGE, SORTS, Wanted
from tir_gym.viewer.matching import NARROW, WIDE, picture
from tir_gym.viewer.reader import Reader

ASSISTANT, CALCULATOR = "tir_gym/Assistant-v0", "tir_gym/Calculator-v0"
SVG = "{http://www.w3.org/2000/svg}"


class Tags(HTMLParser):
    """What a browser would make elements of, and where they lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]
        self.sources += [value or "" for name, value in attrs if name == "src" or (tag == "link" and name == "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with real runs and a run of attacks, and the log of a training run beside it."""
    folder = tmp_path_factory.mktemp("viewer")
    where = str(folder / "runs.db")
    for name, env, agent, n in (
        ("gold", ASSISTANT, "oracle", "6"),
        ("noisy", ASSISTANT, "noisy:0.4", "6"),
        ("sums", CALCULATOR, "noisy:0.5", "20"),
    ):
        words = ["eval", env, "--agent", agent, "-n", n, "-k", "3", "--run", name, "--store", where, "--json"]
        assert main(words) == 0
    with open_store(where) as opened:
        played = PlayedEpisode(hostile(CALCULATOR), 0.1, (0.1,), {})
        config = {"env_id": EVIL, "agent": EVIL, "k": 1, "n": 1, "reward": {"name": EVIL}}
        opened.add_run("evil", config, [rows_of(played, outcome_of(played, repeat=0, tags=(EVIL,)))])
    run = folder / "train" / "first"
    run.mkdir(parents=True)
    lines = [json.dumps({"step": i, "success": i / 40, "kl": 0.01 * i, "seconds_sample": 1.0}) for i in range(40)]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 39, "success": 0.5}', '{"step": 40, "su":']))
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder / "runs.db")
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def client(reader: Reader, folder: Path) -> TestClient:
    return TestClient(make_app(reader, folders=[folder]), base_url="http://localhost:8765")


def run_id(reader: Reader, name: str) -> int:
    return next(run.id for run in reader.runs() if run.name == name)


def ids(reader: Reader, name: str) -> list[int]:
    return [line.id for line in reader.episodes(run_id(reader, name), Wanted()).lines]


# What is shown is what the store holds.


def test_every_page_opens_and_leads_to_pages_that_open(client: TestClient) -> None:
    waiting, seen = ["/", "/training", "/compare?run=1&run=2"], set()
    kinds: set[str] = set()
    while waiting:
        address = waiting.pop(0).split("#")[0]
        kind = re.sub(r"\d+", "N", address.split("?")[0])
        if address in seen or sum(kind == each for each in (re.sub(r"\d+", "N", s.split("?")[0]) for s in seen)) > 6:
            continue
        seen.add(address)
        kinds.add(kind)
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        if answer.headers["content-type"].startswith("text/html"):
            tags = Tags(answer.text)
            assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in tags.links), address
            assert all(source.startswith("/static/") for source in tags.sources)
            waiting += [link for link in tags.links if link.startswith("/")]
    assert kinds >= {"/", "/runs/N", "/group", "/episodes/N", "/episodes/N/text", "/episodes/N/trace.json", "/compare"}


def test_the_figures_of_a_run_are_those_of_its_summary(reader: Reader, folder: Path) -> None:
    with open_store(folder / "runs.db") as store:
        for name in ("gold", "noisy", "sums"):
            line, summary = reader.run(run_id(reader, name)), store.run(name).summary()
            assert (line.episodes, line.tasks, line.successes) == (summary.episodes, summary.tasks, summary.successes)
            assert line.success.value == pytest.approx(summary.success.value)
            assert line.success.low == pytest.approx(summary.success.low, abs=0.04)
            assert line.success.high == pytest.approx(summary.success.high, abs=0.04)
            assert line.mean_return == pytest.approx(summary.mean_return.value)
            assert line.pass_hat_k == pytest.approx(summary.pass_hat_k[3].value)
            assert (line.turns, line.seconds) == pytest.approx((summary.turns, summary.seconds))
            assert line.tokens is None
    assert reader.run(run_id(reader, "gold")).success.low == pytest.approx(summary_low(6))


def summary_low(n: int) -> float:
    from tir_gym.metrics import wilson

    return wilson(n, n).low


def test_lists_are_filtered_sorted_and_cut_by_the_database(reader: Reader, folder: Path) -> None:
    run = run_id(reader, "sums")
    with open_store(folder / "runs.db") as store:
        every = list(store.run("sums").episodes())
    whole = reader.episodes(run, Wanted())
    assert (whole.total, whole.pages, len(whole.lines)) == (60, 2, PAGE)
    pages = [*whole.lines, *reader.episodes(run, Wanted(page=2)).lines]
    assert [(line.task_id, line.repeat) for line in pages] == [(f"test/{i}", k) for i in range(20) for k in range(3)]
    for before, line, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        assert reader.neighbours(line) == (before and before.id, after and after.id)
    assert reader.episodes(run, Wanted(page=99)).page == 2
    failed = reader.episodes(run, Wanted(outcome="failed"))
    assert failed.total == sum(not row.success for row in every) > 0
    assert not any(line.success for line in failed.lines)
    assert reader.episodes(run, Wanted(text="est/1")).total == sum("est/1" in row.task_id for row in every)
    assert reader.episodes(run, Wanted(text="%")).total == 0
    for sort in SORTS:
        lines = reader.episodes(run, Wanted(sort=sort, down=True)).lines
        key = {"task": "task_id", "return": "episode_return"}.get(sort, sort)
        values = [(len(line.task_id), line.task_id) if sort == "task" else getattr(line, key) or 0 for line in lines]
        assert values == sorted(values, reverse=True), sort


def test_no_list_reads_a_trace(reader: Reader, folder: Path) -> None:
    asked: list[str] = []
    fresh = Reader(folder / "runs.db")
    app = TestClient(make_app(fresh), base_url="http://localhost")

    @event.listens_for(fresh._engine, "before_cursor_execute")
    def _note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        asked.append(statement)

    for address in ("/", "/runs/1", "/runs/3?sort=-return", "/compare?run=1&run=2", "/group?run=2&task=test/0"):
        assert app.get(address).status_code == 200
    assert asked
    assert not [statement for statement in asked if "traces" in statement or ".metrics" in statement]
    fresh.close()


def test_the_matching_drawn_is_the_one_that_was_paid(reader: Reader) -> None:
    partly = 0
    for id in ids(reader, "noisy"):
        trace = reader.trace(id)
        shown = show_episode(trace)
        assert not shown.unexplained
        recorded = {(m.turn, m.call): (m.gold, m.score) for m in trace.matches if m.gold is not None}
        last = {shown.last.calls[index][:2]: (gold, score) for index, gold, score in shown.last.pairs}
        assert last == recorded
        replayed = replay_trace(trace).matches
        assert [step.pairs for step in shown.steps] == [match.pairs for match in replayed]
        assert [step.value for step in shown.steps] == [match.value for match in replayed]
        for step in shown.steps:
            for shape in (WIDE, NARROW):
                drawn = ElementTree.fromstring(
                    str(picture(shown, step, shape)).replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ')
                )
                pairs = [each for each in drawn.iter(f"{SVG}g") if each.get("class", "").startswith("pair")]
                assert len(pairs) == len(step.pairs)
                assert len(list(drawn.iter(f"{SVG}a"))) == len(step.calls)
        for turn, recorded_turn in zip(shown.turns, trace.turns, strict=True):
            assert sum(turn.parts.values()) == pytest.approx(recorded_turn.reward)
            for call in turn.calls:
                lost = [each for each in call.arguments if each.state in ("wrong", "missing", "extra")]
                if call.score is not None:
                    assert (call.score < 1.0) == bool(lost), (id, call)
                    partly += bool(lost)
    assert partly, "no call of this run lost credit, so it shows nothing"


def test_the_page_of_a_failing_episode_says_why(client: TestClient, reader: Reader) -> None:
    id = reader.episodes(run_id(reader, "noisy"), Wanted(outcome="failed")).lines[0].id
    trace = reader.trace(id)
    tags = Tags(client.get(f"/episodes/{id}").text)
    words = " ".join(tags.text.split())
    for number, turn in enumerate(trace.turns, start=1):
        assert f"Turn {number}" in words
        for call in turn.calls:
            assert call.name in words
    assert "failed" in words
    assert "Gold trace" in words
    answer = client.get(f"/episodes/{id}/matching?after=1")
    assert "After turn 1" in answer.text or len(trace.turns) == 1


def test_advantages_are_the_estimators(client: TestClient, reader: Reader) -> None:
    run = run_id(reader, "noisy")
    group = reader.group(run, "test/1")
    rewards = [list(reader.trace(each.line.id).turn_rewards) for each in group]
    wanted = dual(rewards, ["one"] * len(group))
    page = client.get(f"/group?run={run}&task=test/1").text
    for row in wanted:
        for value in row:
            assert f"A {'+' if round(value, 3) + 0.0 >= 0 else ''}{round(value, 3) + 0.0:g}" in page
    other = client.get(f"/group?run={run}&task=test/1&estimator=rloo&credit=steps")
    assert other.status_code == 200


def test_every_estimator_is_offered_or_it_is_said_why_not(client: TestClient, reader: Reader) -> None:
    run = run_id(reader, "noisy")
    page = client.get(f"/group?run={run}&task=test/1").text
    for name in ESTIMATORS:
        answer = client.get(f"/group?run={run}&task=test/1&estimator={name}")
        if name in ("steps_gae", "tree", "tool_tokens"):
            assert answer.status_code == 404
            assert f"<option disabled>{name}</option>" in page
            assert f"{name} asks w" in page
        else:
            assert f"<option selected>{name}</option>" in answer.text
            assert "No advantages" not in answer.text


def test_gigpo_compares_turns_that_answer_the_same(reader: Reader) -> None:
    """Without ids of calls, turns of two attempts that were told the same stand in one state."""
    group = reader.group(run_id(reader, "noisy"), "test/1")
    traces = [reader.trace(each.line.id) for each in group]
    told: dict[str, int] = {}
    states = []
    for trace in traces:
        seen = [trace.messages, *(turn.observation for turn in trace.turns[:-1])]
        texts = [re.sub(r"'tool_call_id': '[^']*', ", "", str(each)) for each in seen]
        states.append([told.setdefault(text, len(told)) for text in texts])
    assert len(told) < sum(map(len, states)), "some states are met twice"
    wanted = gigpo([list(trace.turn_rewards) for trace in traces], [0] * len(group), state_keys=states)
    found = advantages_of(group, reader.trace, "gigpo")
    for each, row in zip(group, wanted, strict=True):
        assert [found.of(each.line.id, turn) for turn in range(len(row))] == pytest.approx(list(row))


def test_changes_of_all_turns_are_the_change_of_the_episode(reader: Reader) -> None:
    written = 0
    for id in ids(reader, "gold"):
        trace = reader.trace(id)
        found = changes_of(trace)
        assert not found.reason
        state: dict[tuple[str, str], dict[str, str | None]] = {}
        for record in (each for turn in found.turns.values() for call in turn for each in call.records):
            fields = state.setdefault((record.table, record.key), {})
            for field in record.fields:
                fields[field.name] = field.after
            written += 1
        env = env_of(trace)
        env.reset(options={"task": trace.provenance.task_id})
        for turn in trace.turns:
            env.step(turn.action)
        for table, rows in env.sandbox.diff().items():
            for key, row in rows.items():
                for name, value in state[table, key].items():
                    now = (row["after"] or {}).get(name)
                    assert value == (None if now is None else json.dumps(now, ensure_ascii=False))
        env.close()
    assert written


def test_each_write_of_a_turn_has_its_own_changes(tmp_path: Path) -> None:
    def adding(task: str) -> dict[str, Any]:
        return {"function": {"name": "AddReminder", "arguments": {"task": task, "due_date": "2026-09-01 10:00:00"}}}

    class Two:
        def begin(self, env_info: dict[str, Any]) -> None:
            read = {"function": {"name": "GetReminders", "arguments": {}}}
            wrong = {"function": {"name": "ChangePassword", "arguments": {"old_password": "a", "new_password": "b"}}}
            self.moves = iter([[adding("first"), read, wrong, adding("second")], [adding("third")], []])

        def act(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
            return {"content": "Done.", "tool_calls": next(self.moves)}

    played = play_episode(make_env(ASSISTANT, split="test"), Two(), task="test/1")
    made = {
        (number, each.call): [field.after for record in each.records for field in record.fields if field.name == "task"]
        for number, turn in changes_of(played.trace).turns.items()
        for each in turn
    }
    assert [result.ok for result in played.trace.turns[0].results] == [True, True, False, True]
    assert made == {(0, 0): ['"first"'], (0, 3): ['"second"'], (1, 0): ['"third"']}
    with open_store(tmp_path / "two.db") as opened:
        opened.begin_run("two", {"env_id": ASSISTANT}).record(played, repeat=0)
    reader = Reader(tmp_path / "two.db")
    page = TestClient(make_app(reader), base_url="http://localhost:8765").get("/episodes/1").text
    calls = re.split('id="call-', page)
    assert [call[:3] for call in calls if 'class="state"' in call] == [f"{t + 1}-{c + 1}" for t, c in made]
    reader.close()


def test_a_text_that_changed_is_compared_line_by_line() -> None:
    changed = FieldChange("text", "a\nb\nc\nd\ne", "a\nb\nX\nd\ne\nf")
    assert [line for line in changed.lines if line[0] != "…"] == [
        (" ", "a"), (" ", "b"), ("-", "c"), ("+", "X"), (" ", "d"), (" ", "e"), ("+", "f"),
    ]  # fmt: skip
    assert FieldChange("name", '"one"', '"two"').lines == FieldChange("text", None, "a\nb").lines == ()


def test_thoughts_are_apart_from_what_is_said(reader: Reader) -> None:
    trace = reader.trace(ids(reader, "gold")[0])
    said = trace.turns[-1].model_copy(
        update={
            "action": {"content": "", "reasoning_content": "first"},
            "text": "<think>second</think>\nDone. <think>cut",
        }
    )
    (*_, turn) = show_episode(trace.model_copy(update={"turns": (*trace.turns[:-1], said)})).turns
    assert (turn.thoughts, turn.text) == (("first", "second", "cut"), "Done.")


def test_thoughts_of_a_real_episode_are_folded_and_can_be_had_whole(tmp_path: Path) -> None:
    long = "why? " * 2000
    call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
    actions = [
        f"<think>{long}</think>I add.{call}",
        f"a template opened it</think>And again.{call}",
        {"content": [{"type": "text", "text": "<think>nearly</think>Done: 3."}], "reasoning_content": "apart"},
    ]

    class Thinking:
        def begin(self, env_info: dict[str, Any]) -> None:
            self.moves = iter(actions)

        def act(self, observation: Any, info: dict[str, Any]) -> Any:
            return next(self.moves)

    played = play_episode(make_env(CALCULATOR, split="test", dialect="hermes"), Thinking(), task="test/1")
    shown = [(turn.thoughts, turn.text) for turn in show_episode(played.trace).turns]
    assert shown == [
        ((long.strip(),), "I add."),
        (("a template opened it",), "And again."),
        (("apart", "nearly"), "Done: 3."),
    ]
    with open_store(tmp_path / "thoughts.db") as opened:
        opened.begin_run("thoughts", {"env_id": CALCULATOR}).record(played, repeat=0)
    reader = Reader(tmp_path / "thoughts.db")
    client = TestClient(make_app(reader), base_url="http://localhost:8765")
    page = client.get("/episodes/1").text
    assert page.count('<details class="thought">') == 4
    (whole,) = (link for link in Tags(page).links if "part=thought" in link)
    assert client.get(whole).text == long.strip()
    reader.close()


def test_who_wins_where_is_what_the_report_says(client: TestClient, folder: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert main(["report", "gold", "noisy", "--store", str(folder / "runs.db"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["pairs"][0]
    words = " ".join(Tags(client.get("/compare?run=1&run=2").text).text.split())
    assert f"{said['better']} · {said['equal']} · {said['worse']}" in words
    assert client.get("/compare?run=1").status_code == 404
    assert "no page has the address /runs/&lt;b&gt;" in client.get("/runs/<b>").text
    assert f"{100 * said['success']:+.1f}%" in words
    assert client.get("/compare?run=1&run=2&show=0").status_code == 200


def test_a_task_of_one_environment_is_none_of_another(client: TestClient, reader: Reader) -> None:
    runs = [reader.run(run_id(reader, name)) for name in ("gold", "sums", "noisy")]
    found = compare(reader, runs)
    assert [(pair.first, pair.second, pair.tasks) for pair in found.pairs] == [(0, 2, 6)]
    assert sorted(line.world for line in found.lines) == [ASSISTANT] * 6 + [CALCULATOR] * 20
    for line in found.lines:
        assert [cell is None for cell in line.cells] == [run.env_id != line.world for run in runs]
    page = Tags(client.get(f"/compare?run={runs[0].id}&run={runs[1].id}").text).text
    assert "No two of these runs have a task in common." in page
    assert f"{CALCULATOR} test/9" in page


def test_code_is_shown_as_its_lines(tmp_path: Path) -> None:
    code = 'for i in range(3):\n    print("<b>", i)\x1b'
    call = {"name": "python", "arguments": json.dumps({"code": code, "note": "a line\n"})}
    env = make_env("tir_gym/Calculator-v0")
    env.reset(seed=1)
    env.step({"content": None, "tool_calls": [{"function": call}]})
    env.step("I give up.")
    with open_store(tmp_path / "runs.db") as store:
        played = PlayedEpisode(env.trace(), 0.1, (0.1, 0.1), {})
        store.begin_run("one", {"env_id": CALCULATOR}).record(played, repeat=0)
    reader = Reader(tmp_path / "runs.db")
    page = TestClient(make_app(reader), base_url="http://localhost").get("/episodes/1").text
    assert '<code class="lines">for i in range(3):\n    print(&#34;&lt;b&gt;&#34;, i)\\x1b</code>' in page
    assert page.count('class="lines"') == 1, "one line stays JSON"
    reader.close()


def test_learning_curves_are_the_log(folder: Path, client: TestClient) -> None:
    ((name, path),) = find_logs([folder])
    log = read_log(name, path)
    assert (name, len(log.rows), log.last_step) == ("train/first", 40, 39)
    assert log.rows[-1] == {"step": 39.0, "success": 0.5}
    plots = {plot.title: plot for plot in learning_curves([log])}
    assert list(plots) == ["success", "kl", "seconds_sample"]
    assert [point.y for point in plots["success"].curves[0].points][:39] == [i / 40 for i in range(39)]
    page = client.get("/training").text
    assert "Entropy, KL and clipping" in page
    before = client.get("/pulse?training=1").text
    with path.open("a") as log:
        log.write(" 0.9}\n")  # the line that was cut off is whole now
    assert client.get("/pulse?training=1").text != before
    assert read_log(name, path).rows[-1] == {"step": 40.0, "su": 0.9}
    assert "train/first" in page


def test_a_run_that_goes_on_has_another_pulse(tmp_path: Path) -> None:
    where = str(tmp_path / "live.db")
    with open_store(where) as store:
        run = store.begin_run("live", {"env_id": CALCULATOR, "agent": "oracle", "k": 1, "n": 2})
        reader = Reader(where)
        app = TestClient(make_app(reader), base_url="http://localhost")
        before = app.get("/pulse").text
        assert "running" in app.get("/").text
        env = make_env(CALCULATOR)
        env.reset(options={"task": "test/0"})
        env.step("I give up.")
        run.record(PlayedEpisode(env.trace(agent="x"), 0.1, (0.1,), {"prompt_tokens": 7}), repeat=0)
        assert app.get("/pulse").text != before
        assert reader.run(1).tokens == 7.0
        assert "of 2" in app.get("/").text
        run.finish()
        assert "of 2" not in app.get("/").text
        reader.close()


def test_pages_do_not_show_the_password_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "postgresql+psycopg://me:secret@127.0.0.1:1/runs"
    monkeypatch.setattr("tir_gym.viewer.reader.open_database", create_engine)  # which connects to nothing yet
    reader = Reader(where)
    assert reader.where == "postgresql+psycopg://me:***@127.0.0.1:1/runs"
    reader.close()


# A trace is data from strangers.


def test_a_hostile_episode_is_text_on_every_page(client: TestClient, reader: Reader) -> None:
    id = ids(reader, "evil")[0]
    tame = ("/runs/2", "/group?run=2&task=test/0", *(f"/episodes/{each}" for each in ids(reader, "noisy")))
    own = Tags("".join(client.get(address).text for address in tame)).names
    for address in ("/", "/runs/4", f"/episodes/{id}", "/group?run=4&task=" + reader_task(reader, id)):
        answer = client.get(address)
        assert answer.status_code == 200
        assert not {"\x1b", "\x00", "\u202e", "\u2066", "\u061c"} & set(answer.text)
        tags = Tags(answer.text)
        assert tags.names <= own | {"code", "small"}, tags.names - own
        assert not {name for name in tags.attributes if name.startswith("on")} | ({"style"} & tags.attributes)
        assert len(answer.content) < 1_500_000
        assert '<script>document.title="' in tags.text, address
    page = client.get(f"/episodes/{id}").text
    assert "all 5,100,000 characters" in page
    whole = client.get(f"/episodes/{id}/text?part=result&turn=1&call=2")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert len(whole.content) == 5_100_000
    assert client.get(f"/episodes/{id}/text?part=result&turn=9").status_code == 404


def reader_task(reader: Reader, id: int) -> str:
    from urllib.parse import quote

    return quote(reader.episode(id).task_id)


def with_options(trace: Trace, **kwargs: Any) -> Trace:
    provenance = Provenance(**{**trace.provenance.model_dump(), "env_kwargs": kwargs})
    return trace.model_copy(update={"provenance": provenance})


def test_a_trace_cannot_make_its_reader_connect_anywhere(reader: Reader) -> None:
    away = with_options(reader.trace(ids(reader, "gold")[0]), url="ws://evil.example:1")
    assert "elsewhere" in show_episode(away, asked=True).unexplained
    assert "elsewhere" in changes_of(away, asked=True).reason


@pytest.mark.parametrize(
    "kwargs",
    [
        {"task": {"id": "test/0", "state": {}}},
        {"corpus": "/dev/zero", "questions": "/dev/zero"},
        {"world_size": 10**9},
        {"sizes": [[1]] * 3},
        {"url": "ws://evil.example:1"},
    ],
)
def test_a_page_makes_no_environment_with_doubtful_options_unasked(
    kwargs: dict[str, Any], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: Any, **__: Any) -> Any:
        raise AssertionError("an environment was made")

    monkeypatch.setattr("tir_gym.replay_trace.make_env", made)
    trace = with_options(reader.trace(ids(reader, "gold")[0]), **kwargs)
    (name, *_) = kwargs
    assert f"{name!r}" in show_episode(trace).unexplained
    changes = changes_of(trace)
    assert f"{name!r}" in changes.reason
    assert changes.asks is (name != "url"), "no button is shown that could do nothing"


def test_nothing_is_played_again_but_by_the_viewers_own_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a link with `replay=1`, as a picture on another site may be, nor a form that another site sends."""
    env = make_env(CALCULATOR, split="test")
    task = env.prepare("test/0").task
    played = play_episode(make_env(CALCULATOR, task=task.model_dump(mode="json")), OracleAgent(), task=None)
    with open_store(tmp_path / "whole.db") as store:
        store.begin_run("whole", {"env_id": CALCULATOR}).record(played, repeat=0)
    made: list[str] = []

    def counted(id: str, **options: Any) -> Any:
        made.append(id)
        return make_env(id, **options)

    monkeypatch.setattr("tir_gym.replay_trace.make_env", counted)
    reader = Reader(tmp_path / "whole.db")
    app = TestClient(make_app(reader), base_url="http://localhost", follow_redirects=False)
    page = app.get("/episodes/1?replay=1&estimator=grpo")
    assert "option of its own" in page.text
    assert app.get("/episodes/1/replay").status_code == 405
    for word in ("", "?word=", "?word=guessed", "?word=%ED%A0%80"):
        assert app.post(f"/episodes/1/replay{word}").status_code == 403
    assert made == []
    (action,) = re.findall(r'<form[^>]* method="post" action="([^"]*)"', page.text)
    answer = app.post(action.replace("&amp;", "&"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/episodes/1?estimator=grpo")
    shown = app.get("/episodes/1").text
    assert "option of its own" not in shown
    assert 'method="post"' not in shown
    assert made == [CALCULATOR] * 2
    other = TestClient(make_app(reader), base_url="http://localhost")
    assert other.post(action.replace("&amp;", "&")).status_code == 403, "the word of another viewer"
    reader.close()


def test_small_numbers_are_no_doubtful_options(reader: Reader) -> None:
    env = make_env("tir_gym/Lookup-v0", hops=(1, 3), distractors=1, split="test")
    trace = play_episode(env, OracleAgent(), task="test/0", name="oracle").trace
    assert not show_episode(trace).unexplained
    assert not changes_of(trace).reason


@pytest.mark.parametrize("place", ["turn", "call", "gold"])
def test_a_match_with_a_negative_place_is_no_record(place: str) -> None:
    match = {"turn": 0, "call": 0, "gold": 0, "score": 0.5}
    MatchedCall.model_validate(match)
    with pytest.raises(ValidationError, match=place):
        MatchedCall.model_validate(match | {place: -100})


def test_a_message_without_a_role_opens(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "odd.db")) as store:
        trace = hostile(CALCULATOR)
        turn = trace.turns[0].model_copy(
            update={"observation": ({"content": "who?"}, {"role": "user", "content": "I"})}
        )
        played = PlayedEpisode(trace.model_copy(update={"turns": (turn,) * 3}), 0.1, (0.1,), {})
        store.add_run("odd", {"env_id": CALCULATOR}, [rows_of(played, outcome_of(played, repeat=0))])
    reader = Reader(tmp_path / "odd.db")
    app = TestClient(make_app(reader), base_url="http://localhost")
    assert app.get("/episodes/1").status_code == 200
    assert app.get("/episodes/1/text?part=reply&turn=1&call=1").text == "I"
    reader.close()


def test_what_is_not_there_is_told(client: TestClient) -> None:
    for address in (
        "/runs/99",
        "/episodes/99999",
        f"/episodes/{2**70}",
        "/nowhere",
        "/static/../app.py",
        "/group?run=1",
    ):
        answer = client.get(address)
        assert answer.status_code == 404, address
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/runs/1?page=x&sort=evil&outcome=no").status_code == 200


# Who may look.


def test_a_viewer_of_this_machine_is_asked_for_by_its_own_names(reader: Reader) -> None:
    app = make_app(reader)
    for host, status in (("localhost:8765", 200), ("127.0.0.1", 200), ("[::1]:1", 200), ("evil.example:8765", 421)):
        assert TestClient(app, base_url="http://localhost").get("/pulse", headers={"host": host}).status_code == status
    assert TestClient(app, base_url="http://localhost").post("/").status_code == 405
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1")] == [True] * 3 + [
        False
    ] * 2


def test_a_token_opens_and_then_a_cookie_does(reader: Reader) -> None:
    app = make_app(reader, hosts=(), token="s3cret-token", port=9)
    client = TestClient(app, base_url="http://box.example", follow_redirects=False)
    for wrong in ("/", "/?token=", "/?token=no", "/?token=%ED%A0%80", "/static/app.css"):
        assert client.get(wrong).status_code == 401, wrong
    answer = client.get("/runs/1?page=2&token=s3cret-token")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/1?page=2")
    assert "s3cret" not in answer.headers["set-cookie"]
    assert {"httponly", "samesite=lax"} <= {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert client.get("/runs/1").status_code == 200, "the cookie opens"
    assert TestClient(app).get("/pulse", headers={"authorization": "Bearer s3cret-token"}).status_code == 200
    away = TestClient(app, follow_redirects=False).get("//evil.example/?token=s3cret-token")
    assert not away.headers.get("location", "/").startswith("//")


def test_the_command_serves_and_asks_for_a_token_beyond_this_machine(folder: Path) -> None:
    words = [str(Path(sys.executable).parent / "tir-gym"), "view", str(folder / "runs.db"), "--host", "0.0.0.0"]
    with subprocess.Popen([*words, "--port", "0"], stdout=subprocess.PIPE, text=True, env={**os.environ}) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            port, token = re.search(r":(\d+)/\?token=(\S+)", line).groups()  # type: ignore[union-attr]
            assert len(token) >= 30
            with pytest.raises(HTTPError) as refused:
                urlopen(f"http://127.0.0.1:{port}/")
            assert refused.value.code == 401
            known = Request(f"http://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {token}"})
            with urlopen(known) as answer:
                assert b"noisy" in answer.read()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def test_the_printed_address_opens_whatever_the_token_is_made_of(folder: Path) -> None:
    words = [str(Path(sys.executable).parent / "tir-gym"), "view", str(folder / "runs.db"), "--token", "tökens & a#=1"]
    with subprocess.Popen([*words, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[1]
            with build_opener(HTTPCookieProcessor()).open(address) as answer:
                assert (answer.status, b"noisy" in answer.read()) == (200, True)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def test_a_folder_with_nothing_but_a_trainers_log_is_opened(folder: Path, tmp_path: Path) -> None:
    """As users start it: curves are drawn, and the other pages say that there are no episodes."""
    run = tmp_path / "run"
    shutil.copytree(folder / "train" / "first", run)
    words = [str(Path(sys.executable).parent / "tir-gym"), "view", str(run), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[1].rstrip("/")
            with urlopen(f"{address}/training") as answer:
                assert b"<svg" in answer.read()
            with urlopen(f"{address}/") as answer:
                page = answer.read().decode()
            with pytest.raises(HTTPError) as missing:
                urlopen(f"{address}/episodes/1")
            assert missing.value.code == 404
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    assert "there are no episodes to look at" in page
    assert '<a href="/training">training runs</a>' in page
    assert [path.name for path in run.iterdir()] == ["metrics.jsonl"], "nothing is left there"


def test_a_folder_stands_for_the_store_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    told: list[Any] = []
    monkeypatch.setattr("tir_gym.viewer.serving.serve", lambda store, **more: told.append((store, more["folders"])))
    assert main(["view", str(tmp_path)]) == 2
    assert "holds neither a store (rollouts.db or tir-gym.db) nor the log" in capsys.readouterr().err
    open_store(tmp_path / "rollouts.db").close()
    assert main(["view", str(tmp_path)]) == 0
    assert told == [(str(tmp_path / "rollouts.db"), [tmp_path])]
    monkeypatch.chdir(tmp_path)
    assert main(["view"]) == 2
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "success": 0.5}\n')
    assert main(["view", "--training", str(tmp_path)]) == 0
    assert told[1:] == [(None, [tmp_path])]


def test_the_command_says_what_is_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main(["view", str(tmp_path / "none.db")]) == 2
    assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()
    assert main(["view", str(folder / "runs.db"), "--training", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["view", str(folder / "runs.db"), "--token", "short"]) == 2
    assert "at least 8" in capsys.readouterr().err
    # An address for documents (RFC 5737), which no machine has.
    assert main(["view", str(folder / "runs.db"), "--host", "192.0.2.1"]) == 2
    assert capsys.readouterr().err.strip().endswith("choose another host")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["view", str(folder / "runs.db"), "--port", str(taken.getsockname()[1])]) == 2
    assert capsys.readouterr().err.strip().endswith("choose another port")
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["view", str(folder / "runs.db")]) == 2
    assert "pip install 'tir-gym[viewer]'" in capsys.readouterr().err
