"""Outputs of frozen encoders: each picture is encoded once and kept (paper §3.2)."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from minijanus import checkpoint
from minijanus.images import generation_pixels, understanding_pixels

TO_PIXELS = {"und": understanding_pixels, "gen": generation_pixels}


class PictureCache:
    """What a pathway's `encode` gave, by the picture's key; `save` puts it on disk."""

    def __init__(self, path: Path, pathway, name: str, size: int):
        self.path, self.pathway, self.name, self.size = path, pathway, name, size
        self.known: dict[str, Tensor] = {}
        self.saved = 0
        if path.exists():
            tensors, manifest = checkpoint.load(path)
            self.known = dict(zip(manifest["keys"], tensors["encoded"], strict=True))
            self.saved = len(self.known)

    def pixels(self, images: list[Image.Image]) -> Tensor:
        """Pictures as this pathway reads them, m c h w."""
        return torch.stack([TO_PIXELS[self.name](image, self.size) for image in images])

    @torch.no_grad()
    def encode(self, keys: list[str], images: list[Image.Image], device) -> Tensor:
        """What the encoder makes of pictures; only unknown or unnamed ones are computed."""
        new = {}
        for number, key in enumerate(keys):
            if key not in self.known:
                new.setdefault(key or f"#{number}", images[number])
        if new:
            encoded = self.pathway.encode(self.pixels(list(new.values())).to(device)).cpu()
            if encoded.is_floating_point():
                encoded = encoded.half()  # features; half the disk, far below their noise
            new = dict(zip(new, encoded, strict=True))
            self.known.update({k: v for k, v in new.items() if not k.startswith("#")})
        chosen = [
            self.known[k] if k in self.known else new[k or f"#{i}"]
            for i, k in enumerate(keys)
        ]
        stacked = torch.stack(chosen).to(device)
        return stacked.float() if stacked.is_floating_point() else stacked

    def save(self) -> None:
        """Write what is known, if there is something new."""
        if len(self.known) > self.saved:
            tensors = {"encoded": torch.stack(list(self.known.values()))}
            checkpoint.save(self.path, tensors, {"keys": list(self.known)})
            self.saved = len(self.known)
