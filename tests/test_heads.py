"""The image head: its loss by hand, guidance as an identity, draws as a distribution."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minijanus.config import TINY
from minijanus.heads import ImageHead, guide

CFG = replace(TINY, llm_width=16, llm_heads=2, n_codes=12)


def image_head() -> ImageHead:
    """A head whose logits differ enough to be told apart."""
    torch.manual_seed(1)
    head = ImageHead(CFG)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head


def generators(*seeds: int) -> list[torch.Generator]:
    """One generator per seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def chances_by_hand(head: ImageHead, h_c: torch.Tensor, h_u: torch.Tensor, s: float):
    """The softmax of the guided logits, written out in Python numbers."""
    pairs = zip(head(h_c).tolist(), head(h_u).tolist(), strict=True)
    weights = [math.exp(u + s * (c - u)) for c, u in pairs]
    return [w / sum(weights) for w in weights]


def test_loss_equals_a_loop():
    """Catches a loss that is reduced, or that shifts the targets a second time."""
    head = image_head()
    hidden, target = torch.randn(7, 16), torch.randint(12, (7,))
    expected = []
    for row, code in zip(head(hidden).tolist(), target.tolist(), strict=True):
        expected.append(math.log(sum(math.exp(x) for x in row)) - row[code])
    assert_close(head.loss(hidden, target), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_an_untrained_head_knows_nothing():
    """Catches a start so sharp that the first loss is far above ln(codes).

    Logits begin normal, with a variance of E[GELU(x)^2] = 0.425; such logits that know
    nothing cost half of their variance more than equal ones.
    """
    torch.manual_seed(0)
    loss = ImageHead(TINY).loss(
        torch.randn(256, TINY.llm_width), torch.randint(TINY.n_codes, (256,))
    )
    assert abs(loss.mean().item() - math.log(TINY.n_codes) - 0.425 / 2) < 0.05


def test_guidance_identities():
    """Catches the other convention, (1 + g) l_c - g l_u, which is off by one in s."""
    l_c, l_u = torch.randn(3, 12), torch.randn(3, 12)
    assert_close(guide(l_c, l_u, 0.0), l_u)
    assert_close(guide(l_c, l_u, 1.0), l_c)
    assert_close(guide(l_c, l_u, 5.0), 5 * l_c - 4 * l_u)
    assert_close(guide(l_c, l_c, 7.0), l_c)


@pytest.mark.parametrize("s", [0.0, 1.0, 5.0])
@torch.no_grad()
def test_draws_follow_the_guided_distribution(s: float):
    """Catches branches that are swapped, guidance on probabilities, a top-k by default."""
    head, n = image_head(), 4000
    h_c, h_u = 0.3 * torch.randn(16), 0.3 * torch.randn(16)
    same = generators(3) * n
    ids = head.sample(h_c.expand(n, 16), h_u.expand(n, 16), s, same)
    expected = torch.tensor(chances_by_hand(head, h_c, h_u, s)) * n
    seen = torch.bincount(ids, minlength=12)
    chi_square = ((seen - expected) ** 2 / expected.clamp(min=0.5)).sum().item()
    assert chi_square < 40  # 11 degrees of freedom: 1 in 10,000 by chance
    # The same counts do not fit another strength, so the test can tell them apart.
    wrong = torch.tensor(chances_by_hand(head, h_c, h_u, s + 1)) * n
    assert ((seen - wrong) ** 2 / wrong.clamp(min=0.5)).sum() > 80


@torch.no_grad()
def test_no_unconditional_branch_equals_strength_one():
    """Catches guidance that is applied although there is nothing to guide by."""
    head = image_head()
    h_c, h_u = torch.randn(50, 16), torch.randn(50, 16)
    plain = head.sample(h_c, None, 5.0, generators(*range(50)))
    assert_close(plain, head.sample(h_c, h_u, 1.0, generators(*range(50))))


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch():
    """Catches one generator for the whole batch: another neighbour, another picture."""
    head = image_head()
    h_c, h_u = torch.randn(4, 16), torch.randn(4, 16)
    together = generators(5, 6, 7, 8)
    batch = torch.stack([head.sample(h_c, h_u, 2.0, together) for _ in range(20)])
    for i, seed in enumerate([5, 6, 7, 8]):
        alone = generators(seed)
        rows = (h_c[i : i + 1], h_u[i : i + 1], 2.0)
        assert_close(torch.cat([head.sample(*rows, alone) for _ in range(20)]), batch[:, i])


@torch.no_grad()
def test_temperature():
    """Catches a temperature that is ignored or multiplied; 0 must not divide by 0."""
    head, hidden = image_head(), torch.randn(1, 16)
    best = head(hidden).argmax(dim=-1)
    assert_close(head.sample(hidden, None, 1.0, generators(0), temperature=0.0), best)
    rows, same = hidden.expand(300, 16), generators(0) * 300
    cold = head.sample(rows, None, 1.0, same, temperature=0.01)
    hot = head.sample(rows, None, 1.0, same, temperature=20.0)
    assert (cold == best).float().mean() > 0.9 > 0.3 > (hot == best).float().mean()


def test_one_generator_per_picture_is_asked_for():
    """Catches a zip that silently drops the pictures without a generator."""
    with pytest.raises(ValueError, match="one generator for each of the 3 pictures"):
        image_head().sample(torch.randn(3, 16), None, 1.0, generators(0))
