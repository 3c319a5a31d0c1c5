"""The control model of Figure 8: as `tiny`, but its LLM read no language except English.

python data/control_model.py train [--minutes M]
python data/control_model.py ship
python -m minijanus evaluate --suite languages_mini --checkpoint data/checkpoints/control \\
    --json data/results/control/languages.json

If `tiny` draws from a French prompt because text taught its LLM what French words mean,
then this model must fail there and draw as well as `tiny` from English (paper Appendix B).
Both share the text tokenizer and the two encoders, here as they were shipped, in float16.
LLM and stages I to III are trained anew, by the same recipe on the same pictures; what
`tiny` read of labels in 28 locales is English text of the other kinds here.
"""

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

from minijanus import checkpoint
from minijanus.config import TINY
from minijanus.folders import RUNS, SHIPPED, TINY_FOLDER
from minijanus.lab import UserError, device
from minijanus.load import ship
from minijanus.train import train_all
from minijanus.world import World

RUN = RUNS / "control"
CONTROL = SHIPPED / "control"
CFG = replace(TINY, name="control")  # or the run could be shipped in the place of tiny
SHARED = ("siglip", "vq")  # phases that read no text but captions in English
NEEDED = ("vq", "stage3")  # all that `load_janus` reads


def start(run: Path) -> None:
    """Put into the run's folder what both models share; what is there already stays."""
    for phase in SHARED:
        if not (run / f"{phase}.json").exists():
            tensors, manifest = checkpoint.load(TINY_FOLDER / f"{phase}.safetensors")
            manifest["config"]["name"] = CFG.name
            checkpoint.save(run / f"{phase}.safetensors", tensors, manifest)
    for name in ("tokenizer.json", *(f"{phase}.csv" for phase in SHARED)):
        if not (run / name).exists():
            text = (TINY_FOLDER / name).read_text(encoding="utf-8")
            checkpoint.write_text(run / name, text)


def main() -> int:
    """Train the control model, or ship it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=("train", "ship"))
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M")
    args = parser.parse_args()
    try:
        if args.task == "train":
            start(RUN)
            deadline = time.monotonic() + 60 * args.minutes
            train_all(CFG, RUN, World(CFG, foreign=False), device(), deadline)
        else:
            ship(RUN, CONTROL, TINY.name, NEEDED)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
