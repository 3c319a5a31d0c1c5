"""A GPU lent for some minutes, without a network: train `small`, measure it, bring it back.

python data/gpu_session.py piece --minutes 9 --out OUT    # there; again until all is done
python data/gpu_session.py join OUT data/runs/small       # at home after each piece
python data/gpu_session.py ship data/runs/small           # at home, once all is done

A piece runs tests on the GPU, trains, packs into OUT what came to be, and measures if all
is trained and time is left. It needs neither an installation nor `datasets`. On the same
machine the next piece goes on exactly; `--home` names phases that need not come again. A
fresh machine joins the OUT folders of before into its own data/runs/small, or one folder
into which their shards were brought bit by bit; a finished phase's `.resume` may stay away.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # nothing is installed there

from minijanus import checkpoint, load
from minijanus.config import PRESETS
from minijanus.folders import REPO, RESULTS, RUNS, SHIPPED
from minijanus.judge_training import train_judge
from minijanus.lab import UserError, device
from minijanus.loop import Stopped
from minijanus.train import train_all
from minijanus.world import World

RUN = RUNS / "small"
TESTS = ("tests/test_small.py", "tests/test_gpu_session.py")
SHARD, TOTAL, FILES = 15_000_000, 60_000_000, 8  # bytes of one file and of all; how many
MANIFEST = 10_000  # bytes of a shard that are kept for its manifest
# Stage III trains all but the VQ tokenizer, so these two are a whole Janus; the evaluation
# compares the text loss with the LLM's of before.
NEEDED = ("vq", "llm", "stage3", "judge")
PHASES = (*load.PHASES, "judge")
RESUME = ".resume"  # ends the name of a phase that was stopped


def cost(name: str, tensor: Tensor) -> int:
    """The bytes that a tensor takes in a file, with its line in the header."""
    return tensor.nbytes + len(name) + 100


def shards(tensors: dict[str, Tensor], most: int) -> list[dict[str, Tensor]]:
    """The tensors in order, in parts that take at most so many bytes each."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if parts[-1] and size + cost(name, tensor) > most:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += cost(name, tensor)
    return parts


def rounded(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What travels: weights in float16, as they are shipped; of AdamW's state a part.

    Its mean squares have bfloat16, which reaches as far as float32. Its mean gradients stay
    away: they forget in ten steps, and from zero they come back as after a warm-up.
    """
    if not name.endswith(RESUME):
        return {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    kept = {n: t for n, t in tensors.items() if not n.startswith("exp_avg/")}
    for n, tensor in kept.items():
        if tensor.ndim > 1:  # the others are small, and some are counts beyond float16
            squares = n.startswith("exp_avg_sq/")
            kept[n] = tensor.to(torch.bfloat16 if squares else torch.float16)
    return kept


def restored(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `run_phase` goes on from; finished phases stay in float16, as shipped."""
    if not name.endswith(RESUME):
        return tensors
    wide = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    squares = [n for n in wide if n.startswith("exp_avg_sq/")]
    means = {n.replace("_sq", "", 1): torch.zeros_like(wide[n]) for n in squares}
    return wide | means


def pack(run: Path, out: Path, names: Sequence[str]) -> list[str]:
    """Write the run's files of these names as shards; return those for which no room is.

    UserError if a tensor is too large for any shard.
    """
    room, files, left = TOTAL, FILES - 1, []  # one is for the texts
    for name in names:
        tensors, manifest = checkpoint.read(run / f"{name}.safetensors")
        parts = shards(rounded(name, tensors), SHARD - MANIFEST)
        sizes = [MANIFEST + sum(map(cost, part, part.values())) for part in parts]
        if max(sizes) > SHARD:
            raise UserError(f"{name} has a tensor above {SHARD:,} bytes: split it first.")
        if sum(sizes) > room or len(parts) > files:
            left.append(name)
            continue
        room, files = room - sum(sizes), files - len(parts)
        for number, part in enumerate(parts, start=1):
            path = out / f"{name}-{number}-of-{len(parts)}.safetensors"
            checkpoint.save(path, part, manifest)
            path.with_suffix(".json").unlink()  # few files come back
    return left


def pack_texts(run: Path, out: Path) -> None:
    """Write as a zip all of a run but weights and their manifests, which stand in them."""

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as texts:
            for path in sorted(path for path in run.rglob("*") if path.is_file()):
                weights = path.with_suffix(".safetensors")
                if path != weights and not (path.suffix == ".json" and weights.exists()):
                    texts.write(path, path.relative_to(run))

    checkpoint.write_whole(out / "texts.zip", write)


def join(out: Path, run: Path) -> list[str]:
    """Put shards together as files of a run; the names, UserError if one is not whole."""
    found: dict[str, list[Path]] = {}
    for path in sorted(out.glob("*-of-*.safetensors")):
        found.setdefault(re.sub(r"-\d+-of-\d+$", "", path.stem), []).append(path)
    for name, paths in found.items():
        if not paths[0].stem.endswith(f"-of-{len(paths)}"):
            raise UserError(f"{out} does not hold all shards of {name}: fetch them again.")
    run.mkdir(parents=True, exist_ok=True)
    if (out / "texts.zip").exists():
        with zipfile.ZipFile(out / "texts.zip") as texts:
            texts.extractall(run)
    names = sorted(found, key=lambda name: not name.endswith(RESUME))  # these first
    for name in names:
        tensors: dict[str, Tensor] = {}
        for path in found[name]:
            part, manifest = checkpoint.read(path)
            tensors |= part
        manifest |= {} if name.endswith(RESUME) else {"dtype": "float16"}
        checkpoint.save(run / f"{name}.safetensors", restored(name, tensors), manifest)
        for old in run.glob(f"{name}{RESUME}.*"):
            old.unlink()
    return names


def check() -> None:
    """Run the tests that compute on the GPU if there is one; leave if one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *TESTS]
    if subprocess.run(command, cwd=REPO, check=False).returncode:
        raise UserError("the tests fail on this machine: see above, nothing was trained.")


def train(deadline: float, workers: int) -> bool:
    """Train Janus, then the judge, up to a moment; whether both are finished."""
    cfg = replace(PRESETS["small"], workers=workers)
    try:
        train_all(cfg, RUN, World(cfg), device(), deadline)
        if not (RUN / "judge.json").exists():
            train_judge(cfg, RUN, device(), deadline)
    except Stopped as stopped:
        print(stopped)
        return False
    return True


def measure(shipped: Path, seconds: float) -> None:
    """Score the rounded files; what is measured when time is up stays for the next call."""
    command = [sys.executable, "-m", "minijanus", "evaluate", "--checkpoint", str(shipped)]
    command += ["--judge", str(shipped), "--json", str(RUN / "scores.json")]
    try:
        subprocess.run(command, cwd=REPO, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        print("the evaluation is not finished: the same command goes on.")


def piece(deadline: float, out: Path, home: Sequence[str], workers: int) -> None:
    """Train, pack what is not at home yet, then measure if all is trained and time left."""
    finished = False
    try:
        finished = train(deadline, workers)
    finally:  # also what was finished before something went wrong
        there = [name for name in PHASES if (RUN / f"{name}.json").exists()]
        there += [path.stem for path in RUN.glob(f"*{RESUME}.safetensors")]
        names = [n for n in (NEEDED if finished else there) if n not in home]
        left = pack(RUN, out, names)
        pack_texts(RUN, out)
        print(f"{out} holds logs and:", *(n for n in names if n not in left))
        if left:
            print(f"no room for {', '.join(left)}: fetch it by a piece with --home ...")
    seconds = deadline - time.monotonic()
    if finished and seconds > 0 and not (RUN / "scores.json").exists():
        shipped = RUN.with_name(f"{RUN.name}-shipped")
        load.ship(RUN, shipped, PRESETS["small"].name)
        measure(shipped, seconds)
        pack_texts(RUN, out)


def ship(run: Path, folder: Path, results: Path) -> None:
    """Copy what a finished model needs to the shipped ones, and its scores to theirs."""
    load.ship(run, folder, PRESETS["small"].name, [n for n in NEEDED if n != "judge"])
    if (run / "scores.json").exists():
        checkpoint.write_text(results / "scores.json", (run / "scores.json").read_text())
    if (run / "samples").exists():
        shutil.copytree(run / "samples", results / "samples", dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"{folder}: {size / 1e6:.1f} MB of weights")


def main() -> None:
    """Read the command line."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("piece").add_argument
    add("--minutes", type=float, default=9, help="until all but packing is done (9)")
    add("--out", type=Path, required=True, help="folder for what comes home")
    add("--home", nargs="*", default=[], choices=PHASES, help="phases that came already")
    add("--workers", type=int, default=os.cpu_count(), help="preparing samples (all cores)")
    add("--tested", action="store_true", help="do not run the tests again")
    add = commands.add_parser("join").add_argument
    add("out", type=Path)
    add("run", type=Path)
    commands.add_parser("ship").add_argument("run", type=Path)
    args = parser.parse_args()
    try:
        if args.command == "piece":
            if not args.tested:
                check()
            piece(started + 60 * args.minutes, args.out, args.home, args.workers)
        elif args.command == "join":
            print(f"{args.run} has {', '.join(join(args.out, args.run))}")
        else:
            ship(args.run, SHIPPED / "small", RESULTS / "small")
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
