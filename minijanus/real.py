"""What notebook 12 begins with: the released Janus if it is here, else a small stand-in.

The stand-in has the released layout and random weights: its pictures are noise and its
answers no words, but every step is the same.
"""

import atexit
import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from minijanus.config import TINY
from minijanus.folders import TINY_FOLDER
from minijanus.hub import Pretrained, save_pretrained
from minijanus.images import generation_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError, wanted_model
from minijanus.language import description
from minijanus.parity import SMALL, random_janus
from minijanus.text import Tokenizer
from minijanus.vq_tokenizer import VQTokenizer
from minijanus.weights import shard_files
from minijanus.world import World

NAME = "deepseek-ai/Janus-1.3B"


@dataclass(frozen=True)
class Found:
    """What `Janus.from_pretrained` takes, and whether that is a released Janus."""

    source: str
    released: bool


@torch.no_grad()
def spread_codes(tokenizer: VQTokenizer, pixels: Tensor) -> None:
    """Turn and stretch a random encoder's latents so that pixels b c h w get many codes.

    Untrained it gives nearly one vector everywhere, and with it one code.
    """
    last = tokenizer.quant_conv
    latents = last(tokenizer.encoder(pixels)).double()
    latents = rearrange(latents, "b d h w -> d (b h w)")
    mean = latents.mean(dim=1)
    values, vectors = torch.linalg.eigh(torch.cov(latents))
    whiten = (vectors / values.sqrt()) @ vectors.T
    last.weight.copy_(torch.einsum("i j, j d h w -> i d h w", whiten, last.weight.double()))
    last.bias.copy_(whiten @ (last.bias - mean))


def random_folder(folder: Path) -> Path:
    """A small folder in the official layout with random weights; returns it."""
    janus, world = random_janus(SMALL), World(TINY)
    images = [world.render(world.scene("caption", number)) for number in range(20)]
    pixels = [generation_pixels(image, SMALL.image_size) for image in images]
    spread_codes(janus.gen.encoder, torch.stack(pixels))
    tokenizer = Tokenizer.load(TINY_FOLDER / "tokenizer.json")
    dtypes = {name: tensor.dtype for name, tensor in janus.state_dict().items()}
    janus.pretrained = Pretrained("minijanus", tokenizer, True, 3, dtypes, {}, {})
    save_pretrained(janus, folder)
    return folder


def find_janus() -> Found:
    """The model that MINIJANUS_MODEL names, or the released one if the hub's cache has it.

    Else a stand-in, in a folder that goes with the program. Nothing is downloaded here.
    """
    if wanted := wanted_model():
        return Found(wanted, True)
    from huggingface_hub import try_to_load_from_cache

    kept = try_to_load_from_cache(NAME, "config.json")
    if isinstance(kept, str):
        with contextlib.suppress(UserError):  # fetched in part only
            shard_files(Path(kept).parent)
            return Found(str(Path(kept).parent), True)
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Found(str(random_folder(place / "stand-in")), False)


def captioned(folder: Path, count: int) -> Path:
    """A folder of so many pictures of the tiny world, each with its caption beside it."""
    world = World(TINY)
    folder.mkdir(exist_ok=True)
    for number in range(count):
        scene = world.scene("caption", number)
        world.render(scene).save(folder / f"{number}.png")
        words = description(scene, world.rng("captioned", number))
        (folder / f"{number}.txt").write_text(words, encoding="utf-8")
    return folder


def without_unit_rows(janus: Janus, pixels: Tensor) -> Tensor:
    """The ids of pixels b c h w if neither side were normalised, as in transformers."""
    tokenizer = janus.gen.encoder
    with torch.no_grad():
        z = tokenizer.quant_conv(tokenizer.encoder(pixels)).flatten(2).mT  # b n d
        return torch.cdist(z, tokenizer.quantize.embedding.weight[None]).argmin(dim=-1)
