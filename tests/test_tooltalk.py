"""The ToolTalk family: on dialogues made here, and on the published ones where they are at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import tir_gym
from tir_gym.dialects import get_dialect
from tir_gym.env import ToolEnv
from tir_gym.envs.tooltalk import ToolTalkEnv, register_tooltalk
from tir_gym.envs.tooltalk.ids import PublishedIds
from tir_gym.envs.tooltalk.scoring import is_match, score
from tir_gym.errors import UsageError
from tir_gym.gold import faults
from tir_gym.prepared import PreparedTask
from tir_gym.records import FigureCheck, ToolCall, ToolResult

ID = "tir_gym/ToolTalk-v0"


def act(*calls: tuple[str, dict[str, Any]], text: str = "") -> dict[str, Any]:
    return get_dialect("openai").render(text, [ToolCall(name, arguments) for name, arguments in calls])  # type: ignore[return-value]


def play_oracle(env: ToolEnv, task: str) -> dict[str, Any]:
    _, info = env.reset(options={"task": task})
    for text, calls in info["oracle"].script():
        _, _, _, _, info = env.step(env.dialect.render(text, calls))
    return info


# A folder of two dialogues in the published form


def user(text: str) -> dict[str, Any]:
    return {"index": 0, "role": "user", "text": text}


def assistant(text: str, *apis: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "role": "assistant", "text": text, **({"apis": list(apis)} if apis else {})}


def api(name: str, response: Any, exception: str | None = None, **parameters: Any) -> dict[str, Any]:
    return {
        "request": {"api_name": name, "parameters": {"session_token": "98a5a87a-7714-b404", **parameters}},
        "response": response,
        "exception": exception,
    }


LOGGED_IN = {
    "name": "two-alarms",
    "suites_used": ["Alarm", "Reminder"],
    "user": {"username": "nora", "password": "sesame", "session_token": "98a5a87a-7714-b404"},
    "metadata": {"location": "Oslo", "timestamp": "2023-09-11 09:00:00", "username": "nora"},
    "conversation": [
        user("Hello!"),
        user("Wake me at seven."),
        assistant("Seven it is.", api("AddAlarm", {"alarm_id": "5bff-dd80"}, time="07:00:00")),
        user("Do you like tea?"),
        assistant("I do not drink."),
        user("Make that eight, and which alarms have I now?"),
        assistant(
            "One, at eight.",
            api("DeleteAlarm", {"status": "success"}, alarm_id="5bff-dd80"),
            api("AddAlarm", {"alarm_id": "20d0-d9ca"}, time="08:00:00"),
            api("FindAlarms", {"alarms": [{"alarm_id": "20d0-d9ca", "time": "08:00:00"}]}),
        ),
        user("Thanks, that is all."),
    ],
}
LOGGED_OUT = {
    "name": "reset",
    "suites_used": ["AccountTools"],
    "user": {"username": "nora", "password": "sesame", "verification_code": "123456"},
    "metadata": {"location": "Oslo", "timestamp": "2023-09-11 09:00:00"},
    "conversation": [
        user("My code is 123456, my name is nora. Make my password open."),
        assistant(
            "Done.",
            api(
                "ResetPassword", {"status": "success"}, username="nora", verification_code="123456", new_password="open"
            ),
        ),
        user("Does the old one, sesame, still work?"),
        assistant(
            "It does not.", api("UserLogin", None, "The password is incorrect.", username="nora", password="sesame")
        ),
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder laid out as the benchmark's repository."""
    account = {"username": "nora", "email": "n@post.example", "phone": None, "name": "Nora", "password": "sesame"}
    databases: dict[str, Any] = {
        name: {} for name in ("Alarm", "Calendar", "Email", "HistoricWeather", "Message", "Reminder", "Weather")
    }
    databases["Account"] = {"nora": {**account, "session_token": None}}
    for name, data in databases.items():
        write(tmp_path / "data" / "databases" / f"{name}.json", data)
    write(tmp_path / "data" / "tooltalk" / "two-alarms.json", LOGGED_IN)
    write(tmp_path / "data" / "easy" / "reset.json", LOGGED_OUT)
    return tmp_path


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


@pytest.fixture
def env(folder: Path) -> ToolTalkEnv:
    return ToolTalkEnv(data_dir=folder)


def test_tasks_are_the_dialogues_by_name(env: ToolTalkEnv) -> None:
    assert env.task_ids() == ["reset", "two-alarms"]
    assert env.task_ids(1, first=1) == ["two-alarms"]
    assert [env.make_task("train", number).id for number in (0, 1)] == ["reset", "two-alarms"]
    assert env.make_task("test", 0) == env.make_task("train", 0)
    assert env.task_named("reset").tags == ("easy", "AccountTools")
    assert env.task_named("two-alarms").tags == ("full", "Alarm", "Reminder")
    drawn = {env.reset(seed=seed)[1]["task_id"] for seed in range(20)}
    assert drawn == {"reset", "two-alarms"}
    with pytest.raises(UsageError, match="no dialogue 'golden'"):
        env.reset(options={"task": "golden"})
    with pytest.raises(UsageError, match="there are 2"):
        env.make_task("test", 2)


def test_a_dialogue_becomes_a_task(env: ToolTalkEnv) -> None:
    task = env.task_named("two-alarms")
    system, opening = task.messages
    assert "Oslo" in system["content"]
    assert "2023-09-11 09:00:00" in system["content"]
    assert "nora is logged in" in system["content"]
    assert opening == {"role": "user", "content": "Hello!\nWake me at seven."}
    replies = ["Do you like tea?", "Make that eight, and which alarms have I now?"]
    assert [reply.text for reply in task.user.replies] == replies  # the closing line has no answer, so it is not said
    assert [(call.name, call.stage) for call in task.gold.calls] == [
        ("AddAlarm", 0),
        ("DeleteAlarm", 2),
        ("AddAlarm", 2),
        ("FindAlarms", 2),
    ]
    assert task.gold.calls[0].arguments == {"time": "07:00:00"}  # no session token
    assert task.gold.after == ((1, 2), (2, 3))
    assert task.gold.checks == (FigureCheck(figure="success"),)
    assert task.gold.reply == "One, at eight."
    assert "Nobody is logged in" in env.task_named("reset").messages[0]["content"]


@pytest.mark.parametrize("name", ["two-alarms", "reset"])
def test_the_oracle_succeeds(env: ToolTalkEnv, name: str) -> None:
    info = play_oracle(env, name)
    assert info["success"]
    assert info["checks"] == {"figure:success": True}
    metrics = info["metrics"]
    for figure in ("precision", "recall", "action_precision", "success", "soft_success"):
        assert metrics[figure] == 1.0
    assert metrics["bad_action_rate"] == 0.0
    assert env.trace().metrics == metrics
    task = env.task_named(name)
    assert faults(task, env.make_sandbox(task)) == []


def test_a_refusal_that_is_gold_is_matched(env: ToolTalkEnv) -> None:
    assert [call.refused for call in env.task_named("reset").gold.calls] == [False, True]
    env.reset(options={"task": "reset"})
    reset = {"username": "nora", "verification_code": "123456", "new_password": "open"}
    env.step(act(("ResetPassword", reset)))
    env.step(act(text="Done."))
    env.step(act(("UserLogin", {"username": "nora", "password": "guess"})))  # refused with the same words
    _, _, terminated, _, info = env.step(act(text="It does not."))
    assert terminated
    assert not info["success"]
    assert info["metrics"]["recall"] == 0.5
    assert info["metrics"]["bad_actions"] == 0  # what is refused does no harm


def test_a_user_turn_begins_where_gold_has_come(env: ToolTalkEnv) -> None:
    env.reset(options={"task": "two-alarms"})
    env.step(act(("AddAlarm", {"time": "03:00:00"}), ("AddReminder", {"task": "x"})))
    observation, *_ = env.step(act(text="Set."))
    assert observation == ({"role": "user", "content": "Do you like tea?"},)
    (found,), *_ = env.step(act(("FindAlarms", {})))
    seven = {"alarms": [{"alarm_id": "5bff-dd80", "time": "07:00:00"}]}
    assert json.loads(found["content"]) == seven  # its own calls are undone, the gold one is done
    env.step(act(("DeleteAlarm", {"alarm_id": "5bff-dd80"})))
    env.step(act(text="I do."))
    found, made = env.step(act(("FindAlarms", {}), ("AddAlarm", {"time": "08:00:00"})))[0]
    assert json.loads(found["content"]) == seven  # a turn without gold calls leaves things as gold has them
    assert json.loads(made["content"]) == {"alarm_id": "20d0-d9ca"}  # the second id, as if gold had made the first


def test_bad_actions_spoil_success(env: ToolTalkEnv) -> None:
    env.reset(options={"task": "two-alarms"})
    env.step(act(("AddAlarm", {"time": "07:00:00"}), ("AddAlarm", {"time": "07:30:00"})))
    env.step(act(text="Set."))
    env.step(act(text="No."))
    env.step(act(("DeleteAlarm", {"alarm_id": "5bff-dd80"})))
    env.step(act(("AddAlarm", {"time": "08:00:00"}), ("FindAlarms", {}), ("GetReminders", {}), ("Nonsense", {})))
    env.step({"role": "assistant", "tool_calls": [{"function": {"name": "AddAlarm", "arguments": "{"}}]})
    _, _, terminated, _, info = env.step(act(text="Eight."))
    assert terminated
    assert not info["success"]
    assert info["metrics"] == {
        "precision": 4 / 8,  # one malformed
        "recall": 1.0,
        "action_precision": 3 / 4,
        "bad_action_rate": 1 / 4,
        "success": 0.0,
        "soft_success": 3 / 4,
        "calls": 8.0,
        "gold_calls": 4.0,
        "matches": 4.0,
        "actions": 4.0,
        "matched_actions": 3.0,
        "bad_actions": 1.0,
    }


def test_doing_nothing_fails(env: ToolTalkEnv) -> None:
    env.reset(options={"task": "two-alarms"})
    for _ in range(3):
        *_, info = env.step("Done.")
    assert info["success"] is False
    assert info["checks"] == {"figure:success": False}
    assert info["metrics"]["precision"] == 0.0
    assert info["metrics"]["action_precision"] == 1.0


def test_history_is_what_was_published(env: ToolTalkEnv) -> None:
    _, info = env.reset(options={"task": "two-alarms"})
    assert info["history"] == list(env.task.messages)
    *_, info = env.step(act(("AddAlarm", {"time": "03:00:00"})))
    assert "history" not in info  # only when the user has spoken
    *_, info = env.step(act(text="Whatever."))
    history = info["history"]
    assert [message["role"] for message in history] == ["system", "user", "assistant", "tool", "assistant", "user"]
    call, result = history[2], history[3]
    (made,) = call["tool_calls"]
    assert made["function"] == {"name": "AddAlarm", "arguments": '{"time": "07:00:00"}'}
    assert result["tool_call_id"] == made["id"]
    assert result["content"] == '{"alarm_id": "5bff-dd80"}'
    assert [message["content"] for message in history[4:]] == ["Seven it is.", "Do you like tea?"]
    *_, info = env.step(act(text="Whatever."))
    assert len(info["history"]) == 8
    *_, info = env.step(act(text="Whatever."))
    assert "history" not in info

    env.reset(options={"task": "reset"})
    *_, info = env.step(act(text="Whatever."))
    assert json.loads(info["history"][3]["content"]) == {"status": "success"}


def test_a_task_of_ones_own_needs_no_published_dialogue(env: ToolTalkEnv) -> None:
    task = env.task_named("two-alarms").model_copy(update={"id": "mine"})
    _, info = env.reset(options={"task": json.loads(task.model_dump_json())})
    assert "history" not in info
    for text, calls in info["oracle"].script():
        *_, info = env.step(env.dialect.render(text, calls))
    assert info["success"]


def test_branches_keep_the_figures_apart(env: ToolTalkEnv) -> None:
    env.reset(options={"task": "two-alarms"})
    env.step(act(("AddAlarm", {"time": "07:00:00"})))
    snapshot = env.snapshot()
    twin = env.fork()
    env.step(act(("AddAlarm", {"time": "07:30:00"})))
    moves = [
        act(text="Set."),
        act(text="No."),
        act(("DeleteAlarm", {"alarm_id": "5bff-dd80"})),
        act(("AddAlarm", {"time": "08:00:00"})),
        act(("FindAlarms", {})),
        act(text="Eight."),
    ]

    def finish(env: ToolEnv) -> bool:
        for move in moves:
            *_, info = env.step(move)
        return bool(info["success"])

    assert not finish(env)
    assert finish(twin)
    env.restore(snapshot)
    assert finish(env)


def test_a_figure_that_is_checked_must_exist_and_be_high_enough(env: ToolTalkEnv) -> None:
    task = env.task_named("reset")

    def checking(figure: str, at_least: float) -> dict[str, Any]:
        gold = task.gold.model_copy(update={"checks": (FigureCheck(figure=figure, at_least=at_least),)})
        env.reset(options={"task": task.model_copy(update={"gold": gold})})
        env.step(act(("UserLogin", {"username": "nora", "password": "guess"})))
        env.step("Done.")
        env.step(act(("UserLogin", {"username": "nora", "password": "sesame"})))
        return dict(env.step("Done.")[-1]["checks"])

    assert checking("precision", 0.0) == {"figure:precision": True}
    assert checking("precision", 0.6) == {"figure:precision": False}
    with pytest.raises(UsageError, match=r"names \['luck'\]; the figures of ToolTalkEnv are: precision, recall"):
        checking("luck", 0.0)


def test_the_linter_sees_a_refusal_that_is_declared_and_does_not_come(env: ToolTalkEnv) -> None:
    task = env.task_named("reset")
    calls = tuple(call.model_copy(update={"refused": not call.refused}) for call in task.gold.calls)
    turned = task.model_copy(update={"gold": task.gold.model_copy(update={"calls": calls})})
    assert faults(turned, env.make_sandbox(turned)) == [
        "gold call 0 (ResetPassword) succeeds, but is declared refused",
        "gold call 1 (UserLogin) fails: The password is incorrect.",
    ]


# The rules of matching


def result(content: Any = None, error: str | None = None) -> ToolResult:
    return ToolResult(content=content, error=error)


OK = result({"status": "success"})


@pytest.mark.parametrize(
    ("made", "gold", "matches"),
    [
        # The default: the same result, and every gold argument equal; others do not matter.
        (("DeleteAlarm", {"alarm_id": "a"}, OK), ("DeleteAlarm", {"alarm_id": "a"}, OK), True),
        (("DeleteAlarm", {"alarm_id": "b"}, OK), ("DeleteAlarm", {"alarm_id": "a"}, OK), False),
        (("DeleteAlarm", {"alarm_id": "a"}, OK), ("DeleteEvent", {"alarm_id": "a"}, OK), False),
        (("QueryUser", {"username": "a"}, result({"users": []})), ("QueryUser", {}, result({"users": []})), True),
        (("QueryUser", {}, result({"users": []})), ("QueryUser", {"username": "a"}, result({"users": []})), False),
        (("QueryUser", {}, result({"users": [1]})), ("QueryUser", {}, result({"users": []})), False),
        (("UserLogin", {}, result(error="no")), ("UserLogin", {}, result(error="no")), True),
        (("UserLogin", {}, result(error="not so")), ("UserLogin", {}, result(error="no")), False),
        (("UserLogin", {}, OK), ("UserLogin", {}, result(error="no")), False),
        # New ids do not count.
        (
            ("AddAlarm", {"time": "07:00:00"}, result({"alarm_id": "x"})),
            ("AddAlarm", {"time": "07:00:00"}, result({"alarm_id": "y"})),
            True,
        ),
        (("AddAlarm", {"time": "07:00:01"}, OK), ("AddAlarm", {"time": "07:00:00"}, OK), False),
        # Reminders: the day, and nearly the same task.
        (
            ("AddReminder", {"task": "Buy the tea", "due_date": "2023-09-12 08:00:00"}, OK),
            ("AddReminder", {"task": "buy the tea!", "due_date": "2023-09-12 23:59:59"}, OK),
            True,
        ),
        (
            ("AddReminder", {"task": "buy the tea", "due_date": "2023-09-13 00:00:00"}, OK),
            ("AddReminder", {"task": "buy the tea", "due_date": "2023-09-12 23:59:59"}, OK),
            False,
        ),
        (("AddReminder", {"task": "sell the car"}, OK), ("AddReminder", {"task": "buy the tea"}, OK), False),
        (
            ("AddReminder", {"task": "a", "due_date": None}, OK),
            ("AddReminder", {"task": "a", "due_date": "2023-09-12 23:59:59"}, OK),
            False,
        ),
        # Events: texts nearly the same, attendees as listed.
        (("CreateEvent", {"name": "weekly sync"}, OK), ("CreateEvent", {"name": "Weekly Sync"}, OK), True),
        (("CreateEvent", {"attendees": ["a", "b"]}, OK), ("CreateEvent", {"attendees": ["b", "a"]}, OK), False),
        (("ModifyEvent", {"new_location": "room 1a"}, OK), ("ModifyEvent", {"new_location": "Room 1a"}, OK), True),
        (("ModifyEvent", {"new_location": "Hall"}, OK), ("ModifyEvent", {"new_location": "Room 1a"}, OK), False),
        # Mail: receivers in any order; messages: to the same receiver.
        (("SendEmail", {"to": ["a", "b"]}, OK), ("SendEmail", {"to": ["b", "a"]}, OK), True),
        (("SendEmail", {"to": ["a"]}, OK), ("SendEmail", {"to": ["b", "a"]}, OK), False),
        (
            ("SendMessage", {"receiver": "a", "message": "Hi there, how are you?"}, OK),
            ("SendMessage", {"receiver": "a", "message": "Hi there, how are you all?"}, OK),
            True,
        ),
        (
            ("SendMessage", {"receiver": "b", "message": "Hi"}, OK),
            ("SendMessage", {"receiver": "a", "message": "Hi"}, OK),
            False,
        ),
        # Look-ups: all that gold has found, however it was asked for.
        (
            ("FindAlarms", {}, result({"alarms": [{"alarm_id": "a"}, {"alarm_id": "b"}]})),
            ("FindAlarms", {"start_range": "07:00:00"}, result({"alarms": [{"alarm_id": "b"}]})),
            True,
        ),
        (
            ("FindAlarms", {}, result({"alarms": [{"alarm_id": "a"}]})),
            ("FindAlarms", {}, result({"alarms": [{"alarm_id": "a"}, {"alarm_id": "b"}]})),
            False,
        ),
        (("FindAlarms", {}, result(error="no")), ("FindAlarms", {}, result({"alarms": []})), False),
        (("FindAlarms", {}, result(error="no")), ("FindAlarms", {}, result(error="no")), True),
    ],
)
def test_matching(made: tuple[Any, ...], gold: tuple[Any, ...], matches: bool) -> None:
    assert is_match(ToolCall(made[0], made[1]), made[2], ToolCall(gold[0], gold[1]), gold[2]) is matches


def test_each_gold_call_is_matched_once_and_the_first_free_one() -> None:
    call = (ToolCall("AddAlarm", {"time": "07:00:00"}), OK)
    figures = score([call, call, call], [call, call], effects={"AddAlarm": "write"})
    assert (figures["matches"], figures["bad_actions"], figures["precision"]) == (2, 1, 2 / 3)
    assert figures["soft_success"] == pytest.approx(2 / 3)


def test_reading_too_much_is_no_bad_action() -> None:
    call = (ToolCall("AddAlarm", {"time": "07:00:00"}), OK)
    look = (ToolCall("QueryUser", {"username": "x"}), OK)
    figures = score([look, call, look], [call], effects={"AddAlarm": "write", "QueryUser": "read"})
    assert (figures["success"], figures["precision"], figures["action_precision"]) == (1.0, 1 / 3, 1.0)


def test_published_ids() -> None:
    issued: dict[str, int] = {}
    ids = PublishedIds()
    assert [ids.new(issued, "AddAlarm", n) for n in range(3)] == ["5bff-dd80", "20d0-d9ca", "0792-1add"]
    assert ids.new(issued, "AddReminder", None) == "5b-dd80"  # a sequence of its own
    assert ids.new(issued, "SendVerificationCode", None) == "984520"
    assert PublishedIds().new({}, "AddAlarm", None) == "5bff-dd80"
    assert PublishedIds().new({"AddAlarm": 1}, "AddAlarm", None) == "20d0-d9ca"


# Where the data is


def test_either_folder_may_be_named(folder: Path) -> None:
    assert ToolTalkEnv(data_dir=folder / "data").task_ids() == ToolTalkEnv(data_dir=str(folder)).task_ids()


def test_the_shared_folder_is_the_default(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    (shared / "data").mkdir(parents=True)
    (shared / "data" / "tooltalk").symlink_to(folder)
    monkeypatch.setenv("TIR_GYM_SHARED", str(shared))
    assert gym.make(ID).unwrapped.task_ids() == ["reset", "two-alarms"]  # type: ignore[attr-defined]


def test_without_data_both_ways_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIR_GYM_SHARED", raising=False)
    with pytest.raises(UsageError, match=r"data_dir=.*TIR_GYM_SHARED"):
        gym.make(ID)
    monkeypatch.setenv("TIR_GYM_SHARED", str(tmp_path))
    with pytest.raises(UsageError, match=r"\$TIR_GYM_SHARED/data/tooltalk: there is no folder"):
        gym.make(ID)
    with pytest.raises(UsageError, match="there is no folder /nowhere"):
        gym.make(ID, data_dir="/nowhere")
    with pytest.raises(UsageError, match="holds no ToolTalk data"):
        gym.make(ID, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("databases/Alarm.json", None, r"Alarm\.json is missing"),
        ("databases/Alarm.json", '{"nora": ', r"Alarm\.json is no valid JSON"),
        ("databases/Alarm.json", "[]", r"Alarm\.json must hold a JSON object, not a list"),
        ("easy/reset.json", "{", r"reset\.json is no valid JSON"),
        ("easy/reset.json", "{}", r"reset\.json is no ToolTalk dialogue: user: Field required"),
        (
            "easy/reset.json",
            json.dumps({**LOGGED_OUT, "metadata": {"location": "Oslo", "timestamp": "today"}}),
            r"metadata\.timestamp: .*expected YYYY-MM-DD HH:MM:SS",
        ),
        (
            "easy/reset.json",
            json.dumps({**LOGGED_OUT, "conversation": [assistant("Hi"), user("Hi")]}),
            "must follow one of the user",
        ),
        ("easy/reset.json", json.dumps({**LOGGED_OUT, "conversation": [user("Hi")]}), "assistant never speaks"),
    ],
)
def test_damaged_data_is_named(folder: Path, file: str, content: str | None, said: str) -> None:
    path = folder / "data" / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        ToolTalkEnv(data_dir=folder)


def test_a_folder_without_dialogues(folder: Path) -> None:
    for path in folder.glob("data/[et]*/*.json"):
        path.unlink()
    with pytest.raises(UsageError, match="holds no dialogues"):
        ToolTalkEnv(data_dir=folder)


def test_an_unknown_option_is_refused(folder: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'levl'"):
        ToolTalkEnv(data_dir=folder, levl="easy")
    with pytest.raises(UsageError, match="no split"):
        ToolTalkEnv(data_dir=folder, split="easy")


# Gymnasium


def test_each_dialogue_gets_an_id(folder: Path) -> None:
    ids = register_tooltalk(folder)
    try:
        assert ids == ["tir_gym/ToolTalk.reset-v0", "tir_gym/ToolTalk.two-alarms-v0"]
        env = gym.make("tir_gym/ToolTalk.two-alarms-v0")
        assert env.reset()[1]["task_id"] == "two-alarms"
        assert env.spec is not None
        again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
        assert again.reset()[1]["task_id"] == "two-alarms"
        assert gym.make("tir_gym:ToolTalk.reset-v0").reset()[1]["task_id"] == "reset"
        assert register_tooltalk(folder) == ids  # once more is no error
    finally:
        for id in ids:
            gym.registry.pop(id)
            gym.registry.pop(id.removeprefix("tir_gym/"))


def test_importing_registers_what_the_shared_folder_holds(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "tooltalk" / "not a name.json").write_text("{", encoding="utf-8")
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (tmp_path / "shared" / "data" / "tooltalk").symlink_to(folder)
    code = (
        "import sys, gymnasium, tir_gym\n"
        "print(*sorted(id for id in gymnasium.registry if id.startswith('tir_gym/ToolTalk')))\n"
        "print('tir_gym.envs.tooltalk' in sys.modules)"
    )
    shared = {"TIR_GYM_SHARED": str(tmp_path / "shared"), "PATH": ""}
    ran = subprocess.run([sys.executable, "-c", code], env=shared, capture_output=True, text=True, check=True)
    ids = "tir_gym/ToolTalk-v0 tir_gym/ToolTalk.reset-v0 tir_gym/ToolTalk.two-alarms-v0"
    assert ran.stdout.splitlines() == [ids, "False"]


def test_gymnasium_accepts_it(folder: Path) -> None:
    check_env(gym.make(ID, data_dir=str(folder)).unwrapped)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments(folder: Path, mode: str) -> None:
    vector = gym.make_vec(
        ID,
        num_envs=2,
        vectorization_mode=mode,
        vector_kwargs={"shared_memory": False} if mode == "async" else None,
        data_dir=str(folder),
    )
    try:
        observations, info = vector.reset(seed=[0, 1])
        assert len(observations) == 2
        assert len(info["history"]) == 2
        _, rewards, _, _, _ = vector.step(("Hello.", "Hello."))
        assert list(rewards) == [0.0, 0.0]
    finally:
        vector.close()


# The published dialogues


@pytest.fixture(scope="module")
def published(shared: Path) -> ToolTalkEnv:
    data = shared / "data" / "tooltalk"
    if not data.is_dir():
        pytest.skip(f"no ToolTalk data at {data}")
    return ToolTalkEnv(data_dir=data)


def test_78_dialogues_with_266_gold_calls(published: ToolTalkEnv) -> None:
    names = published.task_ids()
    assert names == sorted(names)
    levels = Counter(published.task_named(name).tags[0] for name in names)
    assert levels == {"easy": 28, "full": 50}
    assert sum(len(published.task_named(name).gold.calls) for name in names) == 266


def test_replaying_gold_gives_what_was_published(published: ToolTalkEnv) -> None:
    matched = equal = 0
    for name in published.task_ids():
        task = published.task_named(name)
        gold = PreparedTask(task, published.make_sandbox(task)).sides[0].gold
        recorded = [made for exchange in published._benchmark.dialogues[name].exchanges for made in exchange.calls]
        for call, ours, made in zip(gold.calls, gold.results, recorded, strict=True):
            matched += is_match(call, ours, made.call, made.result)
            equal += (ours.content, ours.error) == (made.result.content, made.result.error)
    assert matched == 266
    # The same 229 as in the original. In the other 37 the published record is not what the published databases give.
    # 21 look-ups find more, because the databases have grown since; 7 find the same in another order (searches once
    # gave the oldest first); 1 finds an event whose end was corrected. 8 new records have ids that no generator would
    # have given then: the first one over again in a later turn, another tool's, two halves swapped, a digit lost.
    assert equal == 229


def test_playing_gold_succeeds_on_every_dialogue(shared: Path, published: ToolTalkEnv) -> None:
    env = gym.make(ID, data_dir=str(shared / "data" / "tooltalk"))
    assert isinstance(env.unwrapped, ToolTalkEnv)
    figures: Counter[str] = Counter()
    for name in published.task_ids():
        info = play_oracle(env.unwrapped, name)
        assert info["success"], name
        figures.update(info["metrics"])
    for figure in ("precision", "recall", "action_precision", "success", "soft_success"):
        assert figures[figure] == 78.0
    assert figures["matches"] == 266
    assert figures["bad_actions"] == 0


def test_every_user_turn_begins_as_the_benchmark_prescribes(published: ToolTalkEnv) -> None:
    """The databases and the session afresh, then all gold calls of earlier turns: records, clock and next ids."""
    for name in published.task_ids():
        task = published.task_named(name)
        prepared = PreparedTask(task, published.make_sandbox(task))
        for stage in range(1, len(task.user.replies) + 1):
            afresh = published.make_sandbox(task)
            for call in task.gold.calls:
                if call.stage < stage:
                    afresh.call(ToolCall(call.name, call.arguments))
            snapshot = afresh.snapshot()
            assert prepared.stage_start(stage) == snapshot, (name, stage)
            afresh.restore(prepared.stage_start(stage))
            assert afresh.snapshot() == snapshot


def test_gold_is_sound_by_the_linter(published: ToolTalkEnv) -> None:
    for name in published.task_ids():
        task = published.task_named(name)
        assert faults(task, published.make_sandbox(task)) == [], name
        assert tir_gym.Task.model_validate_json(task.model_dump_json()) == task


def test_traces_are_the_same_bytes(published: ToolTalkEnv) -> None:
    def trace() -> bytes:
        play_oracle(published, "golden_conversation_5")
        return published.trace().canonical()

    assert trace() == trace()
