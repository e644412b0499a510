"""inspect_ai's conformance suite of sandboxes, run on ours: an outside judge.

Needs inspect_ai (0.3.285 or near), which nothing else here does: `pip install inspect_ai pytest-asyncio`, then
`pytest tests/escape/test_inspect.py -o asyncio_mode=auto`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

pytest.importorskip("inspect_ai", reason="not installed, and needed by this file only: pip install inspect_ai")
pytest.importorskip("pytest_asyncio", reason="the checks of inspect_ai are coroutines: pip install pytest-asyncio")

from inspect_ai.util import SandboxEnvironment
from inspect_ai.util._sandbox.self_check import *  # noqa: F403

from escape.inspect_adapter import SlotEnvironment
from tir_gym.sandbox import Limits
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.slotted import SlotSandbox

LIMITS = Limits(wall_seconds=60, cpu_seconds=60, disk=512 << 20, output=16 << 20)
ONE_USER = "a slot has one user, and nothing in it belongs to another"
HOST_TMP = "in tier B the path /tmp is the host's and closed; a slot's own temporary folder is $TMPDIR"
EXPLAINED = {
    ("test_exec_as_user", "jail-A"): ONE_USER,
    ("test_exec_as_user", "jail-B"): ONE_USER,
    ("test_exec_as_user", "container"): ONE_USER,
    ("test_cwd_absolute", "jail-B"): HOST_TMP,
    ("test_read_and_write_file_including_directory_absolute", "jail-B"): HOST_TMP,
    ("test_write_binary_file_is_directory", "jail-B"): HOST_TMP,
    ("test_write_text_file_is_directory", "jail-B"): HOST_TMP,
}
"""Check and sandbox -> why it does not hold."""


@pytest.fixture(params=["container"] if os.environ.get("TIR_GYM_ENGINE_URL") else ["jail-A", "jail-B"])
def sandbox_env(request: pytest.FixtureRequest) -> Iterator[SandboxEnvironment]:
    if reason := EXPLAINED.get((request.node.originalname, request.param)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    if request.param == "container":
        with make_sandbox("container", limits=LIMITS) as sandbox:
            assert isinstance(sandbox, SlotSandbox)
            yield SlotEnvironment(sandbox.request)
        return
    from tir_gym.sandboxes.jail.slot import probe_tier, start_slot

    tier = request.param[-1]
    if reason := probe_tier(tier):
        pytest.skip(reason)
    slot = start_slot(LIMITS, tier=tier)
    yield SlotEnvironment(slot.request)
    slot.close()
