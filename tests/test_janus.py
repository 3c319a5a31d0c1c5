"""Janus: Eq. 1, Figure 3's parts, the mixed sequence, against a slow loop (§3.1, §3.3)."""

import pytest
import torch
from slow_janus import as_batch, hidden_alone, random_pictures, slow_losses, some_sequences
from torch import Tensor

from minijanus.mixing import TASKS


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


@torch.no_grad()
def test_a_mixed_sequence_is_embedded_position_by_position(janus, tokenizer, source):
    """Catches pictures at the wrong place, or the adaptor of the other eye."""
    janus.double()
    janus.llm = FirstLayerOnly(janus.llm.embed_tokens)
    sequences = some_sequences(janus, tokenizer, source, 2)
    for seed, sequence in enumerate(sequences):
        shown = random_pictures(janus.cfg, sequence, seed)
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
