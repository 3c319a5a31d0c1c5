"""The control model of Figure 8: what it shares with tiny, and what is shipped of it."""

from dataclasses import asdict
from pathlib import Path

import torch
from conftest import MICRO, script

from minijanus import checkpoint
from minijanus.load import build
from minijanus.text import Tokenizer

control = script("control_model")


def micro_phase(folder: Path, phase: str, prefixes: tuple[str, ...]) -> None:
    """A phase's file of a micro Janus."""
    tensors = {n: t for n, t in build(MICRO).state_dict().items() if n.startswith(prefixes)}
    checkpoint.save(folder / f"{phase}.safetensors", tensors, {"config": asdict(MICRO)})


def test_a_run_starts_once_and_ships_what_was_trained(
    tmp_path: Path, monkeypatch, tokenizer: Tokenizer
) -> None:
    """Catches a second start that writes over what was trained, and encoders mixed up."""
    tiny, run, folder = (tmp_path / name for name in ("tiny", "run", "control"))
    micro_phase(tiny, "siglip", ("und.encoder.",))
    micro_phase(tiny, "vq", ("gen.encoder.",))
    tokenizer.save(tiny / "tokenizer.json")
    monkeypatch.setattr(control, "TINY_FOLDER", tiny)
    control.start(run)
    found, _ = checkpoint.load(run / "vq.safetensors")
    assert all(name.startswith("gen.encoder.") for name in found)
    mine = {"llm.norm.weight": torch.full((3,), 1 / 3)}
    checkpoint.save(run / "siglip.safetensors", mine, {})
    checkpoint.save(run / "stage3.safetensors", mine, {})
    control.start(run)  # as after a stop
    kept, _ = checkpoint.load(run / "siglip.safetensors")
    assert list(kept) == list(mine)
    control.ship(run, folder)
    shipped, manifest = checkpoint.load(folder / "stage3.safetensors")
    assert torch.equal(shipped["llm.norm.weight"], mine["llm.norm.weight"].half())
    assert manifest["dtype"] == "float16" and (folder / "tokenizer.json").exists()
