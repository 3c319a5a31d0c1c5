"""What the language model answers about scenes that are told in words, without pictures.

python data/told_probe.py [data/checkpoints/tiny [llm]]

What it cannot answer about words it will hardly answer about pictures. The second word is
the last phase to load, by default the LLM's pre-training. Scenes of the split "heldout"; a
question about two places is "stated" if the text says the relation of things, "derived" if
the places of both must be compared.
"""

import re
import sys
from pathlib import Path
from random import Random

from minijanus.answers_mini import AT_ONCE, MAX_WORDS, QUESTIONS, same, taken
from minijanus.folders import TINY_FOLDER
from minijanus.geneval_mini import Model
from minijanus.language import description
from minijanus.load import load_janus
from minijanus.questions import KINDS, ask
from minijanus.scenes import Scene
from minijanus.text_sampler import answers
from minijanus.world import World

FORM = 3  # told scenes have the form of stage III already in the LLM's pre-training
RELATION = re.compile(r" is (to the )?(left of|right of|above|below) ")

Told = tuple[str, str, str]  # a scene in words, a question about it, the true answer


def told(world: World, kind: str) -> list[Told]:
    """Scenes in words with a question of this kind, each about another scene."""

    def make(scene: Scene, rng: Random) -> Told | None:
        turn = ask(scene, rng, world.concepts, kind)
        return turn and (description(scene, rng), *turn)

    return [one for _, one in taken(world, f"told {kind}", QUESTIONS, make)]


def part(kind: str, words: str, question: str) -> str:
    """The kind; of questions about two places also how they are asked and what is told."""
    if kind != "position":
        return kind
    asked = "where" if question.startswith("Where") else "yes or no"
    return f"position, {asked}, {'stated' if RELATION.search(words) else 'derived'}"


def main(model: Model) -> None:
    """Print the share of right answers, part by part."""
    janus, tokenizer, _ = model
    world = World(janus.cfg, "heldout")
    right: dict[str, list[bool]] = {}
    for kind in KINDS:
        rows = told(world, kind)
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            asked = [(None, f"{words} {question}") for words, question, _ in some]
            said = answers(janus, tokenizer, asked, FORM, MAX_WORDS)
            for (words, question, truth), found in zip(some, said, strict=True):
                right.setdefault(part(kind, words, question), []).append(same(found, truth))
    for name, marks in right.items():
        print(f"{name}: {sum(marks) / len(marks):.3f}, n {len(marks)}")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_FOLDER
    main(load_janus(folder, sys.argv[2] if len(sys.argv) > 2 else "llm"))
