"""What the language model answers about scenes that are told in words, without pictures.

python data/told_probe.py [data/checkpoints/tiny [llm]]

What it cannot answer about words it will hardly answer about pictures. The second word is
the last phase to load, by default the LLM's pre-training. Scenes of the split "heldout".
"""

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

Told = tuple[str, str, str]  # a scene in words, a question about it, the true answer


def told(world: World, kind: str) -> list[Told]:
    """Scenes in words with a question of this kind, each about another scene."""

    def make(scene: Scene, rng: Random) -> Told | None:
        turn = ask(scene, rng, world.concepts, kind)
        return turn and (description(scene, rng), *turn)

    return [one for _, one in taken(world, f"told {kind}", QUESTIONS, make)]


def part(kind: str, truth: str) -> str:
    """The kind; questions about places for yes or no, and for a place, are kept apart."""
    if kind != "position":
        return kind
    return f"position, {'yes or no' if truth in ('yes', 'no') else 'where'}"


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
            for (*_, truth), found in zip(some, said, strict=True):
                right.setdefault(part(kind, truth), []).append(same(found, truth))
    for name, marks in right.items():
        print(f"{name}: {sum(marks) / len(marks):.3f}, n {len(marks)}")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_FOLDER
    main(load_janus(folder, sys.argv[2] if len(sys.argv) > 2 else "llm"))
