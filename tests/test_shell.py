"""The shell: a tree of files as a value, tools that keep to it, and commands in a jail that leave nothing but files."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.checks import same_changes
from tir_gym.compare import comparator
from tir_gym.errors import InfrastructureError, OutputLimit, SandboxDied, ToolError, UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Limits, Sandbox
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.bounded import bounded
from tir_gym.sandboxes.jail.pool import slots
from tir_gym.sandboxes.jail.slot import Slot, start_slot
from tir_gym.sandboxes.jail.tiers import Tier, fault
from tir_gym.sandboxes.shell import SHELL_TOOLS, ShellSandbox, WorkTree
from tir_gym.sandboxes.shell.shell import Shell, packed, unpacked
from tir_gym.sandboxes.shell.tree import changes, digest, parents, tree_of
from tir_gym.tool import Toolkit, tool

FILES: dict[str, Any] = {
    "notes.txt": "one\ntwo\nthree two\n",
    "src/app/main.py": "print('hello')\n",
    "src/app/old.py": "print('old')\n",
    "run.sh": {"text": "echo from the script\n", "executable": True},
    "blob.bin": b"\x00\xff\x00",
}


@pytest.fixture
def shell() -> Iterator[Sandbox]:
    with make_sandbox("shell", files=FILES) as made:
        yield made


def do(sandbox: Sandbox, tool_name: str, /, **arguments: Any) -> ToolResult:
    return sandbox.call(ToolCall(tool_name, arguments))


def run(sandbox: Sandbox, command: str) -> str:
    result = do(sandbox, "run", command=command)
    assert result.ok, result
    return str(result.content)


def text_of(sandbox: Sandbox, path: str) -> str:
    result = do(sandbox, "read_file", path=path)
    assert result.ok, result
    return str(result.content["text"])


def paths(sandbox: Sandbox) -> list[str]:
    return [file["path"] for file in do(sandbox, "list_files", folder=".").content["files"]]


# Tools on files; no process is needed for these.


def test_reading(shell: Sandbox) -> None:
    assert paths(shell) == ["blob.bin", "notes.txt", "run.sh", "src/app/main.py", "src/app/old.py"]
    found = do(shell, "list_files", folder="src", name="*.py").content
    assert found["count"] == 2
    assert found["files"][0] == {"path": "src/app/main.py", "bytes": 15}
    assert do(shell, "read_file", path="./notes.txt").content == {
        "path": "notes.txt",
        "lines": 3,
        "text": "one\ntwo\nthree two\n",
    }
    assert do(shell, "read_file", path="/work/notes.txt", first_line=2, last_line=2).content["text"] == "two\n"
    assert do(shell, "find_text", text="two", folder=".").content == {
        "count": 2,
        "matches": [
            {"path": "notes.txt", "line": 2, "text": "two"},
            {"path": "notes.txt", "line": 3, "text": "three two"},
        ],
    }
    assert do(shell, "find_text", text="TWO", folder="notes.txt").content["count"] == 0


def test_writing(shell: Sandbox) -> None:
    do(shell, "write_file", path="new/deep/a.txt", text="a\n")
    do(shell, "append_text", path="notes.txt", text="four")
    assert do(shell, "replace_text", path="notes.txt", old="two", new="2").content["replaced"] == 2
    assert do(shell, "delete_lines", path="notes.txt", text="on").content["deleted"] == 1
    do(shell, "move_file", source="src/app/old.py", destination="src/lib/new.py")
    do(shell, "copy_file", source="run.sh", destination="again.sh")
    do(shell, "delete_file", path="blob.bin")
    do(shell, "set_executable", path="src/app/main.py", executable=True)
    assert text_of(shell, "notes.txt") == "2\nthree 2\nfour\n"
    rows = shell.diff()["files"]
    assert rows["notes.txt"] == {
        "before": {"kind": "file", "executable": False, "text": FILES["notes.txt"]},
        "after": {"kind": "file", "executable": False, "text": "2\nthree 2\nfour\n"},
    }
    assert {path: row["after"].get("kind") for path, row in rows.items() if not row["before"]} == {
        "new": "folder",
        "new/deep": "folder",
        "new/deep/a.txt": "file",
        "src/lib": "folder",
        "src/lib/new.py": "file",
        "again.sh": "file",
    }
    assert rows["again.sh"]["after"]["executable"] is True
    assert rows["src/app/main.py"]["after"]["executable"] is True
    assert rows["blob.bin"]["after"] == {}
    assert rows["blob.bin"]["before"].keys() == {"kind", "executable", "sha256"}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("read_file", {"path": "src/main.py"}, "did you mean src/app/main.py?"),
        ("read_file", {"path": "src"}, "is a folder"),
        ("read_file", {"path": "."}, "is a folder"),
        ("read_file", {"path": "blob.bin"}, "no text"),
        ("read_file", {"path": "../etc/passwd"}, "no path inside the working folder"),
        ("read_file", {"path": "/etc/passwd"}, "no path inside the working folder"),
        ("read_file", {"path": "src/../../x"}, "no path inside the working folder"),
        ("read_file", {"path": "a\0b"}, "no path inside the working folder"),
        ("list_files", {"folder": "nowhere"}, "no folder nowhere"),
        ("find_text", {"text": "", "folder": "."}, "a text to look for"),
        ("write_file", {"path": "src/app", "text": ""}, "is a folder"),
        ("write_file", {"path": "notes.txt/x", "text": ""}, "notes.txt is a file"),
        ("write_file", {"path": "x", "text": "\ud800"}, "no valid Unicode"),
        ("write_file", {"path": "x" * 300, "text": ""}, "no path inside the working folder"),
        ("write_file", {"path": "\ud800", "text": ""}, "no path inside the working folder"),
        ("write_file", {"path": "d/" * 300 + "x", "text": ""}, "no path inside the working folder"),
        ("append_text", {"path": "none", "text": "x"}, "no file none"),
        ("replace_text", {"path": "notes.txt", "old": "five", "new": "5"}, "does not contain"),
        ("replace_text", {"path": "notes.txt", "old": "", "new": "5"}, "does not contain"),
        ("delete_lines", {"path": "notes.txt", "text": "five"}, "no line of notes.txt"),
        ("move_file", {"source": "notes.txt", "destination": "run.sh"}, "already there"),
        ("move_file", {"source": "notes.txt", "destination": "src"}, "already there"),
        ("move_file", {"source": "src", "destination": "lib"}, "is a folder"),
        ("delete_file", {"path": "src"}, "is a folder"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    shell: Sandbox, name: str, arguments: dict[str, Any], says: str
) -> None:
    result = do(shell, name, **arguments)
    assert result.error_kind == "refused"
    assert says in str(result.error)
    assert shell.diff() == {}


def test_wrong_calls_are_told(shell: Sandbox) -> None:
    assert do(shell, "read_fil", path="x").error_kind == "unknown_tool"
    assert do(shell, "read_file", file="x").error_kind == "invalid_arguments"


def test_a_call_of_a_turn_cannot_undo_another() -> None:
    shell = ShellSandbox(files=FILES)
    first = ToolCall("write_file", {"path": "a", "text": "1"})
    others = [ToolCall("write_file", {"path": "./a", "text": "2"}), ToolCall("delete_file", {"path": "a"})]
    kinds = [result.error_kind for result in shell.run_turn([first, *others])]
    assert kinds == [None, "conflict", "conflict"]
    assert text_of(shell, "a") == "1"
    edits = [ToolCall("replace_text", {"path": "a", "old": old, "new": new}) for old, new in (("1", "2"), ("2", "3"))]
    assert all(result.ok for result in shell.run_turn(edits)), "edits build on each other"
    assert text_of(shell, "a") == "3"
    assert shell.call(others[0]).ok, "a turn of its own"


def test_the_tree_is_bounded() -> None:
    small = ShellSandbox(files={"a": "x"}, limits=Limits(files=16, disk=1 << 20))
    assert do(small, "write_file", path="b", text="y" * (1 << 20)).error_kind == "disk_limit"
    results = [do(small, "write_file", path=f"d/{n}", text="") for n in range(20)]
    assert [result.ok for result in results] == [True] * 14 + [False] * 6
    assert results[-1].error_kind == "file_limit"
    assert do(small, "write_file", path="a/b/c", text="").error_kind == "refused"


def test_no_tool_makes_this_process_hold_much() -> None:
    shell = ShellSandbox(files={"long": "ab\n" * (1 << 20), "short": "a" * 1000})
    for name in ("read_file", "delete_lines", "append_text"):
        result = do(shell, name, **({"path": "long"} if name == "read_file" else {"path": "long", "text": "a"}))
        assert "too many for this tool" in str(result.error)
    assert do(shell, "find_text", text="aa", folder=".").content == {
        "count": 1,
        "matches": [{"path": "short", "line": 1, "text": "a" * 1000}],
        "too_long_to_search": ["long"],
    }
    grown = do(shell, "replace_text", path="short", old="a", new="b" * (1 << 20))
    assert grown.error_kind == "disk_limit"
    assert shell.diff() == {}


def test_a_long_text_comes_back_cut() -> None:
    shell = ShellSandbox(files={"long": "é" * 1000}, limits=Limits(output=101))
    result = do(shell, "read_file", path="long")
    assert (result.error_kind, result.content) == ("output_limit", "é" * 50)


def test_a_long_list_comes_back_cut() -> None:
    shell = ShellSandbox(files={f"{i:03}.txt": "x" * 99 for i in range(100)}, limits=Limits(output=2000))
    for tool_name, rows, arguments in (("list_files", "files", {}), ("find_text", "matches", {"text": "x"})):
        result = do(shell, tool_name, folder=".", **arguments)
        assert result.error_kind == "output_limit"
        assert result.content["count"] == 100
        assert 10 < len(result.content[rows]) < 80
        assert len(json.dumps(result.content)) <= 2000


@given(st.lists(st.text(max_size=5)), st.integers(1, 200))
def test_of_a_list_as_much_is_shown_as_fits(rows: list[str], most: int) -> None:
    found = {"count": len(rows), "rows": rows}

    def size(kept: list[str]) -> int:
        return len(json.dumps({**found, "rows": kept}, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    if size(rows) <= most:
        assert bounded(found, "rows", most) is found
        return
    with pytest.raises(OutputLimit) as told:
        bounded(found, "rows", most)
    if told.value.content is None:
        assert size([]) > most
    else:
        kept = told.value.content["rows"]
        assert kept == rows[: len(kept)]
        assert size(kept) <= most < size(rows[: len(kept) + 1])


def test_links_lead_within_the_tree_only() -> None:
    shell = ShellSandbox(
        files={
            "real/a.txt": "a",
            "to_file": {"link": "real/a.txt"},
            "to_folder": {"link": "/work/real"},
            "real/up": {"link": "../to_file"},
            "out": {"link": "/etc/passwd"},
            "up": {"link": "../../etc/passwd"},
            "round": {"link": "about"},
            "about": {"link": "round"},
        }
    )
    for path in ("to_file", "to_folder/a.txt", "real/up", "to_folder/up"):
        assert text_of(shell, path) == "a"
    for path in ("out", "up", "out/x"):
        assert "no path inside" in str(do(shell, "read_file", path=path).error)
        assert "no path inside" in str(do(shell, "write_file", path=path, text="x").error)
    assert "too many links" in str(do(shell, "read_file", path="round").error)
    do(shell, "write_file", path="to_folder/b.txt", text="b")
    assert shell.diff()["files"].keys() == {"real/b.txt"}
    do(shell, "delete_file", path="to_file")
    assert shell.diff()["files"]["to_file"] == {"before": {"kind": "link", "target": "real/a.txt"}, "after": {}}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"../x": ""}, "no path inside"),
        ({"/etc/x": ""}, "no path inside"),
        ({"": ""}, "no path inside"),
        ({"a": "", "a/b": ""}, "'a' is a file"),
        ({"a/b": "", "a": ""}, "a folder of another"),
        ({"a": "", "./a": ""}, "twice"),
        ({"a": 5}, "give text, bytes"),
        ({"a": {"text": "", "owner": "me"}}, "give text, bytes"),
    ],
)
def test_files_that_cannot_be_are_refused(files: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_sandbox("shell", files=files)


def test_a_bug_of_a_tool_is_no_fault_of_the_agent() -> None:
    @tool
    def breaks(tree: WorkTree) -> str:
        """Break."""
        tree.put("half", "done")
        raise KeyError("x")

    @tool(raises=(KeyError,))
    def refuses(tree: WorkTree) -> str:
        """Refuse."""
        tree.put("half", "done")
        raise KeyError("x")

    shell = ShellSandbox(files=FILES, toolkit=Toolkit([*SHELL_TOOLS.values(), breaks, refuses]))
    with pytest.raises(InfrastructureError, match="tool breaks raised KeyError"):
        do(shell, "breaks")
    assert do(shell, "refuses").error_kind == "refused"
    assert shell.diff() == {}


# Trees as values.

_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_CONTENTS = st.binary(max_size=4) | st.builds(
    lambda text, executable: {"text": text, "executable": executable}, st.sampled_from(["", "x\n"]), st.booleans()
) | st.builds(lambda target: {"link": target}, _PATHS)  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> Any:
    files: dict[str, Any] = {}
    for path, content in draw(st.dictionaries(_PATHS, _CONTENTS, max_size=5)).items():
        if not any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in files):
            files[path] = content
    return tree_of(files)


@given(trees(), trees())
def test_trees_are_equal_where_their_digests_are_and_nothing_differs(a: Any, b: Any) -> None:
    assert (a == b) == (digest(a) == digest(b)) == (changes(a, b) == {})
    assert same_changes(changes(a, b), changes(a, b))
    there, back = changes(a, b).get("files", {}), changes(b, a).get("files", {})
    assert there == {path: {"before": row["after"], "after": row["before"]} for path, row in back.items()}


@given(trees())
def test_a_packed_tree_holds_the_tree_and_no_date_or_owner(tree: Any) -> None:
    assert unpacked(packed(tree)) == tree
    with tarfile.open(fileobj=io.BytesIO(packed(tree))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [".", *sorted(tree)]
    assert len({member.mtime for member in members}) == 1
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}


@given(st.lists(st.sampled_from(["a", "b", ".", "..", "", "a.txt"]), max_size=8).map("/".join))
def test_a_place_is_where_a_file_system_would_find_it(path: str) -> None:
    tree = WorkTree({}, Limits())
    depth = steps = 0
    for step in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        steps = min(steps, depth)
    try:
        place = tree.place(path)
    except ToolError:
        assert steps < 0 or path.startswith("/")
        return
    assert comparator("path")(path, place)
    assert not set(place.split("/")) & {".", ".."}
    assert list(parents(place)) == [place[:i] for i, letter in enumerate(place) if letter == "/"]


@pytest.mark.parametrize(
    ("name", "a", "b", "same"),
    [
        ("path", "./src//app", "src/app", True),
        ("path", "/work/src/app/", "src/app", True),
        ("path", "/src/app", "src/app", False),
        ("path", "src/App", "src/app", False),
        ("path", 5, "5", False),
        ("lines", "a  \nb", "a\nb\n", True),
        ("lines", "a\n\nb", "a\nb", False),
        ("lines", " a", "a", False),
        ("command", "bash scripts/x.sh  'a b'", 'sh scripts/x.sh "a b"', True),
        ("command", "./scripts/x.sh", "sh scripts/x.sh", True),
        ("command", "sh scripts/x.sh a", "sh scripts/x.sh b", False),
        ("command", "sh -c ls", "ls", False),
        ("command", "sh 'open", "sh 'open ", False),
        ("command", "", "", True),
    ],
)
def test_what_is_the_same(name: str, a: Any, b: Any, same: bool) -> None:
    assert comparator(name)(a, b) is same


# Commands.


def test_a_command_prints_what_it_prints(shell: Sandbox) -> None:
    assert run(shell, "cat notes.txt | wc -l") == "3\n"
    assert run(shell, "./run.sh") == "from the script\n"
    assert run(shell, "echo out; echo err >&2") == "out\nerr\n"
    assert run(shell, '[ "$PWD" = "$(pwd)" ] && [ "$HOME" = "$PWD" ] && echo at home') == "at home\n"
    assert shell.diff() == {}


@pytest.mark.usefixtures("own_root")
def test_the_working_folder_has_one_path_on_every_host(shell: Sandbox) -> None:
    assert run(shell, "pwd; true") == "/work\n"


def test_a_failing_command_is_told_with_what_it_printed(shell: Sandbox) -> None:
    result = do(shell, "run", command="echo begun; echo x > made; cat nowhere")
    assert result.error_kind == "raised"
    assert "begun" in f"{result.content} {result.error}"
    assert "nowhere" in f"{result.content} {result.error}"
    assert text_of(shell, "made") == "x\n", "what it wrote is kept"
    silent = do(shell, "run", command="exit 3")
    assert silent.error_kind == "raised"
    assert "3" in str(silent.error)


def test_commands_and_tools_see_the_same_files(shell: Sandbox) -> None:
    do(shell, "write_file", path="a/b.txt", text="from a tool\n")
    assert run(shell, "cat a/b.txt; rm -r src; chmod +x notes.txt; ln -s a/b.txt link; mkdir empty") == "from a tool\n"
    assert paths(shell) == ["a/b.txt", "blob.bin", "notes.txt", "run.sh"]
    assert text_of(shell, "link") == "from a tool\n"
    rows = shell.diff()["files"]
    assert rows["notes.txt"]["after"]["executable"] is True
    assert rows["link"]["after"] == {"kind": "link", "target": "a/b.txt"}
    assert rows["empty"]["after"] == rows["src"]["before"] == {"kind": "folder"}
    do(shell, "append_text", path="notes.txt", text="four")
    assert run(shell, "tail -n 1 notes.txt; ls -d empty; [ -x notes.txt ] && echo x") == "four\nempty\nx\n"


def test_nothing_but_files_is_left_of_a_command(shell: Sandbox) -> None:
    run(shell, "echo secret > $TMPDIR/kept; cd src; export A=1; (sleep 30; echo late > ~/late) & disown; mkfifo pipe")
    again = run(shell, 'cat $TMPDIR/kept 2>/dev/null; [ "$PWD" = "$HOME" ] && echo at home; echo "$A"; ls')
    assert again == "at home\n\nblob.bin\nnotes.txt\nrun.sh\nsrc\n"
    assert run(shell, "ps -e 2>/dev/null | grep -c sleep || true").strip() in ("0", "")


@pytest.mark.usefixtures("own_root")
def test_what_a_command_prints_depends_on_the_tree_alone() -> None:
    look = "ls -lanR --full-time; find . ; grep -r o . ; id; env | sort; umask"

    def played(*commands: str) -> tuple[str, str]:
        with make_sandbox("shell", files=FILES) as sandbox:
            for command in commands:
                run(sandbox, command)
            return run(sandbox, look), sandbox.digest()

    first = played("echo x > z; echo y > b", "mkdir -p d/e", "touch notes.txt")
    time.sleep(1.1)  # another second on the clock
    assert played("mkdir -p d/e; echo y > b", "touch -d 2001-01-01 run.sh; echo x > z") == first
    reordered = dict(reversed(FILES.items()))
    with make_sandbox("shell", files={**reordered, "b": "y\n", "z": "x\n"}) as sandbox:
        run(sandbox, "mkdir -p d/e")
        assert (run(sandbox, look), sandbox.digest()) == first


def test_a_folder_is_filled_again_only_when_something_has_touched_it(shell: Sandbox) -> None:
    assert isinstance(shell, ShellSandbox)
    inner = shell._shell
    for command in ("cat notes.txt", "ls -R; grep -r o . > /dev/null", "(cd src; ls)"):
        run(shell, command)
        assert inner._held is inner.tree, command
    for command in ("touch notes.txt", "echo x > $TMPDIR/x", "mkdir d; rmdir d", "mv notes.txt n; mv n notes.txt"):
        run(shell, command)
        assert inner._held is None, command
        assert shell.diff() == {}
    run(shell, "true")
    do(shell, "write_file", path="notes.txt", text=FILES["notes.txt"])
    assert run(shell, "stat -c %Y notes.txt") == "1735689600\n"
    do(shell, "write_file", path="notes.txt", text="other\n")
    assert run(shell, "cat notes.txt") == "other\n"


@pytest.mark.parametrize("tier", ["A", "B"])
def test_every_tier_gives_the_same_tree(tier: Tier) -> None:
    """Where the working folder is, and so absolute paths, is the tier's affair."""
    if (reason := fault(tier)) is not None:
        pytest.skip(f"no tier {tier} here: {reason}")
    limits = Limits()
    shell = Shell(tree_of(FILES), limits, lambda: start_slot(limits, modules=(), tier=tier))
    try:
        assert shell.execute("cat notes.txt; ./run.sh; cd src/app; ls -lnR --time-style=+%s | grep -c 1735689600") == (
            f"{FILES['notes.txt']}from the script\n2\n"
        )
        assert shell.execute("mkdir d; mv notes.txt d/n; ln -s d/n link; chmod -x run.sh; echo x > $TMPDIR/x") == ""
        assert shell.execute("ls; cat link; ls $TMPDIR; pwd > /dev/null") == (
            f"blob.bin\nd\nlink\nrun.sh\nsrc\n{FILES['notes.txt']}"
        )
    finally:
        shell.release()
    moved = {**FILES, "d/n": FILES["notes.txt"], "link": {"link": "d/n"}, "run.sh": FILES["run.sh"]["text"]}
    del moved["notes.txt"]
    assert digest(shell.tree) == digest(tree_of(moved))


def test_names_and_contents_may_be_any_bytes(shell: Sandbox) -> None:
    run(shell, r"printf '\377\376' > $'odd\377name'; printf 'x' > $'a\nb'; printf 'é' > 'é ü'")
    assert run(shell, "ls | wc -l") == "8\n"
    assert {r"odd\xffname", "a\nb", "é ü"} < set(paths(shell)), "names that are no text are shown as such"
    twin = shell.fork()
    assert twin.digest() == shell.digest()
    assert run(twin, r"od -An -tx1 $'odd\377name'; cat $'a\nb' 'é ü'") == " ff fe\nxé"
    twin.close()


def test_what_tools_can_write_commands_can_find(shell: Sandbox) -> None:
    deep = "d/" * 199 + "x"
    for path in (deep, "é" * 127, "-n", " ", "*", "a\nb", "\udcff"):
        result = do(shell, "write_file", path=path, text="x")
        assert result.ok, result
    assert run(shell, "find . -type f | wc -l") == "13\n", "the name with a line break takes two"
    assert run(shell, f"cat {deep} ./-n ' ' '*'") == "xxxx"
    for command in ("echo \0", "echo \ud800"):
        assert do(shell, "run", command=command).error_kind == "raised"


def test_many_files_and_hollow_ones(shell: Sandbox) -> None:
    before = shell.digest()
    hollow = do(shell, "run", command="echo x > a; truncate -s 40M b c")
    assert hollow.error_kind == "disk_limit"
    assert "undone" in str(hollow.error)
    assert shell.digest() == before
    run(shell, "truncate -s 1M hole; for i in $(seq 100); do echo $i > n$i; done")
    assert text_of(shell, "n77") == "77\n"
    assert len(paths(shell)) == len(FILES) + 101
    assert run(shell, "cat n[0-9]* | wc -l; wc -c < hole; ls | wc -l") == "100\n1048576\n105\n"


def test_snapshots_forks_and_restores(shell: Sandbox) -> None:
    start = shell.snapshot()
    first = run(shell, "echo 1 > a; echo done")
    middle, twin = shell.snapshot(), shell.fork()
    run(shell, "echo 2 > a; rm notes.txt")
    assert run(twin, "cat a") == "1\n"
    run(twin, "echo 3 > a")
    assert run(shell, "cat a") == "2\n"
    shell.restore(middle)
    assert run(shell, "cat a notes.txt") == f"1\n{FILES['notes.txt']}"
    shell.restore(start)
    assert shell.diff() == {}
    assert run(shell, "echo 1 > a; echo done") == first
    assert shell.digest() != twin.digest()
    run(twin, "echo 1 > a")
    assert shell.digest() == twin.digest()
    assert shell.diff() == twin.diff()
    twin.close()


def test_a_process_is_held_only_while_it_is_needed() -> None:
    gc.collect()  # what other tests let go of
    before = slots.live()
    shell = ShellSandbox(files=FILES)
    start = shell.snapshot()
    do(shell, "write_file", path="a", text="x")
    assert text_of(shell.fork(), "a") == "x"
    assert slots.live() == before, "file tools need none"
    run(shell, "true")
    assert slots.live() == before + 1
    shell.restore(start)
    assert slots.live() == before, "given back in the initial state"
    with shell.holding():
        run(shell, "true")
        shell.restore(start)
        assert slots.live() == before + 1
    assert slots.live() == before
    run(shell, "true")
    shell.close()
    shell.close()
    assert slots.live() == before
    assert run(shell, "echo again") == "again\n", "a closed one takes another slot"
    gc.disable()
    try:
        del shell
        assert slots.live() == before, "given back when nobody holds it, at once"
    finally:
        gc.enable()


def test_a_slot_that_dies_costs_one_call(shell: Sandbox) -> None:
    assert isinstance(shell, ShellSandbox)
    run(shell, "echo kept > a")
    slot = shell._shell._slot
    assert isinstance(slot, Slot)
    os.kill(slot.pid, signal.SIGKILL)
    with pytest.raises(SandboxDied) as death:
        run(shell, "echo lost > a")
    assert (death.value.tool, death.value.kind) == ("run", "sandbox_died")
    assert run(shell, "cat a") == "kept\n"


def test_a_forked_process_takes_a_slot_of_its_own(shell: Sandbox) -> None:
    run(shell, "echo parent > a")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if run(shell, "cat a; echo child > a") == "parent\n" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run(shell, "cat a") == "parent\n"


@pytest.mark.parametrize(
    ("limits", "command", "kind"),
    [
        ({"wall_seconds": 0.5}, "echo begun; sleep 30", "time_limit"),
        ({"cpu_seconds": 0.5}, "echo begun; while :; do :; done", "cpu_limit"),
        ({"output": 1000}, "yes begun | head -n 10000", "output_limit"),
        ({"disk": 1 << 20}, "echo begun; head -c 3000000 /dev/zero > big", "disk_limit"),
        ({"files": 32}, "echo begun; for i in $(seq 100); do echo > f$i; done", "file_limit"),
    ],
)
def test_limits_are_typed_errors_and_the_next_call_works(limits: dict[str, Any], command: str, kind: str) -> None:
    limits = {"wall_seconds": 10.0, **limits}
    with make_sandbox("shell", files=FILES, limits=limits) as sandbox:
        result = do(sandbox, "run", command=command)
        assert (result.error_kind, str(result.content)[:5]) == (kind, "begun"), result
        do(sandbox, "list_files", folder=".")
        run(sandbox, "rm -f big f*")
        assert run(sandbox, "cat notes.txt") == FILES["notes.txt"]


def test_a_memory_bomb_is_stopped() -> None:
    with make_sandbox("shell", files=FILES, limits={"memory": 64 << 20, "wall_seconds": 20.0}) as sandbox:
        result = do(sandbox, "run", command="a=x; while :; do a=$a$a; done")
        assert result.error_kind in ("memory_limit", "raised", "died"), result
        assert run(sandbox, "cat notes.txt") == FILES["notes.txt"]


def test_a_fork_bomb_is_stopped() -> None:
    with make_sandbox("shell", files=FILES, limits={"processes": 16, "wall_seconds": 5.0}) as sandbox:
        result = do(sandbox, "run", command="f() { f | f & }; f; sleep 1; wait")
        assert not result.ok or "fork" in str(result.content), result
        assert run(sandbox, "cat notes.txt") == FILES["notes.txt"]


def test_the_host_is_out_of_sight(shell: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    secret.chmod(0o644)
    assert "canary" not in str(do(shell, "run", command=f"cat {secret}"))
    run(shell, f"ln -s {secret} link; ln -s / root; ln {secret} hard 2>/dev/null; true")
    for path in ("link", f"root{secret}", "hard"):
        for name in ("read_file", "delete_file"):
            assert "canary" not in str(do(shell, name, path=path))
    do(shell, "write_file", path="link", text="overwritten")
    do(shell, "copy_file", source="link", destination="copy")
    assert secret.read_text() == "canary"
    assert "canary" not in str(shell.diff())


def test_weaker_tiers_are_refused_where_a_stronger_one_is_asked_for() -> None:
    with pytest.raises(UsageError, match="require='Z'"):
        make_sandbox("shell", require="Z").start()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before: Callable[[], int] = slots.live
    count = before()
    yield
    gc.collect()
    assert slots.live() == count
