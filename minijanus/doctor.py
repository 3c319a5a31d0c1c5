"""`python -m minijanus doctor`: is everything here that minijanus needs?

Each check is a function that yields lines: one begins with `ok`, or it says what to do.
"""

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from minijanus import checkpoint
from minijanus.config import PRESETS
from minijanus.lab import UserError, device
from minijanus.load import PHASES
from minijanus.text import Tokenizer

OLDEST_PYTHON = (3, 10)
MEMORY_GB = 2.0  # `train --preset tiny` and its caches
DISK_GB = 2.0  # its checkpoints and logs, and room to write them beside
MEMORY = Path("/proc/meminfo")
REQUIREMENT = re.compile(r"([\w-]+)>=([\d.]+),<([\d.]+)")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: "2.4.1+cpu" is (2, 4, 1)."""
    return tuple(int(n) for n in re.match(r"\d+(\.\d+)*", version)[0].split("."))


def python() -> Iterator[str]:
    """The version of Python."""
    version, oldest = platform.python_version(), ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info < OLDEST_PYTHON:
        yield f"Python {version} is too old: install {oldest} or newer."
    else:
        yield f"ok Python {version}"


def packages() -> Iterator[str]:
    """The packages that pyproject.toml asks for, and their versions."""
    try:
        required = metadata.requires("minijanus") or []
    except metadata.PackageNotFoundError:
        yield "minijanus is not installed: type `pip install --editable .` in its folder."
        return
    for requirement in required:
        found = REQUIREMENT.match(requirement.replace(" ", ""))
        bounds = dict.fromkeys([">=", "<"], "")
        name = found[1] if found else requirement
        low, high = sorted_bounds(requirement)
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield f"{name} is missing: type `pip install --editable .`"
            continue
