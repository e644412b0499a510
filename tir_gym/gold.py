"""The gold trace at work: replayed in a sandbox, its references resolved, its end state known, its soundness proved.

A `Task` says what is right; a `ReplayedGold` is that, executed. Environments score against the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tir_gym.checks import same_changes
from tir_gym.errors import UsageError
from tir_gym.records import (
    AnswerCheck,
    FigureCheck,
    GoldTrace,
    Ref,
    RefusedCheck,
    StateCheck,
    Task,
    ToolCall,
    ToolResult,
    UnchangedCheck,
)
from tir_gym.sandbox import Sandbox


@dataclass(frozen=True)
class ReplayedGold:
    """A gold trace after replay."""

    trace: GoldTrace
    calls: tuple[ToolCall, ...]
    """References resolved."""
    others: tuple[tuple[ToolCall, ...], ...]
    """For each call, the other calls that would do as well, references resolved."""
    results: tuple[ToolResult, ...]
    after: tuple[tuple[int, ...], ...]
    """For each call, the calls that must come before it: declared edges and references."""
    changes: Mapping[str, Any]
    """The sandbox's diff at the end."""
    stage_starts: Mapping[int, Any]
    """Snapshot of the sandbox after the calls of all earlier stages, by stage; empty unless asked for."""
    end: Any
    """Snapshot of the sandbox after all calls; `None` unless asked for."""

    @cached_property
    def named(self) -> frozenset[str]:
        """All text that the gold calls spell out themselves: a record under such a key has it on purpose."""
        return frozenset(text for call in self.trace.calls for text in _spelled_out(call.arguments))

    def levels(self) -> list[list[int]]:
        """Calls that can go out together, in order: each level depends on earlier ones only, and is of one stage."""
        level: list[int] = []
        for i, call in enumerate(self.trace.calls):
            earlier = [level[j] + 1 for j in self.after[i]]
            stage = [level[j] + (self.trace.calls[j].stage < call.stage) for j in range(i)]
            level.append(max([0, *earlier, *stage]))
        return [[i for i, at in enumerate(level) if at == n] for n in sorted(set(level))]


def replay(
    trace: GoldTrace, sandbox: Sandbox, *, skip: int | None = None, picture_stages: bool = False
) -> ReplayedGold:
    """Run the gold calls in the sandbox, which is left in the end state.

    Args:
        trace: What to run.
        sandbox: In its initial state.
        skip: Leave out this call, to see whether it matters.
        picture_stages: Keep snapshots of the stages; each may hold a live process, so only who needs them asks.

    Raises:
        UsageError: A reference points nowhere.
        InfrastructureError: A tool broke.
    """
    calls: list[ToolCall] = []
    others: list[tuple[ToolCall, ...]] = []
    results: list[ToolResult] = []
    stages: dict[int, Any] = {0: sandbox.snapshot()} if picture_stages else {}
    for i, gold in enumerate(trace.calls):
        if picture_stages and gold.stage not in stages:
            stages[gold.stage] = sandbox.snapshot()
        if i == skip:
            calls.append(ToolCall(gold.name, {}))
            others.append(())
            results.append(ToolResult(error="skipped", error_kind="skipped"))
            continue
        call = ToolCall(gold.name, resolve(gold.arguments, results))
        calls.append(call)
        others.append(tuple(ToolCall(other.name, resolve(other.arguments, results)) for other in gold.alternatives))
        results.append(sandbox.call(call))
    return ReplayedGold(
        trace=trace,
        calls=tuple(calls),
        others=tuple(others),
        results=tuple(results),
        after=tuple(_parents(trace)),
        changes=sandbox.diff(),
        stage_starts=stages,
        end=sandbox.snapshot() if picture_stages else None,
    )


def resolve(value: Any, results: Sequence[ToolResult]) -> Any:
    """`value` with every `{"$ref": ...}` replaced by what it points at in the results.

    Raises:
        UsageError: A reference to a failed or later call, or a path that is not in its result.
    """
    if isinstance(value, Mapping):
        if set(value) == {"$ref"}:
            return follow(Ref.model_validate(value["$ref"]), results)
        return {key: resolve(item, results) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, results) for item in value]
    return value


def follow(ref: Ref, results: Sequence[ToolResult]) -> Any:
    """What a reference points at; errors as `resolve`."""
    if ref.call >= len(results) or not results[ref.call].ok:
        raise UsageError(f"gold reference to call {ref.call}, which has no result at that point")
    node = results[ref.call].content
    for step in ref.path:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            raise UsageError(f"gold reference {ref.call}/{'/'.join(map(str, ref.path))}: no {step!r} there") from None
    return node


def refs(value: Any) -> Iterator[Ref]:
    """The references inside a gold argument."""
    if isinstance(value, Mapping):
        if set(value) == {"$ref"}:
            yield Ref.model_validate(value["$ref"])
        else:
            for item in value.values():
                yield from refs(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from refs(item)


def faults(task: Task, sandbox: Sandbox) -> list[str]:
    """What is wrong with the task's gold trace, found by running it; an empty list when it is sound.

    Every call must succeed or be refused as declared; there must be a check of state or answer; every fact of the
    answer must be found where its sources say; and no call may be dropped without a dangling reference, another end
    state, or a fact that has lost its source. Where a `FigureCheck` is declared, dropping calls is not tried.

    Args:
        task: The task; its alternatives are checked likewise.
        sandbox: In the task's initial state; it is restored before returning.
    """
    start = sandbox.snapshot()
    found: list[str] = []
    for trace in (task.gold, *task.gold.alternatives):
        try:
            found += _faults_of(trace, sandbox, start)
        except UsageError as error:
            found.append(str(error))
        finally:
            sandbox.restore(start)
    return found


def verified(task: Task, sandbox: Sandbox) -> Task:
    """The task itself, if its gold trace is sound: a `make_task` ends with it.

    Args:
        task: The task.
        sandbox: In the task's initial state; it is restored before returning.

    Raises:
        UsageError: With every fault found.
    """
    found = faults(task, sandbox)
    if found:
        raise UsageError(f"task {task.id} is not sound: {'; '.join(found)}")
    return task


def _faults_of(trace: GoldTrace, sandbox: Sandbox, start: Any) -> list[str]:
    found = []
    sandbox.restore(start)
    gold = replay(trace, sandbox)
    for i, result in enumerate(gold.results):
        if result.ok == trace.calls[i].refused:
            what = "succeeds, but is declared refused" if result.ok else f"fails: {result.error}"
            found.append(f"gold call {i} ({gold.calls[i].name}) {what}")
    answers = [check for check in trace.checks if isinstance(check, AnswerCheck)]
    if not trace.checks:
        found.append("nothing is checked: declare at least one check")
    if any(isinstance(check, StateCheck) for check in trace.checks) and not gold.changes and not answers:
        found.append("the end state is the initial one and no answer is checked: doing nothing would succeed")
    if any(isinstance(check, UnchangedCheck) for check in trace.checks) and gold.changes:
        found.append("the state must stay unchanged, but the gold calls change it")
    grounded = (AnswerCheck, RefusedCheck, StateCheck)
    sources = [ref for check in trace.checks if isinstance(check, grounded) for ref in check.sources]
    for source in sources:
        follow(source, gold.results)
    for check in answers:
        facts = [follow(source, gold.results) for source in check.sources]
        if facts and not _covered(check.value, facts):
            found.append(f"answer {check.value!r} is not what its sources hold: {facts!r}")
    needed = {ref.call for call in trace.calls for ref in refs(call.arguments)}
    needed |= {source.call for source in sources}
    if any(isinstance(check, FigureCheck) for check in trace.checks):
        return found  # which calls count is then for the family's figures to say
    found += _faulty_ways(trace, gold, sandbox, start)
    for i in set(range(len(trace.calls))) - needed:
        sandbox.restore(start)
        try:
            without = replay(trace, sandbox, skip=i)
        except UsageError:
            continue  # a later call fails without it, and leaves a reference dangling
        broken = any(without.results[j].ok == trace.calls[j].refused for j in range(len(trace.calls)) if j != i)
        if not broken and same_changes(without.changes, gold.changes, named=gold.named):
            found.append(f"gold call {i} ({gold.calls[i].name}) is not needed: without it all is as with it")
    return found


def _faulty_ways(trace: GoldTrace, gold: ReplayedGold, sandbox: Sandbox, start: Any) -> list[str]:
    """What is wrong with the calls that are said to do as well as a gold call: each is run in its place."""
    found = []
    for i, call in enumerate(trace.calls):
        for way in call.alternatives:
            swapped = way.model_copy(update={"stage": call.stage, "refused": call.refused})
            calls = (*trace.calls[:i], swapped, *trace.calls[i + 1 :])
            sandbox.restore(start)
            try:
                other = replay(trace.model_copy(update={"calls": calls}), sandbox)
            except UsageError as error:
                found.append(f"gold call {i}: with {way.name} in its place, {error}")
                continue
            fails = [j for j, result in enumerate(other.results) if result.ok == calls[j].refused]
            if fails:
                found.append(f"gold call {i}: with {way.name} in its place, call {fails[0]} fails")
            elif not same_changes(other.changes, gold.changes, named=gold.named):
                found.append(f"gold call {i}: with {way.name} in its place, the end state is another")
    return found


def _spelled_out(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and set(value) != {"$ref"}:
        for item in value.values():
            yield from _spelled_out(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _spelled_out(item)


def _covered(value: Any, facts: list[Any]) -> bool:
    """Whether each part of an answer is among the facts, or follows from as many of them by computation.

    Numbers may be computed (a sum, a count, a maximum), so for them having sources is enough.
    """
    parts = value if isinstance(value, (list, tuple)) else [value]
    texts = [str(fact) for fact in facts]
    return all(isinstance(part, (int, float)) or any(str(part) in text for text in texts) for part in parts)


def _parents(trace: GoldTrace) -> Iterator[tuple[int, ...]]:
    for i, call in enumerate(trace.calls):
        declared = {earlier for earlier, later in trace.after if later == i}
        yield tuple(sorted(declared | {ref.call for ref in refs(call.arguments)}))
