"""The radar of Fig. 1(a), drawn anew from the paper's numbers, with a line of our own.

Ours is measured on miniature data, so it never says that one model is better than another.
"""

import math
from pathlib import Path

from minijanus.checkpoint import write_whole
from minijanus.figures import INK, small_picture
from minijanus.paper_tables import (
    DIGITS,
    MEASURES,
    NOT_MEASURED,
    POINTS,
    in_units,
    ours,
    paper_rows,
)

MOST_POINTS = 2000  # of the paper's MME, to which ours are scaled
# The nine axes of Fig. 1(a), clockwise from the top, and where their numbers stand.
AXES = {
    "POPE": (2, "POPE"), "MME-Perception": (2, "MME-P"), "MMBench": (2, "MMB"),
    "MM-Vet": (2, "MM-Vet"), "SEED-Bench": (2, "SEED"), "GQA": (2, "GQA"),
    "MMMU": (2, "MMMU"), "GenEval": (3, "Overall"), "VQAv2": (2, "VQAv2"),
}  # fmt: skip
# Its five models: colour, dashes, marker, width.
LINES = {
    ("MobileVLM", "1.4B"): ("#e69f00", ":", "^", 2.5),
    ("LLaVA-Phi", "2.7B"): ("#009e73", "-.", "s", 2.5),
    ("InstructBLIP", "7B"): ("#cc79a7", (0, (5, 1, 1, 1, 1, 1)), "D", 2.5),
    ("Show-o", "1.3B"): ("#d55e00", "-", "v", 2.5),
    ("Janus (Ours)", "1.3B"): ("#0072b2", "-", "o", 4.5),
}
OUR_LINE = (INK, "--", "X", 2.5)
CAPTION = (
    "Paper's numbers; each axis from 0 to its largest, which is printed. A line breaks "
    "where a model has no value.\nDashed: {ours}: other, miniature data, not comparable; "
    f"its points are scaled to {MOST_POINTS}."
)
SIZE, DPI, COLOURS = (14, 8), 100, 64  # of the radar, read from the last row


def radar_lines(scores: dict) -> dict[str, list[float]]:
    """Each line of the radar: its value on every axis, NaN where there is none."""
    keys = ("table", "measure", "model", "parameters")
    there = {tuple(row[key] for key in keys): row["value"] for row in paper_rows()}
    lines = {}
    for model, size in LINES:
        printed = [there.get((str(n), c, model, size)) for n, c in AXES.values()]
        name = f"{model.removesuffix(' (Ours)')} ({size})"
        lines[name] = [float(value or "nan") for value in printed]
    lines[ours(scores)] = [our_value(n, c, scores) for n, c in AXES.values()]
    return lines


def our_value(number: int, column: str, scores: dict) -> float:
    """Our value for an axis; of points, the share of all, as so many of the paper's."""
    found = scores.get(MEASURES[number][column], {"value": math.nan, "ceiling": 1})
    share = MOST_POINTS / found["ceiling"] if column == POINTS else 1
    return in_units(number, column, found["value"] * share)


def radar(scores: dict, path: Path) -> None:
    """Draw Fig. 1(a) anew as a PNG, with our line dashed (paper Fig. 1).

    Each axis runs from 0 to the largest value on it; a line breaks where there is no value.
    """
    from matplotlib.figure import Figure

    # Differs: axes start at 0, because the paper's begin higher (900 is the lowest number
    # on MME's) and make gaps look larger than they are.
    lines, turn = radar_lines(scores), 2 * math.pi / len(AXES)
    columns = zip(*lines.values(), strict=True)
    best = [max(v for v in column if not math.isnan(v)) for column in columns]
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0.08, 0.15, 0.52, 0.74), projection="polar")
    axes.set(theta_offset=math.pi / 2, theta_direction=-1)  # clockwise from the top
    styles = [*LINES.values(), OUR_LINE]
    for (name, values), style in zip(lines.items(), styles, strict=True):
        colour, dashes, marker, width = style
        told = f"{name}:\n{NOT_MEASURED}" if all(map(math.isnan, values)) else name
        radii = [value / most for value, most in zip(values, best, strict=True)]
        axes.plot(
            [place * turn for place in range(len(AXES) + 1)], [*radii, radii[0]],
            color=colour, linestyle=dashes, marker=marker, markersize=10, lw=width,
            label=told, clip_on=False, zorder=9 - width,  # a thin line lies on a thick one
        )  # fmt: skip
    for place, (name, (number, _)) in enumerate(AXES.items()):
        mini = " (mini)" if lines[ours(scores)][place] == best[place] else ""
        words = f"{name}\n{best[place]:.{DIGITS[number]}f}{mini}"
        side = ["center", "left", "right"][(place > 0) + (place > len(AXES) / 2)]
        axes.text(place * turn, 1.12, words, size=18, ha=side, va="center")
    axes.set(ylim=(0, 1), yticks=[0.25, 0.5, 0.75, 1], yticklabels=[])
    axes.set_xticks([place * turn for place in range(len(AXES))], [""] * len(AXES))
    figure.legend(loc="center right", fontsize=17, handlelength=4)
    figure.text(0.02, 0.01, CAPTION.format(ours=ours(scores)), size=15)
    picture = small_picture(figure, DPI, COLOURS)
    write_whole(path, lambda beside: picture.save(beside, format="png", optimize=True))
