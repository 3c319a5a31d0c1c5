"""The drawings: cut out, tinted, scaled and laid on a background (data/sprites.parquet).

Everything here is a pure function of its arguments and is remembered, so that a scene
costs a few small array additions.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from minijanus.concepts import COLOURS
from minijanus.folders import DATA

FLAT = 0.35  # a drawing with less contrast than this is not stretched to full contrast


@lru_cache(maxsize=1)
def rows() -> list[dict]:
    """All rows of data/sprites.parquet: hexcode, style, license, label, group, webp."""
    return read_table("sprites")


def read_table(name: str) -> list[dict]:
    """The rows of one shipped parquet file; ValueError if the file is not there."""
    path = DATA / f"{name}.parquet"
    if not path.exists():
        raise ValueError(f"{path} is missing: take it from the repository again.")
    # Not `datasets`, which a lent GPU may lack: pyarrow, which comes with it, is enough.
    from pyarrow import parquet  # here: those who read no data should not wait for it

    return parquet.read_table(path).to_pylist()


@lru_cache(maxsize=1)
def drawings() -> dict[tuple[str, str], bytes]:
    """The encoded drawing of each (hexcode, style)."""
    return {(row["hexcode"], row["style"]): row["webp"] for row in rows()}


@lru_cache(maxsize=8192)
def cut_out(hexcode: str, style: str) -> Image.Image:
    """The RGBA drawing, cropped to what can be seen of it, centred in a square."""
    image = Image.open(BytesIO(drawings()[hexcode, style])).convert("RGBA")
    seen = image.getchannel("A").point([0] * 16 + [255] * 240).getbbox()
    image = image.crop(seen)
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def tint(image: Image.Image, colour: str) -> Image.Image:
    """The drawing in shades of one colour only, whatever its own colours were.

    The median brightness becomes the colour itself, so that white and black drawings
    show it as well; darker and lighter parts keep their order, which keeps the shape.
    """
    rgba = np.asarray(image, dtype=np.float32)
    bright = rgba[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    low, middle, high = np.quantile(bright[rgba[..., 3] > 128], (0.03, 0.5, 0.97))
    below = (bright - middle) / max(middle - low, FLAT)
    above = (bright - middle) / max(high - middle, FLAT)
    shade = np.clip(np.where(bright < middle, below, above), -1, 1)[..., None]
    dark, full, light = np.array(COLOURS[colour], dtype=np.float32)
    rgb = full + np.where(shade < 0, -shade * (dark - full), shade * (light - full))
    return Image.fromarray(np.concatenate([rgb, rgba[..., 3:]], -1).round().astype("uint8"))


@lru_cache(maxsize=32768)
def sized(
    hexcode: str, style: str, colour: str | None, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """A drawing in a square of `side` pixels: colour times alpha, and 255 - alpha."""
    image = cut_out(hexcode, style)
    if colour:
        image = tint(image, colour)
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    rgba = np.asarray(image, dtype=np.uint16)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8), 255 - alpha


def compose(
    size: int,
    background: tuple[int, int, int],
    things: list[tuple[str, str, str | None, tuple[float, float, float, float]]],
) -> Image.Image:
    """Lay (hexcode, style, colour, box) one after the other on a plain background."""
    canvas = np.full((size, size, 3), background, np.uint8)
    for hexcode, style, colour, (x, y, width, _) in things:
        side = max(1, round(width * size))
        # Both roundings up would push a box at the edge one pixel out of the picture.
        left, top = (min(round(at * size), size - side) for at in (x, y))
        over, clear = sized(hexcode, style, colour, side)
        under = canvas[top : top + side, left : left + side]
        under[:] = over + (under * clear + 127) // 255
    return Image.fromarray(canvas)
