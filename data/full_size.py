"""Janus-1.3B at full size on two CPU cores: how long one drawing and one answer take.

python data/full_size.py make
python data/full_size.py measure [--dtype bfloat16]

"make" writes random weights of the released model's shapes in its layout and dtype, some
4 GB, into data/runs/full_size. "measure" loads them like any folder, draws one picture and
answers one question about it, and notes time and peak memory in data/results. Random
weights take the time and memory of the released ones, which could not be had where this
was written; what they draw and say means nothing. Linux only, whose /proc tells the peak.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from minijanus import checkpoint
from minijanus.config import PAPER, Config
from minijanus.folders import RESULTS, RUNS, TINY_FOLDER
from minijanus.hub import Pretrained
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.parity import random_janus
from minijanus.text import Tokenizer

FOLDER = RUNS / "full_size"
FOUND = RESULTS / "full_size.json"
PROMPT, QUESTION = "a photo of a red car", "What is in the picture?"
WORDS = 32  # tokens of the answer; random weights hardly ever end one
DTYPES = ("float32", "bfloat16", "float16")
T = TypeVar("T")


def make(cfg: Config, folder: Path) -> None:
    """Write random weights, bfloat16, official layout; UserError if some are there.

    The tokenizer is tiny's: ids beyond its words are within cfg.vocabulary, and no word.
    """
    janus = random_janus(cfg).to(torch.bfloat16)
    dtypes = dict.fromkeys(janus.state_dict(), torch.bfloat16)
    tokenizer = Tokenizer.load(TINY_FOLDER / "tokenizer.json")
    janus.pretrained = Pretrained("minijanus", tokenizer, True, 3, dtypes, {}, {})
    janus.save_pretrained(folder)


def memory(field: str) -> int:
    """A field of this process's memory in /proc, in bytes; VmHWM is the peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and its seconds."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def measure(folder: Path, dtype: torch.dtype) -> dict:
    """Seconds and bytes of loading, of one guided drawing and of one answer about it."""
    before = memory("VmRSS")
    janus, loading = timed(lambda: Janus.from_pretrained(folder, dtype=dtype))
    weights = sum(tensor.nbytes for tensor in janus.parameters())
    grown = memory("VmHWM") - before
    print(f"loaded {weights / 1e9:.2f} GB in {loading:.0f} s", flush=True)
    (picture,), drawing = timed(
        lambda: janus.draw(PROMPT, on_step=lambda _: print("a row of codes", flush=True))
    )
    print(f"drew one picture in {drawing:.0f} s", flush=True)
    said, answering = timed(
        lambda: janus.answer(QUESTION, images=[picture], max_tokens=WORDS)
    )
    print(f"answered {len(said)} letters in {answering:.0f} s", flush=True)
    return {
        "parameters": sum(tensor.numel() for tensor in janus.parameters()),
        "weights": weights,
        "loading peak": grown,
        "loading s": loading,
        "drawing s": drawing,
        "codes": janus.gen.n_tokens,
        "answering s": answering,
        "answer at most": WORDS,
        "peak": memory("VmHWM"),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> int:
    """Write the folder, or measure it in one dtype and keep what others have measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=("make", "measure"))
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    args = parser.parse_args()
    try:
        if args.task == "make":
            make(PAPER, FOLDER)
            return 0
        found = measure(FOLDER, getattr(torch, args.dtype))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    kept = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else {}
    text = json.dumps(kept | {args.dtype: found}, indent=1)
    checkpoint.write_text(FOUND, text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
