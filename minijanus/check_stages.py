"""Checks of the exercises of notebooks 07 to 12, as check.py has them for the others."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from minijanus.check import is_todo, verdict
from minijanus.config import Phase
from minijanus.loop import learning_rate
from minijanus.sequence import first_sentence, left_filled, without_condition
from minijanus.text import EOS, chat_pieces


def rate(answer: Callable[[int, int, int, float], float]) -> None:
    """Exercise 7.1: warm-up and cosine, against the loop's own schedule."""
    phase = Phase("trial", 2e-3, 50, 1, warmup=10, schedule="cosine")
    for step in (0, 4, 9, 10, 30, 49):
        found, truth = answer(step, 50, 10, 2e-3), learning_rate(phase, step)
        if is_todo(found, "7.1"):
            return
        advice = f"step {step} of 50 has the rate {truth:.6f}, yours is {found:.6f}."
        verdict(abs(found - truth) < 1e-9, f"7.1, the rate of step {step}", advice)


def through_frozen(answer: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """Exercise 7.3: gradients pass a frozen module; knows the known bug."""
    torch.manual_seed(0)
    frozen, x = nn.Linear(3, 2), torch.ones(1, 3, requires_grad=True)
    truth = frozen.weight.detach().sum(dim=0, keepdim=True)
    out = answer(frozen, x)
    if not out.requires_grad:
        print("todo: exercise 7.3, no gradient comes back to x")
        return
    same = torch.allclose(out.detach(), frozen(x).detach())
    verdict(same, "7.3, the output is the module's", "return what frozen(x) gives.")
    out.sum().backward()
    kept = [name for name, p in frozen.named_parameters() if p.grad is not None]
    verdict(not kept, "7.3, the frozen weights keep no gradient", f"{kept} still get one.")
    good = x.grad is not None and torch.allclose(x.grad, truth)
    verdict(good, "7.3, and x gets its own", "x should get the gradient of the module.")


def first(answer: Callable[[str], str]) -> None:
    """Exercise 8.1: the first sentence, on hand-made texts."""
    texts = {
        "A dog. A cat.": "A dog.",
        "a dog and a cat": "a dog and a cat",
        "Version 1.5 is out. Get it.": "Version 1.5 is out.",
        "One sentence only.": "One sentence only.",
        "One. Two. Three.": "One.",
    }
    for text, truth in texts.items():
        found = answer(text)
        if is_todo(found, "8.1"):
            return
        assert first_sentence(text) == truth
        advice = f"of {text!r} keep {truth!r}, not {found!r}."
        verdict(found == truth, f"8.1, {truth!r}", advice)


def unconditional(answer: Callable[[list[int], int, int], list[int]]) -> None:
    """Exercise 8.3: the row without its prompt; knows the known bug."""
    for ids, pad in (([1, 20, 21, 22, 5], 9), ([1, 20, 5], 7)):
        boi = len(ids) - 1
        found = list(answer(list(ids), boi, pad))
        if found == [1, 5]:
            print("todo: exercise 8.3, training never had such a row")
            return
        truth = without_condition([*ids, 30, 30], boi, pad)[: boi + 1]
        advice = f"of {ids} with BOI at {boi} training makes {truth}, you make {found}."
        verdict(found == truth, "8.3, as long as before, PAD where words were", advice)


def conversation(answer: Callable[[list[tuple[str, str]], str], str]) -> None:
    """Exercise 9.1: the chat template, against `chat_pieces`."""
    for turns in (
        [("Is there a dog?", "yes")],
        [("Hello.", "Hello!"), ("How many?", "two")],
    ):
        found = answer(turns, EOS)
        if is_todo(found, "9.1"):
            return
        messages = [
            {"role": role, "content": words}
            for turn in turns
            for role, words in zip(("user", "assistant"), turn, strict=True)
        ]
        truth = "".join(text for text, _ in chat_pieces(messages))
        advice = f"it is {truth!r}, yours is {found!r}."
        verdict(found == truth, f"9.1, {len(turns)} turn(s)", advice)


def labels(answer: Callable[[list[int], int, int], list[int]]) -> None:
    """Exercise 9.3: EOS is a target although it is also PAD; knows the known bug."""
    rows = (([1, 40, 41, 2, 2, 2], 4), ([1, 40, 2, 41, 2, 2], 5), ([1, 40, 41, 2, 2, 2], 3))
    for row, length in rows:  # the last one was cut before its EOS
        found = answer(list(row), length, 2)
        if is_todo(found, "9.3"):
            return
        found, truth = list(found), row[:length] + [-100] * (len(row) - length)
        if found == [-100 if number == 2 else number for number in row] != truth:
            print("todo: exercise 9.3, the model never learns to stop")
            return
        advice = f"{row} has {length} real tokens, so {truth}; you say {found}."
        praise = f"9.3, {length} tokens: EOS counts, padding does not"
        verdict(found == truth, praise, advice)


def scores_of(answer: Callable[[Tensor, Tensor, float], Tensor], s: float) -> Tensor:
    """What an answer makes of two rows of scores."""
    return answer(torch.tensor([3.0, 0.0, -1.0]), torch.tensor([1.0, 0.0, 1.0]), s)


def guided(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Exercise 10.1: guidance, worked by hand."""
    by_hand = {0: [1.0, 0.0, 1.0], 1: [3.0, 0.0, -1.0], 5: [11.0, 0.0, -9.0]}
    for s, truth in by_hand.items():
        found = scores_of(answer, s)
        if is_todo(found, "10.1"):
            return
        good = torch.allclose(found, torch.tensor(truth))
        verdict(good, f"10.1, s = {s}", f"at s = {s} it is {truth}, not {found.tolist()}.")


def visible(answer: Callable[[Tensor, list[int], int], Tensor]) -> None:
    """Exercise 10.3: filler hidden, PAD in the place of words not; knows the known bug."""
    pad = 9
    several = [[[1, 20, 21, 22, 5], [1, 20, 5]], [[1, 7, 5], [1, 7, 8, 5], [1, 5]]]
    for prompts in (*several, [[pad, 7, 8, 5], [pad, 7, 5]]):  # an id is no sign of filler
        rows = prompts + [without_condition(ids, len(ids) - 1, pad) for ids in prompts]
        ids, documents, _ = left_filled(rows)
        ids, truth = ids.masked_fill(documents < 0, pad), documents >= 0
        found = answer(ids.clone(), [len(row) for row in rows], pad)
        if found is not ... and getattr(found, "dtype", None) != torch.bool:
            verdict(False, "", "give a tensor of True and False, of the shape of ids.")
        if torch.equal(found, torch.ones_like(truth)):
            print("todo: exercise 10.3, short prompts look at the filler before them")
            return
        words = f"of {ids.tolist()} you show {found.int().tolist()}"
        advice = f"{words}: a dropped prompt is PAD too, and training let it be seen."
        if not torch.equal(found, ids != pad):
            advice = f"{words}, and it is {truth.int().tolist()}."
        praise = f"10.3, {len(rows)} rows, filler hidden and dropped words not"
        verdict(torch.equal(found, truth), praise, advice)


def interval(answer: Callable[[Tensor, Generator], tuple[float, float]]) -> None:
    """Exercise 11.1: a bootstrap interval, against the normal approximation."""
    generator = torch.Generator().manual_seed(0)
    for n in (100, 900):
        values = (torch.arange(n) % 4 == 0).float()  # a quarter are right
        found = answer(values, generator)
        if is_todo(found, "11.1"):
            return
        half = 1.96 * (0.25 * 0.75 / n) ** 0.5
        truth = (0.25 - half, 0.25 + half)
        far = max(abs(a - b) for a, b in zip(found, truth, strict=True))
        advice = (
            f"of {n} values a quarter are right: about ({truth[0]:.3f}, {truth[1]:.3f}), "
            f"not ({found[0]:.3f}, {found[1]:.3f})."
        )
        verdict(far < 0.12 * half, f"11.1, the interval of {n} values", advice)
    coins = (torch.arange(40) % 3 == 0).float()
    again = [answer(coins, torch.Generator().manual_seed(1)) for _ in range(2)]
    advice = "the same generator should give the same interval: hand it to torch.randint."
    verdict(again[0] == again[1], "11.1, the generator decides", advice)
    low, high = answer(torch.tensor([0.0, 1.0]), generator)
    advice = f"of 0 and 1 both must be drawn: from 0 to 1, not ({low:.1f}, {high:.1f})."
    verdict(low == 0 and high == 1, "11.1, and every value has its chance", advice)


def is_right(answer: Callable[[str, str], bool]) -> None:
    """Exercise 11.3: reading an answer; knows the known bug."""
    if answer("another dog", "no"):
        print('todo: exercise 11.3, "another dog" counts as "no"')
        return
    cases = {("Yes.", "yes"): True, (" no ", "no"): True, ("two", "Two"): True}
    cases |= {("yes and no", "yes"): False, ("", "no"): False}
    cases |= {("not red", "red"): False, ("one, not two", "two"): False}
    cases |= {("no one", "noone"): False, ("1.5", "15"): False}
    for (said, truth), good in cases.items():
        found = bool(answer(said, truth))
        advice = f"{said!r} for {truth!r} should be {good}."
        verdict(found == good, f"11.3, {said!r} for {truth!r}", advice)


def gigabytes(answer: Callable[[int, str], float]) -> None:
    """Exercise 12.1: what weights weigh, against tensors of torch's own."""
    released = 2_089_297_547
    for count, dtype in ((released, "bfloat16"), (released, "float32"), (77, "float16")):
        found = answer(count, dtype)
        if is_todo(found, "12.1"):
            return
        truth = count * torch.empty(1, dtype=getattr(torch, dtype)).nbytes / 1e9
        advice = f"{count:,} numbers in {dtype} take {truth:.3g} GB, not {found:.3g}."
        praise = f"12.1, {count:,} numbers in {dtype} take {truth:.3g} GB"
        verdict(abs(found - truth) <= 1e-6 * truth, praise, advice)


def text_ids(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 12.3: ids that a table can look up; knows the known bug."""
    for filler in (3, 0):
        given = torch.tensor([5, -1, 1, -1, 7])
        found = answer(given, filler)
        if given.tolist() != [5, -1, 1, -1, 7]:
            print("todo: exercise 12.3, the caller's tensor was changed")
            return
        if is_todo(found, "12.3"):
            return
        truth = torch.tensor([5, filler, 1, filler, 7])
        good = isinstance(found, Tensor) and found.dtype == truth.dtype
        advice = f"[5, -1, 1, -1, 7] with filler {filler} is {truth}, not {found}."
        praise = f"12.3, new ids with filler {filler}, and the old ones kept"
        verdict(good and torch.equal(found, truth), praise, advice)
