"""Cached encoder outputs: each picture once, and from disk the very same (paper §3.2)."""

from random import Random

import pytest
import torch
from conftest import draw_something
from torch import Tensor, nn

from minijanus.images import generation_pixels, understanding_pixels
from minijanus.picture_cache import PictureCache

CPU = torch.device("cpu")


class Counting:
    """A pathway that counts the pictures it encodes."""

    def __init__(self, pathway: nn.Module):
        self.pathway, self.encoded = pathway, 0

    def encode(self, pixels: Tensor) -> Tensor:
        """What the pathway gives."""
        self.encoded += len(pixels)
        return self.pathway.encode(pixels)


@pytest.fixture
def images() -> list:
    """Six different pictures."""
    return [draw_something(Random(i)) for i in range(6)]


def make(tmp_path, pathway, name: str) -> tuple[PictureCache, Counting]:
    """A cache in this folder, as a new process would open it."""
    counting = Counting(pathway)
    path = tmp_path / f"cache_{name}.safetensors"
    return PictureCache(path, counting, name, 32), counting


@pytest.mark.parametrize("name", ["und", "gen"])
def test_each_picture_is_encoded_once(name, janus, images, tmp_path):
    """Catches a frozen encoder that runs again, within a step, between steps, or after
    the cache was written and read.
    """
    cache, counting = make(tmp_path, janus.pathways[name], name)
    keys = ["a", "b", "a", "c"]
    first = cache.encode(keys, [images[0], images[1], images[0], images[2]], CPU)
    assert counting.encoded == 3 and torch.equal(first[0], first[2])
    second = cache.encode(["c", "d", "b"], [images[2], images[3], images[1]], CPU)
    assert counting.encoded == 4
    assert torch.equal(second[0], first[3]) and torch.equal(second[2], first[1])
    cache.save()
    again, counting = make(tmp_path, janus.pathways[name], name)
    read = again.encode(["a", "b", "c", "d"], images[:4], CPU)
    assert counting.encoded == 0
    assert read.dtype == first.dtype
    assert torch.equal(read, torch.stack([first[0], first[1], first[3], second[1]]))


def test_a_picture_is_what_its_own_pathway_makes_of_it(janus, images, tmp_path):
    """Catches keys that get each other's picture, or the other eye's pixels."""
    wide = [image.resize((32, 20)) for image in images]
    keys = list("abcdef")
    und, _ = make(tmp_path, janus.und, "und")
    features = und.encode(keys, wide, CPU)
    gen, _ = make(tmp_path, janus.gen, "gen")
    codes = gen.encode(keys, wide, CPU)
    assert features.dtype == torch.float32 and codes.dtype == torch.long
    for i, image in enumerate(wide):
        seen = janus.und.encode(understanding_pixels(image, 32)[None])[0]
        torch.testing.assert_close(features[i], seen, rtol=2e-3, atol=2e-3)  # half
        drawn = janus.gen.encode(generation_pixels(image, 32)[None])[0]
        assert codes[i].tolist() == drawn.tolist()
    assert len({tuple(row.tolist()) for row in codes}) == 6


def test_unnamed_pictures_are_never_cached(janus, images, tmp_path):
    """Catches two pictures without a name that are taken for the same one."""
    cache, counting = make(tmp_path, janus.gen, "gen")
    shown = [images[0], images[1], images[2]]
    first = cache.encode(["", "a", ""], shown, CPU)
    assert counting.encoded == 3 and not torch.equal(first[0], first[2])
    second = cache.encode(["", "a", ""], [images[3], images[1], images[0]], CPU)
    assert counting.encoded == 5
    assert torch.equal(second[2], first[0]) and torch.equal(second[1], first[1])
    assert not torch.equal(second[0], first[0])
    cache.save()
    again, _ = make(tmp_path, janus.gen, "gen")
    assert list(again.known) == ["a"]


def test_features_carry_no_gradient(janus, images, tmp_path):
    """Catches a frozen encoder whose graph is kept with the cached features."""
    cache, _ = make(tmp_path, janus.und, "und")
    assert not cache.encode(["a"], images[:1], CPU).requires_grad
