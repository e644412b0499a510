"""Questions that a library does not answer, and what one must have read to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tir_gym.envs.search.questions import HOPS, Drawing, Question, Walk, ask, named, walk
from tir_gym.envs.search.texts import Kind
from tir_gym.envs.search.world import Thing
from tir_gym.envs.writing.draft import Infeasible

_NAMED: tuple[Kind, ...] = ("company", "book", "school", "festival", "person")


def unknown_thing(d: Drawing) -> Question:
    """Nothing of that name has a document; others are named nearly alike."""
    kind = d.rng.choice(_NAMED)
    model = d.rng.choice(d.world.things[kind])
    nobody = Thing(kind, d.world.new_name(kind), model.about, model.topic, model.facts)
    fact = d.rng.choice([fact for fact in model.facts if fact != "win"])
    asked = ask(d, Walk(named(nobody), [nobody], [], nobody.name), fact)
    return replace(asked, kind="unanswerable-unknown", answer=None, told=(), missing=(nobody,))


def silent_document(d: Drawing) -> Question:
    """The document that ought to tell it does not."""
    asked, walked, fact = _chain(d)
    return replace(asked, kind="unanswerable-silent", answer=None, told=(), silent=((walked.things[-1], fact),))


def missing_document(d: Drawing) -> Question:
    """On the way to the answer, a thing that is named has no document."""
    asked, walked, _ = _chain(d)
    if len(walked.things) < 2:
        raise Infeasible("a chain of one document has no way to be cut")
    gap = d.rng.randrange(1, len(walked.things))
    return replace(
        asked,
        kind="unanswerable-missing",
        visits=asked.visits[: gap + 1],
        answer=None,
        told=(),
        missing=(walked.things[gap],),
    )


ABSENCES: tuple[Callable[[Drawing], Question], ...] = (unknown_thing, silent_document, missing_document)


def _chain(d: Drawing) -> tuple[Question, Walk, str]:
    """A question that follows a chain, how it goes, and the fact that it asks for."""
    hops, weights = HOPS[d.split]
    start, facts = d.chain(d.rng.choices(hops, weights)[0])
    if facts[-1] in ("win", "winner"):
        raise Infeasible("told in two places, or in one that tells much else")
    walked = walk(d, d.rng.choice(d.world.things[start]), facts[:-1])
    return ask(d, walked, facts[-1]), walked, facts[-1]
