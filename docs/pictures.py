"""Makes the pictures of the viewer in `docs/images` anew: real runs, looked at in the Chromium of this machine.

    python docs/pictures.py [--out DIR] [--training DIR]

Runs of several families are played into a store of their own; every picture of an episode shows the same one of them.
Training takes too long for this, so its curves are those of the runs under `--training`, such as `outputs/study/runs`;
without it that one picture is left as it is.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page, ViewportSize, sync_playwright

from tir_gym.metrics.outcome import RIGHT
from tir_gym.records import Trace
from tir_gym.store import EpisodeRow, open_store

PROGRAM = str(Path(sys.executable).with_name("tir-gym"))
WIDE: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
SHOWN = "assist-noisy"
"""The run whose episodes are shown."""
MOST = 10
"""Gold calls of the episode shown, so that its whole matching is seen on a phone too."""
RUNS = {
    "assist-oracle": "tir_gym/Assistant-v0 --agent oracle -n 30 -k 4",
    SHOWN: "tir_gym/Assistant-v0 --agent noisy:0.3 -n 30 -k 4",
    "assist-random": "tir_gym/Assistant-v0 --agent random -n 30 -k 4",
    "calc-noisy": "tir_gym/Calculator-v0 --agent noisy:0.2 -n 30 -k 2",
    "lookup-noisy": "tir_gym/Lookup-v0 --agent noisy:0.3 -n 30 -k 4",
    "search-noisy": "tir_gym/Search-v0 --agent noisy:0.6 -n 12",
}


def main() -> None:
    """Play, look, and write the pictures."""
    asked = argparse.ArgumentParser(description="Make the pictures of the viewer in docs/images anew.")
    asked.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "images")
    asked.add_argument("--training", type=Path, help="a folder of training runs")
    given = asked.parse_args()
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        sys.exit("error: no Chromium here; on Debian and Ubuntu: apt install chromium")
    if given.training is not None and not any(given.training.rglob("*.jsonl")):
        sys.exit(f"error: --training={given.training}: no training run is under it; name a folder of some")
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store = Path(folder) / "runs.db"
        for run, words in RUNS.items():
            played = [PROGRAM, "eval", *words.split(), "--run", run, "--store", str(store)]
            subprocess.run(played, check=True, stdout=subprocess.DEVNULL)
        # As root, as in most containers, Chromium starts only without its own sandbox.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        with viewer(store, given.training) as address:
            take(browser, address, store, given.out, training=given.training is not None)
        browser.close()
    if given.training is None:
        print("training.png is left as it is: no --training")


def take(browser: Browser, address: str, store: Path, out: Path, *, training: bool) -> None:
    """Every picture.

    Args:
        browser: Chromium.
        address: The viewer's.
        store: What it shows.
        out: A folder.
        training: Whether it shows training runs, too.
    """
    with open_store(str(store)) as opened:
        rows = list(opened.run(SHOWN).episodes())
    episode, task = telling_episode(rows), divided_task(rows)
    numbers = {name: number for number, name in enumerate(RUNS, start=1)}
    compared = "&".join(f"run={numbers[name]}" for name in ("assist-oracle", SHOWN, "assist-random"))
    places = {
        "runs": "/",
        "compare": f"/compare?{compared}",
        "run": f"/runs/{numbers[SHOWN]}",
        "group": f"/group?run={numbers[SHOWN]}&task={task}",
        "episode": f"/episodes/{episode}",
    }
    if training:
        places["training"] = "/training"
    page = browser.new_page(viewport=WIDE, color_scheme="light")
    for name, place in places.items():
        page.goto(address + place)
        shoot(page, out / f"{name}.png")
    page.goto(f"{address}/episodes/{episode}")
    for _ in range(2):
        page.keyboard.press("j")
    page.wait_for_selector("#turn-2.now")
    shoot(page, out / "episode-turn.png")
    phone = browser.new_page(viewport=PHONE, color_scheme="dark", device_scale_factor=2)
    phone.goto(f"{address}/episodes/{episode}")
    shoot(phone, out / "episode-phone.png")


def telling_episode(rows: list[EpisodeRow]) -> int:
    """The number of the failed episode whose matching has most to show: calls of every kind, and lines that cross."""
    failed = {row.id: row.trace() for row in rows if not row.success and row.gold_calls <= MOST}
    return max(failed, key=lambda number: much_to_show(failed[number]))


def much_to_show(trace: Trace) -> int:
    """How many kinds of calls there are, and one more if some paid for gold calls in another order."""
    golds = [match.gold for match in trace.matches if match.gold is not None]
    kinds = {
        trace.turns[match.turn].results[match.call].ok if match.gold is None else 2 + (match.score >= RIGHT)
        for match in trace.matches
    }
    return len(kinds) + (golds != sorted(golds))


def divided_task(rows: list[EpisodeRow]) -> str:
    """The longest task that some attempts have done and others not."""
    did, failed = ({row.task_id for row in rows if bool(row.success) is done} for done in (True, False))
    longest = {row.task_id: row.gold_calls for row in rows if row.task_id in did & failed}
    return max(longest, key=lambda task: longest[task])


@contextmanager
def viewer(store: Path, training: Path | None) -> Iterator[str]:
    """A viewer as users start it; its address."""
    words = [PROGRAM, "view", str(store), "--port", "0"]
    words += ["--training", str(training)] if training else []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[1].rstrip("/")
        finally:
            server.terminate()


def shoot(page: Page, file: Path) -> None:
    """What is seen of a page without scrolling, less what is empty at its foot."""
    # The folder in which the store was is gone when the picture is looked at.
    bare = "all => all.forEach(one => one.textContent = one.textContent.split('/').pop())"
    page.eval_on_selector_all(".head code", bare)
    foot = math.ceil(page.evaluate("document.querySelector('main').getBoundingClientRect().bottom"))
    seen = page.viewport_size or WIDE
    part: FloatRect = {"x": 0, "y": 0, "width": seen["width"], "height": min(seen["height"], foot)}
    in_few_colours(page.screenshot(clip=part)).save(file, optimize=True)
    print(file)


def in_few_colours(png: bytes, flat: int = 64) -> Image.Image:
    """A picture in 256 of its colours, which is a third of the size.

    Areas have their very colour: the most frequent `flat` are kept. The others are chosen one after another, each the
    colour that is farthest from all chosen so far, because what is rare, such as a red tag, is often the point.
    """
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int32)
    codes = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    there, where, times = np.unique(codes, return_inverse=True, return_counts=True)
    colours = np.stack([there >> 16, there >> 8 & 255, there & 255], axis=1)
    nearest = np.zeros(len(colours), np.uint8)
    away = np.full(len(colours), np.inf)
    palette = list(np.argsort(-times, kind="stable")[:flat])
    for place in range(min(256, len(colours))):
        if place == len(palette):
            palette.append(away.argmax())
        squared = ((colours - colours[palette[place]]) ** 2).sum(axis=1)
        nearest[squared < away] = place
        away = np.minimum(away, squared)
    few = Image.fromarray(nearest[where].reshape(codes.shape))
    few.putpalette(colours[palette].astype(np.uint8).tobytes())
    return few


if __name__ == "__main__":
    main()
