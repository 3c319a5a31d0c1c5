"""Outputs of frozen encoders: each picture is encoded once and kept (paper §3.2)."""

from pathlib import Path

import torch
from torch import Tensor, nn

from minijanus import checkpoint


class PictureCache:
    """What a pathway's `encode` gave, by the picture's key; `save` puts it on disk."""

    def __init__(self, path: Path, pathway: nn.Module):
        self.path, self.pathway = path, pathway
        self.known: dict[str, Tensor] = {}
        self.saved = 0
        if path.exists():
            tensors, manifest = checkpoint.load(path)
            self.known = dict(zip(manifest["keys"], tensors["encoded"], strict=True))
            self.saved = len(self.known)

    @torch.no_grad()
    def encode(self, keys: list[str], pixels: Tensor) -> Tensor:
        """What the encoder makes of pixels m c h w, on their device.

        Only pictures whose key is unknown, or "" for pictures never kept, are computed.
        """
        new = [
            n
            for n, key in enumerate(keys)
            if not key or (key not in self.known and key not in keys[:n])
        ]
        encoded = self._compute(pixels[new]) if new else []
        computed = dict(zip(new, encoded, strict=True))
        self.known.update({keys[n]: computed[n] for n in new if keys[n]})
        rows = [self.known[key] if key else computed[n] for n, key in enumerate(keys)]
        stacked = torch.stack(rows).to(pixels.device)
        return stacked.float() if stacked.is_floating_point() else stacked

    def _compute(self, pixels: Tensor) -> Tensor:
        encoded = self.pathway.encode(pixels).cpu()
        # Features are kept in half precision: half the disk, an error far below theirs.
        return encoded.half() if encoded.is_floating_point() else encoded

    def save(self) -> None:
        """Write what is known, if there is something new."""
        if len(self.known) > self.saved:
            tensors = {"encoded": torch.stack(list(self.known.values()))}
            checkpoint.save(self.path, tensors, {"keys": list(self.known)})
            self.saved = len(self.known)
