"""The judge: a small detector that says what a drawing shows, as GenEval's does.

It finds things without being told what to look for: only then its findings are compared
with what was asked for. judge_training.py trains it.
Legend: b batch, c h w picture, y x cells of the grid.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchvision.ops import nms

from minijanus import checkpoint
from minijanus.concepts import COLOURS
from minijanus.config import Config
from minijanus.lab import UserError
from minijanus.layout import Box, relation
from minijanus.scenes import Scene
from minijanus.world import concepts_of

FILE = "judge.safetensors"
NAMES = tuple(COLOURS)  # the last colour class, len(NAMES), is a thing's own colours
SURE = 0.5  # how sure of something a cell must be
SAME = 0.3  # boxes that overlap by more of their union are one thing
PLACE = 0.5  # how much a found box must share with the true one
CORE = 0.8  # share of a box that must lie clearly beside another: edges are never exact


@dataclass(frozen=True)
class Found:
    """One thing that the judge sees; a colour of None is the thing's own."""

    concept: str
    colour: str | None
    box: Box


class Block(nn.Module):
    """Two convolutions added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(8, channels) for _ in range(2))
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class Judge(nn.Module):
    """For every cell: what thing has its middle here, its colour, and its box."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.concepts = concepts_of(cfg.concepts, cfg.styles)
        fine, coarse = 64, 128
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=cfg.image_size // 32, padding=1),
            Block(32),
            nn.Conv2d(32, fine, 3, stride=2, padding=1),
            Block(fine),
            Block(fine),
        )
        self.wide = nn.Sequential(  # sees a large thing as a whole
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
            Block(coarse),
            nn.Conv2d(coarse, coarse, 3, stride=2, padding=1),
            Block(coarse),
            Block(coarse),
            nn.Upsample(scale_factor=4),
        )
        self.joined = nn.Sequential(
            nn.Conv2d(fine + coarse, coarse, 3, padding=1), Block(coarse), nn.SiLU()
        )
        self.sizes = (1 + len(self.concepts), 1 + len(NAMES), 3)
        self.heads = nn.Conv2d(coarse, sum(self.sizes), 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of concepts (0: nothing) and of colours, and boxes (middle x y, side).

        Pixels b c h w in [0, 1] -> each b y x n; boxes are in shares of the picture.
        """
        fine = self.stem(2 * pixels - 1)
        maps = self.heads(self.joined(torch.cat([fine, self.wide(fine)], dim=1)))
        concept, colour, box = rearrange(maps, "b n y x -> b y x n").split(self.sizes, -1)
        cells = box.shape[1]
        at = (torch.arange(cells, device=box.device) + 0.5) / cells
        here = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)  # y x (x y)
        middle, side = here + box[..., :2] / cells, box[..., 2:].sigmoid()
        return concept, colour, torch.cat([middle, side], dim=-1)

    @torch.no_grad()
    def look(self, pixels: Tensor) -> list[list[Found]]:
        """What each picture b c h w, in [0, 1], shows."""
        concept, colour, box = (rearrange(m, "b y x n -> b (y x) n") for m in self(pixels))
        sure = 1 - concept.softmax(dim=-1)[..., 0]
        middle, half = box[..., :2], box[..., 2:] / 2
        corners = torch.cat([middle - half, middle + half], dim=-1)
        found = []
        for i in range(len(pixels)):
            seen = (sure[i] > SURE).nonzero()[:, 0]
            seen = seen[nms(corners[i, seen], sure[i, seen], SAME)]
            whats = (1 + concept[i, seen, 1:].argmax(-1)).tolist()
            tints = colour[i, seen].argmax(-1).tolist()
            rows = zip(whats, tints, box[i, seen].tolist(), strict=True)
            found.append([self._found(*row) for row in rows])
        return found

    def _found(self, what: int, tint: int, box: list[float]) -> Found:
        x, y, side = box
        colour = NAMES[tint] if tint < len(NAMES) else None
        name = self.concepts[what - 1].name
        return Found(name, colour, (x - side / 2, y - side / 2, side, side))


def shows(found: list[Found], scene: Scene) -> bool:
    """Whether these are the things of the scene: no more, no fewer, coloured and placed so.

    A thing that the scene leaves in its own colours may have any; places count where the
    scene is about them (GenEval's kind "position").
    """
    if len(found) != len(scene.objects):
        return False
    for group in scene.groups:
        these = [f for f in found if f.concept == group.concept]
        tinted_so = all(group.colour in (None, f.colour) for f in these)
        if len(these) != group.count or not tinted_so:
            return False
    if scene.kind != "position":
        return True
    boxes = {f.concept: core(f.box) for f in found}
    first, name, second = scene.relations()[0]
    return relation(boxes[first.concept], boxes[second.concept]) == name


def core(box: Box) -> Box:
    """The middle of a box, CORE of its width and height."""
    x, y, w, h = box
    return (x + w * (1 - CORE) / 2, y + h * (1 - CORE) / 2, w * CORE, h * CORE)


def overlap(a: Box, b: Box) -> float:
    """How much of what two boxes cover together both cover, 0 to 1."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def sees_all(found: list[Found], scene: Scene) -> bool:
    """Whether every thing of a rendered scene is found at its place, and nothing else."""
    left = list(found)
    for thing in scene.objects:
        same = [
            f
            for f in left
            if f.concept == thing.concept
            and thing.colour in (None, f.colour)
            and overlap(f.box, thing.box) > PLACE
        ]
        if not same:
            return False
        left.remove(max(same, key=lambda f: overlap(f.box, thing.box)))
    return not left


def load_judge(cfg: Config, folder: Path, device) -> Judge:
    """The trained judge of a preset's world; UserError if it is another's or not whole."""
    judge = Judge(cfg)
    tensors, manifest = checkpoint.load(folder / FILE)
    looks_at = manifest["config"]["image_size"]
    if looks_at != cfg.image_size:  # its weights would fit, and find what is not there
        raise UserError(
            f"the judge in {folder} knows pictures of {looks_at} pixels, but these "
            f"have {cfg.image_size}: name the folder of another one with --judge."
        )
    ours = {name: tensor.float() for name, tensor in tensors.items()}
    checkpoint.load_into(judge, ours, FILE)
    return judge.to(device).eval()
