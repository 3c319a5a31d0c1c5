"""Tensors of another layout into a Janus and out again, bit by bit the same.

Every name and shape is checked before the first tensor takes memory.
"""

import torch
from einops import rearrange
from torch import Tensor

from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.names import UNUSED, names_in
from minijanus.weights import Shards

TIED = "lm_head.weight"  # left out of a file in which it is the table of embeddings


def is_tied(janus: Janus) -> bool:
    """Whether the text head is the table of embeddings, as in some ports."""
    return janus.text_head.weight is janus.llm.embed_tokens.weight


def apart(tensor: Tensor, name: str, layout: str) -> list[Tensor]:
    """One of our tensors as the pieces that stand for it in a layout."""
    if layout == "transformers" and name.endswith(".pos_embed"):
        return [tensor[0]]
    return list(tensor.chunk(len(names_in(layout, name))))


def together(parts: list[Tensor], name: str, layout: str) -> Tensor:
    """One of our tensors from the pieces that stand for it in a layout."""
    if layout == "transformers" and name.endswith(".pos_embed"):
        return rearrange(parts[0], "n d -> 1 n d")
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def tensors_in(
    janus: Janus, layout: str, dtypes: dict[str, torch.dtype]
) -> dict[str, Tensor]:
    """All tensors of a Janus by their names in a layout, in these dtypes."""
    found = {}
    for name, tensor in janus.state_dict().items():
        parts = apart(tensor.to(dtypes[name]), name, layout)
        found |= zip(names_in(layout, name), parts, strict=True)
    if is_tied(janus) and layout == "transformers":
        del found[TIED]
    return found


def unused_shapes(d: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the pooling head that is never used, for an encoder of width d."""
    latent, q, kv, proj, norm = (1, 1, d), (d, d), (2 * d, d), (d, d), (d,)
    attention = (latent, q, (d,), kv, (2 * d,), proj, (d,))
    mlp = ((4 * d, d), (4 * d,), (d, 4 * d), (d,))
    *pooling, _ = UNUSED  # the last, a counter of codes, has any length
    return dict(zip(pooling, (*attention, norm, norm, *mlp), strict=True))


def check_names(
    wanted: dict[str, tuple[int, ...]],
    shards: Shards,
    may_stay: tuple[str, ...],
    unused: dict[str, tuple[int, ...]],
) -> None:
    """UserError names the first tensor that is missing, of another shape or unexpected.

    `unused` has the shapes of those that may stay, if they are there.
    """
    there = {name: shape for name, shape in unused.items() if name in shards.shapes}
    for name, shape in (wanted | there).items():
        if name not in shards.shapes:
            raise UserError(f"{shards.folder} lacks the tensor {name}: download it again.")
        if shards.shapes[name] != shape:
            raise UserError(
                f"{shards.files[name]}: {name} has shape {shards.shapes[name]}, but "
                f"config.json makes it {shape}: download both again."
            )
    for name, path in shards.files.items():
        if name not in wanted and name not in may_stay:
            raise UserError(
                f"{path} holds {name}, which no Janus has: use the folder of a Janus."
            )


def fill(
    janus: Janus,
    shards: Shards,
    layout: str,
    tied: bool,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> tuple[dict[str, torch.dtype], dict[str, Tensor]]:
    """Give a Janus on the meta device its tensors; return their dtypes and the unused ones.

    If `tied`, a text head that is not in the file becomes the table of embeddings.
    """
    own = janus.state_dict()
    tied = tied and TIED not in shards.shapes
    if tied:
        del own["text_head.weight"]
    wanted = {
        there: tuple(part.shape)
        for name, tensor in own.items()
        for there, part in zip(
            names_in(layout, name), apart(tensor, name, layout), strict=True
        )
    }
    official = layout == "official"
    may_stay = UNUSED if official else ()
    unused = unused_shapes(janus.cfg.und_width) if official else {}
    check_names(wanted, shards, may_stay, unused)
    held, dtypes = {}, {}
    # The largest first: what is read last then needs little room beside all the rest.
    for name in sorted(own, key=lambda name: -own[name].numel()):
        there = names_in(layout, name)
        parts = [shards.read(part, device, dtype) for part in there]
        held[name], dtypes[name] = together(parts, name, layout), shards.dtypes[there[0]]
    janus.load_state_dict(held, assign=True, strict=not tied)
    if tied:
        janus.text_head.weight = janus.llm.embed_tokens.weight
        dtypes["text_head.weight"] = dtypes["llm.embed_tokens.weight"]
    return dtypes, {name: shards.read(name) for name in may_stay if name in shards.shapes}
