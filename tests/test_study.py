"""The study's own arithmetic: arms that differ as said, a control that keeps nothing, runs compared at equal tokens."""

from __future__ import annotations

import importlib.util
import json
from argparse import Namespace
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tir_gym.advantages import dual, get_estimator
from tir_gym.agents.grpo import load_config
from tir_gym.rewards import PRESETS


@pytest.fixture(scope="module")
def study(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("study", checkout / "benchmarks/study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(arm: str, seed: int, points: list[tuple[int, float]], reward: str = "default") -> dict[str, Any]:
    return {
        "arm": arm,
        "reward": "outcome" if arm == "outcome" else reward,
        "seed": seed,
        "length": "1-3",
        "held_out": 64,
        "cpu_seconds": 10.0,
        "points": [{"tokens": t, "greedy": y, "sampled": y / 2, "calls": 1.0} for t, y in points],
    }


@pytest.mark.parametrize("reward", ["default", "progress", "paper-hard"])
def test_every_arm_is_a_config_that_trains(study: ModuleType, reward: str) -> None:
    assert reward in PRESETS
    for make_reward, estimator in study.ARMS.values():
        given = {"env.reward": make_reward(reward).model_dump(), "advantage.estimator": estimator, "policy": "any"}
        config = load_config(preset="quick-cpu", given=given)
        assert config.hindsight == (config.env.spec().matching == "soft")


def test_the_control_deals_out_the_same_advantages_to_other_turns(study: ModuleType) -> None:
    from tir_gym.agents.grpo import grpo

    rewards = [[1.0, 0.0], [0.0], [0.5, 1.0, 2.0], [3.0]] * 4
    groups = [i // 4 for i in range(16)]
    with study.shuffled(True):
        dealt = grpo.get_estimator("dual")(rewards, groups, gamma=0.9)
        again = grpo.get_estimator("dual")(rewards, groups, gamma=0.9)
    true = dual(rewards, groups, gamma=0.9)
    assert grpo.get_estimator is get_estimator, "only while it is open"
    assert [len(row) for row in dealt] == [len(row) for row in rewards]
    assert sorted(chain(*dealt)) == pytest.approx(sorted(chain(*true)))
    assert dealt != true
    assert dealt == again


def test_runs_are_read_off_at_the_same_number_of_tokens(study: ModuleType) -> None:
    lines = [
        run("outcome", 0, [(0, 0.2), (1000, 0.4), (2000, 0.8)]),
        run("outcome", 1, [(0, 0.2), (1500, 0.5)]),
        run("dual-hard", 0, [(0, 0.2), (3000, 1.0)]),
    ]
    text = "\n".join(study.tables(lines))
    assert "3 runs to 1,500 sampled tokens" in text
    outcome = next(line for line in text.splitlines() if "`outcome`" in line)
    assert "0.55 (0.50 to 0.60)" in outcome, "between 0.4 and 0.8, and 0.5"
    assert "0.60 / 0.50" in outcome
    assert "0.60 (0.48 to 0.71)" in next(line for line in text.splitlines() if "`dual-hard`" in line), "Wilson's, alone"


def test_presets_are_compared_in_a_table_of_their_own(study: ModuleType) -> None:
    lines = [
        run("outcome", 0, [(0, 0.2), (1000, 0.4)]),
        run("turn", 0, [(0, 0.2), (1000, 0.5)]),
        run("dual-hard", 0, [(0, 0.2), (1000, 0.6)]),
        run("dual-hard", 0, [(0, 0.2), (500, 0.7)], reward="progress"),
    ]
    arms, presets = (list(groups) for _, _, groups in study.comparisons(lines))
    assert arms == ["`outcome`", "`turn`", "`dual-hard`"]
    assert presets == ["`outcome`", "`dual-hard`, `default`", "`dual-hard`, `progress`"]
    text = "\n".join(study.tables(lines))
    assert "3 runs to 1,000 sampled tokens" in text, "the shorter run under another preset cuts its own table only"
    assert "3 runs to 500 sampled tokens" in text
    assert "0.70" not in text.partition("by reward preset")[0]


def test_what_runs_of_a_length_share_is_held_to(study: ModuleType, tmp_path: Path) -> None:
    asked = Namespace(out=tmp_path, policy=None, tokens=100, arms=["turn"], reward="default", seeds=1)
    study.same_study(asked, "1-3")
    study.same_study(Namespace(**(vars(asked) | {"arms": ["dual-hard"], "reward": "progress", "seeds": 5})), "1-3")
    study.same_study(Namespace(**(vars(asked) | {"tokens": 200})), "4-6")
    with pytest.raises(SystemExit, match=r"runs of 1-3 calls with tokens 100 instead of 200"):
        study.same_study(Namespace(**(vars(asked) | {"tokens": 200})), "1-3")


def test_a_page_gets_its_tables_again_and_keeps_its_words(study: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "study.md"
    page.write_text(f"Before.\n\n{study.BEGIN}\nOf yesterday.\n{study.END}\n\nAfter.\n")
    for _ in range(2):
        study.write_page(page, [run("turn", 0, [(0, 0.1), (100, 0.4)])])
    text = page.read_text()
    assert text.startswith("Before.\n\n")
    assert text.endswith("\n\nAfter.\n")
    assert text.count("`turn`") == 1
    assert "Of yesterday" not in text
    assert (tmp_path / "study-1-3.svg").read_text().startswith("<?xml")


def test_a_line_that_a_kill_cut_off_is_played_again(study: ModuleType, tmp_path: Path) -> None:
    whole = json.dumps(run("turn", 0, [(0, 0.1)]))
    (tmp_path / "results.jsonl").write_text(whole + "\n" + whole[:20])
    assert len(study.results(tmp_path)) == 1
    study.record(tmp_path, run("turn", 1, [(0, 0.1)]))
    assert [line["seed"] for line in study.results(tmp_path)] == [0, 1]
