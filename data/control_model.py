"""The control model of Figure 8: as `tiny`, but its LLM read no language except English.

python data/control_model.py train [--minutes M]
python data/control_model.py ship
python data/control_model.py read    # how often tiny's text has the words of Figure 8
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
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from minijanus import checkpoint
from minijanus.config import TINY
from minijanus.corpus import labels
from minijanus.folders import RUNS, SHIPPED, TINY_FOLDER
from minijanus.lab import UserError, device
from minijanus.languages_mini import COLOUR_WORDS
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


def times_read(world: World, documents: int) -> dict[tuple[str, str], int]:
    """In how many of the LLM's first documents each label of Figure 8's prompts stands.

    A key is (language, label). A part of another word counts too, so these are bounds.
    """
    texts = [world.text(index) for index in range(documents)]
    names = [labels()[code] for code in world.codes.values()]
    keys = [(language, name[language]) for language in COLOUR_WORDS for name in names]
    return {key: sum(key[1] in text for text in texts) for key in keys}


def main() -> int:
    """Train the control model, ship it, or count what `tiny` has read."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=("train", "ship", "read"))
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M")
    args = parser.parse_args()
    try:
        if args.task == "train":
            start(RUN)
            deadline = time.monotonic() + 60 * args.minutes
            train_all(CFG, RUN, World(CFG, foreign=False), device(), deadline)
        elif args.task == "read":
            documents = TINY.llm.batch * math.ceil(TINY.llm.steps / 2)  # every other step
            times = times_read(World(TINY), documents).values()
            print(
                f"{len(times)} labels, each in so many of {documents} documents: median "
                f"{statistics.median(times):g}, in none {sum(not n for n in times)}"
            )
        else:
            ship(RUN, CONTROL, TINY.name, NEEDED)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
