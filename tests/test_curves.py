"""The README's loss curves, from small logs."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from minijanus.curves import read_log, running_mean, save_curves, scores_figure


def write_log(path: Path, rows: list[dict]) -> None:
    """A training log as a run writes it."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_row_with_a_gap_is_left_out_whole(tmp_path: Path) -> None:
    """Catches a loss that stands at another step than its own."""
    rows = [
        {"step": 10, "seconds": 1, "loss": 3.0, "text": 4.0},
        {"step": 20, "seconds": 2, "loss": 2.0, "text": ""},
        {"step": 30, "seconds": 3, "loss": 1.0, "text": 2.0},
    ]
    write_log(tmp_path / "stage2.csv", rows)
    log = read_log(tmp_path / "stage2.csv")
    assert log == {"step": [10, 30], "loss": [3, 1], "text": [4, 2]}


def test_a_running_mean_by_hand() -> None:
    """Catches a mean that looks ahead, or that begins with zeros."""
    values = [4.0, 2.0, 0.0, 6.0]
    assert running_mean(values, 0.7) == [4, 2, 1, pytest.approx(8 / 3)]
    assert running_mean(values, 0) == values


def test_the_picture_shows_every_phase_that_is_there(tmp_path: Path) -> None:
    """Catches a crash before all phases are trained, and curves of the first phase only."""
    rows = [{"step": n, "seconds": n, "loss": 1 / n} for n in range(1, 30)]
    write_log(tmp_path / "siglip.csv", rows)
    with Image.open(save_curves(tmp_path, tmp_path)) as picture:
        one = picture.convert("RGB").copy()
    write_log(tmp_path / "stage3.csv", [row | {"text": 2.0} for row in rows])
    with Image.open(save_curves(tmp_path, tmp_path)) as picture:
        two = picture.convert("RGB").copy()
    assert one.size[0] > 900 and one.tobytes() != two.tobytes()
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".png"}


def test_every_score_has_its_own_bar_and_marks() -> None:
    """Catches a floor on its neighbour's line, and a crash where there is no guess."""
    answers = {"low": 0.4, "high": 0.6, "floor": 0.1, "ceiling": 1.0, "guess": 0.2}
    drawing = {"low": 0.7, "high": 0.9, "floor": 0.3, "ceiling": 0.95}
    axis = scores_figure({"answers": answers, "drawing": drawing}).axes[0]
    [bars] = axis.collections
    ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
    assert ends == [[0.4, 0.6], [0.7, 0.9]]
    marks = {line.get_label(): list(line.get_xdata()) for line in axis.get_lines()}
    assert marks["floor"] == [0.1, 0.3] and marks["ceiling"] == [1.0, 0.95]
    assert marks["guess"][0] == 0.2 and marks["guess"][1] != marks["guess"][1]  # nan
    assert axis.yaxis_inverted()  # the first score stands on top
