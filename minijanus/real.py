"""What notebook 12 begins with: the released Janus if it is here, else a small stand-in.

The stand-in has the released layout and random weights: its pictures are noise and its
answers no words, but every step is the same.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from minijanus.config import TINY
from minijanus.hub import Pretrained, save_pretrained
from minijanus.janus import Janus
from minijanus.lab import device, wanted_model
from minijanus.language import description
from minijanus.load import SHIPPED
from minijanus.parity import SMALL, random_janus
from minijanus.text import Tokenizer
from minijanus.world import World

NAME = "deepseek-ai/Janus-1.3B"


@dataclass(frozen=True)
class Found:
    """A Janus, whether it is the released one, and where it came from."""

    janus: Janus
    released: bool
    source: str


def random_folder(folder: Path) -> Path:
    """A small folder in the official layout with random weights; returns it."""
    janus = random_janus(SMALL)
    tokenizer = Tokenizer.load(SHIPPED / "tiny" / "tokenizer.json")
    dtypes = {name: tensor.dtype for name, tensor in janus.state_dict().items()}
    janus.pretrained = Pretrained("minijanus", tokenizer, True, 3, dtypes, {}, {})
    save_pretrained(janus, folder)
    return folder


def find_janus() -> Found:
    """The model that MINIJANUS_MODEL names, or the released one if the hub's cache has it.

    Else a stand-in, in a folder of its own. Nothing is downloaded unless it is named.
    """
    wanted = wanted_model()
    if not wanted:
        from huggingface_hub import try_to_load_from_cache

        if isinstance(try_to_load_from_cache(NAME, "config.json"), str):
            wanted = NAME
    if wanted:
        return Found(Janus.from_pretrained(wanted, device()), True, wanted)
    folder = random_folder(Path(tempfile.mkdtemp()) / "stand-in")
    return Found(Janus.from_pretrained(folder, device()), False, str(folder))


def captioned(folder: Path, count: int) -> Path:
    """A folder of so many pictures of the tiny world, each with its caption beside it."""
    world = World(TINY)
    folder.mkdir()
    for number in range(count):
        scene = world.scene("caption", number)
        world.render(scene).save(folder / f"{number}.png")
        words = description(scene, world.rng("captioned", number))
        (folder / f"{number}.txt").write_text(words, encoding="utf-8")
    return folder


def without_unit_rows(janus: Janus, pixels: Tensor) -> Tensor:
    """The ids of pixels b c h w if neither side were normalised, as in one known port."""
    tokenizer = janus.gen.encoder
    with torch.no_grad():
        z = tokenizer.quant_conv(tokenizer.encoder(pixels)).flatten(2).mT  # b n d
        return torch.cdist(z, tokenizer.quantize.embedding.weight[None]).argmin(dim=-1)
