"""Load folders in a process of its own and print how far its memory grew for each.

`python tests/loading_memory.py WARM_UP_FOLDER FOLDER ...`, on Linux; a line for each after
the first: bytes at the peak beyond those before, and bytes of the weights.
"""

import sys
from pathlib import Path

from minijanus.janus import Janus


def status(field: str) -> int:
    """A field of this process' memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


if __name__ == "__main__":
    Janus.from_pretrained(sys.argv[1])  # what torch makes once is not the model's
    for folder in sys.argv[2:]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = status("VmRSS")
        janus = Janus.from_pretrained(folder)
        held = [*janus.parameters(), *janus.pretrained.unused.values()]
        print(status("VmHWM") - before, sum(tensor.nbytes for tensor in held))
        del janus, held
