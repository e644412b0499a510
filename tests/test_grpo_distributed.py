"""Two learner processes, FSDP2 over gloo, learn what one does from the same rollouts. NCCL and GPUs are not tried."""

import multiprocessing
import os
import socket

import pytest

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

from grpo_policy import random_rows, write_model  # noqa: E402

from tir_gym.agents.checkpoints import load_tensors  # noqa: E402
from tir_gym.agents.engines.parity import model_logprobs  # noqa: E402
from tir_gym.agents.grpo.config import load_config  # noqa: E402
from tir_gym.agents.grpo.grpo import update  # noqa: E402
from tir_gym.agents.grpo.learner import Learner  # noqa: E402

STEPS = 4
PROCESSES = 2


def config_of(policy):
    overrides = ["optim.minibatches=1", "optim.warmup=0", "optim.schedule=constant"]
    overrides += ["loss.kl=0.05", "loss.normalise=sequence", "model.micro_tokens=100"]
    return load_config(given={"policy": policy, "device": "cpu"}, overrides=overrides)


def rows_of(step):
    """The first process gets three sequences, the second five: neither as many nor as long."""
    rows = random_rows(8, seed=step)
    return {0: rows[:3], 1: rows[3:]}


def learn(learner, config, ranks, first=0):
    return [
        update(learner, [row for rank in ranks for row in rows_of(step)[rank]], config, step)
        for step in range(first, STEPS)
    ]


def test_two_processes_learn_what_one_does(tmp_path):
    torch.set_num_threads(1)
    policy = write_model(tmp_path / "policy")
    config = config_of(policy)
    single = Learner(config)
    figures = learn(single, config, (0, 1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_member, args=(rank, port, policy, tmp_path)) for rank in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]

    found = torch.load(tmp_path / "together.pt")
    expected = single.weights()
    start = Learner(config).weights()
    assert found["weights"].keys() == expected.keys()
    assert max((found["weights"][name] - expected[name]).abs().max().item() for name in expected) < 1e-4
    assert max((expected[name] - start[name]).abs().max().item() for name in expected) > 1e-3
    for ours, theirs in zip(found["figures"], figures, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    # A run that was broken off after two steps and went on from its checkpoint has the same end.
    assert max((found["resumed"][name] - expected[name]).abs().max().item() for name in expected) < 1e-4


def _member(rank, port, policy, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(PROCESSES), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    config = config_of(policy)
    learner = Learner(config)
    figures = []
    for step in range(STEPS):
        if step == 2:
            weights = learner.weights()
            model_logprobs(learner.model, [2, 3, 4])  # as the probe does before a checkpoint
            tensors = learner.tensors()
            if rank == 0:
                learner.save_policy(folder / "checkpoint" / "policy", weights)
                torch.save(tensors, folder / "checkpoint" / "trainer.pt")
        figures.append(update(learner, rows_of(step)[rank], config, step))
    together = learner.weights()
    torch.distributed.barrier()
    resumed = Learner(config, folder / "checkpoint")
    resumed.load_tensors(load_tensors(folder / "checkpoint"))
    learn(resumed, config, (rank,), first=2)
    again = resumed.weights()
    if rank == 0:
        torch.save({"weights": together, "figures": figures, "resumed": again}, folder / "together.pt")
    torch.distributed.destroy_process_group()
