"""The script that runs, times and links the notebooks (data/run_notebooks.py)."""

import json
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from conftest import script as data_script

REPO = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """data/run_notebooks.py, which is no part of a package."""
    return data_script("run_notebooks")


@pytest.mark.parametrize("place", range(len(NOTEBOOKS)), ids=lambda i: NOTEBOOKS[i].name)
def test_every_notebook_ends_with_its_links(script: ModuleType, place: int):
    """Catches a lesson that leads back or forward to another than its neighbour."""
    last = nbformat.read(NOTEBOOKS[place], 4).cells[-1].source.splitlines()[-1]
    assert last == script.links(NOTEBOOKS, place)
    names = [path.name for path in NOTEBOOKS[max(0, place - 1) : place + 2]]
    assert all(f"]({name}" in last for name in names if name != NOTEBOOKS[place].name)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "5 s"), (5.0, "5 s"), (5.1, "10 s"), (54, "55 s"), (56, "1 min"), (61, "2 min")],
)
def test_a_header_never_promises_too_little(script: ModuleType, seconds, said):
    """Catches rounding down, and "60 s" beside "1 min"."""
    assert script.rounded(seconds) == said


def test_headers_say_what_was_measured(script: ModuleType):
    """Catches a notebook that was run again without its header, or measured by nobody."""
    times = json.loads(script.TIMES.read_text(encoding="utf-8"))
    assert list(times) == [path.name for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        head = nbformat.read(path, 4).cells[0].source
        assert f"*runs in* {script.rounded(times[path.name]['total'])} on two" in head


def test_a_run_saves_outputs_links_and_times(script: ModuleType, tmp_path, monkeypatch):
    """Catches times left in the metadata, which change with every run, and lost outputs."""
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    cells = [
        nbformat.v4.new_markdown_cell("# 00 · A\n\n*runs in* 9 min on two CPU cores"),
        nbformat.v4.new_code_cell("1 + 1"),
        nbformat.v4.new_code_cell("import time; time.sleep(0.5)"),
        nbformat.v4.new_markdown_cell("The end\n\n← [old](gone.ipynb)\n\n[05 · X](x) →"),
    ]
    path = tmp_path / "00_a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    found = script.run(path, "[01 · B](01_b.ipynb) →")
    saved = nbformat.read(path, 4)
    assert saved.cells[1].outputs[0].data["text/plain"] == "2"
    assert saved.cells[3].source.endswith("The end\n\n← [old](gone.ipynb)\n\n" + LAST)
    assert all("execution" not in cell.metadata for cell in saved.cells)
    assert 0.5 <= found["longest"] < found["total"] and found["cells"] == 2
    assert "9 min" not in saved.cells[0].source


LAST = "[01 · B](01_b.ipynb) →"
