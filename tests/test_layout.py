"""Boxes of a scene, against a picture of them painted square by square."""

from random import Random

import torch

from minijanus.layout import GRID, bare_box, drawn_boxes, free_boxes


def test_nothing_stands_in_a_bare_box() -> None:
    """Catches a square that a thing's edge reaches into, and free squares never taken."""
    taken = set()
    for seed in range(300):
        rng = Random(seed)
        boxes = free_boxes(rng, rng.randint(1, 5))
        painted = torch.zeros(64, 64, dtype=torch.bool)
        for box in boxes:
            x, y, width, height = (round(64 * number) for number in box)
            painted[y : y + height, x : x + width] = True
        x, y, *sides = bare_box(rng, boxes)
        assert sides == [1 / GRID, 1 / GRID]
        column, row = round(64 * x), round(64 * y)
        assert (
            column % 8 == 0
            and row % 8 == 0
            and not painted[row : row + 8, column : column + 8].any()
        )
        taken.add((row, column))
    assert len(taken) > 50  # of 64: nearly all, not the first of each scene


def test_a_full_picture_has_no_bare_box() -> None:
    """Things on the grid stand 1/64 within their eighths: such a margin is not bare."""
    assert bare_box(Random(0), [(0.0, 0.0, 1.0, 1.0)]) is None
    for seed in range(20):
        assert bare_box(Random(seed), drawn_boxes(Random(seed), 4)) is None
