"""How many codes the VQ tokenizer spends on plain background, for experiments.md.

python data/background_codes.py [data/checkpoints/tiny]
"""

import math
import sys
from collections import Counter
from pathlib import Path

import torch
from einops import rearrange

from minijanus.folders import TINY_FOLDER
from minijanus.images import generation_pixels
from minijanus.load import load_janus
from minijanus.world import World

SCENES = 300


def entropy(counts: Counter) -> float:
    """Of a distribution given by counts, in nats."""
    total = counts.total()
    return -sum(n / total * math.log(n / total) for n in counts.values())


@torch.no_grad()
def main(folder: Path) -> None:
    """Encode held-out drawing scenes and count the codes of squares of one colour."""
    janus, _, _ = load_janus(folder)
    cfg, world = janus.cfg, World(janus.cfg, "heldout")
    scenes = [world.scene("caption", index) for index in range(SCENES)]
    images = [generation_pixels(world.render(s), cfg.image_size) for s in scenes]
    pixels = torch.stack(images)
    ids = janus.gen.encode(pixels)  # b n
    side = cfg.vq_downsample
    squares = rearrange(pixels, "b c (h p) (w q) -> b (h w) c (p q)", p=side, q=side)
    plain = ((squares.amax(-1) - squares.amin(-1)) < 1e-4).all(-1)  # b n
    drawn = janus.gen.encoder.decode(ids).clamp(-1, 1)
    print(f"PSNR {10 * math.log10(4 / float((drawn - pixels).square().mean())):.1f} dB")
    print(f"plain squares: {float(plain.float().mean()):.2f} of all tokens")
    codes: dict[str, Counter] = {}
    for scene, row, flat in zip(scenes, ids, plain, strict=True):
        codes.setdefault(scene.background, Counter()).update(row[flat].tolist())
    for name, counts in sorted(codes.items()):
        print(f"{name}: {len(counts)} codes, entropy {entropy(counts):.2f} nats")
    print(f"together: {len(set().union(*codes.values()))} of {cfg.n_codes} codes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_FOLDER)
