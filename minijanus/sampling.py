"""From logits to a choice: temperature, top-k, top-p; pictures and words share it.

Legend: b rows, k choices. Each row has a generator of its own, on the logits' device, so
that what is drawn does not depend on the other rows of the batch.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def choose(
    logits: Tensor,
    generators: Sequence[Generator],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """One choice for each row of logits b k, as ids b; temperature 0 takes the likeliest.

    top_k leaves the k likeliest choices, top_p the fewest likeliest ones whose chances,
    at this temperature, add up to p or more.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = torch.softmax(logits.float() / temperature, dim=-1)
    if top_k is not None and top_k < chances.shape[-1]:
        best = chances.topk(top_k, dim=-1)
        chances = torch.zeros_like(chances).scatter_(-1, best.indices, best.values)
    if top_p is not None:
        chances = chances / chances.sum(dim=-1, keepdim=True)
        sorted_chances, order = chances.sort(dim=-1, descending=True)
        before = sorted_chances.cumsum(dim=-1) - sorted_chances  # of those more likely
        too_many = torch.zeros_like(chances, dtype=torch.bool)
        too_many.scatter_(-1, order, before >= top_p)
        chances = chances.masked_fill(too_many, 0.0)
    # Above zero, as torch on mps at times draws what has no chance at all.
    chances = chances.clamp(min=torch.finfo(chances.dtype).tiny)
    # multinomial takes weights; they need not add up to 1.
    draws = [
        torch.multinomial(row, 1, generator=generator)
        for row, generator in zip(chances, generators, strict=True)
    ]
    return torch.cat(draws)
