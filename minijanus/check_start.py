"""Checks of the exercises in notebook 00; how they speak is in check.py."""

from collections.abc import Callable

import torch
from torch import Tensor

from minijanus.check import is_todo, verdict


def number_of_codes(answer: Callable[[int, int], int]) -> None:
    """Exercise 0.1: how many codes a square picture has, worked by hand."""
    for side, square, truth in ((64, 8, 64), (384, 16, 576), (96, 8, 144)):
        found = answer(side, square)
        if is_todo(found, "0.1"):
            return
        advice = f"{side} pixels hold {side // square} squares across and as many down."
        verdict(found == truth, f"0.1, {side} px in squares of {square}: {truth}", advice)


def levels(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise 0.3: pixels in [-1, 1] as 0 to 255; knows the known bug."""
    pixels = torch.tensor([-1.1, -1.0, 0.3, 1.0, 1.1])
    answered = answer(pixels)
    found = answered.tolist()
    if found[1:4] == [0, 166, 255] and found[4] < 255:
        print("todo: exercise 0.3, a pixel a little too bright comes out black")
        return
    advice = f"-1.1, -1, 0.3, 1, 1.1 should be 0, 0, 166, 255, 255, not {found}."
    verdict(found == [0, 0, 166, 255, 255], "0.3, what lies outside is clipped", advice)
    kind = f"a file wants torch.uint8, not {answered.dtype}."
    verdict(answered.dtype == torch.uint8, "0.3, and in eight bits", kind)
