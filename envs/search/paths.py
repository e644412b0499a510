"""Gold paths: the calls that visit documents, made in a library so that every reference is to what was really given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tir_gym.envs.search.comparing import answer_type
from tir_gym.envs.search.questions import Question, Told, Visit
from tir_gym.envs.search.tools import FIELD_COMPARATORS, RESULTS
from tir_gym.envs.writing.draft import Infeasible
from tir_gym.records import (
    AnswerCheck,
    GoldCall,
    GoldTrace,
    Ref,
    RefusedCheck,
    StateCheck,
    ToolCall,
    UnchangedCheck,
)
from tir_gym.sandboxes.state import StateSandbox

_NOT_TOLD = "CANNOT: the library does not tell."


@dataclass
class Path:
    """Calls made so far, and what they gave.

    Args:
        sandbox: In its initial state, and left in it.
    """

    sandbox: StateSandbox
    calls: list[GoldCall] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    """The call that reads the document, by visit."""
    after: list[tuple[int, int]] = field(default_factory=list)
    """Edges that no reference implies."""

    def visit(self, visit: Visit) -> None:
        """Search for a document and read it.

        Raises:
            Infeasible: The search does not find it.
        """
        document = self.look_up(self.name(visit.query, visit.told_by), lambda result: result["title"] == visit.title)
        passage = None if visit.passage is None else self.name(visit.passage, visit.passage_told_by)
        self.read(document, visit.keys, passage)

    def look_up(self, query: Any, is_it: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Search for a document.

        Args:
            query: Text, or a reference to it.
            is_it: Whether a result is the document.

        Returns:
            A reference to its id.

        Raises:
            Infeasible: The search does not find it.
        """
        self.search(query)
        place = next((i for i, result in enumerate(self.contents[-1]["results"]) if is_it(result)), None)
        if place is None:
            raise Infeasible(f"a search for {self._plain(query)!r} does not find it among the first {RESULTS} results")
        return reference(len(self.calls) - 1, "results", place, "document")

    def search(self, query: Any) -> None:
        self.call("search", {"query": query}, ({"query": query, "k": RESULTS},))

    def read(self, document: Any, keys: Iterable[str] = (), passage: Any = None) -> None:
        """Open a document, or find a passage in it where one is given.

        Args:
            document: A reference to its id.
            keys: Texts by which `find` does as well as `open`.
            passage: What to find.
        """
        if passage is None:
            self.call("open", {"document": document}, ({"document": document, "text": key} for key in keys), "find")
        else:
            self.call("find", {"document": document, "text": passage})
        self.reads.append(len(self.calls) - 1)

    def call(self, tool: str, arguments: dict[str, Any], ways: Iterable[dict[str, Any]] = (), other: str = "") -> None:
        """Make a call.

        Args:
            tool: Its name.
            arguments: JSON values or references.
            ways: Arguments that do as well.
            other: The tool that takes those; the same one by default.
        """
        plain = {name: self._plain(value) for name, value in arguments.items()}
        result = self.sandbox.fork().call(ToolCall(tool, plain))
        assert result.ok, result.error
        alternatives = tuple(GoldCall(name=other or tool, arguments=way) for way in ways)
        self.calls.append(GoldCall(name=tool, arguments=arguments, alternatives=alternatives))
        self.contents.append(result.content)

    def name(self, name: str, told_by: int | None) -> Any:
        """A name, or the reference to where it was read."""
        if told_by is None:
            return name
        call = self.reads[told_by]
        return reference(call, "names", self.contents[call]["names"].index(name))

    def source(self, told: Told) -> Ref:
        """Where a text that the answer needs was read."""
        call = self.reads[told.visit]
        content = self.contents[call]
        if told.text in content["names"]:
            return Ref(call=call, path=("names", content["names"].index(told.text)))
        if "passages" in content:
            return Ref(call=call, path=("passages", 0, "text"))
        places = [i for i, paragraph in enumerate(content["paragraphs"]) if told.text in paragraph]
        if not places:
            raise Infeasible(f"{told.text!r} is not shown in {content['title']!r}")
        return Ref(call=call, path=("paragraphs", places[0]))

    def _plain(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        node = self.contents[value["$ref"]["call"]]
        for step in value["$ref"]["path"]:
            node = node[step]
        return node


def reference(call: int, *path: str | int) -> dict[str, Any]:
    """A reference as gold arguments hold it."""
    return {"$ref": {"call": call, "path": list(path)}}


def gold_of(question: Question, sandbox: StateSandbox) -> GoldTrace:
    """The gold trace of a question in a library.

    Raises:
        Infeasible: A search does not find what it should.
    """
    if question.answer is None:
        return _dead_end(question, sandbox)
    ways = [question.visits]
    if question.other_visits:
        ways.append((*question.visits[:-1], *question.other_visits))
    traces: list[GoldTrace] = []
    for visits in ways:
        path = Path(sandbox)
        for visit in visits:
            path.visit(visit)
        _see_that_nothing_is_skipped(path, visits)
        told = [Told(min(each.visit, len(visits) - 1), each.text) for each in question.told]
        traces += answered(path, question.answer, [path.source(each) for each in told])
    return traces[0].model_copy(update={"alternatives": tuple(traces[1:])})


def _see_that_nothing_is_skipped(path: Path, visits: Sequence[Visit]) -> None:
    """See that whoever opens what a search gives first does not stumble on a document that comes later.

    Raises:
        Infeasible: One would.
    """
    searches = [content["results"] for content in path.contents if "results" in content]
    for n, results in enumerate(searches):
        if results[0]["title"] in [visit.title for visit in visits[n + 1 :]]:
            raise Infeasible(f"a search for {visits[n].query!r} gives {results[0]['title']!r} first")


def answered(path: Path, answer: Any, sources: Sequence[Ref], *, quoted: bool = True) -> list[GoldTrace]:
    """The two ways to end: the answer is submitted, or only stated in the final message.

    Args:
        path: The calls before.
        answer: The answer.
        sources: Where it is read.
        quoted: Whether its words stand there; else it follows from them.
    """
    calls, reply = tuple(path.calls), f"The answer is <answer>{answer}</answer>."
    submit = GoldCall(name="submit", arguments={"answer": answer})
    edges = [(call, len(calls)) for call in sorted({source.call for source in sources})]
    grounded = StateCheck(comparators=FIELD_COMPARATORS, sources=tuple(sources))
    stated = AnswerCheck(type=answer_type(answer), value=answer, sources=tuple(sources) if quoted else ())
    return [
        GoldTrace(calls=(*calls, submit), after=(*path.after, *edges), checks=(grounded,), reply=reply),
        # Nothing is submitted here, so the state must stay as it is.
        GoldTrace(calls=calls, after=tuple(path.after), checks=(stated, grounded), reply=reply),
    ]


def refused(path: Path, sources: Sequence[Ref]) -> GoldTrace:
    """The end of a question that the library does not answer, where nothing is to be submitted.

    Args:
        path: The calls before.
        sources: What shows it.
    """
    checks = (RefusedCheck(sources=tuple(sources)), UnchangedCheck())
    return GoldTrace(calls=tuple(path.calls), after=tuple(path.after), checks=checks, reply=_NOT_TOLD)


def _dead_end(question: Question, sandbox: StateSandbox) -> GoldTrace:
    """Likewise, with the name at which the search ends submitted: who has not followed the trail does not know it."""
    path = Path(sandbox)
    for visit in question.visits:
        if any(thing.name == visit.title for thing in question.missing):
            end = path.name(visit.query, visit.told_by)
            path.search(end)
            source = Ref(call=len(path.calls) - 1, path=("results",))
        else:
            path.visit(visit)
            end = reference(path.reads[-1], "title")
            source = Ref(call=path.reads[-1], path=("paragraphs",))
    path.call("submit", {"answer": end})
    checks = (RefusedCheck(sources=(source,)), StateCheck(comparators=FIELD_COMPARATORS, sources=(source,)))
    edges = ((source.call, len(path.calls) - 1),)
    return GoldTrace(calls=tuple(path.calls), after=edges, checks=checks, reply=_NOT_TOLD)
