"""The language model against transformers' Llama, and against itself in every layout."""

import cmath
import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaModel

from minijanus.config import TINY
from minijanus.llm import (
    KVCache,
    Llama,
    RMSNorm,
    attention_mask,
    rope_tables,
    rotate,
    slowed,
)

CFG = replace(
    TINY, vocabulary=50, llm_width=48, llm_heads=4, llm_depth=3, llm_ff=80, max_positions=64
)


def llama(seed: int = 0) -> Llama:
    """A small model whose weights are large enough that a mistake shows."""
    torch.manual_seed(seed)
    model = Llama(CFG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def oracle(model: Llama) -> LlamaModel:
    """Transformers' Llama with the same weights; the names are the same."""
    settings = LlamaConfig(
        vocab_size=CFG.vocabulary,
        hidden_size=CFG.llm_width,
        intermediate_size=CFG.llm_ff,
        num_hidden_layers=CFG.llm_depth,
        num_attention_heads=CFG.llm_heads,
        num_key_value_heads=CFG.llm_heads,
        rms_norm_eps=CFG.norm_eps,
        max_position_embeddings=CFG.max_positions,
    )
    theirs = LlamaModel(settings).eval()
    theirs.load_state_dict(model.state_dict())
    return theirs


def count_up(batch: int, length: int) -> torch.Tensor:
    """Positions 0, 1, 2, ... for each row."""
    return torch.arange(length).expand(batch, length)


@torch.no_grad()
def test_equals_transformers_llama():
    """Catches interleaved RoPE pairs, a missing final norm, gate and up swapped."""
    model = llama()
    x = torch.randn(2, 17, CFG.llm_width)
    theirs = oracle(model)(inputs_embeds=x).last_hidden_state
    assert_close(model(x, count_up(2, 17)), theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_equals_transformers_llama_on_a_left_padded_batch():
    """Catches padding that is attended, and positions that count the padding."""
    model = llama()
    x = torch.randn(2, 9, CFG.llm_width)
    real = torch.ones(2, 9, dtype=torch.long)
    real[1, :4] = 0
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    theirs = oracle(model)(inputs_embeds=x, attention_mask=real, position_ids=positions)
    ours = model(x, positions, attention_mask(real - 1))
    kept = real.bool()
    assert_close(ours[kept], theirs.last_hidden_state[kept], atol=1e-5, rtol=1e-5)


def test_gradients_equal_transformers_llama():
    """Catches a detach or a float32 island that breaks the backward pass."""
    model = llama()
    theirs = oracle(model)
    ids = torch.randint(CFG.vocabulary, (2, 8))
    weights = torch.randn(2, 8, CFG.llm_width)
    (theirs(input_ids=ids).last_hidden_state * weights).sum().backward()
    (model(model.embed_tokens(ids), count_up(2, 8)) * weights).sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, expected[name].grad, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("chunks", [[12], [1] * 12, [5, 1, 4, 2], [11, 1]])
@torch.no_grad()
def test_cached_in_any_chunks_equals_uncached(chunks: list[int]):
    """Catches a cache that shifts by one, forgets a layer, or takes one position only."""
    model = llama()
    x = torch.randn(3, 12, CFG.llm_width)
    documents = torch.zeros(3, 12, dtype=torch.long)
    documents[1, :3] = -1
    positions = (count_up(3, 12) - torch.tensor([[0], [3], [0]])).clamp(min=0)
    whole = model(x, positions, attention_mask(documents))
    cache, pieces, start = KVCache(CFG, 3, 12), [], 0
    for n in chunks:
        end = start + n
        mask = attention_mask(documents[:, :end], new=n)
        pieces.append(model(x[:, start:end], positions[:, start:end], mask, cache))
        start = end
    kept = documents >= 0
    assert_close(torch.cat(pieces, dim=1)[kept], whole[kept], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_mask_means_causal_with_a_cache_too():
    """Catches a default mask aligned to the first key instead of to the last."""
    model = llama()
    x, positions = torch.randn(1, 7, CFG.llm_width), count_up(1, 7)
    cache = KVCache(CFG, 1, 10)
    first = model(x[:, :3], positions[:, :3], cache=cache)
    second = model(x[:, 3:], positions[:, 3:], cache=cache)
    together = torch.cat([first, second], dim=1)
    assert_close(together, model(x, positions), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_packed_documents_equal_separate_ones():
    """Catches nanoVLM's packing, where documents look at each other and share positions."""
    model = llama()
    lengths = [5, 1, 4]
    rows = [torch.randn(1, n, CFG.llm_width) for n in lengths]
    documents = torch.tensor([[0] * 5 + [1] + [2] * 4 + [-1] * 2])
    positions = torch.tensor([[*range(5), 0, *range(4), 0, 0]])
    packed = torch.cat([*rows, torch.randn(1, 2, CFG.llm_width)], dim=1)
    out = model(packed, positions, attention_mask(documents))
    separate = torch.cat([model(r, count_up(1, r.shape[1])) for r in rows], dim=1)
    assert_close(out[:, :10], separate, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_token_changes_nothing_before_it():
    """Catches a mask that is transposed or one diagonal off."""
    model = llama()
    x, positions = torch.randn(1, 8, CFG.llm_width), count_up(1, 8)
    before = model(x, positions)
    for t in range(8):
        other = x.clone()
        other[:, t] += 1
        after = model(other, positions)
        assert_close(after[:, :t], before[:, :t], atol=1e-6, rtol=0)
        assert (after[:, t:] - before[:, t:]).abs().amax(dim=-1).min() > 1e-4


def test_filler_is_finite_and_changes_nothing():
    """Catches a row whose every key is masked: 0 / 0 in the softmax, NaN in all weights."""
    model = llama()
    x = torch.randn(1, 6, CFG.llm_width)
    documents = torch.tensor([[-1, -1, 0, 0, 0, -1]])
    positions = torch.tensor([[0, 0, 0, 1, 2, 0]])
    out = model(x, positions, attention_mask(documents))
    out.square().sum().backward()
    assert out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.layers.parameters())
    alone = model(x[:, 2:5], positions[:, 2:5])
    assert_close(out[:, 2:5], alone, atol=1e-5, rtol=1e-5)


def test_mask_by_hand():
    """Catches filler that sees filler, and a picture seen whole from another document."""
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, -1, -1]])
    spans = torch.tensor([[-1, -1, 0, 0, 0, 0, -1, -1]])
    causal = torch.tensor(
        [
            [1, 0, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0, 0],
            [1, 1, 1, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 1],
        ]
    ).bool()
    whole = causal.clone()
    whole[2, 3] = whole[4, 5] = True
    assert_close(attention_mask(documents, spans), causal[None, None])
    assert_close(attention_mask(documents, spans, see_whole_spans=True), whole[None, None])
    last = attention_mask(documents, spans, new=3, see_whole_spans=True)
    assert_close(last, whole[None, None, -3:])


def test_rotation_equals_complex_numbers_far_out():
    """Catches angles in half precision, where positions 4000 and 4001 become one."""
    x = torch.randn(1, 1, 2, 8)
    positions = torch.tensor([[4000, 4001]])
    rope = rope_tables(positions, 8, 10_000.0)
    ours = rotate(x, rope)
    assert rotate(x.bfloat16(), rope).dtype == torch.bfloat16
    for t, position in enumerate([4000, 4001]):
        for i in range(4):
            turn = cmath.exp(1j * position * 10_000.0 ** (-2 * i / 8))
            pair = complex(x[0, 0, t, i], x[0, 0, t, i + 4]) * turn
            found = complex(ours[0, 0, t, i], ours[0, 0, t, i + 4])
            assert abs(found - pair) < 2e-3


def test_llama_3_slows_what_turns_less_than_once_in_its_context():
    """Worked by hand; catches a kept and a slowed rotation that are mixed up."""
    speeds = 2 * math.pi * torch.tensor([0.5, 0.02, 0.01])  # 50, 2 and 1 turns in 100
    found = slowed(speeds, (8.0, 1.0, 4.0, 100.0)) / (2 * math.pi)
    # The second is a third of the way from 1 turn to 4: 1 / 3 kept and 2 / 3 slowed.
    assert_close(found, torch.tensor([0.5, 0.02 / 3 + 0.02 * 2 / 3 / 8, 0.01 / 8]))
    assert_close(slowed(speeds, (4.0,)), speeds / 4)
    assert slowed(speeds, ()) is speeds


@torch.no_grad()
def test_only_distances_between_positions_matter():
    """Catches positions that also enter absolutely, or values that are rotated."""
    model = llama()
    x = torch.randn(1, 6, CFG.llm_width)
    shifted = model(x, count_up(1, 6) + 40)
    assert_close(shifted, model(x, count_up(1, 6)), atol=1e-4, rtol=1e-4)


def test_norm_is_computed_in_float32():
    """Catches squares that overflow in float16."""
    x = torch.full((1, 4), 300.0, dtype=torch.float16)
    assert_close(RMSNorm(4, 1e-6).half()(x), torch.ones_like(x))


def test_cache_errors_say_what_to_do():
    """Catches a prompt beyond the context that silently wraps or fails deep inside."""
    with pytest.raises(ValueError, match="shorten the prompt"):
        KVCache(CFG, 1, CFG.max_positions + 1)
    with pytest.raises(ValueError, match="make it longer"):
        llama()(torch.randn(1, 3, CFG.llm_width), count_up(1, 3), cache=KVCache(CFG, 1, 2))
