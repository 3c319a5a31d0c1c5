"""POPE and VQA in miniature: questions about held-out scenes, answered by exact words.

POPE asks for half of its questions about things that are not there (paper §4.3).
"""

from collections.abc import Callable
from random import Random
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from minijanus.geneval_mini import Model
from minijanus.language import a
from minijanus.options import absent_pools
from minijanus.questions import Turn, ask
from minijanus.scenes import TRIES, Scene, enough
from minijanus.text_sampler import answers
from minijanus.world import World

SPLITS = ("random", "popular", "adversarial")
QUESTIONS = 150  # scenes a split of POPE, two questions each; questions a kind of VQA
KINDS = ("count", "colour", "position")
AT_ONCE = 50  # questions in one batch
MAX_WORDS = 12  # tokens of an answer; the longest true one is far shorter

T = TypeVar("T")  # what is made of a scene
Asked = tuple[Scene, str, str]  # a scene, a question about it, the true answer


def same(said: str, truth: str) -> bool:
    """Whether an answer is the true one, capitals and the full stop aside."""
    return said.lower().strip(" .") == truth.lower().strip(" .")


def taken(
    world: World, name: str, number: int, make: Callable[[Scene, Random], T | None]
) -> list[tuple[Scene, T]]:
    """The first scenes of which something can be made, with it; UserError for too few."""
    scenes = ((world.scene("scene", i), world.rng(name, i)) for i in range(TRIES))
    made = ((scene, make(scene, rng)) for scene, rng in scenes)
    return enough((one for one in made if one[1]), name, number)


def pope(world: World, split: str) -> list[Asked]:
    """For each scene a question about a thing in it and one about a thing that is not."""

    def pair(scene: Scene, rng: Random) -> tuple[Asked, Asked] | None:
        pool = absent_pools(scene, world.concepts)[split]
        if not pool:
            return None
        there, missing = rng.choice(scene.groups).concept, rng.choice(pool)
        return (
            (scene, f"Is there {a(there)} in the image?", "yes"),
            (scene, f"Is there {a(missing)} in the image?", "no"),
        )

    pairs = taken(world, f"pope {split}", QUESTIONS, pair)
    return [asked for _, both in pairs for asked in both]


def vqa(world: World, kind: str) -> list[Asked]:
    """Questions of one kind, each about another scene."""

    def turn(scene: Scene, rng: Random) -> Turn | None:
        return ask(scene, rng, world.concepts, kind)

    return [(scene, *one) for scene, one in taken(world, "vqa", QUESTIONS, turn)]


def answered(model: Model, world: World, asked: list[Asked], blind: bool = False) -> Tensor:
    """Whether each answer is right, as 0 or 1; `blind` asks without the picture."""
    janus, tokenizer, stage = model
    right = []
    for start in tqdm(range(0, len(asked), AT_ONCE), desc="answering", mininterval=5):
        some = asked[start : start + AT_ONCE]
        shown = [(None if blind else world.render(scene), q) for scene, q, _ in some]
        said = answers(janus, tokenizer, shown, stage, MAX_WORDS)
        right += [same(words, truth) for words, (*_, truth) in zip(said, some, strict=True)]
    return torch.tensor(right, dtype=torch.float32)
