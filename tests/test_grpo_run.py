"""Whole runs of training, tiny ones: the same twice, the same after a kill, ahead of time, and on record."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import pytest

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

from tir_gym.agents.checkpoints import checkpoints  # noqa: E402
from tir_gym.agents.grpo import load_config, train  # noqa: E402
from tir_gym.agents.grpo.log import read_metrics  # noqa: E402
from tir_gym.agents.policies import make_policy  # noqa: E402
from tir_gym.errors import UsageError  # noqa: E402
from tir_gym.store import open_store  # noqa: E402

# A reward that random words earn, so that there is something to learn from: to be short.
SETTINGS = (
    "env.reward={match = 0.0, outcome = 0.0, characters = 10.0}",
    "env.max_turns=2",
    "rollout.prompts=2",
    "rollout.group=3",
    "rollout.max_tokens=8",
    "eval.every=2",
    "eval.tasks=2",
    "checkpoint.every=1",
    "optim.lr=1e-2",
    "log.tensorboard=false",
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made") / "policy"
    make_policy(folder, size="0.2M", envs=["tir_gym/Lookup-v0"], conversations=10, vocabulary=300)
    return str(folder)


def config_of(policy, out, *overrides):
    return load_config(given={"policy": policy, "out": str(out)}, overrides=[*SETTINGS, *overrides])


def curve(run):
    """The figures of a run that do not depend on the clock."""
    clocks = ("seconds", "cpu_seconds", "tokens_per_second")
    return [
        {name: value for name, value in line.items() if name not in clocks and not name.startswith("seconds_")}
        for line in read_metrics(run / "metrics.jsonl")
    ]


def weights(run):
    from safetensors.torch import load_file

    return load_file(run / "policy" / "model.safetensors")


def test_a_run_killed_in_the_middle_and_resumed_is_the_run_uninterrupted(policy, tmp_path):
    whole = config_of(policy, tmp_path / "whole", "steps=4", "log.groups=1.0")
    train(whole)
    assert any(line["updates"] for line in curve(tmp_path / "whole")[1:])

    # A real process, killed when it has begun its third step or a later one.
    torn = config_of(policy, tmp_path / "torn", "steps=4", "log.groups=1.0")
    child = multiprocessing.get_context("fork").Process(target=_train_slowly, args=(torn,))
    child.start()
    metrics = tmp_path / "torn" / "metrics.jsonl"
    while len(read_metrics(metrics)) < 3 or not checkpoints(tmp_path / "torn"):
        assert child.is_alive()
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert len(curve(tmp_path / "torn")) < 5

    train(torn, resume=True)
    assert curve(tmp_path / "torn") == curve(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "torn"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not torch.equal(theirs["lm_head.weight"], _start(policy)["lm_head.weight"])
    assert [path.name for path in checkpoints(tmp_path / "torn")] == ["step-000003", "step-000004"]


def _train_slowly(config):
    torch.set_num_threads(1)
    train(config, on_step=lambda figures: time.sleep(0.2))


def _start(policy):
    from safetensors.torch import load_file

    return load_file(f"{policy}/model.safetensors")


def test_rollouts_stand_in_the_store_by_group(policy, tmp_path):
    train(config_of(policy, tmp_path / "run", "steps=2", "eval.every=0", "log.groups=1.0"))
    with open_store(tmp_path / "run" / "rollouts.db") as store:
        (info,) = store.runs()
        rows = list(store.run(info.name).episodes())
    assert info.status == "finished"
    assert len(rows) == 2 * 2 * 3
    groups = {}
    for row in rows:
        groups.setdefault(row.task_id, []).append(row.repeat)
    assert all(sorted(repeats) == [0, 1, 2] for repeats in groups.values())
    assert {tag for row in rows for tag in row.tags} == {"step-1", "step-2"}
    with pytest.raises(UsageError, match="holds a run already"):
        train(config_of(policy, tmp_path / "run", "steps=2"))


def test_runs_that_share_a_store_each_have_a_name_and_go_on_under_it(policy, tmp_path):
    """Two folders of one basename, and a folder that was emptied and trained in anew."""
    store = tmp_path / "shared.db"
    settings = ("eval.every=0", "log.groups=1.0", f"log.store={store}")

    def run(folder, steps, resume=False):
        train(config_of(policy, tmp_path / folder / "run", f"steps={steps}", *settings), resume=resume)

    def stored():
        with open_store(store) as opened:
            return {info.name: info.episodes for info in opened.runs()}

    run("a", 1)
    run("b", 1)
    assert stored() == {"run": 6, "run-2": 6}
    run("b", 2, resume=True)
    run("a", 3, resume=True)
    assert stored() == {"run": 18, "run-2": 12}
    shutil.rmtree(tmp_path / "a")
    run("a", 1)
    run("a", 2, resume=True)
    assert stored() == {"run": 18, "run-2": 12, "run-3": 12}


def test_sampling_may_run_ahead_of_learning_and_resume(policy, tmp_path):
    """Batches are sampled while older ones are learned from; none is lost or learned from twice."""
    overrides = ("deterministic=false", "ahead=1", "eval.every=0")
    train(config_of(policy, tmp_path / "run", "steps=2", *overrides))
    train(config_of(policy, tmp_path / "run", "steps=4", *overrides), resume=True)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["rollouts"] for line in lines] == [6, 12, 18, 24]
    assert 0 < lines[3]["staleness"] <= 1
    state = json.loads((checkpoints(tmp_path / "run")[-1] / "state.json").read_text())
    assert (state["step"], state["weight_version"], state["rollouts"]) == (4, 4, 24)


def test_a_resumed_run_samples_with_other_random_numbers_than_it_began_with(policy, tmp_path):
    """One task, one turn, and weights that stay: what differs between two steps is what was drawn."""
    overrides = ("deterministic=false", "rollout.tasks=1", "rollout.prompts=1", "env.max_turns=1")
    overrides += ("optim.lr=1e-30", "eval.every=0", "log.groups=1.0")
    train(config_of(policy, tmp_path / "run", "steps=1", *overrides))
    train(config_of(policy, tmp_path / "run", "steps=2", *overrides), resume=True)
    with open_store(tmp_path / "run" / "rollouts.db") as store:
        rows = list(store.run("run").episodes())
        said = {step: [row.trace().turns[0].action for row in rows if row.tags == (f"step-{step}",)] for step in (1, 2)}
    assert len(said[1]) == len(said[2]) == 3
    assert not set(said[1]) & set(said[2])
