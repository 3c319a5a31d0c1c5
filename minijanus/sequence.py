"""From a record to rows: formats, what is scored, packing (paper §3.3, §4.1, §4.2).

A sequence is text ids with spans where pictures stand. A picture of n tokens lies between
BOI and EOI, and the hidden state at BOI predicts its first token.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minijanus.config import Stage
from minijanus.mixing import TASKS
from minijanus.records import IMAGE, Record
from minijanus.text import EOS, SYSTEM_PROMPT, Tokenizer, chat_pieces, plain_pieces


@dataclass(frozen=True)
class Span:
    """Where one picture stands: `length` positions from `start`, read by a pathway."""

    pathway: str  # "und" or "gen"
    start: int
    length: int
    picture: int  # which of the record's pictures
    drawn: bool  # its tokens are targets of the image head
    row: int = 0  # after packing: the row it lies in


@dataclass(frozen=True)
class Sequence:
    """One record, laid out: ids, the text tokens to be predicted, the pictures."""

    ids: list[int]  # picture positions hold the placeholder's id
    scored: list[bool]  # text tokens that are targets, predicted one position earlier
    spans: list[Span]
    task: str


def to_sequence(
    record: Record, stage: Stage, tokenizer: Tokenizer, lengths: dict[str, int]
) -> Sequence:
    """Lay out a record as the stage does; `lengths` come from the pathways (paper §4.2).

    Generation scores the picture's tokens only. Else every text token is scored, the
    question included, or in stage III the answers alone (paper §3.2, §3.3).
    """
    drawing = record.kind == "generation"
    pathway = "gen" if drawing else "und"
    system = SYSTEM_PROMPT if stage.system_prompt and not drawing else ""
    chat = stage.template == "chat"
    if chat:
        pieces = chat_pieces(record.messages, system, tokenizer.roles)
    else:
        pieces = plain_pieces(record.messages)
    ids, scored, spans = [tokenizer.bos], [False], []
    for text, is_answer in pieces:
        score = not drawing and (is_answer or stage.scored_text == "all")
        for number, part in enumerate(text.split(IMAGE)):
            if number > 0:
                start, n = len(ids) + 1, lengths[pathway]
                spans.append(Span(pathway, start, n, len(spans), drawing))
                ids += [tokenizer.boi, *[tokenizer.image] * n, tokenizer.eoi]
                scored += [False] * (n + 2)
            new = encode_piece(part, is_answer, tokenizer)
            ids += new
            scored += [score] * len(new)
    if not chat and not drawing:  # a drawing ends with its picture
        ids, scored = [*ids, tokenizer.eos], [*scored, True]
    if len(spans) != len(record.images):
        raise ValueError(
            f"a record has {len(record.images)} pictures but {len(spans)} {IMAGE} marks: "
            "write one mark into the messages for each picture."
        )
    return Sequence(ids, scored, spans, record.kind)


def encode_piece(text: str, is_answer: bool, tokenizer: Tokenizer) -> list[int]:
    """Token ids of a piece; the end-of-sentence string that closes an answer is one id."""
    if is_answer and text.endswith(EOS):
        return [*tokenizer.encode(text[: -len(EOS)]), tokenizer.eos]
    return tokenizer.encode_piece(text)


def without_condition(ids: list[int], boi: int, pad: int) -> list[int]:
    """The ids with everything between BOS and BOI turned into PAD (paper fn. 2).

    The PADs stay attended. Training's dropped rows and the sampler's unconditional rows
    both come from here, so they cannot differ. `boi` is BOI's position.
    """
    return [*ids[:1], *[pad] * (boi - 1), *ids[boi:]]


def drop_condition(sequence: Sequence, pad: int) -> Sequence:
    """The drawing without its prompt."""
    boi = sequence.spans[0].start - 1
    return replace(sequence, ids=without_condition(sequence.ids, boi, pad))


def first_sentence(text: str) -> str:
    """The text up to its first full stop that a space follows (paper §4.2, stage II)."""
    head, stop, _ = text.partition(". ")
    return head + "." if stop else text


def cut_caption(record: Record) -> Record:
    """The record with its drawing prompt cut to the first sentence."""
    prompt, *rest = record.messages
    prompt = {**prompt, "content": first_sentence(prompt["content"])}
    return replace(record, messages=[prompt, *rest])


@dataclass(frozen=True)
class Batch:
    """Packed rows; every tensor is b t."""

    ids: Tensor
    documents: Tensor  # which sequence a position belongs to; filler is -1
    positions: Tensor  # start again at 0 in each sequence
    scored: Tensor  # bool: text tokens that are targets
    tasks: Tensor  # index into mixing.TASKS; filler is -1
    span_ids: Tensor  # which of `spans` a position belongs to; text is -1
    spans: list[Span]  # in the order of the sequences given to `pack`

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        moved = {n: t.to(device) for n, t in vars(self).items() if isinstance(t, Tensor)}
        return replace(self, **moved)


def assign_rows(lengths: list[int], row_length: int) -> list[list[int]]:
    """Which sequences share a row: longest first, each into the first row with room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(row_length)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def pack(sequences: list[Sequence], row_length: int, limit: int) -> Batch:
    """Put several sequences into each row (paper §4.1).

    Rows have up to `row_length` positions, or as many as the longest sequence needs;
    ValueError if that is more than `limit`, the model's context.
    """
    lengths = [len(sequence.ids) for sequence in sequences]
    if max(lengths) > limit:
        raise ValueError(
            f"a sequence of {max(lengths)} positions does not fit into the context of "
            f"{limit}: shorten its text or raise max_positions in the config."
        )
    row_length = max(row_length, max(lengths))
    rows = assign_rows(lengths, row_length)
    width = max(sum(lengths[i] for i in row) for row in rows)
    shape = (len(rows), width)
    ids, positions = (
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
    )
    documents, tasks = torch.full(shape, -1), torch.full(shape, -1)
    scored = torch.zeros(shape, dtype=torch.bool)
    placed: dict[int, list[Span]] = {}
    for row, members in enumerate(rows):
        at = 0
        for index in members:
            sequence, here = sequences[index], slice(at, at + lengths[index])
            ids[row, here] = torch.tensor(sequence.ids)
            scored[row, here] = torch.tensor(sequence.scored)
            positions[row, here] = torch.arange(lengths[index])
            documents[row, here] = index
            tasks[row, here] = TASKS.index(sequence.task)
            placed[index] = [
                replace(s, start=s.start + at, row=row) for s in sequence.spans
            ]
            at += lengths[index]
    spans = [span for index in range(len(sequences)) for span in placed[index]]
    span_ids = torch.full(shape, -1)
    for number, span in enumerate(spans):
        span_ids[span.row, span.start : span.start + span.length] = number
    return Batch(ids, documents, positions, scored, tasks, span_ids, spans)


def left_filled(rows: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, documents and positions, b t, of rows that all end at the same place.

    Filler on the left has document -1, so nobody sees it; positions start at each BOS.
    """
    width = max(len(row) for row in rows)
    fill = [width - len(row) for row in rows]
    ids = torch.tensor([[0] * n + row for n, row in zip(fill, rows, strict=True)])
    positions = torch.arange(width)[None] - torch.tensor(fill)[:, None]
    documents = torch.where(positions < 0, -1, 0)
    return ids, documents, positions.clamp(min=0)


def align(sequences: list[Sequence]) -> Batch:
    """Each sequence in a row of its own; all end at the same place, to be gone on with."""
    ids, documents, positions = left_filled([sequence.ids for sequence in sequences])
    spans = [
        replace(span, start=span.start + ids.shape[1] - len(sequence.ids), row=row)
        for row, sequence in enumerate(sequences)
        for span in sequence.spans
    ]
    nothing = torch.full(ids.shape, -1)
    return Batch(ids, documents, positions, nothing > 0, nothing, nothing, spans)
