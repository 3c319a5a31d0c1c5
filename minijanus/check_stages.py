"""Checks of the exercises of notebooks 08 to 11, as check.py has them for the others."""

from collections.abc import Callable

from minijanus.check import is_todo, verdict
from minijanus.sequence import first_sentence, without_condition
from minijanus.text import EOS, chat_pieces


def first(answer: Callable[[str], str]) -> None:
    """Exercise 8.1: the first sentence, on hand-made texts."""
    texts = {
        "A dog. A cat.": "A dog.",
        "a dog and a cat": "a dog and a cat",
        "Version 1.5 is out. Get it.": "Version 1.5 is out.",
        "One sentence only.": "One sentence only.",
    }
    for text, truth in texts.items():
        found = answer(text)
        if is_todo(found, "8.1"):
            return
        assert first_sentence(text) == truth
        verdict(found == truth, f"8.1, {truth!r}", f"{text!r} begins with {truth!r}.")


def unconditional(answer: Callable[[list[int], int, int], list[int]]) -> None:
    """Exercise 8.3: the row without its prompt; knows the known bug."""
    ids, pad = [1, 20, 21, 22, 5], 3
    found = list(answer(list(ids), 4, pad))
    if found == [1, 5]:
        print("todo: exercise 8.3, training never had such a row")
        return
    truth = without_condition([*ids, 9, 9], 4, pad)[:5]
    advice = f"of {ids} with BOI at 4 training makes {truth}, you make {found}."
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
        verdict(found == truth, f"9.1, {len(turns)} turn(s)", f"it is {truth!r}.")


def labels(answer: Callable[[list[int], int, int], list[int]]) -> None:
    """Exercise 9.3: EOS is a target although it is also PAD; knows the known bug."""
    row, length = [1, 40, 41, 2, 2, 2], 4
    found = list(answer(list(row), length, 2))
    if found == [1, 40, 41, -100, -100, -100]:
        print("todo: exercise 9.3, the model never learns to stop")
        return
    truth = row[:length] + [-100] * 2
    advice = f"{row} has {length} real tokens, so {truth}; you say {found}."
    verdict(found == truth, "9.3, EOS counts, padding does not", advice)
