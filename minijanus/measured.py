"""The README's tables of what a command measured, made from its JSON in data/results."""

import json
from pathlib import Path

from minijanus.folders import RESULTS
from minijanus.tables import cell, table


def score_rows(path: Path, keys: tuple[str, ...]) -> list[list[str]]:
    """A row for each score of a JSON: name, these numbers, n, conditions."""
    rows = []
    for name, found in json.loads(path.read_text(encoding="utf-8")).items():
        shown = ["" if found[key] is None else f"{found[key]:.3f}" for key in keys]
        rows.append([f"`{name}`", *shown, str(found["n"]), cell(found["conditions"])])
    return rows


def scores_table() -> str:
    """Every measured score with its interval, floor and ceiling."""
    path = RESULTS / "scores.json"
    if not path.exists():
        return "Not measured yet: `python -m minijanus evaluate`."
    head = ["Measure", "Value", "Low", "High", "Floor", "Ceiling", "n", "Conditions"]
    return table(head, score_rows(path, ("value", "low", "high", "floor", "ceiling")))


def suites_table() -> str:
    """Every number of the benchmarks in miniature, with both floors and the ceiling."""
    path = RESULTS / "mini.json"
    if not path.exists():
        return "Not measured yet: `python -m minijanus evaluate --suite mini`."
    head = ["Measure", "Value", "Low", "High", "Guess", "Blind", "Ceiling", "Units"]
    keys = ("value", "low", "high", "guess", "floor", "ceiling")
    return table([*head, "Conditions"], score_rows(path, keys))


def suite_times_table() -> str:
    """How long the answers of each suite took, by the lines themselves."""
    path = RESULTS / "mini.json"
    if not path.exists():
        return "Not measured yet: `python -m minijanus evaluate --suite mini`."
    taken = {
        name.partition(".")[0]: found["seconds"]
        for name, found in json.loads(path.read_text(encoding="utf-8")).items()
    }
    rows = [[f"`{name}`", f"{seconds:.0f}"] for name, seconds in taken.items()]
    return table(["Suite", "Seconds"], [*rows, ["in all", f"{sum(taken.values()):.0f}"]])


def languages_table() -> str:
    """Figure 8 in miniature: drawings from each language's prompts, and the control's."""
    paths = (RESULTS / "mini.json", RESULTS / "control" / "languages.json")
    tiny, control = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for path in paths
    )
    before = "languages_mini."
    rows = [
        [f"`{name.removeprefix(before).replace('_', ', ')}`", f"{found['guess']:.3f}"]
        + [interval(scores.get(name)) for scores in (tiny, control)]
        for name, found in tiny.items()
        if name.startswith(before)
    ]
    if not rows:
        return "Not measured yet: `python -m minijanus evaluate --suite languages_mini`."
    made = table(["Prompts in", "Guess", "`tiny`", "Control"], rows)
    said = carried_over(tiny[before + "other"])
    if control:
        theirs, english = (interval(control[before + x]) for x in ("other", "english"))
        said += f" The control has {theirs} of the same and {english} of the English ones."
    return f"{made}\n\n{said}"


def carried_over(other: dict) -> str:
    """What the drawings from all prompts not in English words show, in one sentence."""
    share = f"{interval(other)} of the drawings are right, where a guess has"
    if other["low"] > other["guess"]:
        verdict = "so a little carries over from words alone"
    else:
        verdict = "so nothing is seen to carry over from words alone"
    return f"Of all prompts but the English ones {share} {other['guess']:.3f}: {verdict}."


def interval(found: dict | None) -> str:
    """A score with its interval in brackets."""
    if found is None:
        return "not measured"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def parity_table() -> str:
    """How far every part is from transformers' port of Janus, on random weights."""
    path = RESULTS / "parity.json"
    if not path.exists():
        return "Not measured yet: `python -m minijanus parity`."
    found = json.loads(path.read_text(encoding="utf-8"))
    beside = path.with_name("parity_full.json")
    full = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    large = {row["part"]: row for row in full.get("rows", [])}
    rows = [
        [cell(row["part"]), cell(row["against"]), held(row), held(large.get(row["part"]))]
        + [f"{row['bound']:.0e}"]
        for row in found["rows"]
    ]
    made = (
        f"torch {found['torch']}, transformers {found['transformers']}, float32, "
        f"{found['parameters']:,} random weights"
    )
    if full:
        made += (
            f"; at full size torch {full['torch']}, transformers {full['transformers']}, "
            f"{full['parameters']:,}"
        )
    head = ["Part", "Against", "Error", "At full size", "At most"]
    return f"{table(head, rows)}\n\n{made}."


def held(row: dict | None) -> str:
    """The error of a comparison, marked where it is above its bound."""
    if row is None:
        return "not measured"
    return f"{row['error']:.1e}" if row["holds"] else f"**{row['error']:.1e}, above**"


def full_size_table() -> str:
    """What Janus-1.3B takes on the machine that data/full_size.py ran on."""
    path = RESULTS / "full_size.json"
    if not path.exists():
        return "Not measured yet: `python data/full_size.py make`, then `measure`."
    rows = []
    for dtype, found in json.loads(path.read_text(encoding="utf-8")).items():
        over = f"{found['loading peak'] / found['weights'] - 1:+.1%}"
        rows.append(
            [dtype, f"{found['parameters']:,}", f"{found['weights'] / 1e9:.1f}", over]
            + [f"{found[f'{what} s']:.0f}" for what in ("loading", "drawing", "answering")]
            + [f"{found['peak'] / 1e9:.1f}", str(found["threads"]), found["torch"]]
        )
    head = ["Number format", "Weights", "In GB", "Loading: peak beyond them"]
    head += ["Loading, s", "One picture, s", "One answer, s", "Peak of all, GB"]
    return table([*head, "Threads", "torch"], rows)


def notebooks_table() -> str:
    """What each notebook took from a cold start, by data/run_notebooks.py."""
    path = RESULTS / "notebook_times.json"
    if not path.exists():
        return "Not measured yet: `python data/run_notebooks.py`."
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        [f"[{name.removesuffix('.ipynb')}](notebooks/{name})", str(times["cells"])]
        + [f"{times[what]:.1f}" for what in ("start", "longest", "total")]
        for name, times in found.items()
    ]
    total = sum(times["total"] for times in found.values())
    rows.append(["in all", "", "", "", f"{total:.1f}"])
    head = ["Notebook", "Code cells", "Start, s", "Longest cell, s", "In all, s"]
    return table(head, rows)
