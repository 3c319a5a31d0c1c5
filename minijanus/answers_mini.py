"""POPE and VQA in miniature: questions about held-out scenes, answered by exact words.

POPE asks for half of its questions about things that are not there (paper §4.3).
"""

import torch
from torch import Tensor
from tqdm import tqdm

from minijanus.geneval_mini import Model
from minijanus.language import a
from minijanus.questions import absent_pools, ask
from minijanus.scenes import Scene
from minijanus.text_sampler import answers
from minijanus.world import World

SPLITS = ("random", "popular", "adversarial")
QUESTIONS = 150  # scenes a split of POPE, two questions each; questions a kind of VQA
KINDS = ("count", "colour", "position")
AT_ONCE = 50  # questions in one batch
MAX_WORDS = 12  # tokens of an answer; the longest true one is far shorter

Asked = tuple[Scene, str, str]  # a scene, a question about it, the true answer


def same(said: str, truth: str) -> bool:
    """Whether an answer is the true one, capitals and the full stop aside."""
    return said.lower().strip(" .") == truth.lower().strip(" .")


def pope(world: World, split: str) -> list[Asked]:
    """For each scene a question about a thing in it and one about a thing that is not."""
    asked: list[Asked] = []
    index = 0
    while len(asked) < 2 * QUESTIONS:
        scene, rng = world.scene("scene", index), world.rng(f"pope {split}", index)
        index += 1
        pool = absent_pools(scene, world.concepts)[split]
        if not pool:
            continue
        there, missing = rng.choice(scene.groups).concept, rng.choice(pool)
        asked.append((scene, f"Is there {a(there)} in the image?", "yes"))
        asked.append((scene, f"Is there {a(missing)} in the image?", "no"))
    return asked


def vqa(world: World, kind: str) -> list[Asked]:
    """Questions of one kind, each about another scene."""
    asked: list[Asked] = []
    index = 0
    while len(asked) < QUESTIONS:
        scene = world.scene("scene", index)
        turn = ask(scene, world.rng("vqa", index), world.concepts, kind)
        if turn:
            asked.append((scene, *turn))
        index += 1
    return asked


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
