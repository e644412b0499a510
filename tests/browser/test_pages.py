"""The viewer in a real browser: a store made by a real `eval`, walked as a person would, by keys and on a phone.

Run by tests/browser.sh, which names the browser in TIR_GYM_BROWSER.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hostile import EVIL, hostile
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tir_gym.agents.oracle import OracleAgent
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.making import make_env
from tir_gym.records import Trace
from tir_gym.store import open_store
from tir_gym.store.rows import outcome_of, rows_of

BROWSER = os.environ["TIR_GYM_BROWSER"]
CHECKOUT = Path(__file__).resolve().parents[2]
SHOTS = CHECKOUT / "build" / "screenshots"
ENV_ID = "tir_gym/Assistant-v0"
PROGRAM = str(Path(sys.executable).parent / "tir-gym")
WIDE, LAPTOP, PHONE, SMALL = ({"width": w, "height": h} for w, h in ((1440, 900), (1200, 800), (390, 844), (320, 568)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real runs, a training log beside them, and a run in which every word is an attack."""
    folder = tmp_path_factory.mktemp("browser")
    where = folder / "runs.db"
    for agent, run in (("oracle", "gold"), ("noisy:0.3", "noisy")):
        words = [PROGRAM, "eval", ENV_ID, "--agent", agent, "-n", "20", "-k", "4", "--run", run, "--store", str(where)]
        subprocess.run(words, check=True, capture_output=True)
    with open_store(where) as opened:
        played = PlayedEpisode(hostile(ENV_ID), 0.1, (0.1,), {})
        config = {"env_id": EVIL, "agent": EVIL, "k": 1, "n": 1}
        opened.add_run("evil", config, [rows_of(played, outcome_of(played, repeat=0, tags=(EVIL,)))])
    for name, pace in (("first", 60), ("second", 90)):
        run_folder = folder / name
        run_folder.mkdir()
        lines = [
            {"step": i, "success": i / (i + pace), "return": 2 * i / (i + pace), "length": 300 - i}
            | {"entropy": 1 / (1 + i), "approx_kl": 0.001 * i, "clip_fraction": 0.1}
            | {"seconds_sample": 2.0, "seconds_train": 1.0}
            for i in range(120)
        ]
        (run_folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return where


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    """A viewer on that store."""
    with viewer(store) as address:
        yield address


@contextmanager
def viewer(store: Path) -> Iterator[str]:
    """A viewer as users start it; its address."""
    with subprocess.Popen([PROGRAM, "view", str(store), "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            yield line.split()[1].rstrip("/")
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root, as in most containers, Chromium starts only without its own sandbox.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Iterator[Page]:
    """A page that fails its test if anything was blocked by the policy, broke, or went to another host."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: None if request.url.startswith(address) else wrong.append(request.url))
    yield page
    assert not wrong


def open_page(page: Page, address: str) -> None:
    answer = page.goto(address, wait_until="load")
    assert answer is not None
    assert answer.ok


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SHOTS / f"{name}.png"))


def failing(store: Path) -> tuple[int, Trace]:
    """A failed episode that has a call paid in part: its number and its trace."""
    with open_store(store) as opened:
        for row in opened.run("noisy").episodes():
            trace = row.trace()
            if not trace.success and any(m.gold is not None and m.score < 1 for m in trace.matches):
                return row.id, trace
    raise AssertionError("this agent fails no task in part")


def test_from_the_runs_to_a_failing_episode(page: Page, address: str, store: Path) -> None:
    open_page(page, address)
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("link", name="noisy", exact=True).click()
    page.get_by_label("Outcome").select_option("failed")
    page.wait_for_url("**outcome=failed**")
    with open_store(store) as opened:
        failed = sum(row.success is False for row in opened.run("noisy").episodes())
    expect(page.locator(".pager").first).to_contain_text(f"{failed} episode")
    expect(page.locator("td .tag.bad")).to_have_count(failed)
    page.locator("tbody td.name a").first.click()
    expect(page.locator(".head .tag.bad")).to_have_text("failed")
    expect(page.locator(".turn").first).to_be_visible()


def test_the_matching_shown_is_the_one_in_the_store(page: Page, address: str, store: Path) -> None:
    id, trace = failing(store)
    open_page(page, f"{address}/episodes/{id}")
    drawn = page.locator(".only-wide .matching")
    paid = [match for match in trace.matches if match.gold is not None]
    expect(drawn.locator(".pair")).to_have_count(len(paid))
    shown = sorted(float(text) for text in drawn.locator(".pair text").all_text_contents())
    assert shown == sorted(round(match.score, 2) for match in paid)
    expect(drawn.locator("a.node")).to_have_count(len(trace.matches))
    expect(drawn.locator(".gold.unpaid")).to_have_count(trace.gold_calls - len(paid))
    for number, turn in enumerate(trace.turns, start=1):
        section = page.locator(f"#turn-{number}")
        assert float(section.locator(".pay").inner_text()) == pytest.approx(turn.reward, abs=5e-4)
        terms = section.locator(".term").all_inner_texts()
        assert [term.rsplit(" ", 1)[0] for term in terms] == list(turn.parts)
        expect(section.locator(".call .fn")).to_have_text([call.name for call in turn.calls])
        for match in (each for each in paid if each.turn == number - 1):
            call = page.locator(f"#call-{number}-{match.call + 1}")
            if call.locator("b", has_text="in the end").count() == 0:
                expect(call.locator(".why .tag")).to_contain_text(f"gold {match.gold + 1} ·")
    partly = page.locator(".call.part .arg.wrong, .call.part .arg.missing, .call.part .arg.extra")
    assert partly.count() > 0, "an argument that lost credit is marked"
    shot(page, "episode")


def test_keys_walk_turns_and_episodes(page: Page, address: str, store: Path) -> None:
    id, trace = failing(store)
    open_page(page, f"{address}/episodes/{id}")
    page.keyboard.press("j")
    expect(page.locator("#turn-1")).to_have_class("turn now")
    page.keyboard.press("j")
    assert page.url.endswith("#turn-2")
    expect(page.locator("#matching .pictures")).to_have_attribute("data-step", "2")
    before = sum(len(turn.calls) for turn in trace.turns[:2])
    expect(page.locator(".only-wide .matching a.node")).to_have_count(before)
    shot(page, "episode-turn")
    page.keyboard.press("k")
    assert page.url.endswith("#turn-1")
    page.keyboard.press("n")
    page.wait_for_url(lambda url: f"/episodes/{id}" not in url)
    page.keyboard.press("p")
    page.wait_for_url(f"**/episodes/{id}**")
    page.keyboard.press("g")
    page.wait_for_url("**/group?**")
    expect(page.locator("table.group tbody tr").first).to_be_visible()
    shot(page, "group")
    page.keyboard.press("u")
    page.wait_for_url("**/runs/**")
    page.keyboard.press("/")
    expect(page.locator("[data-filter]")).to_be_focused()
    shot(page, "run")


def test_a_link_leads_to_its_turn(page: Page, address: str, store: Path) -> None:
    id, trace = failing(store)
    last = len(trace.turns)
    open_page(page, f"{address}/episodes/{id}#turn-{last}")
    expect(page.locator(f"#turn-{last}")).to_have_class("turn now")
    expect(page.locator(f"#turn-{last}")).to_be_in_viewport()


def test_two_runs_are_compared(page: Page, address: str) -> None:
    open_page(page, address)
    button = page.locator("[data-compare]")
    expect(button).to_be_disabled()
    for name in ("gold", "noisy"):
        page.get_by_label(f"Compare {name}").check()
    shot(page, "runs")
    button.click()
    expect(page.get_by_role("heading", name="Who wins where")).to_be_visible()
    expect(page.locator("td.best").first).to_be_visible()
    shot(page, "compare")


def test_training_runs_lie_over_each_other_and_grow(page: Page, address: str, store: Path) -> None:
    open_page(page, f"{address}/training")
    assert page.locator("details[open] figure").count() >= 6
    expect(page.locator("figure").first.locator("path.line")).to_have_count(2)
    shot(page, "training")
    told = page.locator("p", has_text="first: 120 steps")
    with (store.parent / "first" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 120, "success": 1.0}\n')
    expect(told).to_have_count(0, timeout=60_000)
    expect(page.locator("p", has_text="first: 121 steps")).to_be_visible()
    page.get_by_role("checkbox", name="second").uncheck()
    page.wait_for_url("**log=first**")
    expect(page.locator("figure").first.locator("path.line")).to_have_count(1)


def test_a_run_appears_while_it_goes_on(page: Page, address: str, store: Path) -> None:
    open_page(page, address)
    words = [
        PROGRAM,
        "eval",
        "tir_gym/Calculator-v0",
        "--agent",
        "oracle",
        "-n",
        "3",
        "--run",
        "late",
        "--store",
        str(store),
    ]
    subprocess.run(words, check=True, capture_output=True)
    expect(page.get_by_role("link", name="late", exact=True)).to_be_visible(timeout=60_000)


def test_a_hostile_trace_runs_nothing(page: Page, address: str, store: Path) -> None:
    with open_store(store) as opened:
        (row,) = opened.run("evil").episodes()
    open_page(page, f"{address}/episodes/{row.id}")
    assert page.title().endswith("tir-gym")
    assert "owned" not in page.title().replace('document.title="owned"', "")
    assert page.locator("script").count() == 1, "the viewer's own"
    assert page.locator("main img, main b[onclick], main iframe").count() == 0
    assert page.evaluate("document.querySelectorAll('main [onerror], main [style]').length") == 0
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#turn-2")).to_have_class("turn now")
    shot(page, "hostile")
    whole = page.locator("a.whole", has_text="5,100,000").first
    with page.expect_response("**/text?**") as answered:
        whole.click()
    assert answered.value.headers["content-type"].startswith("text/plain")
    open_page(page, address)
    assert "<script>" in page.locator("main").inner_text()


def test_an_episode_is_played_again_by_a_button_that_no_other_site_can_press(
    context: BrowserContext, tmp_path: Path
) -> None:
    task = make_env("tir_gym/Calculator-v0", split="test").prepare("test/0").task.model_dump(mode="json")
    played = play_episode(make_env("tir_gym/Calculator-v0", task=task), OracleAgent(), task=None)
    with open_store(tmp_path / "whole.db") as opened:
        opened.begin_run("whole", {"env_id": "tir_gym/Calculator-v0"}).record(played, repeat=0)
    with viewer(tmp_path / "whole.db") as address:
        stranger, page = context.new_page(), context.new_page()
        open_page(page, f"{address}/episodes/1")
        stranger.set_content(
            f'<img src="{address}/episodes/1?replay=1"><form method="post" action="{address}/episodes/1/replay">'
            "<button>Win</button></form>"
        )
        with stranger.expect_response("**/replay") as answered:
            stranger.get_by_role("button").click()
        assert answered.value.status == 403
        page.reload()
        expect(page.locator("main")).to_contain_text("option of its own")
        page.get_by_role("button", name="Play it again").click()
        expect(page.locator("main")).not_to_contain_text("option of its own")
        assert page.url == f"{address}/episodes/1"


def test_the_pictures_of_the_docs_can_be_made_anew(store: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(CHECKOUT / "docs/pictures.py"), "--out", str(tmp_path / "images")]
    subprocess.run([*words, "--training", str(store.parent)], check=True, capture_output=True)
    made = {file.name for file in (tmp_path / "images").iterdir()}
    assert made == {file.name for file in (CHECKOUT / "docs/images").iterdir()}
    told = subprocess.run([*words, "--training", str(tmp_path)], capture_output=True, text=True)
    assert told.returncode == 1
    assert "no training run is under it" in told.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone(browser: Browser, address: str, store: Path, scheme: Any) -> None:
    id, _ = failing(store)
    context = browser.new_context(viewport=PHONE, color_scheme=scheme, device_scale_factor=2)
    context.set_default_timeout(60_000)
    page = context.new_page()
    places = {
        "runs": "/", "run": "/runs/2", "episode": f"/episodes/{id}", "group": "/group?run=2&task=test/1",
        "compare": "/compare?run=1&run=2", "training": "/training",
    }  # fmt: skip
    for name, place in places.items():
        open_page(page, address + place)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], f"{name} scrolls sideways"
        if name in ("runs", "run", "compare"):
            assert hidden_sideways(page) == 0, f"a table of {name} is wider than the phone"
        shot(page, f"{name}-phone-{scheme}")
    letters = page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    assert letters >= 14
    context.close()


def test_the_smallest_phone_breaks_no_word_of_the_head(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=SMALL)
    page.set_default_timeout(60_000)
    # A text that goes over two lines has two boxes.
    count = "word => { const all = new Range(); all.selectNodeContents(word); return all.getClientRects().length }"
    for place in ("/", "/runs/2", "/compare?run=1&run=2"):
        open_page(page, address + place)
        assert page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"]
        assert {word.evaluate(count) for word in page.locator(".top nav a, .figures dd:not(.dim)").all()} == {1}
        assert hidden_sideways(page) == 0, f"a table of {place} is wider than the phone"
    shot(page, "compare-smallest-phone")
    page.close()


def test_on_a_phone_compared_runs_stand_under_their_task_with_their_names(browser: Browser, tmp_path: Path) -> None:
    names = ["exact", "a-run-whose-name-is-long-x", "b-run-whose-name-is-long-x"]
    for agent, name in zip(("oracle", "noisy:0.4", "noisy:0.8"), names, strict=True):
        words = [PROGRAM, "eval", "tir_gym/Calculator-v0", "--agent", agent, "-n", "3", "--run", name]
        subprocess.run([*words, "--store", str(tmp_path / "three.db")], check=True, capture_output=True)
    with viewer(tmp_path / "three.db") as address:
        page = browser.new_page(viewport=LAPTOP)
        page.set_default_timeout(60_000)
        open_page(page, f"{address}/compare?run=1&run=2&run=3")
        wide = shown(page)
        expect(page.locator("table.tasks th.by")).to_have_text(names)
        assert len({round(box["y"]) for box in wide[0].boxes}) == 1
        assert [line.labels for line in wide] == [["none"] * 3] * 3
        page.set_viewport_size(PHONE)
        narrow = shown(page)
        assert [line.words for line in narrow] == [line.words for line in wide]
        for line in narrow:
            assert line.labels == [f'"{name}"' for name in names]
            assert line.boxes == sorted(line.boxes, key=lambda box: box["y"])
            assert all(one["y"] + one["height"] <= other["y"] + 1 for one, other in pairwise(line.boxes))
            assert all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in line.boxes)
        assert hidden_sideways(page) == 0
        shot(page, "compare-three-phone")
        open_page(page, f"{address}/compare?run=1&run=2")
        assert hidden_sideways(page) == 0
        page.close()


@dataclass
class Shown:
    """A task of a comparison as it is on the screen: each run's cell, its words, and what stands before them."""

    boxes: list[Any]
    words: list[str]
    labels: list[str]


def shown(page: Page) -> list[Shown]:
    """The tasks of a comparison."""
    label = "cell => getComputedStyle(cell, '::before').content"
    lines = [line.locator("td.by").all() for line in page.locator("table.tasks tbody tr").all()]
    return [
        Shown(
            [cell.bounding_box() for cell in cells],
            [" ".join(cell.inner_text().split()) for cell in cells],
            [cell.evaluate(label) for cell in cells],
        )
        for cells in lines
    ]


def test_no_table_is_wider_than_a_laptop_and_none_of_a_report_than_a_phone(
    browser: Browser, address: str, store: Path
) -> None:
    page = browser.new_page(viewport=LAPTOP)
    for place in ("/", "/runs/2", "/compare?run=1&run=2", "/group?run=2&task=test/1"):
        open_page(page, address + place)
        assert hidden_sideways(page) == 0, place
        for width in (1024, 844, 700) if "group" not in place else ():  # tablets, and a phone on its side
            page.set_viewport_size({"width": width, "height": 600})
            assert hidden_sideways(page) == 0, (place, width)
        page.set_viewport_size(LAPTOP)
    report = store.parent / "report.html"
    words = [PROGRAM, "report", "gold", "noisy", "--store", str(store), "-o", str(report)]
    subprocess.run(words, check=True, capture_output=True)
    page.goto(report.as_uri())
    assert hidden_sideways(page) == 0
    page.set_viewport_size(PHONE)
    assert hidden_sideways(page) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "report-phone")
    page.close()


def hidden_sideways(page: Page) -> int:
    """The most pixels that one of the page's tables hides beside what it shows."""
    wider = "[...document.querySelectorAll('.wide')].map(each => each.scrollWidth - each.clientWidth)"
    return int(page.evaluate(f"Math.max(0, ...{wider})"))


def test_dark_and_light(browser: Browser, address: str, store: Path) -> None:
    id, _ = failing(store)
    context = browser.new_context(viewport=WIDE, color_scheme="dark")
    page = context.new_page()

    def lightness() -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    open_page(page, f"{address}/episodes/{id}")
    assert lightness() < 60
    shot(page, "episode-dark")
    page.locator("#theme").click()
    assert lightness() > 200
    page.reload()
    assert lightness() > 200, "the choice is kept"
    page.keyboard.press("t")
    assert lightness() < 60
    context.close()
