"""Every attack on every sandbox that can be had here; and every probe on a runner without protection.

As root, the jail is attacked both as root and as an ordinary user. `make test-container` attacks containers in their
place; `TIR_GYM_ESCAPE_BACKENDS` names others, such as `jail-A,container`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tracing import users_refusal

from escape.cases import CASES, PROBES, Case
from escape.drive import Attacker

ROOT = os.geteuid() == 0


def backends() -> list[tuple[str, str]]:
    """Which kinds of sandboxes to attack, and as whom."""
    kinds = "container" if os.environ.get("TIR_GYM_ENGINE_URL") else "jail-A,jail-B"
    users = ("root", "user") if ROOT else ("user",)
    found = []
    for kind in os.environ.get("TIR_GYM_ESCAPE_BACKENDS", kinds).split(","):
        # An engine is asked by whoever may; tier B is for hosts that give users little.
        found += [(kind, user) for user in users if kind == "jail-A" or user == users[-1 if kind == "jail-B" else 0]]
    return found


# Found and not yet closed.
OPEN: set[tuple[str, str]] = set()
if os.environ.get("TIR_GYM_ENGINE_NAME") == "podman":  # cannot bound files on memory disks
    OPEN.add(("fs_disk_inodes", "container"))


class Attackers:
    """One host under attack for each kind of sandbox and user, started when first asked for."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], Attacker] = {}

    def of(self, backend: str, user: str) -> Attacker:
        """Skips where there is no such sandbox on this machine."""
        if (backend, user) not in self._running:
            self._running[backend, user] = Attacker(backend, user)
        attacker = self._running[backend, user]
        if attacker.fault is not None:
            pytest.skip(f"no {backend} here: {attacker.fault}")
        return attacker

    def close(self) -> None:
        for attacker in self._running.values():
            attacker.close()


@pytest.fixture(scope="session")
def attackers() -> Iterator[Attackers]:
    running = Attackers()
    yield running
    running.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("backend", "user"), backends())
def test_attack_fails(case: Case, backend: str, user: str, attackers: Attackers) -> None:
    for mode in case.modes if user == "root" or not ROOT else case.modes[:1]:
        seen = attackers.of(backend, user).attack(case, mode)
        told = f"{case.name} ({mode}): {case.about}\n{seen['shown']}"
        if backend == "jail-B" and seen["hits"].keys() == {"processes"} and (reason := users_refusal()) is not None:
            pytest.xfail(f"processes are only watched, and `tir-gym doctor` says so: no user may trace: {reason}")
        if (case.name, backend) in OPEN and (seen["hits"] or seen["kind"] not in case.ends):
            pytest.xfail("found and not yet closed")
        assert seen["hits"] == {}, f"it got through: {seen['hits']}\n{told}"
        assert seen["kind"] in case.ends, f"it ended as {seen['kind']}, expected one of {case.ends}\n{told}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_probe_gets_through_where_nothing_protects(case: Case, attackers: Attackers) -> None:
    if os.environ.get("TIR_GYM_ENGINE_URL"):
        pytest.skip("done by the tests that need no engine")
    if (reason := case.control.missing or case.control.unless()) is not None:
        pytest.skip(reason)
    if case.control.root and not ROOT:
        pytest.skip("only root could get through")
    seen = attackers.of("naive", "root" if ROOT else "user").attack(case, "session")
    assert set(case.canary.split()) & seen["hits"].keys(), f"the probe is broken: {seen}"


def test_every_probe_has_a_case() -> None:
    assert sorted(path.stem for path in PROBES.glob("*.py")) == sorted(case.name for case in CASES)
    assert len(CASES) >= 54
