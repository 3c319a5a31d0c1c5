"""What notebook 12 begins with: the released Janus if it is here, else a small stand-in.

The stand-in has the released layout and random weights: its pictures are noise and its
answers no words, but every step is the same. Four gigabytes are fetched only for those who
ask by name, with MINIJANUS_MODEL=deepseek-ai/Janus-1.3B; what was fetched once is found in
the hub's cache without asking. Where a name leads to no folder the stand-in is taken, and
what the notebook prints first after its setup says why.
"""

import atexit
import contextlib
import math
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from PIL.Image import Image
from torch import Tensor

from minijanus.concepts import BACKGROUNDS
from minijanus.config import TINY
from minijanus.figures import figure_2, small_picture
from minijanus.folders import TINY_FOLDER
from minijanus.hub import Pretrained, local_folder, save_pretrained
from minijanus.images import generation_pixels, to_rgb
from minijanus.janus import Janus
from minijanus.lab import UserError, grid, wanted_model
from minijanus.language import description
from minijanus.parity import SMALL, random_janus
from minijanus.sprites import compose
from minijanus.text import Tokenizer
from minijanus.vq_tokenizer import VQTokenizer
from minijanus.weights import shard_files
from minijanus.world import World

NAME = "deepseek-ai/Janus-1.3B"
STAND_IN = replace(SMALL, max_positions=600)  # the paper's longest prompt and its picture

# The prompts and questions of the paper's pictures, word for word.
FIGURE_4 = {
    "Opera House": "A close-up high-contrast photo of Sydney Opera House sitting next to "
    "Eiffel tower, under a blue night sky of roiling energy, exploding yellow stars, and "
    "radiating swirls of blue.",
    "owl": "A wise old owl with golden plumage perched on a luminous crystal tree in a "
    "magical forest. Radiant fireflies swirl around while ethereal mist rolls through the "
    "trees, illuminated by swirls of iridescent moonlight and glistening emerald leaves.",
    "Janus": "A detailed portrait of the Roman god Janus, featuring his two faces looking "
    "in opposite directions. One face appears aged, with deep-set wrinkles and a wise, "
    "contemplative expression, while the other face is youthful, exuding vigor and "
    "curiosity. His hair is styled in flowing curls, framing both faces with a sense of "
    "divine symmetry. The artwork is rich in contrasting colors, with the left side "
    "dominated by cold blues and silvers, symbolizing winter and reflection, and the right "
    "side awash with warm golds and reds, representing spring and renewal. The background "
    "is a celestial tapestry, adorned with stars and symbolic motifs of time and passage.",
    "dog": "A brave dog wearing a futuristic space suit, exploring an alien planet amidst "
    "swirling dunes of stardust and meteor showers. The landscape is dotted with glowing "
    "crystal formations and ethereal terraforms, creating a surreal environment in which "
    "swirling vortexes in the sky depict the endless dance of distant galaxies.",
}
FIGURE_5 = (
    "What is the meaning of this meme from the top panel to the bottom?",
    "Explain this meme.",
)
FIGURE_9 = (
    "Generate the latex code of this formula.",
    "Generate the matplotlib.pyplot code for this plot.",
    "What algorithm does the image depict?",
    "Why is this painting interesting?",
)


@dataclass(frozen=True)
class Found:
    """What `Janus.from_pretrained` takes, whether that is a released Janus, and its name.

    After the name of the stand-in stands what to do for another.
    """

    source: str
    released: bool
    name: str


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
    janus, world = random_janus(STAND_IN), World(TINY)
    images = [world.render(world.scene("caption", number)) for number in range(20)]
    pixels = [generation_pixels(image, STAND_IN.image_size) for image in images]
    spread_codes(janus.gen.encoder, torch.stack(pixels))
    tokenizer = Tokenizer.load(TINY_FOLDER / "tokenizer.json")
    dtypes = {name: tensor.dtype for name, tensor in janus.state_dict().items()}
    janus.pretrained = Pretrained("minijanus", tokenizer, True, 3, dtypes, {}, {})
    save_pretrained(janus, folder)
    return folder


def find_janus() -> Found:
    """The model that MINIJANUS_MODEL names, or the released one if the hub's cache has it.

    A name of the hub is fetched if it was asked for; else a stand-in in a folder that goes
    with the program.
    """
    why = f"set MINIJANUS_MODEL={NAME} before you start Jupyter to fetch the real one, 4 GB"
    if wanted := wanted_model():
        try:
            return Found(str(local_folder(wanted)), True, wanted)
        except UserError as error:
            why = str(error).rstrip(".")
    elif kept := cached_folder():
        return Found(str(kept), True, f"{NAME}, from the hub's cache")
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Found(str(random_folder(place / "stand-in")), False, f"a random stand-in; {why}")


def cached_folder() -> Path | None:
    """Where the hub's cache keeps the whole of the released model; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    kept = try_to_load_from_cache(NAME, "config.json")
    if isinstance(kept, str):
        with contextlib.suppress(UserError):  # fetched in part only
            shard_files(Path(kept).parent)
            return Path(kept).parent
    return None


def peak_memory(device: torch.device) -> float:
    """The most memory that this program has had so far, in GB (1e9 bytes).

    On cuda what torch has had of the card's memory; nan on Windows, which does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return getrusage(RUSAGE_SELF).ru_maxrss * unit / 1e9


def dogs(side: float, *middles: tuple[float, float]) -> Image:
    """Dogs as wide as `side` of the picture's 1, with their middles (x, y)."""
    boxes = [(x - side / 2, y - side / 2, side, side) for x, y in middles]
    code, style = World(TINY).codes["dog"], TINY.styles[0]
    return compose(200, BACKGROUNDS["blue"], [(code, style, None, box) for box in boxes])


def paper_questions(painting: Image) -> list[tuple[str, Image]]:
    """The questions of Figures 5 and 9, each with a picture of ours in place of theirs.

    The formula and the numbers of the plot are those that the paper's answers tell; the
    last question is about `painting`.
    """
    from matplotlib.figure import Figure

    middle, corners = (0.5, 0.5), [(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)]
    panels = [dogs(0.45, middle), dogs(0.45, *corners)]
    meme = grid(panels, ["I ask for one dog.", "My model draws:"], columns=1)
    sides = [dogs(0.9, middle), dogs(0.3, middle)]
    pair = grid(sides, ["Decoupling Visual Encoding", "Single Visual Encoder"])
    formula, plot = Figure(figsize=(5, 2)), Figure(figsize=(4, 4))
    latex = (
        r"a_0 \left[ 1 + \frac{3}{4} \sum_{k=1}^{n} \left( \frac{4}{9} \right)^k \right]"
    )
    formula.text(0.5, 0.5, f"$A_n = {latex}$", ha="center", va="center", size=22)
    shares = {"Frogs": 15, "Hogs": 30, "Dogs": 45, "Logs": 10}
    plot.add_subplot().pie(shares.values(), labels=shares, autopct="%1.1f%%", startangle=90)
    drawn = [small_picture(one, colours=64) for one in (meme, pair, formula, plot)]
    pictures = [*map(to_rgb, drawn), to_rgb(figure_2()).reduce(2), painting]
    return list(zip(FIGURE_5 + FIGURE_9, pictures, strict=True))


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
        rows = tokenizer.quantize.embedding.weight[None]
        return torch.cdist(z.float(), rows.float()).argmin(dim=-1)
