"""What Janus starts from: its text tokenizer, SigLIP, VQ tokenizer and LLM (paper §4.1).

The paper takes them ready-made; here they are trained, each by its own loss, in one loop.
"""

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from minijanus.config import Config, Stage
from minijanus.images import generation_pixels, understanding_pixels
from minijanus.janus import Janus
from minijanus.load import SIGLIP_NAMES
from minijanus.loop import memory_format, run_phase
from minijanus.records import Source
from minijanus.sequence import Batch, pack, to_sequence
from minijanus.siglip import (
    MAX_TEXT,
    SigLIP,
    VisionTransformer,
    same_caption,
    sigmoid_loss,
    tokens_inside,
)
from minijanus.text import Tokenizer
from minijanus.vq_losses import PatchDiscriminator, Perceptual, vq_loss
from minijanus.vq_tokenizer import VQTokenizer

# Differs: encoders, tokenizers and LLM are trained here, because no such weights come with
# a package; the paper starts from released ones.
BPE_LINES = 20_000  # documents the text tokenizer is trained on
RESTART_EVERY = 50  # steps over which a code must be used once, or starts anew
RESTART_UNTIL = 0.5  # share of the VQ's steps after which codes are left in peace
# The two formats of the LLM's pre-training, in turn.
PLAIN_TEXT = Stage("text", 0.0, 0, 0, number=2)
# Differs: every other step is of dialogues about scenes told in words, and scores their
# answers alone. To say that something is *not* there a model must look everywhere and find
# nothing; as one token in fifty of all text, such an answer was never learned.
TOLD = Stage("told", 0.0, 0, 0, number=3, template="chat", scored_text="answers")


def train_tokenizer(cfg: Config, source: Source, folder: Path) -> Tokenizer:
    """Train the byte-level BPE on the source's text, or load it if that was done before."""
    path = folder / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (source.text(index) for index in range(BPE_LINES))
        Tokenizer.train(lines, cfg.vocabulary).save(path)
    return Tokenizer.load(path)


def text_batch(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Ids b t, filled up with 0 on the right, and the mask b t of what is text."""
    rows = [tokenizer.encode(text)[:MAX_TEXT] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[i < len(row) for i in range(width)] for row in rows])
    return ids, mask


def caption_pairs(
    cfg: Config, source: Source, tokenizer: Tokenizer, step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One step's pictures b c h w and r parts of them, then the words of all b + r.

    The five: pixels b c h w; in which picture each part lies, r; its tokens, bool r n; ids
    and mask (b + r) t, first the pictures' captions, then the parts' words.
    """
    indices = range(step * cfg.siglip.batch, (step + 1) * cfg.siglip.batch)
    records = [source.record("understanding", index, stage=0) for index in indices]
    images = [understanding_pixels(r.images[0], cfg.image_size) for r in records]
    captions = [r.messages[-1]["content"] for r in records]
    parts = [(n, *region) for n, r in enumerate(records) for region in r.regions]
    picture = torch.tensor([n for n, *_ in parts], dtype=torch.long)
    inside = tokens_inside([box for _, box, _ in parts], cfg.image_size // cfg.und_patch)
    ids, mask = text_batch(tokenizer, captions + [words for *_, words in parts])
    return torch.stack(images), picture, inside, ids, mask


def train_siglip(
    cfg: Config,
    source: Source,
    tokenizer: Tokenizer,
    folder: Path,
    device,
    deadline: float = math.inf,
) -> dict:
    """Pre-train the understanding encoder to match pictures, and parts, with words."""
    torch.manual_seed(cfg.seed)
    model, phase = SigLIP(cfg, cfg.vocabulary).to(device), cfg.siglip

    def step_loss(step: int, samples: tuple[Tensor, ...]) -> dict[str, Tensor]:
        pixels, picture, inside, ids, mask = (tensor.to(device) for tensor in samples)
        # Differs: SigLIP matches whole pictures with captions; here each thing's box is
        # matched with its name as well, or a short run would hardly learn what is where.
        # Differs: a bare square of every fourth picture is matched with the background's
        # colour, which captions leave out here. Never named, backgrounds are not learned by
        # the LLM either; named in every picture, they slow down the learning of things.
        image = model.parts_embedding(pixels, picture, inside)
        text, match = model.text_embedding(ids, mask), same_caption(ids)
        # In float32, like the loss: among many close vectors, half precision finds ties.
        with torch.autocast(pixels.device.type, enabled=False):
            best = (image @ text.T).argmax(dim=1, keepdim=True)
        return {
            "loss": sigmoid_loss(image, text, model.log_scale, model.bias, match),
            "matched": match.gather(1, best).float().mean(),
        }

    groups = [list(model.named_parameters())]
    prepare = partial(caption_pairs, cfg, source, tokenizer)
    return run_phase(
        cfg, phase, model, groups, prepare, step_loss, folder, SIGLIP_NAMES, deadline
    )


class VQTraining(nn.Module):
    """The tokenizer with what only its training needs."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.tokenizer = VQTokenizer(cfg)
        adversarial = cfg.vq_adversarial_from is not None
        self.discriminator = PatchDiscriminator() if adversarial else None
        self.register_buffer("used", torch.zeros(cfg.n_codes))  # since the last restart


def drawings(cfg: Config, source: Source, step: int) -> Tensor:
    """One step's pictures b c h w; every fourth is one of a category."""
    indices = range(step * cfg.vq.batch, (step + 1) * cfg.vq.batch)
    records = [
        source.record("generation", i, stage=2, category=i % 4 == 0) for i in indices
    ]
    return torch.stack([generation_pixels(r.images[0], cfg.image_size) for r in records])


def train_vq(
    cfg: Config,
    source: Source,
    vision: VisionTransformer | None,
    folder: Path,
    device,
    deadline: float = math.inf,
) -> dict:
    """Train the generation encoder on drawings; `vision` serves the perceptual loss."""
    torch.manual_seed(cfg.seed)
    model, phase = VQTraining(cfg).to(device), cfg.vq
    # On a CPU convolutions run 1.3 to 2 times faster with the channels last.
    model.tokenizer.to(memory_format=memory_format(device))
    perceptual = Perceptual(vision).to(device) if cfg.vq_perceptual else None

    def step_loss(step: int, pixels: Tensor) -> dict[str, Tensor]:
        pixels = pixels.to(device, memory_format=memory_format(device))
        if step and step % RESTART_EVERY == 0:
            if step < RESTART_UNTIL * phase.steps:
                generator = torch.Generator().manual_seed(cfg.seed + step)
                # In float32; and under autocast older versions of torch would keep the
                # weights as cast here, without gradients, for the rest of the step.
                with torch.autocast(pixels.device.type, enabled=False):
                    model.tokenizer.restart_dead_codes(model.used, pixels, generator)
            model.used.zero_()
        output = model.tokenizer(pixels)
        model.used += torch.bincount(output[1].flatten(), minlength=cfg.n_codes)
        losses = vq_loss(output, pixels, step, cfg, perceptual, model.discriminator)
        losses["codes_in_use"] = (model.used > 0).float().mean()
        return losses

    groups = [list(model.tokenizer.named_parameters("tokenizer"))]
    if model.discriminator is not None:
        groups.append(list(model.discriminator.named_parameters("discriminator")))
    prepare, keep = partial(drawings, cfg, source), {"tokenizer.": "gen.encoder."}
    return run_phase(cfg, phase, model, groups, prepare, step_loss, folder, keep, deadline)


def documents(
    cfg: Config, source: Source, tokenizer: Tokenizer, lengths: dict[str, int], step: int
) -> Batch:
    """One step's texts in packed rows: documents in even steps, dialogues in odd ones."""
    turn, odd = divmod(step, 2)
    indices = range(turn * cfg.llm.batch, (turn + 1) * cfg.llm.batch)
    if odd:
        records, form = [source.told(index) for index in indices], TOLD
    else:
        records = [source.record("text", index, stage=2) for index in indices]
        form = PLAIN_TEXT
    sequences = [to_sequence(r, form, tokenizer, lengths) for r in records]
    return pack(sequences, cfg.pack_length, cfg.max_positions)


def train_llm(
    cfg: Config,
    source: Source,
    janus: Janus,
    tokenizer: Tokenizer,
    folder: Path,
    deadline: float = math.inf,
) -> dict:
    """Pre-train the language model and its text head on text alone."""
    phase, device = cfg.llm, janus.device
    janus.requires_grad_(False)
    janus.llm.requires_grad_(True)
    janus.text_head.requires_grad_(True)

    def step_loss(step: int, batch: Batch) -> dict[str, Tensor]:
        return janus.loss(batch.to(device), {})

    named = [(name, p) for name, p in janus.named_parameters() if p.requires_grad]
    keep = {"llm.": "llm.", "text_head.": "text_head."}
    prepare = partial(documents, cfg, source, tokenizer, janus.lengths())
    return run_phase(cfg, phase, janus, [named], prepare, step_loss, folder, keep, deadline)
