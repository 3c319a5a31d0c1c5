"""How an answer is read and marked: yes or no, a letter, VQA's ten annotators, facts.

The rules follow the official protocols; where they do less, it is said.
"""

import re
from collections.abc import Sequence

from minijanus.concepts import BACKGROUNDS, COLOURS
from minijanus.language import NUMBERS, plural
from minijanus.options import LETTERS

NO_WORDS = {"No", "no", "not"}
ARTICLES = {"a", "an", "the"}
DIGITS = {"none": "0"} | {word: str(n) for n, word in enumerate((*NUMBERS, "ten"))}
ANNOTATORS = 10
ENOUGH = 3  # of ten annotators for a full mark


def yes_or_no(said: str) -> str:
    """POPE's rule: "no" if the first sentence has a no or not, else "yes"."""
    words = said.partition(".")[0].replace(",", "").split()
    return "no" if NO_WORDS & set(words) else "yes"


def plain_yes_or_no(said: str) -> str:
    """MME's rule: yes or no within the first four characters, else nothing: wrong."""
    start = said.lower()[:4]
    return next((word for word in ("yes", "no") if word in start), "")


def letter(said: str, options: tuple[str, ...]) -> str:
    """The letter that was said, or that of the only option named; else nothing.

    An A counts before a mark or at the end: "A red car" begins with an article.
    """
    found = set(re.findall(r"\b([B-D]\b|A(?=\s*(?:[.):,]|$)))", said))
    if len(found) == 1:
        return found.pop()
    spoken = normal(said)
    named = [
        letter
        for letter, option in zip(LETTERS, options, strict=False)
        if re.search(rf"\b{re.escape(normal(option))}\b", spoken)
    ]
    return named[0] if len(named) == 1 else ""


def normal(said: str) -> str:
    """VQA's form of an answer: no case, punctuation or article, digits for words.

    The official one also knows contractions, and keeps a mark that stands by itself.
    """
    text = re.sub(r"[\n\t]", " ", said).strip().lower()
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)
    text = re.sub(r'[;/\[\]"{}()=+\\_\-<>@`,?!]', " ", text)
    words = [DIGITS.get(word, word) for word in text.split()]
    return " ".join(word for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, annotators: tuple[str, ...]) -> float:
    """VQA's mark: of every nine of the ten annotators, a third of those who agree.

    Three of nine are enough for a full mark; the mean over the ten left out.
    """
    same = [normal(other) == answer for other in annotators]
    marks = [min(1.0, (sum(same) - left_out) / ENOUGH) for left_out in same]
    return sum(marks) / len(marks)


def told_facts(text: str, names: Sequence[str]) -> set[str]:
    """The facts of a description: "2 red dog" for each kind of thing, "background blue".

    Things without a number count as one; "the dog" speaks of one told before.
    """
    words = text.lower().replace(".", " .").replace(",", " ,").split()
    facts = {
        f"background {name}"
        for name in BACKGROUNDS
        if re.search(rf"\bbackground is {name}\b", text.lower())
    }
    forms = {form: name for name in names for form in (name, plural(name))}
    for end in range(1, len(words) + 1):
        for length in (2, 1):
            form = " ".join(words[max(0, end - length) : end])
            if form in forms:
                before = words[: max(0, end - length)]
                colour = before.pop() if before and before[-1] in COLOURS else ""
                count = DIGITS.get(before[-1], "1") if before else "1"
                if not before or before[-1] != "the":
                    facts.add(" ".join(filter(None, (count, colour, forms[form]))))
                break
    return facts


def agreement(told: set[str], true: set[str]) -> float:
    """Facts that are told and true, as a share of all that are told or true."""
    return len(told & true) / len(told | true) if told | true else 0.0
