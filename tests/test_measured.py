"""README's tables of measurements, from small JSONs of several runs."""

import json
from pathlib import Path

import pytest

from minijanus import measured


@pytest.fixture
def results(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder in the place of data/results."""
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    return tmp_path


def rows_of(made: str) -> list[list[str]]:
    """The cells of a Markdown table, without its two head lines."""
    lines = [line for line in made.splitlines() if line.startswith("|")]
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:]]


def write(path: Path, found: dict) -> None:
    """A JSON, in a folder that may be new."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")


def test_parity_names_the_versions_of_both_sizes(results: Path) -> None:
    """Catches the small run's versions beside the large run's numbers, and a quiet miss."""
    row = {"part": "VQ decode", "against": "port", "error": 3e-6, "bound": 1e-5}
    some = {"torch": "1.0", "transformers": "2.0", "parameters": 7}
    write(results / "parity.json", {**some, "rows": [row | {"holds": True}]})
    assert rows_of(measured.parity_table())[0][2:4] == ["3.0e-06", "not measured"]
    large = row | {"error": 2e-5, "holds": False}
    other = {"torch": "1.5", "transformers": "2.5", "parameters": 9_000}
    write(results / "parity_full.json", {**other, "rows": [large]})
    made = measured.parity_table()
    assert rows_of(made)[0][2:4] == ["3.0e-06", "**2.0e-05, above**"]
    assert "torch 1.0, transformers 2.0" in made and "torch 1.5, transformers 2.5" in made


def test_each_number_format_has_its_own_conditions(results: Path) -> None:
    """Catches seconds of one number format under threads or torch of another."""
    one = {"parameters": 1000, "weights": 2e9, "loading peak": 2.2e9, "loading s": 1}
    one |= {"drawing s": 2, "answering s": 3, "peak": 4e9, "threads": 2, "torch": "1.0"}
    two = one | {"drawing s": 20, "threads": 16, "torch": "1.5"}
    write(results / "full_size.json", {"bfloat16": one, "float32": two})
    first, second = rows_of(measured.full_size_table())
    assert first == ["bfloat16", "1,000", "2.0", "+10.0%", "1", "2", "3", "4.0", "2", "1.0"]
    assert second[-2:] == ["16", "1.5"] and second[5] == "20"


def test_the_control_stands_beside_its_language(results: Path) -> None:
    """Catches columns mixed up, and a control that was never measured shown as one."""
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "guess": 0.02}
    weak = score | {"value": 0.03, "low": 0.01, "high": 0.05}
    name = "languages_mini.fr_single"
    scores = {name: score, "languages_mini.other": weak, "pope_mini.f1": score}
    write(results / "mini.json", scores)
    made = measured.languages_table()
    assert rows_of(made) == [
        ["`fr, single`", "0.020", "0.500 [0.400, 0.600]", "not measured"],
        ["`other`", "0.020", "0.030 [0.010, 0.050]", "not measured"],
    ]
    assert "nothing is seen to carry over" in made
    assert "The control has" not in made
    low, lower = ({"value": v, "low": 0.0, "high": 2 * v} for v in (0.1, 0.025))
    kinds = {name: low, "languages_mini.other": lower, "languages_mini.english": weak}
    write(results / "control" / "languages.json", kinds)
    made = measured.languages_table()
    assert rows_of(made)[0][3] == "0.100 [0.000, 0.200]"
    assert (
        "The control has 0.025 [0.000, 0.050] of the same "
        "and 0.030 [0.010, 0.050] of the English ones." in made
    )
    write(results / "mini.json", scores | {"languages_mini.other": score})
    assert "a little carries over" in measured.languages_table()


def test_the_time_of_a_suite_counts_once(results: Path) -> None:
    """Catches a suite's seconds added up for each of its measures."""
    names = ("pope_mini.random", "pope_mini.f1", "vqa_mini.count")
    write(results / "mini.json", {name: {"seconds": 12.4} for name in names})
    assert rows_of(measured.suite_times_table()) == [
        ["`pope_mini`", "12"], ["`vqa_mini`", "12"], ["in all", "25"]
    ]  # fmt: skip
