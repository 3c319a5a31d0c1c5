"""Whether the recipe, run once more from nothing, lands where the shipped model stands.

python -m minijanus train --preset tiny --out data/runs/rerun
python -m minijanus evaluate --checkpoint data/runs/rerun \\
    --json data/results/rerun/scores.json
python data/rerun.py

Prints each score of the rerun beside the shipped one's interval, and the minutes of both
by the phases' own clocks; exits 1 if a score that has a bar lies outside. Losses and
minutes of the rerun are kept in data/results/rerun for the README.
"""

import json

from minijanus.checkpoint import write_text
from minijanus.folders import RESULTS, RUNS, TINY_FOLDER
from minijanus.tables import losses

BARS = (
    *("geneval_mini.overall", "pope_mini.accuracy", "vqa_mini.accuracy"),
    *("text.loss_ratio", "judge.reconstructions"),
)


def main() -> int:
    """Compare the two files of scores."""
    files = RESULTS / "scores.json", RESULTS / "rerun" / "scores.json"
    if not files[1].exists():
        print(f"{files[1]} is not there: run the two commands of the docstring first.")
        return 2
    again = losses(RUNS / "rerun")
    text = json.dumps(again, indent=1) + "\n"
    write_text(RESULTS / "rerun" / "losses.json", text)
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
    for name, rows in (("shipped", losses(TINY_FOLDER)), ("rerun", again)):
        parts = ", ".join(f"{row['phase']} {row['minutes']:.1f}" for row in rows)
        whole = sum(row["minutes"] for row in rows)
        print(f"{name}: {whole:.1f} minutes ({parts})")
    return bool(outside)


if __name__ == "__main__":
    raise SystemExit(main())
