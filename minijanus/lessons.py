"""What notebooks 06 to 10 share: stages trained for a few steps, losses, and figures.

They run the same `train_stage` as `make train`, for fewer steps and in a folder of its own.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from contextlib import redirect_stderr
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from minijanus.config import PRESETS, Stage
from minijanus.folders import SHIPPED
from minijanus.images import generation_pixels, to_picture, understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError, device, wanted_preset
from minijanus.load import PHASES, load_janus
from minijanus.mixing import TASKS
from minijanus.sequence import Sequence, pack, to_sequence
from minijanus.text import Tokenizer
from minijanus.train import prepare_step, train_stage
from minijanus.world import World

if TYPE_CHECKING:  # matplotlib is imported when something is drawn
    from matplotlib.figure import Figure

SCORED, READ = "#0072b2", "#e8e8e8"  # the two colours of a strip


def preset() -> str:
    """Which preset a stage notebook trains; MINIJANUS_PRESET overrides.

    `small` on a GPU if its checkpoints are there, else `tiny`.
    """
    wanted = wanted_preset()
    if wanted and not can_train(wanted):
        raise UserError(
            f"MINIJANUS_PRESET={wanted} has not the checkpoints of every phase: "
            f"choose one of {', '.join(filter(can_train, PRESETS))}."
        )
    here = can_train("small")
    return wanted or ("small" if device().type == "cuda" and here else "tiny")


def can_train(name: str) -> bool:
    """Whether every phase of a preset came with the clone, for stages to begin after."""
    return all((SHIPPED / name / f"{phase}.json").exists() for phase in PHASES)


def before_stage(number: int) -> tuple[Janus, Tokenizer]:
    """The shipped model as the stage finds it, ready to train, and its tokenizer."""
    earlier = PHASES[PHASES.index(f"stage{number}") - 1]
    janus, tokenizer, _ = load_janus(SHIPPED / preset(), earlier, device=device())
    return janus, tokenizer


def train_a_little(
    janus: Janus, tokenizer: Tokenizer, world: World, stage: Stage, steps: int
) -> list[dict[str, float]]:
    """Train the stage in so few steps; what the log says, one row every ten steps.

    The schedule is the stage's own, squeezed; the bar goes where the notebook prints.
    """
    short = replace(stage, steps=steps, warmup=min(stage.warmup, steps // 2))
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(sys.stdout):
        train_stage(janus.cfg, short, janus, tokenizer, world, Path(folder))
        janus.eval()
        return log_of(Path(folder) / f"{stage.name}.csv")


def log_of(path: Path) -> list[dict[str, float]]:
    """The rows of a training log; what was not measured in a row is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def weights(janus: Janus) -> dict[str, dict[str, Tensor]]:
    """A copy of all weights, by the parts of Figure 3."""
    return {
        part: {name: p.detach().clone() for name, p in module.named_parameters()}
        for part, module in janus.parts().items()
    }


def moved(before: dict[str, dict[str, Tensor]], janus: Janus) -> dict[str, float]:
    """How far each part has moved since `before`: length of the change over the length."""
    now = weights(janus)
    shares = {}
    for part, tensors in before.items():
        change = sum((now[part][name] - t).square().sum() for name, t in tensors.items())
        shares[part] = float(
            (change / sum(t.square().sum() for t in tensors.values())) ** 0.5
        )
    return shares


@torch.no_grad()
def drawing_loss(
    janus: Janus, tokenizer: Tokenizer, world: World, category: bool, count: int = 40
) -> float:
    """The mean loss of a code, over so many pictures of a world, each with its prompt."""
    stage = janus.cfg.stage(2)
    records = [world.record("generation", i, 2, category) for i in range(count)]
    rows = [to_sequence(r, stage, tokenizer, janus.lengths()) for r in records]
    batch = pack(rows, janus.cfg.pack_length, janus.cfg.max_positions).to(janus.device)
    pixels = [generation_pixels(r.images[0], janus.cfg.image_size) for r in records]
    ids = janus.gen.encode(torch.stack(pixels).to(janus.device))
    return float(janus.loss(batch, {"gen": ids})["generation"])


@torch.no_grad()
def word_losses(
    janus: Janus, tokenizer: Tokenizer, world: World, count: int = 60
) -> dict[str, float]:
    """The mean loss of a token of an answer, and of all other words, in stage III.

    Over so many samples about pictures; the other words are questions and template.
    """
    cfg, stage = janus.cfg, janus.cfg.stage(3)
    records = [world.record("understanding", i, 3) for i in range(count)]
    packed = []
    for one in (stage, replace(stage, scored_text="all")):  # of the same lengths
        rows = [to_sequence(r, one, tokenizer, janus.lengths()) for r in records]
        packed.append(pack(rows, cfg.pack_length, cfg.max_positions).to(janus.device))
    answers, words = packed
    pixels = [understanding_pixels(i, cfg.image_size) for r in records for i in r.images]
    features = janus.und.encode(torch.stack(pixels).to(janus.device))
    # Told apart like two tasks, they take one pass through the model.
    batch = replace(words, tasks=torch.where(answers.scored, 0, 1))
    losses = janus.loss(batch, {"und": features})
    return {
        "answers": float(losses["understanding"]),
        "other words": float(losses["text"]),
    }


@torch.no_grad()
def task_losses(
    janus: Janus, tokenizer: Tokenizer, source: World, stage: Stage, samples: int = 60
) -> dict[str, float]:
    """Each task's mean loss over one batch of the stage's mix, the same at every call."""
    fixed = replace(stage, batch=samples)
    batch, shown = prepare_step(janus.cfg, fixed, source, tokenizer, janus.lengths(), 0)
    pictures = {
        name: janus.pathways[name].encode(pixels.to(janus.device))
        for name, (_, pixels) in shown.items()
    }
    losses = janus.loss(batch.to(janus.device), pictures)
    return {task: float(losses[task]) for task in TASKS if task in losses}


def print_losses(rows: dict[str, dict[str, float]]) -> None:
    """Rows of losses, each under its name, as a table with the tasks as columns."""
    tasks = list(next(iter(rows.values())))
    print(f"{'':<16}" + "".join(f"{task:>15}" for task in tasks))
    for name, losses in rows.items():
        print(f"{name:<16}" + "".join(f"{losses[task]:>15.2f}" for task in tasks))


def strips(sequences: list[Sequence], room: int) -> Figure:
    """Sequences as rows of cells: blue is scored, grey read only, pictures are hatched.

    All rows have room for so many positions; ValueError if one needs more.
    """
    from matplotlib.figure import Figure

    if max(len(sequence.ids) for sequence in sequences) > room:
        raise ValueError(f"a sequence has more than {room} positions: give more room.")
    figure = Figure(figsize=(11, 1.2 * len(sequences)), layout="constrained")
    rows = figure.subplots(len(sequences), 1, squeeze=False)[:, 0]
    for axis, sequence in zip(rows, sequences, strict=True):
        drawn = {s.start + i: s.drawn for s in sequence.spans for i in range(s.length)}
        for t, scored in enumerate(sequence.scored):
            target = scored or drawn.get(t, False)
            hatch = "" if t not in drawn else ("xx" if drawn[t] else "//")
            face, edge = (SCORED, "white") if target else (READ, "#777777")
            axis.bar(t, 1, width=0.9, color=face, hatch=hatch, edgecolor=edge, lw=0.3)
        axis.set(xlim=(-1, room), yticks=[])
        axis.set_title(f"{sequence.task}: {len(sequence.ids)} positions", loc="left")
    rows[-1].set_xlabel("position")
    return figure


@torch.no_grad()
def so_far(janus: Janus, codes: Tensor) -> Image.Image:
    """One drawing of which the codes 1 m exist; the squares of the others are grey."""
    n, side = janus.gen.n_tokens, isqrt(janus.gen.n_tokens)
    missing = n - codes.shape[1]
    pixels = janus.gen.encoder.decode(F.pad(codes, (0, missing)))  # 1 c h w
    exists = torch.arange(n, device=pixels.device) < codes.shape[1]
    squares = rearrange(exists.to(pixels.dtype), "(h w) -> 1 1 h w", h=side)
    return to_picture((pixels * F.interpolate(squares, size=pixels.shape[-2:]))[0])


def maps(drawing: Image.Image, shares: Tensor, titles: list[str], columns: int) -> Figure:
    """A drawing under the grid of its codes, then a map of squares for each of p titles.

    `shares` is p n, a number for each code; each map has its own scale.
    """
    from matplotlib.figure import Figure

    side, rows = isqrt(shares.shape[1]), -(-(1 + len(titles)) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.7 * rows), layout="constrained")
    first, *others = figure.subplots(rows, columns, squeeze=False).flatten()
    first.imshow(drawing)
    lines = [drawing.width / side * i - 0.5 for i in range(1, side)]
    first.set(xticks=lines, yticks=lines, xticklabels=[], yticklabels=[])
    first.tick_params(length=0)
    first.grid(color="white", lw=0.6)
    for axis in others:
        axis.axis("off")
    squares = rearrange(shares.cpu().numpy(), "p (h w) -> p h w", h=side)
    for axis, square, title in zip(others, squares, titles, strict=False):
        axis.imshow(square, cmap="cividis")
        axis.set_title(title, fontsize=10)
    return figure
