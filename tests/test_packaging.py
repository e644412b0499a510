"""What a user installs: wheels built from the checkout and through a source archive, each used in a venv of its own.

Nothing is fetched: the venvs find the dependencies of this test run by a path file, with this package left out, so
that `tir_gym` can only come from what was installed there.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LINKS = ("tir_gym/agents", "tir_gym/envs", "tir_gym/sandboxes")

USE = """
import json, sys
import gymnasium as gym
import tir_gym, tir_gym.agents, tir_gym.envs.calculator, tir_gym.sandboxes.state
env = gym.make("tir_gym/Calculator-v0")
observation, info = env.reset(seed=3)
calls = [{"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}]
observation, reward, terminated, truncated, info = env.step({"content": "", "tool_calls": calls})
print(json.dumps({
    "file": tir_gym.__file__,
    "family": tir_gym.envs.calculator.__file__,
    "version": tir_gym.__version__,
    "answer": observation[0]["content"],
    "over": terminated or truncated,
}))
"""


@pytest.fixture(scope="module")
def wheels(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel made from the tree, and the one made from the unpacked source archive."""
    work = tmp_path_factory.mktemp("wheels")
    archive = build("--sdist", checkout, work / "archive")
    with tarfile.open(archive) as packed:
        packed.extractall(work / "unpacked", filter="data")
    (unpacked,) = (work / "unpacked").iterdir()
    return {
        "tree": build("--wheel", checkout, work / "tree"),
        "sdist": build("--wheel", unpacked, work / "sdist"),
        "archive": archive,
    }


def test_both_wheels_hold_each_file_once_under_one_package(checkout: Path, wheels: dict[str, Path]) -> None:
    listed = {origin: names_in(wheels[origin]) for origin in ("tree", "sdist")}
    assert listed["tree"] == listed["sdist"]
    names = listed["tree"]
    assert len(names) == len(set(names)), "a file stands in the wheel twice"
    package = [name for name in names if ".dist-info/" not in name]
    assert package == files_of_package(checkout)
    assert "tir_gym/py.typed" in package
    families = {path.parent.name for path in checkout.glob("envs/*/card.toml")}
    assert families >= {"calculator"}
    assert {f"tir_gym/envs/{family}/card.toml" for family in families} <= set(package)


def test_source_archive_holds_folders_and_no_links(wheels: dict[str, Path]) -> None:
    with tarfile.open(wheels["archive"]) as packed:
        members = packed.getmembers()
    names = [member.name.split("/", 1)[1] for member in members if "/" in member.name]
    assert len(names) == len(set(names))
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert not [name for name in names if name.startswith(LINKS)]
    assert {"envs/calculator/card.toml", "sandboxes/__init__.py", "LICENSE", "pyproject.toml"} <= set(names)


@pytest.mark.parametrize("origin", ["tree", "sdist"])
def test_wheel_works_in_a_fresh_venv(origin: str, wheels: dict[str, Path], tmp_path: Path) -> None:
    python = fresh_venv(tmp_path / "venv")
    install(python, str(wheels[origin]))
    used = use(python, tmp_path)
    assert Path(used["file"]).is_relative_to(tmp_path / "venv")
    assert Path(used["family"]).is_relative_to(tmp_path / "venv")
    assert used["answer"] == "3.0"
    assert not used["over"]


def test_editable_install_works_in_a_fresh_venv(checkout: Path, tmp_path: Path) -> None:
    python = fresh_venv(tmp_path / "venv")
    install(python, "--no-build-isolation", "--editable", str(checkout))
    used = use(python, tmp_path)
    assert Path(used["file"]) == checkout / "tir_gym/__init__.py"
    assert Path(used["family"]).resolve() == checkout / "envs/calculator/__init__.py"
    assert used["answer"] == "3.0"


def test_constraints_pin_a_version_in_range_of_every_dependency(checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    asked = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {canonicalize_name(one.name): one for group in asked for one in map(Requirement, group)}
    lines = [line for line in (checkout / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert all(pinned.values()), "each line is NAME==VERSION"
    # The tool that reads the file, this package, and what is tested in an environment with versions of its own.
    unpinned = ("pip", "tir-gym", "vllm")
    assert not [name for name in wanted if name not in pinned and name not in unpinned], "run: make constraints"
    assert not [name for name in pinned if name in wanted and pinned[name] not in wanted[name].specifier]


def build(what: str, source: Path, target: Path) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", what, "--outdir", str(target), str(source))
    (built,) = target.iterdir()
    return built


def fresh_venv(folder: Path) -> Path:
    """A venv that sees the packages of this test run, but for this one. Returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    packages = folder / "packages"
    packages.mkdir()
    for site in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}):
        for entry in Path(site).iterdir():
            ours = "tir_gym" in entry.name or entry.name.startswith("pip")
            if not ours and not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "packages.pth").write_text(f"{packages}\n")
    python = folder / "bin/python"
    assert "No module named" in run(str(python), "-c", "import tir_gym", cwd=folder, fails=True)
    return python


def install(python: Path, *what: str) -> None:
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", *what)
    assert "No broken requirements" in run(*pip, "check")


def use(python: Path, folder: Path) -> dict[str, object]:
    """Make an environment and list all of them, far from any checkout."""
    assert "tir_gym/Calculator-v0" in run(str(python.parent / "tir-gym"), "list", cwd=folder)
    return dict(json.loads(run(str(python), "-c", USE, cwd=folder)))


def run(*command: str, cwd: Path = Path("/"), fails: bool = False) -> str:
    # A path on PYTHONPATH would hide where the package comes from; a width keeps tables from breaking names.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | {"COLUMNS": "200"}
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode != 0) == fails, f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}"
    return done.stdout


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as packed:
        return sorted(packed.namelist())


def files_of_package(checkout: Path) -> list[str]:
    """What the package is in the checkout, its links followed: what an editable install imports."""
    found = []
    for folder, below, files in os.walk(checkout / "tir_gym", followlinks=True):
        below[:] = [name for name in below if name != "__pycache__"]
        found += [(Path(folder) / name).relative_to(checkout).as_posix() for name in files]
    return sorted(found)
