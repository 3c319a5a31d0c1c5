"""Checks of the notebooks' exercises: each prints `todo: ...` or `ok: ...`, or objects.

A stub that still holds `...` is not wrong, only not done, so that Run All works unsolved.
A wrong answer raises AssertionError with one sentence that helps.
"""

from collections.abc import Callable

from minijanus.config import TINY
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import Span, to_sequence
from minijanus.text import Tokenizer


def is_todo(answer: object, exercise: str) -> bool:
    """Whether the answer is still `...`; if so, say it."""
    if answer is ... or answer is None:
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
