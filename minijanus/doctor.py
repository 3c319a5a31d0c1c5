"""`python -m minijanus doctor`: is everything here that minijanus needs?

Each check yields lines, which begin with `ok` or say what to do. What may be missing is
imported inside its check, so that the other checks still report.
"""

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from minijanus.config import PRESETS
from minijanus.memory import free_bytes

OLDEST_PYTHON = (3, 10)
MEMORY_GB = 3.0  # what `train --preset tiny` needs
DISK_GB = 2.0  # its checkpoints and caches, and room to write them beside
INSTALL = "type `pip install --editable .` in the folder of pyproject.toml"
RESTORE = "restore it with `git restore data`"
TABLES = ("sprites.parquet", "labels.parquet", "text.parquet")


def python() -> Iterator[str]:
    """The version of Python."""
    version, oldest = platform.python_version(), ".".join(map(str, OLDEST_PYTHON))
    good = sys.version_info >= OLDEST_PYTHON
    yield (
        f"ok Python {version}" if good else f"Python {version}: install {oldest} or newer."
    )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers with which a version begins: "2.4.1+cpu" is (2, 4, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0]))


def fits(version: str, requirement: str) -> bool:
    """Whether a version keeps to the >= and < of a requirement."""
    lowest = re.search(r">=([\d.]+)", requirement)
    above = re.search(r"<([\d.]+)", requirement)
    ours = numbers(version)
    return (not lowest or ours >= numbers(lowest[1])) and (
        not above or ours < numbers(above[1])
    )


def packages() -> Iterator[str]:
    """The packages that pyproject.toml asks for."""
    try:
        required = metadata.requires("minijanus") or []
    except metadata.PackageNotFoundError:
        yield f"minijanus is not installed: {INSTALL}."
        return
    for requirement in required:
        if "extra ==" in requirement:  # for the tests only
            continue
        name = re.match(r"[\w-]+", requirement)[0]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield f"{name} is missing: {INSTALL}."
            continue
        good = fits(version, requirement)
        yield (
            f"ok {name} {version}" if good else f"{requirement}, not {version}: {INSTALL}."
        )


def devices() -> Iterator[str]:
    """What minijanus computes on."""
    import torch

    from minijanus.lab import device

    found = device()
    if found.type == "cuda":
        name, (free, _) = torch.cuda.get_device_name(found), torch.cuda.mem_get_info(found)
        yield f"ok device {found}: {name}, {free / 1e9:.1f} GB free"
    else:
        yield f"ok device {found}, {torch.get_num_threads()} threads"


def memory() -> Iterator[str]:
    """The memory that is free."""
    free = free_bytes()
    if free is None:
        yield f"ok memory: not measured on {platform.system()}"
    else:
        yield enough("memory", free / 1e9, MEMORY_GB, "close other programs")


def disk(data: Path) -> Iterator[str]:
    """The disk that is free where checkpoints are written."""
    free = shutil.disk_usage(data if data.exists() else data.parent).free / 1e9
    yield enough("disk", free, DISK_GB, "delete something")


def enough(what: str, free: float, needed: float, remedy: str) -> str:
    """The line about an amount in GB."""
    if free >= needed:
        return f"ok {what} {free:.1f} GB free"
    return f"{what}: {free:.1f} GB free of the {needed:.0f} GB that are needed: {remedy}."


def tables(data: Path) -> Iterator[str]:
    """The tables from which the world is made."""
    for name in TABLES:
        good = (data / name).exists()
        yield f"ok data/{name}" if good else f"data/{name} is missing: {RESTORE}."


def checkpoints(data: Path) -> Iterator[str]:
    """Each shipped checkpoint against the sha256 in its manifest."""
    from minijanus import checkpoint
    from minijanus.lab import UserError
    from minijanus.load import PHASES
    from minijanus.text import Tokenizer

    folder = data / "checkpoints"
    presets = [name for name in PRESETS if (folder / name).is_dir()]
    if not presets:
        yield f"there are no checkpoints in {folder}: {RESTORE}, or type `make train`."
    for preset in presets:
        for phase in PHASES:
            path = folder / preset / f"{phase}.safetensors"
            try:
                checkpoint.check(path)
                yield f"ok {preset}/{path.name} sha256 {checkpoint.sha256(path)[:12]}"
            except UserError as error:
                yield f"{preset}/{error}"
        try:
            tokenizer = Tokenizer.load(folder / preset / "tokenizer.json")
            yield f"ok {preset}/tokenizer.json, {tokenizer.vocabulary} tokens"
        except UserError as error:
            yield str(error)


def report(data: Path) -> bool:
    """Print all lines; return whether each of them is ok."""
    checks = (
        python(), packages(), devices(), memory(), disk(data), tables(data),
        checkpoints(data),
    )  # fmt: skip
    good = True
    for check in checks:
        try:
            for line in check:
                print(line)
                good = good and line.startswith("ok")
        except ImportError as error:
            print(f"{error}: {INSTALL}.")
            good = False
        except (OSError, ValueError) as error:  # a UserError among them
            print(error)
            good = False
    return good
