"""The notebooks that train, with `small` for three steps; nbval runs them with `tiny`."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro_run import save_run

from minijanus import config, folders, lessons
from minijanus.config import SMALL
from minijanus.folders import TINY_FOLDER
from minijanus.load import build
from minijanus.text import Tokenizer

FOLDER = Path(__file__).parents[1] / "notebooks"
STEPS = 3
FEW = replace(
    SMALL,
    workers=0,
    n_scenes=40,
    stages=tuple(replace(stage, batch=20) for stage in SMALL.stages),
)


def code(path: Path) -> list[str]:
    """The notebook's code cells, in which every training has three steps."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    whole, cut = re.subn(
        r"^STEPS = \d+$", f"STEPS = {STEPS}", "\0".join(found), flags=re.MULTILINE
    )
    assert cut == 1, "a notebook that trains says STEPS once"
    return whole.split("\0")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """A folder of checkpoints with an untrained `small` in it, and few scenes."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tokenizer = Tokenizer.load(TINY_FOLDER / "tokenizer.json")
    save_run(folder / "small", tokenizer, build(FEW))
    return folder


@pytest.mark.parametrize("number", [7, 8, 9])
def test_a_stage_notebook_runs_with_small(number, shipped, monkeypatch, capsys):
    """Catches a cell that holds for tiny only: a length, a list of concepts, a width."""
    monkeypatch.setitem(config.PRESETS, "small", FEW)
    monkeypatch.setattr(lessons, "SHIPPED", shipped)
    monkeypatch.setattr(folders, "SHIPPED", shipped)
    monkeypatch.setenv("MINIJANUS_PRESET", "small")
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(sys, "path", list(sys.path))
    told: dict[str, bool] = {}
    learner = {"__name__": "__main__"}
    [path] = FOLDER.glob(f"{number:02d}_*.ipynb")
    with torch.set_grad_enabled(True):
        for text in code(path):
            exec(compile(text, path.name, "exec"), learner)
            # An untrained model meets no expectation; which weights moved must hold.
            learner["ok"] = lambda truth, words: told.__setitem__(words, bool(truth))
    assert "training small" in capsys.readouterr().out
    assert all(truth for words, truth in told.items() if words.startswith("Figure 3"))
    assert any(words.startswith("Figure 3") for words in told)
