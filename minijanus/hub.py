"""A whole Janus from a folder or from the hub, and back into a folder.

The folder may have the official layout, that of transformers' port, or be one of our own
runs. Every tensor in it is used, or carried along if the released code never uses it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from minijanus import checkpoint, memory
from minijanus.conversion import fill, is_tied, tensors_in
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.load import PHASES, load_janus
from minijanus.names import LAYOUTS
from minijanus.released import check_released, layout_of, read_config
from minijanus.releasing import small_files
from minijanus.template import read_do_normalize, read_template, read_tokenizer
from minijanus.text import Tokenizer
from minijanus.weights import (
    DTYPES,
    SAFE,
    SHARD_BYTES,
    Shards,
    read_json,
    write_shards,
)

# The small files of either layout, which a folder of the same layout gets back.
SMALL_FILES = re.compile(r"(?!.*index\.json$)[\w.-]+\.(json|jinja)")


@dataclass(frozen=True)
class Pretrained:
    """What stood in a model's folder beside the weights that it uses."""

    layout: str  # "official", "transformers", "minijanus" or "parts"
    tokenizer: Tokenizer
    do_normalize: bool  # whether pixels to be understood go to [-1, 1], or stay in [0, 1]
    stage: int  # whose format it learned; a released model's is III
    dtypes: dict[str, torch.dtype]  # of our tensors, as they stood there
    unused: dict[str, Tensor]  # carried along, under their official names
    files: dict[str, str]  # the small files of the folder, by name


def from_pretrained(
    name_or_folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Janus:
    """A Janus with its weights, in their own dtype or in `dtype`; UserError if unfit.

    `janus.pretrained` holds its tokenizer and what else came with it.
    """
    if dtype is not None and dtype not in DTYPES.values():
        names = ", ".join(map(str, DTYPES.values()))
        raise UserError(f"a model cannot compute in {dtype}: use one of {names}.")
    folder = local_folder(name_or_folder)
    if any((folder / f"{phase}.json").exists() for phase in PHASES):
        return _own(folder, device, dtype)
    raw = read_json(folder / "config.json")
    layout, name = layout_of(raw), model_name(folder)
    cfg = read_config(raw, name)
    roles, do_normalize = read_template(folder, cfg), read_do_normalize(folder)
    tokenizer = read_tokenizer(folder, cfg, roles)
    shards = Shards(folder)
    with torch.device("meta"):
        janus = Janus(cfg)
    tied = bool(raw.get("tie_word_embeddings", True)) and layout == "transformers"
    check_memory(shards, device, dtype)
    with memory.told(folder):
        dtypes, unused = fill(janus, shards, layout, tied, device, dtype)
    names = [p.name for p in sorted(folder.iterdir()) if SMALL_FILES.fullmatch(p.name)]
    files = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    janus.pretrained = Pretrained(layout, tokenizer, do_normalize, 3, dtypes, unused, files)
    return janus.eval()


def check_memory(
    shards: Shards, device: torch.device | str, dtype: torch.dtype | None
) -> None:
    """UserError if a folder's weights are known not to fit on a device."""
    needed, remedy = shards.size(dtype), memory.REMEDY
    if needed > shards.size(torch.bfloat16):
        remedy = "close other programs or, unless it is to be trained, load it in bfloat16"
    memory.need(str(shards.folder), needed, device, remedy)


def _own(folder: Path, device: torch.device | str, dtype: torch.dtype | None) -> Janus:
    """A Janus after the last phase of one of our own runs."""
    last = [phase for phase in PHASES if (folder / f"{phase}.json").exists()][-1]
    with memory.told(folder):
        janus, tokenizer, stage = load_janus(folder, last, device)
        dtypes = {name: tensor.dtype for name, tensor in janus.state_dict().items()}
        janus.to(dtype=dtype)
    janus.pretrained = Pretrained("minijanus", tokenizer, True, stage, dtypes, {}, {})
    return janus


def model_name(folder: Path) -> str:
    """What the model in a folder is called: the folder's name, or the hub's.

    The hub's cache keeps it in models--ORGANISATION--NAME/snapshots/COMMIT.
    """
    folder = folder.absolute()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


def local_folder(name_or_folder: str | Path) -> Path:
    """The folder of a model; one on the hub is fetched, or taken from where it was kept.

    UserError if it is neither, or if there is no network.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    name = str(name_or_folder)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise UserError(
            f"there is no folder {name}: give one, or a name such as "
            "deepseek-ai/Janus-1.3B."
        )
    from huggingface_hub import snapshot_download  # other commands start without it

    try:
        small = ["*.json", "*.jinja"]
        got = Path(snapshot_download(name, allow_patterns=[*small, "model*.safetensors"]))
        if not any((got / name).exists() for name in (SAFE, f"{SAFE}.index.json")):
            patterns = [*small, "pytorch_model*.bin"]
            got = Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # no network, no such name, no permission, a full disk
        kind = type(error).__name__
        raise UserError(
            f"{name} is no folder here and could not be fetched from the hub ({kind}): "
            "check the name and the network, or give the folder of a copy."
        ) from error
    return got


def save_pretrained(
    janus: Janus,
    folder: str | Path,
    layout: str = "official",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a Janus and its tokenizer into a new folder, in the dtype it was loaded from.

    A folder of the layout that the model came from gets its own small files back. UserError
    if the layout cannot hold this model, or if the folder already holds something.
    """
    from minijanus.given import loaded  # whose imports would run in a circle

    folder, kept = Path(folder), loaded(janus)[0].pretrained
    if layout not in LAYOUTS:
        raise UserError(f'there is no layout "{layout}": use one of {", ".join(LAYOUTS)}.')
    check_released(janus.cfg, layout)
    tensors = tensors_in(janus, layout, kept.dtypes)
    if layout == "official":
        tensors |= kept.unused
    files = kept.files
    if layout != kept.layout:
        dtype = str(kept.dtypes["llm.norm.weight"]).removeprefix("torch.")
        files = small_files(
            janus.cfg, layout, kept.tokenizer, kept.do_normalize, dtype, is_tied(janus)
        )
    with checkpoint.whole_folder(folder) as beside:
        write_shards(beside, tensors, shard_bytes)
        for name, text in files.items():
            checkpoint.write_text(beside / name, text)
