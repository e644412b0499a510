"""The command line: what it prints for people and for machines, what it exits with, and that errors are one line."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tir_gym
from tir_gym.cli import main
from tir_gym.rewards import PRESETS

CALCULATOR = "tir_gym/Calculator-v0"
COMMANDS = (
    "list", "info", "play", "eval", "replay", "validate", "report", "runs", "export", "import", "bench", "demo",
)  # fmt: skip

USER_CODE = '''
import time
from pathlib import Path

from tir_gym.agent import AgentFailure
from tir_gym.envs.calculator import CalculatorEnv
from tir_gym.records import UnchangedCheck

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\\x1b[31m\\x00\\u202e\\ud800"


class Broken(CalculatorEnv):
    def make_task(self, split, number):
        task = super().make_task(split, number)
        if number == 1:
            gold = task.gold.model_copy(update={"calls": (), "checks": (UnchangedCheck(),)})
            task = task.model_copy(update={"gold": gold})
        return task


class Hostile:
    """Says and calls what a page must not obey."""

    def begin(self, env_info):
        self.turn = 0

    def act(self, observation, info):
        self.turn += 1
        call = {"id": HOSTILE, "function": {"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}}
        malformed = {"id": "m", "function": {"name": HOSTILE, "arguments": "{"}}
        calls = [call, malformed] if self.turn == 1 else []
        return {"role": "assistant", "content": HOSTILE, "tool_calls": calls}


class Buggy(Hostile):
    def act(self, observation, info):
        raise LookupError("no idea")


class Down(Hostile):
    def act(self, observation, info):
        raise AgentFailure("the endpoint is down")


class Slow(Hostile):
    def act(self, observation, info):
        if not Path("hurry").exists():
            Path("started").touch()
            time.sleep(0.1)
        return "no"
'''

START = "import sys; from tir_gym.cli import main; sys.exit(main())"
"""What the console script does."""


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Runs a command in this process, in an empty folder that holds `user_code.py`."""
    (tmp_path / "user_code.py").write_text(USER_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIR_GYM_DEBUG", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    yield run
    sys.modules.pop("user_code", None)


def spawn(*words: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """A command in a process of its own, as the console script starts it."""
    return subprocess.Popen(
        [sys.executable, "-c", START, *words],
        cwd=cwd,
        text=True,
        stdin=options.pop("stdin", subprocess.PIPE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def finish(process: subprocess.Popen[str], typed: str = "") -> Ran:
    out, err = process.communicate(typed, timeout=120)
    return Ran(process.returncode, out, err)


# Help, version, errors.


def test_without_arguments_it_prints_help(cli: Cli) -> None:
    bare, asked = cli(), cli("--help")
    assert bare.code == asked.code == 0
    assert "Usage" in bare.out
    for name in COMMANDS:
        assert re.search(rf"^\W*{name}\s", asked.out, re.MULTILINE), name
        assert re.search(rf"^\W*{name}\s", bare.out, re.MULTILINE), name
    assert "130 interrupted" in " ".join(asked.out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(cli: Cli, name: str) -> None:
    ran = cli(name, "--help")
    assert ran.code == 0
    assert f"tir-gym {name}" in ran.out


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"tir-gym {tir_gym.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("info tir_gym/Calculater-v0", "did you mean tir_gym/Calculator-v0"),
        ("eval Calculator-v0", "Missing option '--agent'"),
        ("eval", "Missing argument 'ID'"),
        ("evaluate X", "No such command 'evaluate'"),
        ("eval Calculator-v0 --agent orcale", "did you mean oracle"),
        ("eval Calculator-v0 --agent noisy:2", "from 0 to 1"),
        ("eval Calculator-v0 --agent oracle -n 0", "Invalid value for '-n'"),
        ("eval Calculator-v0 --agent oracle --split dev", "no split 'dev'"),
        ("eval Calculator-v0 --agent oracle --reward generous", "no reward preset 'generous'"),
        ("eval Calculator-v0 --agent oracle --reward {x", "is no JSON object"),
        ("eval Calculator-v0 --agent oracle --dialect morse", "no dialect 'morse'"),
        ("eval Calculator-v0 --agent oracle --task test/x", "no task 'test/x'"),
        ("eval Calculator-v0 --agent oracle --task test/1 -n 3", "give one of the two"),
        ("eval Calculator-v0 --agent oracle --resume", "--resume needs --run NAME"),
        ("eval Calculator-v0 --agent oracle --env-arg colour", "write KEY=JSON"),
        ("eval Calculator-v0 --agent oracle --env-arg colour=red", "'red' is no JSON"),
        ("eval Calculator-v0 --agent oracle --env-arg colour=3", "has no option 'colour'"),
        ("eval Calculator-v0 --agent oracle --agent-arg x=3", "agent option x is unknown"),
        ("eval Calculator-v0 --agent oracle --data-dir x", "has no option 'data_dir'"),
        ("eval Calculator-v0 --agent python:user_code:Missing", "Missing"),
        ("eval Calculator-v0 --agent oracle -n 1 --store user_code.py/x.db", "user_code.py"),
        ("eval Calculator-v0 --agent oracle -n 1 --store .", "is a folder"),
        ("eval Calculator-v0 --agent oracle -n 1 --store mysql://h/x", "cannot be kept in mysql"),
        ("eval Calculator-v0 --agent oracle -n 1 --store user_code.py", "not a database"),
        ("eval CartPole-v1 --agent oracle", "is no ToolEnv"),
        ("eval no_module:Env --agent oracle", "there is no module 'no_module'"),
        ("runs", "there is no store at outputs/tir-gym.db"),
        ("export x", "there is no store at outputs/tir-gym.db"),
        ("import nothing.jsonl --run x", "there is no file nothing.jsonl"),
        ("import user_code.py --run x", "line 2: no JSON"),
        ("replay", "give a FILE"),
        ("replay nothing.jsonl", "cannot read nothing.jsonl: No such file or directory"),
        ("replay user_code.py", "line 2: no JSON"),
        ("replay x --run y", "give a FILE"),
        ("validate Calculator-v0 --split dev", "choose train, test or both"),
        ("validate Calculator-v0 --publish --no-probes", "--publish"),
        ("play Calculator-v0 --agent oracle --task 7", "no task '7'"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(cli: Cli, words: str, message: str) -> None:
    ran = cli(*words.split())
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_a_bug_in_user_code_is_told_by_its_place_and_a_traceback_on_request(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("eval", CALCULATOR, "--agent", "python:user_code:Buggy", "-n", "1")
    ran = cli(*words)
    assert ran.code == 4
    last = ran.err.splitlines()[-1]
    assert last.startswith("error: LookupError: no idea, while playing task test/0, repeat 0 at ")
    assert "user_code.py:" in last
    assert "Traceback" not in ran.err
    assert "Traceback" in cli(*words, "--verbose").err
    monkeypatch.setenv("TIR_GYM_DEBUG", "1")
    assert "Traceback" in cli(*words).err


# List and info.


def test_list(cli: Cli) -> None:
    ran = cli("list")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["id", "title", "needs"]
    assert CALCULATOR in ran.out
    found = {card["id"]: card for card in cli("list", "--json").json["environments"]}
    assert found[CALCULATOR]["needs"] == ""
    assert found["tir_gym/ToolTalk-v0"]["needs"] == "data_dir"


def test_info(cli: Cli) -> None:
    ran = cli("info", CALCULATOR)
    assert ran.code == 0
    for part in ("multiply", "a: number, b: number", PRESETS["default"].describe(), "Example train/0", "[user]"):
        assert part in ran.out, part
    document = cli("info", "Calculator-v0", "--reward", "outcome", "--json").json
    assert document["id"] == CALCULATOR
    assert document["reward"] == PRESETS["outcome"].describe()
    assert {tool["name"] for tool in document["tools"]} == {"add", "subtract", "multiply", "divide"}
    assert document["tools"][0]["parameters"]["required"] == ["a", "b"]
    assert document["example"]["task_id"] == "train/0"


def test_info_without_the_data_that_is_needed_shows_the_card(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIR_GYM_SHARED", raising=False)
    ran = cli("info", "tir_gym/ToolTalk-v0")
    assert ran.code == 0
    assert "266 gold calls" in ran.out
    assert "--data-dir" in ran.out
    assert "data_dir" in cli("info", "tir_gym/ToolTalk-v0", "--json").json["unavailable"]


def test_info_of_a_class_of_the_users_own(cli: Cli) -> None:
    document = cli("info", "user_code:Broken", "--json").json
    assert document["id"] == "user_code:Broken"
    assert len(document["tools"]) == 4


# Eval.


def evaluate(cli: Cli, *words: str, agent: str = "noisy:0.5", n: int = 6) -> Ran:
    return cli("eval", CALCULATOR, "--agent", agent, "-n", str(n), *words)


def test_eval_prints_one_json_document(cli: Cli) -> None:
    ran = evaluate(cli, "-k", "2", "-c", "3", "--seed", "5", "--json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert found["run"] == "calculator-v0.noisy-0.5.1"
    assert (found["env_id"], found["agent"], found["seed"]) == (CALCULATOR, "noisy:0.5", 5)
    assert (found["episodes"], found["tasks"], found["k"], found["n"]) == (12, 6, 2, 6)
    assert 0 < found["success"] < 1
    assert found["success"] == found["successes"] / 12
    low, high = found["success_interval"]
    assert low < found["success"] < high
    assert found["pass_at_k"]["1"]["value"] == pytest.approx(found["success"])
    assert found["pass_at_k"]["2"]["value"] >= found["pass_hat_k"]["2"]["value"]
    assert 0 < found["oracle_share"] < 1
    assert 0 < found["precision"] < 1
    assert found["infra_failures"] == 0
    assert found["metrics"] == {}
    assert found["env_kwargs"] == {"split": "test", "dialect": "openai", "reward": "default"}


def test_eval_prints_a_table_and_takes_a_free_name(cli: Cli) -> None:
    ran = evaluate(cli, "-k", "2")
    assert ran.code == 0
    for figure in ("success", "return", "precision of calls", "recall of calls", "pass@2", "pass^2", "tokens", "Store"):
        assert figure in ran.out, figure
    assert "run calculator-v0.noisy-0.5.1" in ran.out
    assert "run calculator-v0.noisy-0.5.2" in evaluate(cli).out
    assert "run calculator-v0.oracle.1" in evaluate(cli, agent="oracle").out
    listed = cli("runs", "--json").json["runs"]
    assert [(row["name"], row["episodes"], row["status"]) for row in listed] == [
        ("calculator-v0.noisy-0.5.1", 12, "finished"),
        ("calculator-v0.noisy-0.5.2", 6, "finished"),
        ("calculator-v0.oracle.1", 6, "finished"),
    ]
    plain = cli("runs")
    assert len(plain.out.splitlines()) == 4
    assert "100.0%" in plain.out


def test_eval_resumes_by_name_and_refuses_a_taken_one(cli: Cli) -> None:
    first = evaluate(cli, "--run", "mine", "--json").json
    taken = evaluate(cli, "--run", "mine")
    assert taken.code == 2
    assert "there is a run 'mine' already" in taken.err
    again = evaluate(cli, "--run", "mine", "--resume", "--json").json
    assert again == first  # seconds, too: nothing was played again
    other = evaluate(cli, "--run", "mine", "--resume", "--seed", "9")
    assert other.code == 2
    assert "begun with seed=0" in other.err


def test_dry_run_says_what_would_run_and_makes_nothing(cli: Cli, tmp_path: Path) -> None:
    ran = evaluate(cli, "--dry-run", "-k", "2")
    assert ran.code == 0
    assert "Episodes  12 (2 per task, 1 at a time), 0 of them done already" in ran.out
    found = evaluate(cli, "--dry-run", "--json", "--split", "train").json
    assert found["dry_run"] is True
    assert found["tasks"] == [f"train/{i}" for i in range(6)]
    assert found["run"] == "calculator-v0.noisy-0.5.1"
    assert not (tmp_path / "outputs").exists()
    evaluate(cli, "--run", "mine")
    assert evaluate(cli, "--dry-run", "--run", "mine", "--resume", "--json").json["episodes_done"] == 6


def test_eval_plays_the_tasks_and_options_that_were_asked_for(cli: Cli) -> None:
    found = cli(
        "eval", CALCULATOR, "--agent", "oracle", "--task", "train/3", "--task", "test/2", "--json",
        "--reward", '{"match": 2.0, "outcome": 0.0}', "--dialect", "hermes", "--env-arg", "max_turns=99",
    ).json  # fmt: skip
    assert found["success"] == 1.0
    assert found["n"] == 2
    assert found["env_kwargs"]["max_turns"] == 99
    assert found["return"] == pytest.approx(2.0 * (found["calls"]))
    cut = cli("eval", CALCULATOR, "--agent", "oracle", "-n", "3", "--max-turns", "1", "--json").json
    assert cut["success"] == 0.0
    assert cut["endings"] == {"max_turns": 3}


def test_a_bar_that_is_not_met_is_exit_1(cli: Cli) -> None:
    assert evaluate(cli, "--min-success", "1.0", agent="oracle").code == 0
    ran = evaluate(cli, "--min-success", "0.01", "--json", agent="probe:nothing")
    assert ran.code == 1
    assert ran.json["success"] == 0.0
    assert "success 0.0% is below --min-success 1.0%" in ran.err


def test_infrastructure_failures_are_exit_3_unless_tolerated(cli: Cli) -> None:
    down = "python:user_code:Down"
    ran = evaluate(cli, "--json", agent=down)
    assert ran.code == 3
    assert (ran.json["episodes"], ran.json["infra_failures"], ran.json["success"]) == (0, 6, None)
    assert ran.json["infra_errors"] == {"agent_failure": 6}
    assert "6 infrastructure failures" in ran.err
    assert ran.json["infra_messages"] == {"agent_failure": "task test/0: the endpoint is down"}
    table = evaluate(cli, agent=down).out
    assert "Infrastructure failures, counted in no figure: 6 (agent_failure 6)" in table
    assert "First agent_failure: task test/0: the endpoint is down" in table
    assert evaluate(cli, "--max-infra", "6", agent=down).code == 0
    assert evaluate(cli, "--max-infra", "6", "--min-success", "0.0", agent=down).code == 1


def test_the_published_dialogues_are_all_played_right_by_the_oracle(cli: Cli, shared: Path) -> None:
    data = shared / "data" / "tooltalk"
    if not data.is_dir():
        pytest.skip(f"no published dialogues at {data}")
    found = cli("eval", "tir_gym/ToolTalk-v0", "--agent", "oracle", "--data-dir", str(data), "--json").json
    assert (found["episodes"], found["successes"]) == (78, 78)
    assert found["metrics"]["recall"] == found["metrics"]["precision"] == 1.0
    assert found["metrics"]["matches"] * 78 == pytest.approx(266)


def test_ctrl_c_keeps_what_is_finished_and_the_run_can_go_on(cli: Cli, tmp_path: Path) -> None:
    words = ("eval", CALCULATOR, "--agent", "python:user_code:Slow", "-n", "60", "--run", "slow", "--json")
    process = spawn(*words, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.25)
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert ran.code == 130
    assert ran.out == ""
    assert "error: interrupted" in ran.err
    assert "--run slow --resume" in ran.err
    assert "Traceback" not in ran.err
    before = cli("runs", "--json").json["runs"][0]
    assert before["status"] == "running"
    assert before["episodes"] < 60
    (tmp_path / "hurry").touch()
    after = cli(*words, "--resume").json
    assert (after["episodes"], after["tasks"]) == (60, 60)


# Files and replay.


def exported(cli: Cli) -> Path:
    evaluate(cli, "--run", "mine")
    assert cli("export", "mine", "-o", "mine.jsonl").code == 0
    return Path("mine.jsonl")


def test_export_import_and_replay_agree(cli: Cli) -> None:
    file = exported(cli)
    assert cli("export", "mine").out == file.read_text()
    ran = cli("replay", "mine.jsonl")
    assert (ran.code, ran.out) == (0, "6 episodes replayed: all bytes the same\n")
    imported = cli("import", "mine.jsonl", "--run", "copy", "--json")
    assert imported.json == {"run": "copy", "store": "outputs/tir-gym.db", "episodes": 6}
    assert cli("export", "copy").out == file.read_text()
    assert cli("replay", "--run", "copy", "--json").json["same"] == 6
    one = cli("replay", "mine.jsonl", "--index", "5", "--json").json
    assert (one["episodes"], one["differing"]) == (1, [])
    assert cli("replay", "mine.jsonl", "--index", "6").code == 2
    assert "the latest are 'copy', 'mine'" in cli("export", "none").err


def test_export_for_fine_tuning(cli: Cli) -> None:
    exported(cli)
    lines = [json.loads(line) for line in cli("export", "mine", "--format", "openai").out.splitlines()]
    assert len(lines) == 6
    assert {"messages", "tools", "rewards", "turn_rewards", "return"} <= set(lines[0])
    right = cli("export", "mine", "--format", "openai", "--only-success").out.splitlines()
    assert 0 < len(right) < 6
    assert cli("export", "mine", "--format", "parquet").code == 2
    assert cli("export", "mine", "--format", "csv").code == 2
    assert cli("export", "mine", "--only-success").code == 2


def test_replay_prints_the_first_difference_and_exits_1(cli: Cli) -> None:
    file = exported(cli)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[2]["trace"]["turns"][1]["observation"][0]["content"] = "forged"
    lines[4]["trace"]["provenance"]["tir_gym"] = "0.0.1"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = cli("replay", "mine.jsonl")
    assert ran.code == 1
    assert f"episode 2, task {lines[2]['trace']['provenance']['task_id']}:" in ran.out
    assert 'recorded turns/1/observation/0/content: "forged"' in ran.out
    assert "replayed turns/1/observation/0/content: " in ran.out
    assert "6 episodes replayed: 1 differ" in ran.out
    assert f"recorded with tir-gym 0.0.1, replayed with {tir_gym.__version__}" in ran.err
    found = cli("replay", "mine.jsonl", "--json").json
    assert [(d["index"], d["turn"], d["path"]) for d in found["differing"]] == [(2, 1, "turns/1/observation/0/content")]
    assert found["recorded_with"] == ["0.0.1"]


def test_replay_runs_no_code_that_the_file_names(cli: Cli) -> None:
    assert cli("eval", "user_code:Broken", "--agent", "oracle", "--task", "test/0", "--run", "own").code == 0
    assert cli("export", "own", "-o", "own.jsonl").code == 0
    refused = cli("replay", "own.jsonl")
    assert refused.code == 2
    assert "'user_code:Broken', which is not registered" in refused.err
    assert cli("replay", "own.jsonl", "--env", "user_code:Broken").code == 0


def test_nor_does_rescoring_run_code_that_a_run_names(cli: Cli) -> None:
    assert cli("eval", "user_code:Broken", "--agent", "oracle", "--task", "test/0", "--run", "own").code == 0
    refused = cli("rescore", "own", "--reward", "paper")
    assert refused.code == 2
    assert "'user_code:Broken', which is not registered" in refused.err
    assert cli("rescore", "own", "--reward", "paper", "--env", "user_code:Broken").code == 0


# Validate.


def test_validate_a_family_and_a_class_of_the_users_own(cli: Cli) -> None:
    sound = cli("validate", CALCULATOR, "-n", "4", "--no-probes")
    assert (sound.code, sound.out) == (0, "8 tasks, 4 tools: sound\n")
    broken = cli("validate", "user_code:Broken", "-n", "3", "--split", "train", "--no-probes")
    assert broken.code == 1
    assert "train/1: unchecked: one who does nothing succeeds; it checks only: unchanged" in broken.out
    assert broken.out.splitlines()[-1].startswith("3 tasks, 4 tools: ")
    found = cli("validate", "user_code:Broken", "--task", "train/1", "--json")
    assert found.code == 1
    assert found.json["tasks"] == 1
    assert {"task": "train/1", "rule": "unchecked"}.items() <= found.json["faults"][0].items()
    assert found.json["published"] is None


def test_validate_publishes_into_the_card_only_what_is_sound(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "calculator" / "card.toml"
    card.parent.mkdir()
    card.write_text(f'id = "{CALCULATOR}"\nentry_point = "user_code:Broken"\ntitle = "C"\nsummary = "S"  # a note\n')
    monkeypatch.setattr("tir_gym.registration._ENVS", tmp_path)
    monkeypatch.setattr("tir_gym.cli.linter.PROBE_BOUND", 0.99)
    before = card.read_text()
    refused = cli("validate", "user_code:Broken", "-n", "2", "--split", "train", "--publish")
    assert refused.code == 1
    assert "not published: faults first" in refused.out
    assert card.read_text() == before
    done = cli("validate", CALCULATOR, "-n", "2", "--publish", "--json")
    assert done.code == 0
    assert done.json["published"] == str(card)
    assert card.read_text().startswith(before)
    info = cli("info", CALCULATOR, "--json").json
    assert info["probes"].keys() == done.json["probes"].keys()
    assert "default reward; tir-gym validate ID -n 2 --publish" in info["probes_measured"]
    assert "repeat" in cli("info", CALCULATOR).out


# Play, bench, runs on a terminal.


def test_play_shows_why_each_call_was_paid(cli: Cli) -> None:
    ran = cli("play", CALCULATOR, "--agent", "noisy:0.9", "--task", "test/1", "--seed", "3")
    assert ran.code == 0
    assert "matches gold call 1" in ran.out
    assert "reward +" in ran.out
    assert "gold calls:\n  1. " in ran.out
    oracle = cli("play", CALCULATOR, "--agent", "oracle", "--seed", "3", "--json")
    assert oracle.json["success"] is True
    assert oracle.json["checks"] == {"answer": True}
    assert len(oracle.json["matches"]) == len(oracle.json["trace"]["turns"])
    assert oracle.json["return"] == pytest.approx(len(oracle.json["gold_calls"]) + 1)
    assert cli("play", CALCULATOR, "--agent", "oracle", "--seed", "3", "--json").json == oracle.json
    assert cli("play", CALCULATOR, "--agent", "oracle", "--seed", "4", "--json").json != oracle.json


def test_play_with_an_agent_that_fails_from_outside(cli: Cli) -> None:
    ran = cli("play", CALCULATOR, "--agent", "python:user_code:Down")
    assert ran.code == 3
    assert "not scored: the endpoint is down" in ran.err


def test_play_by_hand_with_piped_input(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = "tools\nmultiply a=2 b=3\nsay I give up\n"
    ran = finish(spawn("play", CALCULATOR, cwd=tmp_path), typed)
    assert ran.code == 0
    assert "6.0" in ran.out
    assert "not done" in ran.out
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    document = cli("play", CALCULATOR, "--json").json
    assert document["ending"] == "answer"
    call = document["trace"]["turns"][0]["calls"][0]
    assert (call["name"], call["arguments"]) == ("multiply", {"a": 2, "b": 3})
    left = cli("play", CALCULATOR)  # the input has come to its end
    assert left.code == 0
    assert "not scored: the input ended before the episode did" in left.err


def test_bench_measures(cli: Cli) -> None:
    found = cli("bench", CALCULATOR, "--seconds", "0.1", "--json").json
    for figure in ("steps_per_second", "episodes_per_second", "reset_ms", "snapshot_ms", "restore_ms", "kb_per_env"):
        assert found[figure] > 0, figure
    assert "per second" in cli("bench", "--seconds", "0.1").out


def test_tables_are_rich_on_a_terminal_and_json_stays_json(tmp_path: Path) -> None:
    def on_terminal(*words: str) -> str:
        leader, follower = pty.openpty()
        environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm"}
        process = subprocess.Popen(
            [sys.executable, "-c", START, *words], cwd=tmp_path, stdout=follower, stderr=follower, env=environment
        )
        os.close(follower)
        chunks = []
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(leader)
        assert process.wait(60) == 0
        return b"".join(chunks).decode()

    assert "┏" in on_terminal("list")
    # The progress bar is drawn and then taken away; the document is the last thing that stands there.
    shown = on_terminal("eval", CALCULATOR, "--agent", "oracle", "-n", "3", "--json")
    assert json.loads(shown[shown.index("{") :])["success"] == 1.0


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    process = spawn("info", CALCULATOR, "--json", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


# Page and demo.


class Tags(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(path: Path) -> Tags:
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    tags.close()
    assert tags.open == []
    return tags


def test_a_page_of_a_hostile_run_holds_nothing_but_text(cli: Cli) -> None:
    assert evaluate(cli, "--page", "pages/hostile.html", agent="python:user_code:Hostile", n=4).code == 0
    tags = parsed(Path("pages/hostile.html"))
    assert tags.names <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "div", "table", "thead", "tbody",
        "tr", "th", "td", "pre", "b", "small", "span", "section", "article", "details", "summary",
        "svg", "g", "path", "text", "figure", "figcaption", "ul", "li",
    }  # fmt: skip
    assert not {"src", "href", "style"} & tags.attributes
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\\x1b[31m\\x00\\u202e" in tags.text
    assert "could not be read" in tags.text
    assert not {"\x1b", "\x00", "\u202e"} & set(Path("pages/hostile.html").read_text(encoding="utf-8"))


def test_a_page_walks_through_failures_and_a_success(cli: Cli) -> None:
    evaluate(cli, "-k", "2", "--page", "page.html", n=8)
    tags = parsed(Path("page.html"))
    assert "article" in tags.names
    for part in (
        "noisy:0.5 on tir_gym/Calculator-v0",
        "pass^2",
        "matches gold call",
        "wrong: ",
        "Gold calls",
        "test/7",
    ):
        assert part in tags.text, part
    assert tags.text.count("Checks: ") == 3
    assert "2 attempts each" in tags.text
    text = Path("page.html").read_text(encoding="utf-8")
    # Gold calls stand before the turns that speak of them by number, and a half-right call is not shown as right.
    assert text.index("Gold calls") < text.index("Turn 1")
    for paid in re.findall(r'<div class="why (\w+)">matches gold call \d+, score ([\d.]+)', text):
        assert paid[0] == ("good" if float(paid[1]) == 1.0 else "part"), paid
    assert {'class="why good">matches', 'class="why part">matches', 'class="why bad">matches no'} <= set(
        re.findall(r'class="why \w+">matches(?: no)?', text)
    )
    assert "prefers-color-scheme: dark" in Path("page.html").read_text()


def test_a_page_of_a_run_in_which_nothing_counted(cli: Cli) -> None:
    evaluate(cli, "--page", "page.html", agent="python:user_code:Down", n=2)
    assert "Infrastructure failure: the endpoint is down" in parsed(Path("page.html")).text


def test_the_demo_runs_again_and_again(cli: Cli) -> None:
    for attempt in (1, 2):
        ran = cli("demo", "--no-train", "-n", "3", "--env", CALCULATOR)
        assert ran.code == 0, ran.err
        assert f"calculator-v0.oracle.{attempt}" in ran.out
        assert "Report: outputs/demo.html" in ran.out.splitlines()
        assert ran.out.splitlines()[-1] == "Store:  outputs/tir-gym.db  (tir-gym runs)"
    assert "probe:repeat" in parsed(Path("outputs/demo.html")).text
    found = cli("demo", "--no-train", "-n", "2", "--env", CALCULATOR, "--json").json
    success = {run["agent"]: run["success"] for run in found["agents"]["runs"]}
    assert success["oracle"] == 1.0
    assert success["random"] == success["probe:repeat"] == 0.0
