"""Janus once more, slowly: one sequence alone, one position and one target at a time.

The oracle of the tests of packing and of Eq. 1. It shares with `minijanus` the modules that
transformers or closed forms check elsewhere (adaptors, LLM, heads), and nothing else.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minijanus.config import Config
from minijanus.janus import Janus
from minijanus.sequence import Batch, Sequence, pack, to_sequence
from minijanus.text import Tokenizer

MIXED = ("understanding", "understanding", "text", "generation", "generation") * 2


def some_sequences(
    janus: Janus, tokenizer: Tokenizer, source, number: int, tasks=MIXED
) -> list[Sequence]:
    """One sequence for each of the tasks, in the stage's formats."""
    stage = janus.cfg.stage(number)
    tasks = [task for task in tasks if number > 1 or task != "text"]
    records = [source.record(task, i, number) for i, task in enumerate(tasks)]
    return [to_sequence(r, stage, tokenizer, janus.lengths()) for r in records]


def random_pictures(cfg: Config, sequence: Sequence, seed: int) -> list[Tensor]:
    """What the encoders could have given for each picture: features n d, or codes n."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(cfg.n_codes, (span.length,), generator=generator)
        if span.pathway == "gen"
        else torch.randn(span.length, cfg.und_width, generator=generator)
        for span in sequence.spans
    ]


def as_batch(
    sequences: list[Sequence],
    pictures: list[list[Tensor]],
    dtype: torch.dtype,
    room: int = 96,
) -> tuple[Batch, dict[str, Tensor]]:
    """The sequences packed, and their pictures as `Janus` takes them."""
    by_pathway = {"und": [], "gen": []}
    for sequence, shown in zip(sequences, pictures, strict=True):
        for span, picture in zip(sequence.spans, shown, strict=True):
            by_pathway[span.pathway].append(picture)
    stacked = {name: torch.stack(p) for name, p in by_pathway.items() if p}
    if "und" in stacked:
        stacked["und"] = stacked["und"].to(dtype)
    return pack(sequences, room, limit=256), stacked


def hidden_alone(
    janus: Janus, tokenizer: Tokenizer, ids: list[int], pictures: list[Tensor]
) -> Tensor:
    """Hidden states t d of one sequence by itself, embedded position by position."""
    dtype = janus.text_head.weight.dtype
    tokens: Iterator[Tensor] = iter([token for picture in pictures for token in picture])
    vectors = []
    for i in ids:
        if i != tokenizer.image:
            vectors.append(janus.llm.embed_tokens.weight[i])
            continue
        token = next(tokens)
        if token.is_floating_point():
            vectors.append(janus.und.adaptor(token.to(dtype)))
        else:
            vectors.append(janus.gen.adaptor(janus.gen.embedding.weight[token]))
    assert next(tokens, None) is None
    return janus.llm(torch.stack(vectors)[None], torch.arange(len(ids))[None])[0]


def text_targets(ids: list[int], answers_only: bool, tokenizer: Tokenizer) -> list[int]:
    """Which positions of a text or understanding sequence Eq. 1 sums over.

    Reads the ids from left to right: in stage III an answer begins after "Assistant:" and
    ends with EOS, which belongs to it; before, every text token after BOS counts.
    """
    opening = tokenizer.encode("Assistant:")
    no_text = (tokenizer.boi, tokenizer.eoi, tokenizer.image)
    answering, found = not answers_only, []
    for i in range(1, len(ids)):
        if answering and ids[i] not in no_text:
            found.append(i)
        if answers_only and ids[i] == tokenizer.eos:
            answering = False
        elif answers_only and ids[i - len(opening) + 1 : i + 1] == opening:
            answering = True
    return found


def slow_losses(
    janus: Janus, tokenizer: Tokenizer, sequence: Sequence, pictures: list[Tensor], number
) -> list[Tensor]:
    """-log P of every target of one sequence, one after another (paper Eq. 1)."""
    hidden = hidden_alone(janus, tokenizer, sequence.ids, pictures)
    if sequence.task == "generation":
        logits = janus.image_head(hidden).log_softmax(-1)
        boi = sequence.ids.index(tokenizer.boi)
        return [-logits[boi + j, code] for j, code in enumerate(pictures[0])]
    logits = (hidden @ janus.text_head.weight.T).log_softmax(-1)
    targets = text_targets(sequence.ids, number == 3, tokenizer)
    return [-logits[i - 1, sequence.ids[i]] for i in targets]
