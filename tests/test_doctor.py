"""`tir-gym doctor`: what it says of this host is what a sandbox then does, and scripts can rely on its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tir_gym.cli import main
from tir_gym.cli.doctor import Tier, _which_runs
from tir_gym.errors import SandboxUnavailable
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["doctor", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.mark.usefixtures("no_engine")
def test_what_it_says_is_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = doctor(capsys, "--json")
    assert code == 0
    said = json.loads(out)
    tiers: dict[str, Any] = {tier["letter"]: tier for tier in said["tiers"]}
    assert list(tiers) == ["A", "B", "C", "D", "E"]
    assert tiers["D"]["fault"]
    assert "none.sock" in tiers["D"]["fault"]
    if tiers["A"]["fault"] is None:
        with make_sandbox("jail", require="A") as sandbox:
            assert sandbox.call(ToolCall("python", {"code": "print(1)"})).content == "1\n"
    else:
        with pytest.raises(SandboxUnavailable):
            make_sandbox("jail", require="A").start()


@pytest.mark.usefixtures("no_engine")
def test_the_exit_code_is_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = doctor(capsys, "--require", "D")
    assert code == 1
    assert out.count("none.sock") == 1, "one reason for two tiers is said once"
    assert "\nD, E: no container engine answers" in out


@pytest.mark.parametrize("tier", ["AB", "ABCDE", "", "a", "F", "A,B"])
def test_a_tier_that_there_is_not_never_passes(tier: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = doctor(capsys, "--require", tier)
    assert (code, out) == (2, "")
    assert err == f"error: --require {tier!r}: choose one of A, B, C, D, E\n"


def tiers(working: str) -> list[Tier]:
    names = {"A": "jail", "B": "jail", "C": "wasi", "D": "container", "E": "container, runtime runsc"}
    return [Tier(letter, name, "walls", None if letter in working else "no") for letter, name in names.items()]


@pytest.mark.parametrize(
    ("working", "says"),
    [
        ("ABCD", "runs in tier A "),
        ("BD", "runs in tier B "),
        ("CDE", "There is no jail here: .* only in make_sandbox('wasi') or make_sandbox('container'), which has"),
        ("D", "There is no jail here: .* only in make_sandbox('container'), which has"),
        ("", "No tier works here"),
    ],
)
def test_what_runs_the_code_is_what_the_jail_would_take(working: str, says: str) -> None:
    begin, _, end = says.partition(".*")
    told = _which_runs(tiers(working))
    assert begin in told
    assert end in told
