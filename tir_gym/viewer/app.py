"""The pages by address. Each is a plain function from a request to a page, run in a thread. The store is only read, and
what might cost more than a page should is played when a form of the page's own asks for it."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tir_gym.cli.printing import printable
from tir_gym.cli.reporting.curves import Plot, credit_by_turn, success_by_length
from tir_gym.cli.reporting.learning import SECTIONS, find_logs, learning_curves, read_log, section_of
from tir_gym.errors import UsageError
from tir_gym.metrics import Outcome
from tir_gym.viewer import comparing, pages
from tir_gym.viewer.advantages import CHOICES, CREDITS, MISSING, advantages_of
from tir_gym.viewer.changes import Changes, changes_of
from tir_gym.viewer.episode import ShownEpisode, result_text, show_episode, thoughts_and_words
from tir_gym.viewer.guard import LOOPBACK, Guard
from tir_gym.viewer.lines import OUTCOMES, SORTS, RunLine, Wanted
from tir_gym.viewer.matching import NARROW, WIDE, picture
from tir_gym.viewer.reader import Reader

_EPISODES_KEPT = 32
_LARGEST = 2**63 - 1
"""Largest id of a row that a database has."""


def make_app(
    reader: Reader,
    *,
    folders: Sequence[Path] = (),
    hosts: Sequence[str] = LOOPBACK,
    token: str | None = None,
    port: int = 0,
) -> Guard:
    """The viewer as an ASGI application.

    Args:
        reader: The store.
        folders: Where to look for the logs of training runs.
        hosts: Names under which it may be asked for; empty for any.
        token: What readers must show; `None` for nothing.
        port: On which it will listen.
    """
    viewer = _Viewer(reader, folders)
    routes = [
        Route("/", viewer.runs),
        Route("/runs/{id:int}", viewer.run),
        Route("/compare", viewer.compare),
        Route("/group", viewer.group),
        Route("/episodes/{id:int}", viewer.episode),
        Route("/episodes/{id:int}/replay", viewer.replay, methods=["POST"]),
        Route("/episodes/{id:int}/matching", viewer.matching),
        Route("/episodes/{id:int}/text", viewer.text),
        Route("/episodes/{id:int}/trace.json", viewer.trace),
        Route("/training", viewer.training),
        Route("/pulse", viewer.pulse),
        Route("/static/{name}", _static),
        Route("/favicon.ico", lambda request: _asset("icon.svg")),
    ]
    app = Starlette(routes=routes, exception_handlers={UsageError: _told, HTTPException: _told, 500: _told})
    return Guard(app, hosts=hosts, token=token, port=port)  # around all of it, answers to bugs included


class _Viewer:
    """The pages of one store."""

    def __init__(self, reader: Reader, folders: Sequence[Path]) -> None:
        self._reader = reader
        self._folders = tuple(folders)
        self._word = secrets.token_urlsafe(16)
        """In each form that makes the viewer do something. Other sites cannot read our pages, so they lack it."""
        self._asked: set[int] = set()
        """Episodes that a reader wanted played again."""
        # An episode that was recorded never changes: one played again gets another id.
        self._shown = lru_cache(_EPISODES_KEPT)(self._show)
        self._changed: Callable[[int, bool], Changes] = lru_cache(_EPISODES_KEPT)(self._changes)

    # Runs.

    def runs(self, request: Request) -> Response:
        query = request.query_params
        text, env, agent = query.get("q", "").strip(), query.get("env", ""), query.get("agent", "")
        every = self._reader.runs()
        found = [
            run
            for run in every
            if text.casefold() in f"{run.name} {run.env_id} {run.agent}".casefold()
            and env in ("", run.env_id)
            and agent in ("", run.agent)
        ]
        sort = query.get("sort", "")
        key, down = sort.removeprefix("-"), sort.startswith("-")
        if key in _RUN_SORTS:
            known = [run for run in found if _RUN_SORTS[key](run) is not None]
            known.sort(key=_RUN_SORTS[key], reverse=down)
            found = [*known, *(run for run in found if _RUN_SORTS[key](run) is None)]
        return self._page(
            request,
            "runs.html",
            runs=found,
            all=len(every),
            env_ids=sorted({run.env_id for run in every}),
            agents=sorted({run.agent for run in every}),
            wanted={"q": text, "env": env, "agent": agent, "sort": sort},
            live=True,
            training=not every and bool(find_logs(self._folders)),
        )

    def run(self, request: Request) -> Response:
        query = request.query_params
        run = self._reader.run(_id(request))
        sort = query.get("sort", "task")
        wanted = Wanted(
            text=query.get("q", "").strip(),
            outcome=query.get("outcome", "") if query.get("outcome") in OUTCOMES else "",
            ending=query.get("ending", ""),
            sort=sort.removeprefix("-") if sort.removeprefix("-") in SORTS else "task",
            down=sort.startswith("-"),
            page=_number(query.get("page"), 1),
        )
        return self._page(
            request,
            "run.html",
            run=run,
            listing=self._reader.episodes(run.id, wanted),
            endings=self._reader.endings(run.id),
            wanted={"q": wanted.text, "outcome": wanted.outcome, "ending": wanted.ending, "sort": sort},
            plots=self._plots(run) if run.episodes else (),
            live=run.status == "running",
        )

    def compare(self, request: Request) -> Response:
        query = request.query_params
        ids = list(dict.fromkeys(_number(each, -1) for each in query.getlist("run")))
        if not 2 <= len(ids) <= comparing.MOST:
            raise UsageError(f"choose two runs to compare, or up to {comparing.MOST}; chosen: {len(ids)}")
        runs = [self._reader.run(id) for id in ids]
        comparison = comparing.compare(self._reader, runs)
        listing = comparing.page_of(
            comparison, query.get("show", ""), query.get("q", "").strip(), _number(query.get("page"), 1)
        )
        return self._page(
            request,
            "compare.html",
            comparison=comparison,
            listing=listing,
            wanted={"run": ids, "show": query.get("show", ""), "q": query.get("q", "").strip()},
            live=any(run.status == "running" for run in runs),
        )

    # Groups and episodes.

    def group(self, request: Request) -> Response:
        query = request.query_params
        run = self._reader.run(_number(query.get("run"), -1))
        task = query.get("task", "")
        rollouts = self._reader.group(run.id, task)
        if not rollouts:
            raise UsageError(f"run {run.name} has no episode of task {task!r}")
        estimator, credit = query.get("estimator", "dual"), query.get("credit", "hindsight")
        return self._page(
            request,
            "group.html",
            run=run,
            task=task,
            rollouts=rollouts,
            length=max(len(each.turns) for each in rollouts),
            advantages=advantages_of(rollouts, self._reader.trace, estimator, credit),
            others=[each for each in self._reader.runs_with(task, run.env_id) if each[0] != run.id],
            choices=CHOICES,
            missing=MISSING,
            credits=CREDITS,
            live=run.status == "running",
        )

    def episode(self, request: Request) -> Response:
        query = request.query_params
        line = self._reader.episode(_id(request))
        asked = line.id in self._asked
        shown = self._shown(line.id, asked)
        before, after = self._reader.neighbours(line)
        group = self._reader.group(line.run_id, line.task_id)
        estimator, credit = query.get("estimator", "dual"), query.get("credit", "hindsight")
        return self._page(
            request,
            "episode.html",
            run=self._reader.run(line.run_id),
            line=line,
            episode=shown,
            golds=shown.golds.get(shown.last.trace, ()),
            paid={gold: (shown.last.calls[index][:2], score) for index, gold, score in shown.last.pairs},
            pictures=(picture(shown, shown.last, WIDE), picture(shown, shown.last, NARROW)),
            changes=self._changed(line.id, asked),
            advantages=advantages_of(group, self._reader.trace, estimator, credit),
            before=before,
            after=after,
            choices=CHOICES,
            missing=MISSING,
            credits=CREDITS,
            wanted={"estimator": query.get("estimator", ""), "credit": query.get("credit", "")},
            word=self._word,
            live=False,
        )

    def replay(self, request: Request) -> Response:
        """Play an episode again, as its page asks: from now on the page shows what came of it."""
        query = request.query_params
        if not hmac.compare_digest(query.get("word", "").encode(), self._word.encode()):
            raise HTTPException(403, "this form is another viewer's, or another site's; open the episode and ask there")
        id = self._reader.episode(_id(request)).id
        self._asked.add(id)
        rest = {name: query.get(name, "") for name in ("estimator", "credit")}
        return RedirectResponse(pages.link(f"/episodes/{id}", rest), 303)

    def matching(self, request: Request) -> Response:
        """The picture as it stood after a turn, for the script that walks turns."""
        shown = self._shown(self._reader.episode(_id(request)).id, False)
        after = _number(request.query_params.get("after"), len(shown.trace.turns)) - 1
        step = next((each for each in shown.steps if each.turn >= after), shown.last)
        pictures = (picture(shown, step, WIDE), picture(shown, step, NARROW))
        return HTMLResponse(_encoded(pages.render("matching.html", episode=shown, step=step, pictures=pictures)))

    def text(self, request: Request) -> Response:
        """One text of an episode, whole."""
        query = request.query_params
        trace = self._reader.trace(_id(request))
        part, turn, call = query.get("part", ""), _number(query.get("turn"), 1) - 1, _number(query.get("call"), 1) - 1
        try:
            if part == "message":
                text = str(trace.messages[call].get("content"))
            elif part == "text":
                text = thoughts_and_words(trace.turns[turn])[1]
            elif part == "thought":
                text = thoughts_and_words(trace.turns[turn])[0][call]
            elif part == "reply":
                replies = [each for each in trace.turns[turn].observation if each.get("role") == "user"]
                text = str(replies[call].get("content"))
            elif part == "malformed":
                text = trace.turns[turn].malformed[call]
            elif part == "arguments":
                text = json.dumps(trace.turns[turn].calls[call].arguments, ensure_ascii=False, indent=1)
            elif part == "error":
                text = trace.turns[turn].results[call].error or ""
            elif part == "result":
                text = result_text(trace.turns[turn].results[call].content)
            else:
                raise IndexError(part)
        except IndexError:
            raise HTTPException(404, "the episode has no such text") from None
        return PlainTextResponse(_encoded(printable(text)))

    def trace(self, request: Request) -> Response:
        line = self._reader.episode(_id(request))
        name = f"episode-{line.id}.json"
        return Response(
            self._reader.trace_text(line.id),
            media_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    # Training.

    def training(self, request: Request) -> Response:
        found = find_logs(self._folders)
        chosen = request.query_params.getlist("log")
        logs = [read_log(name, path) for name, path in found if not chosen or name in chosen]
        logs = logs[: comparing.MOST]
        plots = learning_curves(logs)
        return self._page(
            request,
            "training.html",
            found=[name for name, _ in found],
            logs=logs,
            sections={title: [plot for plot in plots if section_of(plot.title) == title] for title, _ in SECTIONS},
            folders=[str(folder.absolute()) for folder in self._folders],
            live=True,
        )

    def pulse(self, request: Request) -> Response:
        """A text that changes when there is something new to show, in the store or in the logs."""
        if "training" not in request.query_params:
            return PlainTextResponse(self._reader.pulse())
        return PlainTextResponse(str(sum(path.stat().st_size for _, path in find_logs(self._folders))))

    # How it is done.

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        text = pages.render(template, store=self._reader.where, here=template.removesuffix(".html"), **values)
        return HTMLResponse(_encoded(text))

    def _show(self, id: int, asked: bool) -> ShownEpisode:
        return show_episode(self._reader.trace(id), self._reader.turn_seconds(id), asked=asked)

    def _changes(self, id: int, asked: bool) -> Changes:
        return changes_of(self._shown(id, asked).trace, asked=asked)

    def _plots(self, run: RunLine) -> Sequence[Plot]:
        rows = [
            Outcome(
                task_id=task, repeat=repeat, success=repeat < c, return_=mean, turns=0, calls=0, right_calls=0,
                gold_calls=gold, malformed=0, errors={}, ending=None, infra_error=None, seconds=0.0,
            )
            for task, (n, c, mean, gold) in self._reader.task_cells(run.id).items()
            for repeat in range(n)
        ]  # fmt: skip
        label = [run.agent]
        return success_by_length(label, [rows]), *credit_by_turn(label, [self._reader.credit_by_turn(run.id)])


_RUN_SORTS: Mapping[str, Callable[[RunLine], Any]] = {
    "name": lambda run: run.name,
    "env": lambda run: run.env_id,
    "agent": lambda run: run.agent,
    "episodes": lambda run: run.episodes,
    "success": lambda run: None if run.success is None else run.success.value,
    "return": lambda run: run.mean_return,
    "pass": lambda run: run.pass_hat_k,
    "turns": lambda run: run.turns,
    "tokens": lambda run: run.tokens,
    "seconds": lambda run: run.seconds,
    "infra": lambda run: run.infra_failures,
}


def _id(request: Request) -> int:
    id: int = request.path_params["id"]
    if id > _LARGEST:
        raise HTTPException(404, "there is no such row")
    return id


def _number(text: str | None, default: int) -> int:
    """A number from a query, within what a database takes; the default for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return default
    return int(text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _static(request: Request) -> Response:
    try:
        return _asset(request.path_params["name"])
    except KeyError:
        raise HTTPException(404, "there is no such file") from None


def _asset(name: str) -> Response:
    data, kind = pages.asset(name)
    return Response(data, media_type=kind, headers={"Cache-Control": "max-age=31536000, immutable"})


def _told(request: Request, error: Exception) -> Response:
    """An error as a page: the caller's mistakes say what to do, a bug only that it is one."""
    if isinstance(error, HTTPException):
        status, said = error.status_code, str(error.detail)
        if said == "Not Found":  # the framework's, of an address that no route has
            said = f"no page has the address {request.url.path}"
    elif isinstance(error, UsageError):
        status, said = 404, str(error)
    else:
        status, said = 500, f"a bug of the viewer: {type(error).__name__}; the terminal has its traceback"
    page = pages.render("error.html", status=status, said=said, store="", here="", live=False)
    return HTMLResponse(_encoded(page), status)
