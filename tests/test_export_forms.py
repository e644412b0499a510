"""Training data from the store: each form by hand, and read by the libraries that it is meant for, where there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tir_gym.cli import main
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.making import make_env
from tir_gym.records import Trace
from tir_gym.store import (
    Run,
    conversation,
    export_atif,
    export_openai,
    export_parquet,
    export_sharegpt,
    open_store,
)
from tir_gym.store.learning import plain

CALCULATOR = "tir_gym/Calculator-v0"
TEXT_FORMS = {"openai": export_openai, "sharegpt": export_sharegpt, "atif": export_atif}


class Odd:
    """Calls twice in a message, cannot be read, thinks, talks in odd characters, and never comes to an end."""

    def begin(self, env_info: Any) -> None:
        self.turn = 0

    def act(self, observation: Any, info: Any) -> Any:
        self.turn += 1
        arguments = [{"a": 2, "b": 3}, {"a": float("nan"), "b": "\ud800\x00"}]
        calls = [{"id": f"c{i}", "function": {"name": "add", "arguments": given}} for i, given in enumerate(arguments)]
        broken = {"id": "x", "function": {"name": "add", "arguments": "{"}}
        said = {1: [broken], 2: [*calls, broken], 3: calls[:1]}.get(self.turn, calls)
        return {"role": "assistant", "content": "<think>Odd.</think>\ud800 well", "tool_calls": said}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Six episodes of a noisy oracle, one odd one, and one that the infrastructure broke off."""
    where = str(tmp_path_factory.mktemp("export") / "runs.db")
    words = ["eval", CALCULATOR, "--agent", "noisy:0.5", "-n", "6", "--run", "noisy", "--store", where]
    assert main(words) == 0
    with open_store(where) as store:
        run = store.begin_run("noisy", store.run("noisy").config, resume=True)
        env = make_env(CALCULATOR, max_turns=5)
        run.record(play_episode(env, Odd(), task="test/77"), repeat=0)
        broken = play_episode(env, Odd(), task="test/78")
        failed = broken.trace.model_copy(update={"infra_error": {"kind": "died"}, "success": None, "turn_rewards": ()})
        run.record(PlayedEpisode(failed, 0.0, (), {}), repeat=0)
        yield run


def counted(run: Run) -> list[Trace]:
    return [row.trace() for row in run.episodes() if row.infra_error is None]


def lines_of(run: Run, tmp_path: Path, form: str, **options: Any) -> list[dict[str, Any]]:
    file = tmp_path / f"{form}.jsonl"
    written = TEXT_FORMS[form](run, file, **options)
    text = file.read_bytes().decode("ascii")
    lines = [
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")) for line in text.splitlines()
    ]
    assert len(lines) == written
    return lines


def test_the_odd_episode_is_odd(run: Run) -> None:
    odd = counted(run)[-1]
    assert odd.ending == "max_turns"
    assert [(len(turn.calls), len(turn.malformed)) for turn in odd.turns] == [(0, 1), (2, 1), (1, 0), (2, 0), (2, 0)]


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_only_success(run: Run, tmp_path: Path, form: str) -> None:
    assert len(lines_of(run, tmp_path, form)) == len(counted(run)) == 7
    right = sum(bool(trace.success) for trace in counted(run))
    assert 0 < right < 7
    assert len(lines_of(run, tmp_path, form, only_success=True)) == right


def test_rewards_stand_beside_the_messages_that_earned_them(run: Run, tmp_path: Path) -> None:
    for form, said in (("openai", ("messages", "role")), ("sharegpt", ("conversations", "from"))):
        for line, trace in zip(lines_of(run, tmp_path, form), counted(run), strict=True):
            by_agent = [each for each in line[said[0]] if each[said[1]] in ("assistant", "gpt", "function_call")]
            shown = [i for i, turn in enumerate(trace.turns) if turn.calls or not turn.malformed]
            assert len(by_agent) == len(shown) == len(line["rewards"])
            assert line["rewards"] == [trace.turns[i].reward for i in shown]
            assert line["turn_rewards"] == [trace.turn_rewards[i] for i in shown]
            assert line["return"] == pytest.approx(sum(turn.reward for turn in trace.turns))
    for line, trace in zip(lines_of(run, tmp_path, "atif"), counted(run), strict=True):
        paid = [step["extra"] for step in line["steps"] if step["source"] == "agent"]
        assert [each["reward"] for each in paid] == [turn.reward for turn in trace.turns]
        assert [each["turn_reward"] for each in paid] == list(trace.turn_rewards)
        assert [match for each in paid for match in each["matches"]] == [match.model_dump() for match in trace.matches]


def test_sharegpt_alternates_and_keeps_every_call(run: Run, tmp_path: Path) -> None:
    for line, trace in zip(lines_of(run, tmp_path, "sharegpt"), counted(run), strict=True):
        said = line["conversations"]
        assert all(each["from"] in ("human", "observation") for each in said[0::2])
        assert all(each["from"] in ("gpt", "function_call") for each in said[1::2])
        assert len(said) % 2 == 0
        calls = [call for each in said if each["from"] == "function_call" for call in json.loads(each["value"])]
        made = [{"name": call.name, "arguments": call.arguments} for turn in trace.turns for call in turn.calls]
        assert json.dumps(plain(calls)) == json.dumps(plain(made))
        assert line["system"] == trace.messages[0]["content"]
        assert [tool["name"] for tool in json.loads(line["tools"])] == [tool.name for tool in trace.tools]


def test_atif_by_hand(run: Run, tmp_path: Path) -> None:
    line = lines_of(run, tmp_path, "atif")[-1]
    assert line["schema_version"] == "ATIF-v1.7"
    assert [step["step_id"] for step in line["steps"]] == list(range(1, len(line["steps"]) + 1))
    assert [step["source"] for step in line["steps"]] == ["system", "user", *["agent"] * 5]
    assert {step.get("reasoning_content") for step in line["steps"][2:]} == {"Odd."}
    both = line["steps"][3]
    assert [call["function_name"] for call in both["tool_calls"]] == ["add", "add"]
    assert both["tool_calls"][0]["arguments"] == {"a": 2, "b": 3}
    assert both["tool_calls"][1]["arguments"] == {"a": "NaN", "b": "\\ud800\\u0000"}
    results = both["observation"]["results"]
    assert [result.get("source_call_id") for result in results][:2] == [
        call["tool_call_id"] for call in both["tool_calls"]
    ]
    assert line["final_metrics"]["total_steps"] == len(line["steps"])
    for earlier, later in pairwise(line["steps"]):
        assert later["step_id"] == earlier["step_id"] + 1


def test_atif_is_what_its_models_take(run: Run, tmp_path: Path) -> None:
    models = pytest.importorskip("nat.atif", reason="nvidia-nat-atif (models of ATIF) is not installed")
    for line in lines_of(run, tmp_path, "atif"):
        assert models.Trajectory.model_validate(line).to_json_dict() == line


def test_parquet_rows(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    assert export_parquet(run, tmp_path / "made" / "rows.parquet") == 7
    rows = parquet.read_table(tmp_path / "made" / "rows.parquet").to_pylist()
    for i, (row, trace) in enumerate(zip(rows, counted(run), strict=True)):
        assert row["data_source"] == CALCULATOR
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert row["reward_model"] == {"style": "rule", "ground_truth": trace.provenance.task_id}
        assert row["reward_spec"] == {"method": "rule", "ground_truth": trace.provenance.task_id}
        assert row["extra_info"]["index"] == i
        assert json.loads(row["extra_info"]["env_kwargs"]) == plain(trace.provenance.env_kwargs)
        assert [tool["function"]["name"] for tool in json.loads(row["tools"])] == [tool.name for tool in trace.tools]
        given = [{key: value for key, value in message.items() if value is not None} for message in row["messages"]]
        wanted = [
            {key: value for key, value in message.items() if value is not None} for message in conversation(trace)
        ]
        assert given == plain(wanted)
        assert len(row["turn_rewards"]) == sum(message["role"] == "assistant" for message in row["messages"])
    assert export_parquet(run, tmp_path / "right.parquet", only_success=True) < 7
    empty = parquet.read_table(tmp_path / "right.parquet").schema
    assert empty.equals(parquet.read_table(tmp_path / "made" / "rows.parquet").schema)


def test_parquet_without_pyarrow_says_which_extra(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"tir-gym\[parquet\]"):
        export_parquet(run, tmp_path / "rows.parquet")


@pytest.mark.parametrize("form", [*TEXT_FORMS, "parquet"])
def test_datasets_reads_it(run: Run, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets (Hugging Face) is not installed")
    file = tmp_path / f"{form}.{'parquet' if form == 'parquet' else 'jsonl'}"
    (TEXT_FORMS | {"parquet": export_parquet})[form](run, file)
    kind = "parquet" if form == "parquet" else "json"
    read = datasets.load_dataset(kind, data_files=str(file), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(read) == 7
    if form != "atif":
        assert read[0]["turn_rewards"] == pytest.approx(counted(run)[0].turn_rewards)


def test_trl_takes_the_conversations(run: Run, tmp_path: Path) -> None:
    rules = pytest.importorskip("trl.data_utils", reason="TRL is not installed")
    for line in lines_of(run, tmp_path, "openai"):
        assert rules.is_conversational(line)
    for line in lines_of(run, tmp_path, "sharegpt"):
        assert rules.is_conversational_from_value(line)
        said = [each["value"] for each in line["conversations"]]  # read first: the line itself is turned into the other
        assert [message["content"] for message in rules.maybe_convert_to_chatml(line)["messages"]] == said
