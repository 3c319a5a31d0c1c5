"""Janus: Eq. 1, packing and the padding tokens, each against a slow loop of its own."""

from collections.abc import Iterator
from random import Random

import pytest
import torch
from torch import Tensor

from minijanus.config import Config
from minijanus.janus import Janus
from minijanus.mixing import TASKS
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import Sequence, drop_condition, pack, to_sequence
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


def as_batch(sequences: list[Sequence], pictures: list[list[Tensor]], dtype, room=96):
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


@pytest.mark.parametrize("number", [1, 2, 3])
@torch.no_grad()
def test_the_loss_is_eq_1_as_one_mean_over_all_targets(number, janus, tokenizer, source):
    """Catches image targets shifted by one, a mean of task means, task weights, a question
    scored in stage III or unscored before it, BOI or EOI as a target, leaky packing.
    """
    janus.double()
    sequences = some_sequences(janus, tokenizer, source, number)
    pictures = [random_pictures(janus.cfg, s, i) for i, s in enumerate(sequences)]
    losses = janus.loss(*as_batch(sequences, pictures, torch.float64))
    slow = {task: [] for task in TASKS}
    for sequence, shown in zip(sequences, pictures, strict=True):
        slow[sequence.task] += slow_losses(janus, tokenizer, sequence, shown, number)
    everything = [loss for of_task in slow.values() for loss in of_task]
    expected = {task: sum(of) / len(of) for task, of in slow.items() if of}
    expected["loss"] = sum(everything) / len(everything)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-5), name
    # The test would be blind if the tasks had as many targets each, or the same loss.
    of_tasks = [expected[task] for task in TASKS if task in expected]
    assert abs(sum(of_tasks) / len(of_tasks) - expected["loss"]) > 1e-2


@pytest.mark.parametrize("number", [1, 2, 3])
def test_boi_predicts_the_first_image_token_and_n_tokens_are_n_targets(
    number, janus, tokenizer, source, monkeypatch
):
    """Catches the off-by-one of two public trainers: image token 0 never was a target."""
    tasks = ("generation",) * 3
    sequences = some_sequences(janus, tokenizer, source, number, tasks)
    pictures = [random_pictures(janus.cfg, s, i) for i, s in enumerate(sequences)]
    seen, scored_text = [], []
    real = janus.image_head.loss
    monkeypatch.setattr(
        janus.image_head, "loss", lambda *given: seen.append(given) or real(*given)
    )
    janus.text_head.register_forward_hook(lambda *given: scored_text.append(given[2]))
    janus.loss(*as_batch(sequences, pictures, torch.float32))
    [(hidden, target)] = seen
    assert len(target) == len(hidden) == 3 * janus.gen.n_tokens
    assert target.tolist() == [int(code) for shown in pictures for code in shown[0]]
    for i, (sequence, shown) in enumerate(zip(sequences, pictures, strict=True)):
        alone = hidden_alone(janus, tokenizer, sequence.ids, shown)
        boi = sequence.ids.index(tokenizer.boi)
        n = janus.gen.n_tokens
        torch.testing.assert_close(
            hidden[i * n : (i + 1) * n], alone[boi : boi + n], rtol=1e-4, atol=1e-4
        )
    assert sum(len(logits) for logits in scored_text) == 0, "a drawing has text targets"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_gradient_comes_from_what_follows_the_picture(number, janus, tokenizer, source):
    """Catches EOI or EOS as a target of drawings: the last image token predicts nothing."""
    [sequence] = some_sequences(janus, tokenizer, source, number, ["generation"])
    pictures = random_pictures(janus.cfg, sequence, 0)
    batch, stacked = as_batch([sequence], [pictures], torch.float32)
    embedded = janus.embed(batch, stacked).detach().requires_grad_(True)
    janus.embed = lambda *given: embedded
    janus.loss(batch, stacked)["loss"].backward()
    reached = embedded.grad[0].abs().sum(dim=-1) > 0
    boi, n = sequence.ids.index(tokenizer.boi), janus.gen.n_tokens
    assert reached.tolist() == [True] * (boi + n) + [False] * (len(sequence.ids) - boi - n)


def test_a_step_without_drawings_or_without_text_has_a_loss(janus, tokenizer, source):
    """Catches a step of one task that ends in NaN or in an error."""
    for task in TASKS:
        sequences = some_sequences(janus, tokenizer, source, 2, [task])
        pictures = [random_pictures(janus.cfg, s, i) for i, s in enumerate(sequences)]
        losses = janus.loss(*as_batch(sequences, pictures, torch.float32))
        assert set(losses) == {"loss", task}
        assert torch.isfinite(losses["loss"]) and losses["loss"] == losses[task]


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


@torch.no_grad()
def test_a_mixed_sequence_is_embedded_position_by_position(packable, tokenizer):
    """Catches pictures at the wrong place, or the adaptor of the other eye."""
    janus, sequences, pictures = packable
    janus.llm = FirstLayerOnly(janus.llm.embed_tokens)
    for sequence, shown in zip(sequences, pictures, strict=True):
        batch, stacked = as_batch([sequence], [shown], torch.float64)
        slow = hidden_alone(janus, tokenizer, sequence.ids, shown)
        torch.testing.assert_close(janus.embed(batch, stacked)[0], slow)


class FirstLayerOnly(torch.nn.Module):
    """A language model that gives back what it reads."""

    def __init__(self, embed_tokens: torch.nn.Embedding):
        super().__init__()
        self.embed_tokens = embed_tokens

    def forward(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        return embeddings


def test_every_parameter_is_in_exactly_one_part_of_figure_3(janus):
    """Catches a part that no stage freezes or trains because no row of Figure 3 has it."""
    in_parts = [id(p) for part in janus.parts().values() for p in part.parameters()]
    assert sorted(in_parts) == sorted(id(p) for p in janus.parameters())


@torch.no_grad()
def test_the_generation_embedding_starts_from_the_normalised_codebook(janus):
    """Catches a table of its own that starts at random, or from codes of any length."""
    rows = janus.gen.encoder.quantize.embedding.weight
    rows.copy_(torch.randn(rows.shape) * 3)
    janus.gen.start_from_codebook()
    for row, started in zip(rows, janus.gen.embedding.weight, strict=True):
        torch.testing.assert_close(started, row / row.square().sum().sqrt())
    started = janus.gen.embedding.weight.clone()
    rows += 1.0
    assert torch.equal(janus.gen.embedding.weight, started), "the table is the codebook"
