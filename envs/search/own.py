"""A library and questions of the user's own, from two files of JSON lines.

A document, with `names` and `paragraphs` where they are known:

    {"id": "d1", "title": "Ada Lind", "text": "Ada Lind was born in Varnholt.\\n\\nShe built bridges."}
    {"id": "d2", "title": "Varnholt", "paragraphs": ["Varnholt has 4,302 inhabitants."], "names": ["Ada Lind"]}

A question. `documents` are those that one has to read, in order; with them the gold trace has a search and an `open`
for each, and the answer must stand in one of them. Without them only the submission is matched and checked.

    {"id": "q1", "question": "How many people live where Ada Lind was born?", "answer": 4302, "documents": ["d1", "d2"]}

| field | meaning | where absent |
|---|---|---|
| `answer` | text or a number; `null`: the library does not tell, and the right end is a refusal | must be there |
| `aliases` | other answers that are just as right | none |
| `documents` | ids of documents to read, in order | not told |
| `queries` | for each of `documents` a query that finds it | its title |
| `split` | `train` or `test` | in both |
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from tir_gym.env import Split
from tir_gym.envs.search.generator import make_record, make_sandbox
from tir_gym.envs.search.library import DOCUMENTS
from tir_gym.envs.search.paths import Path, answered, reference, refused
from tir_gym.envs.search.ranking import words_of
from tir_gym.envs.search.tools import PAGE
from tir_gym.envs.writing.draft import Infeasible
from tir_gym.errors import UsageError
from tir_gym.frozen import FrozenDict, freeze
from tir_gym.gold import verified
from tir_gym.records import GoldTrace, Record, Ref, Task

R = TypeVar("R", bound=Record)


class OwnDocument(Record):
    """A line of the file of documents."""

    id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    text: str = ""
    """Paragraphs with blank lines between them."""
    paragraphs: tuple[str, ...] = ()
    """Instead of `text`."""
    names: tuple[str, ...] = ()
    """Names that occur in it, to be searched for next."""

    @model_validator(mode="after")
    def _has_one_text(self) -> OwnDocument:
        if bool(self.text.strip()) == bool(self.paragraphs):
            raise ValueError("give either `text` or `paragraphs`, and not an empty one")
        return self

    def record(self) -> dict[str, Any]:
        paragraphs = self.paragraphs or tuple(part.strip() for part in self.text.split("\n\n") if part.strip())
        return {"title": self.title, "paragraphs": list(paragraphs), "names": list(self.names)}


class OwnQuestion(Record):
    """A line of the file of questions."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str | int | float | None
    aliases: tuple[str | int | float, ...] = ()
    documents: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    split: Split | None = None

    @field_validator("answer", mode="before")
    @classmethod
    def _is_an_answer(cls, answer: Any) -> Any:
        if isinstance(answer, bool) or answer == "" or not isinstance(answer, (str, int, float, type(None))):
            raise ValueError("an answer is text, a number, or null where the documents do not tell")
        return answer

    @model_validator(mode="after")
    def _fits_together(self) -> OwnQuestion:
        if self.queries and len(self.queries) != len(self.documents):
            raise ValueError(f"{len(self.queries)} `queries` for {len(self.documents)} `documents`; give one for each")
        if self.answer is None and self.aliases:
            raise ValueError("`aliases` of no answer; leave them out, or give an `answer`")
        return self


@dataclass(frozen=True)
class OwnQuestions:
    """Questions by id, and the library that they are about."""

    documents: FrozenDict
    questions: Mapping[str, tuple[str, OwnQuestion]]
    """By id: where it stands, and the question."""
    digest: str
    """Of both files."""

    def names(self, split: Split) -> list[str]:
        """Ids of the questions of a split.

        Raises:
            UsageError: It has none.
        """
        found = [id for id, (_, question) in self.questions.items() if question.split in (None, split)]
        if not found:
            raise UsageError(
                f"no question is of the split {split!r}; choose the other one, or leave `split` out of some"
            )
        return found

    def numbered(self, split: Split, number: int) -> Task:
        """The question of that number in its split.

        Raises:
            UsageError: There are not so many.
        """
        names = self.names(split)
        if not 0 <= number < len(names):
            raise UsageError(f"no question number {number}; the split {split!r} has {len(names)}, counted from 0")
        return self.task(names[number])

    def task(self, id: str) -> Task:
        """The question of that id as a task, its gold verified by execution.

        Raises:
            UsageError: No such question, or documents that do not bear it out.
        """
        if id not in self.questions:
            raise UsageError(f"no question {id!r}; there are {', '.join(list(self.questions)[:3])}, ...")
        where, question = self.questions[id]
        try:
            task = make_record(id, question.question, self.documents, self._gold(question))
            return verified(task, make_sandbox(task.state))
        except (Infeasible, UsageError) as error:
            raise UsageError(f"{where}: question {id!r}: {error}") from None

    def _gold(self, question: OwnQuestion) -> GoldTrace:
        path = Path(make_sandbox({DOCUMENTS: self.documents}))
        answers = () if question.answer is None else (question.answer, *question.aliases)
        for n, id in enumerate(question.documents):
            query = question.queries[n] if question.queries else self.documents[id]["title"]
            self._visit(path, id, query, question.question, answers)
        sources = [Ref(call=call, path=(_shown(path.contents[call]),)) for call in path.reads]
        if not answers:
            return refused(path, sources)
        texts = [str(path.contents[call][_shown(path.contents[call])]) for call in path.reads]
        traces = []
        for answer in answers:
            quoted = isinstance(answer, str) and any(answer in text for text in texts)
            traces += answered(path, answer, sources, quoted=quoted)
        return traces[0].model_copy(update={"alternatives": tuple(traces[1:])})

    def _visit(self, path: Path, id: str, query: str, question: str, answers: Sequence[Any]) -> None:
        """Search for a document and read it where it tells the answer; errors as `Path.look_up`."""
        told = path.reads[-1] if path.reads else None
        gold: Any = query
        if told is not None and query in path.contents[told]["names"]:
            gold = reference(told, "names", path.contents[told]["names"].index(query))
        elif told is not None and query in str(path.contents[told]):
            path.after.append((told, len(path.calls)))
        try:
            document = path.look_up(gold, lambda result: result["document"] == id)
        except Infeasible as error:
            raise Infeasible(f"document {id!r}: {error}; give one in `queries` that does") from None
        paragraphs = self.documents[id]["paragraphs"]
        telling = [n for n, text in enumerate(paragraphs) if any(str(answer) in text for answer in answers)]
        if not telling or telling[0] < PAGE:
            path.read(document)
            return
        words = [word for word in words_of(question) if word in paragraphs[telling[0]].casefold()]
        if not words:
            raise Infeasible(
                f"document {id!r} tells the answer in paragraph {telling[0] + 1}; `open` shows {PAGE}, and no word of "
                "the question leads `find` to it. Move it forward, or ask with a word that stands there"
            )
        path.read(document, passage=max(words, key=len))


def load(corpus: str | os.PathLike[str], questions: str | os.PathLike[str]) -> OwnQuestions:
    """Read both files; once, while they stay the same.

    Raises:
        UsageError: A file or a line that cannot be read, named with its fix.
    """
    return _load(*(_bytes_of(FilePath(file)) for file in (corpus, questions)))


def _bytes_of(file: FilePath) -> tuple[str, str]:
    """Its name and its text."""
    try:
        return str(file), file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}; give a file of JSON lines in UTF-8") from None


@lru_cache(maxsize=4)
def _load(corpus: tuple[str, str], questions: tuple[str, str]) -> OwnQuestions:
    records: dict[str, Any] = {}
    for where, document in _lines(*corpus, OwnDocument):
        if document.id in records:
            raise UsageError(f"{where}: a second document {document.id!r}; give each an id of its own")
        records[document.id] = document.record()
    if not records:
        raise UsageError(f"{corpus[0]}: no document in it; give one JSON object a line")
    found: dict[str, tuple[str, OwnQuestion]] = {}
    for where, question in _lines(*questions, OwnQuestion):
        if question.id in found:
            raise UsageError(f"{where}: a second question {question.id!r}; give each an id of its own")
        unknown = [id for id in question.documents if id not in records]
        if unknown:
            raise UsageError(f"{where}: no document {unknown[0]!r} in {corpus[0]}; name documents by their `id`")
        found[question.id] = where, question
    if not found:
        raise UsageError(f"{questions[0]}: no question in it; give one JSON object a line")
    digest = hashlib.sha256("\0".join((*corpus, *questions)).encode()).hexdigest()
    return OwnQuestions(freeze(records), found, digest)


def _lines(name: str, text: str, kind: type[R]) -> Iterator[tuple[str, R]]:
    """The records of a file of JSON lines, each with where it stands."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            data = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{where}: not valid JSON ({error}); write one object a line") from None
        if not isinstance(data, dict):
            raise UsageError(f"{where}: a {type(data).__name__}; write an object, such as {_EXAMPLES[kind]}")
        try:
            yield where, kind.model_validate(data)
        except ValidationError as error:
            faults = "; ".join(map(_sentence, error.errors(include_url=False)))
            raise UsageError(f"{where}: {faults}. A line looks like {_EXAMPLES[kind]}") from None


def _sentence(error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    text = str(error.get("ctx", {}).get("error", error["msg"]))
    return f"`{field}`: {text}" if field else text


_EXAMPLES: dict[type[Record], str] = {
    OwnDocument: '{"id": "d1", "title": "Varnholt", "text": "Varnholt has 4,302 inhabitants."}',
    OwnQuestion: '{"id": "q1", "question": "How many live in Varnholt?", "answer": 4302, "documents": ["d1"]}',
}


def _shown(content: Mapping[str, Any]) -> str:
    return "passages" if "passages" in content else "paragraphs"
