"""Which art style can be held out: a nearest-neighbour search over all sprites.

A style tests generalisation only if none of its drawings has a near-copy among those
trained on (issue 2 §3). Two sprites are compared at equal size: cropped to what is seen,
fitted into 32 x 32, laid on white and on black (so that a white thing is not nothing);
the distance is the root mean square difference of all pixels, 0 for equal drawings and
at most 1, and the smaller of the straight and the mirrored one.

The yardstick are pairs known to share a drawing: fluent-flat and fluent-3d of one concept.
A sprite is called a near-copy if it is as close to any training sprite of any concept as
the closest 90 % of those pairs are: that finds a copy even if it was shaded anew, and
also finds pairs that are merely alike, which costs a few concepts and hides nothing.

    python data/style_distance.py       # writes data/results/style_distance.{json,png}
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange
from PIL import Image
from pyarrow import parquet

FOLDER = Path(__file__).parent
SIDE = 32
SEEN = 8  # alpha of 255: fainter pixels, such as the rim of a shadow, are not the drawing
COPY_QUANTILE = 0.9
HELD_OUT = "noto-v1"
STYLES = ("fluent-3d", "fluent-flat", "noto", "noto-v1", "twemoji")
ONE_STYLE = ("fluent-3d", "fluent-flat")  # the two share their drawings
TRAINING = {
    "tiny": ("fluent-flat", "noto", "twemoji"),
    "small": ("fluent-3d", "fluent-flat", "noto", "twemoji"),
}


def load_sprites() -> list[dict]:
    """Return the rows of sprites.parquet."""
    return parquet.read_table(FOLDER / "sprites.parquet").to_pylist()


def fitted(webp: bytes) -> np.ndarray:
    """Return a sprite cropped to what is seen and fitted, premultiplied, h w 4 in [0,1]."""
    image = Image.open(io.BytesIO(webp)).convert("RGBA")
    seen = image.getchannel("A").point([255 * (alpha > SEEN) for alpha in range(256)])
    image = image.crop(seen.getbbox())
    scale = SIDE / max(image.size)
    size = tuple(max(1, round(scale * length)) for length in image.size)
    image = image.convert("RGBa").resize(size, Image.BOX if scale < 1 else Image.BICUBIC)
    canvas = Image.new("RGBa", (SIDE, SIDE))
    canvas.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return np.asarray(canvas, dtype=np.float32) / 255


def points(sprites: np.ndarray) -> np.ndarray:
    """Turn fitted sprites, n h w 4, into points whose distance is the RMS difference."""
    on_black = sprites[..., :3]
    on_white = on_black + 1 - sprites[..., 3:]
    both = np.concatenate([on_black, on_white], axis=-1)
    flat = rearrange(both, "n h w c -> n (h w c)")
    return flat / np.sqrt(flat.shape[1])


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return all distances, m n, of fitted sprites m h w 4 and n h w 4, mirrored or not."""
    mine = points(a)
    square = np.full((len(a), len(b)), np.inf)
    for other in (points(b), points(b[:, :, ::-1])):
        ours, theirs = (mine**2).sum(1)[:, None], (other**2).sum(1)[None]
        square = np.minimum(square, ours + theirs - 2 * mine @ other.T)
    return np.sqrt(np.maximum(square, 0))


def nearest(held: str, training: tuple[str, ...], rows: list[dict], sprites: np.ndarray):
    """Return a style's rows, their nearest training rows and distances, closest first."""
    styles = np.array([row["style"] for row in rows])
    mine = np.flatnonzero(styles == held)
    others = np.flatnonzero(np.isin(styles, training))
    found = distances(sprites[mine], sprites[others])
    order = found.min(1).argsort(kind="stable")
    return mine[order], others[found.argmin(1)[order]], found.min(1)[order]


def known_copies(rows: list[dict], sprites: np.ndarray) -> np.ndarray:
    """Return the distances of the concepts' two Fluent sprites, which share a drawing."""
    at = {(row["hexcode"], row["style"]): i for i, row in enumerate(rows)}
    codes = dict.fromkeys(row["hexcode"] for row in rows)
    pairs = [[at.get((code, style)) for style in ONE_STYLE] for code in codes]
    return np.array(
        [
            distances(sprites[[a]], sprites[[b]])[0, 0]
            for a, b in pairs
            if None not in (a, b)
        ]
    )


def candidates(threshold: float, rows: list[dict], sprites: np.ndarray) -> dict:
    """Count the near-copies of every style against all styles that are not the same."""
    counts = {}
    for held in STYLES:
        same = ONE_STYLE if held in ONE_STYLE else (held,)
        others = tuple(style for style in STYLES if style not in same)
        gaps = nearest(held, others, rows, sprites)[2]
        close = int((gaps < threshold).sum())
        counts[held] = {
            "sprites": len(gaps),
            "near_copies": close,
            "share": round(close / len(gaps), 4),
            "median_distance": round(float(np.median(gaps)), 4),
        }
    return counts


def report(rows: list[dict], sprites: np.ndarray) -> dict:
    """Return all that style_distance.json holds."""
    floor = known_copies(rows, sprites)
    marks = (0.05, 0.1, 0.25, 0.5, 0.75, COPY_QUANTILE, 0.95)
    threshold = round(float(np.quantile(floor, COPY_QUANTILE)), 4)
    searches = {name: nearest(HELD_OUT, s, rows, sprites) for name, s in TRAINING.items()}
    mine, others, gaps = searches["small"]  # its training sprites include those of tiny
    close = gaps < threshold
    pairs = [
        {
            "hexcode": rows[i]["hexcode"],
            "label": rows[i]["label"],
            "distance": round(float(gap), 4),
            "nearest": {key: rows[j][key] for key in ("hexcode", "label", "style")},
        }
        for i, j, gap in zip(mine[close], others[close], gaps[close], strict=True)
    ]
    return {
        "held_out": HELD_OUT,
        "training": TRAINING,
        "threshold": threshold,
        "rule": f"quantile {COPY_QUANTILE} of the distances of known copies",
        "known_copies": {str(q): round(float(np.quantile(floor, q)), 4) for q in marks},
        "nearest": {
            name: {str(q): round(float(np.quantile(s[2], q)), 4) for q in marks}
            for name, s in searches.items()
        },
        "below_quantile_of_known_copies": {
            name: {str(q): int((s[2] < np.quantile(floor, q)).sum()) for q in marks}
            for name, s in searches.items()
        },
        "candidates": candidates(threshold, rows, sprites),
        "near_copies": sorted(pair["hexcode"] for pair in pairs),
        "pairs": pairs,
    }


def picture(rows: list[dict], sprites: np.ndarray, threshold: float) -> plt.Figure:
    """Draw the 12 closest pairs and the 12 closest of those that are kept."""
    mine, others, gaps = nearest(HELD_OUT, TRAINING["small"], rows, sprites)
    kept = int((gaps < threshold).sum())
    figure, axes = plt.subplots(4, 6, figsize=(12, 8.5), layout="constrained")
    for axis, k in zip(axes.flat, [*range(12), *range(kept, kept + 12)], strict=True):
        a, b = rows[mine[k]], rows[others[k]]
        canvas = Image.new("RGB", (136, 64), "white")
        for left, row in ((0, a), (72, b)):
            sprite = Image.open(io.BytesIO(row["webp"])).convert("RGBA")
            canvas.paste(sprite, (left, 0), sprite)
        axis.imshow(canvas)
        axis.axis("off")
        title = f"{a['label']}\n{b['label']} ({b['style']})\n{gaps[k]:.3f}"
        axis.set_title(title, fontsize=7)
    figure.suptitle(
        f"{HELD_OUT} (left), its nearest training sprite (right). Rows 1-2: the closest; "
        f"rows 3-4: the closest that are no near-copies (from {threshold:.3f})",
        fontsize=9,
    )
    return figure


def main() -> None:
    """Write the JSON and the picture."""
    rows = load_sprites()
    sprites = np.stack([fitted(row["webp"]) for row in rows])
    result = report(rows, sprites)
    (FOLDER / "results").mkdir(exist_ok=True)
    path = FOLDER / "results" / "style_distance.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    figure = picture(rows, sprites, result["threshold"])
    figure.savefig(path.with_suffix(".png"), dpi=110)
    print({key: value for key, value in result.items() if key != "pairs"})


if __name__ == "__main__":
    main()
