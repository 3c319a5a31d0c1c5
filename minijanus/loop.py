"""The one training loop: every phase, from SigLIP to stage III, runs through `run_phase`.

It owns the optimiser, the schedule, clipping, the log, and stopping and going on exactly
where it stopped (paper Table 1). What a step's loss is, is the caller's function.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from minijanus import checkpoint, memory
from minijanus.config import Config, Phase
from minijanus.lab import UserError
from minijanus.progress import Log, Progress

T = TypeVar("T")  # the samples of one step
SAVE_EVERY = 120.0  # seconds
TRIM_EVERY = 10  # steps after which what was freed goes back to the system
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
BF16_ON = ("cuda",)  # a CPU computes in float32, unless a test adds it here
TABLES = ("embed_tokens", "embedding", "pos_embed", "latent")  # learned rows, not matrices


class Stopped(UserError):
    """A run was asked to stop, and everything is saved; the same command goes on."""

    exit_code = 130  # what shells expect after Ctrl-C


def learning_rate(phase: Phase, step: int) -> float:
    """The step's rate: linear warm-up, then constant or cosine to 0 (paper Table 1)."""
    if step < phase.warmup:
        return phase.learning_rate * (step + 1) / phase.warmup
    if phase.schedule == "constant":
        return phase.learning_rate
    done = (step - phase.warmup) / (phase.steps - phase.warmup)
    return phase.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices, not to norms, biases or tables."""
    return parameter.ndim > 1 and not any(table in name for table in TABLES)


def make_optimizer(
    phase: Phase, named: list[tuple[str, nn.Parameter]]
) -> torch.optim.AdamW:
    """AdamW as in Table 1; only matrices decay, and names have their shares of the rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        decay = phase.weight_decay if decays(name, parameter) else 0.0
        share = next((s for start, s in phase.rate_shares if name.startswith(start)), 1.0)
        groups.setdefault((decay, share), []).append(parameter)
    made = [
        {"params": parameters, "weight_decay": decay, "share": share}
        for (decay, share), parameters in groups.items()
    ]
    return torch.optim.AdamW(made, lr=phase.learning_rate, betas=(0.9, 0.95), eps=1e-8)


def update(
    phase: Phase,
    step: int,
    groups: list[list[tuple[str, nn.Parameter]]],
    optimizer: torch.optim.AdamW,
    loss: Tensor,
) -> None:
    """One step of AdamW at shares of the step's rate; each group is clipped by itself."""
    for part in optimizer.param_groups:
        part["lr"] = learning_rate(phase, step) * part["share"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in groups:
        nn.utils.clip_grad_norm_([p for _, p in group], phase.clip)
    optimizer.step()


@contextmanager
def stop_request() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM, so that a step is never cut in the middle."""
    seen: list[int] = []

    def note(number: int, frame) -> None:
        seen.append(number)

    before = [signal.signal(number, note) for number in STOP_SIGNALS]
    try:
        yield seen
    finally:
        for number, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def autocast(cfg: Config, device: torch.device) -> torch.autocast:
    """How a step's loss is computed: on a GPU in bfloat16, if cfg.bf16; weights stay."""
    wanted = cfg.bf16 and device.type in BF16_ON
    if device.type == "cuda":  # older cards only imitate bfloat16, slowly
        wanted = wanted and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16 if wanted else None, wanted)


def memory_format(device: torch.device | str) -> torch.memory_format:
    """Channels last, which convolutions like; not on mps, whose batch norm then errs."""
    on_mps = torch.device(device).type == "mps"
    return torch.contiguous_format if on_mps else torch.channels_last


def as_it_is(samples: T) -> T:
    """The step's samples, which are tensors already."""
    return samples


def leave_stopping_to_the_loop(worker: int) -> None:
    """Let a worker ignore Ctrl-C and SIGTERM: the loop ends it once its step is saved."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def prepared(prepare: Callable[[int], T], steps: range, workers: int) -> Iterator[T]:
    """The samples of each step in order, made ahead of time by so many processes.

    As `prepare` is a function of the step alone, their number changes nothing.
    """
    loader = DataLoader(
        Steps(prepare),
        sampler=steps,
        batch_size=None,
        num_workers=workers,
        collate_fn=as_it_is,
        worker_init_fn=leave_stopping_to_the_loop,
        generator=torch.Generator(),  # or it would draw from the global random numbers
    )
    return iter(loader)


class Steps(Dataset):
    """The steps of a phase as a data set, so that DataLoader can spread them."""

    def __init__(self, prepare: Callable[[int], T]):
        self.prepare = prepare

    def __getitem__(self, step: int) -> T:
        return self.prepare(step)


def run_phase(
    cfg: Config,
    phase: Phase,
    model: nn.Module,
    groups: list[list[tuple[str, nn.Parameter]]],
    prepare: Callable[[int], T],
    step_loss: Callable[[int, T], dict[str, Tensor]],
    folder: Path,
    keep: dict[str, str],
    deadline: float = math.inf,
) -> dict:
    """Minimise step_loss(step, prepare(step))["loss"] step by step; write `folder/name.*`.

    `prepare` makes the samples, perhaps in another process; `step_loss` runs the model.
    `groups` are the named parameters that train; each group is clipped by itself. `keep`
    maps prefixes of the model's names to the names of the checkpoint. On Ctrl-C, SIGTERM,
    or when time.monotonic() passes `deadline`, it stops with a UserError after saving what
    the same call needs to go on exactly.
    """
    named = [pair for group in groups for pair in group]
    device = named[0][1].device
    optimizer = make_optimizer(phase, named)
    resume = folder / f"{phase.name}.resume.safetensors"
    run = Progress(resume, cfg, model, named, optimizer)
    run.load()
    # The log fills run.unlogged in place, so that run.save() writes it too.
    log = Log(folder / f"{phase.name}.csv", run.step, run.unlogged)
    bar = tqdm(total=phase.steps, initial=run.step, desc=phase.name, mininterval=5)
    started, saved = time.monotonic() - run.seconds, time.monotonic()
    with stop_request() as stopped:
        for samples in prepared(prepare, range(run.step, phase.steps), cfg.workers):
            with autocast(cfg, device):
                losses = step_loss(run.step, samples)
            if not torch.isfinite(losses["loss"]):
                raise UserError(
                    f"the loss of {phase.name} is not finite at step {run.step}: lower its "
                    "learning rate (--rate, or config.py) and train into another folder."
                )
            update(phase, run.step, groups, optimizer, losses["loss"])
            run.step, run.seconds = run.step + 1, time.monotonic() - started
            log.add(run.step, run.seconds, losses, last=run.step == phase.steps)
            if run.step % TRIM_EVERY == 0:
                memory.give_back()
            bar.update()
            bar.set_postfix(log.latest, refresh=False)
            late = stopped or time.monotonic() > deadline
            if run.step < phase.steps and (late or time.monotonic() - saved > SAVE_EVERY):
                run.save()
                saved = time.monotonic()
            if late and run.step < phase.steps:
                bar.close()
                raise Stopped(
                    f"{phase.name} stopped after step {run.step} of {phase.steps}: "
                    "the same command goes on from there."
                )
    bar.close()
    manifest = finish(cfg, phase, model, folder, keep, run, log.latest)
    if stopped:  # during the last step: the next phase must not begin
        raise Stopped(f"{phase.name} is finished: the same command goes on after it.")
    return manifest


def finish(
    cfg: Config,
    phase: Phase,
    model: nn.Module,
    folder: Path,
    keep: dict[str, str],
    run: Progress,
    metrics: dict[str, float],
) -> dict:
    """Write the finished checkpoint, then delete the state for going on."""
    tensors = {
        new + name[len(old) :]: tensor
        for name, tensor in model.state_dict().items()
        for old, new in keep.items()
        if name.startswith(old)
    }
    manifest = {"preset": cfg.name, "phase": phase.name, "seed": cfg.seed, "step": run.step}
    manifest |= {"metrics": metrics, "seconds": run.seconds, "config": asdict(cfg)}
    checkpoint.save(folder / f"{phase.name}.safetensors", tensors, manifest)
    for path in (run.path, run.path.with_suffix(".json")):
        path.unlink(missing_ok=True)
    return manifest
