"""Training the judge on scenes of its own, apart from all that Janus learns from.

Things are placed and scaled more freely than in any scene of the world, pictures are made
dull, noisy and blurred, and some show nothing; none is a reconstruction or a drawing.
Legend: b batch, c h w picture, y x cells of the grid.
"""

import math
from functools import partial
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor
from torchvision.transforms.functional import to_tensor

from minijanus.concepts import BACKGROUNDS, Concept
from minijanus.config import Config, Phase
from minijanus.judge import NAMES, Judge
from minijanus.layout import touch
from minijanus.loop import memory_format, run_phase
from minijanus.sprites import compose

MOST = 5  # things in a scene to learn from
SIDES = (13, 60)  # of a thing, in 64ths of the picture
TINTED = 0.7  # share of the things that are tinted
EMPTY = 0.12  # share of the pictures that show nothing, and again of those torn to pieces
PHASE = Phase("judge", 2e-3, 3000, 64, warmup=100, schedule="cosine", weight_decay=0.05)


def free_places(rng: Random) -> list[tuple[int, int, int]]:
    """Squares (x, y, side), in 64ths, that never touch; few of them or none at times."""
    places: list[tuple[int, int, int]] = []
    wanted = 0 if rng.random() < EMPTY else rng.randint(1, MOST)
    largest = SIDES[1] if wanted < 2 else SIDES[1] - 6 * wanted
    for _ in range(4 * wanted):
        side = rng.randint(SIDES[0], largest)
        place = (rng.randint(0, 64 - side), rng.randint(0, 64 - side), side)
        if len(places) < wanted and not any(touch(place, other) for other in places):
            places.append(place)
    return places


def scene(cfg: Config, concepts: list[Concept], rng: Random) -> tuple[Tensor, list]:
    """A picture c h w in [0, 1] and its things (concept, colour, middle x y, side)."""
    things, answers = [], []
    for x, y, side in free_places(rng):
        number = rng.randrange(len(concepts))
        tint = rng.randrange(len(NAMES)) if rng.random() < TINTED else len(NAMES)
        name = NAMES[tint] if tint < len(NAMES) else None
        box = (x / 64, y / 64, side / 64, side / 64)
        one = concepts[number]
        things.append((one.hexcode, rng.choice(one.styles), name, box))
        answers.append(
            (1 + number, tint, (x + side / 2) / 64, (y + side / 2) / 64, side / 64)
        )
    ground = rng.choice(tuple(BACKGROUNDS.values()))
    return to_tensor(compose(cfg.image_size, ground, things)), answers


def shuffled(pixels: Tensor, generator: Generator) -> Tensor:
    """The picture c h w with its 8 x 8 tiles of an eighth of its side in random order."""
    tiles = rearrange(pixels, "c (y h) (x w) -> (y x) c h w", y=8, x=8)
    tiles = tiles[torch.randperm(len(tiles), generator=generator)]
    return rearrange(tiles, "(y x) c h w -> c (y h) (x w)", y=8, x=8)


def blurred(pixels: Tensor, generator: Generator) -> Tensor:
    """The picture c h w made duller, noisy and blurred at random, its hues kept."""
    gain, lift, noise, coarse = torch.rand(4, generator=generator).tolist()
    size = pixels.shape[-1]
    if coarse < 0.6:
        small = round(size * (0.4 + coarse))
        pixels = F.interpolate(pixels[None], (small, small), mode="area")
        pixels = F.interpolate(pixels, (size, size), mode="bilinear")[0]
    pixels = (pixels - 0.5) * (0.85 + 0.3 * gain) + 0.5 + 0.1 * (lift - 0.5)
    grain = torch.randn(pixels.shape, generator=generator)
    return (pixels + 0.06 * noise * grain).clamp(0, 1)


def nothing(cfg: Config, pixels: Tensor, generator: Generator) -> Tensor:
    """A picture c h w in which nothing is to be seen: torn to pieces, or noise."""
    kind, coarse = torch.rand(2, generator=generator).tolist()
    if kind < 0.6:
        return shuffled(pixels, generator)
    side = max(2, round(coarse * cfg.image_size))
    noise = torch.rand(1, 3, side, side, generator=generator)
    return F.interpolate(noise, pixels.shape[-2:], mode="bilinear")[0]


def samples(cfg: Config, concepts: list[Concept], step: int) -> tuple[Tensor, Tensor]:
    """One step's pictures b c h w; a row for each thing: picture, then as in `scene`."""
    pictures, rows = [], []
    for i in range(PHASE.batch):
        index = step * PHASE.batch + i
        generator = Generator().manual_seed(index)
        pixels, answers = scene(cfg, concepts, Random(f"judge/{index}"))
        if Random(f"judge/nothing/{index}").random() < EMPTY:
            pixels, answers = nothing(cfg, pixels, generator), []
        pictures.append(blurred(pixels, generator))
        rows += [(i, *answer) for answer in answers]
    return torch.stack(pictures), torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)


def judge_loss(judge: Judge, pixels: Tensor, things: Tensor) -> dict[str, Tensor]:
    """Concept in every cell; colour and box in the cells at the middle of a thing."""
    concept, colour, box = judge(pixels)
    cells = concept.shape[1]
    at = (torch.arange(cells, device=pixels.device) + 0.5) / cells
    which, reach = things[:, 0].long(), (things[:, 5] / 5).clamp(min=0.5 / cells)
    near_x = (at[None] - things[:, 3:4]).abs() <= reach[:, None]  # things x
    near_y = (at[None] - things[:, 4:5]).abs() <= reach[:, None]
    thing, y, x = (near_y[:, :, None] & near_x[:, None]).nonzero(as_tuple=True)
    wanted = torch.zeros(concept.shape[:3], dtype=torch.long, device=pixels.device)
    wanted[which[thing], y, x] = things[thing, 1].long()
    place = (which[thing], y, x)
    surprise = F.cross_entropy(
        rearrange(concept, "b y x n -> b n y x"), wanted, reduction="none"
    )
    something = wanted > 0
    losses = {
        "something": surprise[something].mean(),
        "nothing": surprise[~something].mean(),
        "colour": F.cross_entropy(colour[place], things[thing, 2].long()),
        "box": (box[place] - things[thing, 3:6]).abs().mean(),
    }
    loss = (
        losses["something"] + 4 * losses["nothing"] + losses["colour"] + 10 * losses["box"]
    )
    return {"loss": loss, **losses}


def train_judge(cfg: Config, folder: Path, device, deadline: float = math.inf) -> dict:
    """Train the judge of a preset's world and write its checkpoint."""
    torch.manual_seed(cfg.seed)
    judge = Judge(cfg).to(device, memory_format=memory_format(device))

    def step_loss(step: int, made: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        pixels, things = (tensor.to(device) for tensor in made)
        return judge_loss(judge, pixels, things)

    prepare = partial(samples, cfg, judge.concepts)
    groups = [list(judge.named_parameters())]
    return run_phase(
        cfg, PHASE, judge, groups, prepare, step_loss, folder, {"": ""}, deadline
    )
