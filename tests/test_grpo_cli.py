"""`tir-gym train` as people type it: faults in a line, estimates without a download, a whole tiny run."""

import json

import pytest

from tir_gym.agents.grpo.config import PRESETS
from tir_gym.cli import main


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_estimated_without_a_download(preset, tmp_path, capsys):
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "hidden_size": 128,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "intermediate_size": 384,
                "vocab_size": 500,
            }
        )
    )
    policy = [] if preset.startswith("matchtir") else [str(tmp_path)]
    assert main(["train", *policy, "--preset", preset, "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["config"]["preset"] == preset
    assert {"memory of each device", "a step", "the run"} <= document["estimate"].keys()
    assert main(["train", *policy, "--preset", preset, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "[optim]" in printed
    assert "formula" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["policy", "optim.lrr=1"], "did you mean optim.lr?"),
        (["policy", "--preset", "quick"], "no preset 'quick'; choose one of quick-cpu"),
        (["--resume", "--out", "nowhere"], "there is no run at nowhere"),
        (["--resume", "--preset", "quick-cpu"], "leave --preset out"),
        (["--dry-run"], "policy '' is no folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_from_the_command_line_writes_all_that_the_docs_name(tmp_path, capsys):
    pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
    pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
    from tir_gym.agents.policies import make_policy

    make_policy(tmp_path / "made", size="0.2M", envs=["tir_gym/Lookup-v0"], conversations=10, vocabulary=300)
    small = [
        "steps=1",
        "rollout.prompts=2",
        "rollout.group=2",
        "rollout.max_tokens=8",
        "env.max_turns=2",
        "eval.tasks=2",
    ]
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "made"), "--out", str(run), "--json", *small]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["policy"] == str(run / "policy")
    assert document["figures"]["rollouts"] == 4
    written = {path.name for path in run.iterdir()}
    assert written >= {"config.toml", "metrics.jsonl", "checkpoints", "policy", "rollouts.db", "tensorboard"}
    assert main(["train", str(tmp_path / "made"), "--out", str(run), *small]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["train", "--resume", "--out", str(run), "steps=2"]) == 0
    assert "step 2/2" in capsys.readouterr().err
