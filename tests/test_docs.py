"""What the pages say is so: code shown is the code there is, snippets run, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_COMMAND = re.compile(r"^\s*(?:\$ )?(?:uv run )?tir-gym ([a-z-]+)(.*)$", re.MULTILINE)

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page.relative_to(CHECKOUT).as_posix(), text[: match.start()].count("\n") + 1, match[1], match[2])
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def without_blank_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_new_environment_shows_the_whole_file_in_order() -> None:
    shown = blocks(CHECKOUT / "docs/new-environment.md", "python")
    file = (CHECKOUT / "envs/calculator/__init__.py").read_text(encoding="utf-8")
    for block in shown:
        assert block.text.rstrip() in file, f"{block} is not in the file as it stands"
    assert without_blank_lines("".join(block.text for block in shown)) == without_blank_lines(file)


def test_new_environment_shows_the_card() -> None:
    (shown,) = blocks(CHECKOUT / "docs/new-environment.md", "toml")
    card = (CHECKOUT / "envs/calculator/card.toml").read_text(encoding="utf-8")
    assert card.startswith(shown.text), "what is published in the card comes after what is written by hand"


RUN = [
    block
    for page in ("README.md", "docs/sandboxes.md", "docs/server.md")
    for block in blocks(CHECKOUT / page, "python")
]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_snippets_run(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(block.text, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_hello_world_stands_in_the_examples() -> None:
    first = blocks(CHECKOUT / "README.md", "python")[0]
    assert first.text in (CHECKOUT / "examples/hello.py").read_text(encoding="utf-8")


def test_the_guide_names_every_part_of_the_tree() -> None:
    core = CHECKOUT / "tir_gym"
    parts = [path.name for path in core.glob("*.py") if path.name != "__init__.py"]
    parts += [f"{path.parent.name}/" for path in core.glob("*/__init__.py") if not path.parent.is_symlink()]
    parts += [f"agents/{path.name}" for path in CHECKOUT.glob("agents/*.py") if path.name != "__init__.py"]
    parts += [f"{path.parent.parent.name}/{path.parent.name}/" for path in CHECKOUT.glob("sandboxes/*/__init__.py")]
    parts += [f"envs/{path.parent.name}/" for path in CHECKOUT.glob("envs/*/card.toml")]
    guide = (CHECKOUT / "AGENTS.md").read_text(encoding="utf-8")
    named = {code.strip("`").removeprefix("tir_gym/") for code in _INLINE_CODE.findall(_FENCE.sub("", guide))}
    assert not sorted(set(parts) - named), "give each a line in the tables of AGENTS.md"
    assert not [
        code for code in named if code.startswith("agents/") and not (CHECKOUT / code).exists() and "..." not in code
    ], "gone, so take its line out"


def test_the_index_lists_every_page() -> None:
    index = CHECKOUT / "docs/README.md"
    listed = set(_LINK.findall(index.read_text(encoding="utf-8")))
    pages = {page.relative_to(index.parent).as_posix() for page in index.parent.glob("**/*.md")} - {"README.md"}
    assert not sorted(pages - listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    prose = _INLINE_CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    targets = [target for target in _LINK.findall(prose) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_commands_and_options_shown_exist(page: Path) -> None:
    """Every `tir-gym COMMAND --option` in a block of a page is one that the command line knows."""
    for block in blocks(page, "sh", "bash", "console"):
        for command, rest in _COMMAND.findall(block.text):
            known = help_of(command)
            for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.split("#")[0]):
                assert option in known, f"{block}: tir-gym {command} has no {option}"


_HELP: dict[str, set[str]] = {}


def help_of(command: str) -> set[str]:
    if command not in _HELP:
        from typer.testing import CliRunner

        from tir_gym.cli import app

        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0, f"no command tir-gym {command}"
        _HELP[command] = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown.output))
    return _HELP[command]
