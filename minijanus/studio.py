"""What a person asks of Janus: draw these prompts, answer about this picture (paper §3.4).

The command line and the notebooks come through here. What was typed is checked first, and
a UserError says in one sentence what to do.
"""

import random
import unicodedata
from collections.abc import Iterator, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from minijanus.cfg_sampler import drawing, prompt_ids
from minijanus.images import to_picture
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.text import SPECIAL, Tokenizer
from minijanus.text_sampler import answer

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
MOST_PICTURES = 64
AT_ONCE = 16  # pictures drawn in one batch
GAP = 4  # pixels of white between the pictures of a grid


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
    """The text on one line; UserError if the model cannot read it."""
    text = " ".join(text.split())
    if not any(letter.isalpha() for letter in text):
        raise UserError(f'the {what} has no words: write some, such as "a red car".')
    for mark in SPECIAL:
        if mark in text:
            raise UserError(f"the {what} has {mark}, a mark of the model's own: remove it.")
    check_script(text)
    return text


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise UserError if the number is outside what makes sense."""
    if not low <= value <= high:  # also true of nan
        raise UserError(f"{name} is {value}: choose a number from {low} to {high}.")


def picture_seed(seed: int, number: int) -> int:
    """The seed of one picture, so that it does not depend on how many are drawn."""
    return random.Random(f"{seed}/draw/{number}").getrandbits(63)


def checked_prompt(
    prompt: str, janus: Janus, tokenizer: Tokenizer, stage: int
) -> list[int]:
    """The ids of a drawing prompt that fits into the context with its picture."""
    ids = prompt_ids(check_text(prompt, "prompt"), janus, tokenizer, stage)
    room = janus.cfg.max_positions - janus.gen.n_tokens
    if len(ids) > room:
        raise UserError(
            f"the prompt takes {len(ids)} positions, but the picture leaves only {room}: "
            "shorten it."
        )
    return ids


def drawing_jobs(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    prompts: Sequence[str],
    n: int,
    seed: int,
) -> list[tuple[list[int], torch.Generator]]:
    """The prompt's ids and the generator of every picture; UserError for a bad prompt."""
    check_range("n", n, 1, MOST_PICTURES)
    rows = [checked_prompt(prompt, janus, tokenizer, stage) for prompt in prompts]
    return [
        (row, torch.Generator(janus.device).manual_seed(picture_seed(seed, number)))
        for row in rows
        for number in range(n)
    ]


def draw_pictures(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    prompts: Sequence[str],
    n: int = 4,
    seed: int = 0,
    guidance: float = 5.0,
    temperature: float = 1.0,
) -> list[Image.Image]:
    """Draw each prompt n times, in the format of the stage; all of the first prompt first.

    The k-th picture of a prompt depends on the prompt, the seed and k, on nothing else.
    UserError if a prompt or a number cannot be used.
    """
    check_range("guidance", guidance, 0, 100)
    check_range("temperature", temperature, 0, 10)
    jobs = drawing_jobs(janus, tokenizer, stage, prompts, n, seed)
    pictures = []
    for start in range(0, len(jobs), AT_ONCE):
        ids, generators = map(list, zip(*jobs[start : start + AT_ONCE], strict=True))
        steps = drawing(janus, ids, tokenizer.pad, generators, guidance, temperature)
        *_, drawn = steps
        pictures += unfinished(janus, drawn)
    return pictures


def watch_pictures(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    prompt: str,
    n: int = 4,
    seed: int = 0,
    guidance: float = 5.0,
    temperature: float = 1.0,
) -> Iterator[list[Image.Image]]:
    """As draw_pictures with one prompt; yield the pictures after every row of codes.

    What is still to come is grey. UserError for more than AT_ONCE pictures.
    """
    check_range("n", n, 1, AT_ONCE)
    check_range("guidance", guidance, 0, 100)
    check_range("temperature", temperature, 0, 10)
    jobs = drawing_jobs(janus, tokenizer, stage, [prompt], n, seed)
    ids, generators = map(list, zip(*jobs, strict=True))
    row = isqrt(janus.gen.n_tokens)
    for drawn in drawing(janus, ids, tokenizer.pad, generators, guidance, temperature):
        if drawn.shape[1] % row == 0:
            yield unfinished(janus, drawn)


@torch.no_grad()
def unfinished(janus: Janus, drawn: Tensor) -> list[Image.Image]:
    """The pictures of whole rows of codes b m; the rows that are missing are grey."""
    n = janus.gen.n_tokens
    pixels = janus.gen.encoder.decode(F.pad(drawn, (0, n - drawn.shape[1])))  # b c h w
    pixels[:, :, drawn.shape[1] * pixels.shape[2] // n :] = 0
    return [to_picture(one) for one in pixels]


def ask_picture(
    janus: Janus, tokenizer: Tokenizer, stage: int, picture: Image.Image, question: str
) -> str:
    """The answer to a question about a picture, in the format of the stage.

    UserError if the question cannot be read or is too long.
    """
    question = check_text(question, "question")
    return answer(janus, tokenizer, picture, question, stage)


def grid_picture(
    pictures: Sequence[Image.Image], columns: int = 0, scale: int = 3
) -> Image.Image:
    """Pictures of one size side by side, each pixel `scale` wide.

    Without a number of columns up to four stand in one row, and more in a square.
    """
    if not columns:
        side = next(s for s in range(1, len(pictures) + 1) if s * s >= len(pictures))
        columns = len(pictures) if len(pictures) <= 4 else side
    rows = -(-len(pictures) // columns)
    width, height = (scale * side for side in pictures[0].size)
    whole = (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP)
    sheet = Image.new("RGB", whole, "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        large = picture.resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(large, (column * (width + GAP), row * (height + GAP)))
    return sheet
