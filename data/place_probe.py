"""Whether the understanding pathway still knows where things are, read by linear maps.

python data/place_probe.py [data/checkpoints/tiny [siglip]]

The eye's features, what the adaptor makes of them, and what the language model reads, to
which places may have been added: which of eight columns the feature in a thing's middle
stands in and, from the features of two things, which place one has seen from the other.
Scenes of the split "heldout". What is not there the language model must read from the order
of the 64 features alone. The second word is the last phase to load, by default stage III;
before stage I the adaptor is as it begins.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minijanus.folders import TINY_FOLDER
from minijanus.language import unique_relations
from minijanus.layout import OPPOSITE
from minijanus.load import load_janus
from minijanus.probes import features, linear_map, middles
from minijanus.scenes import Scene
from minijanus.world import World

SCENES = (2000, 400)  # to learn from, to be tested on
PLACES = list(OPPOSITE)


def pairs(grid: Tensor, scenes: list[Scene], side: int) -> tuple[Tensor, Tensor]:
    """For each clear relation the features of both things, one after the other, and it."""
    found, places = [], []
    for features_of_scene, scene in zip(grid, scenes, strict=True):
        where = {name: at for _, at, name in middles([scene], side)}
        for first, place, second in unique_relations(scene):
            both = [features_of_scene[where[thing.concept]] for thing in (first, second)]
            found.append(torch.cat(both))
            places.append(PLACES.index(place))
    return torch.stack(found), torch.tensor(places)


def columns(grid: Tensor, scenes: list[Scene], side: int) -> tuple[Tensor, Tensor]:
    """For each thing the feature in its middle, and the column of that."""
    found = middles(scenes, side)
    at = torch.tensor([token for _, token, _ in found])
    return torch.stack([grid[s, token] for s, token, _ in found]), at % side


def read_out(learn: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], out: int) -> float:
    """The share that a linear map gets right, taught on one pair, asked on the other."""
    (x, y), (x_test, y_test) = learn, test
    middle, spread = x.mean(dim=0), x.std(dim=0) + 1e-6
    linear = linear_map((x - middle) / spread, y, out, F.cross_entropy)
    with torch.no_grad():
        found = linear((x_test - middle) / spread).argmax(dim=1)
    return float((found == y_test).float().mean())


def main(folder: Path, phase: str) -> None:
    """Print what both maps find, after the eye, after the adaptor and with places."""
    janus = load_janus(folder, phase)[0]
    cfg = janus.cfg
    side, worlds = cfg.image_size // cfg.und_patch, (World(cfg), World(cfg, "heldout"))
    both = list(zip(worlds, SCENES, strict=True))
    scenes = [[world.scene("scene", i) for i in range(n)] for world, n in both]
    grids = {"eye": [features(janus, world, n) for world, n in both]}
    with torch.no_grad():
        grids["adaptor"] = [janus.und.adaptor(grid).float() for grid in grids["eye"]]
        grids["read"] = [janus.und.embed(grid).float() for grid in grids["eye"]]
    for name, (learn, test) in grids.items():
        for what, make, out in (("column", columns, side), ("place", pairs, len(PLACES))):
            taught, asked = make(learn, scenes[0], side), make(test, scenes[1], side)
            often = float(asked[1].bincount().max() / len(asked[1]))
            right = read_out(taught, asked, out)
            print(
                f"{name}: {what} {right:.3f}, most frequent {often:.3f}, n {len(asked[1])}"
            )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_FOLDER,
        sys.argv[2] if len(sys.argv) > 2 else "stage3",
    )
