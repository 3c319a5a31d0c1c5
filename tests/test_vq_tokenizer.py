"""The VQ tokenizer against transformers' decoder, loops and hand-worked losses."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers import JanusVQVAE, JanusVQVAEConfig

from minijanus.config import TINY
from minijanus.vq_tokenizer import Quantizer, VQTokenizer

CFG = replace(TINY, image_size=32, n_codes=40, vq_channels=8, vq_latent=16)
# Transformers has no other group count than 32, so its oracle needs 128 channels.
WIDE = replace(
    TINY,
    vq_local=False,
    image_size=16,
    n_codes=40,
    vq_channels=128,
    vq_multipliers=(1, 2),
    vq_latent=16,
)


def uneven(model: VQTokenizer) -> VQTokenizer:
    """Give the codebook rows lengths from 0.3 to 3.3, as training may."""
    with torch.no_grad():
        model.quantize.embedding.weight.mul_(torch.linspace(0.3, 3.3, 40)[:, None])
    return model


def oracle(model: VQTokenizer) -> JanusVQVAE:
    """Transformers' port with the same weights under its own names."""
    settings = JanusVQVAEConfig(
        num_embeddings=WIDE.n_codes,
        latent_channels=WIDE.vq_latent,
        base_channels=WIDE.vq_channels,
        channel_multiplier=list(WIDE.vq_multipliers),
        num_res_blocks=WIDE.vq_res_blocks,
        num_patches=8,
    )
    theirs = JanusVQVAE(settings).eval()
    names = {
        "encoder.conv_blocks": "encoder.down", "decoder.conv_blocks": "decoder.up",
        ".res.": ".block.", ".mid.0": ".mid.block_1", ".mid.1": ".mid.attn_1",
        ".mid.2": ".mid.block_2",
    }  # fmt: skip
    tensors = {}
    for name, tensor in model.state_dict().items():
        for ours, other in names.items():
            name = name.replace(ours, other)
        tensors[name] = tensor
    theirs.load_state_dict(tensors)
    return theirs


@torch.no_grad()
def test_decode_equals_transformers():
    """Catches levels in the wrong order, a wrong group count, raw instead of unit codes."""
    torch.manual_seed(0)
    model = uneven(VQTokenizer(WIDE))
    ids = torch.randint(40, (2, 64))
    assert_close(model.decode(ids), oracle(model).decode(ids), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_latents_equal_transformers():
    """Catches padding on the wrong side of the downsampling convolutions."""
    torch.manual_seed(0)
    model = VQTokenizer(WIDE)
    theirs = oracle(model)
    pixels = torch.rand(2, 3, 16, 16) * 2 - 1
    expected = F.normalize(theirs.quant_conv(theirs.encoder(pixels)), dim=1)
    found = model.latents(pixels).movedim(3, 1)
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_nearest_code_equals_a_loop():
    """Catches the transformers port's search, which normalises neither side."""
    torch.manual_seed(0)
    model = uneven(VQTokenizer(replace(CFG, vq_local=False)))
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    z = model.quant_conv(model.encoder(pixels))
    rows = model.quantize.embedding.weight
    loop, unnormalised = [], []
    for vector in z.movedim(1, 3).reshape(-1, CFG.d_code):
        unit = vector / vector.norm()
        distances = [(unit - row / row.norm()).square().sum().item() for row in rows]
        loop.append(distances.index(min(distances)))
        unnormalised.append((vector - rows).square().sum(dim=1).argmin().item())
    ids = model.encode(pixels)
    assert ids.shape == (2, 16)
    assert ids.flatten().tolist() == loop
    assert ids.flatten().tolist() != unnormalised, "this codebook cannot show the bug"


@torch.no_grad()
def test_search_is_not_in_half_precision():
    """Catches autocast, under which thousands of near codes round to the same cosine."""
    torch.manual_seed(0)
    quantizer = Quantizer(replace(CFG, n_codes=4096))
    z = F.normalize(torch.randn(500, CFG.d_code), dim=-1)
    expected = (z @ quantizer.codebook.T).argmax(dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(quantizer.nearest(z), expected)


def test_a_model_in_half_precision_searches_in_full():
    """Catches products of bfloat16, in which the first of many equal codes wins."""
    torch.manual_seed(0)
    quantizer = Quantizer(replace(CFG, n_codes=4096)).to(torch.bfloat16)
    z = F.normalize(torch.randn(500, CFG.d_code), dim=-1).to(torch.bfloat16)
    table = F.normalize(quantizer.embedding.weight.double(), dim=-1)
    expected = (z.double() @ table.T).argmax(dim=-1)
    assert (quantizer.nearest(z) == expected).float().mean() > 0.99


def test_straight_through_gradient():
    """Catches a missing detach: the gradient must pass the codes as if they were z."""
    quantizer = Quantizer(CFG)
    z = F.normalize(torch.randn(1, 2, 3, CFG.d_code), dim=-1).requires_grad_()
    codes, ids, _ = quantizer(z)
    assert_close(codes, quantizer.codebook[ids])
    weights = torch.randn_like(codes)
    (codes * weights).sum().backward()
    assert_close(z.grad, weights)
    assert quantizer.embedding.weight.grad is None


def hand_case() -> tuple[Quantizer, torch.Tensor]:
    """Codes (2, 0) and (0, -3), not of length 1, and z = (0.6, 0.8), nearest the first."""
    quantizer = Quantizer(replace(CFG, n_codes=2, d_code=2))
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, -3.0]]))
    return quantizer, torch.tensor([[[[0.6, 0.8]]]], requires_grad=True)


def test_codebook_and_commitment_by_hand():
    """Catches sums for means, and lengths that enter: both are (0.4² + 0.8²) / 2 = 0.4."""
    quantizer, z = hand_case()
    codes, ids, losses = quantizer(z)
    assert ids.item() == 0
    assert_close(codes.detach(), torch.tensor([[[[1.0, 0.0]]]]))
    assert_close(losses["codebook"].item(), 0.4)
    assert_close(losses["commitment"].item(), 0.4)


def test_each_loss_moves_its_own_side():
    """Catches a detach on the wrong side, which swaps the two (as transformers' port)."""
    quantizer, z = hand_case()
    quantizer(z)[2]["commitment"].backward()
    assert quantizer.embedding.weight.grad is None
    assert_close(z.grad, torch.tensor([[[[-0.4, 0.8]]]]))  # 2 (z - code) / 2
    quantizer, z = hand_case()
    quantizer(z)[2]["codebook"].backward()
    assert z.grad is None
    # (code - z) without its part along the row, divided by the row's length 2.
    assert_close(quantizer.embedding.weight.grad, torch.tensor([[0.0, -0.4], [0.0, 0.0]]))


def test_training_reaches_every_parameter():
    """Catches a part of the tokenizer that is built and never used."""
    model = VQTokenizer(CFG)
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    reconstruction, ids, losses = model(pixels)
    assert reconstruction.shape == pixels.shape
    assert_close(ids, model.encode(pixels))
    assert_close(reconstruction, model.decode(ids), atol=1e-4, rtol=1e-4)
    (F.mse_loss(reconstruction, pixels) + sum(losses.values())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("h", "w"), [(8, 8), (64, 64), (16, 40), (40, 16)])
@torch.no_grad()
def test_any_size_in_whole_codes(h: int, w: int):
    """Catches the released demo's swap of height and width, unseen on squares."""
    model = VQTokenizer(CFG)
    ids = model.encode(torch.rand(1, 3, h, w))
    grid = ids.reshape(1, h // 8, w // 8)
    assert model.decode(grid).shape == (1, 3, h, w)
    if h == w:
        assert_close(model.decode(ids), model.decode(grid))


@torch.no_grad()
def test_ids_run_row_by_row():
    """Catches column order, which turns drawings about their diagonal."""
    model = VQTokenizer(replace(CFG, vq_multipliers=(1, 1), vq_local=True))
    ids = torch.zeros(1, 100, dtype=torch.long)
    other = ids.clone()
    other[0, 9] = 1  # the last code of the first row: top right
    change = (model.decode(ids) - model.decode(other)).abs().sum(dim=1)[0]
    top, right = change[:2, 18:].mean(), change[18:, :2].mean()
    assert top > 3 * right


def test_wrong_input_is_refused_in_one_sentence():
    """Catches ids that crash a GPU, and sides that are silently cut."""
    model = VQTokenizer(CFG)
    for strange in (-1, 40):
        with pytest.raises(ValueError, match="0 to 39"):
            model.decode(torch.full((1, 16), strange))
    with pytest.raises(ValueError, match="b h w"):
        model.decode(torch.zeros(1, 15, dtype=torch.long))
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode(torch.zeros(1, 3, 32, 30))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_decode_keeps_its_dtype(dtype: torch.dtype):
    """Catches the released Upsample, which casts to bfloat16 and so crashes in float16."""
    model = VQTokenizer(CFG).to(dtype)
    assert model.decode(torch.zeros(1, 16, dtype=torch.long)).dtype == dtype


def test_the_decoder_begins_contiguous():
    """Catches channels-last maps: at full size group norm rounds five times worse there."""
    model, seen = VQTokenizer(CFG), []
    first = model.post_quant_conv
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
    model.decode(torch.arange(16)[None])
    assert seen == [True]


def test_codebook_has_length_one():
    """Catches a codebook handed out as it is stored."""
    codebook = uneven(VQTokenizer(CFG)).codebook
    assert codebook.shape == (40, CFG.d_code)
    assert_close(codebook.norm(dim=1), torch.ones(40))


@pytest.mark.parametrize("local", [True, False])
@torch.no_grad()
def test_only_a_local_code_keeps_to_its_own_square(local: bool):
    """Catches a code that changes with the pixels of a neighbour, or squares mixed up."""
    torch.manual_seed(0)
    model = VQTokenizer(replace(CFG, vq_local=local))
    pixels = torch.rand(1, 3, 96, 96) * 2 - 1
    changed = pixels.clone()
    changed[:, :, :8, 8:16] *= -1  # the pixels of the second code of the first row
    moved = (model.latents(pixels) - model.latents(changed)).abs().amax(dim=-1)[0] > 1e-6
    assert moved[0, 1]
    assert (moved.sum().item() == 1) == local


@torch.no_grad()
def test_dead_codes_restart_where_pictures_are_drawn_badly(monkeypatch):
    """Catches a restart that moves living codes, is not repeatable, or looks elsewhere."""
    torch.manual_seed(0)
    models = [VQTokenizer(CFG), VQTokenizer(CFG)]
    models[1].load_state_dict(models[0].state_dict())
    before = models[0].codebook.clone()
    used, pixels = torch.arange(40) % 2, torch.rand(2, 3, 32, 32) * 2 - 1
    wrong = pixels.clone()
    wrong[0, :, 8:16, 24:] += 1  # row 1, column 3 of the first picture
    wrong[1, :, 24:, :8] += 1  # row 3, column 0 of the second
    for model in models:
        monkeypatch.setattr(model, "pixels", lambda codes: wrong)
        generator = torch.Generator().manual_seed(3)
        # There are 20 dead codes, and 32 places to take; 2 of these are drawn badly.
        assert model.restart_dead_codes(used, pixels, generator) == 20
    after = models[0].codebook
    assert_close(after, models[1].codebook)
    assert_close(after[1::2], before[1::2])
    z = models[0].latents(pixels)
    bad = torch.stack([z[0, 1, 3], z[1, 3, 0]])
    cosine = after[::2] @ bad.T
    assert cosine.amax(dim=1).min() > 0.9999
    assert cosine.amax(dim=0).min() > 0.9999, "one of the two places was never taken"
    assert models[0].restart_dead_codes(torch.ones(40), pixels, generator) == 0
