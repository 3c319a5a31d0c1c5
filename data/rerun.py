"""Whether the recipe, run once more from nothing, lands where the shipped model stands.

python -m minijanus train --preset tiny --out data/runs/rerun
python -m minijanus evaluate --checkpoint data/runs/rerun \\
    --json data/results/rerun/scores.json
python data/rerun.py

Prints each score of the rerun beside the shipped one's interval, and the minutes of both
by the phases' own clocks; exits 1 if a score that has a bar lies outside.
"""

import json
from pathlib import Path

from minijanus.folders import RESULTS, RUNS, TINY_FOLDER
from minijanus.load import PHASES

BARS = (
    *("geneval_mini.overall", "pope_mini.accuracy", "vqa_mini.accuracy"),
    "text.loss_ratio",
)


def minutes(folder: Path) -> dict[str, float]:
    """What each finished phase in a folder took."""
    manifests = [(phase, folder / f"{phase}.json") for phase in PHASES]
    return {
        phase: json.loads(path.read_text(encoding="utf-8"))["seconds"] / 60
        for phase, path in manifests
        if path.exists()
    }


def main() -> int:
    """Compare the two files of scores."""
    files = RESULTS / "scores.json", RESULTS / "rerun" / "scores.json"
    if not files[1].exists():
        print(f"{files[1]} is not there: run the two commands of the docstring first.")
        return 2
    shipped, rerun = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    outside = []
    for name, one in shipped.items():
        if name not in rerun or one["low"] is None:
            continue
        value, low, high = rerun[name]["value"], one["low"], one["high"]
        inside = low <= value <= high
        bar = "*" if name in BARS else " "
        if name in BARS and not inside:
            outside.append(name)
        verdict = "inside" if inside else "OUTSIDE"
        print(f"{bar} {name:26} {value:.3f}  shipped [{low:.3f}, {high:.3f}]  {verdict}")
    for name, folder in (
        ("shipped", TINY_FOLDER),
        ("rerun", RUNS / "rerun"),
    ):
        took = minutes(folder)
        parts = ", ".join(f"{phase} {value:.1f}" for phase, value in took.items())
        print(f"{name}: {sum(took.values()):.1f} minutes ({parts})")
    return bool(outside)


if __name__ == "__main__":
    raise SystemExit(main())
