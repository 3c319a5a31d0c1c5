"""What a person gave, checked before anything runs: words, numbers, conversations.

A UserError says in one sentence what to do.
"""

import unicodedata
from collections.abc import Sequence

from PIL import Image

from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.records import IMAGE, turns
from minijanus.text import SPECIAL, Tokenizer
from minijanus.text_sampler import Asked

# The scripts of the 28 locales in data/labels.parquet, as Unicode's letter names begin.
SCRIPTS = (
    "LATIN", "CYRILLIC", "THAI", "HANGUL", "HIRAGANA", "KATAKANA", "CJK", "BENGALI",
    "DEVANAGARI",
)  # fmt: skip
# Letters of these scripts whose names begin otherwise: ー 々 ｃ ｱ º ª ʼ
ALSO = (
    "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "MASCULINE", "FEMININE",
    "MODIFIER",
)  # fmt: skip


def check_script(text: str) -> None:
    """Raise UserError at the first letter of a script that no training text has."""
    for letter in text:
        if not letter.isalpha():
            continue
        script = unicodedata.name(letter, "UNKNOWN").split()[0]
        if script not in SCRIPTS + ALSO:
            known = ", ".join(name if name == "CJK" else name.title() for name in SCRIPTS)
            raise UserError(
                f'"{letter}" belongs to a script ({script.title()}) that the model never '
                f"read: write in English, or at least in one of {known}."
            )


def check_text(text: str, what: str) -> str:
    """The text without blanks at its ends; UserError if no model could read it."""
    text = text.strip()
    if not text:
        raise UserError(f'the {what} has no words: write some, such as "a red car".')
    for mark in SPECIAL:
        if mark in text:
            raise UserError(f"the {what} has {mark}, a mark of the model's own: remove it.")
    return text


def check_for(janus: Janus, text: str, what: str) -> str:
    """The text as this model reads it; UserError if it cannot.

    Our small models know letters of some scripts on one line; a released one read the web,
    with its formulas, emoji and lines.
    """
    text = check_text(text, what)
    if janus.pretrained is not None and janus.pretrained.layout != "minijanus":
        return text
    if not any(letter.isalpha() for letter in text):
        raise UserError(f'the {what} has no words: write some, such as "a red car".')
    check_script(text)
    return " ".join(text.split())


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise UserError if the number is outside what makes sense."""
    if not low <= value <= high:  # also true of nan
        raise UserError(f"{name} is {value}: choose a number from {low} to {high}.")


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise UserError for what is no way to choose from chances."""
    check_range("temperature", temperature, 0, 10)
    if top_k is not None and not top_k >= 1:
        raise UserError(f"top_k is {top_k}: choose a whole number above zero, or None.")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"top_p is {top_p}: choose a number above 0, up to 1, or None.")


def check_pairs(conversations: Sequence, images: Sequence) -> None:
    """Raise UserError unless each conversation has its list of pictures."""
    if len(conversations) != len(images):
        raise UserError(
            f"{len(conversations)} conversations but {len(images)} lists of pictures: give "
            "each conversation its list, which may be empty."
        )


def loaded(janus: Janus) -> tuple[Janus, Tokenizer, int]:
    """The model, its tokenizer and its stage; UserError if it came from no folder."""
    if janus.pretrained is None:
        raise UserError(
            "this Janus came from no folder and has no tokenizer: begin with "
            "Janus.from_pretrained."
        )
    return janus, janus.pretrained.tokenizer, janus.pretrained.stage


def conversation(
    said: str | Sequence[dict[str, str]], images: Sequence[Image.Image]
) -> Asked:
    """A question or a conversation, with its pictures; UserError if it cannot be answered.

    User and assistant speak in turn, the user first and last.
    """
    messages = turns(said) if isinstance(said, str) else list(said)
    if isinstance(images, Image.Image):
        raise UserError("images is one picture: give a list of pictures.")
    if not all(isinstance(image, Image.Image) for image in images):
        raise UserError("images holds what is no picture: open each with PIL first.")
    if not all(
        isinstance(m, dict) and isinstance(m.get(k), str)
        for m in messages
        for k in ("role", "content")
    ):
        raise UserError(
            'a turn of the conversation is not as in {"role": "user", "content": "Why?"}: '
            "write it so."
        )
    messages = [{**m, "content": m["content"].strip()} for m in messages]
    expected = turns(*[""] * len(messages))
    in_turn = [m["role"] for m in messages] == [m["role"] for m in expected]
    if len(messages) % 2 == 0 or not in_turn:
        raise UserError(
            "user and assistant do not speak in turn, the user first and last: put the "
            "conversation right."
        )
    if not all(m["content"] for m in messages):
        raise UserError("a turn of the conversation is empty: write something.")
    marks = sum(m["content"].count(IMAGE) for m in messages)
    if marks not in (0, len(images)):
        raise UserError(
            f"the conversation has {marks} {IMAGE} marks but {len(images)} pictures: write "
            "one for each picture, or none."
        )
    return messages, images
