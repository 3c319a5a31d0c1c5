"""GenEval in miniature: does a drawing show what its prompt asks for (paper §4.3)?

Prompts of GenEval's six kinds come from held-out scenes; the judge, which never sees a
prompt, says what a drawing shows; a drawing is right if that is the scene's own things.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from minijanus.images import generation_pixels, to_picture
from minijanus.janus import Janus
from minijanus.judge import Found, Judge, shows
from minijanus.language import caption
from minijanus.scenes import DRAWN, TRIES, Scene, enough
from minijanus.studio import draw, picture_seed
from minijanus.text import Tokenizer
from minijanus.world import World

Model = tuple[Janus, Tokenizer, int]  # as load_janus gives it
Asked = tuple[str, Scene]
PROMPTS, DRAWINGS = 100, 4  # of each kind; of each prompt
TRIALS, TRIAL_DRAWINGS = 100, 2  # the same to choose the guidance by
GUIDANCES = (1.0, 1.5, 2.0, 3.0)
PROMPTS_AT_ONCE = 8
AT_ONCE = 100  # pictures that the judge looks at together


def prompts(world: World, kind: str, count: int) -> list[Asked]:
    """So many prompts of a kind, each with its scene; UserError if there are too few."""
    scenes = ((index, world.scene("caption", index)) for index in range(TRIES))
    made = (
        (caption(scene, world.rng("geneval", index)), scene)
        for index, scene in scenes
        if scene.kind == kind
    )
    return enough(made, f"geneval {kind}", count)


def looked(judge: Judge, pictures: Sequence[Image.Image]) -> list[list[Found]]:
    """What the judge finds in each picture."""
    where, found = next(judge.parameters()).device, []
    for start in range(0, len(pictures), AT_ONCE):
        some = pictures[start : start + AT_ONCE]
        found += judge.look(torch.stack([to_tensor(one) for one in some]).to(where))
    return found


def drawn(
    model: Model, asked: Sequence[Asked], n: int, guidance: float, seed: int = 0
) -> list[Image.Image]:
    """n drawings of each prompt, one prompt after the other, every one with its own seed.

    The same prompt may come twice; with the same seeds its drawings would count twice.
    """
    pictures = []
    starts = range(0, len(asked), PROMPTS_AT_ONCE)
    for start in tqdm(starts, desc=f"drawing at {guidance:g}", mininterval=5):
        words = [words for words, _ in asked[start : start + PROMPTS_AT_ONCE]]
        seeds = [picture_seed(seed, n * start + i) for i in range(n * len(words))]
        pictures += draw(*model, words, n, guidance, seeds=seeds)
    return pictures


def right_by_prompt(judge: Judge, pictures: list, asked: Sequence[Asked], n: int) -> Tensor:
    """The share of right ones among the n drawings of each prompt."""
    scenes = [scene for _, scene in asked for _ in range(n)]
    right = list(map(shows, looked(judge, pictures), scenes))
    return torch.tensor(right, dtype=torch.float32).reshape(-1, n).mean(dim=1)


def choose_guidance(model: Model, judge: Judge, world: World) -> tuple[float, dict]:
    """The guidance with most right drawings of a world's prompts, and all shares."""
    asked = [pair for kind in DRAWN for pair in prompts(world, kind, TRIALS)]
    shares = {}
    for guidance in GUIDANCES:
        pictures = drawn(model, asked, TRIAL_DRAWINGS, guidance, seed=1)
        right = right_by_prompt(judge, pictures, asked, TRIAL_DRAWINGS)
        shares[guidance] = round(float(right.mean()), 4)
    return max(shares, key=shares.get), shares


def by_kind(asked: dict[str, list[Asked]], values: Tensor) -> dict[str, Tensor]:
    """The values of all prompts, split by their kind."""
    parts = values.split([len(some) for some in asked.values()])
    return dict(zip(asked, parts, strict=True))


def redrawn(model: Model, world: World, asked: Sequence[Asked]) -> list[Image.Image]:
    """The scenes themselves after a way through the VQ tokenizer: the best any can draw."""
    janus = model[0]
    pictures = []
    for start in range(0, len(asked), AT_ONCE):
        images = [world.render(scene) for _, scene in asked[start : start + AT_ONCE]]
        pixels = [generation_pixels(image, janus.cfg.image_size) for image in images]
        ids = janus.gen.encode(torch.stack(pixels).to(janus.device))
        with torch.no_grad():
            pictures += [to_picture(one) for one in janus.gen.encoder.decode(ids)]
    return pictures


def shuffled_prompts(asked: dict[str, list[Asked]]) -> dict[str, list[Asked]]:
    """Each drawing against another prompt of its kind: what luck alone scores."""
    return {kind: [*some[1:], some[0]] for kind, some in asked.items()}
