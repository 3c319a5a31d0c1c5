"""The probe of single features: where a thing's middle is, and the area under a curve."""

from dataclasses import replace

import torch
from conftest import script
from torch.nn import functional as F

from minijanus.config import TINY
from minijanus.probes import linear_map, middles
from minijanus.world import World

eye_probe = script("eye_probe")


def test_a_middle_lies_in_row_before_column():
    """Catches rows and columns that changed places."""
    scene = World(TINY).scene("scene", 3)
    thing = replace(scene.objects[0], box=(0.5, 0.125, 0.25, 0.125))
    scenes = [scene, replace(scene, objects=(thing,))]
    *_, (number, token, name) = middles(scenes, 8)
    assert (number, token, name) == (1, 1 * 8 + 5, thing.concept)
    assert len(middles(scenes, 8)) == len(scene.objects) + 1


def test_area_under_the_curve_by_hand():
    """Catches ties that count in full: of six pairs four are above and one is equal."""
    scores = torch.tensor([3.0, 1.0, 2.0, 0.0, 1.0])
    there = torch.tensor([True, True, False, False, False])
    assert abs(eye_probe.area(scores, there) - 4.5 / 6) < 1e-6


def test_a_linear_map_finds_the_one_that_made_the_labels():
    """Catches a map that leaves classes out or learns those of another row."""
    noise = torch.Generator().manual_seed(0)
    x, true = torch.randn(300, 5, generator=noise), torch.randn(5, 4, generator=noise)
    y = (x @ true).argmax(dim=1)
    linear = linear_map(x[:200], y[:200], 6, F.cross_entropy)
    assert linear(x).shape == (300, 6)  # two classes that never occur
    assert (linear(x[200:]).argmax(dim=1) == y[200:]).float().mean() > 0.9
