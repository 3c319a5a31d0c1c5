"""Every exercise with a check: unsolved it says todo, solved it says ok, wrong it fails.

A stub is a cell tagged `exercise` that begins `# Exercise 1.1`; the next code cell, tagged
`check`, checks it; `Solution 1.1` with a Python block stands in a Markdown cell below.
"""

import ast
import json
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STUB = r"# Exercise (\d+\.\d+)\n"
SOLUTION = r"<summary>Solution (\d+\.\d+)</summary>\n\n```python\n(.*?)```"

WRONG = {  # a near miss of each, which its check must not accept
    "0.1": "def number_of_codes(side, square):\n    return side // square",
    "0.2": "different = 4",
    "0.3": "def prepared(image, size, task):\n    return generation_pixels(image, size)",
    "1.1": "def n_positions(words, pictures, n):\n    return words + pictures * (n + 2)",
    "1.2": "changed = 64",
    "1.3": "def predicting_positions(span):\n"
    "    return list(range(span.start, span.start + span.length))",
    "2.1": "def patches(pixels, p):\n    return pixels.reshape(len(pixels), -1, 3 * p * p)",
    "2.2": "changed = 1",
    "2.3": "def pair_loss(logits):\n"
    "    labels = 2 * torch.eye(len(logits)) - 1\n"
    "    return -F.logsigmoid(labels * logits).mean()",
    "3.1": "def nearest(points, codes):\n    return (points @ codes.T).argmax(dim=-1)",
    "3.2": "ids_that_change, spreads = 1, False",
    "3.3": "def straight_through(z, codes):\n    return codes + (z - codes).detach()",
    "4.1": "def adapt(x, w1, b1, w2, b2):\n"
    "    return F.gelu(x @ w1.T + b1, approximate='tanh') @ w2.T",
    "4.2": "codebook_same, table_same = False, False",
    "4.3": "def first_table(stored):\n    return stored / stored.norm()",
    "5.1": "def turned(vector, position, theta):\n"
    "    angle = position * theta ** -(torch.arange(4) / 4)\n"
    "    a, b = vector[::2], vector[1::2]\n"
    "    turned = a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()\n"
    "    return torch.stack(turned, dim=1).flatten()",
    "5.2": "changed = 1",
    "5.3": "def positions_to_run(cached, new):\n"
    "    return torch.arange(cached + 1, cached + 1 + new)[None]",
    "6.1": "def scored_tokens(pieces):\n"
    "    return [is_answer for ids, is_answer in pieces for _ in ids]",
    "6.2": "changed = 7",
    "7.1": "def rate(step, steps, warmup, full):\n"
    "    rise = min(1, (step + 1) / warmup)\n"
    "    return full * rise * 0.5 * (1 + math.cos(math.pi * step / steps))",
    "7.2": "adaptor_gets_one = False",
    "7.3": "def through_frozen(frozen, x):\n    return x @ frozen.weight.detach().T",
    "8.1": "def first(text):\n"
    "    end = text.rfind('. ')\n    return text[: end + 1] if end >= 0 else text",
    "8.2": "keep_features, keep_ids = False, True",
    "8.3": "def unconditional(ids, boi, pad):\n    return [pad] * boi + [ids[boi]]",
    "9.1": "def conversation(turns, end):\n"
    "    return ''.join(f'User: {a}\\n\\nAssistant: {b}\\n\\n' for a, b in turns)",
    "9.2": "larger_part = False",
    "9.3": "def labels(ids, length, pad):\n    return list(ids)",
    "10.1": "def guided(with_words, without_words, s):\n"
    "    return s * with_words + without_words",
    "10.2": 'its_score = "down"',
    "10.3": "def visible(ids, lengths, pad):\n    return ids != pad",
    "11.1": "def interval(values, generator):\n"
    "    return tuple(torch.quantile(values, torch.tensor([0.025, 0.975])).tolist())",
    "11.2": "always_yes = 1.0",
    "11.3": "def is_right(said, truth):\n    return said == truth",
    "12.1": "def gigabytes(count, dtype):\n"
    "    return count * torch.finfo(getattr(torch, dtype)).bits / 1e9",
    "12.2": 'codes_kept = "all"',
    "12.3": "def text_ids(ids, filler):\n    return ids.clamp(min=filler)",
    "6.3": "def who_sees_whom(documents):\n"
    "    return documents[:, None] == documents[None, :]",
}


def cells(path: Path, kind: str) -> list[dict]:
    """The cells of one kind, each with its source in one string."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**c, "text": "".join(c["source"])} for c in found if c["cell_type"] == kind]


def tagged(cell: dict, tag: str) -> bool:
    """Whether a cell carries a tag."""
    return tag in cell["metadata"].get("tags", [])


def prose(path: Path) -> list[str]:
    """The Markdown cells."""
    return [cell["text"] for cell in cells(path, "markdown")]


def solutions(path: Path) -> dict[str, str]:
    """The hidden solutions by the number of their exercise."""
    return dict(re.findall(SOLUTION, "\n".join(prose(path)), flags=re.DOTALL))


def exercises(path: Path) -> dict[str, int]:
    """Where each numbered stub stands among the code cells."""
    numbered = {}
    for place, cell in enumerate(cells(path, "code")):
        match = re.match(STUB, cell["text"])
        if match:
            numbered[match[1]] = place
    return numbered


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
with_exercises = pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if exercises(p)], ids=lambda path: path.name
)


@every_notebook
def test_stub_check_and_solution_belong_together(path: Path):
    """An exercise without a check cannot be finished, one without a solution not left."""
    code = cells(path, "code")
    for place in exercises(path).values():
        assert tagged(code[place], "exercise") and tagged(code[place + 1], "check")
    assert set(exercises(path)) == set(solutions(path))
    assert set(exercises(path)) <= set(WRONG), "write a wrong answer into WRONG"
    assert len(exercises(path)) >= 3
    headings = re.findall(r"^### Exercise .*", "\n".join(prose(path)), flags=re.MULTILINE)
    assert any("bug" in heading.lower() for heading in headings), "one hunts a bug"


@pytest.fixture
def learner(monkeypatch):
    """This process as a fresh kernel in the folder; what cells change is undone after."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with warnings.catch_warnings(), torch.set_grad_enabled(True):
        yield {"__name__": "__main__"}


def defined(source: str) -> set[str]:
    """The names that a cell gives a value."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
    return found


def used(source: str) -> set[str]:
    """The names that a cell reads."""
    nodes = ast.walk(ast.parse(source))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def needed(code: list[str], place: int, solution: str) -> list[int]:
    """The cells that an exercise, its check and solution build on, the setup first."""
    wanted, found = used(code[place]) | used(code[place + 1]) | used(solution), []
    for earlier in reversed(range(1, place)):
        if given := defined(code[earlier]) & wanted:
            wanted = wanted - given | used(code[earlier])
            found.append(earlier)
    return [0, *reversed(found)]


def test_a_check_needs_what_its_names_lead_back_to():
    """Leaving out a cell fails a check; running all of them trains a notebook twice."""
    code = ["import sys", "a = 1", "a = 2", "import c", "train()", "b = a"]
    code += ["def f(): ...", "f(b)"]
    assert needed(code, 6, "def f(): c.d()") == [0, 2, 3, 5]


@with_exercises
def test_stub_says_todo_wrong_fails_solution_is_ok(path: Path, learner: dict, capsys):
    """A solution that nobody runs rots; a check that accepts anything teaches a bug."""

    def said(*sources: str) -> str:
        capsys.readouterr()
        for source in sources:
            exec(compile(source, path.name, "exec"), learner)
        return capsys.readouterr().out

    code = [cell["text"] for cell in cells(path, "code")]
    stubs, solved, done = exercises(path), solutions(path), set()
    for number, place in stubs.items():
        for earlier in needed(code, place, solved[number]):
            if earlier not in done:
                said(code[earlier])
                done.add(earlier)
        check = code[place + 1]
        assert "todo: " in said(code[place], check), number
        with pytest.raises(AssertionError):
            said(WRONG[number], check)
        right = said(solved[number], check)
        assert "ok: " in right and "todo: " not in right, number
        done.add(place)
