"""A GPU lent for some minutes, without a network: train `small`, measure it, bring it back.

python data/gpu_session.py tests                          # the tests, on the GPU
python data/gpu_session.py piece --minutes 8 --out OUT    # again and again, until finished
python data/gpu_session.py join OUT data/runs/small       # at home

A piece goes on where the last one stopped. The first to find the training finished trains
the judge, measures both, and writes into OUT what a finished model needs: its weights in
float16 as safetensors shards of at most 15 MB, and one zip of logs, manifests and scores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from torch import Tensor

from minijanus import checkpoint
from minijanus.config import PRESETS
from minijanus.evaluate import evaluate
from minijanus.folders import RUNS
from minijanus.judge_training import train_judge
from minijanus.lab import device
from minijanus.loop import Stopped
from minijanus.train import train_all
from minijanus.world import World

RUN = RUNS / "small"
SHARD = 15_000_000  # bytes
# Stage III trains all but the VQ tokenizer, so its file and the VQ's are a whole Janus.
NEEDED = ("vq", "stage3", "judge")


def shards(tensors: dict[str, Tensor], most: int) -> list[dict[str, Tensor]]:
    """The tensors in order, in parts of at most so many bytes each."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if parts[-1] and size + tensor.nbytes > most:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
    return parts


def pack(run: Path, out: Path) -> None:
    """Write the shards of a finished run and the zip of everything else."""
    everything: dict[str, Tensor] = {}
    for phase in NEEDED:
        tensors, _ = checkpoint.load(run / f"{phase}.safetensors")
        for name, tensor in tensors.items():
            half = tensor.half() if tensor.is_floating_point() else tensor
            everything[f"{phase}/{name}"] = half
    parts = shards(everything, SHARD)
    for number, part in enumerate(parts, start=1):
        checkpoint.save(out / f"shard-{number}-of-{len(parts)}.safetensors", part, {})
        (out / f"shard-{number}-of-{len(parts)}.json").unlink()  # few files come back
    manifests = [f"{name}.json" for name in (*NEEDED, "tokenizer", "scores")]
    with zipfile.ZipFile(out / "texts.zip", "w", zipfile.ZIP_DEFLATED) as texts:
        for path in [*(run / name for name in manifests), *sorted(run.glob("*.csv"))]:
            texts.write(path, path.name)


def join(out: Path, run: Path) -> None:
    """Put the shards together again as the files of a run."""
    everything: dict[str, Tensor] = {}
    found = sorted(out.glob("shard-*-of-*.safetensors"))
    if not found or not found[0].stem.endswith(f"-of-{len(found)}"):
        sys.exit(f"{out} does not hold all shards: fetch them again.")
    for path in found:
        everything |= checkpoint.read(path)[0]
    run.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out / "texts.zip") as texts:
        texts.extractall(run)
    for phase in NEEDED:
        own = {
            name.partition("/")[2]: tensor
            for name, tensor in everything.items()
            if name.startswith(f"{phase}/")
        }
        path = run / f"{phase}.safetensors"
        manifest = checkpoint.read_manifest(path)
        checkpoint.save(path, own, {**manifest, "dtype": "float16"})
    print(f"{run}: {len(everything)} tensors of {', '.join(NEEDED)}")


def piece(minutes: float, out: Path) -> None:
    """Train for so many minutes; once all is trained, measure and pack."""
    cfg, deadline = PRESETS["small"], time.monotonic() + 60 * minutes
    try:
        train_all(cfg, RUN, World(cfg), device(), deadline)
        if not (RUN / "judge.json").exists():
            train_judge(cfg, RUN, device(), deadline)
    except Stopped as stopped:
        sys.exit(str(stopped))
    if not (RUN / "scores.json").exists():
        evaluate(RUN, RUN, RUN / "scores.json")
    pack(RUN, out)
    shutil.make_archive(str(out / "samples"), "zip", RUN / "samples")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tests")
    one = commands.add_parser("piece")
    one.add_argument("--minutes", type=float, default=8)
    one.add_argument("--out", type=Path, required=True)
    two = commands.add_parser("join")
    two.add_argument("out", type=Path)
    two.add_argument("run", type=Path)
    args = parser.parse_args()
    if args.command == "tests":
        # The command line and the notebooks compute on the GPU wherever there is one.
        command = [sys.executable, "-m", "pytest", "-q", "-x", "tests"]
        offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
        sys.exit(subprocess.run(command, env=offline, check=False).returncode)
    elif args.command == "piece":
        piece(args.minutes, args.out)
    else:
        join(args.out, args.run)


if __name__ == "__main__":
    main()
