"""Drawings of the evaluation, chosen by a rule and not by hand: best, median and worst."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from minijanus.checkpoint import write_text
from minijanus.geneval_mini import Asked
from minijanus.sheets import EACH, contact_sheet, save_picture

PAGE = """# Drawings of GenEval-mini

![Four drawings for the best, the median and the worst prompt of each kind.](drawings.png)

`python -m minijanus evaluate` makes this page. The prompts of a kind are put in order by
how many of their four drawings the judge calls right, the earlier prompt first where two
have as many; shown are the first, the middle and the last one. {conditions}
"""


def chosen(right: Tensor) -> dict[str, int]:
    """Which prompt is the best, the median and the worst by its share of right drawings."""
    order = right.argsort(descending=True, stable=True).tolist()
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}


def save_samples(
    folder: Path,
    asked: Mapping[str, list[Asked]],
    pictures: list[Image.Image],
    right: Mapping[str, Tensor],
    conditions: str,
) -> None:
    """Write the page and its picture; `pictures` are EACH of every prompt, in order."""
    groups: dict[str, list[str]] = {}
    shown: list[Image.Image] = []
    first = 0
    for kind, prompts in asked.items():
        groups[kind] = []
        for name, place in chosen(right[kind]).items():
            good = round(EACH * float(right[kind][place]))
            groups[kind].append(f"{name}: {prompts[place][0]} ({good} of {EACH})")
            start = EACH * (first + place)
            shown += pictures[start : start + EACH]
        first += len(prompts)
    save_picture(contact_sheet(groups, shown, conditions), folder / "drawings.png")
    write_text(folder / "README.md", PAGE.format(conditions=conditions))
