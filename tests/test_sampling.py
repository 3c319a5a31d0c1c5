"""Choosing from logits, against the warpers of transformers and by counting (§3.4)."""

import pytest
import torch
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from minijanus.sampling import choose

ROWS = 4000


def generators(count: int) -> list[torch.Generator]:
    """One for each row."""
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize(
    "temperature, top_k, top_p",
    [(1.0, None, None), (0.7, 3, None), (1.6, None, 0.6), (0.8, 4, 0.7), (1.0, None, 0.01)],
)
def test_choices_have_the_chances_of_transformers(temperature, top_k, top_p):
    """Catches top-p before temperature, one choice too many or too few, k that is ignored.

    What the warpers rule out is never drawn; the others come as often as their chances say.
    """
    logits = torch.tensor([[1.2, -0.5, 0.3, 2.0, 0.9, -2.0]])
    warped = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p:
        warped = TopPLogitsWarper(top_p)(None, warped)
    expected = warped.softmax(dim=-1)[0]
    drawn = choose(logits.expand(ROWS, -1), generators(ROWS), temperature, top_k, top_p)
    found = drawn.bincount(minlength=6) / ROWS
    assert not found[expected == 0].any()
    # Four standard deviations of a share among so many draws.
    assert ((found - expected).abs() <= 4 * (expected * (1 - expected) / ROWS).sqrt()).all()


def test_the_likeliest_and_no_other():
    """Catches a division by a temperature of 0, and top_k = 1 that still draws."""
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    best = logits.argmax(dim=-1)
    assert torch.equal(choose(logits, [], temperature=0), best)
    assert torch.equal(choose(logits, generators(50), 5.0, top_k=1), best)
    assert torch.equal(choose(logits, generators(50), 1.0, top_p=1e-6), best)


def test_a_row_does_not_depend_on_the_others():
    """Catches a filter that mixes rows, and one generator for all."""
    logits = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
    together = choose(logits, generators(20), 1.5, 5, 0.8)
    for seed in range(20):
        one = [torch.Generator().manual_seed(seed)]
        assert choose(logits[seed : seed + 1], one, 1.5, 5, 0.8) == together[seed]


def test_ties_do_not_widen_top_k():
    """Catches top_k = 1 that draws among equal scores, which half precision often has."""
    logits = torch.tensor([[2.0, 2.0, 2.0, 1.0]]).expand(60, 4)
    assert len(choose(logits, generators(60), 1.0, top_k=1).unique()) == 1
    assert len(choose(logits, generators(60), 1.0, top_k=2).unique()) == 2
