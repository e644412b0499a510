"""The Search family: libraries that hang together, gold paths that can be walked, fair credit, files of one's own."""

from __future__ import annotations

import itertools
import json
import random
import re
import string
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from tir_gym import ToolCall, ToolEnv, UsageError
from tir_gym.agents import make_agent
from tir_gym.compare import comparator
from tir_gym.envs.search import texts, tools
from tir_gym.envs.search.documents import in_text, write
from tir_gym.envs.search.env import SearchEnv
from tir_gym.envs.search.generator import make_sandbox, make_task
from tir_gym.envs.search.library import library_of
from tir_gym.envs.search.questions import split_of
from tir_gym.envs.search.ranking import Ranking, words_of
from tir_gym.envs.search.texts import FACTS, KINDS, Wordings
from tir_gym.envs.search.vocabulary import VOCABULARY
from tir_gym.envs.search.world import Thing, World
from tir_gym.episode import play_episode
from tir_gym.frozen import freeze
from tir_gym.gold import faults, replay
from tir_gym.records import RefusedCheck, StateCheck, Task

ID = "tir_gym/Search-v0"


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[Task]]:
    return {split: [make_task(split, number) for number in range(40)] for split in ("train", "test")}  # type: ignore[arg-type]


def make(**options: Any) -> ToolEnv:
    env = gym.make(ID, **options).unwrapped
    assert isinstance(env, SearchEnv)
    return env


def request(task: Task) -> str:
    return str(task.messages[-1]["content"])


def act(*calls: tuple[str, dict[str, Any]], text: str = "") -> dict[str, Any]:
    said = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"content": text, "tool_calls": said} if said else {"content": text}


def play(env: ToolEnv, *actions: Any) -> tuple[float, dict[str, Any]]:
    total, info = 0.0, {}
    for action in actions:
        _, reward, _, _, info = env.step(action)
        total += float(reward)
    return total, info


def first_with(tasks: dict[str, list[Task]], *tags: str) -> Task:
    """A task with one of the tags."""
    return next(task for split in tasks.values() for task in split if set(tags) & set(task.tags))


def calls_of(task: Task) -> list[ToolCall]:
    return list(replay(task.gold, make_sandbox(task.state)).calls)


# Golds


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_succeeds_and_earns_all_there_is(split: str) -> None:
    env = make(split=split)
    for name in env.task_ids(25):
        trace = play_episode(env, make_agent("oracle"), task=name).trace
        assert trace.success, name
        assert sum(turn.reward for turn in trace.turns) == pytest.approx(len(env.task.gold.calls) + 1)


@pytest.mark.parametrize("split", ["train", "test"])
def test_golds_have_no_faults_and_tasks_differ(split: Any, tasks: dict[str, list[Task]]) -> None:
    for task in tasks[split]:
        assert faults(task, make_sandbox(task.state)) == []
    again = [make_task(split, number) for number in range(0, 40, 8)]
    assert [task.model_dump_json() for task in again] == [task.model_dump_json() for task in tasks[split][::8]]
    assert len({request(task) for task in tasks[split]}) == 40


def test_each_source_holds_what_it_is_a_source_for(tasks: dict[str, list[Task]]) -> None:
    """The linter follows sources of a state check; what they say, only the family can tell."""
    looked_at = 0
    for task in itertools.chain(*tasks.values()):
        (*_, last), (check,) = task.gold.calls, task.gold.checks[:1]
        if not isinstance(check, StateCheck) or "difference" in task.tags:
            continue
        results = replay(task.gold, make_sandbox(task.state)).results
        for source in check.sources:
            node = results[source.call].content
            for step in source.path:
                node = node[step]
            answer = last.arguments["answer"]
            assert str(answer) in node.replace(",", "")
            looked_at += 1
    assert looked_at > 40


def test_where_the_library_does_not_tell_nothing_in_it_does(tasks: dict[str, list[Task]]) -> None:
    kinds = set()
    for task in itertools.chain(*tasks.values()):
        if not isinstance(task.gold.checks[0], RefusedCheck):
            continue
        kinds.add(next(tag for tag in task.tags if tag.startswith("unanswerable")))
        last = replay(task.gold, make_sandbox(task.state)).results[-2].content
        if task.gold.calls[-2].name == "search":
            wanted = calls_of(task)[-1].arguments["answer"]
            assert wanted not in [record["title"] for record in task.state["Document"].values()]
        else:
            assert last["title"] == calls_of(task)[-1].arguments["answer"]
    assert kinds == {"unanswerable-unknown", "unanswerable-silent", "unanswerable-missing"}


def test_later_searches_take_their_words_from_earlier_results(tasks: dict[str, list[Task]]) -> None:
    chains = [task for task in tasks["train"] if {"chain-2", "chain-3"} & set(task.tags)]
    assert len(chains) > 15
    for task in chains:
        first, *later = [call.arguments["query"] for call in task.gold.calls if call.name == "search"]
        assert isinstance(first, str)
        assert all(set(query) == {"$ref"} for query in later)
        texts = [call.arguments["query"] for call in calls_of(task) if call.name == "search"][1:]
        assert not [text for text in texts if text in request(task)]


def test_every_other_way_of_reading_shows_as_much(tasks: dict[str, list[Task]]) -> None:
    """`find` with a key instead of `open`: the passage must tell what the open document tells."""
    tried = 0
    for task in tasks["train"][:25]:
        gold = replay(task.gold, sandbox := make_sandbox(task.state))
        unanswered = isinstance(task.gold.checks[0], RefusedCheck)
        for n, ways in enumerate(gold.others):
            for way in ways:
                found = sandbox.call(way).content
                if way.name == "search":
                    assert found == gold.results[n].content
                elif not (unanswered and n == len(gold.calls) - 2):
                    assert found["passages"], way
                    assert found["names"] == gold.results[n].content["names"]
                    tried += 1
    assert tried > 20


# Splits


def test_splits_share_no_sentence_and_no_name(tasks: dict[str, list[Task]]) -> None:
    every: list[Wordings] = [*texts.LEAD.values(), *texts.DESCRIBED.values(), *texts.FILLER.values()]
    for fact in (fact for facts in FACTS.values() for fact in facts.values()):
        every += [part for part in (fact.say, fact.ask, fact.phrase, fact.between) if part is not None]
    assert len(every) > 100
    for wordings in every:
        assert wordings.train
        assert wordings.test
        assert not set(wordings.train) & set(wordings.test)
    ours, theirs = (VOCABULARY[split].model_dump() for split in ("train", "test"))
    for field in ours:
        assert len(ours[field]) == len(set(ours[field]))
        assert not set(ours[field]) & set(theirs[field]), field
    titles = [{r["title"] for task in tasks[s] for r in task.state["Document"].values()} for s in ("train", "test")]
    assert not titles[0] & titles[1]


def test_splits_share_no_chain_of_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def spy(signature: str) -> Any:
        seen[signature] = split_of(signature)
        return seen[signature]

    monkeypatch.setattr("tir_gym.envs.search.questions.split_of", spy)
    for number in range(15):
        make_task("train", number)
        make_task("test", number)
    assert set(seen.values()) == {"train", "test"}
    assert 0.1 < sum(split == "test" for split in seen.values()) / len(seen) < 0.4


def test_lengths_of_their_own(tasks: dict[str, list[Task]]) -> None:
    lengths = {
        split: {tag for task in tasks[split] for tag in task.tags if tag.startswith("chain-")} for split in tasks
    }
    assert lengths == {"train": {"chain-1", "chain-2", "chain-3"}, "test": {"chain-2", "chain-3", "chain-4"}}


# Texts and worlds


def test_keys_stand_wherever_a_fact_is_told_and_places_are_known() -> None:
    for facts in FACTS.values():
        for fact in facts.values():
            for sentence in (*fact.say.train, *fact.say.test):
                assert all(key in sentence.casefold() for key in fact.keys)
                assert set(fields(sentence)) <= {"it", "value", "prize", "year", "deed"}
                assert "value" in fields(sentence)
            for wordings, places in ((fact.ask, {"x", "prize", "year"}), (fact.phrase, {"x", "year"})):
                for text in (*wordings.train, *wordings.test) if wordings else ():
                    assert set(fields(text)) <= places
                    assert "x" in fields(text)
            assert (fact.phrase is not None) == fact.is_link
            for text in (*fact.between.train, *fact.between.test) if fact.between else ():
                assert set(fields(text)) == {"x", "y"}


def fields(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


@pytest.mark.parametrize("split", ["train", "test"])
def test_documents_tell_every_fact_of_their_thing_and_name_all_names(split: Any) -> None:
    rng = random.Random(5)
    world = World(split, rng)
    assert len({thing.name for thing in world.all()}) == len(world.all())
    for thing in world.all():
        document = write(thing, split, world, rng)
        text = "\n".join(document.paragraphs)
        for name, value in thing.facts.items():
            assert in_text(FACTS[thing.kind][name], value) in text
            if isinstance(value, Thing):
                assert value.name in document.names
        assert all(name in text for name in document.names)
        assert "{" not in text
        assert len(document.paragraphs) >= 3
    assert {thing.kind for thing in world.all()} == set(KINDS)


def test_a_fact_that_is_kept_silent_is_told_nowhere() -> None:
    rng = random.Random(6)
    world = World("train", rng)
    company = world.things["company"][0]
    assert f"{company.facts['staff']:,}" not in "".join(write(company, "train", world, rng, ["staff"]).paragraphs)


def test_names_are_nearly_alike() -> None:
    world = World("test", random.Random(7))
    first_words = [thing.name.split()[0] for thing in world.things["company"] + world.things["school"]]
    assert len(set(first_words)) < len(first_words) / 2


# Ranking and tools


def test_ranking_is_by_words_ties_by_order() -> None:
    ranking = Ranking([words_of(text) for text in ("red apple", "green pear pear", "red apple", "the and of")])
    assert ranking.best("apple", 5) == [0, 2]
    assert ranking.best("APPLE, red!", 1) == [0]
    assert ranking.best("pear apple", 5)[0] == 1
    assert ranking.best("the of", 5) == ranking.best("", 5) == ranking.best("plum", 5) == []
    assert Ranking([]).best("apple", 5) == []


def test_a_title_is_found_by_its_name_among_its_likes(tasks: dict[str, list[Task]]) -> None:
    for task in tasks["train"][:10]:
        library = library_of(task.state["Document"])
        for id, record in library.documents.items():
            assert id in library.search(record["title"], 5)


def test_a_library_is_made_once_for_the_same_documents() -> None:
    documents = freeze({"a": {"title": "Red", "paragraphs": ["Red is a colour."], "names": []}})
    assert library_of(documents) is library_of(documents)


def test_tools_say_what_is_wrong(tasks: dict[str, list[Task]]) -> None:
    sandbox = make_sandbox(tasks["train"][0].state)
    assert "take an id from the results" in (sandbox.call(ToolCall("open", {"document": "nope"})).error or "")
    assert "take an id from the results" in (sandbox.call(ToolCall("find", {"document": "", "text": "x"})).error or "")
    id = next(iter(tasks["train"][0].state["Document"]))
    assert "text is empty" in (sandbox.call(ToolCall("find", {"document": id, "text": " "})).error or "")
    assert "less than or equal to 20" in (sandbox.call(ToolCall("search", {"query": "a", "k": 99})).error or "")
    assert sandbox.call(ToolCall("search", {"query": "zzzz"})).content == {"results": []}
    assert len(sandbox.call(ToolCall("search", {"query": "town county people", "k": 3})).content["results"]) <= 3


def test_long_documents_are_shown_in_part_and_found_in_whole(tasks: dict[str, list[Task]]) -> None:
    state = tasks["train"][0].state
    id, record = next((id, r) for id, r in state["Document"].items() if len(r["paragraphs"]) > tools.PAGE)
    sandbox = make_sandbox(state)
    shown = sandbox.call(ToolCall("open", {"document": id})).content
    assert len(shown["paragraphs"]) == tools.PAGE
    assert shown["more"] == len(record["paragraphs"]) - tools.PAGE
    last = record["paragraphs"][-1]
    year = re.findall(r"\d{4}", last)[0]
    found = sandbox.call(ToolCall("find", {"document": id, "text": year})).content
    assert found["passages"] == [{"paragraph": len(record["paragraphs"]), "text": last}]


# Credit


@pytest.mark.parametrize(
    ("query", "gold", "same"),
    [
        ("Tarnwell Works", "Tarnwell Works", True),
        ("tarnwell works founder", "Tarnwell Works", True),
        ("Who founded the Tarnwell Works?", "Tarnwell Works", True),
        ("Tarnwell Mill", "Tarnwell Works", False),
        ("Tarnwell", "Tarnwell Works", False),
        ("Tarnwell Works Tarnwell Mill Hollin Brothers Merrmont Foundry Ada Lind", "Tarnwell Works", False),
        ("the", "the", True),
        ("of", "the", False),
        (5, "Tarnwell Works", False),
        ("Tarnwell Works " * 100, "Tarnwell Works", False),
    ],
)
def test_another_good_wording_of_a_query_is_as_good(query: Any, gold: str, same: bool) -> None:
    assert comparator("search-words")(query, gold) is same


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("4,302", 4302, True),
        (4302, 4302, True),
        (4302.0, 4302, True),
        ("about 4302 people", 4302, True),
        ("4302 or 4303", 4302, False),
        (True, 1, False),
        ("The Glass Orchard", "glass orchard", True),
        ("Glass Orchard by Ada Lind", "The Glass Orchard", False),
        (None, "x", False),
        ("x", None, False),
        (10**400, 4302, False),
    ],
)
def test_an_answer_is_compared_as_a_final_answer_is_read(answer: Any, gold: Any, same: bool) -> None:
    assert comparator("search-answer")(answer, gold) is same


def test_asking_for_more_results_or_by_more_words_costs_nothing(tasks: dict[str, list[Task]]) -> None:
    task = first_with(tasks, "chain-2")
    gold = calls_of(task)
    env = make(task=task)
    for change in ({"k": 9}, {"query": f"{gold[0].arguments['query']} founder"}):
        env.reset()
        _, reward, *_ = env.step(act(("search", {**gold[0].arguments, **change})))
        assert reward == pytest.approx(1.0)
    env.reset()
    _, reward, *_ = env.step(act(("search", {"query": "something else"})))
    assert reward < 0.2


def test_finding_the_passage_is_as_good_as_opening_the_document(tasks: dict[str, list[Task]]) -> None:
    task = first_with(tasks, "chain-2")
    gold, key = calls_of(task), task.gold.calls[1].alternatives[0].arguments["text"]
    env = make(task=task)
    env.reset()
    document = gold[1].arguments["document"]
    total, _ = play(env, act((gold[0].name, gold[0].arguments)), act(("find", {"document": document, "text": key})))
    assert total == pytest.approx(2.0)


def test_the_list_of_winners_is_another_way_to_the_year() -> None:
    task = next(task for n in range(400) if len((task := make_task("train", n)).gold.alternatives) == 3)
    other = task.gold.alternatives[1]
    assert [call.name for call in other.calls[-3:]] == ["search", "find", "submit"]
    env = make(task=task)
    env.reset()
    calls = replay(other, make_sandbox(task.state)).calls
    total, info = play(env, *(act((call.name, call.arguments)) for call in calls), act(text="Submitted."))
    assert info["success"]
    assert total == pytest.approx(len(calls) + 1)


# Submitting


@pytest.fixture
def asked(tasks: dict[str, list[Task]]) -> tuple[ToolEnv, Any]:
    """An episode, and its right answer."""
    task = next(task for task in tasks["train"] if isinstance(task.gold.checks[0], StateCheck))
    env = make(task=task)
    env.reset()
    return env, task.gold.calls[-1].arguments["answer"]


def test_a_right_submission_is_enough_whatever_is_said_then(asked: tuple[ToolEnv, Any]) -> None:
    env, answer = asked
    total, info = play(env, act(("submit", {"answer": str(answer)})), act(text="Done."))
    assert info["success"]
    assert info["checks"] == {"state": True}
    assert total == pytest.approx(2.0)


def test_a_right_final_answer_is_enough_without_a_submission(asked: tuple[ToolEnv, Any]) -> None:
    env, answer = asked
    total, info = play(env, act(text=f"<answer>{answer}</answer>"))
    assert info["success"]
    assert total == pytest.approx(1.0)


def test_one_who_submits_is_held_to_it(asked: tuple[ToolEnv, Any]) -> None:
    env, answer = asked
    _, info = play(env, act(("submit", {"answer": "Nowhere"})), act(text=f"<answer>{answer}</answer>"))
    assert not info["success"]


def test_a_later_submission_takes_the_place_of_an_earlier_one(asked: tuple[ToolEnv, Any]) -> None:
    env, answer = asked
    _, info = play(env, act(("submit", {"answer": "Nowhere"})), act(("submit", {"answer": answer})), act(text="Done."))
    assert info["success"]


def test_where_the_library_does_not_tell_one_refuses_and_says_where_the_search_ends(
    tasks: dict[str, list[Task]],
) -> None:
    task = first_with(tasks, "unanswerable-unknown", "unanswerable-missing", "unanswerable-silent")
    end = calls_of(task)[-1].arguments["answer"]
    env = make(task=task)
    refusal = act(text="CANNOT: it does not say.")
    for actions, right in (
        ((act(("submit", {"answer": end})), refusal), True),
        ((refusal,), False),
        ((act(("submit", {"answer": "Nobody"})), refusal), False),
        ((act(("submit", {"answer": end})), act(text="<answer>unknown</answer>")), False),
    ):
        env.reset()
        assert play(env, *actions)[1]["success"] is right


def test_a_random_agent_hardly_ever_succeeds() -> None:
    for split in ("train", "test"):
        env = make(split=split)
        played = [play_episode(env, make_agent("random"), task=name).trace.success for name in env.task_ids(25)]
        assert sum(map(bool, played)) <= 3


# A library of one's own

DOCUMENTS = (
    {
        "id": "ada",
        "title": "Ada Lind",
        "text": "Ada Lind built bridges.\n\nShe was born in Varnholt.",
        "names": ["Varnholt"],
    },
    {"id": "town", "title": "Varnholt", "paragraphs": ["Varnholt has 4,302 inhabitants, and one bridge."]},
    {
        "id": "list",
        "title": "Bridges",
        "paragraphs": [f"Bridge number {n} is a bridge." for n in range(9)] + ["The longest is the Arle bridge."],
    },
)
QUESTION = {
    "id": "q1",
    "question": "How many live where Ada Lind was born?",
    "answer": 4302,
    "documents": ["ada", "town"],
}


def files(folder: Path, documents: Any, questions: Any) -> dict[str, Path]:
    """The two files; lines that are no text are written as JSON."""
    found = {"corpus": folder / "docs.jsonl", "questions": folder / "questions.jsonl"}
    for file, lines in zip(found.values(), (documents, questions), strict=True):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        file.write_text(text + "\n", encoding="utf-8")
    return found


def test_questions_of_ones_own_are_played_on_documents_of_ones_own(tmp_path: Path) -> None:
    questions = (
        QUESTION,
        {"id": "q2", "question": "Which bridge is the longest of all?", "answer": "Arle bridge", "documents": ["list"]},
        {"id": "q3", "question": "Who was Ada Lind's mother?", "answer": None, "documents": ["ada"]},
        {
            "id": "q4",
            "question": "Did Ada Lind build bridges?",
            "answer": "yes",
            "aliases": ["she did"],
            "documents": ["ada"],
            "queries": ["bridges Lind"],
        },
        {"id": "q5", "question": "How many bridges are there?", "answer": "nine", "split": "test"},
        {"id": "q6", "question": "Where is Atlantis?", "answer": None},
    )
    given = files(tmp_path, DOCUMENTS, questions)
    env = make(**given)
    assert env.task_ids() == ["q1", "q2", "q3", "q4", "q6"]
    assert make(**given, split="test").task_ids(2, 3) == ["q4", "q5"]
    names = {name: [call.name for call in env.task_named(name).gold.calls] for name in ("q1", "q2", "q5", "q6")}
    assert names == {
        "q1": ["search", "open", "search", "open", "submit"],
        "q2": ["search", "find", "submit"],
        "q5": ["submit"],
        "q6": [],
    }
    assert env.task_named("q1").gold.calls[2].arguments == {"query": {"$ref": {"call": 1, "path": ["names", 0]}}}
    for name in ("q1", "q2", "q3", "q4", "q5", "q6"):
        assert play_episode(env, make_agent("oracle"), task=name).trace.success
    env.reset(options={"task": "q3"})
    assert not play(env, act(("submit", {"answer": "Ada Lind"})), act(text="CANNOT: it does not say."))[1]["success"]
    env.reset(options={"task": "q4"})
    assert play(env, act(text="<answer>She did.</answer>"))[1]["success"]
    env.reset(options={"task": "q4"})
    assert play(env, act(("submit", {"answer": "she did"})), act(text="Done."))[1]["success"]
    drawn = {env.reset(seed=seed)[1]["task_id"] for seed in range(30)}
    assert drawn == set(env.task_ids())
    spec = gym.make(ID, **{option: str(file) for option, file in given.items()}).spec
    assert spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(spec.to_json())).unwrapped
    assert again.task_ids() == env.task_ids()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("documents", "questions", "says"),
    [
        (('{"id": ',), (QUESTION,), r"docs.jsonl, line 1: not valid JSON .*; write one object a line"),
        (("[1]",), (QUESTION,), r"docs.jsonl, line 1: a list; write an object, such as \{"),
        (
            (*DOCUMENTS, "", {"id": "x", "text": "y"}),
            (QUESTION,),
            "docs.jsonl, line 5: `title`: Field required. A line",
        ),
        (({"id": "x", "title": "y"},), (QUESTION,), "line 1: give either `text` or `paragraphs`"),
        (({**DOCUMENTS[0], "body": "y"},), (QUESTION,), "line 1: `body`: Extra inputs are not permitted"),
        ((*DOCUMENTS, DOCUMENTS[0]), (QUESTION,), "line 4: a second document 'ada'; give each an id of its own"),
        ((), (QUESTION,), "docs.jsonl: no document in it"),
        (DOCUMENTS, (), "questions.jsonl: no question in it"),
        (DOCUMENTS, (QUESTION, QUESTION), "questions.jsonl, line 2: a second question 'q1'"),
        (DOCUMENTS, ({"id": "q", "question": "?"},), "questions.jsonl, line 1: `answer`: Field required"),
        (DOCUMENTS, ({**QUESTION, "documents": ["ada", "zoe"]},), "line 1: no document 'zoe' in .*docs.jsonl"),
        (DOCUMENTS, ({**QUESTION, "answer": True},), "line 1: `answer`: an answer is text, a number, or null"),
        (DOCUMENTS, ({**QUESTION, "queries": ["a"]},), "line 1: 1 `queries` for 2 `documents`; give one for each"),
        (DOCUMENTS, ({"id": "q", "question": "?", "answer": None, "aliases": ["a"]},), "`aliases` of no answer"),
    ],
)
def test_a_bad_line_is_named_with_its_fix(tmp_path: Path, documents: Any, questions: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make(**files(tmp_path, documents, questions))


def test_a_question_that_its_documents_do_not_bear_out_is_named_when_it_is_played(tmp_path: Path) -> None:
    unfound = {**QUESTION, "queries": ["Ada Lind", "submarine"]}
    hidden = {"id": "q2", "question": "Which one?", "answer": "Arle bridge", "documents": ["list"]}
    env = make(**files(tmp_path, DOCUMENTS, (unfound, hidden)))
    with pytest.raises(
        UsageError, match=r"questions.jsonl, line 1: question 'q1': document 'town': .*give one in `que"
    ):
        env.reset(options={"task": "q1"})
    with pytest.raises(UsageError, match=r"line 2: question 'q2': document 'list' tells the answer in paragraph 10"):
        env.reset(options={"task": "q2"})
    with pytest.raises(UsageError, match="no question 'q9'; there are q1"):
        env.reset(options={"task": "q9"})
    with pytest.raises(UsageError, match="no question number 7; the split 'train' has 2"):
        env.make_task("train", 7)


def test_one_file_without_the_other_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="corpus without questions: give both"):
        make(corpus=tmp_path / "docs.jsonl")
    with pytest.raises(UsageError, match="No such file"):
        make(corpus=tmp_path / "docs.jsonl", questions=tmp_path / "q.jsonl")
    only_test = files(tmp_path, DOCUMENTS, ({**QUESTION, "split": "test"},))
    with pytest.raises(UsageError, match="no question is of the split 'train'"):
        make(**only_test).task_ids()


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    assert make(**files(tmp_path, DOCUMENTS, (QUESTION,))).reset(seed=1)[1]["task_id"] == "q1"
    changed = make(**files(tmp_path, DOCUMENTS, ({**QUESTION, "answer": "4,302 inhabitants"},)))
    changed.reset(seed=1)
    assert play(changed, act(text="4,302 inhabitants"))[1]["success"]
