"""Outputs of frozen encoders: each picture is encoded once and kept (paper §3.2)."""

from pathlib import Path

import torch
from torch import Tensor, nn

from minijanus import checkpoint


class PictureCache:
    """What a pathway's `encode` gave, by the picture's key; `save` puts it on disk."""

    def __init__(self, path: Path, pathway: nn.Module, origin: dict[str, str]):
        """`origin` names encoder and data; what another origin left is not read."""
        self.path, self.pathway, self.origin = path, pathway, origin
        self.known: dict[str, Tensor] = {}
        self.saved = 0
        if path.exists():
            tensors, manifest = checkpoint.load(path)
            if manifest["origin"] == origin:
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
        # In full precision, as when drawing and answering, whatever the training step has.
        with torch.autocast(pixels.device.type, enabled=False):
            encoded = self.pathway.encode(pixels).cpu()
        # Differs: cached features have half precision, because it halves their disk.
        return encoded.half() if encoded.is_floating_point() else encoded

    def save(self) -> None:
        """Write what is known, if there is something new."""
        if len(self.known) > self.saved:
            tensors = {"encoded": torch.stack(list(self.known.values()))}
            manifest = {"origin": self.origin, "keys": list(self.known)}
            checkpoint.save(self.path, tensors, manifest)
            self.saved = len(self.known)
