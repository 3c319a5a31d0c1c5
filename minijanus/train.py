"""The three stages of Janus, each the same loop over a stage's data (paper §3.2, Table 1).

One sample's way: `prepare_step` takes it from source.record through to_sequence to a packed
row; `stage_loss` encodes its pictures and asks Janus.loss for Eq. 1.
"""

import math
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from minijanus import checkpoint, pretrain
from minijanus.config import Config, Stage
from minijanus.images import generation_pixels, understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import device as pick_device
from minijanus.load import PHASES, build, load_phases
from minijanus.loop import run_phase
from minijanus.mixing import plan
from minijanus.picture_cache import PictureCache
from minijanus.progress import begun_with, check_config
from minijanus.records import Record, Source
from minijanus.sequence import (
    Batch,
    Sequence,
    cut_caption,
    drop_condition,
    pack,
    to_sequence,
)
from minijanus.text import Tokenizer

# How each pathway wants its pictures (paper §4.1).
TO_PIXELS = {"und": understanding_pixels, "gen": generation_pixels}
# Which phase made each pathway's encoder.
ENCODER_PHASE = {"und": "siglip", "gen": "vq"}
# Where a part's weights stand in Janus, and under the same names in the checkpoints.
PREFIXES = {
    "und_encoder": ("und.encoder.",),
    "und_adaptor": ("und.adaptor.",),
    "gen_adaptor": ("gen.embedding.", "gen.adaptor."),
    "llm": ("llm.",),
    "text_head": ("text_head.",),
    "image_head": ("image_head.",),
}


def records_of_step(stage: Stage, source: Source, step: int) -> list[tuple[int, Record]]:
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
    lengths: dict[str, int],
    index: int,
    record: Record,
) -> Sequence:
    """One record as a sequence; a drawing's prompt may be cut or dropped (paper §4.2)."""
    if record.kind != "generation":
        return to_sequence(record, stage, tokenizer, lengths)
    rng = random.Random(f"{cfg.seed}/prompt/{index}")
    cut, drop = rng.random(), rng.random()
    if cut < stage.first_sentence:
        record = cut_caption(record)
    sequence = to_sequence(record, stage, tokenizer, lengths)
    if drop < stage.drop_condition:
        return drop_condition(sequence, tokenizer.pad)
    return sequence


# The pictures of a step, for one pathway: their keys, and their pixels m c h w.
Shown = tuple[list[str], Tensor]


def prepare_step(
    cfg: Config,
    stage: Stage,
    source: Source,
    tokenizer: Tokenizer,
    lengths: dict[str, int],
    step: int,
) -> tuple[Batch, dict[str, Shown]]:
    """From raw samples to packed rows and the pixels of their pictures, for one step."""
    records = records_of_step(stage, source, step)
    sequences = [lay_out(cfg, stage, tokenizer, lengths, *pair) for pair in records]
    shown: dict[str, Shown] = {}
    for name, to_pixels in TO_PIXELS.items():
        pictures = [
            (record.key and f"{record.key}/{span.picture}", record.images[span.picture])
            for (_, record), sequence in zip(records, sequences, strict=True)
            for span in sequence.spans
            if span.pathway == name
        ]
        if pictures:
            pixels = torch.stack(
                [to_pixels(image, cfg.image_size) for _, image in pictures]
            )
            shown[name] = ([key for key, _ in pictures], pixels)
    return pack(sequences, cfg.pack_length, cfg.max_positions), shown


def stage_loss(
    stage: Stage,
    janus: Janus,
    caches: dict[str, PictureCache],
    batch: Batch,
    shown: dict[str, Shown],
) -> dict[str, Tensor]:
    """From packed rows and pixels to Eq. 1; a frozen encoder's outputs are looked up."""
    device = janus.device
    pictures = {}
    for name, (keys, pixels) in shown.items():
        pixels = pixels.to(device)
        if name == "und" and stage.trains("und_encoder"):
            pictures[name] = janus.und.encode(pixels)
        else:
            pictures[name] = caches[name].encode(keys, pixels)
    return janus.loss(batch.to(device), pictures)


def train_stage(
    cfg: Config,
    stage: Stage,
    janus: Janus,
    tokenizer: Tokenizer,
    source: Source,
    folder: Path,
    deadline: float = math.inf,
) -> dict:
    """Train one stage and write its checkpoint; goes on where an earlier call stopped."""
    trained = janus.set_stage(stage)
    kept = [p for part, names in PREFIXES.items() if stage.trains(part) for p in names]
    keep = {name: name for name in kept}
    return run_stage(cfg, stage, janus, trained, tokenizer, source, folder, keep, deadline)


def run_stage(
    cfg: Config,
    stage: Stage,
    janus: Janus,
    trained: list[tuple[str, nn.Parameter]],
    tokenizer: Tokenizer,
    source: Source,
    folder: Path,
    keep: dict[str, str],
    deadline: float = math.inf,
) -> dict:
    """Train these named parameters on the stage's samples; the rest as of `run_phase`."""
    caches = {}
    for name, pathway in janus.pathways.items():
        encoder = folder / f"{ENCODER_PHASE[name]}.safetensors"
        sha = checkpoint.sha256(encoder) if encoder.exists() else ""
        origin = {"encoder": sha, "source": source.name}
        caches[name] = PictureCache(folder / f"cache_{name}.safetensors", pathway, origin)
    prepare = partial(prepare_step, cfg, stage, source, tokenizer, janus.lengths())

    def step_loss(step: int, samples: tuple[Batch, dict[str, Shown]]) -> dict[str, Tensor]:
        return stage_loss(stage, janus, caches, *samples)

    try:
        return run_phase(
            cfg, stage, janus, [trained], prepare, step_loss, folder, keep, deadline
        )
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


def train_all(
    cfg: Config,
    folder: Path,
    source: Source,
    device: torch.device | None = None,
    deadline: float = math.inf,
) -> None:
    """The whole recipe, from raw data to stage III; finished phases are not run again."""
    device = device or pick_device()
    begun_with(folder, {"source of samples": source.name})
    tokenizer = pretrain.train_tokenizer(cfg, source, folder)
    for number, phase in enumerate(PHASES):
        if (folder / f"{phase}.json").exists():
            path = folder / f"{phase}.safetensors"
            check_config(cfg, checkpoint.read_manifest(path)["config"], path)
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
