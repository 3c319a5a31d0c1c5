"""What single features of the understanding encoder know of the thing they stand on.

python data/eye_probe.py [data/checkpoints/tiny [siglip]]

A linear map of the feature in whose middle a thing lies is taught the thing's name, then
tested on held-out scenes. Presence: how well the largest chance of a name over all
features tells scenes with that thing from scenes without it, the mean over all names. The
second word is the last phase to load, by default stage III.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from minijanus.folders import TINY_FOLDER
from minijanus.limits import features, linear_map
from minijanus.load import load_janus
from minijanus.scenes import Scene
from minijanus.world import World

SCENES = (1500, 300)  # to learn from, and held-out


def middles(scenes: list[Scene], side: int) -> list[tuple[int, int, str]]:
    """For each thing: its scene, the token in which its middle lies, its name."""
    found = []
    for number, scene in enumerate(scenes):
        for thing in scene.objects:
            x, y, width, height = thing.box
            row, column = int((y + height / 2) * side), int((x + width / 2) * side)
            found.append((number, row * side + column, thing.concept))
    return found


def area(scores: torch.Tensor, there: torch.Tensor) -> float:
    """The area under the curve: how often a true scene's score is above a false one's."""
    above = scores[there][:, None] - scores[~there][None]
    return float(((above > 0).float() + (above == 0) / 2).mean())


def main(folder: Path, phase: str) -> None:
    """Learn from training scenes, test on held-out ones, print both measures."""
    janus = load_janus(folder, phase)[0]
    cfg, side = janus.cfg, janus.cfg.image_size // janus.cfg.und_patch
    parts = []
    for world, count in zip((World(cfg), World(cfg, "heldout")), SCENES, strict=True):
        names = [concept.name for concept in world.concepts]
        scenes = [world.scene("scene", index) for index in range(count)]
        x, things = features(janus, world, count), middles(scenes, side)
        y = torch.tensor([names.index(name) for *_, name in things])
        parts.append((x, torch.stack([x[n, token] for n, token, _ in things]), y, scenes))
    (_, x, y, _), (grid, x_test, y_test, scenes) = parts
    middle, spread = x.mean(dim=0), x.std(dim=0)
    linear = linear_map((x - middle) / spread, y, len(names), F.cross_entropy)
    with torch.no_grad():
        right = linear((x_test - middle) / spread).argmax(dim=1) == y_test
        names_there = linear((grid - middle) / spread).log_softmax(dim=-1)
        largest = names_there.amax(dim=1)  # scene, name
    print(f"the thing named right: {float(right.float().mean()):.3f} of {len(right)}")
    shown = [{thing.concept for thing in scene.objects} for scene in scenes]
    areas = []
    for number, name in enumerate(names):
        there = torch.tensor([name in things for things in shown])
        if there.any():
            areas.append(area(largest[:, number], there))
    presence = sum(areas) / len(areas)
    print(f"presence, area under the curve: {presence:.3f}, mean of {len(areas)} names")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_FOLDER,
        sys.argv[2] if len(sys.argv) > 2 else "stage3",
    )
