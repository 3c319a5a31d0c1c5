"""What every shipped notebook must be, checked without running it; nbval runs them."""

import copy
import json
import re
import statistics
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
FOLDER = REPO / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
COMPARED = "nbval-check-output"
TAGS = {COMPARED, "exercise", "check", "hide-input"}
CELLS = range(25, 46)  # of a whole notebook
MOST_LINES = 7  # of the median code cell
WORDS = 5  # an alt text shorter than this describes nothing
LIMIT = 300_000  # bytes


def text(cell: dict) -> str:
    """The cell's source as one string."""
    return "".join(cell["source"])


def cells(notebook: dict, kind: str) -> list[dict]:
    """The notebook's cells of one kind that are not empty."""
    return [c for c in notebook["cells"] if c["cell_type"] == kind and text(c).strip()]


def outputs(notebook: dict) -> list[dict]:
    """All stored outputs."""
    return [output for cell in cells(notebook, "code") for output in cell["outputs"]]


def prose(notebook: dict) -> str:
    """All Markdown, without fenced code."""
    joined = "\n\n".join(text(cell) for cell in cells(notebook, "markdown"))
    return re.sub(r"^```.*?^```", "", joined, flags=re.MULTILINE | re.DOTALL)


def run_in_order(notebook: dict) -> list[str]:
    """Cells run out of order, or edited after they ran, show what the code does not do."""
    counts = [cell["execution_count"] for cell in cells(notebook, "code")]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"cells ran as {counts}"]


def no_errors(notebook: dict) -> list[str]:
    """A stored traceback or warning tells a learner that the notebook is broken."""
    kinds = {(output["output_type"], output.get("name")) for output in outputs(notebook)}
    return [str(kind) for kind in kinds if kind[0] == "error" or kind[1] == "stderr"]


def one_title(notebook: dict) -> list[str]:
    """Two first-level headings, or none, break the outline for a screen reader."""
    titles = re.findall(r"^# .*", prose(notebook), flags=re.MULTILINE)
    return [] if len(titles) == 1 else [f"titles: {titles}"]


def header(notebook: dict) -> list[str]:
    """A teacher plans with the line below the title: reads, paper, about, runs in."""
    line = next((x for x in text(notebook["cells"][0]).splitlines()[1:] if x.strip()), "")
    words = ("*reads*", "*paper*", "*about*", "*runs in*")
    return [f"the header lacks {word}" for word in words if word not in line]


def metadata(notebook: dict) -> list[str]:
    """A kernel of another name does not exist on a fresh machine."""
    found = notebook["metadata"]
    name = found.get("kernelspec", {}).get("name")
    extra = [key for key in ("widgets", "colab") if key in found]
    return extra + ([] if name == "python3" else [f"the kernel is {name}"])


def alt_texts(notebook: dict) -> list[str]:
    """A picture without a description says nothing to those who cannot see it."""
    shown = [
        output.get("metadata", {}).get(kind, {}).get("alt", "")
        for output in outputs(notebook)
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    written = re.findall(r"!\[(.*?)\]\(", prose(notebook))
    bare = re.findall(r"<img[^>]*>", prose(notebook))
    return bare + [f"alt: {alt!r}" for alt in shown + written if len(alt.split()) < WORDS]


def links(notebook: dict) -> list[str]:
    """A link to a file that was renamed is worse than none."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(notebook))
    bad = []
    for target in (t for t in targets if not re.match(r"https?:|mailto:|#", t)):
        path, _, anchor = target.partition("#")
        if not (FOLDER / path).exists() or anchor and anchor not in anchors(FOLDER / path):
            bad.append(target)
    return bad


def anchors(path: Path) -> set[str]:
    """The names under which the headings of a notebook or Markdown file are found."""
    found = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        found = prose(json.loads(found))
    headings = re.findall(r"^#+ (.*)", found, flags=re.MULTILINE)
    return {heading.strip().replace(" ", "-") for heading in headings}


def files(notebook: dict) -> list[str]:
    """Prose that names a file must name one that is there."""
    named = re.findall(r"`([\w./-]+\.(?:py|ipynb|md|toml))`", prose(notebook))
    places = (REPO, FOLDER, REPO / "minijanus", REPO / "tests")
    return [name for name in named if not any((place / name).exists() for place in places)]


def tags(notebook: dict) -> list[str]:
    """A misspelt tag, or nbval's comment form, checks nothing and says nothing."""
    bad = re.findall(r"#\s*(NBVAL_\w+)", "\n".join(map(text, cells(notebook, "code"))))
    for cell in notebook["cells"]:
        chosen = set(cell["metadata"].get("tags", []))
        bad += sorted(chosen - TAGS)
        if "nbval-check-output" in chosen and not cell.get("outputs"):
            bad.append("a checked cell without a stored output passes unchecked")
    return bad


def short_cells(notebook: dict) -> list[str]:
    """A cell that does not fit beside its output holds more than one idea."""
    return [text(c) for c in cells(notebook, "code") if len(text(c).splitlines()) > 15]


def many_short_cells(notebook: dict) -> list[str]:
    """A notebook of few long cells is read, and not stepped through."""
    lengths = [len(text(c).splitlines()) for c in cells(notebook, "code")]
    number, middle = len(notebook["cells"]), statistics.median(lengths)
    told = [] if MOST_LINES >= middle else [f"the median code cell has {middle} lines"]
    return told + ([] if number in CELLS else [f"{number} cells"])


def compared_outputs(notebook: dict) -> list[str]:
    """Where no output is compared, a number that changed goes unseen."""
    tagged = [c for c in notebook["cells"] if COMPARED in c["metadata"].get("tags", [])]
    return [] if tagged else ["no cell is tagged nbval-check-output"]


GATES = [
    *(run_in_order, no_errors, one_title, header, metadata),
    *(alt_texts, links, files, tags, short_cells, many_short_cells, compared_outputs),
]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
every_gate = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)


@every_gate
@every_notebook
def test_notebook(path: Path, gate):
    """Each gate's docstring names the fault it keeps out."""
    assert gate(json.loads(path.read_text(encoding="utf-8"))) == []


@every_notebook
def test_a_notebook_is_small(path: Path):
    """Every saved version of a large notebook stays in every clone for ever."""
    assert path.stat().st_size <= LIMIT


def test_a_link_to_a_heading_that_is_gone_is_seen():
    """Catches the course's index, a heading of 00, renamed under every notebook's link."""
    for anchor, good in {"The-map": True, "A-map": False}.items():
        broken = copy.deepcopy(GOOD)
        broken["cells"][0]["source"][4] = f"[index](00_start_here.ipynb#{anchor})"
        assert (links(broken) == []) == good


def test_the_course_keeps_to_its_times():
    """Catches a notebook that grew until no workshop has the time for it."""
    path = REPO / "data" / "results" / "notebook_times.json"
    times = json.loads(path.read_text(encoding="utf-8"))
    assert list(times) == [path.name for path in NOTEBOOKS]
    assert all(one["start"] < 20 and one["longest"] < 60 for one in times.values())
    assert all(one["total"] < 180 for one in times.values())
    assert sum(one["total"] for one in times.values()) < 1200


def test_the_first_notebooks_are_numbered_from_zero():
    """`make lab` opens 00; a gap in the numbers looks like a missing lesson."""
    numbers = [path.name.split("_")[0] for path in NOTEBOOKS]
    assert numbers == [f"{i:02d}" for i in range(len(NOTEBOOKS))]
    assert len(numbers) >= 2
    assert NOTEBOOKS[0].name == "00_start_here.ipynb"


def test_every_notebook_is_set_up_alike():
    """A setup of its own makes one notebook use another device or seed."""
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in NOTEBOOKS]
    first_cells = {text(cells(notebook, "code")[0]) for notebook in loaded}
    assert len(first_cells) <= 1


SHOWN = {"data": {"image/png": ""}, "metadata": {"image/png": {"alt": "a b c d e"}}}
COUNTED = {
    "cell_type": "markdown",
    "metadata": {},
    "source": "Prose.",
}
GOOD = {
    "metadata": {"kernelspec": {"name": "python3"}},
    "cells": [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": [
                "# 00 · Title\n",
                "\n",
                "*reads* `minijanus/lab.py` · *paper* §3 · *about* 9 min · *runs in* 5\n",
                "\n```python\n# not a title\n```\n",
                "[tests](../tests/test_notebooks.py) ![one two three four five](../data)",
            ],
        },
        {
            "cell_type": "code",
            "metadata": {"tags": ["nbval-check-output"]},
            "execution_count": 1,
            "source": "1 + 1",
            "outputs": [{"output_type": "display_data", **SHOWN}],
        },
        *(COUNTED for _ in range(23)),
    ],
}
FAULTS = {  # gate -> where to put which value, so that the gate must speak
    run_in_order: (("cells", 1, "execution_count"), 2),
    no_errors: (("cells", 1, "outputs", 0, "name"), "stderr"),
    one_title: (("cells", 0, "source", 0), "## 00 · Title\n"),
    header: (("cells", 0, "source", 2), "*reads* `minijanus/lab.py`\n"),
    metadata: (("metadata", "kernelspec", "name"), "my-venv"),
    alt_texts: (("cells", 1, "outputs", 0, "metadata", "image/png", "alt"), "figure"),
    links: (("cells", 0, "source", 4), "[gone](../tests/test_gone.py)"),
    files: (("cells", 0, "source", 4), "see `minijanus/gone.py`"),
    tags: (("cells", 1, "metadata", "tags", 0), "nbval_check_output"),
    short_cells: (("cells", 1, "source"), "1\n" * 16),
    many_short_cells: (("cells", 1, "source"), "1\n" * 8),
    compared_outputs: (("cells", 1, "metadata", "tags", 0), "check"),
}


@every_gate
def test_each_gate_lets_good_pass_and_stops_its_fault(gate):
    """A gate that never speaks would look just like notebooks without faults."""
    assert gate(GOOD) == []
    broken = copy.deepcopy(GOOD)
    (*way, last), value = FAULTS[gate]
    place = broken
    for step in way:
        place = place[step]
    place[last] = value
    assert gate(broken) != []
