"""Answering: text tokens, one after another (paper §3.4).

Several conversations, each with pictures or without, are answered in one batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image

from minijanus import sequence
from minijanus.images import understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.llm import KVCache, attention_mask
from minijanus.records import IMAGE, Record, about_pictures, turns
from minijanus.sampling import choose
from minijanus.text import Tokenizer

Message = dict[str, str]  # role and content, as in Record
Asked = tuple[Sequence[Message], Sequence[Image.Image]]  # a conversation and its pictures
MOST_TOKENS = 512  # of an answer, where the caller says nothing and there is room


def conversation_sequence(
    janus: Janus, tokenizer: Tokenizer, asked: Asked, stage_number: int
) -> sequence.Sequence:
    """A conversation laid out as in training, up to where its answer begins (paper §4.2).

    Pictures stand where the IMAGE marks are or, without marks, before the first turn.
    """
    (first, *rest), images = asked
    marks = sum(message["content"].count(IMAGE) for message in (first, *rest))
    if images and not marks:
        words = about_pictures(first["content"], stage_number, len(images))
        first = {**first, "content": words}
    open_turn = {"role": "assistant", "content": ""}
    kind = "understanding" if images else "text"
    record = Record(kind, list(images), [first, *rest, open_turn])
    stage = janus.cfg.stage(stage_number)
    laid = sequence.to_sequence(record, stage, tokenizer, janus.lengths())
    if stage.template == "plain":  # the model is to say when it ends
        laid = replace(laid, ids=laid.ids[:-1], scored=laid.scored[:-1])
    return laid


def speaking(
    janus: Janus,
    tokenizer: Tokenizer,
    asked: Sequence[Asked],
    stage_number: int,
    max_tokens: int | None = None,
    temperature: float = 0.0,
    top_p: float | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[list[int]]:
    """The next token of every conversation's answer, again and again, until all have ended.

    A row that has ended says EOS again. `seeds`, one per row, are 0 by default; without a
    picture the vision encoder does not run. UserError, at once, if there is no room for
    max_tokens, by default MOST_TOKENS or what room there is, or not one seed per row.
    """
    rows = [conversation_sequence(janus, tokenizer, one, stage_number) for one in asked]
    length = max(len(row.ids) for row in rows)
    positions = janus.cfg.max_positions
    room = positions - length
    most = max(1, min(room, MOST_TOKENS)) if max_tokens is None else max_tokens
    if most < 1:
        raise UserError(f"max_tokens is {most}: choose a whole number above zero.")
    if most > room:
        raise UserError(
            f"the conversation takes {length} of {positions} positions, too many to leave "
            f"room for {most} tokens of answer: shorten it, or begin a new one."
        )
    seeds = [0] * len(rows) if seeds is None else seeds
    if not isinstance(seeds, Sequence):
        raise UserError(f"seeds is {seeds}: give a list, one for each answer.")
    if len(seeds) != len(rows):
        raise UserError(f"{len(seeds)} seeds for {len(rows)} answers: give one for each.")
    shown = [image for _, images in asked for image in images]
    how = (most, temperature, top_p, seeds)
    return _tokens(janus, rows, shown, tokenizer.eos, *how)


@torch.no_grad()
def _tokens(
    janus: Janus,
    rows: list[sequence.Sequence],
    shown: list[Image.Image],
    eos: int,
    most: int,
    temperature: float,
    top_p: float | None,
    seeds: Sequence[int],
) -> Iterator[list[int]]:
    cfg, device = janus.cfg, janus.device
    normalize = janus.pretrained is None or janus.pretrained.do_normalize
    seen = {}
    if shown:
        pixels = [understanding_pixels(i, cfg.image_size, normalize) for i in shown]
        dtype = janus.text_head.weight.dtype
        seen["und"] = janus.und.encode(torch.stack(pixels).to(device, dtype))
    batch = sequence.align(rows).to(device)
    embedded = janus.embed(batch, seen)
    documents, positions = batch.documents, batch.positions
    cache = KVCache(cfg, len(rows), batch.ids.shape[1] + most, device, embedded.dtype)
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    for step in range(most):
        mask = attention_mask(documents, new=embedded.shape[1])
        hidden = janus.llm(embedded, positions, mask, cache)
        # Differs: by default the likeliest token is taken where the paper samples, as the
        # released code does, because a question then always has the same answer.
        logits = janus.text_head(hidden[:, -1])
        tokens = choose(logits, generators, temperature, top_p=top_p)
        tokens = tokens.masked_fill(ended, eos)
        yield tokens.tolist()
        ended = ended | (tokens == eos)
        if ended.all() or step + 1 == most:
            return
        embedded = janus.llm.embed_tokens(tokens[:, None])
        documents = torch.cat([documents, documents[:, -1:]], dim=1)
        positions = positions[:, -1:] + 1


def pieces(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of an answer's tokens as it grows, up to EOS; joined, the whole answer.

    A character waits until all of its bytes are there, and a space for what follows it.
    """
    ids: list[int] = []
    shown = 0
    for token in tokens:
        if token == tokenizer.eos:
            break
        ids.append(token)
        text = tokenizer.decode(ids).strip()
        if len(text) > shown and not text.endswith("\ufffd"):
            yield text[shown:]
            shown = len(text)
    if rest := tokenizer.decode(ids).strip()[shown:]:
        yield rest


def replies(
    janus: Janus,
    tokenizer: Tokenizer,
    asked: Sequence[Asked],
    stage_number: int,
    max_tokens: int | None = None,
    temperature: float = 0.0,
    top_p: float | None = None,
    seeds: Sequence[int] | None = None,
) -> list[str]:
    """The whole answers to conversations, in one batch; parameters as of `speaking`."""
    if not asked:
        return []
    steps = speaking(
        janus, tokenizer, asked, stage_number, max_tokens, temperature, top_p, seeds
    )
    return ["".join(pieces(tokenizer, row)) for row in zip(*steps, strict=True)]


def answers(
    janus: Janus,
    tokenizer: Tokenizer,
    asked: list[tuple[Image.Image | None, str]],
    stage_number: int,
    max_tokens: int | None = 64,
) -> list[str]:
    """The answers to questions, each about a picture or without one, in one batch.

    In the stage's format; UserError if a question leaves no room for max_tokens.
    """
    conversations = [
        (turns(question), [] if picture is None else [picture])
        for picture, question in asked
    ]
    return replies(janus, tokenizer, conversations, stage_number, max_tokens)


def answer(
    janus: Janus,
    tokenizer: Tokenizer,
    picture: Image.Image | None,
    question: str,
    stage_number: int,
    max_tokens: int | None = 64,
) -> str:
    """The answer to one question, as `answers` gives it."""
    return answers(janus, tokenizer, [(picture, question)], stage_number, max_tokens)[0]
