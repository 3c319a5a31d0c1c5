"""Answering: text tokens, the likeliest one after another (paper §3.4)."""

from dataclasses import replace

import torch
from PIL import Image

from minijanus.images import understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.llm import KVCache, attention_mask
from minijanus.records import Record, about_pictures, turns
from minijanus.sequence import Sequence, pack, to_sequence
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
def answer(
    janus: Janus,
    tokenizer: Tokenizer,
    picture: Image.Image | None,
    question: str,
    stage_number: int,
    max_tokens: int = 64,
) -> str:
    """The answer to a question about a picture, or without one, in the stage's format."""
    cfg, device = janus.cfg, janus.device
    sequence = question_sequence(janus, tokenizer, picture, question, stage_number)
    length = len(sequence.ids)
    if length + max_tokens > cfg.max_positions:
        raise UserError(
            f"the question takes {length} of {cfg.max_positions} positions, too many to "
            f"leave room for {max_tokens} tokens of answer: shorten it."
        )
    batch = pack([sequence], length, cfg.max_positions).to(device)
    pictures = {}
    if picture is not None:
        pixels = understanding_pixels(picture, cfg.image_size)[None].to(device)
        pictures["und"] = janus.und.encode(pixels)
    embedded = janus.embed(batch, pictures)
    documents, positions = batch.documents, batch.positions
    cache = KVCache(cfg, 1, length + max_tokens, device, embedded.dtype)
    said: list[int] = []
    while len(said) < max_tokens:
        mask = attention_mask(documents, new=embedded.shape[1])
        hidden = janus.llm(embedded, positions, mask, cache)
        # Differs: the likeliest token is taken where the paper samples, as the released
        # code does, because a question then always has the same answer.
        token = janus.text_head(hidden[:, -1]).argmax(-1)
        if int(token) == tokenizer.eos:
            break
        said.append(int(token))
        embedded = janus.llm.embed_tokens(token[:, None])
        documents = torch.cat([documents, documents[:, -1:]], dim=1)
        positions = positions[:, -1:] + 1
    return tokenizer.decode(said).strip()
