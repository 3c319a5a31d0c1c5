"""Fine-tuning a whole Janus on a folder of one's own pictures (paper §3.2, stage III).

Each picture has its caption in a text file of the same name beside it: `dog.jpg` and
`dog.txt`. It is read as a picture to describe and as a picture to draw.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from minijanus import checkpoint, memory
from minijanus.config import Config, Stage
from minijanus.images import open_picture
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.language import DESCRIBE
from minijanus.loop import autocast
from minijanus.picture_cache import PictureCache
from minijanus.progress import begun_with, check_config
from minijanus.records import IMAGE, Record, about_pictures, shuffled_place, turns
from minijanus.sequence import to_sequence
from minijanus.text import Tokenizer
from minijanus.train import prepare_step, run_stage, stage_loss

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LORA_IN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GRADIENT_AND_ADAM = 3  # float32 numbers that AdamW needs beside each one that trains
NAME = "finetune"


class PictureFolder:
    """Pictures with captions as a source: one record to understand, one to draw, of each.

    UserError if the folder has no picture, or a picture no caption.
    """

    def __init__(self, folder: Path, seed: int = 0):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: give one of pictures with captions.")
        self.pictures = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES
        )
        if not self.pictures:
            raise UserError(f"{folder} holds no picture: put some there, with captions.")
        self.captions = [self._caption(path) for path in self.pictures]
        for path in self.pictures:  # before minutes of training, not after them
            open_picture(path)
        self.name, self.seed = str(folder.resolve()), seed

    @staticmethod
    def _caption(path: Path) -> str:
        beside = path.with_suffix(".txt")
        try:  # "-sig": without the mark that some editors put before the text
            text = beside.read_text(encoding="utf-8-sig") if beside.exists() else ""
        except UnicodeDecodeError as error:
            raise UserError(f"{beside} is not in UTF-8: save it so.") from error
        if not text.split():
            raise UserError(f"{path} has no caption: write one into {beside.name}.")
        return " ".join(text.split())

    def record(self, task: str, index: int, stage: int, category: bool = False) -> Record:
        """Sample `index` of a task, as stage III reads it; each pass has its own order."""
        place = shuffled_place(self.seed, self.name, task, index, len(self.pictures))
        picture = open_picture(self.pictures[place])
        # No key: another model, or a picture put in its place, would find what was kept.
        return Record(task, [picture], self.messages(task, place))

    def messages(self, task: str, place: int) -> list[dict[str, str]]:
        """What is said about the picture at a place of the folder."""
        words = self.captions[place]
        if task == "generation":
            return turns(words, IMAGE)
        return turns(about_pictures(DESCRIBE, 3), words)

    def text(self, index: int) -> str:
        """No text of its own: fine-tuning has none."""
        raise ValueError("A folder of pictures has no text without pictures.")

    def told(self, index: int) -> Record:
        """No dialogues either."""
        raise ValueError("A folder of pictures has no text without pictures.")


def stage_of(
    cfg: Config, only_adaptors: bool, steps: int, batch: int, learning_rate: float
) -> Stage:
    """Stage III on pictures alone; of the adaptors and the image head only if so asked."""
    return replace(
        cfg.stage(3),
        name=NAME,
        number=1 if only_adaptors else 3,
        ratio=(1, 0, 1),
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        warmup=min(10, steps // 10),
        schedule="cosine",
    )


def add_lora(janus: Janus, rank: int) -> list[tuple[str, nn.Parameter]]:
    """Freeze the LLM and put low-rank adapters into it; the named parameters that train.

    UserError without the package peft.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            "--lora needs the package peft: type `pip install peft`."
        ) from error
    train = [name for name, p in janus.named_parameters() if p.requires_grad]
    kept = {name for name in train if not name.startswith("llm.")}
    how = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LORA_IN))
    inject_adapter_in_model(how, janus.llm)
    for name, parameter in janus.named_parameters():
        parameter.requires_grad_(name in kept or ".lora_" in name)
    return [(name, p) for name, p in janus.named_parameters() if p.requires_grad]


def merge_lora(janus: Janus) -> None:
    """Add what the adapters learned to the LLM's own matrices, and take them out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(janus.llm.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(janus.llm.get_submodule(parent), child, module.get_base_layer())


def state_memory(janus: Janus, named: list[tuple[str, nn.Parameter]]) -> None:
    """Print what memory training takes; UserError if it is not there."""
    whole = sum(p.numel() for p in janus.parameters())
    training = sum(p.numel() for _, p in named)
    more = 4 * GRADIENT_AND_ADAM * training  # bytes, beside the weights
    shares = f"{(4 * whole + more) / 1e9:.3g} GB for weights, gradients and AdamW"
    shares += ", what a batch needs comes on top"
    print(f"{training:,} of {whole:,} numbers train: {shares}.", flush=True)
    less = "close other programs, or train less with --only-adaptors or --lora"
    memory.need("training, beside the weights,", more, janus.device, less)


def one_step(
    cfg: Config, stage: Stage, janus: Janus, tokenizer: Tokenizer, source: PictureFolder
) -> float:
    """The seconds of a step, forward and backward; nothing is changed."""
    nowhere = Path(source.name) / "no cache"  # nothing is read or kept
    caches = {name: PictureCache(nowhere, p, {}) for name, p in janus.pathways.items()}
    started = time.monotonic()
    samples = prepare_step(cfg, stage, source, tokenizer, janus.lengths(), 0)
    with autocast(cfg, janus.device):  # as the run itself computes
        loss = stage_loss(stage, janus, caches, *samples)["loss"]
    loss.backward()
    janus.zero_grad(set_to_none=True)
    loss.item()  # waits until a GPU is done
    return time.monotonic() - started


def finetune(
    janus: Janus,
    source: PictureFolder,
    stage: Stage,
    out: Path,
    rank: int = 0,
    deadline: float = math.inf,
) -> Path:
    """Train a model of from_pretrained and save it; the folder that holds the result.

    rank > 0 trains low-rank adapters in place of the LLM, merged into it at the end. Goes
    on where an earlier call stopped. UserError if it cannot train or would overwrite.
    """
    check(janus, stage, out, rank)
    check_lengths(janus, source, stage)
    given = {"model": checkpoint.fingerprint(janus), "folder of pictures": source.name}
    begun_with(out, given | {"rank of adapters": str(rank)})
    cfg = replace(janus.cfg, stages=(*janus.cfg.stages[:2], stage))
    tokenizer = janus.pretrained.tokenizer
    named = janus.set_stage(stage)
    named = add_lora(janus, rank) if rank else named
    finished = out / f"{NAME}.safetensors"
    if finished.exists():  # trained to the end, then stopped before it was saved
        tensors, manifest = checkpoint.load(finished)
        check_config(cfg, manifest["config"], finished)
        checkpoint.load_into(janus, tensors, finished.name)
    else:
        state_memory(janus, named)
        minutes = stage.steps * one_step(cfg, stage, janus, tokenizer, source) / 60
        print(
            f"about {max(minutes, 0.1):.1f} minutes, by one step measured now.", flush=True
        )
        everything = {"": ""}
        run_stage(cfg, stage, janus, named, tokenizer, source, out, everything, deadline)
    if rank:
        merge_lora(janus)
    save(janus.eval(), out / "model")
    return out / "model"


def check(janus: Janus, stage: Stage, out: Path, rank: int) -> None:
    """Raise UserError if the model cannot be trained so, or would overwrite another."""
    if (out / "model").exists():
        raise UserError(
            f"{out / 'model'} already holds a model: choose another folder (--out)."
        )
    if not janus.pretrained.do_normalize:
        raise UserError(
            "this model reads pixels in [0, 1] (do_normalize is false), which training "
            "does not know: take a copy of the released model since November 2024."
        )
    if rank and not stage.trains("llm"):
        raise UserError(
            "--lora adapts the LLM, which --only-adaptors leaves alone: drop one."
        )


def check_lengths(janus: Janus, source: PictureFolder, stage: Stage) -> None:
    """UserError names the first caption that is too long for the model."""
    tokenizer, most = janus.pretrained.tokenizer, janus.cfg.max_positions
    for place, path in enumerate(source.pictures):
        for task in ("understanding", "generation"):
            record = Record(task, [None], source.messages(task, place))
            n = len(to_sequence(record, stage, tokenizer, janus.lengths()).ids)
            if n > most:
                raise UserError(
                    f"the caption of {path} is {n - most} tokens too long for this model: "
                    f"shorten {path.with_suffix('.txt').name}."
                )


def save(janus: Janus, target: Path) -> None:
    """The model as a folder of the layout that it came from; if of parts, as official."""
    kept = janus.pretrained
    layout = "official" if kept.layout == "parts" else kept.layout
    if layout != "minijanus":
        janus.save_pretrained(target, layout)
        return
    manifest = {"preset": janus.cfg.name, "phase": "stage3", "finetuned": True}
    with checkpoint.whole_folder(target) as beside:
        kept.tokenizer.save(beside / "tokenizer.json")
        checkpoint.save(beside / "stage3.safetensors", janus.state_dict(), manifest)


def load_for_training(name_or_folder: str, device: torch.device) -> Janus:
    """A Janus in float32, whatever its file has: AdamW's steps are too small for less."""
    return Janus.from_pretrained(name_or_folder, device, torch.float32)
