"""The four tools: search the library, open a document, find passages in it, submit the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from tir_gym.envs.search.comparing import ANSWER, COUNT, WORDS
from tir_gym.envs.search.library import DOCUMENTS, SUBMISSION, LibraryState
from tir_gym.errors import ToolError
from tir_gym.tool import Toolkit, tool

RESULTS = 5
"""Documents that `search` gives unless told otherwise."""

PAGE = 6
"""Paragraphs that `open` shows; `find` reaches the others."""

_MOST_RESULTS = 20
_MOST_PASSAGES = 5
_SNIPPET = 100
"""Characters."""

FIELD_COMPARATORS = {f"{SUBMISSION}.answer": ANSWER}
"""How the submitted answer is compared."""


@tool(comparators={"query": WORDS, "k": COUNT})
def search(
    state: LibraryState, query: str, k: Annotated[int, Field(ge=1, le=_MOST_RESULTS)] = RESULTS
) -> dict[str, Any]:
    """Search the library by words and get the documents that fit best, each with its title and beginning.

    Args:
        query: Words to look for, such as a name.
        k: How many documents to give, 1 to 20.
    """
    found = []
    for id in state.library.search(query, k):
        record = _record(state, id)
        found.append({"document": id, "title": record["title"], "beginning": _beginning(record["paragraphs"])})
    return {"results": found}


@tool(name="open")
def open_document(state: LibraryState, document: str) -> dict[str, Any]:
    """Read a document: its first paragraphs, how many more there are, and all names that occur in it.

    Args:
        document: Its id, as a search gives it.
    """
    record = _record(state, document)
    shown = list(record["paragraphs"][:PAGE])
    return {
        "document": document,
        "title": record["title"],
        "paragraphs": shown,
        "more": len(record["paragraphs"]) - len(shown),
        "names": list(record["names"]),
    }


@tool(comparators={"text": WORDS})
def find(state: LibraryState, document: str, text: str) -> dict[str, Any]:
    """Find the paragraphs of a document in which a text stands, upper or lower case.

    Args:
        document: The document's id, as a search gives it.
        text: What to look for, word for word.
    """
    record = _record(state, document)
    wanted = text.casefold().strip()
    if not wanted:
        raise ToolError("text is empty; give words to look for")
    passages = [
        {"paragraph": number, "text": paragraph}
        for number, paragraph in enumerate(record["paragraphs"], 1)
        if wanted in paragraph.casefold()
    ][:_MOST_PASSAGES]
    return {
        "document": document,
        "title": record["title"],
        "passages": passages,
        "names": list(record["names"]),
    }


@tool(effect="write", comparators={"answer": ANSWER})
def submit(state: LibraryState, answer: str | int | float) -> dict[str, str]:
    """Submit the answer; a later submission takes the place of an earlier one.

    Args:
        answer: The bare answer: a name in full, or a number in digits.
    """
    state.table(SUBMISSION).put("submission", {"answer": answer})
    return {"status": "submitted"}


TOOLKIT = Toolkit([search, open_document, find, submit])


def _record(state: LibraryState, id: str) -> Mapping[str, Any]:
    record: Mapping[str, Any] | None = state.table(DOCUMENTS).get(id)
    if record is None:
        raise ToolError(f"no document {id[:40]!r}; take an id from the results of search")
    return record


def _beginning(paragraphs: Sequence[str]) -> str:
    """The first words, cut at a space."""
    text = paragraphs[0] if paragraphs else ""
    return text if len(text) <= _SNIPPET else f"{text[:_SNIPPET].rsplit(' ', 1)[0]} ..."
