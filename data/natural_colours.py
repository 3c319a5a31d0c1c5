"""Which things have one of the world's colours by nature, so that it cannot be held out.

A balloon is drawn red: were (red, balloon) held out, plain balloons would still show it.
A concept has a colour if, in any style, most of its pixels are of that hue.

    python data/natural_colours.py      # writes data/results/natural_colours.json
"""

import json

import numpy as np
from PIL import Image

from minijanus.checkpoint import write_text
from minijanus.concepts import COLOURS, small_concepts
from minijanus.config import SMALL
from minijanus.folders import RESULTS
from minijanus.sprites import cut_out, rows

SHARE = 0.5  # of a drawing's opaque pixels
HUE = 20 / 360  # how far from a colour's own hue a pixel may be
VIVID = 0.35  # least saturation and brightness of a pixel whose hue one would name


def shares(hexcode: str, style: str) -> dict[str, float]:
    """How much of a drawing, 0 to 1, has the hue of each colour."""
    image = cut_out(hexcode, style)
    opaque = np.asarray(image)[..., 3] > 128
    hsv = np.asarray(image.convert("RGB").convert("HSV")) / 255
    hue, vivid = hsv[..., 0], opaque & (hsv[..., 1:] > VIVID).all(-1)
    found = {}
    for name, (_, full, _) in COLOURS.items():
        own = Image.new("RGB", (1, 1), full).convert("HSV").getpixel((0, 0))[0] / 255
        away = np.abs(hue - own)
        near = np.minimum(away, 1 - away) < HUE  # hue is a circle
        found[name] = float((vivid & near).sum() / opaque.sum())
    return found


def main() -> None:
    """Look at every concept of the small world, which holds those of tiny."""
    found = {}
    for concept in small_concepts(rows(), SMALL.styles):
        seen = [shares(concept.hexcode, style) for style in concept.styles]
        natural = [c for c in COLOURS if max(s[c] for s in seen) > SHARE]
        if natural:
            found[concept.name] = natural
    path = RESULTS / "natural_colours.json"
    write_text(path, json.dumps(found, indent=0, sort_keys=True) + "\n")
    print(f"{len(found)} concepts have a colour by nature; written to {path.name}")


if __name__ == "__main__":
    main()
