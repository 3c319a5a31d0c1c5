"""What limits a score: the judge, the VQ tokenizer, the encoder, the language model.

The judge is tested on real scenes and on nonsense, the VQ tokenizer by the judge of its
reconstructions, the understanding encoder by a linear probe, the LLM on held-out text.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minijanus.geneval_mini import AT_ONCE, PROMPTS, Model, looked, prompts, redrawn
from minijanus.images import understanding_pixels
from minijanus.janus import Janus
from minijanus.judge import Found, Judge, sees_all, shows
from minijanus.pretrain import PLAIN_TEXT
from minijanus.records import Record, turns
from minijanus.scenes import DRAWN, Scene
from minijanus.scores import score
from minijanus.sequence import pack, to_sequence
from minijanus.text import Tokenizer
from minijanus.world import World

SCENES = 500  # of each stream that the judge is tested on
TEXTS, IN_ONE = 40, 10  # batches of held-out text, and documents in one
PROBED = (3000, 500)  # scenes that the probe learns from and is tested on


def truth(scene: Scene) -> list[Found]:
    """What a perfect judge would find in the rendered scene."""
    return [Found(t.concept, t.colour, t.box) for t in scene.objects]


def ones(values) -> Tensor:
    """Truths as numbers."""
    return torch.tensor([float(v) for v in values])


def judge_scores(judge: Judge, model: Model, world: World) -> dict:
    """How far the judge itself can be trusted."""
    asked = [pair for kind in DRAWN for pair in prompts(world, kind, PROMPTS)]
    groups = []
    for stream in ("caption", "scene"):
        scenes = [world.scene(stream, index) for index in range(SCENES)]
        found = looked(judge, [world.render(scene) for scene in scenes])
        groups.append(ones(map(sees_all, found, scenes)))
    scenes = [scene for _, scene in asked]
    again = looked(judge, redrawn(model, world, asked))
    images = [world.render(scene) for scene in scenes]
    seen, others = looked(judge, images), [*scenes[1:], scenes[0]]
    wrong = [
        shows(found, other)
        for found, scene, other in zip(seen, scenes, others, strict=True)
        if not shows(truth(scene), other)
    ]
    size = world.cfg.image_size
    noise = torch.rand(
        len(scenes), 3, size, size, generator=torch.Generator().manual_seed(0)
    )
    flat = noise[..., :1, :1].expand(noise.shape)
    false = [ones(map(shows, judge.look(fake), scenes)) for fake in (flat, noise)]
    return {
        "judge.real": score(groups, 0, 1, "things, colours and places right, all of them"),
        "judge.reconstructions": score(
            [ones(map(sees_all, again, scenes))], 0, 1, "the same, after the VQ tokenizer"
        ),
        "judge.false_accepts": score(
            [*false, ones(wrong)], 0, 1, "plain colour, noise, scenes of another prompt"
        ),
    }


def text_losses(janus: Janus, tokenizer: Tokenizer, world: World) -> Tensor:
    """The mean loss of a token, for each of TEXTS batches of held-out text."""
    found = []
    for batch in range(TEXTS):
        texts = [world.text(batch * IN_ONE + i) for i in range(IN_ONE)]
        records = [Record("text", [], turns("", text)[1:]) for text in texts]
        rows = [to_sequence(r, PLAIN_TEXT, tokenizer, janus.lengths()) for r in records]
        packed = pack(rows, janus.cfg.pack_length, janus.cfg.max_positions)
        with torch.no_grad():
            found.append(janus.loss(packed.to(janus.device), {})["text"])
    return torch.stack(found).cpu()


def features(janus: Janus, world: World, count: int) -> Tensor:
    """Features b n d of the understanding encoder for the first scenes of a world."""
    found = []
    for start in range(0, count, AT_ONCE):
        scenes = [
            world.scene("scene", i) for i in range(start, min(start + AT_ONCE, count))
        ]
        images = [world.render(scene) for scene in scenes]
        pixels = [understanding_pixels(image, world.cfg.image_size) for image in images]
        with torch.no_grad():
            found.append(janus.und.encode(torch.stack(pixels).to(janus.device)).cpu())
    return torch.cat(found).float()


def linear_map(
    x: Tensor, y: Tensor, out: int, loss: Callable[[Tensor, Tensor], Tensor]
) -> nn.Linear:
    """The linear map of x n d to n out with the least loss(map(x), y), its weights small.

    y has what the loss wants: classes n for a cross-entropy, n out for one yes or no each.
    """
    linear = nn.Linear(x.shape[1], out)
    optimizer = torch.optim.LBFGS(
        linear.parameters(), max_iter=200, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(linear(x), y) + 1e-4 * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return linear


def probe(model: Model, world: World) -> Tensor:
    """Whether a linear map of the encoder's mean feature names exactly the things there."""
    names, learn = [concept.name for concept in world.concepts], PROBED[0]
    parts = list(zip((World(world.cfg), world), PROBED, strict=True))
    x = torch.cat([features(model[0], part, count).mean(dim=1) for part, count in parts])
    scenes = [part.scene("scene", index) for part, count in parts for index in range(count)]
    shown = [{g.concept for g in scene.groups} for scene in scenes]
    y = torch.tensor([[name in things for name in names] for things in shown]).float()
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    linear = linear_map(
        x[:learn], y[:learn], len(names), F.binary_cross_entropy_with_logits
    )
    return ((linear(x[learn:]) > 0) == y[learn:].bool()).all(dim=1).float()
