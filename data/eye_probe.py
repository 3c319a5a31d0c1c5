"""What single features of the understanding encoder know of the thing they stand on.

python data/eye_probe.py [data/checkpoints/tiny [siglip]]

The first measure is `probe.single` of the evaluation (probes.py). Presence: how well the
largest chance of a name over all features tells scenes with that thing from scenes without
it, the mean over all names. The second word is the last phase to load, by default stage
III. Tested on the split "heldout", so that "test" stays unseen.
"""

import sys
from pathlib import Path

import torch

from minijanus.folders import TINY_FOLDER
from minijanus.load import load_janus
from minijanus.probes import names_single
from minijanus.world import World


def area(scores: torch.Tensor, there: torch.Tensor) -> float:
    """The area under the curve: how often a true scene's score is above a false one's."""
    above = scores[there][:, None] - scores[~there][None]
    return float(((above > 0).float() + (above == 0) / 2).mean())


def main(folder: Path, phase: str) -> None:
    """Learn from training scenes, test on held-out ones, print both measures."""
    janus = load_janus(folder, phase)[0]
    world = World(janus.cfg, "heldout")
    right, chances, scenes = names_single(janus, world)
    print(f"the thing named right: {float(right.mean()):.3f} of {len(right)}")
    largest = chances.amax(dim=1)  # scene, name
    shown = [{thing.concept for thing in scene.objects} for scene in scenes]
    areas = []
    for number, concept in enumerate(world.concepts):
        there = torch.tensor([concept.name in things for things in shown])
        if there.any():
            areas.append(area(largest[:, number], there))
    presence = sum(areas) / len(areas)
    print(f"presence, area under the curve: {presence:.3f}, mean of {len(areas)} names")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_FOLDER,
        sys.argv[2] if len(sys.argv) > 2 else "stage3",
    )
