"""Checks of the notebooks' exercises: each prints `todo: ...` or `ok: ...`, or objects.

A stub that still holds `...` is not wrong, only not done, so that Run All works unsolved.
A wrong answer raises AssertionError with one sentence that helps.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minijanus.adaptors import Adaptor
from minijanus.config import TINY
from minijanus.llm import rope_tables, rotate
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import Span, to_sequence
from minijanus.text import Tokenizer
from minijanus.vq_tokenizer import Quantizer


def is_todo(answer: object, exercise: str) -> bool:
    """Whether the answer, or a part of it, is still `...`; if so, say it."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    if any(part is ... or part is None for part in parts):
        print(f"todo: exercise {exercise}")
        return True
    return False


def verdict(good: bool, praise: str, advice: str) -> None:
    """Print "ok: praise" for a right answer, else raise AssertionError(advice)."""
    if not good:
        raise AssertionError(advice)
    print(f"ok: {praise}")


def guess(exercise: str, answer: object, truth: object, advice: str) -> None:
    """A prediction against what was measured."""
    if not is_todo(answer, exercise):
        verdict(answer == truth, f"{exercise}, it is {truth}", advice)


def n_positions(answer: Callable[[int, int, int], int]) -> None:
    """Exercise 1.1: the length of a stage I sequence, against `to_sequence` itself."""
    if is_todo(answer(5, 1, 64), "1.1"):
        return
    letters = Tokenizer.train(["a"], 262)  # every letter is a token of its own
    for words, pictures, n in ((5, 1, 64), (12, 2, 576), (40, 3, 9)):
        messages = turns(IMAGE * pictures + "a" * words)
        record = Record("understanding", [None] * pictures, messages)
        truth = len(to_sequence(record, TINY.stage(1), letters, {"und": n}).ids)
        verdict(
            answer(words, pictures, n) == truth,
            f"1.1, {words} words and {pictures} pictures of {n} take {truth} positions",
            f"{words} words and {pictures} pictures of {n} tokens take {truth} positions, "
            f"not {answer(words, pictures, n)}: count BOS, EOS and what frames a picture.",
        )


def predicting_positions(answer: Callable[[Span], list[int]]) -> None:
    """Exercise 1.3: which hidden states predict a picture's codes; knows the known bug."""
    span = Span("gen", start=7, length=64, picture=0, drawn=True)
    found = list(answer(span))
    if found == list(range(7, 70)):
        print("todo: exercise 1.3, one of the 64 codes is never predicted")
        return
    advice = (
        f"a picture of {span.length} codes from position {span.start} on needs "
        f"{span.length} hidden states, each one position before its code."
    )
    verdict(found == list(range(6, 70)), "1.3, every code has its prediction", advice)


def patches(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 2.1: pictures cut into squares, against torch's own `unfold`."""
    for p, height, width in ((8, 16, 16), (4, 8, 20)):
        pixels = torch.arange(2.0 * 3 * height * width).reshape(2, 3, height, width)
        found = answer(pixels, p)
        if is_todo(found, "2.1"):
            return
        if not isinstance(found, Tensor):
            raise AssertionError("return one tensor b n d, not a list: torch.stack helps.")
        truth = rearrange(F.unfold(pixels, p, stride=p), "b d n -> b n d")
        shape = tuple(truth.shape)
        size = f"{height} x {width} pixels in patches of {p}"
        if found.shape != truth.shape:
            raise AssertionError(f"{size} make {shape}, not {tuple(found.shape)}.")
        verdict(
            torch.equal(found, truth),
            f"2.1, {shape[1]} patches of {shape[2]} numbers, row by row",
            f"{size}: the shape is right, the order is not: patches row by row, and inside "
            "each colour, then row, then column.",
        )


def pair_loss(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise 2.3: SigLIP's loss, against binary cross-entropy; knows the known bug."""
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [1.0, -4.0, 0.2]])
    found, yes = float(answer(logits)), torch.eye(3)
    truth = float(F.binary_cross_entropy_with_logits(logits, yes, reduction="sum")) / 3
    if abs(found + float(F.logsigmoid(yes * logits).sum()) / 3) < 1e-5:
        print("todo: exercise 2.3, no wrong pair is ever told no")
        return
    advice = f"this batch has a loss of {truth:.3f}, yours says {found:.3f}"
    divided = abs(3 * found - truth) < 1e-5
    advice += ": divide by the pictures, not by the pairs." if divided else "."
    verdict(abs(found - truth) < 1e-5, "2.3, every pair is told yes or no", advice)


def nearest_codes(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 3.1: ids of the nearest codes, against torch's own distances."""
    generator = torch.Generator().manual_seed(0)
    for lengths in (torch.ones(40, 1), 3 * torch.rand(40, 1, generator=generator)):
        codes = torch.randn(40, 8, generator=generator) * lengths
        points = torch.randn(200, 8, generator=generator)
        found = answer(points, codes)
        if is_todo(found, "3.1"):
            return
        ids = torch.as_tensor(found)
        if ids.shape != (200,):
            raise AssertionError(f"200 points want 200 ids, not {tuple(ids.shape)}.")
        right = int((ids == torch.cdist(points, codes).argmin(dim=-1)).sum())
        advice = (
            f"{right} of 200 points got their nearest code: write out the square of the "
            "distance and keep each term that differs from code to code."
        )
        verdict(right == 200, "3.1, 200 of 200 points got their nearest code", advice)


def straight_through(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 3.3: codes forward, z's gradient backward; knows the known bug."""
    z = torch.tensor([2.0, -1.0], requires_grad=True)
    codes = torch.tensor([3.0, 0.5], requires_grad=True)
    slope, out = torch.tensor([5.0, -4.0]), answer(z, codes)
    found: list[Tensor | None] = [None, None]
    if out.requires_grad:
        found = torch.autograd.grad((out * slope).sum(), (z, codes), allow_unused=True)
    to_z, to_codes = (torch.zeros(2) if g is None else g for g in found)
    forward = torch.allclose(out, codes)
    if forward and torch.equal(to_codes, slope) and not to_z.any():
        print("todo: exercise 3.3, no gradient reaches z")
        return
    advice = (
        f"for the codes {codes.tolist()} forward gave {out.tolist()}; z got the gradient "
        f"{to_z.tolist()}, the codes {to_codes.tolist()}: what must be held still?"
    )
    right = forward and torch.allclose(to_z, slope) and not to_codes.any()
    verdict(right, "3.3, codes go forward, the gradient goes back to z", advice)


def adaptor(answer: Callable[..., Tensor]) -> None:
    """Exercise 4.1: a two-layer MLP by hand, against `Adaptor`."""
    torch.manual_seed(1)
    model, x = Adaptor(6, 10), 3 * torch.randn(20, 6)
    found = answer(x, *(p.detach() for p in model.parameters()))
    if is_todo(found, "4.1"):
        return
    with torch.no_grad():
        truth = model(x)
    verdict(found.shape == truth.shape, "4.1, the shape", f"make it {tuple(truth.shape)}.")
    far = (found - truth).abs().max().item()
    advice = (
        f"your numbers are up to {far:.4f} away: is each matrix transposed, each bias "
        "added, the GELU exact?"
    )
    verdict(far < 1e-4, "4.1, your adaptor computes what Adaptor does", advice)


def first_table(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise 4.3: the table's first rows, from a stored codebook of uneven rows."""
    quantize = Quantizer(replace(TINY, n_codes=12))
    with torch.no_grad():
        quantize.embedding.weight *= torch.linspace(0.2, 3, 12)[:, None]
    stored, truth = quantize.embedding.weight.detach(), quantize.codebook.detach()
    found = answer(stored.clone())
    if torch.equal(found, stored):
        print("todo: exercise 4.3, the rows have any length")
        return
    advice = "each row must be the code as the decoder sees it: what does `codebook` do?"
    good = found.shape == truth.shape and torch.allclose(found, truth, atol=1e-5)
    verdict(good, "4.3, the table starts as the codebook", advice)


def turned(answer: Callable[[Tensor, int, float], Tensor]) -> None:
    """Exercise 5.1: rotary positions of one vector, against `rotate`."""
    vector = torch.randn(8, generator=torch.Generator().manual_seed(0))
    for position, theta in ((0, 10_000.0), (3, 10_000.0), (50, 100.0)):
        found = answer(vector.clone(), position, theta)
        if is_todo(found, "5.1"):
            return
        rope = rope_tables(torch.tensor([[position]]), 8, theta)
        truth = rotate(vector[None, None, None], rope)[0, 0, 0]
        far = (found - truth).abs().max().item()
        advice = (
            f"at position {position} your vector is up to {far:.3f} away: number i of the "
            "first half turns with number i of the second; else look at signs, angle, "
            "and whether a number was overwritten before its last use."
        )
        verdict(far < 1e-3, f"5.1, right at position {position}", advice)


def positions_to_run(answer: Callable[[int, int], Tensor]) -> None:
    """Exercise 5.3: positions behind a cache; knows the known bug."""
    if answer(5, 1).tolist() == [[0]]:
        print("todo: exercise 5.3, a new word would stand in the place of BOS")
        return
    for cached, new in ((0, 4), (4, 1), (7, 3)):
        found, truth = answer(cached, new).tolist(), [list(range(cached, cached + new))]
        advice = f"with {cached} cached, {new} new ones stand at {truth}, not {found}."
        verdict(found == truth, f"5.3, right behind {cached} cached positions", advice)


def scored_tokens(answer: Callable[[list[tuple[list[int], bool]]], list[bool]]) -> None:
    """Exercise 6.1: the targets of a conversation in stage III, by hand."""
    pieces = [([7, 8, 9], False), ([5, 2], True), ([7], False), ([4, 4, 2], True)]
    found, truth = answer(pieces), [False] * 4 + [True] * 2 + [False] + [True] * 3
    if is_todo(found, "6.1"):
        return
    advice = f"for 1 + 3 + 2 + 1 + 3 tokens you say {found}: only answers are scored."
    verdict(list(found) == truth, "6.1, answers and their EOS, nothing else", advice)


def who_sees_whom(answer: Callable[[Tensor], Tensor]) -> None:
    """Exercise 6.3: the mask of a packed row; knows the known bug."""
    documents = torch.tensor([1, 1, 1, 0, 0, 2])  # numbers are names, and in no order
    found, truth = answer(documents), torch.zeros(6, 6, dtype=torch.bool)
    if is_todo(found, "6.3"):
        return
    for query in range(6):
        for key in range(query + 1):
            truth[query, key] = documents[query] == documents[key]
    if torch.equal(found, torch.ones(6, 6).tril().bool()):
        print("todo: exercise 6.3, the second document sees the first")
        return
    wrong = int((found != truth).sum())
    advice = f"{wrong} of 36 entries are wrong: one's own document, and nothing later."
    verdict(wrong == 0, "6.3, no document sees another", advice)
