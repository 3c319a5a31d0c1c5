"""Files that survive: tensors beside a JSON manifest, written whole or not at all.

A file is written beside its place and then renamed into it, so a full disk or Ctrl-C never
leaves half a file and never harms the one before.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from minijanus.lab import UserError


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(module: nn.Module) -> str:
    """A number of the weights, which another model will hardly have."""
    found = 0
    for tensor in module.state_dict().values():
        found = crc32(tensor.detach().cpu().contiguous().float().numpy(), found)
    return f"{found:08x}"


@contextmanager
def written_together(*paths: Path) -> Iterator[list[Path]]:
    """Temporary paths beside these; at the end all are renamed into place, or none is.

    UserError if the disk is full.
    """
    beside = [path.with_name(path.name + ".part") for path in paths]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        yield beside
        try:
            os.replace(beside[0], paths[0])
        finally:  # Ctrl-C after one rename must not part a file from its manifest
            if not beside[0].exists():
                for source, target in zip(beside[1:], paths[1:], strict=True):
                    os.replace(source, target)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{paths[0]} could not be written ({error}): free some disk space or choose "
            "another folder, and run the same command again; no file was harmed."
        ) from error
    finally:
        for path in beside:
            with suppress(OSError):  # there is none, or what should be its folder is a file
                path.unlink()


def write_whole(path: Path, write) -> None:
    """Call `write(temporary path)`, then rename it into place; clean up if that fails."""
    with written_together(path) as (beside,):
        write(beside)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder beside this one, which takes its place at the end, whole or not at all.

    UserError if the folder already holds something. What a call that was stopped left goes.
    """
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(
            f"{folder} already holds a model or other files: give a new folder."
        )
    beside = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        yield beside
    except BaseException:  # a full disk gets its space back, and so does Ctrl-C
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if folder.exists():
        folder.rmdir()  # Windows renames onto nothing, not even an empty folder
    os.replace(beside, folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def save(path: Path, tensors: dict[str, Tensor], manifest: dict) -> None:
    """Write tensors with their manifest inside, and a readable copy of it beside (`.json`).

    The copy also names the sha256 of the tensor file, which `load` checks.
    """
    # Copies: one part may stand under two names, which the format refuses to share.
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    inside = {"manifest": json.dumps(manifest)}
    with written_together(path, path.with_suffix(".json")) as (beside, copy):
        save_file(tensors, beside, metadata=inside)
        text = json.dumps({**manifest, "sha256": sha256(beside)}, indent=1)
        copy.write_text(text + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict:
    """The manifest beside a tensor file; UserError if it is not one."""
    beside = path.with_suffix(".json")
    try:
        manifest = json.loads(beside.read_text(encoding="utf-8"))
        if isinstance(manifest["sha256"], str):
            return manifest
    except (ValueError, KeyError, TypeError, OSError):
        pass
    raise UserError(
        f"{beside.name} is damaged: restore it with `git restore data/checkpoints`, or "
        "train again with `make train`."
    )


def check(path: Path) -> None:
    """Raise UserError if the file is missing or is not the one its manifest describes."""
    beside = path.with_suffix(".json")
    if not path.exists() or not beside.exists():
        raise UserError(
            f"{path.name} or {beside.name} is missing in {path.parent}: train it with "
            "`make train`, or restore the shipped ones with `git restore data/checkpoints`."
        )
    if read_manifest(path)["sha256"] != sha256(path):
        raise UserError(
            f"{path.name} is not the file that {beside.name} describes (sha256 differs): "
            "restore it with `git restore data/checkpoints`, or train it again."
        )


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the manifest of a checkpoint; UserError if it is not whole."""
    check(path)
    return read(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the manifest inside one safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            manifest = json.loads((file.metadata() or {}).get("manifest", "{}"))
            # Copies: a view of the mapped file would keep Windows from replacing it.
            tensors = {n: file.get_tensor(n).clone() for n in file.keys()}  # noqa: SIM118
            return tensors, manifest
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}): restore it, or delete it "
            "and train again."
        ) from error


def load_into(module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors by name into a module; UserError names the first that does not fit."""
    own = module.state_dict()
    for name, tensor in tensors.items():
        if name not in own:
            raise UserError(f"{source} holds {name}, which this model does not have.")
        if own[name].shape != tensor.shape:
            raise UserError(
                f"{source}: {name} has shape {tuple(tensor.shape)}, but the model needs "
                f"{tuple(own[name].shape)}; use the preset that the file was made with."
            )
    module.load_state_dict(tensors, strict=False)
