"""The training loop: schedule and AdamW by hand, and going on as if never stopped."""

import csv
import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import MICRO
from torch import Tensor, nn

from minijanus import checkpoint, loop
from minijanus.config import PAPER, SMALL, TINY, Phase
from minijanus.lab import UserError
from minijanus.loop import learning_rate, make_optimizer, run_phase

STEPS = 25


class Toy(nn.Module):
    """One parameter of each kind that AdamW treats differently."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(3, 4))
        self.embed_tokens = nn.Parameter(torch.randn(3, 4))
        self.norm = nn.Parameter(torch.randn(4))
        self.rare = nn.Parameter(torch.randn(4))  # has a gradient at odd steps only

    def loss(self, step: int) -> dict[str, Tensor]:
        """A loss that depends on nothing but the weights and the step."""
        x = torch.randn(4, generator=torch.Generator().manual_seed(step))
        y = ((self.matrix + self.embed_tokens) @ (x * self.norm)).square().mean()
        odd = (self.rare * x).square().sum() if step % 2 else 0.0
        return {"loss": y + odd, "half": y.detach() / 2}


def run(
    toy: Toy,
    phase: Phase,
    folder: Path,
    step_loss=None,
    deadline: float = math.inf,
    workers: int = 0,
) -> dict:
    """`run_phase` for the toy, all of it trained; a step's samples are its number."""
    cfg = replace(MICRO, workers=workers)
    named = list(toy.named_parameters())
    loss = step_loss or toy.loss

    def checked(step: int, samples: int) -> dict[str, Tensor]:
        assert samples == step, "the samples of another step"
        return loss(step)

    keep = {"": "toy."}
    return run_phase(cfg, phase, toy, [named], int, checked, folder, keep, deadline)


def test_learning_rates_by_hand():
    """Catches a warm-up that starts at 0 or ends one step late, a cosine that ignores the
    warm-up, a decay where Table 1 says constant.
    """
    constant = Phase("p", 2.0, steps=10, batch=1, warmup=4)
    cosine = Phase("p", 2.0, steps=10, batch=1, warmup=2, schedule="cosine")
    by_hand = {0: 0.5, 1: 1.0, 2: 1.5, 3: 2.0, 4: 2.0, 9: 2.0}
    assert {s: learning_rate(constant, s) for s in by_hand} == pytest.approx(by_hand)
    root = math.sqrt(0.5)  # cos 45 degrees
    by_hand = {0: 1.0, 1: 2.0, 2: 2.0, 4: 1 + root, 6: 1.0, 8: 1 - root, 10: 0.0}
    assert {s: learning_rate(cosine, s) for s in by_hand} == pytest.approx(by_hand)


def test_table_1_by_hand():
    """Catches a number of Table 1 that was mistyped."""
    one, two, three = PAPER.stages
    rates = [
        (one, 149, 5e-4), (one, 299, 1e-3), (one, 300, 1e-3), (one, 5150, 5e-4),
        (two, 2499, 5e-5), (two, 4999, 1e-4), (two, 179_999, 1e-4),
        (three, 0, 2e-5), (three, 23_999, 2e-5),
    ]  # fmt: skip
    for stage, step, rate in rates:
        assert learning_rate(stage, step) == pytest.approx(rate, rel=1e-6)
    assert [s.steps for s in PAPER.stages] == [10_000, 180_000, 24_000]
    assert [s.batch for s in PAPER.stages] == [256, 512, 256]
    # The paper says nothing of shares of the rate; our eye gets a tenth, as Table 1 has it.
    assert [s.rate_shares for s in PAPER.stages] == [(), (), ()]
    small = {n: SMALL.stage(3).learning_rate * s for n, s in SMALL.stage(3).rate_shares}
    assert small == {"und.encoder.": pytest.approx(PAPER.stage(3).learning_rate)}
    for cfg in (SMALL, PAPER):
        assert [s.schedule for s in cfg.stages] == ["cosine", "constant", "constant"]
    for cfg in (TINY, SMALL, PAPER):
        assert [s.weight_decay for s in cfg.stages] == [0.0, 0.0, 0.1]
        assert [s.clip for s in cfg.stages] == [1.0, 1.0, 1.0]
        assert [s.drop_condition for s in cfg.stages] == [0.1, 0.1, 0.1]
        assert [s.first_sentence for s in cfg.stages] == [0.0, 0.25, 0.0]


def adamw_by_hand(values, gradients, rates, decay):
    """AdamW with betas (0.9, 0.95), one number at a time."""
    m, v = 0.0, 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.95 * v + 0.05 * gradient**2
        direction = (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.95**step)) + 1e-8)
        values = values - rate * decay * values - rate * direction
    return values


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_run_is_adamw_by_hand(tmp_path, share):
    """Catches other betas, another rate than the step's share, decay of norms or tables."""
    phase = Phase("toy", 0.1, 6, 1, warmup=3, weight_decay=0.1, clip=1e9)
    phase = replace(phase, rate_shares=(("matr", share),))
    toy = Toy()
    start = {name: p.detach().clone() for name, p in toy.named_parameters()}
    slopes = [1.0, -2.0, 0.5, 3.0, 0.25, -1.0]

    def step_loss(step: int) -> dict[str, Tensor]:
        return {"loss": slopes[step] * sum(p.sum() for p in toy.parameters())}

    run(toy, phase, tmp_path, step_loss)
    rates = [0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, 0.1]
    for name, parameter in toy.named_parameters():
        decay, part = (0.1, share) if name == "matrix" else (0.0, 1.0)
        mine = [rate * part for rate in rates]
        expected = adamw_by_hand(start[name], slopes, mine, decay)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


def test_only_matrices_decay(janus):
    """Catches decay of biases, norms or embedding tables, and a parameter left out."""
    named = list(janus.named_parameters())
    names = {id(p): name for name, p in named}
    phase = Phase("p", 1e-3, 1, 1, weight_decay=0.1)
    groups = make_optimizer(phase, named).param_groups
    rest, decaying = sorted(groups, key=lambda group: group["weight_decay"])
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert len(decaying["params"]) + len(rest["params"]) == len(named)
    tables = ("llm.embed_tokens.", "gen.embedding.", "und.encoder.pos_embed")
    for parameter in decaying["params"]:
        name = names[id(parameter)]
        assert name.endswith("weight") and parameter.ndim > 1 and "norm" not in name
        assert not name.startswith(tables)
    for parameter in rest["params"]:
        name = names[id(parameter)]
        assert parameter.ndim == 1 or name.startswith(tables) or "quantize" in name, name


def test_each_group_is_clipped_by_itself(tmp_path):
    """Catches one norm over all groups: a large GAN gradient would stop the tokenizer."""
    toy = Toy()
    groups = [[("matrix", toy.matrix), ("norm", toy.norm)], [("rare", toy.rare)]]

    def step_loss(step: int, samples: int) -> dict[str, Tensor]:
        return {"loss": 30 * (toy.matrix.sum() + toy.norm.sum()) + 0.01 * toy.rare.sum()}

    phase = Phase("toy", 1e-3, 1, 1, clip=0.5)
    run_phase(MICRO, phase, toy, groups, int, step_loss, tmp_path, {})
    large = torch.cat([toy.matrix.grad.flatten(), toy.norm.grad])
    torch.testing.assert_close(large, torch.full((16,), 0.5 / 4), rtol=1e-4, atol=0)
    torch.testing.assert_close(toy.rare.grad, torch.full((4,), 0.01))


def test_a_loss_that_is_not_finite_stops_with_both_remedies(tmp_path: Path):
    """Catches weights that are spoilt in silence, and advice for another command."""
    toy = Toy()

    def broken(step: int) -> dict[str, Tensor]:
        return {"loss": toy.loss(step)["loss"] * math.inf}

    with pytest.raises(UserError, match=r"not finite at step 0: .* \(--rate, or config"):
        run(toy, Phase("p", 1e-3, steps=2, batch=1), tmp_path, broken)


def test_a_gpu_that_imitates_bfloat16_computes_in_float32(monkeypatch):
    """Catches a card that says yes and is then slower than the CPU; mps errs otherwise."""
    asked: list[tuple] = []
    monkeypatch.setattr(torch, "autocast", lambda *how: asked.append(how))
    for real in (True, False):

        def known(including_emulation: bool, real: bool = real) -> bool:
            return real or including_emulation

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", known)
        loop.autocast(TINY, torch.device("cuda"))
    assert asked == [("cuda", torch.bfloat16, True), ("cuda", None, False)]
    assert loop.memory_format("mps") == torch.contiguous_format
    assert loop.memory_format(torch.device("cpu")) == torch.channels_last


def rows_of(path: Path) -> list[list[str]]:
    """The CSV without its column of seconds."""
    with path.open(newline="") as file:
        return [[row[0], *row[2:]] for row in csv.reader(file)]


def stopping_at(toy: Toy, last: int, number: int):
    """The toy's loss, with a signal to the process in the middle of step `last`."""

    def step_loss(step: int) -> dict[str, Tensor]:
        losses = toy.loss(step)
        if step + 1 == last:
            signal.raise_signal(number)
        return losses

    return step_loss


@pytest.fixture
def phase() -> Phase:
    """Twenty-five steps, so that the log has rows at 10, 20 and 25."""
    return Phase("toy", 0.05, STEPS, 1, warmup=5, schedule="cosine", weight_decay=0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("last", "workers"), [(3, 0), (10, 0), (17, 0), (17, 2)])
def test_a_stopped_run_goes_on_as_if_never_stopped(tmp_path, phase, last, workers, number):
    """Catches a lost optimiser state or step count, a repeated or skipped step, losses
    missing from the log's means; stopped before, at and after a row of the log, and with
    workers that were steps ahead.
    """
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    whole = Toy()
    run(whole, phase, straight)
    first = Toy()
    with pytest.raises(UserError, match=f"stopped after step {last} of 25: the same"):
        run(first, phase, stopped, stopping_at(first, last, number), workers=workers)
    again = Toy()
    run(again, phase, stopped)
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, whole.state_dict()[name]), name
    assert rows_of(stopped / "toy.csv") == rows_of(straight / "toy.csv")
    assert sorted(p.name for p in stopped.iterdir()) == [
        "toy.csv", "toy.json", "toy.safetensors",
    ]  # fmt: skip


def test_a_run_stopped_after_every_step_has_the_same_optimiser(tmp_path, phase):
    """Catches AdamW's own step count lost: the bias correction would start again."""
    once, often = tmp_path / "once", tmp_path / "often"
    toy = Toy()
    with pytest.raises(UserError):
        run(toy, phase, once, stopping_at(toy, 12, signal.SIGINT))
    for done in range(1, 13):
        with pytest.raises(UserError, match=f"after step {done} of 25"):
            run(Toy(), phase, often, deadline=0.0)
    expected, _ = checkpoint.read(once / "toy.resume.safetensors")
    tensors, manifest = checkpoint.read(often / "toy.resume.safetensors")
    assert manifest["step"] == 12
    assert float(tensors["step/matrix"]) == 12.0
    assert float(tensors["step/rare"]) == 6.0, "it has a gradient at odd steps only"
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name


def random_samples(step: int) -> Tensor:
    """Samples that depend on the step alone; here, so that workers find it."""
    return torch.randn(4, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(tmp_path, phase, workers):
    """Catches samples in the order in which workers finish them, or drawn by themselves."""
    seen = {}

    def train(number: int) -> Toy:
        toy, seen[number] = Toy(), []

        def step_loss(step: int, samples: Tensor) -> dict[str, Tensor]:
            seen[number].append(samples)
            return {"loss": (toy.matrix @ samples).sum() + (toy.rare * samples).sum()}

        cfg, named = replace(MICRO, workers=number), list(toy.named_parameters())
        folder = tmp_path / str(number)
        run_phase(cfg, phase, toy, [named], random_samples, step_loss, folder, {})
        return toy

    alone, helped = train(0), train(workers)
    assert torch.equal(torch.stack(seen[0]), torch.stack(seen[workers]))
    expected = torch.stack([random_samples(step) for step in range(STEPS)])
    assert torch.equal(torch.stack(seen[0]), expected)
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter, helped.state_dict()[name]), name


@pytest.mark.parametrize(("bf16", "on"), [(True, ()), (True, ("cpu",)), (False, ("cpu",))])
def test_bfloat16_is_for_the_loss_alone_where_it_is_wanted(
    tmp_path, phase, monkeypatch, bf16, on
):
    """Catches tiny's numbers changed on the CPU, a switch without effect, weights cast."""
    monkeypatch.setattr(loop, "BF16_ON", on)
    toy, made = Toy(), set()

    def step_loss(step: int, samples: int) -> dict[str, Tensor]:
        y = toy.matrix @ toy.embed_tokens.T
        made.add(y.dtype)
        return {"loss": y.float().square().mean() + toy.norm.sum() + toy.rare.sum()}

    cfg, named = replace(MICRO, bf16=bf16), list(toy.named_parameters())
    run_phase(cfg, phase, toy, [named], int, step_loss, tmp_path, {"": ""})
    assert made == {torch.bfloat16 if bf16 and on else torch.float32}
    assert {p.dtype for p in toy.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in toy.parameters()} == {torch.float32}


def test_stopping_leaves_the_signals_as_they_were(tmp_path, phase):
    """Catches a Ctrl-C that does nothing any more after training in a notebook."""
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    toy = Toy()
    with pytest.raises(UserError):
        run(toy, phase, tmp_path, stopping_at(toy, 2, signal.SIGINT))
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_log_has_the_mean_of_ten_steps(tmp_path, phase):
    """Catches a log of single steps, and a last row that is missing."""
    toy = Toy()
    seen = []

    def step_loss(step: int) -> dict[str, Tensor]:
        losses = toy.loss(step)
        seen.append([float(value.detach()) for value in losses.values()])
        return losses

    manifest = run(toy, phase, tmp_path, step_loss)
    header, *rows = rows_of(tmp_path / "toy.csv")
    assert header == ["step", "loss", "half"]
    assert [row[0] for row in rows] == ["10", "20", "25"]
    for row, steps in zip(rows, (seen[:10], seen[10:20], seen[20:]), strict=True):
        means = [sum(column) / len(steps) for column in zip(*steps, strict=True)]
        assert [float(value) for value in row[1:]] == pytest.approx(means, abs=1e-5)
    assert [manifest["metrics"][n] for n in ("loss", "half")] == pytest.approx(means)


def test_a_task_that_some_steps_lack_has_the_mean_of_the_others(tmp_path, phase):
    """Catches a mean over all ten steps of a loss that only some of them had."""
    toy = Toy()

    def step_loss(step: int) -> dict[str, Tensor]:
        odd = {"odd": torch.tensor(float(step))} if step % 2 and step < 20 else {}
        return toy.loss(step) | odd

    run(toy, phase, tmp_path, step_loss)
    header, *rows = rows_of(tmp_path / "toy.csv")
    column = header.index("odd")
    assert [row[column] for row in rows] == ["5.00000", "15.00000", ""]


def test_a_finished_run_says_what_it_was(tmp_path, phase):
    """Catches a checkpoint without its step, metrics, seconds or sha256."""
    toy = Toy()
    run(toy, phase, tmp_path)
    manifest = json.loads((tmp_path / "toy.json").read_text())
    assert set(manifest) == {
        "preset", "phase", "seed", "config", "step", "metrics", "seconds", "sha256",
    }  # fmt: skip
    assert (manifest["preset"], manifest["phase"], manifest["seed"]) == ("micro", "toy", 0)
    assert manifest["config"]["llm_width"] == MICRO.llm_width
    assert manifest["step"] == STEPS and manifest["seconds"] > 0
    tensors, _ = checkpoint.load(tmp_path / "toy.safetensors")
    assert set(tensors) == {f"toy.{name}" for name in toy.state_dict()}
    assert torch.equal(tensors["toy.matrix"], toy.matrix)
