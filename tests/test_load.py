"""The chain of phases: what each file adds, and what a model after any phase is."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from minijanus import checkpoint, load
from minijanus.config import TINY
from minijanus.folders import TINY_FOLDER
from minijanus.lab import UserError
from minijanus.load import load_janus, load_phases, load_siglip, ship
from minijanus.pretrain import caption_pairs
from minijanus.siglip import same_caption
from minijanus.world import World

# What each phase trains, typed by hand; SigLIP's text tower is shipped but is not Janus.
PARTS = {
    "siglip": ("und.encoder.",),
    "vq": ("gen.encoder.",),
    "llm": ("llm.", "text_head."),
    "stage1": ("und.adaptor.", "gen.embedding.", "gen.adaptor.", "image_head."),
    "stage2": (
        "und.adaptor.", "gen.embedding.", "gen.adaptor.", "image_head.", "llm.",
        "text_head.",
    ),
    "stage3": (
        "und.encoder.", "und.adaptor.", "gen.embedding.", "gen.adaptor.", "image_head.",
        "llm.", "text_head.",
    ),
}  # fmt: skip


def value_of(name: str, phase: str) -> float:
    """A number that says which phase wrote which tensor; float16 holds it exactly."""
    return list(PARTS).index(phase) + 1 + len(name) / 64


@pytest.fixture
def run(cfg, new_janus, tokenizer, tmp_path, monkeypatch) -> Path:
    """A folder as a whole training leaves it; each phase wrote numbers of its own."""
    monkeypatch.setitem(load.PRESETS, "micro", cfg)
    state = new_janus(cfg).state_dict()
    folder = tmp_path / "run"
    for phase, prefixes in PARTS.items():
        tensors = {
            name: torch.full_like(tensor, value_of(name, phase))
            for name, tensor in state.items()
            if name.startswith(prefixes)
        }
        if phase == "siglip":
            tensors["siglip.text.norm.weight"] = torch.zeros(16)
        manifest = {"preset": cfg.name, "phase": phase, "config": asdict(cfg), "step": 3}
        manifest["metrics"] = {}
        checkpoint.save(folder / f"{phase}.safetensors", tensors, manifest)
        (folder / f"{phase}.csv").write_text("step,seconds,loss\n")
    tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.mark.parametrize("upto", ["stage1", "stage2", "stage3"])
def test_every_tensor_comes_from_the_last_phase_that_trained_it(run, upto, tokenizer):
    """Catches a phase that is left out, or loaded after a later one."""
    janus, loaded, stage = load_janus(run, upto)
    phases = list(PARTS)[: list(PARTS).index(upto) + 1]
    for name, tensor in janus.state_dict().items():
        last = [p for p in phases if name.startswith(PARTS[p])][-1]
        assert torch.equal(tensor, torch.full_like(tensor, value_of(name, last))), name
    assert stage == int(upto[-1])
    assert not janus.training
    assert loaded.encode("a red dog") == tokenizer.encode("a red dog")


@pytest.mark.parametrize("upto", ["vq", "llm"])
def test_before_stage_1_the_code_table_is_the_normalised_codebook(run, upto):
    """Catches a random table at the start: by hand, rows of 8 equal numbers, length 1."""
    janus, _, _ = load_janus(run, upto)
    expected = torch.full((32, 8), 8**-0.5)
    torch.testing.assert_close(janus.gen.embedding.weight.detach(), expected)


def test_stage_1_starts_from_the_codebook_of_its_run(run, cfg, new_janus):
    """Catches `load_phases` without the table, which the training of stage I relies on."""
    path = run / "vq.safetensors"
    tensors, manifest = checkpoint.load(path)
    rows = torch.randn(32, 8, generator=torch.Generator().manual_seed(3))
    tensors["gen.encoder.quantize.embedding.weight"] = rows
    checkpoint.save(path, tensors, manifest)
    janus = new_janus(cfg)
    found = load_phases(janus, run, ("siglip", "vq", "llm"))
    lengths = rows.square().sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(janus.gen.embedding.weight.detach(), rows / lengths)
    assert not any(name.startswith("siglip.") for name in found)


def test_a_missing_phase_is_named(run, tmp_path):
    """Catches a traceback for a phase that is not there, or was never trained."""
    for upto in ("stage4", "vae"):
        with pytest.raises(UserError, match=f"there is no {upto} in .*one of siglip, vq"):
            load_janus(run, upto)
    with pytest.raises(UserError, match="choose one of none, or train it"):
        load_janus(tmp_path / "nowhere")
    (run / "stage2.safetensors").unlink()
    with pytest.raises(UserError, match=r"stage2\.safetensors .*missing"):
        load_janus(run)


def test_a_tensor_that_no_phase_holds_is_named(run):
    """Catches a model part of which silently keeps its random start."""
    for phase in ("stage1", "stage2", "stage3"):
        path = run / f"{phase}.safetensors"
        tensors, manifest = checkpoint.load(path)
        del tensors["image_head.vision_head.bias"]
        checkpoint.save(path, tensors, manifest)
    with pytest.raises(UserError, match=r"lacks image_head\.vision_head\.bias"):
        load_janus(run)


def test_another_presets_checkpoint_is_refused(run, cfg, monkeypatch):
    """Catches shapes that do not fit told by a traceback."""
    monkeypatch.setitem(load.PRESETS, "micro", replace(cfg, llm_ff=32))
    with pytest.raises(UserError, match=r"llm\.safetensors: llm\.layers.* has shape") as e:
        load_janus(run)
    assert "\n" not in str(e.value)


def test_a_model_is_told_places_iff_it_was_in_training(run, cfg, monkeypatch):
    """Catches an older checkpoint, whose manifest lacks the field, read as if told."""
    monkeypatch.setitem(load.PRESETS, "micro", replace(cfg, und_places=True))
    path = run / "stage3.json"
    for told in (True, False, None):
        tensors, manifest = checkpoint.load(path.with_suffix(".safetensors"))
        manifest["config"].pop("und_places", None)
        if told is not None:
            manifest["config"]["und_places"] = told
        checkpoint.save(path.with_suffix(".safetensors"), tensors, manifest)
        janus, _, _ = load_janus(run)
        assert janus.cfg.und_places == (janus.und.places is not None) == bool(told)


def test_a_shipped_run_is_rounded_to_float16_and_whole(run, tmp_path):
    """Catches shipped files that are too large, or cannot be loaded."""
    shipped = tmp_path / "shipped"
    ship(run, shipped, "micro")
    tensors, manifest = checkpoint.load(shipped / "llm.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert manifest["dtype"] == "float16" and manifest["step"] == 3
    assert (shipped / "stage1.csv").read_text() == "step,seconds,loss\n"
    ours, _, _ = load_janus(run)
    theirs, _, _ = load_janus(shipped)
    for name, tensor in theirs.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, ours.state_dict()[name])
    config = json.loads((shipped / "stage3.json").read_text())["config"]
    assert config["llm_width"] == 32


@torch.no_grad()
def test_all_of_siglip_comes_back():
    """Catches a part of SigLIP that keeps its random start: nothing would match then."""
    siglip, tokenizer = load_siglip(TINY_FOLDER)
    janus, _, _ = load_janus(TINY_FOLDER, "siglip")
    for name, tensor in janus.und.encoder.state_dict().items():
        assert torch.equal(tensor, siglip.vision.state_dict()[name])
    pixels, _, _, ids, mask = caption_pairs(TINY, World(TINY, "heldout"), tokenizer, 0)
    ids, mask = ids[: len(pixels)], mask[: len(pixels)]  # the pictures' own captions
    image, text = siglip.image_embedding(pixels), siglip.text_embedding(ids, mask)
    match = same_caption(ids)
    best = (image @ text.T).argmax(dim=1, keepdim=True)
    assert match.gather(1, best).float().mean() > 0.3  # by luck 1 in 64
