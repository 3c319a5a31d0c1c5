"""The README's loss curves, from small logs."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from minijanus.curves import read_log, running_mean, save_curves


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
