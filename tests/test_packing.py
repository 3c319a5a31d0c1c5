"""Packing: rows that hold every sequence whole and change nothing for it (paper §4.1)."""

from random import Random

import pytest
import torch
from slow_janus import as_batch, hidden_alone, random_pictures, some_sequences
from torch import Tensor

from minijanus.janus import Janus
from minijanus.mixing import TASKS
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import Sequence, assign_rows, drop_condition, pack, to_sequence


@pytest.mark.parametrize("row_length", [40, 64, 200])
def test_packing_keeps_every_sequence_whole(row_length, janus, tokenizer, source):
    """Catches lost, cut or doubled sequences, positions that do not start again, spans
    that stay where they were before packing, filler that belongs to a sequence.
    """
    sequences = some_sequences(janus, tokenizer, source, 2)
    batch = pack(sequences, row_length, limit=256)
    assert batch.ids.shape[1] <= row_length
    for number, sequence in enumerate(sequences):
        rows, columns = torch.where(batch.documents == number)
        n = len(sequence.ids)
        assert len(rows) == n and len(set(rows.tolist())) == 1
        assert columns.tolist() == list(range(columns[0], columns[0] + n))
        here = rows[0], slice(int(columns[0]), int(columns[0]) + n)
        assert batch.ids[here].tolist() == sequence.ids
        assert batch.positions[here].tolist() == list(range(n))
        assert batch.scored[here].tolist() == sequence.scored
        assert batch.tasks[here].tolist() == [TASKS.index(sequence.task)] * n
    filler = batch.documents == -1
    assert int(filler.sum()) == batch.ids.numel() - sum(len(s.ids) for s in sequences)
    assert not batch.scored[filler].any() and (batch.tasks[filler] == -1).all()
    pictures = [span.picture for sequence in sequences for span in sequence.spans]
    assert [span.picture for span in batch.spans] == pictures
    for span in batch.spans:
        there = slice(span.start, span.start + span.length)
        assert (batch.ids[span.row, there] == tokenizer.image).all()
        assert batch.ids[span.row, span.start - 1] == tokenizer.boi
        assert batch.ids[span.row, span.start + span.length] == tokenizer.eoi


def test_rows_are_filled_well_and_never_too_full():
    """Catches a row that overflows, and packing that hardly packs (two thirds at least)."""
    lengths = [(7 * i * i + 3) % 50 + 1 for i in range(200)]
    for room in (50, 64, 100):
        rows = assign_rows(lengths, room)
        assert sorted(i for row in rows for i in row) == list(range(200))
        assert all(sum(lengths[i] for i in row) <= room for row in rows)
        assert len(rows) <= -(-sum(lengths) // room) * 1.5


def test_a_sequence_longer_than_a_row_gets_a_longer_one(janus, tokenizer, source):
    """Catches a long sequence that is cut off in silence, or that stops the training."""
    sequences = some_sequences(janus, tokenizer, source, 2)
    longest = max(len(s.ids) for s in sequences)
    batch = pack(sequences, row_length=4, limit=longest)
    assert batch.ids.shape[1] == longest
    assert int((batch.documents >= 0).sum()) == sum(len(s.ids) for s in sequences)
    with pytest.raises(ValueError, match=f"{longest} positions does not fit.*: shorten"):
        pack(sequences, row_length=4, limit=longest - 1)


def packed_hidden(
    janus: Janus, sequences: list[Sequence], pictures: list[list[Tensor]]
) -> list[Tensor]:
    """Hidden states of each sequence, t d, as the packed forward pass gives them."""
    batch, stacked = as_batch(sequences, pictures, torch.float64)
    assert (batch.documents.amax(dim=1) > batch.documents.amin(dim=1)).any()
    hidden = janus(batch, stacked)
    return [hidden[batch.documents == i] for i in range(len(sequences))]


@pytest.fixture
def packable(janus, tokenizer, source):
    """A float64 Janus, sequences of all tasks, and their pictures."""
    janus.double()
    sequences = some_sequences(janus, tokenizer, source, 2)
    pictures = [random_pictures(janus.cfg, s, i) for i, s in enumerate(sequences)]
    return janus, sequences, pictures


@torch.no_grad()
def test_packed_equals_unpacked(packable, tokenizer):
    """Catches documents that see their neighbours (a filed bug of a public trainer), and
    positions that do not start again with each document.
    """
    janus, sequences, pictures = packable
    packed = packed_hidden(janus, sequences, pictures)
    for sequence, shown, hidden in zip(sequences, pictures, packed, strict=True):
        alone = hidden_alone(janus, tokenizer, sequence.ids, shown)
        for head in (janus.text_head, janus.image_head):
            torch.testing.assert_close(head(hidden), head(alone), rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_order_of_documents_changes_nothing(packable):
    """Catches pictures that follow the order of the rows instead of the sequences'."""
    janus, sequences, pictures = packable
    packed = packed_hidden(janus, sequences, pictures)
    batch, stacked = as_batch(sequences, pictures, torch.float64)
    loss = janus.loss(batch, stacked)["loss"]
    for seed in range(5):
        order = list(range(len(sequences)))
        Random(seed).shuffle(order)
        shuffled = [sequences[i] for i in order], [pictures[i] for i in order]
        for i, hidden in zip(order, packed_hidden(janus, *shuffled), strict=True):
            torch.testing.assert_close(hidden, packed[i], rtol=0, atol=1e-10)
        again = janus.loss(*as_batch(*shuffled, torch.float64))["loss"]
        torch.testing.assert_close(again, loss, rtol=1e-6, atol=0)


@torch.no_grad()
def test_a_changed_document_changes_no_other(packable, tokenizer):
    """Catches a leak through the attention mask, exactly and not within a tolerance."""
    janus, sequences, pictures = packable
    batch, stacked = as_batch(sequences, pictures, torch.float64)
    before = janus(batch, stacked)
    for number in range(len(sequences)):
        mine = batch.documents == number
        batch.ids[mine] = batch.ids[mine].where(
            batch.ids[mine] == tokenizer.image, tokenizer.eoi
        )
        after = janus(batch, stacked)
        changed = (after != before).any(dim=-1)
        assert changed[mine].any() and not changed[~mine].any()
        before = after


@torch.no_grad()
def test_filler_is_masked_but_the_pads_of_a_dropped_prompt_are_attended(janus, tokenizer):
    """Catches PAD masked as if it were filler, which the released model never did, and
    filler that is seen.
    """
    stage, lengths = janus.cfg.stage(2), janus.lengths()
    records = [
        Record("generation", [None], turns(prompt, IMAGE))
        for prompt in ("a red dog. it is left of a blue car.", "dog")
    ]
    sequences = [
        drop_condition(to_sequence(r, stage, tokenizer, lengths), tokenizer.pad)
        for r in records
    ]
    pictures = [random_pictures(janus.cfg, s, i) for i, s in enumerate(sequences)]
    batch, stacked = as_batch(sequences, pictures, torch.float32, room=40)
    filler = batch.documents == -1
    assert filler.any() and not filler.all(dim=1).any()
    before = janus(batch, stacked)
    assert torch.isfinite(before).all()
    batch.ids[filler] = tokenizer.eoi
    assert torch.equal(janus(batch, stacked)[~filler], before[~filler])
    janus.llm.embed_tokens.weight[tokenizer.pad] += 1.0
    after = janus(batch, stacked)
    first_image_token = batch.ids == tokenizer.boi  # the state that predicts it
    assert ((after - before)[first_image_token].abs().amax(dim=-1) > 1e-3).all()
