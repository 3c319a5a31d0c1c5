"""The control model of Figure 8: as `tiny`, but its LLM read no language except English.

python data/control_model.py train [--minutes M]
python data/control_model.py ship
python -m minijanus evaluate --suite languages_mini --checkpoint data/checkpoints/control \\
    --json data/results/control/languages.json

If `tiny` draws from a French prompt because text taught its LLM what French words mean,
then this model must fail there and draw as well as `tiny` from English (paper Appendix B).
Both share the tokenizer and the two encoders; LLM and stages I to III are trained anew, by
the same recipe on the same pictures, with English text in place of labels in 28 locales.
"""

import argparse
import math
import shutil
import time
from pathlib import Path

from minijanus import checkpoint
from minijanus.config import TINY
from minijanus.lab import UserError
from minijanus.train import train_all
from minijanus.world import World

REPO = Path(__file__).resolve().parents[1]
TINY_FOLDER = REPO / "data" / "checkpoints" / "tiny"
RUN = REPO / "data" / "runs" / "control"
CONTROL = REPO / "data" / "checkpoints" / "control"
SHARED = ("siglip", "vq")  # phases that read no text but captions in English
SHIPPED = ("vq", "stage3")  # all that `load_janus` reads


def start(run: Path) -> None:
    """Put into the run's folder what both models share; what is there already stays."""
    run.mkdir(parents=True, exist_ok=True)
    for phase in SHARED:
        if not (run / f"{phase}.json").exists():
            checkpoint.save(
                run / f"{phase}.safetensors",
                *checkpoint.load(TINY_FOLDER / f"{phase}.safetensors"),
            )
    if not (run / "tokenizer.json").exists():
        shutil.copyfile(TINY_FOLDER / "tokenizer.json", run / "tokenizer.json")


def ship(run: Path, folder: Path) -> None:
    """Copy what drawing and answering need, rounded to float16."""
    for phase in SHIPPED:
        tensors, manifest = checkpoint.load(run / f"{phase}.safetensors")
        half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
        manifest["dtype"] = "float16"
        checkpoint.save(folder / f"{phase}.safetensors", half, manifest)
    shutil.copyfile(run / "tokenizer.json", folder / "tokenizer.json")
    print(f"{folder}: {', '.join(SHIPPED)}")


def main() -> None:
    """Train the control model, or ship it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=("train", "ship"))
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M")
    args = parser.parse_args()
    try:
        if args.task == "train":
            start(RUN)
            deadline = time.monotonic() + 60 * args.minutes
            train_all(TINY, RUN, World(TINY, foreign=False), deadline=deadline)
        else:
            ship(RUN, CONTROL)
    except UserError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
