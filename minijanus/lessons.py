"""What the three stage notebooks share: begin where the phase before ended, train, compare.

They run the same `train_stage` as `make train`, for fewer steps and in a folder of its own.
"""

import csv
import sys
import tempfile
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from minijanus.config import PRESETS, Stage
from minijanus.folders import SHIPPED
from minijanus.images import generation_pixels, understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError, device, wanted_preset
from minijanus.load import PHASES, load_janus
from minijanus.sequence import pack, to_sequence
from minijanus.text import Tokenizer
from minijanus.train import train_stage
from minijanus.world import World


def preset() -> str:
    """Which preset a stage notebook trains; MINIJANUS_PRESET overrides.

    `small` on a GPU if its checkpoints are there, else `tiny`.
    """
    wanted = wanted_preset()
    if wanted and not (SHIPPED / wanted / "stage3.json").exists():
        raise UserError(
            f"MINIJANUS_PRESET={wanted} has no checkpoints in {SHIPPED.name}: "
            f"choose one of {', '.join(p for p in PRESETS if (SHIPPED / p).exists())}."
        )
    here = (SHIPPED / "small" / "stage3.json").exists()
    return wanted or ("small" if device().type == "cuda" and here else "tiny")


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
def answer_loss(janus: Janus, tokenizer: Tokenizer, world: World, count: int = 60) -> float:
    """The mean loss of a token of an answer, over so many questions about pictures."""
    stage = janus.cfg.stage(3)
    records = [world.record("understanding", i, 3) for i in range(count)]
    rows = [to_sequence(r, stage, tokenizer, janus.lengths()) for r in records]
    batch = pack(rows, janus.cfg.pack_length, janus.cfg.max_positions).to(janus.device)
    pixels = [
        understanding_pixels(image, janus.cfg.image_size)
        for record in records
        for image in record.images
    ]
    features = janus.und.encode(torch.stack(pixels).to(janus.device))
    return float(janus.loss(batch, {"und": features})["understanding"])
