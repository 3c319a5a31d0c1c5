"""The control model of Figure 8: what it shares with tiny, and what is shipped of it."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import MICRO, script

from minijanus import checkpoint, load
from minijanus.lab import UserError
from minijanus.languages_mini import COLOUR_WORDS
from minijanus.load import build, load_janus, ship
from minijanus.progress import check_config
from minijanus.text import Tokenizer

control = script("control_model")
OWN = replace(MICRO, name="control")


def micro_phase(folder: Path, phase: str, prefixes: tuple[str, ...], cfg=MICRO) -> None:
    """A phase's file of a micro Janus."""
    tensors = {n: t for n, t in build(cfg).state_dict().items() if n.startswith(prefixes)}
    manifest = {"preset": cfg.name, "config": asdict(cfg)}
    checkpoint.save(folder / f"{phase}.safetensors", tensors, manifest)
    checkpoint.write_text(folder / f"{phase}.csv", "step,seconds,loss\n")


@pytest.fixture
def run(tmp_path: Path, monkeypatch, tokenizer: Tokenizer) -> Path:
    """A control run just begun, from a shipped micro model."""
    monkeypatch.setattr(control, "CFG", OWN)
    monkeypatch.setattr(control, "TINY_FOLDER", tmp_path / "tiny")
    micro_phase(tmp_path / "tiny", "siglip", ("und.encoder.",))
    micro_phase(tmp_path / "tiny", "vq", ("gen.encoder.",))
    tokenizer.save(tmp_path / "tiny" / "tokenizer.json")
    control.start(tmp_path / "run")
    return tmp_path / "run"


def test_a_run_takes_up_the_encoders_once(run: Path) -> None:
    """Catches encoders mixed up, and a second start that writes over what was trained."""
    found, manifest = checkpoint.load(run / "vq.safetensors")
    assert all(name.startswith("gen.encoder.") for name in found)
    check_config(OWN, manifest["config"], run / "vq.safetensors")
    mine = {"llm.norm.weight": torch.full((3,), 1 / 3)}
    checkpoint.save(run / "siglip.safetensors", mine, {})
    control.start(run)  # as after a stop
    kept, _ = checkpoint.load(run / "siglip.safetensors")
    assert list(kept) == list(mine)


def test_what_is_shipped_loads_as_the_model_it_controls(run: Path, monkeypatch) -> None:
    """Catches a control that no command can load, or that `ship` puts in tiny's place."""
    with pytest.raises(UserError, match="stage3.safetensors"):
        ship(run, run.parent / "shipped", MICRO.name, control.NEEDED)
    assert not (run.parent / "shipped").exists()  # not even half of it
    rest = ("und.", "gen.embedding.", "gen.adaptor.", "llm.", "text_head.", "image_head.")
    micro_phase(run, "stage3", rest, OWN)
    assert checkpoint.read_manifest(run / "stage3.json")["preset"] == "control"
    ship(run, run.parent / "shipped", MICRO.name, control.NEEDED)
    monkeypatch.setitem(load.PRESETS, MICRO.name, MICRO)
    janus, _, stage = load_janus(run.parent / "shipped")
    ours = build(MICRO).llm.norm.weight
    assert stage == 3 and torch.equal(janus.llm.norm.weight, ours.half().float())


def test_labels_are_counted_by_document() -> None:
    """Catches a label counted in another language, or twice in one document."""
    texts = ["fr: banane = en: banana\nde: Banane = en: banana", "banane, banane", "-"]
    world = SimpleNamespace(text=texts.__getitem__, codes={"banana": "1F34C"})
    found = control.times_read(world, 3)
    assert found["fr", "banane"] == 2 and found["de", "Banane"] == 1
    assert found["fi", "banaani"] == 0 and len(found) == len(COLOUR_WORDS)
