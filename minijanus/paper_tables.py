"""Tables 2 to 5 with our own row beside the paper's (paper §4.4).

Ours is measured on miniature data, so it never says that one model is better than another.
"""

import csv
import json
from pathlib import Path

from minijanus.config import PRESETS
from minijanus.folders import DATA
from minijanus.lab import UserError
from minijanus.tables import cell, table

PRESET = "tiny"  # of Table 5's rows to come, and where no scores say theirs
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
POINTS = "MME-P"  # the one column of Table 2 that is not in percent
LOWER_IS_BETTER = {"COCO-30K", "MJHQ-30K", "COCO-FID"}
# A distance that is not FID has columns of its own.
OWN_COLUMNS = ["FD-mini, captions (not FID) ↓", "FD-mini, categories (not FID) ↓"]
NOT_COMPARABLE = (
    'The row marked "(mini)" is **not comparable** with the paper\'s: it is our small '
    "model on our own miniature data. Its size is its LLM's; brackets hold the 95 % "
    "interval"
)
NOTES = {
    2: f"{NOT_COMPARABLE}. MME-mini has fewer kinds of question than MME, so fewer points. "
    "POPE is the accuracy on the random split; its F1 stands among the suites.",
    3: f"{NOT_COMPARABLE}. Prompts, objects and judge are those of GenEval-mini.",
    4: f"{NOT_COMPARABLE}. FD-mini is not FID, and its scale is another; behind it stands "
    "how far two sets of as many real scenes are apart.",
    5: f"The six rows marked (mini) are ours, {NOT_RUN}. Measured on our own miniature "
    "data, they will be **not comparable** with the paper's, only with each other.",
}


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
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no file of scores: {error}.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no file of scores: name another one with --json.")
    return found


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
    # Beside a distance: what two sets of real scenes of the same size are apart.
    real = f" (real: {found['ceiling']:.{digits}f})" if number == 4 else ""
    return f"{value:.{digits}f}{most}{interval}{real}"


def preset_of(scores: dict) -> str:
    """The name of the config whose model these scores are of."""
    return next((one["preset"] for one in scores.values() if "preset" in one), PRESET)


def ours(scores: dict) -> str:
    """What our row and our line are called."""
    return f"minijanus {preset_of(scores)} (mini)"


def our_size(preset: str) -> str:
    """Millions of weights in our LLM: what the paper's 1.3B counts is the LLM too."""
    import torch

    from minijanus.janus import Janus

    if preset not in PRESETS:
        return NOT_MEASURED
    with torch.device("meta"):
        llm = Janus(PRESETS[preset]).parts()["llm"]
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
    name = ["not comparable", f"**{ours(scores)}**", our_size(preset_of(scores))]
    found = [our_cell(number, column, scores) for column in columns]
    rows.append([*name, *("-" for _ in own), *found])
    model = "Method" if number == 3 else "Model"
    sizes = "# LLM Params" if number == 2 else "# Params"
    return table(["Type", model, sizes, *heads(columns), *own], rows)


def ablations() -> str:
    """Table 5: the paper's six experiments, and ours, which are not run yet."""
    printed, later, columns = [], [], []  # "-" where, as in F, there is nothing to measure
    for (task, model, _), values in models(5).items():
        columns, (letter, encoder) = list(values), model.split(": ")
        printed.append([letter, cell(encoder), task, *(v or "-" for v in values.values())])
        name = f"**{ours({})}**: {cell(encoder.removesuffix(' (Ours)'))}"
        to_come = [NOT_RUN if value else "-" for value in values.values()]
        later.append([f"{letter} (mini)", name, task, *to_come])
    head = ["Exp ID", "Visual Encoder", "Training Task", *heads(columns)]
    return table(head, printed + later)
