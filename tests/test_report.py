"""Reports: their figures are the store's, every form holds them, and a hostile trace stays text in all of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hostile import EVIL, NAME, hostile
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tir_gym.cli import main
from tir_gym.cli.reporting.comparing import against, differing, divided, hardest, task_lines, worlds
from tir_gym.cli.reporting.contents import make_report
from tir_gym.cli.reporting.curves import success_by_length
from tir_gym.cli.reporting.examples import chosen
from tir_gym.cli.reporting.html import html
from tir_gym.cli.reporting.markdown import markdown
from tir_gym.cli.reporting.svg import svg
from tir_gym.cli.reporting.tables import about
from tir_gym.cli.reporting.writing import FORMS, as_json
from tir_gym.episode import PlayedEpisode
from tir_gym.making import make_env
from tir_gym.metrics import Outcome, wilson
from tir_gym.records import Trace
from tir_gym.replay_trace import env_of, replay_trace
from tir_gym.rescore import explain
from tir_gym.store import Store, open_store
from tir_gym.store.rows import outcome_of, rows_of

CALCULATOR = "tir_gym/Calculator-v0"
SHAPES = {"svg", "g", "path", "text", "title", "figure", "figcaption", "ul", "li"}
ELEMENTS = SHAPES | {
    "html", "head", "meta", "style", "body", "h1", "h2", "h3", "p", "div", "table", "thead", "tbody", "tr", "th", "td",
    "pre", "b", "span", "section", "article", "details", "summary", "small",
}  # fmt: skip


class Tags(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two real runs, and one by an agent and a tool that want to be obeyed."""
    folder = tmp_path_factory.mktemp("report")
    where = str(folder / "runs.db")
    for name, agent in (("gold", "oracle"), ("spoiled", "noisy:0.5")):
        assert main(["eval", CALCULATOR, "--agent", agent, "-n", "10", "-k", "2", "--run", name, "--store", where]) == 0
    config = {"env_id": CALCULATOR, "agent": EVIL, "split": EVIL, "k": 1, "n": 2, "reward": {"name": EVIL}}
    with open_store(where) as opened:
        played = [PlayedEpisode(hostile(CALCULATOR, f"{NAME}{i}"), 0.1, (0.1,), {}) for i in range(2)]
        opened.add_run("evil", config, (rows_of(each, outcome_of(each, repeat=0, tags=(EVIL,))) for each in played))
    return folder


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with open_store(folder / "runs.db") as opened:
        yield opened


def report_of(store: Store, *names: str) -> Any:
    return make_report([store.run(name) for name in names], env_of)


# What a report says.


def test_every_form_says_what_eval_says(store: Store) -> None:
    report = report_of(store, "gold", "spoiled")
    said = json.loads(as_json(report))
    assert said["title"] == f"oracle against noisy:0.5 on {CALCULATOR}"
    for found, name in zip(said["runs"], ("gold", "spoiled"), strict=True):
        summary = store.run(name).summary()
        assert found["name"] == name
        assert found["success"] == summary.success.value
        assert found["success_interval"] == [summary.success.low, summary.success.high]
        assert found["return"] == summary.mean_return.value
    spoiled = store.run("spoiled").summary()
    assert "\\." not in markdown(report), "a number needs no escape"
    for text in (Tags(html(report)).text, markdown(report).replace("\\", "")):
        for part in ("pass^2", f"{spoiled.success.value:.1%}", "infra failures", "Hardest tasks", "Who wins where"):
            assert part in text, part
    assert json.loads(as_json(report_of(store, "spoiled")))["title"] == f"noisy:0.5 on {CALCULATOR}"


def test_runs_that_go_by_their_names_are_said_to_be_whose_and_of_what(store: Store) -> None:
    report = report_of(store, "gold", "spoiled")
    assert about(report)[0] == "oracle: run gold, seed 0, 10 tasks of the test split, 2 attempts each."
    named = [replace(run, label=run.name) for run in report.runs]
    named[1] = replace(named[1], config={**named[1].config, "env_id": "other:Env"})
    one, other = about(replace(report, runs=tuple(named)))
    assert one == f"Run gold: agent oracle on {CALCULATOR}, seed 0, 10 tasks of the test split, 2 attempts each."
    assert other.startswith("Run spoiled: agent noisy:0.5 on other:Env, seed 0,")


def test_credit_by_turn_is_the_mean_over_the_traces(store: Store) -> None:
    run = store.run("spoiled")
    traces = [row.trace() for row in run.episodes()]
    for found in run.credit_by_turn():
        there = [trace for trace in traces if len(trace.turns) > found.turn]
        assert found.episodes == len(there)
        assert found.reward == pytest.approx(sum(trace.turns[found.turn].reward for trace in there) / len(there))
        assert found.hindsight == pytest.approx(sum(trace.turn_rewards[found.turn] for trace in there) / len(there))


def test_explaining_tells_what_replaying_tells(store: Store) -> None:
    env = make_env(CALCULATOR)
    for row in store.run("spoiled").episodes():
        trace = row.trace()
        explained = explain(trace, env)
        assert explained is not None
        assert explained.matches == replay_trace(trace).matches
        env.reset(options={"task": row.task_id})
        assert explained.golds[0] == env.prepare(row.task_id).oracle.calls
    changed = trace.model_copy(update={"turns": (trace.turns[0].model_copy(update={"reward": 7.0}), *trace.turns[1:])})
    assert explain(changed, env) is None


def test_walked_turns_say_what_an_argument_should_have_been(store: Store) -> None:
    report = report_of(store, "gold", "spoiled")
    first, second, third = report.examples
    assert first.trace.success
    assert not second.trace.success
    assert not third.trace.success
    assert first.row.task_id == second.row.task_id != third.row.task_id
    for example in report.examples:
        assert not example.unexplained
        assert sum(gold.turn is not None for gold in example.gold) == len(
            [match for match in example.trace.matches if match.gold is not None]
        )
    text = Tags(html(report)).text
    assert "should be" in text
    assert "matches no gold call" in text
    assert "matched by no call" in text
    assert "best assignment so far" in text


def test_without_an_environment_the_recorded_matching_serves(store: Store) -> None:
    def gone(trace: Trace) -> Any:
        return make_env("tir_gym/Gone-v0")

    report = make_report([store.run("spoiled")], gone)
    assert all("Gone-v0" in example.unexplained for example in report.examples)
    assert "matches gold call" in Tags(html(report)).text
    assert "final matching as recorded" in Tags(html(report)).text


def test_an_episode_that_breaks_its_environment_costs_no_report(store: Store) -> None:
    def breaks(trace: Trace) -> Any:
        raise TypeError("unhashable option")

    report = make_report([store.run("spoiled")], breaks)
    assert report.examples
    assert all(example.unexplained == "TypeError: unhashable option" for example in report.examples)


# Comparing.


def outcome(task: str, repeat: int, success: bool, return_: float, gold_calls: int = 2, **more: Any) -> Outcome:
    fields = {"turns": 1, "calls": 1, "right_calls": 1, "malformed": 0, "errors": {}, "ending": "answer"}
    fields |= {"infra_error": None, "seconds": 0.0, **more}
    return Outcome(
        task_id=task, repeat=repeat, success=success, return_=return_, gold_calls=gold_calls, **fields
    )  # fmt: skip


def test_who_wins_where_by_hand() -> None:
    down = {"infra_error": {"kind": "died"}}
    ours = [outcome("a", 0, True, 3.0), outcome("b", 0, False, 1.0), outcome("c", 0, False, 0.5), outcome("d", 0, 1, 1)]
    theirs = [
        outcome("a", 0, False, 2.0), outcome("a", 1, True, 3.0), outcome("b", 0, False, 1.0),
        outcome("c", 0, True, 3.0), outcome("d", 0, False, 0.0, **down),
    ]  # fmt: skip
    lines = task_lines([ours, theirs])
    assert [(line.task_id, line.winners) for line in lines] == [("a", (0,)), ("b", ()), ("c", (1,)), ("d", ())]
    pair = against(lines, 0, 1)
    assert (pair.tasks, pair.better, pair.worse, pair.equal) == (3, 1, 1, 1)
    assert pair.success.value == pytest.approx((0.5 + 0.0 - 1.0) / 3)
    assert pair.mean_return.value == pytest.approx((0.5 + 0.0 - 2.5) / 3)
    assert [line.task_id for line in hardest(lines, 9)] == ["b", "c", "a"]
    assert [line.task_id for line in divided(lines, 9)] == ["c", "a"]


def test_a_task_of_one_environment_is_none_of_another(tmp_path: Path) -> None:
    where = str(tmp_path / "runs.db")
    runs = {
        "sums": (CALCULATOR, "noisy:0.9"),
        "sums-too": (CALCULATOR, "oracle"),
        "facts": ("tir_gym/Lookup-v0", "oracle"),
    }
    for name, (env_id, agent) in runs.items():
        words = ["eval", env_id, "--agent", agent, "-n", "4", "--run", name, "--store", where]
        assert main(words) == 0
    with open_store(where) as opened:
        report = make_report([opened.run(name) for name in runs], env_of)
    assert [run.label for run in report.runs] == list(runs), "two runs have the same agent"
    assert [(pair.first, pair.second, pair.tasks) for pair in report.pairs] == [(0, 1, 4)]
    assert len(report.lines) == 8
    for line in report.lines:
        assert [cell is None for cell in line.cells] == [
            line.world != each for each in (CALCULATOR,) * 2 + (runs["facts"][0],)
        ]
    done, failed = report.examples[:2]
    assert (done.row.task_id, done.run, failed.run) == (failed.row.task_id, 1, 0), (
        "not how another family's task is done"
    )
    text = Tags(html(report)).text
    assert f"{CALCULATOR} test/0" in text
    assert set(report.differing) == {"env_id"}


def test_what_else_than_the_agent_differs() -> None:
    local = {"env_id": CALCULATOR, "agent": "a", "env_kwargs": {"split": "test", "depth": 2}, "split": "test", "k": 1}
    served = {
        "env_id": "tir_gym/Remote-v0",
        "agent": "b",
        "env_kwargs": {"env_id": CALCULATOR},
        "split": "test",
        "k": 1,
    }
    assert worlds([local, served]) == ("", ""), "one of the two runs at a server"
    assert worlds([local, {"env_id": "other"}]) == (CALCULATOR, "other")
    assert differing([local, local | {"agent": "c"}]) == {}
    deeper = local | {"env_kwargs": {"split": "test", "depth": 3}, "k": 2}
    assert differing([local, deeper]) == {"k": (1, 2), "options": ({"depth": 2}, {"depth": 3})}


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=12))
def test_comparing_the_other_way_round_turns_the_sign(results: list[tuple[bool, bool, float, float]]) -> None:
    ours = [outcome(str(i), 0, a, x) for i, (a, _, x, _) in enumerate(results)]
    theirs = [outcome(str(i), 0, b, y) for i, (_, b, _, y) in enumerate(results)]
    lines = task_lines([ours, theirs])
    there, back = against(lines, 0, 1), against(lines, 1, 0)
    assert (there.better, there.worse, there.equal) == (back.worse, back.better, back.equal)
    assert there.success.value == pytest.approx(-back.success.value)
    assert (there.success.low, there.success.high) == pytest.approx((-back.success.high, -back.success.low))
    assert there.mean_return.low <= there.mean_return.value + 1e-12


def test_success_by_length_counts_tasks() -> None:
    rows = [outcome("a", 0, True, 1, 1), outcome("a", 1, False, 1, 1), outcome("b", 0, True, 1, 3)]
    rows.append(outcome("x", 0, None, 0, 9, infra_error={"kind": "died"}))
    plot = success_by_length(["one"], [rows])
    assert plot.places == ("1", "3")
    first, second = plot.curves[0].points
    assert (first.y, first.n) == (0.5, 1)
    assert (second.y, second.n, second.low) == (1.0, 1, wilson(1, 1).low)
    many = [outcome(str(i), 0, True, 1.0, i) for i in range(35)]
    assert len(success_by_length(["one"], [many]).places) <= 10
    assert sum(point.n for point in success_by_length(["one"], [many]).curves[0].points) == 35


def test_a_report_of_nothing_that_counts(store: Store) -> None:
    with pytest.raises(Exception, match="no run"):
        store.run("none")
    empty = store.begin_run("empty", {"env_id": CALCULATOR, "agent": "a"}, resume=True)
    report = make_report([empty], env_of)
    assert "It is not finished" in html(report)
    assert report.examples == ()
    for write in FORMS.values():
        assert write(report)
    assert chosen([[]]) == []


# A trace is data from strangers.


def test_a_hostile_run_is_text_on_the_page(store: Store) -> None:
    text = html(report_of(store, "gold", "evil"))
    tags = Tags(text)
    assert tags.names <= ELEMENTS
    assert not {name for name in tags.attributes if name.startswith("on")} | (
        {"src", "href", "style"} & tags.attributes
    )
    assert not {"\x1b", "\x00", "\u202e", "\u2066", "\u061c"} & set(text)
    assert '<script>document.title="owned"</script><img src=x' in tags.text
    assert "(5100000 characters)" in tags.text
    assert "And 50 calls more." in tags.text
    assert len(text) < 2_000_000
    ElementTree.fromstring(svg(report_of(store, "evil", "gold").plots[0]))


def test_a_hostile_run_makes_nothing_in_markdown(store: Store) -> None:
    text = markdown(report_of(store, "evil", "gold"))
    assert not {"\x1b", "\x00", "\u202e", "\u2066", "\u061c"} & set(text)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    tags = Tags(rendered)
    assert tags.names <= {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "strong"}
    assert tags.text.count('<script>document.title="owned"</script>') >= 3
    assert "http://evil" not in text.split("```")[0].replace("\\:", "x")


def test_a_hostile_run_is_ascii_in_json(store: Store) -> None:
    text = as_json(report_of(store, "evil"))
    assert text.isascii()
    assert json.loads(text)["runs"][0]["label"] == EVIL


def test_a_browser_runs_nothing_of_a_hostile_page(store: Store, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine; its absence is no fault of the page")
    page = tmp_path / "page.html"
    # Without the page's own policy, so that the escapes stand alone.
    text = html(report_of(store, "evil", "gold"))
    assert "Content-Security-Policy" in text
    page.write_text(text.replace("Content-Security-Policy", "X-None"), encoding="utf-8", errors="backslashreplace")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *flags, "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120)
    dom = Tags(done.stdout.decode("utf-8", "replace"))
    assert "All tasks" in dom.text, done.stderr[-500:]
    assert dom.names <= ELEMENTS
    assert "<title>owned" not in done.stdout.decode("utf-8", "replace")


# The command.


def test_the_command_writes_what_was_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--store", str(folder / "runs.db")]
    out = folder / "out" / "both.html"
    assert main(["report", "gold", "spoiled", "--format", "html,md,json", "-o", str(out), *where]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [
        str(out.with_suffix(suffix)) for suffix in (".html", ".md", ".json")
    ]
    assert out.with_suffix(".html").read_text().startswith("<!doctype html>")
    first = out.read_bytes()
    assert main(["report", "gold", "spoiled", "-o", str(out.with_suffix(".md")), *where]) == 0
    assert main(["report", "gold", "spoiled", "-o", str(out), *where]) == 0
    assert out.read_bytes() == first, "the same runs give the same page"
    capsys.readouterr()
    assert main(["report", "gold", "--json", *where]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["format"], said["files"]) == ("tir-gym-report", [])
    for words, message in (
        (["report", "gold", "gold"], "named twice"),
        (["report", "gold", "--format", "pdf"], "choose from html, md, json"),
        (["report", "nobody"], "no run 'nobody'"),
    ):
        assert main([*words, *where]) == 2
        assert message in capsys.readouterr().err


def test_learning_curves_stand_in_every_form(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    for name, pace in (("slow", 80), ("<b>fast", 40)):
        (tmp_path / name).mkdir()
        steps = [
            {"step": i, "success": i / (i + pace), "kl": 0.5, "lr": 1e-5, "gone": float("nan")} for i in range(200)
        ]
        lines = "".join(json.dumps(step) + "\n" for step in steps)
        (tmp_path / name / "metrics.jsonl").write_text(lines + '{"step": 200, "success": 0.')
    out = tmp_path / "page.html"
    words = ["report", "gold", "--training", str(tmp_path), "--format", "html,md,json", "-o", str(out)]
    words += ["--figures", str(tmp_path / "figures"), "--store", str(folder / "runs.db")]
    assert main(words) == 0
    said = json.loads(out.with_suffix(".json").read_text())
    assert said["training"] == ["<b>fast", "slow"]
    assert [plot["title"] for plot in said["learning"]] == ["success", "kl", "lr"]
    fast, slow = said["learning"][0]["curves"]
    assert sum(point["n"] for point in fast["points"]) == 200
    assert fast["points"][0]["y"] == pytest.approx(sum(i / (i + 40) for i in range(4)) / 4)
    assert all(a["y"] >= b["y"] for a, b in zip(fast["points"], slow["points"], strict=True))
    page = Tags(out.read_text())
    assert page.names <= ELEMENTS
    assert "Learning curves" in page.text
    assert "### success" in out.with_suffix(".md").read_text()
    assert (tmp_path / "figures" / "learning-success.svg").exists()
    assert main(["report", "gold", "--training", str(folder / "none"), "--store", str(folder / "runs.db")]) == 2


def test_an_environment_that_is_not_there_explains_nothing_and_is_an_error(folder: Path, capsys: Any) -> None:
    assert main(["report", "gold", "--env", "tir_gym/Calculater-v0", "--store", str(folder / "runs.db")]) == 2
    assert "did you mean tir_gym/Calculator-v0?" in capsys.readouterr().err


def test_figures_for_papers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    words = ["report", "gold", "evil", "-o", str(tmp_path / "page.html"), "--store", str(folder / "runs.db")]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*words, "--figures", str(tmp_path / "none")]) == 2
    assert "tir-gym[report]" in capsys.readouterr().err
    monkeypatch.undo()
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
    for name in ("one", "two"):
        assert main([*words, "--figures", str(tmp_path / name)]) == 0
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"success-by-length.png", "success-by-length.svg", "reward-by-turn.svg"} <= set(files)
    for name in files:
        drawn = (tmp_path / "one" / name).read_bytes()
        assert drawn == (tmp_path / "two" / name).read_bytes()
        if name.endswith(".svg"):
            root = ElementTree.fromstring(drawn)
            assert not [each for each in root.iter() if each.tag.endswith(("script", "image"))]
            assert root.find(".//*[@id='legend_1']") is not None
            assert root.find(".//*[@id='axes_1']//*[@id='legend_1']") is None, "names lie on the plot"
        else:
            assert drawn.startswith(b"\x89PNG")
