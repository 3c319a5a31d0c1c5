"""What every notebook and the command line share: device, seed, `show`, `picture`, `ok`."""

from __future__ import annotations

import inspect
import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from minijanus.folders import REPO

if TYPE_CHECKING:  # drawing a figure takes matplotlib; the command line starts without it
    from matplotlib.figure import Figure

DPI = 80  # keeps an executed notebook under its 300 KB
TITLE = 26  # letters in one line above a picture of a grid


class UserError(ValueError):
    """What a person typed or gave cannot be used; the message says what to do."""

    exit_code = 2  # of the command line


def device() -> torch.device:
    """The device to compute on: cuda, else mps, else cpu; MINIJANUS_DEVICE overrides."""
    usable = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    wanted = os.environ.get("MINIJANUS_DEVICE", "")
    if not wanted:
        return torch.device(next(name for name, here in usable.items() if here))
    if not usable.get(wanted.split(":")[0], False):
        here = " or ".join(name for name, works in usable.items() if works)
        raise UserError(f"MINIJANUS_DEVICE={wanted} does not work here: use {here}.")
    try:
        torch.empty(0, device=wanted)
    except RuntimeError as error:  # cuda:9 where there are two
        raise UserError(
            f"MINIJANUS_DEVICE={wanted} does not work here: leave out colon and number."
        ) from error
    return torch.device(wanted)


def wanted_preset() -> str:
    """The preset that a learner asks the stage notebooks to train, or nothing."""
    return os.environ.get("MINIJANUS_PRESET", "")


def wanted_model() -> str:
    """The model that a learner wants notebook 12 to load, or nothing."""
    return os.environ.get("MINIJANUS_MODEL", "")


def seed(n: int) -> torch.Generator:
    """Seed torch and return a CPU generator of its own for data."""
    torch.manual_seed(n)
    return torch.Generator().manual_seed(n)


def show(thing: object) -> None:
    """Display the source of a function, class or module with its file and line."""
    from IPython.display import Markdown, display

    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(thing))
        file = Path(inspect.getsourcefile(inspect.unwrap(thing))).resolve()
    except (TypeError, OSError) as error:
        raise UserError(
            "show() cannot find source: give a function, class or module."
        ) from error
    where = file.relative_to(REPO) if file.is_relative_to(REPO) else file.name
    source = textwrap.dedent("".join(lines)).rstrip()
    display(Markdown(f"`{where}:{max(first, 1)}`\n\n```python\n{source}\n```"))


def picture(what: Figure | Image.Image, alt: str) -> None:
    """Display a figure or a picture as PNG with its description, then close it."""
    from IPython.display import Image as Shown
    from IPython.display import display
    from matplotlib import pyplot

    if len(alt.split()) < 5:
        raise ValueError("the alt text is too short: describe it in 5 words or more.")
    buffer = io.BytesIO()
    if isinstance(what, Image.Image):
        what.save(buffer, format="png", optimize=True)
    else:
        what.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        pyplot.close(what)  # or the notebook would show it a second time
    display(Shown(buffer.getvalue(), format="png", alt=alt))


def grid(
    images: Sequence[Image.Image], titles: Sequence[str] | None = None, columns: int = 4
) -> Figure:
    """Pictures side by side in rows of `columns`, each under its title."""
    from matplotlib.figure import Figure  # not pyplot: nothing to close, no display needed

    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.axis("off")
    for axis, image in zip(axes, images, strict=False):
        axis.imshow(image, interpolation="nearest")
    for axis, title in zip(axes, titles or (), strict=False):
        lines = [textwrap.fill(line, TITLE) for line in title.split("\n")]
        axis.set_title("\n".join(lines), fontsize=9)
    return figure


def ok(condition: object, message: str) -> None:
    """Print "ok: message" if the condition holds, else raise AssertionError(message)."""
    if not condition:
        raise AssertionError(message)
    print(f"ok: {message}")
