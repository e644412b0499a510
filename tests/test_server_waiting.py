"""How the server waits: awake while messages come close together, asleep when they do not."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from serving import BareClient, server_process

from tir_gym.server import waiting
from tir_gym.server.waiting import MOMENT, AwakeSelector, new_loop


def test_a_message_is_seen_and_an_empty_wait_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, AwakeSelector() as selector:
        selector.register(ours, 1)
        for awake in (False, True):
            selector.awake = awake
            theirs.send(b"x")
            assert [key.fileobj for key, _ in selector.select(5)] == [ours]
            ours.recv(1)
            assert selector.select(0) == []
            assert selector.awake == awake  # nothing was waited for
        begun = time.perf_counter()
        assert selector.select(20 * MOMENT) == []
        assert time.perf_counter() - begun >= 20 * MOMENT
        assert not selector.awake


def test_a_message_that_comes_late_is_waited_for_asleep() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, AwakeSelector() as selector:
        selector.register(ours, 1)
        selector.awake = True
        later = threading.Timer(0.2, theirs.send, [b"x"])
        later.start()
        spent = time.thread_time()
        assert selector.select(30)
        assert time.thread_time() - spent < 0.1
        assert not selector.awake
        later.join()


def test_in_a_thread_beside_a_client_it_sleeps() -> None:
    selectors = []

    def look() -> None:
        loop = new_loop()
        selectors.append(loop._selector)  # type: ignore[attr-defined]
        loop.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert not isinstance(selectors[0], AwakeSelector)


@pytest.mark.parametrize(("quota", "awake"), [("max 100000", True), ("150000 100000", True), ("100000 100000", False)])
def test_a_container_s_quota_is_not_waited_away(
    quota: str, awake: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(waiting, "_QUOTA", tmp_path / "cpu.max")
    loop = waiting.new_loop()
    assert isinstance(loop._selector, AwakeSelector) is awake  # type: ignore[attr-defined]
    loop.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_server_that_nobody_asks_sleeps() -> None:
    def spent(pid: int) -> float:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    with server_process("tir_gym/Calculator-v0") as (url, process):
        client = BareClient(url)
        client.open()
        client.ask("reset", seed=1)
        for _ in range(200):
            client.ask("render")
        before = spent(process.pid)
        time.sleep(1.0)
        assert spent(process.pid) - before < 0.3  # awake it would be all of it
