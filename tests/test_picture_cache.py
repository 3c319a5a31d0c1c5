"""Cached encoder outputs: each picture once, and from disk the very same (paper §3.2)."""

from random import Random

import pytest
import torch
from conftest import draw_something
from torch import Tensor, nn

from minijanus.images import generation_pixels
from minijanus.picture_cache import PictureCache


class Counting:
    """A pathway that counts the pictures it encodes."""

    def __init__(self, pathway: nn.Module):
        self.pathway, self.encoded = pathway, 0

    def encode(self, pixels: Tensor) -> Tensor:
        """What the pathway gives."""
        self.encoded += len(pixels)
        return self.pathway.encode(pixels)


@pytest.fixture
def pixels() -> Tensor:
    """Six different pictures, m c h w."""
    images = [draw_something(Random(i)) for i in range(6)]
    return torch.stack([generation_pixels(image, 32) for image in images])


def make(tmp_path, pathway) -> tuple[PictureCache, Counting]:
    """A cache in this folder, as a new process would open it."""
    counting = Counting(pathway)
    origin = {"encoder": "one"}
    return PictureCache(tmp_path / "cache.safetensors", counting, origin), counting


@pytest.mark.parametrize("name", ["und", "gen"])
def test_each_picture_is_encoded_once(name, janus, pixels, tmp_path):
    """Catches a frozen encoder that runs again, within a step, between steps, or after
    the cache was written and read.
    """
    cache, counting = make(tmp_path, janus.pathways[name])
    first = cache.encode(["a", "b", "a", "c"], pixels[[0, 1, 0, 2]])
    assert counting.encoded == 3 and torch.equal(first[0], first[2])
    second = cache.encode(["c", "d", "b"], pixels[[2, 3, 1]])
    assert counting.encoded == 4
    assert torch.equal(second[0], first[3]) and torch.equal(second[2], first[1])
    cache.save()
    again, counting = make(tmp_path, janus.pathways[name])
    read = again.encode(["a", "b", "c", "d"], pixels[:4])
    assert counting.encoded == 0
    assert read.dtype == first.dtype
    assert torch.equal(read, torch.stack([first[0], first[1], first[3], second[1]]))


def test_every_key_has_its_own_picture(janus, pixels, tmp_path):
    """Catches keys that get each other's picture, or codes that are no integers."""
    features = make(tmp_path, janus.und)[0].encode(list("abcdef"), pixels)
    codes = make(tmp_path, janus.gen)[0].encode(list("abcdef"), pixels)
    assert features.dtype == torch.float32 and codes.dtype == torch.long
    for i in range(6):
        seen = janus.und.encode(pixels[i : i + 1])[0]
        torch.testing.assert_close(features[i], seen, rtol=2e-3, atol=2e-3)  # half
        assert codes[i].tolist() == janus.gen.encode(pixels[i : i + 1])[0].tolist()
    assert len({tuple(row.tolist()) for row in codes}) == 6


def test_unnamed_pictures_are_never_cached(janus, pixels, tmp_path):
    """Catches two pictures without a name that are taken for the same one."""
    cache, counting = make(tmp_path, janus.gen)
    first = cache.encode(["", "a", ""], pixels[[0, 1, 2]])
    assert counting.encoded == 3 and not torch.equal(first[0], first[2])
    second = cache.encode(["", "a", ""], pixels[[3, 1, 0]])
    assert counting.encoded == 5
    assert torch.equal(second[2], first[0]) and torch.equal(second[1], first[1])
    assert not torch.equal(second[0], first[0])
    cache.save()
    again, _ = make(tmp_path, janus.gen)
    assert list(again.known) == ["a"]


def test_features_carry_no_gradient(janus, pixels, tmp_path):
    """Catches a frozen encoder whose graph is kept with the cached features."""
    cache, _ = make(tmp_path, janus.und)
    assert not cache.encode(["a"], pixels[:1]).requires_grad


def test_another_encoder_s_outputs_are_not_read(janus, pixels, tmp_path):
    """Catches old codes that outlive a VQ tokenizer trained anew."""
    cache, _ = make(tmp_path, janus.gen)
    cache.encode(["a", "b"], pixels[:2])
    cache.save()
    counting = Counting(janus.gen)
    other = PictureCache(cache.path, counting, {"encoder": "two"})
    other.encode(["a"], pixels[:1])
    assert counting.encoded == 1
