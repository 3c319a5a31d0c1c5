"""Plots of numbers: the losses of every phase (README), scores with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minijanus.checkpoint import write_whole
from minijanus.figures import GREY, INK, small_picture
from minijanus.lessons import log_of
from minijanus.load import PHASES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
SIZE, DPI = (13, 6.4), 80
# A line of the log: its colour and dashes, so that nothing hangs on colour alone.
LINES = {
    "loss": (INK, "-"),
    "understanding": ("#0072b2", "--"),
    "text": ("#d55e00", ":"),
    "generation": ("#009e73", "-."),
    "reconstruction": ("#cc79a7", (0, (5, 1))),
}
SMOOTH = 0.05  # a point is the mean of the last rows, of so large a share of all before it


def read_log(path: Path) -> dict[str, list[float]]:
    """The columns of a training log that are plotted, and `step`; a gap is left out."""
    rows = log_of(path)
    names = ["step", *(name for name in LINES if name in rows[0])]
    whole = [row for row in rows if all(name in row for name in names)]
    return {name: [row[name] for row in whole] for name in names}


def running_mean(values: list[float], share: float) -> list[float]:
    """Each value's mean with the values before it, with as many as that share of them.

    So the steep beginning is hardly smoothed, the flat end more.
    """
    some = [values[i - int(share * i) : i + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in some]


def save_curves(folder: Path, out: Path) -> Path:
    """Draw the losses of every phase whose log is in `folder`; return the picture."""
    from matplotlib.figure import Figure

    paths = [path for path in (folder / f"{p}.csv" for p in PHASES) if path.exists()]
    figure = Figure(figsize=SIZE, layout="constrained")
    rows = -(-len(paths) // COLUMNS)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis, path in zip(axes, paths, strict=False):
        log = read_log(path)
        for name in (name for name in log if name != "step"):
            colour, dashes = LINES[name]
            shown = running_mean(log[name], SMOOTH)
            axis.plot(log["step"], shown, color=colour, linestyle=dashes, label=name)
        axis.set_title(path.stem)
        axis.set(xlabel="step", ylabel="loss (log scale)", yscale="log")
        axis.grid(alpha=0.3, which="both", color=GREY)
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(LINES))
    for axis in axes[len(paths) :]:
        axis.axis("off")
    picture = small_picture(figure, DPI)
    write_whole(out / "losses.png", lambda beside: picture.save(beside, format="png"))
    return out / "losses.png"


def widths_figure(
    sizes: Sequence[int], widths: Sequence[float], theory: Sequence[float]
) -> Figure:
    """How wide an interval is for so many rows, found and by the formula, on log axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axis, ticks = figure.add_subplot(), (0.05, 0.1, 0.2, 0.4)
    axis.loglog(sizes, theory, "--", color="#0072b2", label="2 · 1.96 · deviation / √n")
    axis.loglog(sizes, widths, "ko", label="bootstrap, mean of ten subsamples")
    axis.minorticks_off()
    axis.set_xticks(sizes, labels=sizes)
    axis.set_yticks(ticks, labels=ticks)
    axis.set(xlabel="rows of VQA-mini", ylabel="width of the interval")
    axis.legend()
    return figure


def scores_figure(scores: Mapping[str, dict]) -> Figure:
    """The interval of each score as a bar, with its floor, guess and ceiling."""
    from matplotlib.figure import Figure

    def column(key: str) -> list[float]:
        return [float("nan") if s.get(key) is None else s[key] for s in scores.values()]

    figure, rows = Figure(figsize=(8, 5), layout="constrained"), range(len(scores))
    axis = figure.add_subplot(xlabel="score", xlim=(-0.02, 1.04))
    axis.hlines(rows, column("low"), column("high"), "#0072b2", lw=6, label="95 % interval")
    for key, mark in {"floor": "k|", "guess": "kx", "ceiling": "k>"}.items():
        axis.plot(column(key), rows, mark, ms=12 if key == "floor" else 6, label=key)
    axis.set_yticks(rows, scores)
    axis.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4)
    return figure
