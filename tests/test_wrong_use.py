"""Policies, runs and stores that are broken, closed or none at all: one line says what is wrong, and exit code 2."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ordinary_user import python_as_ordinary_user

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

from tir_gym.agents.grpo.log import read_metrics  # noqa: E402
from tir_gym.agents.policies import make_policy  # noqa: E402
from tir_gym.cli import main  # noqa: E402
from tir_gym.store import open_store  # noqa: E402

LOOKUP = "tir_gym/Lookup-v0"
SMALL = ["steps=1", "rollout.prompts=1", "rollout.group=2", "rollout.max_tokens=4", "env.max_turns=1", "eval.every=0"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made") / "policy"
    make_policy(folder, size="0.2M", envs=[LOOKUP], conversations=10, vocabulary=300)
    return folder


@pytest.fixture(scope="module")
def run(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one step, to be resumed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", str(policy), "--out", str(folder), "log.tensorboard=false", *SMALL]) == 0
    return folder


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says."""
    capsys.readouterr()
    code = main(words)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == 2, lines
    assert len(lines) == 1
    return lines[0]


def without(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (file,) = folder.rglob(name)
        shutil.rmtree(file) if file.is_dir() else file.unlink()

    return edit


def with_text(name: str, text: str | bytes) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (file,) = folder.rglob(name)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    return edit


def with_config(**fields: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return edit


POLICIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (without("config.json"), "no causal language model can be loaded from this folder"),
    "config": (with_text("config.json", "{"), "is not a valid JSON file"),
    "list": (with_text("config.json", "[1]"), "can be loaded from this folder"),
    "kind": (with_config(model_type="nothing"), "can be loaded from this folder"),
    "shape": (with_config(hidden_size=128), "no causal language model can be loaded from this folder"),
    "size": (with_config(hidden_size="big"), "can be loaded from this folder"),
    "no weights": (without("model.safetensors"), "no causal language model can be loaded from this folder"),
    "empty weights": (with_text("model.safetensors", b""), "no causal language model can be loaded from this folder"),
    "cut weights": (with_text("model.safetensors", b"\x10\0\0"), "no causal language model can be loaded"),
    "tokenizer": (with_text("tokenizer.json", "{"), "no tokenizer can be loaded from this folder"),
    "template": (with_text("chat_template.jinja", "{% if %}"), "line 1 of the chat template there"),
    "no template": (without("chat_template.jinja"), "has no chat template"),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_broken_policy_is_named(name: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit, said = POLICIES[name]
    broken = shutil.copytree(policy, tmp_path / "broken")
    edit(broken)
    for words in (["sft", "--steps", "1", "--demonstrations", "2"], ["train", *SMALL]):
        line = refused([words[0], str(broken), "--out", str(tmp_path / "out"), *words[1:]], capsys)
        assert str(broken) in line
        assert said in line


def test_a_tokenizer_without_words_is_named(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = shutil.copytree(policy, tmp_path / "broken")
    without("tokenizer.json")(broken)
    without("tokenizer_config.json")(broken)
    line = refused(["sft", str(broken), "--out", str(tmp_path / "out"), "--steps", "1"], capsys)
    assert "the tokenizer there has no tokens for text" in line


def test_a_file_is_no_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("words")
    for command in ("sft", "train"):
        line = refused([command, str(tmp_path / "file"), "--out", str(tmp_path / "out")], capsys)
        assert f"{tmp_path / 'file'} is a file; name the folder" in line


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (with_text("config.json", ""), "config.json is no config of a model"),
        (with_text("config.json", "[1]"), "config.json is no config of a model"),
        (with_config(hidden_size="big"), "hidden is 'big', no whole number"),
    ],
)
def test_an_estimate_of_a_broken_policy(
    edit: Callable[[Path], None], said: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(policy, tmp_path / "broken")
    edit(broken)
    assert said in refused(["train", str(broken), "--dry-run"], capsys)


RUNS: dict[str, tuple[Callable[[Path], None], str]] = {
    "settings": (with_text("config.toml", "= 3"), "config.toml is no TOML"),
    "bytes": (with_text("config.toml", b"\xff\xfe"), "config.toml is no TOML"),
    "nothing set": (with_text("config.toml", ""), "no policy; name the folder of one"),
    "counts": (with_text("state.json", "{"), "step-000001 is broken"),
    "no counts": (without("state.json"), "step-000001 is broken"),
    "no step": (with_text("state.json", "{}"), "step-000001 is broken"),
    "other counts": (with_text("state.json", '{"step": 1, "what": 2}'), "step-000001 is broken"),
    "tensors": (with_text("trainer.pt", "abc"), "step-000001 is broken"),
    "no tensors": (without("trainer.pt"), "step-000001 is broken"),
    "store": (with_text("rollouts.db", "words" * 100), "rollouts.db: file is not a database"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_broken_run_is_not_resumed(name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit, said = RUNS[name]
    broken = shutil.copytree(run, tmp_path / "run")
    edit(broken)
    assert said in refused(["train", "--resume", "--out", str(broken), "steps=2"], capsys)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_supervised_start_of_which_nothing_is_known_is_not_resumed(
    text: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sft.json").write_text(text)
    line = refused(["sft", str(policy), "--out", str(tmp_path), "--resume"], capsys)
    assert "sft.json cannot be read" in line


@pytest.mark.parametrize("line", [b"[1]\n", b'{"a": 1}\n', b"\xff\xff\n"])
def test_a_line_that_is_no_step_ends_a_log(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'{"step": 2}\n')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sft", "POLICY", "--device", "foo"], "device='foo' is none"),
        (["sft", "POLICY", "--device", "cuda:99"], "device='cuda:99': PyTorch finds"),
        (["train", "POLICY", "device=foo"], "device='foo' is none"),
        (["train", "POLICY", "device=cuda:99", "deterministic=false"], "device='cuda:99': PyTorch finds"),
        (["train", "POLICY", "rollout.options.nothing=1"], "rollout.options.nothing: the engine takes no such option"),
        (["make-policy", "--seed", "-1"], "--seed"),
    ],
)
def test_a_wrong_option_is_named(
    words: list[str], said: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [str(tmp_path / "out")]
    given = [str(policy) if word == "POLICY" else word for word in words]
    assert said in refused([*given, *(out if words[0] == "make-policy" else ["--out", *out])], capsys)


def test_an_empty_file_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    for words in (["view", str(empty)], ["export", "run", "--store", str(empty)], ["runs", "--store", str(empty)]):
        assert f"{empty} is an empty file, not a store" in refused(words, capsys)
    assert empty.stat().st_size == 0


_AS_USER = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "1"
from tir_gym.cli import main
for words in sys.argv[1:]:
    print(main(words.split()), flush=True)
"""


def test_what_a_user_may_not_read_is_named(policy: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as made:  # pytest's own folders are closed to others
        place = Path(made)
        folder, weights = shutil.copytree(policy, place / "folder"), shutil.copytree(policy, place / "weights")
        (weights / "model.safetensors").chmod(0)
        folder.chmod(0)
        open_store(place / "runs.db").close()
        (place / "runs.db").chmod(0o444)
        place.chmod(0o555)
        commands = [
            f"sft {folder} --out {place / 'new'} --steps 1",
            f"sft {weights} --out {place / 'new'} --steps 1",
            f"make-policy {place / 'new'} --size 0.2M --env {LOOKUP} --conversations 1 --vocabulary 300",
            f"eval {LOOKUP} --agent oracle -n 1 --store {place / 'runs.db'}",
        ]
        try:
            ended = python_as_ordinary_user(_AS_USER, *commands)
        finally:
            place.chmod(0o755)
            folder.chmod(0o755)
        assert not (place / "new").exists()
    lines = [line.removeprefix("error: ") for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.stdout.split()[-4:] == ["2"] * 4, ended.stderr
    assert lines == [
        f"{folder}: this user may not read this folder",
        f"{weights}: this user may not read model.safetensors",
        f"{place / 'new'}: Permission denied",
        f"the store {place / 'runs.db'} can only be read: this user may not write it",
    ]
