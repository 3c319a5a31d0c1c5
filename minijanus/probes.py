"""What the understanding encoder knows: linear maps of its features, taught and tested.

One names all things of a scene from the mean feature, the other the thing in whose middle a
single feature stands. A linear map adds no knowledge, so what it finds was in the features.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minijanus.geneval_mini import AT_ONCE
from minijanus.images import understanding_pixels
from minijanus.janus import Janus
from minijanus.scenes import Scene
from minijanus.world import World

PROBED = (3000, 500)  # scenes that the map of the mean feature learns from, is tested on
SINGLE = (1500, 300)  # the same for the map of single features


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


def names_all(janus: Janus, world: World) -> Tensor:
    """Whether a linear map of the encoder's mean feature names exactly the things there."""
    names, learn = [concept.name for concept in world.concepts], PROBED[0]
    parts = list(zip((World(world.cfg), world), PROBED, strict=True))
    x = torch.cat([features(janus, part, count).mean(dim=1) for part, count in parts])
    scenes = [part.scene("scene", index) for part, count in parts for index in range(count)]
    shown = [{g.concept for g in scene.groups} for scene in scenes]
    y = torch.tensor([[name in things for name in names] for things in shown]).float()
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    linear = linear_map(
        x[:learn], y[:learn], len(names), F.binary_cross_entropy_with_logits
    )
    return ((linear(x[learn:]) > 0) == y[learn:].bool()).all(dim=1).float()


def middles(scenes: list[Scene], side: int) -> list[tuple[int, int, str]]:
    """For each thing: its scene, the token in which its middle lies, its name."""
    found = []
    for number, scene in enumerate(scenes):
        for thing in scene.objects:
            x, y, width, height = thing.box
            row, column = int((y + height / 2) * side), int((x + width / 2) * side)
            found.append((number, row * side + column, thing.concept))
    return found


def names_single(janus: Janus, world: World) -> tuple[Tensor, Tensor, list[Scene]]:
    """Whether a linear map of the feature in a thing's middle names it, for each thing.

    Also the map's log chances of every name at every feature, s n k, and the s scenes.
    """
    cfg, parts = janus.cfg, []
    for part, count in zip((World(cfg), world), SINGLE, strict=True):
        names = [concept.name for concept in part.concepts]
        scenes = [part.scene("scene", index) for index in range(count)]
        grid = features(janus, part, count)
        things = middles(scenes, cfg.image_size // cfg.und_patch)
        y = torch.tensor([names.index(name) for *_, name in things])
        parts.append((grid, torch.stack([grid[s, at] for s, at, _ in things]), y))
    (_, x, y), (grid, x_test, y_test) = parts
    middle, spread = x.mean(dim=0), x.std(dim=0)
    linear = linear_map((x - middle) / spread, y, len(names), F.cross_entropy)
    with torch.no_grad():
        right = linear((x_test - middle) / spread).argmax(dim=1) == y_test
        chances = linear((grid - middle) / spread).log_softmax(dim=-1)
    return right.float(), chances, scenes
