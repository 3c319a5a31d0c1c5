"""How much memory is free, what needs more than that, and whether it ran out.

Torch is imported only where a GPU is asked, so that the doctor runs without it.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TABLE = Path("/proc/meminfo")  # Linux only; elsewhere nothing reads it without a package
REMEDY = "close other programs, or take a smaller model"
# How torch and the system say it: errors of many kinds, whose texts have one of these.
RAN_OUT = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")


def free_bytes(device: torch.device | str = "cpu") -> int | None:
    """Bytes that are free on a device; None where nothing tells, as on macOS or Windows."""
    kind = str(device).partition(":")[0]
    if kind == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps of tensors that are gone is free for the next ones.
        return (
            free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        )
    if kind != "cpu" or not TABLE.exists():
        return None
    known = re.search(r"MemAvailable:\s+(\d+) kB", TABLE.read_text())
    return int(known[1]) * 1024 if known else None


def need(what: str, n_bytes: int, device: torch.device | str, remedy: str = REMEDY) -> None:
    """UserError if a device is known to have fewer bytes free than `what` needs."""
    from minijanus.lab import UserError

    free = free_bytes(device)
    if free is not None and free < n_bytes:
        raise UserError(
            f"{what} needs {n_bytes / 1e9:.3g} GB of memory, but only {free / 1e9:.3g} GB "
            f"are free on {device}: {remedy}."
        )


def give_back() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    It keeps what is freed for the next time, and blocks of another size in each step leave
    holes into which none fits: SigLIP's training grew to 8 GB in the place of 1.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory, a GPU's too, did not suffice."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in RAN_OUT)


def too_little(what: str | Path, remedy: str = REMEDY) -> str:
    """The sentence about what did not fit."""
    return f"{what} does not fit into the memory that is free: {remedy}."


@contextmanager
def told(what: str | Path) -> Iterator[None]:
    """Where memory runs out in here, a UserError says of what, in place of a traceback."""
    from minijanus.lab import UserError

    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise UserError(too_little(what)) from error
        raise
