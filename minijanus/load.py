"""From checkpoint files to a Janus: the phases' files, one after the other.

Each phase's checkpoint holds only what that phase trained, under Janus' own names, so a
model after stage II is the files of siglip, vq, llm, stage1 and stage2, loaded in order.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from minijanus import checkpoint
from minijanus.config import PRESETS, Config
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.siglip import SigLIP
from minijanus.text import Tokenizer

PHASES = ("siglip", "vq", "llm", "stage1", "stage2", "stage3")
NOT_JANUS = "siglip."  # SigLIP's text tower and pooling head, shipped for notebooks only
SIGLIP_NAMES = {  # SigLIP's own names -> those in its checkpoint; Janus keeps the first
    "vision.": "und.encoder.",
    "pool.": NOT_JANUS + "pool.",
    "text.": NOT_JANUS + "text.",
    "log_scale": NOT_JANUS + "log_scale",
    "bias": NOT_JANUS + "bias",
}


def build(cfg: Config) -> Janus:
    """A Janus before any training, its first weights given by the config's seed."""
    torch.manual_seed(cfg.seed)
    return Janus(cfg)


def load_phases(janus: Janus, folder: Path, phases: Sequence[str]) -> set[str]:
    """Load these phases' files into the model; return the names that were found."""
    found: set[str] = set()
    for phase in phases:
        path = folder / f"{phase}.safetensors"
        tensors, _ = checkpoint.load(path)
        ours = {n: t.float() for n, t in tensors.items() if not n.startswith(NOT_JANUS)}
        checkpoint.load_into(janus, ours, path.name)
        found |= set(ours)
        if phase == "vq":
            janus.gen.start_from_codebook()
    return found


def load_janus(
    folder: Path, upto: str = "stage3", device: torch.device | str = "cpu"
) -> tuple[Janus, Tokenizer, int]:
    """The model after a phase, its tokenizer, and the number of its stage.

    UserError says which file is missing, damaged or does not fit.
    """
    last = folder / f"{upto}.json"
    if upto not in PHASES or not last.exists():
        have = [p for p in PHASES if (folder / f"{p}.json").exists()]
        raise UserError(
            f"there is no {upto} in {folder}: choose one of {', '.join(have) or 'none'}, "
            "or train it with `make train`."
        )
    manifest = checkpoint.read_manifest(last)
    preset = manifest.get("preset")
    if preset not in PRESETS:
        raise UserError(
            f"{last.name} is of the preset {preset}, which this version does not know: "
            "train again with `make train`."
        )
    # No tensor shows whether places were told; before this field they never were.
    told = manifest.get("config", {}).get("und_places", False)
    cfg = replace(PRESETS[preset], und_places=told)
    janus = build(cfg)
    phases = PHASES[: PHASES.index(upto) + 1]
    if upto == "stage3":  # it trains all but the VQ tokenizer: these two are enough
        ends = (".json", ".safetensors")
        phases = [p for p in phases if any((folder / (p + end)).exists() for end in ends)]
    found = load_phases(janus, folder, phases)
    missing = set(janus.state_dict()) - found
    if upto == "stage3" and missing:
        raise UserError(
            f"{folder} lacks {sorted(missing)[0]}: train again with `make train`."
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    stage = int(upto[-1]) if upto.startswith("stage") else 1
    return janus.to(device).eval(), tokenizer, stage


def load_siglip(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[SigLIP, Tokenizer]:
    """All of SigLIP as it was pre-trained, text tower too, and the text tokenizer."""
    path = folder / "siglip.safetensors"
    tensors, manifest = checkpoint.load(path)
    cfg = PRESETS[manifest["preset"]]
    siglip = SigLIP(cfg, cfg.vocabulary)
    own = {
        name + stored[len(there) :]: tensor.float()
        for stored, tensor in tensors.items()
        for name, there in SIGLIP_NAMES.items()
        if stored.startswith(there)
    }
    checkpoint.load_into(siglip, own, path.name)
    return siglip.to(device).eval(), Tokenizer.load(folder / "tokenizer.json")


def ship(run: Path, folder: Path, preset: str, phases: Sequence[str] = PHASES) -> None:
    """Copy a finished run's checkpoints, rounded to float16, with tokenizer and logs.

    They are marked to be loaded as `preset`. The judge of drawings goes with them if it
    was trained into the same folder.
    """
    if (run / "judge.json").exists():
        phases = [*phases, "judge"]
    for phase in phases:  # before the first is copied, or a mixture would be shipped
        checkpoint.check(run / f"{phase}.safetensors")
    for phase in phases:
        tensors, manifest = checkpoint.load(run / f"{phase}.safetensors")
        half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
        manifest |= {"dtype": "float16", "preset": preset}
        checkpoint.save(folder / f"{phase}.safetensors", half, manifest)
    for name in (*(f"{phase}.csv" for phase in phases), "tokenizer.json"):
        checkpoint.write_text(folder / name, (run / name).read_text(encoding="utf-8"))
