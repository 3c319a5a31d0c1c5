"""The one training loop: every phase, from SigLIP to stage III, runs through `run_phase`.

It owns the optimiser, the schedule, clipping, the log, and stopping and going on exactly
where it stopped (paper Table 1). What a step's loss is, is the caller's function.
"""

import csv
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minijanus import checkpoint
from minijanus.config import Phase
from minijanus.lab import UserError

LOG_EVERY = 10  # steps
SAVE_EVERY = 120.0  # seconds
TABLES = ("embed_tokens", "embedding", "pos_embed", "latent")  # learned rows, not matrices


def learning_rate(phase: Phase, step: int) -> float:
    """The step's rate: linear warm-up, then constant or cosine to 0 (paper Table 1)."""
    if step < phase.warmup:
        return phase.learning_rate * (step + 1) / phase.warmup
    if phase.schedule == "constant":
        return phase.learning_rate
    done = (step - phase.warmup) / (phase.steps - phase.warmup)
    return phase.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(
    phase: Phase, named: list[tuple[str, nn.Parameter]]
) -> torch.optim.AdamW:
    """AdamW (0.9, 0.95) as Table 1; only matrices decay, not norms, biases or tables."""
    rest = [p for name, p in named if p.ndim <= 1 or any(t in name for t in TABLES)]
    decays = [p for _, p in named if not any(p is other for other in rest)]
    groups = [
        {"params": decays, "weight_decay": phase.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(0.9, 0.95), eps=1e-8)


@contextmanager
def stop_request() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM, so that a step is never cut in the middle."""
    seen: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(s, lambda number, frame: seen.append(number)) for s in signals]
    try:
        yield seen
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class Progress:
    """What a run must remember to go on exactly: weights, optimiser, step, seconds."""

    def __init__(self, path: Path, model: nn.Module, named, optimizer: torch.optim.AdamW):
        self.path, self.model, self.named, self.optimizer = path, model, named, optimizer
        self.step, self.seconds = 0, 0.0
        self.unlogged: dict[str, list[float]] = {}  # losses since the log's last row

    def save(self) -> None:
        """Write the state of the run; safetensors, so nothing has to be unpickled."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        for name, parameter in self.named:
            for kind, tensor in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{kind}/{name}"] = tensor
        manifest = {"step": self.step, "seconds": self.seconds, "unlogged": self.unlogged}
        checkpoint.save(self.path, tensors, manifest)

    def load(self) -> None:
        """Take up the state that `save` wrote, if there is one."""
        if not self.path.exists():
            return
        tensors, manifest = checkpoint.read(self.path)
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


def run_phase(
    phase: Phase,
    model: nn.Module,
    groups: list[list[tuple[str, nn.Parameter]]],
    step_loss: Callable[[int], dict[str, Tensor]],
    folder: Path,
    keep: dict[str, str],
    manifest: dict,
    bf16: bool = False,
    deadline: float = math.inf,
) -> dict:
    """Minimise `step_loss(step)["loss"]` for `phase.steps` steps and write `folder/name.*`.

    `groups` are the named parameters that train; each group is clipped by itself. `keep`
    maps prefixes of the model's names to the names of the checkpoint. On Ctrl-C, SIGTERM,
    or when time.monotonic() passes `deadline`, it stops with a UserError after saving what
    the same call needs to go on exactly.
    """
    named = [pair for group in groups for pair in group]
    optimizer = make_optimizer(phase, named)
    device = named[0][1].device
    run = Progress(folder / f"{phase.name}.resume.safetensors", model, named, optimizer)
    run.load()
    log = Log(folder / f"{phase.name}.csv", run.step, run.unlogged)
    bar = tqdm(total=phase.steps, initial=run.step, desc=phase.name, mininterval=5)
    started, saved = time.monotonic() - run.seconds, time.monotonic()
    with stop_request() as stopped:
        while run.step < phase.steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, run.step)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(
                device.type, torch.bfloat16, bf16 and device.type == "cuda"
            ):
                losses = step_loss(run.step)
            losses["loss"].backward()
            for group in groups:
                nn.utils.clip_grad_norm_([p for _, p in group], phase.clip)
            optimizer.step()
            run.step, run.seconds = run.step + 1, time.monotonic() - started
            log.add(run.step, run.seconds, losses, last=run.step == phase.steps)
            bar.update()
            bar.set_postfix(log.latest, refresh=False)
            late = stopped or time.monotonic() > deadline
            if run.step < phase.steps and (late or time.monotonic() - saved > SAVE_EVERY):
                run.save()
                saved = time.monotonic()
            if late and run.step < phase.steps:
                bar.close()
                raise UserError(
                    f"{phase.name} stopped after step {run.step} of {phase.steps}: "
                    "the same command goes on from there."
                )
    bar.close()
    return finish(phase, model, folder, keep, manifest, run, log.latest)


def finish(phase, model, folder, keep, manifest, run: Progress, metrics: dict) -> dict:
    """Write the finished checkpoint, then delete the state for going on."""
    tensors = {
        new + name[len(old) :]: tensor
        for name, tensor in model.state_dict().items()
        for old, new in keep.items()
        if name.startswith(old)
    }
    manifest = {**manifest, "step": run.step, "metrics": metrics, "seconds": run.seconds}
    checkpoint.save(folder / f"{phase.name}.safetensors", tensors, manifest)
    for path in (run.path, run.path.with_suffix(".json")):
        path.unlink(missing_ok=True)
    return manifest


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
