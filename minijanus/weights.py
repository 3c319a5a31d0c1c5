"""Weight files of other layouts, read one tensor at a time and written shard by shard.

safetensors, or a `pytorch_model*.bin` of which only tensors are read, in one file or in
several with an index. No tensor takes memory before it is asked for, so loading a model
needs little more than the model; only .bin files of torch before 1.6 are read whole.
"""

import json
import zipfile
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from minijanus import checkpoint
from minijanus.lab import UserError
from minijanus.memory import ran_out, too_little

# In the order in which they are looked for; an index names the files of the shards.
SAFE, BIN = "model.safetensors", "pytorch_model.bin"
WEIGHT_FILES = (f"{SAFE}.index.json", SAFE, f"{BIN}.index.json", BIN)
SHARD_BYTES = 4 * 2**30
MAPPED_SHARE = 0.05  # of the .bin files may stay in memory after it was read
# The dtypes that Janus computes in, by their names in a safetensors file.
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
AGAIN = "download it again"


def read_json(path: Path) -> dict:
    """The object in a JSON file; UserError if it is missing or is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {AGAIN}.") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {AGAIN}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object: {AGAIN}.")
    return content


def shard_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; UserError names what is missing."""
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).exists()), None)
    if found is None:
        raise UserError(f"{folder} holds no weights, neither {SAFE} nor {BIN}: {AGAIN}.")
    if found.suffix != ".json":
        return [found]
    listed = read_json(found).get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) else set()
    if not names or any(not isinstance(n, str) or n != Path(n).name for n in names):
        raise UserError(f"{found} does not say which files hold the weights: {AGAIN}.")
    for name in sorted(names):
        if not (folder / name).exists():
            raise UserError(
                f"{folder / name} is missing, which {found.name} names: {AGAIN}."
            )
    return [folder / name for name in sorted(names)]


def open_bin(path: Path) -> dict[str, Tensor]:
    """The tensors of a .bin file, mapped where its format allows; UserError for others."""
    mmap = zipfile.is_zipfile(path)  # files of torch before 1.6 are none
    try:
        held = torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    except Exception as error:  # many kinds: no zip, no memory, code instead of tensors
        if ran_out(error):
            raise UserError(too_little(path)) from error
        raise UserError(
            f"{path} is damaged, or holds more than tensors and is not opened: {AGAIN}."
        ) from error
    if isinstance(held, dict) and isinstance(held.get("model"), dict):
        held = held["model"]  # so LlamaGen wraps its tensors
    if not isinstance(held, dict) or not all(torch.is_tensor(t) for t in held.values()):
        raise UserError(f"{path} holds no tensors by name: {AGAIN}.")
    return held


class Shards:
    """The tensors of a folder by name: their shapes at once, their numbers when asked."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self.mapped: dict[Path, dict[str, Tensor]] = {}  # of .bin files, on the disk
        self.total = self.touched = 0  # bytes in them, and read since they were mapped
        for path in shard_files(folder):
            if path.suffix == ".safetensors":
                self._list_safe(path)
            else:
                self._list_bin(path)

    def _add(self, path: Path, name: str, shape, dtype: torch.dtype | None) -> None:
        if name in self.files:
            raise UserError(f"{path} and {self.files[name]} both hold {name}: {AGAIN}.")
        if dtype not in DTYPES.values():
            raise UserError(
                f"{path} holds {name} in a number format that minijanus does not compute "
                "in: use a checkpoint that is not quantised."
            )
        self.files[name], self.shapes[name], self.dtypes[name] = path, tuple(shape), dtype

    def _list_safe(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                slices = {name: file.get_slice(name) for name in list(file.keys())}
        except (SafetensorError, OSError, MemoryError) as error:
            if ran_out(error):
                raise UserError(too_little(path)) from error
            raise UserError(f"{path} is damaged or only half here: {AGAIN}.") from error
        for name, part in slices.items():
            self._add(path, name, part.get_shape(), DTYPES.get(part.get_dtype()))

    def _list_bin(self, path: Path) -> None:
        self.mapped[path] = open_bin(path)
        for name, tensor in self.mapped[path].items():
            self._add(path, name, tensor.shape, tensor.dtype)
            self.total += tensor.nbytes

    def size(self, dtype: torch.dtype | None = None) -> int:
        """The bytes of all tensors, in their own dtypes or in the one asked for."""
        return sum(
            prod(shape) * (dtype or self.dtypes[name]).itemsize
            for name, shape in self.shapes.items()
        )

    def read(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """One tensor, as a copy on a device, in its own dtype or in the one asked for."""
        path = self.files[name]
        if path in self.mapped:
            self.touched += self.mapped[path][name].nbytes
            if self.touched > MAPPED_SHARE * self.total:  # let go of what was read
                self.mapped[path], self.touched = open_bin(path), 0
            tensor = self.mapped[path][name].detach()
            return tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True)
        # Opened anew for each: a map that stays open would count as memory in use.
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(name)
            return tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True)


def shard_names(n: int) -> list[str]:
    """The names of n shards, as the hub's tools write them."""
    if n == 1:
        return [SAFE]
    return [f"model-{i:05}-of-{n:05}.safetensors" for i in range(1, n + 1)]


def write_shards(folder: Path, tensors: dict[str, Tensor], limit: int) -> None:
    """Write tensors into shards of at most `limit` bytes, and an index if there are many.

    A tensor larger than the limit gets a shard of its own. UserError if the disk is full.
    """
    shards: list[dict[str, Tensor]] = [{}]
    room = limit
    for name, tensor in tensors.items():
        size = prod(tensor.shape) * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = tensor
        room -= size
    where: dict[str, str] = {}
    for file, shard in zip(shard_names(len(shards)), shards, strict=True):
        # Copies: one tensor may stand under two names, which the format refuses to share.
        held = {n: t.detach().cpu().contiguous().clone() for n, t in shard.items()}
        with checkpoint.written_together(folder / file) as (beside,):
            save_file(held, beside, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        total = sum(prod(t.shape) * t.element_size() for t in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": where}
        text = json.dumps(index, indent=2) + "\n"
        checkpoint.write_text(folder / f"{SAFE}.index.json", text)
