"""Checks of the exercises in notebook 00; how they speak is in check.py."""

from collections.abc import Callable

import torch
from einops import rearrange
from PIL import Image
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


def prepared(answer: Callable[[Image.Image, int, str], Tensor]) -> None:
    """Exercise 0.3: three squares in a row, worked by hand; knows the known bug."""
    row = Image.new("RGB", (180, 60))
    for left, colour in ((0, "red"), (60, "lime"), (120, "blue")):
        row.paste(colour, (left, 0, left + 60, 60))
    lime = rearrange(torch.tensor([0.0, 255.0, 0.0]), "c -> c 1 1")
    for turns, shape in enumerate(("wide", "high")):
        image = row.rotate(90 * turns, expand=True)
        found = (answer(image, 60, "see"), answer(image, 60, "draw"))
        if is_todo(found, "0.3"):
            return
        if not all(isinstance(x, Tensor) and x.shape == (3, 60, 60) for x in found):
            raise AssertionError("return pixels c h w, square, as the two functions do.")
        levels = [((x + 1) / 2 * 255).round() for x in found]
        see, draw = (torch.rot90(x, -turns, dims=(1, 2)) for x in levels)
        if torch.equal(see, draw) and is_whole(draw):
            print("todo: exercise 0.3, two thirds of a 3 : 1 picture would be grey bars")
            return
        advice = f"to see, a {shape} picture must be there from end to end, between bars."
        verdict(is_whole(see), f"0.3, of a {shape} picture all is seen", advice)
        advice = f"to draw, a {shape} picture must fill the square, not squeezed, no bars."
        verdict(
            bool((draw == lime).all()), f"0.3, of a {shape} one no bar is drawn", advice
        )


def is_whole(levels: Tensor) -> bool:
    """Whether red, green and blue stand side by side in levels 3 60 60, between bars."""
    bars = torch.cat([levels[:, :20], levels[:, 40:]], dim=1)
    middles = levels[:, 30, 10::20]  # one column for each colour
    return bool((bars == 127).all()) and torch.equal(middles, 255 * torch.eye(3))
