"""Answering: text tokens, the likeliest one after another (paper §3.4)."""

from dataclasses import replace

import torch
from PIL import Image

from minijanus.images import understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.llm import KVCache, attention_mask
from minijanus.records import Record, about_pictures, turns
from minijanus.sequence import Sequence, align, to_sequence
from minijanus.text import Tokenizer


def question_sequence(
    janus: Janus,
    tokenizer: Tokenizer,
    picture: Image.Image | None,
    question: str,
    stage_number: int,
) -> Sequence:
    """A question laid out as in training, up to where its answer begins (paper §4.2)."""
    if picture is None:
        record = Record("text", [], turns(question, ""))
    else:
        asked = about_pictures(question, stage_number)
        record = Record("understanding", [picture], turns(asked, ""))
    stage = janus.cfg.stage(stage_number)
    sequence = to_sequence(record, stage, tokenizer, janus.lengths())
    if sequence.ids[-1] == tokenizer.eos:  # the model is to say when it ends
        sequence = replace(sequence, ids=sequence.ids[:-1], scored=sequence.scored[:-1])
    return sequence


@torch.no_grad()
def answers(
    janus: Janus,
    tokenizer: Tokenizer,
    asked: list[tuple[Image.Image | None, str]],
    stage_number: int,
    max_tokens: int = 64,
) -> list[str]:
    """The answers to questions, each about a picture or without one, in one batch.

    In the stage's format; UserError if a question leaves no room for max_tokens.
    """
    cfg, device = janus.cfg, janus.device
    rows = [question_sequence(janus, tokenizer, *one, stage_number) for one in asked]
    length = max(len(row.ids) for row in rows)
    if length + max_tokens > cfg.max_positions:
        raise UserError(
            f"the question takes {length} of {cfg.max_positions} positions, too many to "
            f"leave room for {max_tokens} tokens of answer: shorten it."
        )
    batch = align(rows).to(device)
    pixels = [understanding_pixels(p, cfg.image_size) for p, _ in asked if p is not None]
    seen = {"und": janus.und.encode(torch.stack(pixels).to(device))} if pixels else {}
    embedded = janus.embed(batch, seen)
    documents, positions = batch.documents, batch.positions
    cache = KVCache(cfg, len(rows), length + max_tokens, device, embedded.dtype)
    said: list[list[int]] = [[] for _ in rows]
    ended = [False] * len(rows)
    for _ in range(max_tokens):
        mask = attention_mask(documents, new=embedded.shape[1])
        hidden = janus.llm(embedded, positions, mask, cache)
        # Differs: the likeliest token is taken where the paper samples, as the released
        # code does, because a question then always has the same answer.
        tokens = janus.text_head(hidden[:, -1]).argmax(-1)
        for row, token in enumerate(tokens.tolist()):
            ended[row] = ended[row] or token == tokenizer.eos
            if not ended[row]:
                said[row].append(token)
        if all(ended):
            break
        embedded = janus.llm.embed_tokens(tokens[:, None])
        documents = torch.cat([documents, documents[:, -1:]], dim=1)
        positions = positions[:, -1:] + 1
    return [tokenizer.decode(ids).strip() for ids in said]


def answer(
    janus: Janus,
    tokenizer: Tokenizer,
    picture: Image.Image | None,
    question: str,
    stage_number: int,
    max_tokens: int = 64,
) -> str:
    """The answer to one question, as `answers` gives it."""
    return answers(janus, tokenizer, [(picture, question)], stage_number, max_tokens)[0]
