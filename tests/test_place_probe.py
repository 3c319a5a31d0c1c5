"""Places read by linear maps: found where they are, and not where they are not."""

import torch
from conftest import MICRO, script

from minijanus.world import World

SIDE = 8
place_probe = script("place_probe")


def test_places_are_found_only_in_features_that_hold_them():
    """Catches rows taken for columns, things swapped, and a map that always finds some."""
    torch.manual_seed(0)
    sets = {"held": [], "not": []}
    for split, n in (("train", 400), ("heldout", 200)):
        world = World(MICRO, split)
        scenes = [world.scene("scene", i) for i in range(n)]
        index = torch.arange(SIDE * SIDE)
        at = torch.stack([index % SIDE, index // SIDE], dim=1).float()
        held = at.expand(n, -1, -1) + 0.01 * torch.randn(n, SIDE * SIDE, 2)
        for name, grid in (("held", held), ("not", torch.randn(n, SIDE * SIDE, 2))):
            sets[name].append(place_probe.pairs(grid, scenes, SIDE))
    found = {name: place_probe.read_out(*both, 4) for name, both in sets.items()}
    assert found["held"] > 0.9 and found["not"] < 0.45
    grid = index.float()[None, :, None].expand(1, -1, 1)
    x, column = place_probe.columns(grid, scenes[:1], SIDE)
    assert torch.equal(x[:, 0].long() % SIDE, column)
