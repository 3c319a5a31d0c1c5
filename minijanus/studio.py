"""What a person asks of Janus: draw these prompts, answer about this picture (paper §3.4).

The command line and the notebooks come through here; given.py checks what was typed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from minijanus.cfg_sampler import drawing, prompt_ids
from minijanus.given import check_for, check_range, check_sampling
from minijanus.images import to_picture
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.text import Tokenizer
from minijanus.text_sampler import Asked, answer, pieces, speaking

MOST_PICTURES = 64
AT_ONCE = 16  # pictures drawn in one batch
GAP = 4  # pixels of white between the pictures of a grid


def picture_seed(seed: int, number: int) -> int:
    """The seed of one picture, so that it does not depend on how many are drawn."""
    return random.Random(f"{seed}/draw/{number}").getrandbits(63)


def checked_prompt(
    prompt: str, janus: Janus, tokenizer: Tokenizer, stage: int
) -> list[int]:
    """The ids of a drawing prompt that fits into the context with its picture."""
    ids = prompt_ids(check_for(janus, prompt, "prompt"), janus, tokenizer, stage)
    room = janus.cfg.max_positions - janus.gen.n_tokens
    if len(ids) > room:
        raise UserError(
            f"the prompt takes {len(ids)} positions, but the picture leaves only {room}: "
            "shorten it."
        )
    return ids


def draw(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    prompts: Sequence[str],
    n: int = 1,
    guidance: float = 5.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seeds: Sequence[int] | None = None,
    on_step: Callable[[list[Image.Image]], None] | None = None,
) -> list[Image.Image]:
    """Draw each prompt n times, in the format of the stage; all of the first prompt first.

    `seeds` has one per picture, by default 0, 1, 2 and so on; in float32 a picture depends
    on its prompt and its seed alone, half precision rounds a batch otherwise. on_step gets
    a batch's pictures after each row of codes, what is still to come grey. UserError if a
    prompt or a number cannot be used.
    """
    check_range("n", n, 1, MOST_PICTURES)
    check_range("guidance", guidance, 0, 100)
    check_sampling(temperature, top_k, top_p)
    ids = [checked_prompt(prompt, janus, tokenizer, stage) for prompt in prompts]
    ids = [row for row in ids for _ in range(n)]
    seeds = range(len(ids)) if seeds is None else seeds
    if not isinstance(seeds, Sequence):
        raise UserError(f"seeds is {seeds}: give a list, one for each picture.")
    if len(seeds) != len(ids):
        raise UserError(
            f"there are {len(seeds)} seeds for {len(ids)} pictures: give one for each."
        )
    pictures, row = [], isqrt(janus.gen.n_tokens)
    for start in range(0, len(ids), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        generators = [torch.Generator(janus.device).manual_seed(s) for s in seeds[some]]
        how = (guidance, temperature, top_k, top_p)
        for drawn in drawing(janus, ids[some], tokenizer.pad, generators, *how):
            if on_step is not None and drawn.shape[1] % row == 0:
                on_step(unfinished(janus, drawn))
        pictures += unfinished(janus, drawn)
    return pictures


def draw_pictures(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    prompts: Sequence[str],
    n: int = 4,
    seed: int = 0,
    guidance: float = 5.0,
    temperature: float = 1.0,
    on_step: Callable[[list[Image.Image]], None] | None = None,
) -> list[Image.Image]:
    """As `draw`, with one seed for all: the k-th pictures of all prompts share theirs."""
    check_range("n", n, 1, MOST_PICTURES)
    seeds = [picture_seed(seed, number) for number in range(n)] * len(prompts)
    how = (guidance, temperature, None, None, seeds, on_step)
    return draw(janus, tokenizer, stage, prompts, n, *how)


@torch.no_grad()
def unfinished(janus: Janus, drawn: Tensor) -> list[Image.Image]:
    """The pictures of whole rows of codes b m; the rows that are missing are grey."""
    n = janus.gen.n_tokens
    # One after another: a batch rounds otherwise, and a level of a colour may differ.
    rows = F.pad(drawn, (0, n - drawn.shape[1])).split(1)
    pixels = torch.cat([janus.gen.encoder.decode(row) for row in rows])  # b c h w
    pixels[:, :, drawn.shape[1] * pixels.shape[2] // n :] = 0
    return [to_picture(one) for one in pixels]


def ask_picture(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    picture: Image.Image,
    question: str,
    max_tokens: int | None = 64,
) -> str:
    """The answer to a question about a picture, in the format of the stage.

    UserError if the question cannot be read or is too long.
    """
    question = check_for(janus, question, "question")
    return answer(janus, tokenizer, picture, question, stage, max_tokens)


def reply(
    janus: Janus,
    tokenizer: Tokenizer,
    stage: int,
    asked: Asked,
    max_tokens: int | None = None,
    temperature: float = 0.0,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """The answer in one conversation, in pieces; UserError if there is no room for it."""
    check_sampling(temperature, None, top_p)
    how = (max_tokens, temperature, top_p, [seed])
    steps = speaking(janus, tokenizer, [asked], stage, *how)
    return pieces(tokenizer, (token for (token,) in steps))


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
