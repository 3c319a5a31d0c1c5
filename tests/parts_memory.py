"""Make a Janus of parts in a process of its own and print how far its memory grew.

`python tests/parts_memory.py SIGLIP WARM_UP_LLM LLM VQ`, on Linux: bytes at the peak beyond
those before, and bytes that were asked for.
"""

import sys
from pathlib import Path

from loading_memory import status

from minijanus import memory
from minijanus.janus import Janus

siglip, warm_up, llm, vq = sys.argv[1:]
asked: list[int] = []
memory.need = lambda what, n_bytes, device: asked.append(n_bytes)
Janus.from_parts(siglip, warm_up, vq)  # what torch makes once is not the model's
memory.give_back()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
Janus.from_parts(siglip, llm, vq)
print(status("VmHWM") - before, asked[-1])
