"""Tables 2 to 5 and the radar of Fig. 1 with our own row beside the paper's (paper §4.4).

Ours is measured on miniature data, so it never says that one model is better than another.
"""

import csv
import json
import math
from pathlib import Path

from minijanus.checkpoint import write_whole
from minijanus.config import PRESETS
from minijanus.figures import INK, small_picture
from minijanus.lab import UserError
from minijanus.tables import DATA, cell, table

OURS = "minijanus tiny (mini)"
NOT_MEASURED, NOT_RUN = "not measured", "not yet run"
# Under each of the paper's columns stands one of our measures.
MEASURES = {
    2: {
        "POPE": "pope_mini.random",  # the split whose number the paper has
        "MME-P": "mme_mini.points",
        "MMB": "mmb_mini.vanilla",  # options in one order, as in the paper's number
        "SEED": "seed_mini.accuracy",
        "VQAv2": "vqa_mini.accuracy",
        "GQA": "gqa_mini.accuracy",
        "MMMU": "mmmu_mini.accuracy",
        "MM-Vet": "vet_mini.accuracy",
    },
    3: {
        "Single Obj.": "geneval_mini.single",
        "Two Obj.": "geneval_mini.two",
        "Counting": "geneval_mini.counting",
        "Colors": "geneval_mini.colours",
        "Position": "geneval_mini.position",
        "Color Attri.": "geneval_mini.attribution",
        "Overall": "geneval_mini.overall",
    },
    4: {"COCO-30K": "fd_mini.captions", "MJHQ-30K": "fd_mini.categories"},
}
DIGITS = {2: 1, 3: 2, 4: 2}  # after the point, as the paper prints
POINTS, MOST_POINTS = "MME-P", 2000  # the one column of Table 2 that is not in percent
LOWER_IS_BETTER = {"COCO-30K", "MJHQ-30K", "COCO-FID"}
# A distance that is not FID has columns of its own.
OWN_COLUMNS = ["FD-mini, captions (not FID) ↓", "FD-mini, categories (not FID) ↓"]
NOT_COMPARABLE = (
    f'The row "{OURS}" is **not comparable** with the paper\'s: it is our small model on '
    "our own miniature data. Its size is its LLM's; brackets hold the 95 % interval"
)
NOTES = {
    2: f"{NOT_COMPARABLE}. MME-mini has fewer kinds of question than MME, so fewer points.",
    3: f"{NOT_COMPARABLE}. Prompts, objects and judge are those of GenEval-mini.",
    4: f"{NOT_COMPARABLE}. FD-mini is not FID, and its scale is another.",
    5: f"The six rows marked (mini) are ours, {NOT_RUN}. Measured on our own miniature "
    "data, they will be **not comparable** with the paper's, only with each other.",
}

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
    f"where a model has no value.\nDashed: {OURS}: other, miniature data, not comparable; "
    f"its points are scaled to {MOST_POINTS}."
)
SIZE, DPI, COLOURS = (14, 8), 100, 64  # of the radar, read from the last row


def paper_rows() -> list[dict[str, str]]:
    """data/paper_tables.csv: table, group, model, parameters, measure and value as text.

    A value that the paper prints as "-" is empty.
    """
    with (DATA / "paper_tables.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measured(path: Path) -> dict[str, dict]:
    """Our scores {measure: {"value", "low", "high", ...}}; {} if there is no file."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no file of scores: {error}.") from error


def models(number: int) -> dict[tuple[str, str, str], dict[str, str]]:
    """Rows of a table: (group, model, parameters) -> {column: what is printed or ""}."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in paper_rows():
        if row["table"] == str(number):
            key = row["group"], row["model"], row["parameters"]
            found.setdefault(key, {})[row["measure"]] = row["value"]
    return found


def in_units(number: int, column: str, value: float) -> float:
    """One of our numbers in the unit of the paper's column."""
    return value * 100 if number == 2 and column != POINTS else value


def our_cell(number: int, column: str, scores: dict) -> str:
    """Our value with its interval; of points, the most that can be had as well."""
    found = scores.get(MEASURES[number][column])
    if found is None:
        return NOT_MEASURED
    value, low, high = (
        None if found[end] is None else in_units(number, column, found[end])
        for end in ("value", "low", "high")
    )
    digits = DIGITS[number]
    most = f" of {found['ceiling']:.0f}" if column == POINTS else ""
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{most}{interval}"


def our_size() -> str:
    """Millions of weights in our LLM: what the paper's 1.3B counts is the LLM too."""
    import torch

    from minijanus.janus import Janus

    with torch.device("meta"):
        llm = Janus(PRESETS["tiny"]).parts()["llm"]
    return f"{sum(weights.numel() for weights in llm.parameters()) / 1e6:.1f}M"


def heads(columns: list[str]) -> list[str]:
    """Columns with an arrow that says which way is better."""
    return [f"{c} {'↓' if c in LOWER_IS_BETTER else '↑'}" for c in columns]


def numbered_table(number: int, scores: dict) -> str:
    """Table 2, 3, 4 or 5 in Markdown: the paper's rows, then ours, then what ours is."""
    if number not in NOTES:
        raise UserError(f"there is no table {number} here: choose from {list(NOTES)}.")
    made = ablations() if number == 5 else comparison(number, scores)
    return f"{made}\n\n{NOTES[number]}"


def comparison(number: int, scores: dict) -> str:
    """Table 2, 3 or 4: the paper's rows in its order, a group named once, then ours."""
    columns, own = list(MEASURES[number]), OWN_COLUMNS if number == 4 else []
    rows, last = [], ""
    for (group, model, parameters), values in models(number).items():
        name = [group if group != last else "", cell(model), parameters]
        rows.append([*name, *(values[c] or "-" for c in columns), *("-" for _ in own)])
        last = group
    ours = [our_cell(number, column, scores) for column in columns]
    rows.append(["not comparable", f"**{OURS}**", our_size(), *("-" for _ in own), *ours])
    model = "Method" if number == 3 else "Model"
    sizes = "# LLM Params" if number == 2 else "# Params"
    return table(["Type", model, sizes, *heads(columns), *own], rows)


def ablations() -> str:
    """Table 5: the paper's six experiments, and ours, which are not run yet."""
    printed, ours, columns = [], [], []  # "-" where, as in F, there is nothing to measure
    for (task, model, _), values in models(5).items():
        columns, (letter, encoder) = list(values), model.split(": ")
        printed.append([letter, cell(encoder), task, *(v or "-" for v in values.values())])
        name = f"**{OURS}**: {cell(encoder.removesuffix(' (Ours)'))}"
        to_come = [NOT_RUN if value else "-" for value in values.values()]
        ours.append([f"{letter} (mini)", name, task, *to_come])
    head = ["Exp ID", "Visual Encoder", "Training Task", *heads(columns)]
    return table(head, printed + ours)


def radar_lines(scores: dict) -> dict[str, list[float]]:
    """Each line of the radar: its value on every axis, NaN where there is none."""
    keys = ("table", "measure", "model", "parameters")
    there = {tuple(row[key] for key in keys): row["value"] for row in paper_rows()}
    lines = {}
    for model, size in LINES:
        printed = [there.get((str(n), c, model, size)) for n, c in AXES.values()]
        name = f"{model.removesuffix(' (Ours)')} ({size})"
        lines[name] = [float(value or "nan") for value in printed]
    lines[OURS] = [our_value(n, c, scores) for n, c in AXES.values()]
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
        mini = " (mini)" if lines[OURS][place] == best[place] else ""
        words = f"{name}\n{best[place]:.{DIGITS[number]}f}{mini}"
        side = ["center", "left", "right"][(place > 0) + (place > len(AXES) / 2)]
        axes.text(place * turn, 1.12, words, size=18, ha=side, va="center")
    axes.set(ylim=(0, 1), yticks=[0.25, 0.5, 0.75, 1], yticklabels=[])
    axes.set_xticks([place * turn for place in range(len(AXES))], [""] * len(AXES))
    figure.legend(loc="center right", fontsize=17, handlelength=4)
    figure.text(0.02, 0.01, CAPTION, size=15)
    picture = small_picture(figure, DPI, COLOURS)
    write_whole(path, lambda beside: picture.save(beside, format="png", optimize=True))


def main_tables(scores_path: Path, out: Path) -> None:
    """Print the four tables with our scores from a JSON file; draw radar.png in `out`."""
    scores = measured(scores_path)
    if not scores_path.exists():
        print(f"{scores_path} is not there: `python -m minijanus evaluate` makes it.\n")
    for number in NOTES:
        print(f"Table {number}\n\n{numbered_table(number, scores)}\n")
    radar(scores, out / "radar.png")
    print(out / "radar.png")
