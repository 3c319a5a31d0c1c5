"""SigLIP against transformers' SigLIP; its loss against a double loop."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    SiglipTextConfig,
    SiglipTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from minijanus.config import TINY
from minijanus.siglip import SigLIP, same_caption, sigmoid_loss, tokens_inside

CFG = replace(
    TINY,
    image_size=32,
    und_patch=8,
    und_width=48,
    und_heads=4,
    und_depth=3,
    und_text_depth=2,
    und_convolutions=False,
)
# Ours starts like transformers' names on the left.
NAMES = {
    "embeddings.patch_embedding.": "patch_embed.proj.",
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "pos_embed",
    "encoder.layers.": "blocks.",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "post_layernorm": "norm",
    "final_layer_norm": "norm",
    "head.probe": "latent",
    "head.attention.out_proj": "proj",
    "head.layernorm": "norm",
    "head.mlp": "mlp",
}


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Transformers' tensors under our names, q, k and v laid one under the other."""
    ours = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("vision_model.").removeprefix("text_model.")
        for old, new in NAMES.items():
            name = name.replace(old, new)
        ours[name] = tensor[None] if name == "pos_embed" else tensor
    for name in [n for n in ours if ".self_attn.q_proj." in n]:
        qkv = [ours.pop(name.replace("q_proj", p)) for p in ("q_proj", "k_proj", "v_proj")]
        ours[name.replace("self_attn.q_proj", "attn.qkv")] = torch.cat(qkv)
    return ours


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Move every weight, biases too, so that a forgotten one shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


SHARED = {
    "hidden_size": CFG.und_width, "intermediate_size": 4 * CFG.und_width,
    "num_attention_heads": CFG.und_heads, "hidden_act": "gelu",
}  # fmt: skip


@torch.no_grad()
def test_vision_equals_transformers():
    """Catches columns before rows, tanh GELU, eps 1e-5, a missing last norm or q/k swap."""
    settings = SiglipVisionConfig(
        **SHARED, num_hidden_layers=CFG.und_depth, image_size=32, patch_size=8
    )
    theirs, model = shaken(SiglipVisionModel(settings)), SigLIP(CFG, 30)
    tensors = renamed(theirs.state_dict())
    in_weight, in_bias = "head.attention.in_proj_weight", "head.attention.in_proj_bias"
    head = {
        n: t for n, t in tensors.items() if n.split(".")[0] in ("latent", "proj", "mlp")
    }
    q_and_kv = [CFG.und_width, 2 * CFG.und_width]
    head["q.weight"], head["kv.weight"] = tensors[in_weight].split(q_and_kv)
    head["q.bias"], head["kv.bias"] = tensors[in_bias].split(q_and_kv)
    own = theirs.state_dict()
    for part in ("weight", "bias"):
        (key,) = [n for n in own if n.endswith(f"head.layernorm.{part}")]
        head[f"norm.{part}"] = own[key]
        (key,) = [n for n in own if n.endswith(f"post_layernorm.{part}")]
        tensors[f"norm.{part}"] = own[key]
    known = model.vision.state_dict().keys()
    model.vision.load_state_dict({n: t for n, t in tensors.items() if n in known})
    model.pool.load_state_dict(head)
    pixels = torch.randn(2, 3, 32, 32)
    expected = theirs(pixels)
    tokens = model.vision(pixels)
    assert tokens.shape == (2, model.vision.n_tokens, CFG.und_width)
    assert_close(tokens, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert_close(model.pool(tokens), expected.pooler_output, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("patch", [4, 8])
def test_convolutions_keep_patches_in_their_rows(patch: int):
    """Catches columns before rows, and one halving too many or too few."""
    cfg = replace(CFG, und_convolutions=True, und_patch=patch)
    torch.manual_seed(0)
    embed, side = SigLIP(cfg, 30).vision.patch_embed, 32 // patch
    pixels = torch.zeros(2, 3, 32, 32)
    pixels[1, :, :patch, -patch:] = 1  # the last patch of the first row
    moved = (embed(pixels)[1] - embed(pixels)[0]).norm(dim=-1)
    assert moved.shape == (side * side,)
    corners = moved.reshape(side, side)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert int(corners.argmax()) == 1


@torch.no_grad()
def test_text_equals_transformers():
    """Catches a causal mask in the text tower, and padding that is attended."""
    settings = SiglipTextConfig(
        **SHARED, num_hidden_layers=CFG.und_text_depth, vocab_size=30
    )
    theirs, model = shaken(SiglipTextModel(settings)), SigLIP(CFG, 30)
    model.text.load_state_dict(renamed(theirs.state_dict()))
    ids = torch.randint(30, (3, 10))
    mask = torch.arange(10) < torch.tensor([[10], [4], [1]])
    expected = theirs(ids, attention_mask=mask.long()).last_hidden_state
    found = model.text.hidden(ids, mask)
    assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
    mean = torch.stack([row[m].mean(dim=0) for row, m in zip(expected, mask, strict=True)])
    assert_close(model.text(ids, mask), theirs.head(mean), atol=1e-5, rtol=1e-5)


def test_tokens_inside_a_box():
    """Catches rows taken for columns, and a token counted that the box only touches."""
    boxes = [(0.25, 0.0, 0.5, 0.25), (0.0, 0.5, 0.2, 0.5)]
    expected = [
        [
            x <= (column + 0.5) / 4 <= x + w and y <= (row + 0.5) / 4 <= y + h
            for row in range(4)
            for column in range(4)
        ]
        for x, y, w, h in boxes
    ]
    assert expected[0] == [False, True, True, False] + 12 * [False]
    assert tokens_inside(boxes, 4).tolist() == expected
    assert tokens_inside([], 4).shape == (0, 16)
    # A box between the middles still has the token nearest to it: pooling needs one.
    assert tokens_inside([(0.26, 0.77, 0.02, 0.02)], 4)[0].nonzero().tolist() == [[13]]


@torch.no_grad()
def test_a_part_is_its_own_tokens_pooled():
    """Catches parts of another picture, and a pooling that looks outside the part."""
    model = shaken(SigLIP(CFG, 30))
    pixels, inside = torch.randn(2, 3, 32, 32), torch.rand(3, 16) < 0.5
    inside[:, 0] = True
    found = model.parts_embedding(pixels, torch.tensor([1, 0, 1]), inside)
    assert_close(found[:2], model.image_embedding(pixels))
    features = model.vision(pixels)
    for row, number, where in zip(found[2:], (1, 0, 1), inside, strict=True):
        alone = model.pool(features[number, where][None])[0]
        assert_close(row, alone / alone.norm(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_changes_no_caption():
    """Catches a caption whose embedding depends on the longest one in its batch."""
    model = SigLIP(CFG, 30)
    ids = torch.randint(30, (1, 5))
    alone = model.text_embedding(ids, torch.ones(1, 5, dtype=torch.bool))
    padded = torch.cat([ids, torch.randint(30, (1, 4))], dim=1)
    mask = torch.arange(9)[None] < 5
    assert_close(model.text_embedding(padded, mask), alone, atol=1e-5, rtol=1e-5)
    assert_close(alone.norm(dim=-1), torch.ones(1))


@torch.no_grad()
def test_long_and_empty_captions():
    """Catches an index beyond the position table, and a division by no tokens."""
    model = SigLIP(CFG, 30)
    long = torch.randint(30, (1, 90))
    cut = model.text_embedding(long[:, :64], torch.ones(1, 64, dtype=torch.bool))
    assert_close(model.text_embedding(long, torch.ones(1, 90, dtype=torch.bool)), cut)
    nothing = model.text_embedding(long[:, :3], torch.zeros(1, 3, dtype=torch.bool))
    assert nothing.isfinite().all()


def test_loss_equals_a_double_loop():
    """Catches a softmax in place of the sigmoid, a mean over pairs, a scale not exp'ed.

    And two equal captions, 1 and 3, of which each is called wrong for the other's picture.
    """
    torch.manual_seed(0)
    pictures = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    captions = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    total = 0.0
    for i in range(5):
        for j in range(5):
            z = 1 if i == j or {i, j} == {1, 3} else -1
            logit = 10.0 * float(pictures[i] @ captions[j]) - 2.0
            total += math.log(1 + math.exp(-z * logit))
    ids = torch.tensor([[1, 2, 0], [1, 2, 3], [1, 0, 3], [1, 2, 3], [3, 2, 1]])
    scale, bias = torch.tensor(math.log(10)), torch.tensor(-2.0)
    loss = sigmoid_loss(pictures, captions, scale, bias, same_caption(ids))
    assert_close(loss.item(), total / 5, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_close_vectors_stay_apart_in_half_precision():
    """Catches unit vectors or a loss rounded by autocast, where many pictures are alike."""
    torch.manual_seed(0)
    alike = torch.nn.functional.normalize(1 + 0.01 * torch.randn(6, 8), dim=-1)
    given = (alike, alike.flip(0), torch.tensor(3.0), torch.tensor(-2.0), torch.eye(6) > 0)
    model = SigLIP(CFG, 30)
    pixels, ids = torch.randn(2, 3, 32, 32), torch.arange(6).reshape(2, 3)
    expected, whole = sigmoid_loss(*given), torch.ones(2, 3, dtype=torch.bool)
    inside = torch.ones(1, 16, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        assert (alike @ alike.T).dtype == torch.bfloat16, (
            "autocast is off: nothing is tested"
        )
        assert torch.equal(sigmoid_loss(*given), expected)
        found = [model.image_embedding(pixels), model.text_embedding(ids, whole)]
        found.append(model.parts_embedding(pixels, torch.tensor([1]), inside))
    for vectors in found:
        assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)), atol=1e-6, rtol=0)


def test_start_of_scale_and_bias():
    """Catches a start without the bias, where the many wrong pairs make the first loss."""
    model = SigLIP(replace(CFG, siglip=replace(CFG.siglip, batch=5)), 30)
    assert_close(model.log_scale.exp().item(), 10.0)
    # One pair in five is right: the bias alone should say one fifth.
    assert_close(model.bias.sigmoid().item(), 0.2)


def test_every_parameter_trains():
    """Catches a tower that is built and left out of the loss."""
    model = SigLIP(CFG, 30)
    images = model.image_embedding(torch.randn(3, 3, 32, 32))
    texts = model.text_embedding(torch.arange(30).reshape(3, 10), torch.ones(3, 10))
    match = torch.eye(3, dtype=torch.bool)
    sigmoid_loss(images, texts, model.log_scale, model.bias, match).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_another_picture_size_is_refused():
    """Catches a position table that is broadcast or cut without a word."""
    with pytest.raises(ValueError, match="32 x 32"):
        SigLIP(CFG, 30).image_embedding(torch.zeros(1, 3, 40, 32))
