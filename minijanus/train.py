"""The three stages of Janus, each the same loop over a stage's data (paper §3.2, Table 1).

One sample's way: source.record -> to_sequence -> pack -> Janus.loss, all in `stage_loss`.
"""

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from minijanus import checkpoint, pretrain
from minijanus.config import Config, Stage
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.lab import device as pick_device
from minijanus.load import PHASES, build, load_phases, manifest_of
from minijanus.loop import run_phase
from minijanus.mixing import plan
from minijanus.picture_cache import PictureCache
from minijanus.records import Record
from minijanus.sequence import Sequence, cut_caption, drop_condition, pack, to_sequence
from minijanus.text import Tokenizer

# Where a part's weights stand in Janus, and under the same names in the checkpoints.
PREFIXES = {
    "und_encoder": ("und.encoder.",),
    "und_adaptor": ("und.adaptor.",),
    "gen_adaptor": ("gen.embedding.", "gen.adaptor."),
    "llm": ("llm.",),
    "text_head": ("text_head.",),
    "image_head": ("image_head.",),
}


def records_of_step(
    cfg: Config, stage: Stage, source, step: int
) -> list[tuple[int, Record]]:
    """The step's samples, each with its index in its task (paper §4.1, §4.2)."""
    category = step < round(stage.category_first * stage.steps)
    return [
        (index, source.record(task, index, stage.number, category))
        for task, indices in plan(stage.ratio, stage.batch, step).items()
        for index in indices
    ]


def lay_out(
    cfg: Config,
    stage: Stage,
    tokenizer: Tokenizer,
    janus: Janus,
    index: int,
    record: Record,
) -> Sequence:
    """One record as a sequence, with the stage's two random cuts of drawing prompts."""
    if record.kind != "generation":
        return to_sequence(record, stage, tokenizer, janus.lengths())
    rng = random.Random(f"{cfg.seed}/prompt/{index}")
    cut, drop = rng.random(), rng.random()
    if cut < stage.first_sentence:
        record = cut_caption(record)
    sequence = to_sequence(record, stage, tokenizer, janus.lengths())
    return (
        drop_condition(sequence, tokenizer.pad) if drop < stage.drop_condition else sequence
    )


def stage_loss(
    cfg: Config,
    stage: Stage,
    janus: Janus,
    tokenizer: Tokenizer,
    source,
    caches: dict[str, PictureCache],
    step: int,
) -> dict[str, Tensor]:
    """The loss of one step: from raw samples to Eq. 1."""
    records = records_of_step(cfg, stage, source, step)
    sequences = [lay_out(cfg, stage, tokenizer, janus, *pair) for pair in records]
    device = janus.text_head.weight.device
    batch = pack(sequences, cfg.pack_length, cfg.max_positions).to(device)
    pictures = {}
    for name, cache in caches.items():
        shown = [
            (record.key and f"{record.key}/{span.picture}", record.images[span.picture])
            for (_, record), sequence in zip(records, sequences, strict=True)
            for span in sequence.spans
            if span.pathway == name
        ]
        if not shown:
            continue
        keys, images = zip(*shown, strict=True)
        if name == "und" and stage.trains("und_encoder"):
            pictures[name] = janus.und.encode(cache.pixels(images).to(device))
        else:
            pictures[name] = cache.encode(keys, images, device)
    return janus.loss(batch, pictures)


def train_stage(
    cfg: Config,
    stage: Stage,
    janus: Janus,
    tokenizer: Tokenizer,
    source,
    folder: Path,
    deadline: float = math.inf,
) -> dict:
    """Train one stage and write its checkpoint; goes on where an earlier call stopped."""
    trained = janus.set_stage(stage)
    caches = {
        name: PictureCache(
            folder / f"cache_{name}.safetensors", pathway, name, cfg.image_size
        )
        for name, pathway in janus.pathways.items()
    }

    def step_loss(step: int) -> dict[str, Tensor]:
        return stage_loss(cfg, stage, janus, tokenizer, source, caches, step)

    kept = [p for part, names in PREFIXES.items() if stage.trains(part) for p in names]
    try:
        return run_phase(
            stage, janus, [trained], step_loss, folder, {name: name for name in kept},
            manifest_of(cfg, stage.name), cfg.bf16, deadline,
        )  # fmt: skip
    finally:
        for cache in caches.values():
            cache.save()


def at_most(cfg: Config, steps: int) -> Config:
    """The config with every phase cut to a few steps, to try the whole recipe."""
    return replace(
        cfg,
        siglip=replace(cfg.siglip, steps=min(steps, cfg.siglip.steps)),
        vq=replace(cfg.vq, steps=min(steps, cfg.vq.steps)),
        llm=replace(cfg.llm, steps=min(steps, cfg.llm.steps)),
        stages=tuple(replace(stage, steps=min(steps, stage.steps)) for stage in cfg.stages),
    )


def check_config(cfg: Config, path: Path) -> None:
    """Raise UserError if a finished phase was trained by another config than this one."""
    made_by = checkpoint.read_manifest(path)["config"]
    now = json.loads(json.dumps(asdict(cfg)))
    changed = [name for name in made_by if name in now and made_by[name] != now[name]]
    if changed:
        raise UserError(
            f"{path} was trained with another {' and '.join(changed)}: choose another "
            "folder with --out, or delete this one."
        )


def train_all(
    cfg: Config,
    folder: Path,
    source,
    device: torch.device | None = None,
    deadline: float = math.inf,
) -> None:
    """The whole recipe, from raw data to stage III; finished phases are not run again."""
    device = device or pick_device()
    tokenizer = pretrain.train_tokenizer(cfg, source, folder)
    for number, phase in enumerate(PHASES):
        if (folder / f"{phase}.json").exists():
            check_config(cfg, folder / f"{phase}.safetensors")
            continue
        janus = build(cfg)
        load_phases(janus, folder, PHASES[:number])
        janus.to(device)
        if phase == "siglip":
            pretrain.train_siglip(cfg, source, tokenizer, folder, device, deadline)
        elif phase == "vq":
            pretrain.train_vq(cfg, source, janus.und.encoder, folder, device, deadline)
        elif phase == "llm":
            pretrain.train_llm(cfg, source, janus, tokenizer, folder, deadline)
        else:
            stage = cfg.stage(int(phase[-1]))
            train_stage(cfg, stage, janus, tokenizer, source, folder, deadline)
