"""The two pathways: what they cache, what they embed, where gradients go."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import gelu
from torch.testing import assert_close

from minijanus.adaptors import (
    Adaptor,
    GenerationPathway,
    UnderstandingPathway,
    place_waves,
)
from minijanus.config import TINY
from minijanus.janus import Janus

CFG = replace(
    TINY, image_size=32, und_width=32, und_depth=1, n_codes=20, vq_channels=8, llm_width=24
)


def test_adaptor_is_two_layers_with_gelu():
    """Catches a missing or extra activation, and the tanh approximation of GELU."""
    adaptor = Adaptor(3, 5)
    x = torch.randn(2, 4, 3)
    first, last = adaptor.layers[0], adaptor.layers[2]
    inner = gelu(x @ first.weight.T + first.bias, approximate="none")
    assert_close(adaptor(x), inner @ last.weight.T + last.bias)


@torch.no_grad()
def test_pictures_begin_as_long_as_words():
    """Catches codes or seen patches that begin far shorter or longer than words."""
    torch.manual_seed(0)
    janus = Janus(TINY)
    janus.gen.start_from_codebook()
    words = janus.llm.embed_tokens.weight.std()
    codes = janus.gen.embed(torch.arange(TINY.n_codes)[None]).std()
    features = torch.nn.LayerNorm(TINY.und_width)(torch.randn(4, 64, 128))
    seen = janus.und.adaptor(features).std()
    assert 0.8 < codes / words < 1.25 and 0.8 < seen / words < 1.25
    # With a place as loud, which is independent of it, twice the power.
    told = janus.und.embed(features).std()
    assert 0.8 < told / (2**0.5 * words) < 1.25


def test_places_are_waves_of_row_and_column():
    """Catches rows and columns exchanged, against a loop over tokens and channels."""
    side, width = 5, 16
    waves = place_waves(side, width)
    assert waves.shape == (side * side, width)
    for n in range(side * side):
        row, column = divmod(n, side)
        expected = []
        for at in (row, column):
            for wave in (math.sin, math.cos):
                for k in range(4):  # each rate as much slower than the one before
                    rate = (math.pi / side) ** (k / 3)
                    expected.append(2**0.5 * wave(at * rate))
        assert_close(waves[n], torch.tensor(expected))


@torch.no_grad()
def test_a_vector_is_told_its_place_as_loud_as_it_is():
    """Catches places that training drowns: one fixed height, or none at all."""
    pathway = UnderstandingPathway(replace(CFG, und_places=True))
    features = torch.randn(2, 16, CFG.und_width) * torch.tensor([1, 30])[:, None, None]
    vectors = pathway.adaptor(features)
    added = pathway.embed(features) - vectors
    for sample in range(2):
        for n in range(16):
            size = vectors[sample, n].pow(2).mean().sqrt()
            expected = size * place_waves(4, CFG.llm_width)[n]
            assert_close(added[sample, n], expected, rtol=1e-4, atol=1e-4 * float(size))
    silent = UnderstandingPathway(replace(CFG, und_places=False))
    assert_close(silent.embed(features), silent.adaptor(features))
    assert set(silent.state_dict()) == set(pathway.state_dict())  # no weights of its own


@pytest.mark.parametrize("pathway_class", [UnderstandingPathway, GenerationPathway])
def test_a_pathway_is_encode_then_embed(pathway_class: type):
    """Catches a token count that is not what embed returns; every span relies on it."""
    pathway = pathway_class(CFG)
    cached = pathway.encode(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert cached.shape[:2] == (2, pathway.n_tokens) == (2, 16)
    assert pathway.embed(cached).shape == (2, pathway.n_tokens, CFG.llm_width)


def test_understanding_passes_gradients_to_its_encoder():
    """Catches a no_grad around SigLIP, which must train in stage III (paper Fig. 3)."""
    pathway = UnderstandingPathway(CFG)
    pathway.embed(pathway.encode(torch.randn(1, 3, 32, 32))).sum().backward()
    assert all(p.grad is not None for p in pathway.parameters())


def test_generation_trains_its_table_and_never_the_codebook():
    """Catches an embedding tied to the tokenizer's frozen codebook."""
    pathway = GenerationPathway(CFG)
    pathway.start_from_codebook()
    assert_close(pathway.embedding.weight.detach(), pathway.encoder.codebook.detach())
    pathway.embed(torch.randint(20, (2, 16))).sum().backward()
    assert all(p.grad is None for p in pathway.encoder.parameters())
    assert pathway.embedding.weight.grad is not None
    before = pathway.encoder.codebook.clone()
    with torch.no_grad():
        pathway.embedding.weight.add_(1)
    assert_close(pathway.encoder.codebook, before)


def test_feedback_equals_embed():
    """Catches a sampler that feeds back something else than training embedded."""
    pathway = GenerationPathway(CFG)
    ids, state = torch.randint(20, (3, 5)), pathway.first_state()
    steps = []
    for column in ids.unbind(dim=1):
        step, state = pathway.feedback(column, state)
        steps.append(step)
    assert_close(torch.cat(steps, dim=1), pathway.embed(ids))


@pytest.mark.parametrize("strange", [-1, 20])
def test_strange_ids_are_refused(strange: int):
    """Catches -1 read as the last code, and an IndexError that explains nothing."""
    with pytest.raises(ValueError, match="codes of the codebook, 0 to 19"):
        GenerationPathway(CFG).embed(torch.tensor([[0, strange]]))
