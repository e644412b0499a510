"""Rollouts in tokens: what was sampled stays as it was sampled, and each turn's reward finds its tokens."""

from __future__ import annotations

import json
import random
from dataclasses import fields
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notebook import NotebookEnv
from tiny_tokenizer import END, ForgetfulTokenizer, TinyTokenizer, ToolsLastTokenizer

from tir_gym.advantages import dual, get_estimator, to_tokens
from tir_gym.dialects import get_dialect
from tir_gym.env import ToolEnv
from tir_gym.envs.lookup import LookupEnv
from tir_gym.errors import UsageError
from tir_gym.rollout import ChatPrompt, Context, Flat, Recording, TokenTurn, Trajectory

hermes = get_dialect("hermes")


@pytest.fixture(scope="module")
def tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


# Records made of anything.

ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6)
rewards = st.floats(-2, 2, width=32)
turns = st.lists(
    st.tuples(ids, ids, rewards, st.booleans(), st.integers(0, 9)), min_size=1, max_size=6
)  # context, output, reward, whether a new prompt begins, weights


def logprobs(output: list[int]) -> list[float]:
    return [-0.1 - (id % 7) / 3 for id in output]


def recorded(drawn: list[tuple[list[int], list[int], float, bool, int]]) -> tuple[Trajectory, list[list[int]]]:
    """A trajectory of drawn turns, and the prompt of each of them as `extend` gave it."""
    recording, prompts = Recording("test/0", "test/0"), []
    for i, (context, output, reward, begins, weights) in enumerate(drawn):
        prompt = recording.extend(Context(np.array(context, dtype=np.int32), begins or i == 0))
        assert prompt.dtype == np.int32
        assert prompt.tolist() == recording.prompt_ids.tolist()
        prompts.append(prompt.tolist())
        recording.add(output, logprobs(output), reward=reward, parts={"match": reward}, weight_version=weights)
    return recording.finish(success=True, ending="answer"), prompts


@given(turns)
def test_a_prompt_begins_with_the_one_before_and_what_was_sampled_there(drawn: Any) -> None:
    trajectory, prompts = recorded(drawn)
    for t in range(1, len(drawn)):
        context, _, _, begins, _ = drawn[t]
        assert prompts[t] == (context if begins else prompts[t - 1] + drawn[t - 1][1] + context)
    for flat in trajectory.flats():
        whole = [*flat.prompt_ids.tolist(), *flat.response_ids.tolist()]
        last = int(flat.turns[-1])
        assert whole == prompts[last] + drawn[last][1]
        for number, (start, _) in zip(flat.turns.tolist(), flat.turn_spans.tolist(), strict=True):
            assert whole[: len(flat.prompt_ids) + start] == prompts[number]


@given(turns)
def test_what_was_sampled_is_masked_in_and_nothing_else(drawn: Any) -> None:
    trajectory, _ = recorded(drawn)
    flats = trajectory.flats()
    assert sum(int(flat.loss_mask.sum()) for flat in flats) == trajectory.sampled == sum(len(t[1]) for t in drawn)
    sampled = [flat.response_ids[flat.loss_mask == 1].tolist() for flat in flats]
    assert [id for part in sampled for id in part] == [id for _, output, *_ in drawn for id in output]
    for flat in flats:
        assert flat.attention_mask.tolist() == [1] * (len(flat.prompt_ids) + len(flat.response_ids))
        np.testing.assert_array_equal(flat.turn_of_token >= 0, flat.loss_mask == 1)
        assert not flat.logprobs[flat.loss_mask == 0].any()
        assert flat.response_ids.shape == flat.loss_mask.shape == flat.logprobs.shape == flat.turn_of_token.shape


@given(turns)
def test_spans_are_the_runs_of_the_mask(drawn: Any) -> None:
    trajectory, _ = recorded(drawn)
    for flat in trajectory.flats():
        runs, position = [], 0
        for masked, run in groupby(flat.loss_mask.tolist()):
            size = len(list(run))
            if masked:
                runs.append([position, position + size])
            position += size
        assert flat.turn_spans.tolist() == runs
        for number, (start, end), weights in zip(flat.turns, runs, flat.weight_versions, strict=True):
            _, output, _, _, version = drawn[number]
            assert flat.response_ids[start:end].tolist() == output
            assert flat.logprobs[start:end].tolist() == np.float32(logprobs(output)).tolist()
            assert set(flat.turn_of_token[start:end].tolist()) == {int(number)}
            assert weights == version


@given(turns)
def test_each_turn_has_one_reward_at_its_last_sampled_token(drawn: Any) -> None:
    trajectory, _ = recorded(drawn)
    assert trajectory.turn_rewards == [reward for _, _, reward, _, _ in drawn]
    for flat in trajectory.flats():
        at = flat.turn_spans[:, 1] - 1
        assert flat.token_rewards[at].tolist() == [drawn[number][2] for number in flat.turns]
        elsewhere = np.delete(flat.token_rewards, at)
        assert not elsewhere.any()


@given(turns)
def test_a_trajectory_goes_through_json_without_loss(drawn: Any) -> None:
    trajectory, _ = recorded(drawn)
    text = trajectory.model_dump_json()
    again = Trajectory.model_validate_json(text)
    assert again == trajectory
    assert again.model_dump_json() == text
    for mine, theirs in zip(trajectory.flats(), again.flats(), strict=True):
        for field in fields(Flat):
            before, after = getattr(mine, field.name), getattr(theirs, field.name)
            assert before.dtype == after.dtype
            assert before.dtype in (np.int32, np.float32)
            np.testing.assert_array_equal(before, after)


def test_records_differ_where_tokens_do() -> None:
    one = TokenTurn(context_ids=[1], begins=True, output_ids=[2, 3], logprobs=[-1, -2])
    assert one != one.model_copy(update={"output_ids": np.array([2, 4], dtype=np.int32)})
    assert one != TokenTurn(context_ids=[1], begins=True, output_ids=[2, 3], logprobs=[-1, -2.5])
    assert one == TokenTurn(context_ids=[1], begins=True, output_ids=np.array([2, 3]), logprobs=(-1.0, -2.0))


def test_recorded_tokens_cannot_be_changed_from_outside() -> None:
    output, context = np.array([5, 6]), Context(np.array([1, 2], dtype=np.int32), begins=True)
    recording = Recording("t", 0)
    recording.extend(context)[0] = 99
    context.ids[0] = 99
    recording.add(output, [-1.0, -1.0], reward=1.0)
    output[0] = 99
    trajectory = recording.finish()
    (turn,) = trajectory.turns
    assert (turn.context_ids.tolist(), turn.output_ids.tolist()) == ([1, 2], [5, 6])
    with pytest.raises(ValueError, match="read-only"):
        turn.output_ids[0] = 99
    flat = trajectory.flat()
    for field in fields(Flat):  # a trainer may do with its arrays what it likes
        getattr(flat, field.name)[...] = 0
    assert trajectory.flat().response_ids.tolist() == [5, 6]
    assert trajectory.flat().prompt_ids.tolist() == [1, 2]


# Rollouts in an environment.


def play(
    env: ToolEnv, tokenizer: TinyTokenizer, task: Any, say: Any, group: str = "one"
) -> tuple[Trajectory, list[list[int]]]:
    """Play a task as an engine does. `say` gives the tokens that are sampled from a prompt.

    Returns:
        The trajectory, and all tokens in the order in which the engine saw and sampled them, by segment.
    """
    observation, info = env.reset(options={"task": task})
    prompt, recording = ChatPrompt(tokenizer, info["tools"]), Recording(info["task_id"], group)
    context, over = prompt.begin(observation), False
    seen: list[list[int]] = []
    while not over:
        given_ids = recording.extend(context).tolist()
        if context.begins:
            seen.append([])
        assert given_ids[: len(seen[-1])] == seen[-1], "the prompt does not begin with what was seen and sampled"
        output = say(given_ids)
        seen[-1] = given_ids + output
        observation, reward, terminated, truncated, info = env.step(prompt.text(output))
        recording.add(output, logprobs(output), reward=reward, parts=info["match"].parts)
        over = terminated or truncated
        if not over:
            context = prompt.grow(output, observation)
    return recording.finish(success=info["success"], ending=info["ending"], truncated=truncated), seen


def scripted(tokenizer: TinyTokenizer, *texts: str) -> Any:
    said = iter(texts)
    return lambda prompt: tokenizer.encode(next(said))


def random_output(rng: random.Random, tokenizer: TinyTokenizer) -> list[int]:
    """What a policy says that knows nothing: any tokens, up to one that ends the turn or to a budget of tokens."""
    found = [rng.randrange(tokenizer.size) for _ in range(rng.randint(1, 8))]
    if rng.random() < 0.7:  # looks like a call, so that an episode goes on
        found = [tokenizer.id("<tool_call>"), *found, tokenizer.id("</tool_call>")]
    stops = [i for i, id in enumerate(found) if id in tokenizer.stop_ids]
    if stops:
        return found[: stops[0] + 1]
    return [*found, tokenizer.id(END)] if rng.random() < 0.8 else found


@pytest.mark.parametrize("part", range(4))
def test_no_token_changes_in_ten_thousand_rollouts_of_random_tokens(tokenizer: TinyTokenizer, part: int) -> None:
    rng = random.Random(f"rollouts of random tokens/{part}")
    env = LookupEnv(dialect="hermes", hops=(1, 3))
    opening, info = env.reset(options={"task": "train/0"})
    answers = [env.step(hermes.render("", calls))[0] for _, calls in info["oracle"].script()[:-1]]
    answers.append(env.step("<tool_call>")[0])
    turns = changed = cut = 0
    for _ in range(2_500):
        prompt, recording = ChatPrompt(tokenizer), Recording("train/0", "one")
        context, seen, outputs = prompt.begin(opening), [], []
        for _ in range(rng.randint(1, 4)):
            given_ids = recording.extend(context).tolist()
            assert given_ids[: len(seen)] == seen, "the prompt does not begin with what was seen and sampled"
            output = random_output(rng, tokenizer)
            seen = given_ids + output
            outputs.append(output)
            recording.add(output, logprobs(output), reward=0.0)
            context = prompt.grow(output, rng.choice(answers))
        flat = recording.finish().flat()
        assert [*flat.prompt_ids.tolist(), *flat.response_ids.tolist()] == seen
        assert flat.response_ids[flat.loss_mask == 1].tolist() == [id for output in outputs for id in output]
        turns += len(outputs)
        changed += any(tokenizer.encode(tokenizer.decode(output)) != output for output in outputs)
        cut += any(output[-1] not in tokenizer.stop_ids for output in outputs)
    # And the test has seen what it is about: many turns, and tokens that text does not give back.
    assert turns > 5_000
    assert changed > 2_000
    assert cut > 500


def test_random_tokens_are_actions_like_any_other(tokenizer: TinyTokenizer) -> None:
    rng = random.Random("random tokens as actions")
    env = LookupEnv(dialect="hermes", hops=(1, 3), max_turns=4)
    endings = []
    for i in range(200):
        trajectory, (seen,) = play(env, tokenizer, f"train/{i % 20}", lambda _: random_output(rng, tokenizer))
        flat = trajectory.flat()
        assert [*flat.prompt_ids.tolist(), *flat.response_ids.tolist()] == seen
        assert trajectory.turn_rewards == [turn.reward for turn in env.trace().turns]
        assert trajectory.success is False
        endings.append((trajectory.ending, trajectory.truncated))
    assert {("answer", False), ("max_turns", True)} <= set(endings)


def test_prompts_are_what_the_template_makes_of_a_conversation(tokenizer: TinyTokenizer) -> None:
    """Where a policy speaks in the tokens that the tokenizer would choose, no seam shows."""
    env = LookupEnv(dialect="hermes", hops=(1, 4))
    for number in range(30):
        _, info = env.reset(options={"task": f"test/{number}"})
        script = [f"{hermes.render(*move)}{END}" for move in info["oracle"].script()]
        trajectory, (seen,) = play(env, tokenizer, f"test/{number}", scripted(tokenizer, *script))
        assert trajectory.success
        trace = env.trace()
        conversation = list(trace.messages)
        for said, turn in zip(script, trace.turns, strict=True):
            conversation += [{"role": "assistant", "content": said.removesuffix(END)}, *turn.observation]
        whole = tokenizer.render(conversation, info["tools"], reply=False)
        assert seen == tokenizer.encode(whole.removesuffix("\n"))
        assert sum(trajectory.turn_rewards) == pytest.approx(trace.gold_calls + 1)


def test_a_message_that_was_cut_off_is_ended_in_the_context(tokenizer: TinyTokenizer) -> None:
    words = '<tool_call>{"name": "boss"'
    cut, _ = play(LookupEnv(dialect="hermes"), tokenizer, "train/0", scripted(tokenizer, words, f"B10{END}"))
    ended, _ = play(LookupEnv(dialect="hermes"), tokenizer, "train/0", scripted(tokenizer, words + END, f"B10{END}"))
    end = tokenizer.id(END)
    assert cut.turns[1].context_ids.tolist() == [end, *ended.turns[1].context_ids.tolist()]
    assert end not in cut.turns[0].output_ids
    assert [*cut.flat().prompt_ids, *cut.flat().response_ids] == [*ended.flat().prompt_ids, *ended.flat().response_ids]
    assert cut.flat().loss_mask.sum() == ended.flat().loss_mask.sum() - 1


def test_a_template_that_drops_thoughts_begins_a_new_prompt_when_the_user_speaks() -> None:
    tokenizer = ForgetfulTokenizer()
    thought = "<think>no text</think>What should the text be?"
    call = '<tool_call>{"name": "add_note", "arguments": {"owner": "bob", "text": "tea"}}</tool_call>'
    say = scripted(tokenizer, thought + END, f"<think>so</think>{call}{END}", f"Added.{END}")
    env = NotebookEnv(dialect="hermes")
    trajectory, seen = play(env, tokenizer, "ask", say)
    assert trajectory.success
    assert [turn.begins for turn in trajectory.turns] == [True, True, False]
    first, second = trajectory.flats()
    assert [*first.prompt_ids, *first.response_ids] == seen[0]
    assert [*second.prompt_ids, *second.response_ids] == seen[1]
    assert "no text" in tokenizer.decode(seen[0])
    assert "no text" not in tokenizer.decode(seen[1])
    assert "so</think>" in tokenizer.decode(seen[1]), "thoughts since the user spoke are kept"
    assert (first.turns.tolist(), second.turns.tolist()) == ([0], [1, 2])
    assert set(second.turn_of_token.tolist()) == {-1, 1, 2}
    assert int(first.loss_mask.sum() + second.loss_mask.sum()) == trajectory.sampled
    with pytest.raises(UsageError, match="has 2 segments"):
        trajectory.flat()
    # Without thoughts there is nothing to drop, so the same template only appends.
    plain = scripted(tokenizer, f"What should the text be?{END}", call + END, f"Added.{END}")
    assert [turn.begins for turn in play(env, tokenizer, "ask", plain)[0].turns] == [True, False, False]


def test_a_template_that_moves_the_tools_begins_a_new_prompt() -> None:
    tokenizer = ToolsLastTokenizer()
    call = '<tool_call>{"name": "add_note", "arguments": {"owner": "bob", "text": "tea"}}</tool_call>'
    say = scripted(tokenizer, f"What should the text be?{END}", call + END, f"Added.{END}")
    trajectory, seen = play(NotebookEnv(dialect="hermes"), tokenizer, "ask", say)
    assert [turn.begins for turn in trajectory.turns] == [True, True, False]
    assert tokenizer.decode(seen[1]).count("list_notes") == 1


@pytest.mark.parametrize("kind", [ForgetfulTokenizer, ToolsLastTokenizer])
def test_one_may_append_whatever_the_template_would_change(kind: type[TinyTokenizer]) -> None:
    tokenizer, env = kind(), NotebookEnv(dialect="hermes")
    observation, info = env.reset(options={"task": "ask"})
    prompt, recording = ChatPrompt(tokenizer, info["tools"], append_always=True), Recording("ask", 0)
    seen = recording.extend(prompt.begin(observation)).tolist()
    output = tokenizer.encode(f"<think>no text</think>What should the text be?{END}")
    observation, *_ = env.step(prompt.text(output))
    recording.add(output, logprobs(output), reward=0.0)
    grown = recording.extend(prompt.fork().grow(output, observation)).tolist()
    assert grown[: len(seen) + len(output)] == seen + output
    assert "Write tea." in tokenizer.decode(grown[len(seen) + len(output) :])
    assert "no text" in tokenizer.decode(grown)


def test_white_space_that_a_template_trims_is_kept_in_the_prompt(tokenizer: TinyTokenizer) -> None:
    output = tokenizer.encode(f" \n<tool_call>oops</tool_call> \n{END}")
    trajectory, (seen,) = play(LookupEnv(dialect="hermes", max_turns=2), tokenizer, "train/0", lambda prompt: output)
    start = len(trajectory.turns[0].context_ids)
    assert seen[start : start + len(output)] == output


def test_a_forked_rollout_goes_its_own_way(tokenizer: TinyTokenizer) -> None:
    env = LookupEnv(dialect="hermes", hops=2, branches=1)
    observation, info = env.reset(options={"task": "train/1"})
    first, second = (str(hermes.render(*move)) + END for move in info["oracle"].script()[:2])
    prompt, recording = ChatPrompt(tokenizer, info["tools"]), Recording("train/1", "g")
    recording.extend(prompt.begin(observation))
    observation, reward, *_ = env.step(prompt.text(tokenizer.encode(first)))
    recording.add(tokenizer.encode(first), logprobs(tokenizer.encode(first)), reward=reward)
    recording.extend(prompt.grow(tokenizer.encode(first), observation))
    twins = [(env.fork(), prompt.fork(), recording.fork()) for _ in range(2)]
    found = []
    for (world, words, tokens), said in zip(twins, (second, f"B10{END}"), strict=True):
        output = tokenizer.encode(said)
        observation, reward, terminated, *_ = world.step(words.text(output))
        tokens.add(output, logprobs(output), reward=reward)
        if not terminated:
            tokens.extend(words.grow(output, observation))
            tokens.add([7], [-1.0], reward=0.0)
        found.append(tokens.finish())
    assert [len(trajectory.turns) for trajectory in found] == [3, 2]
    assert found[0].turns[0] == found[1].turns[0]
    assert found[0].turns[1].context_ids.tolist() == found[1].turns[1].context_ids.tolist()
    assert found[0].turn_rewards[:2] == [1.0, 1.0]
    assert found[1].turn_rewards == [1.0, 0.0]
    assert len(recording.finish().turns) == 1


# From rewards to advantages of tokens.


def group_of_rollouts(tokenizer: TinyTokenizer) -> list[Trajectory]:
    """Rollouts of two tasks: right ones, ones that stop early, ones that say nothing of use."""
    env = LookupEnv(dialect="hermes", hops=3, branches=1)
    found = []
    for task in ("train/3", "train/4"):
        _, info = env.reset(options={"task": task})
        moves = [f"{hermes.render(*move)}{END}" for move in info["oracle"].script()]
        scripts = (moves, [*moves[:2], f"B10{END}"], [moves[0], moves[0], *moves[1:]], [f"B10{END}"])
        found += [play(env, tokenizer, task, scripted(tokenizer, *script), group=task)[0] for script in scripts]
    return found


def test_turn_rewards_become_advantages_of_sampled_tokens(tokenizer: TinyTokenizer) -> None:
    rollouts = group_of_rollouts(tokenizer)
    by_turn = dual([t.turn_rewards for t in rollouts], [t.group_id for t in rollouts])
    flats = [t.flat() for t in rollouts]
    by_token = to_tokens(by_turn, [flat.turn_of_token for flat in flats])
    assert len({round(a, 6) for row in by_turn for a in row}) > 10
    for flat, of_turn, of_token in zip(flats, by_turn, by_token, strict=True):
        assert len(of_token) == len(flat.response_ids)
        wanted = np.zeros(len(of_token))
        for (start, end), advantage in zip(flat.turn_spans, of_turn, strict=True):
            wanted[start:end] = advantage
        assert list(of_token) == wanted.tolist()
        assert np.flatnonzero(of_token).tolist() == np.flatnonzero(flat.loss_mask).tolist()


def test_and_so_they_do_as_padded_arrays(tokenizer: TinyTokenizer) -> None:
    rollouts = group_of_rollouts(tokenizer)
    flats, groups = [t.flat() for t in rollouts], [t.group_id for t in rollouts]
    turns, tokens = max(len(t.turns) for t in rollouts), max(len(flat.response_ids) for flat in flats)
    paid, exists = np.zeros((len(rollouts), turns), np.float32), np.zeros((len(rollouts), turns), bool)
    turn_of_token = np.full((len(rollouts), tokens), -1, np.int32)
    for i, (trajectory, flat) in enumerate(zip(rollouts, flats, strict=True)):
        paid[i, : len(trajectory.turns)], exists[i, : len(trajectory.turns)] = trajectory.turn_rewards, True
        turn_of_token[i, : len(flat.response_ids)] = flat.turn_of_token
        # The token rewards say the same, for trainers that read those.
        assert flat.token_rewards[flat.turn_spans[:, 1] - 1].tolist() == paid[i, exists[i]].tolist()
    for name in ("dual", "dual_loo", "grpo", "gtpo"):
        estimator = get_estimator(name)
        found = to_tokens(estimator(paid, groups, mask=exists), turn_of_token)
        ragged = estimator([t.turn_rewards for t in rollouts], groups)
        for row, flat, wanted in zip(found, flats, to_tokens(ragged, [f.turn_of_token for f in flats]), strict=True):
            np.testing.assert_allclose(row[: len(flat.response_ids)], wanted, atol=1e-5)
            assert not row[len(flat.response_ids) :].any()


def test_segments_and_broken_rollouts_find_their_advantages() -> None:
    whole, _ = recorded([([1], [2], 1.0, True, 0), ([3], [4, 5], 0.0, False, 0)])
    parted, _ = recorded([([1], [2], 0.5, True, 0), ([3], [4, 5], 1.0, True, 0), ([6], [7], 0.0, False, 0)])
    broken = Recording("test/0", "test/0").finish(infra_error={"kind": "sandbox_died"})
    rollouts = [whole, parted, broken]
    by_turn = dual(
        [t.turn_rewards for t in rollouts],
        [t.group_id for t in rollouts],
        infra=[t.infra_error is not None for t in rollouts],
    )
    flats = [(i, flat) for i, trajectory in enumerate(rollouts) for flat in trajectory.flats()]
    assert [i for i, _ in flats] == [0, 1, 1]
    by_token = to_tokens([by_turn[i] for i, _ in flats], [flat.turn_of_token for _, flat in flats])
    assert by_token == [
        [by_turn[0][0], 0.0, by_turn[0][1], by_turn[0][1]],
        [by_turn[1][0]],
        [by_turn[1][1], by_turn[1][1], 0.0, by_turn[1][2]],
    ]


def test_hindsight_pays_the_same_tokens_otherwise(tokenizer: TinyTokenizer) -> None:
    trajectory = group_of_rollouts(tokenizer)[0]
    again = trajectory.with_rewards([0.25] * len(trajectory.turns))
    assert again.turn_rewards == [0.25] * len(trajectory.turns)
    assert again.flat().response_ids.tolist() == trajectory.flat().response_ids.tolist()
    assert sum(trajectory.turn_rewards) == pytest.approx(4.0), "the first one is as it was"
    with pytest.raises(UsageError, match="1 rewards for 4 turns"):
        trajectory.with_rewards([1.0])
    with pytest.raises(ValueError, match="finite"):
        trajectory.with_rewards([float("nan")] * 4)


# Misuse.


def test_misuse_is_told() -> None:
    recording = Recording("t", 0)
    with pytest.raises(UsageError, match="no context"):
        recording.add([1], [-1.0], reward=0.0)
    with pytest.raises(UsageError, match="no context"):
        _ = recording.prompt_ids
    with pytest.raises(UsageError, match="whole prompt"):
        recording.extend(Context(np.array([1], dtype=np.int32), begins=False))
    with pytest.raises(ValueError, match="whole numbers"):
        recording.extend(Context(np.array([0.5]), begins=True))  # type: ignore[arg-type]
    assert recording.extend(Context(np.array([1]), begins=True)).dtype == np.int32
    with pytest.raises(UsageError, match="twice"):
        recording.extend(Context(np.array([1], dtype=np.int32), begins=False))
    with pytest.raises(UsageError, match="has 0 segments"):
        recording.finish().flat()
    assert recording.finish().flats() == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"output_ids": []}, "tokens of its own"),
        ({"context_ids": []}, "tokens before it"),
        ({"logprobs": [-1.0]}, "2 tokens were sampled, with 1"),
        ({"logprobs": [-1.0, float("nan")]}, "finite"),
        ({"logprobs": [-1.0, float("-inf")]}, "finite"),
        ({"output_ids": [1.5, 2]}, "whole numbers"),
        ({"output_ids": [[1, 2]]}, "flat sequence"),
        ({"output_ids": [1, -2]}, "got -2 to 1"),
        ({"output_ids": [1, 2**31]}, "token ids lie in"),
        ({"output_ids": "ab"}, "flat sequence"),
        ({"output_ids": 7}, "flat sequence"),
        ({"output_ids": [True, False]}, "whole numbers"),
        ({"reward": float("inf")}, "finite"),
        ({"finish": "tired"}, "stop"),
    ],
)
def test_a_turn_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    good = {"context_ids": [1], "begins": True, "output_ids": [2, 3], "logprobs": [-1.0, -1.0]}
    TokenTurn.model_validate(good)
    with pytest.raises(ValueError, match=says):
        TokenTurn.model_validate({**good, **changes})


def test_a_trajectory_that_cannot_be_is_refused() -> None:
    turn = TokenTurn(context_ids=[1], output_ids=[2], logprobs=[-1.0])
    with pytest.raises(ValueError, match="begins=True"):
        Trajectory(task_id="t", group_id=0, turns=(turn,))
    newer = json.loads(Trajectory(task_id="t", group_id=0).model_dump_json()) | {"version": 2}
    with pytest.raises(ValueError, match="version"):
        Trajectory.model_validate(newer)


def test_growing_needs_a_prompt_and_something_new(tokenizer: TinyTokenizer) -> None:
    prompt = ChatPrompt(tokenizer)
    with pytest.raises(UsageError, match="begin"):
        prompt.grow([1], [{"role": "tool", "content": "x"}])
    prompt.begin([{"role": "user", "content": "hello"}])
    with pytest.raises(UsageError, match="new message"):
        prompt.grow([1], [])
