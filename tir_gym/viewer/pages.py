"""Templates and what they may call: every value is escaped, control characters are shown and not obeyed, long text is
cut with a link to the whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from tir_gym.cli.printing import count, fixed, number, percent, printable
from tir_gym.cli.reporting.svg import legend, svg
from tir_gym.cli.walking import signed
from tir_gym.metrics import Estimate

LONGEST = 4000
"""Characters shown of one text."""


def render(template: str, **values: Any) -> str:
    """A page as UTF-8 text; nothing in the values becomes markup."""
    return _environment().get_template(template).render(**values)


def link(path: str, values: Mapping[str, Any], **changed: Any) -> str:
    """An address with a query, some of it changed; empty values and defaults are left out."""
    merged = {**values, **changed}
    query = urlencode({name: value for name, value in merged.items() if value not in ("", None, False)}, doseq=True)
    return f"{path}?{query}" if query else path


@cache
def asset(name: str) -> tuple[bytes, str]:
    """A file of `static/` and a word that changes with it. Raises KeyError for any other name."""
    types = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
    if name not in types:
        raise KeyError(name)
    data = files("tir_gym.viewer").joinpath("static", name).read_bytes()
    return data, types[name]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tir_gym.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "counted": count,
        "number": number,
        "fixed": fixed,
        "points": _points,
        "percent": percent,
        "signed": signed,
        "cut": _cut,
        "bar": _bar,
        "short": _short,
        "value": _value,
        "duration": _duration,
    }
    environment.globals |= {
        "asset": lambda name: f"/static/{name}?{hashlib.sha256(asset(name)[0]).hexdigest()[:12]}",
        "link": link,
        "plot": lambda each: Markup(svg(each)),
        "legend": lambda labels: Markup(legend(labels)),
        "LONGEST": LONGEST,
    }
    return environment


def _shown(value: Any) -> Any:
    """What is put into a page: markup of our own as it is, everything else as text without control characters."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return printable(value)


def _cut(text: str, whole: str = "") -> Markup:
    """Text of any length; beyond `LONGEST` characters it ends with a link to the whole.

    Args:
        text: From a trace.
        whole: Address of the whole text.
    """
    if len(text) <= LONGEST:
        return Markup(escape(printable(text)))
    head = escape(printable(text[:LONGEST]))
    link = Markup(' <a class="whole" href="{}">all {} characters</a>').format(whole, f"{len(text):,}")
    return Markup(head) + Markup("…") + (link if whole else Markup(""))


def _short(text: str, most: int = 60) -> str:
    text = " ".join(printable(text).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _value(text: str, most: int) -> str | Markup:
    """A value, given as JSON; a text of several lines, such as code, is shown as its lines."""
    told = json.loads(text) if text.startswith('"') and "\\n" in text else ""
    if "\n" not in told.strip():
        return _short(text, most)
    return Markup('<code class="lines">{}</code>').format(_cut(told))


def _points(share: float) -> str:
    """A difference of shares, in points of a hundred."""
    return f"{100 * share + 0.0:+.1f}%"


def _duration(seconds: float) -> str:
    return f"{number(seconds, 2)} s" if seconds >= 1.0 else f"{number(1000 * seconds, 0 if seconds > 0.01 else 1)} ms"


def _bar(estimate: Estimate | None) -> Markup:
    """A share with its interval as a small picture."""
    if estimate is None:
        return Markup("")
    low, value, high = (round(3 + 84 * share, 1) for share in (estimate.low, estimate.value, estimate.high))
    told = f"{percent(estimate.value)} (95%: {percent(estimate.low)} to {percent(estimate.high)})"
    return Markup(
        '<svg class="share" viewBox="0 0 90 12" width="90" height="12" role="img" aria-label="{}">'
        '<path class="track" d="M3 6H87"/><path class="span" d="M{} 6H{}"/><circle cx="{}" cy="6" r="3.2"/></svg>'
    ).format(told, low, high, value)
