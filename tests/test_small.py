"""The preset for one GPU, by the same code on the CPU: a few steps of every phase."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from minijanus import checkpoint, judge_training, loop, pretrain
from minijanus.config import PRESETS, SMALL, Config
from minijanus.janus import Janus
from minijanus.judge_training import train_judge
from minijanus.lab import UserError, device
from minijanus.load import PHASES, load_janus
from minijanus.loop import autocast
from minijanus.picture_cache import PictureCache
from minijanus.studio import draw_pictures
from minijanus.train import at_most, prepare_step, stage_loss, train_all
from minijanus.world import World

STEPS = 2
ALL = (*PHASES, "judge")


def few_steps() -> Config:
    """SMALL with two steps a phase, small batches, narrow parts; all losses take part."""
    cut = at_most(SMALL, STEPS)
    return replace(
        cut,
        und_width=32,
        und_depth=1,
        und_heads=2,
        und_text_depth=1,
        n_codes=64,
        vq_channels=8,
        vq_res_blocks=1,
        vq_latent=16,
        vocabulary=600,
        llm_width=32,
        llm_depth=2,
        llm_heads=2,
        llm_ff=64,
        workers=0,
        vq_adversarial_from=1,
        siglip=replace(cut.siglip, batch=4),
        vq=replace(cut.vq, batch=2),
        llm=replace(cut.llm, batch=4),
        stages=tuple(replace(stage, batch=10) for stage in cut.stages),
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Config:
    """`few_steps`, with a tokenizer of little text and a judge of two steps as well."""
    monkeypatch.setattr(pretrain, "BPE_LINES", 200)
    short = replace(judge_training.PHASE, steps=STEPS, batch=2)
    monkeypatch.setattr(judge_training, "PHASE", short)
    return few_steps()


def train(cfg: Config, folder: Path, deadline: float = float("inf")) -> None:
    """Every phase and the judge, on the CPU."""
    cpu = torch.device("cpu")
    train_all(cfg, folder, World(cfg), cpu, deadline)
    if not (folder / "judge.json").exists():
        train_judge(cfg, folder, cpu, deadline)


def test_small_trains_every_phase_and_draws(few, tmp_path, monkeypatch):
    """Catches what only small's settings run: perceptual and adversarial loss, workers,
    128 px, other lengths of picture in the two pathways, 496 concepts. On a GPU if one is
    there: a part of a step that stays on the CPU.
    """
    train_all(replace(few, workers=1), tmp_path, World(few))
    assert all((tmp_path / f"{phase}.json").exists() for phase in PHASES)
    header = (tmp_path / "vq.csv").read_text().splitlines()[0]
    assert {"perceptual", "adversarial", "discriminator"} <= set(header.split(","))
    monkeypatch.setitem(PRESETS, "small", few)
    model = load_janus(tmp_path, device=device())
    assert model[0].lengths() == {"und": 64, "gen": 256}
    [picture] = draw_pictures(*model, ["a dog"], n=1)
    assert picture.size == (128, 128)


def test_every_phase_in_bfloat16_goes_on_as_if_never_stopped(few, tmp_path, monkeypatch):
    """Catches what only a GPU would have met: a loss that bfloat16 makes infinite or
    breaks, weights that are stored so, a stop that loses something under autocast.
    """
    monkeypatch.setattr(loop, "BF16_ON", ("cpu",))
    # A GPU's autocast leaves alone what the cache keeps on the CPU; here it would not.
    encode = torch.autocast("cpu", enabled=False)(PictureCache.encode)
    monkeypatch.setattr(PictureCache, "encode", encode)
    seen: dict[type, set] = {}

    def note(module: nn.Module, given, made) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            seen.setdefault(type(module), set()).add(made.dtype)

    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    hook = register_module_forward_hook(note)
    try:
        train(few, straight)
    finally:
        hook.remove()
    # Frozen encoders compute in float32, as when drawing and answering; all else does not.
    assert seen[nn.Linear] == seen[nn.Conv2d] == {torch.bfloat16, torch.float32}
    for phase in ALL:  # a stop after the first step of each
        with pytest.raises(UserError, match=f"{phase} stopped after step 1 of 2"):
            train(few, stopped, deadline=0.0)
    train(few, stopped, deadline=0.0)
    for phase in ALL:
        expected, _ = checkpoint.load(straight / f"{phase}.safetensors")
        tensors, _ = checkpoint.load(stopped / f"{phase}.safetensors")
        assert set(tensors) == set(expected)
        for name, tensor in expected.items():
            assert tensor.dtype == torch.float32 and torch.isfinite(tensor).all(), name
            assert torch.equal(tensors[name], tensor), f"{phase}: {name}"
        with (straight / f"{phase}.csv").open(newline="") as file:
            [row] = csv.DictReader(file)
        assert all(torch.isfinite(torch.tensor(float(v))) for v in row.values() if v), row


def test_a_step_at_small_s_own_widths(few, tmp_path):
    """Catches widths, heads or groups that do not divide, and more than 20 M parameters."""
    tokenizer = pretrain.train_tokenizer(few, World(few), tmp_path)
    janus, stage = Janus(SMALL).to(device()), replace(SMALL.stage(3), batch=10)
    assert sum(p.numel() for p in janus.parameters()) <= 20_000_000
    trained = janus.set_stage(stage)
    samples = prepare_step(SMALL, stage, World(few), tokenizer, janus.lengths(), 0)
    caches = {"gen": PictureCache(tmp_path / "none", janus.gen, {})}
    with autocast(SMALL, janus.device):
        stage_loss(stage, janus, caches, *samples)["loss"].backward()
    # The table's rows that no sample asks for get zeros, never nothing.
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for _, p in trained)
