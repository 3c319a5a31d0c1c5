"""Train a VQ tokenizer for a few steps; say how well it draws and how foretellable it is.

python data/vq_trial.py [--steps 600] [--codes 1024] [--restarts 0.5] [--whole]
The rows of the second table of experiments.md; nothing is kept.
"""

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minijanus import checkpoint, pretrain
from minijanus.concepts import BACKGROUNDS, COLOURS
from minijanus.config import TINY, Config
from minijanus.images import generation_pixels
from minijanus.vq_tokenizer import VQTokenizer
from minijanus.world import World

LEARNED, TESTED = 6000, 600  # scenes that the guesser learns from, and is tested on
STEPS, BATCH, RATE = 500, 2048, 2e-3  # of the guesser
WIDTHS = 128, 384  # of one fact, and of the guesser inside


def facts(world: World, scene) -> Tensor:
    """What each square shows: thing, style, colour, background, place in the thing."""
    cfg = world.cfg
    cells = cfg.image_size // cfg.vq_downsample
    found = torch.zeros(cells, cells, 5, dtype=torch.long)
    found[..., 3] = list(BACKGROUNDS).index(scene.background)
    names = [concept.name for concept in world.concepts]
    for thing in scene.objects:
        x, y = (round(at * cells - 0.1) for at in thing.box[:2])
        side = math.ceil(thing.box[2] * cells - 0.2)
        colour = [None, *COLOURS].index(thing.colour)
        style = 1 + cfg.styles.index(thing.style)
        for row in range(side):
            for column in range(side):
                place = 1 + (row * side + column) + side * cells * cells
                fact = (1 + names.index(thing.concept), style, colour, -1, place)
                fact = torch.tensor(fact)
                square = found[y + row, x + column]
                found[y + row, x + column] = torch.where(fact < 0, square, fact)
    return found.flatten(0, 1)


@torch.no_grad()
def squares(vq: VQTokenizer, world: World, count: int) -> dict[str, Tensor]:
    """Facts, codes, squared error and plainness of every square of so many scenes."""
    parts = []
    for start in range(0, count, 100):
        scenes = [world.scene("caption", i) for i in range(start, start + 100)]
        pictures = (world.render(scene) for scene in scenes)
        pixels = torch.stack([generation_pixels(p, world.cfg.image_size) for p in pictures])
        ids = vq.encode(pixels)
        error = (vq.decode(ids).clamp(-1, 1) - pixels).square().mean(dim=1, keepdim=True)
        p = vq.downsample
        cut = rearrange(pixels, "b c (h p) (w q) -> b (h w) c (p q)", p=p, q=p)
        parts.append(
            {
                "facts": torch.stack([facts(world, s) for s in scenes]).flatten(0, 1),
                "codes": ids.flatten(),
                "error": F.avg_pool2d(error, p).flatten(),
                "plain": ((cut.amax(-1) - cut.amin(-1)) < 1e-4).all(-1).flatten(),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class Guesser(nn.Module):
    """Guesses a square's code from all there is to know about it: facts m 5 -> m k."""

    def __init__(self, cfg: Config):
        super().__init__()
        fact, width = WIDTHS
        self.tables = nn.ModuleList(nn.Embedding(600, fact) for _ in range(5))
        self.layers = nn.Sequential(
            *(nn.Linear(5 * fact, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            nn.Linear(width, cfg.n_codes),
        )

    def forward(self, known: Tensor) -> Tensor:
        columns = zip(self.tables, known.unbind(dim=1), strict=True)
        return self.layers(torch.cat([table(column) for table, column in columns], dim=-1))


def guesses(cfg: Config, learned: dict[str, Tensor], tested: dict[str, Tensor]) -> Tensor:
    """The cross-entropy of every tested square's code, in nats."""
    torch.manual_seed(0)
    guesser = Guesser(cfg)
    optimizer = torch.optim.AdamW(guesser.parameters(), RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        rows = torch.randint(len(learned["codes"]), (BATCH,))
        loss = F.cross_entropy(guesser(learned["facts"][rows]), learned["codes"][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return F.cross_entropy(guesser(tested["facts"]), tested["codes"], reduction="none")


def main() -> None:
    """Train, encode, guess, print one line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--codes", type=int, default=TINY.n_codes)
    parser.add_argument("--restarts", type=float, default=pretrain.RESTART_UNTIL)
    parser.add_argument(
        "--whole", action="store_true", help="codes see beyond their square"
    )
    args = parser.parse_args()
    phase = replace(TINY.vq, steps=args.steps, warmup=min(args.steps, TINY.vq.warmup))
    cfg = replace(TINY, n_codes=args.codes, vq_local=not args.whole, vq=phase)
    pretrain.RESTART_UNTIL = args.restarts
    with tempfile.TemporaryDirectory() as folder:
        pretrain.train_vq(cfg, World(cfg), None, Path(folder), torch.device("cpu"))
        tensors, _ = checkpoint.load(Path(folder) / "vq.safetensors")
    vq = VQTokenizer(cfg)
    start = "gen.encoder."
    vq.load_state_dict({name[len(start) :]: t for name, t in tensors.items()})
    learned = squares(vq, World(cfg), LEARNED)
    tested = squares(vq, World(cfg, "heldout"), TESTED)
    nats, plain = guesses(cfg, learned, tested), tested["plain"]
    for name, kept in (("all", plain | ~plain), ("plain", plain), ("things", ~plain)):
        decibel = 10 * math.log10(4 / tested["error"][kept].mean().item())
        codes = len(tested["codes"][kept].unique())
        print(f"{name}: PSNR {decibel:.1f} dB, {codes} codes, {nats[kept].mean():.2f} nats")


if __name__ == "__main__":
    main()
