"""What a run remembers to go on exactly where it stopped, and what it writes down."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from minijanus import checkpoint
from minijanus.config import Config, differing_fields
from minijanus.lab import UserError

LOG_EVERY = 10  # steps
BEGUN = "begun.json"


def check_config(cfg: Config, made_by: dict, path: Path) -> None:
    """Raise UserError if a file was trained by another config than this one."""
    if changed := differing_fields(cfg, made_by):
        raise UserError(
            f"{path} was trained with another {' and '.join(changed)}: choose another "
            "folder with --out, or delete this one."
        )


def begun_with(folder: Path, facts: dict[str, str]) -> None:
    """Note in begun.json what a run starts from; UserError if it began with other things.

    facts: what the config does not say, such as the source of its samples.
    """
    path = folder / BEGUN
    if not path.exists():
        checkpoint.write_text(path, json.dumps(facts, indent=1) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := [name for name, value in facts.items() if before.get(name) != value]:
        raise UserError(
            f"the run in {folder} began with another {' and '.join(changed)}: choose "
            "another folder with --out, or delete this one."
        )


class Progress:
    """What a run must remember to go on exactly: weights, optimiser, step, seconds."""

    def __init__(
        self,
        path: Path,
        cfg: Config,
        model: nn.Module,
        named: list[tuple[str, nn.Parameter]],
        optimizer: torch.optim.AdamW,
    ):
        self.path, self.cfg = path, cfg
        self.model, self.named, self.optimizer = model, named, optimizer
        self.step, self.seconds = 0, 0.0
        self.unlogged: dict[str, list[float]] = {}  # losses since the log's last row

    def save(self) -> None:
        """Write the state of the run; safetensors, so nothing has to be unpickled.

        What is frozen is left out: whoever goes on has loaded it anew, and for adaptors
        before a large language model it would be nearly all of the file.
        """
        frozen = {n for n, p in self.model.named_parameters() if not p.requires_grad}
        tensors = {
            f"model/{name}": tensor
            for name, tensor in self.model.state_dict().items()
            if name not in frozen
        }
        for name, parameter in self.named:
            for kind, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{kind}/{name}"] = tensor
        manifest = {"step": self.step, "seconds": self.seconds, "unlogged": self.unlogged}
        manifest["config"] = asdict(self.cfg)
        checkpoint.save(self.path, tensors, manifest)

    def load(self) -> None:
        """Take up the state that `save` wrote, if there is one."""
        if not self.path.exists():
            return
        # read, not load: a kill between the two renames must not cost the run.
        tensors, manifest = checkpoint.read(self.path)
        check_config(self.cfg, manifest["config"], self.path)
        model = {
            n[len("model/") :]: t for n, t in tensors.items() if n.startswith("model/")
        }
        checkpoint.load_into(self.model, model, self.path.name)
        for name, parameter in self.named:
            for kind in ("step", "exp_avg", "exp_avg_sq"):
                if f"{kind}/{name}" in tensors:
                    device = "cpu" if kind == "step" else parameter.device
                    state = self.optimizer.state[parameter]
                    state[kind] = tensors[f"{kind}/{name}"].to(device)
        self.step, self.seconds = manifest["step"], manifest["seconds"]
        self.unlogged = manifest["unlogged"]


class Log:
    """A CSV of the losses, one row per ten steps, each the mean since the row before."""

    def __init__(self, path: Path, step: int, unlogged: dict[str, list[float]]):
        self.path, self.latest, self.values = path, {}, unlogged
        path.parent.mkdir(parents=True, exist_ok=True)
        self.columns: list[str] = []
        if step and path.exists():  # rows after the step we go on from would stand twice
            with path.open(newline="") as file:
                rows = list(csv.reader(file))
            self.columns = rows[0][2:] if rows else []
            kept = rows[:1] + [row for row in rows[1:] if int(row[0]) <= step]
            checkpoint.write_text(path, "".join(",".join(row) + "\n" for row in kept))
        else:
            checkpoint.write_text(path, "")

    def add(self, step: int, seconds: float, losses: dict[str, Tensor], last: bool) -> None:
        """Take the losses of one step; a step without some task leaves its losses out."""
        for name, value in losses.items():
            self.values.setdefault(name, []).append(float(value.detach()))
        if step % LOG_EVERY and not last:
            return
        self.latest = {name: sum(v) / len(v) for name, v in self.values.items()}
        with self.path.open("a") as file:
            if not self.columns:
                self.columns = list(self.latest)
                file.write(",".join(["step", "seconds", *self.columns]) + "\n")
            row = [
                f"{self.latest[c]:.5f}" if c in self.latest else "" for c in self.columns
            ]
            file.write(",".join([str(step), f"{seconds:.1f}", *row]) + "\n")
        self.values.clear()  # the same dict that a stopped run remembers
