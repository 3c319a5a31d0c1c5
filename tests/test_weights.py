"""At paper size the model is the released one: every tensor, by name and shape."""

import json
from pathlib import Path

import pytest
import torch

from minijanus.config import PAPER
from minijanus.conversion import unused_shapes
from minijanus.janus import Janus
from minijanus.names import RELEASED_NAMES, UNUSED, released_name

SHAPES = Path(__file__).parent / "data" / "janus_1p3b_state_dict_shapes.json"


@pytest.fixture(scope="module")
def paper() -> Janus:
    """The 1.3B model without its memory."""
    with torch.device("meta"):
        return Janus(PAPER)


def test_every_released_tensor_has_its_counterpart(paper: Janus):
    """Catches a missing bias, a split qkv, a linear layer where a 1 x 1 convolution was."""
    released = json.loads(SHAPES.read_text(encoding="utf-8"))
    unused = [name for name in released if name.startswith(UNUSED)]
    assert len(released) == 882 and len(unused) == 14
    expected = {name: released[name] for name in released.keys() - set(unused)}
    ours = {released_name(name): list(t.shape) for name, t in paper.state_dict().items()}
    assert ours == expected
    assert len(ours) == len(paper.state_dict()), "two tensors share a released name"


def test_shapes_of_what_is_never_used():
    """Catches a harmed pooling head that is carried into every file saved from it."""
    released = json.loads(SHAPES.read_text(encoding="utf-8"))
    pooling = [name for name in UNUSED if "attn_pool" in name]
    assert unused_shapes(1024) == {name: tuple(released[name]) for name in pooling}
    assert len(pooling) == 13


def test_parameter_counts_of_the_released_parts(paper: Janus):
    """Catches tied heads, grouped keys and values, or a wrong inner width."""
    text = sum(p.numel() for m in (paper.llm, paper.text_head) for p in m.parameters())
    counts = {
        name: sum(p.numel() for p in m.parameters()) for name, m in parts(paper).items()
    }
    assert counts == {
        "und.encoder": 316_283_904 - 12_595_200,  # without the unused pooling head
        "und.adaptor": 6_295_552,
        "gen.encoder": 71_883_403,
        "gen.encoder.encoder": 29_298_176,
        "gen.encoder.decoder": 42_449_795,
        "gen.embedding": 131_072,
        "gen.adaptor": 4_214_784,
        "image_head": 37_767_168,
    }
    assert text == 1_652_656_128


def parts(janus: Janus) -> dict[str, torch.nn.Module]:
    """The parts whose released sizes are known."""
    names = "und.encoder und.adaptor gen.encoder gen.encoder.encoder gen.encoder.decoder"
    names += " gen.embedding gen.adaptor image_head"
    return {name: janus.get_submodule(name) for name in names.split()}


def test_the_table_is_read_both_ways():
    """Catches a prefix that hides a longer one, which would send a tensor elsewhere."""
    for column in zip(*RELEASED_NAMES, strict=True):
        assert not any(a != b and a.startswith(b) for a in column for b in column)
    with pytest.raises(ValueError, match="add its prefix"):
        released_name("judge.weight")
