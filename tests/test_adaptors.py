"""The two pathways: what they cache, what they embed, where gradients go."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import gelu
from torch.testing import assert_close

from minijanus.adaptors import Adaptor, GenerationPathway, UnderstandingPathway
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
    seen = janus.und.embed(
        torch.nn.LayerNorm(TINY.und_width)(torch.randn(4, 64, 128))
    ).std()
    assert 0.8 < codes / words < 1.25 and 0.8 < seen / words < 1.25


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
