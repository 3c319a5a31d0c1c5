"""Our drawing of Figure 2, the map in every notebook (paper Fig. 2), and plots they share.

A notebook lights the parts it is about: thick frame, bold name and the word "today", so
that nothing hangs on colour.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from einops import rearrange
from PIL import Image
from torch import Tensor

from minijanus.lab import UserError

if TYPE_CHECKING:  # matplotlib is imported when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from minijanus.sequence import Sequence as Laid
    from minijanus.text import Tokenizer

Box = tuple[float, float, float, float]  # left, bottom, width, height

PARTS: dict[str, Box] = {
    "Und. Encoder": (0.0, 1.4, 3.0, 0.9),
    "Und. Adaptor": (0.0, 2.8, 3.0, 0.9),
    "Text Tokenizer": (3.7, 1.4, 3.0, 0.9),
    "Gen. Encoder": (7.4, 1.4, 3.0, 0.9),
    "Gen. Adaptor": (7.4, 2.8, 3.0, 0.9),
    "Auto-Regressive Transformer": (0.0, 4.3, 10.4, 0.9),
    "Text Head": (1.3, 5.9, 3.0, 0.9),
    "Image Head": (6.1, 5.9, 3.0, 0.9),
    "Image Decoder": (6.1, 7.3, 3.0, 0.9),
}
# What goes in and comes out: not parts of the model, so they have no frame.
ENDS: dict[str, tuple[float, float]] = {
    "picture to see": (1.5, 0.45),
    "words": (5.2, 0.45),
    "picture to draw": (8.9, 0.45),
    "answer": (2.8, 7.75),
    "drawing": (7.6, 9.15),
}
# All arrows point upwards: x, from, to, and what flows there.
ARROWS: tuple[tuple[float, float, float, str], ...] = (
    (1.5, 0.75, 1.4, "pixels"),
    (1.5, 2.3, 2.8, "features"),
    (1.5, 3.7, 4.3, "vectors"),
    (5.2, 0.75, 1.4, ""),
    (5.2, 2.3, 4.3, "ids, then vectors\nfrom a table"),
    (8.9, 0.75, 1.4, "pixels"),
    (8.9, 2.3, 2.8, "ids, then codes"),
    (8.9, 3.7, 4.3, "vectors"),
    (2.8, 5.2, 5.9, "hidden states"),
    (7.6, 5.2, 5.9, "hidden states"),
    (2.8, 6.8, 7.5, "next word"),
    (7.6, 6.8, 7.3, "next code"),
    (7.6, 8.2, 8.9, "pixels"),
)
INK, GREY, LIT = "#1a1a1a", "#666666", "#ffe9a8"
SIZE, DPI = (10.4, 7.2), 80  # inches; letters of 13 points are read from the last row
COLOURS = 32  # of a saved figure: text and boxes need no more, and notebooks stay small


def figure_2(lit: tuple[str, ...] = ()) -> Image.Image:
    """Figure 2 with the parts named in `lit` marked; UserError for an unknown part."""
    return small_picture(drawn_figure_2(lit))


def small_picture(figure: Figure, dpi: int = DPI, colours: int = COLOURS) -> Image.Image:
    """A figure as a picture with a palette: a quarter of the bytes.

    Few colours do for lines and boxes; a figure of drawings needs up to 256.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", facecolor="white")
    # Pillow's own choice of a palette gives rare colours away: green leaves came out brown.
    widest = Image.Quantize.MAXCOVERAGE
    picture = Image.open(buffer).convert("RGB")
    return picture.quantize(colours, widest, kmeans=2, dither=Image.Dither.NONE)


def drawn_figure_2(lit: tuple[str, ...]) -> Figure:
    """Figure 2 as matplotlib has it (paper Fig. 2)."""
    from matplotlib.figure import Figure

    unknown = [name for name in lit if name not in PARTS]
    if unknown:
        raise UserError(
            f"Figure 2 has no part {unknown[0]!r}: choose from {', '.join(PARTS)}."
        )
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.2, 10.6), ylim=(0.1, 9.5))
    axes.axis("off")
    for name, box in PARTS.items():
        draw_part(axes, name, box, name in lit)
    for words, (x, y) in ENDS.items():
        axes.text(x, y, words, ha="center", va="center", size=13, style="italic", color=INK)
    for x, start, end, flows in ARROWS:
        draw_arrow(axes, x, start, end, flows)
    return figure


def draw_part(axes: Axes, name: str, box: Box, lit: bool) -> None:
    """One box with its name; a lit one has a thick frame and the word "today"."""
    from matplotlib.patches import Rectangle

    left, bottom, width, height = box
    face, line = (LIT, 4.0) if lit else ("white", 1.0)
    axes.add_patch(
        Rectangle((left, bottom), width, height, facecolor=face, edgecolor=INK, lw=line)
    )
    words = f"{name}\ntoday" if lit else name
    axes.text(
        left + width / 2, bottom + height / 2, words, ha="center", va="center", size=13,
        weight="bold" if lit else "normal", color=INK,
    )  # fmt: skip


def draw_arrow(axes: Axes, x: float, start: float, end: float, flows: str) -> None:
    """An upward arrow with what flows along it written on its right."""
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(x, end), xytext=(x, start), arrowprops=style)
    axes.text(x + 0.15, (start + end) / 2, flows, va="center", size=11, color=GREY)


def sequence_strip(sequences: Sequence[Laid], tokenizer: Tokenizer) -> Image.Image:
    """Sequences as rows of blocks, left to right, with the positions under each block."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], 1.3 * len(sequences)), layout="constrained")
    rows, widest = figure.subplots(len(sequences), 1, squeeze=False)[:, 0], 0.0
    for axes, sequence in zip(rows, sequences, strict=True):
        axes.set_title(sequence.task, size=13, loc="left")
        left = 0.0
        for name, first, last in blocks(sequence, tokenizer):
            left = draw_block(axes, left, name, first, last)
        widest = max(widest, left)
        axes.axis("off")
    for axes in rows:  # all to one scale
        axes.set(xlim=(-0.05, widest + 0.05), ylim=(-0.55, 1.05))
    return small_picture(figure)


def blocks(sequence: Laid, tokenizer: Tokenizer) -> list[tuple[str, int, int]]:
    """Runs of positions of one kind as (name, first position, last position)."""
    marks = {tokenizer.bos: "BOS", tokenizer.eos: "EOS", tokenizer.boi: "BOI"}
    marks |= {tokenizer.eoi: "EOI", tokenizer.pad: "PAD", tokenizer.image: "picture"}
    found: list[tuple[str, int, int]] = []
    for position, token in enumerate(sequence.ids):
        name = marks.get(token, "words")
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], position)
        else:
            found.append((name, position, position))
    return found


def draw_block(axes: Axes, left: float, name: str, first: int, last: int) -> float:
    """One block, hatched where a picture stands; returns where the next one begins."""
    from matplotlib.patches import Rectangle

    many, shown = last - first + 1, f"{first} to {last}" if last > first else f"{first}"
    width, face, hatch = 0.85, "white", ""
    if name == "picture":
        width, face, hatch, name = 2.9, LIT, "//", f"picture: {many} tokens"
    elif name == "words":
        width, name = 2.2, f"words: {many} tokens"
    axes.add_patch(Rectangle((left, 0), width, 1, fc=face, ec=INK, hatch=hatch))
    box = {"facecolor": face, "edgecolor": "none", "pad": 2}
    middle = left + width / 2
    axes.text(middle, 0.5, name, ha="center", va="center", size=12, bbox=box)
    axes.text(middle, -0.3, shown, ha="center", va="center", size=11, color=GREY)
    return left + width


def number_table(values: Tensor, across: str, down: str) -> Figure:
    """Shares in [0, 1] as a table of coloured squares, each with its number in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.4), layout="constrained")
    axes = figure.add_subplot(xlabel=across, ylabel=down)
    axes.imshow(values.cpu().numpy(), cmap="cividis", vmin=0, vmax=1)
    for row, shares in enumerate(values.tolist()):
        for column, share in enumerate(shares):
            ink = "black" if share > 0.5 else "white"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=ink)
    axes.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
    return figure


def curve(
    points: Sequence[tuple[float, float]],
    names: tuple[str, str],
    level: tuple[float, str] | None = None,
    top: float | None = None,
) -> Figure:
    """A line through points (x, y) whose axes have names; a dashed level has one too."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot(xlabel=names[0], ylabel=names[1])
    axes.plot(*zip(*points, strict=True), color=INK)
    axes.grid(alpha=0.3)
    if top is not None:
        axes.set_ylim(0, top)
    if level is not None:
        axes.axhline(level[0], color=GREY, linestyle="--", label=level[1])
        axes.legend()
    return figure


def little_squares(pixels: Tensor, columns: int, titles: Sequence[str] = ()) -> Figure:
    """Pictures n c h w in [0, 1], row by row, each in a frame, for some are white."""
    from matplotlib.figure import Figure

    rows, height = -(-len(pixels) // columns), 1.0 if titles else 0.75
    figure = Figure(figsize=(0.75 * columns, height * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in places[len(pixels) :]:
        axes.axis("off")
    for axes, square in zip(places, pixels.cpu(), strict=False):
        shown = rearrange(square, "c h w -> h w c").numpy()
        axes.imshow(shown, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
    for axes, title in zip(places, titles, strict=False):
        axes.set_title(title, fontsize=10)
    return figure


def attention_square(weights: Tensor, names: Sequence[str]) -> Figure:
    """Attention weights t t: who looks, row by row, at whom; places go by their names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot(xlabel="at whom", ylabel="who looks")
    most = float(weights[1:].max())  # the first can only look at itself: 1 would dim all
    shown = axes.imshow(weights.cpu().numpy(), cmap="cividis", vmin=0, vmax=most)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    figure.colorbar(shown, label="weight", extend="max")
    return figure
