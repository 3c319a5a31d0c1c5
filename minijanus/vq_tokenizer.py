"""The VQ tokenizer: a picture as codes of a codebook, 16x down (paper §3.1, §4.1).

Its encoder and decoder are in vq_network.py, its losses in vq_losses.py. If the config says
local, the encoder sees each code's square of pixels alone, the decoder also its neighbours.
Outside this file it is `encode`, `decode`, `codebook`.
Legend: b batch, c h w picture or feature map, n = h w codes, k codes, d width of a code.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor, nn

from minijanus.config import Config
from minijanus.vq_network import Decoder, Encoder


class Quantizer(nn.Module):
    """The codebook; its rows and the vectors compared with them are normalised at use."""

    def __init__(self, cfg: Config):
        super().__init__()
        rows = (2 * torch.rand(cfg.n_codes, cfg.d_code) - 1) / cfg.n_codes
        self.embedding = nn.Embedding.from_pretrained(F.normalize(rows), freeze=False)

    @property
    def codebook(self) -> Tensor:
        """The codes on the unit sphere, k d."""
        return F.normalize(self.embedding.weight, dim=-1)

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """Id of the code closest to each unit vector, ... d -> ... (largest cosine)."""
        # Half precision cannot tell thousands of codes apart, whether it is autocast or the
        # model's own, so both sides become float32 here.
        table = self.embedding.weight
        dtype = torch.promote_types(table.dtype, torch.float32)
        with torch.autocast(z.device.type, enabled=False):
            codebook = F.normalize(table.to(dtype), dim=-1)
            return (z.to(dtype) @ codebook.T).argmax(dim=-1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Straight-through codes b h w d, ids b h w, the two losses of unit vectors z."""
        ids = self.nearest(z)
        codes = F.embedding(ids, self.codebook)
        losses = {
            "codebook": F.mse_loss(codes, z.detach()),
            "commitment": F.mse_loss(z, codes.detach()),
        }
        return z + (codes - z).detach(), ids, losses


class VQTokenizer(nn.Module):
    """A picture to ids and back (paper §3.1)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.downsample, self.local = cfg.vq_downsample, cfg.vq_local
        self.n_tokens = (cfg.image_size // cfg.vq_downsample) ** 2
        self.encoder = Encoder(cfg)
        self.decoder = Decoder(cfg)
        self.quantize = Quantizer(cfg)
        self.quant_conv = nn.Conv2d(cfg.vq_latent, cfg.d_code, 1)
        self.post_quant_conv = nn.Conv2d(cfg.d_code, cfg.vq_latent, 1)

    @property
    def codebook(self) -> Tensor:
        """The codes as the decoder sees them, k d, of length 1."""
        return self.quantize.codebook

    def check_ids(self, ids: Tensor) -> None:
        """Raise ValueError if an id is outside the codebook."""
        k = len(self.quantize.embedding.weight)
        if bool(((ids < 0) | (ids >= k)).any()):
            raise ValueError(f"Image ids must be codes of the codebook, 0 to {k - 1}.")

    def latents(self, pixels: Tensor) -> Tensor:
        """What is compared with the codebook, pixels b c h w -> b h w d, of length 1."""
        batch, _, height, width = pixels.shape
        if height % self.downsample or width % self.downsample:
            raise ValueError(f"Picture sides must be multiples of {self.downsample} px.")
        p, h = self.downsample, height // self.downsample
        if self.local:  # each square as a picture of its own, whose map is one place
            pixels = rearrange(pixels, "b c (h p) (w q) -> (b h w) c p q", p=p, q=p)
        z = self.quant_conv(self.encoder(pixels))
        if self.local:
            z = rearrange(z, "(b h w) d 1 1 -> b d h w", b=batch, h=h)
        return F.normalize(rearrange(z, "b d h w -> b h w d"), dim=-1)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Ids b n, row by row, of pixels b c h w in [-1, 1]; any size in whole codes."""
        return rearrange(self.quantize.nearest(self.latents(pixels)), "b h w -> b (h w)")

    def decode(self, ids: Tensor) -> Tensor:
        """Pixels b c h w, about [-1, 1], of ids b n (a square) or b h w."""
        self.check_ids(ids)
        if ids.ndim == 2:
            side = isqrt(ids.shape[1])
            if side * side != ids.shape[1]:
                raise ValueError("These ids are no square picture: give them as b h w.")
            ids = rearrange(ids, "b (h w) -> b h w", h=side)
        return self.pixels(F.embedding(ids, self.codebook))

    def pixels(self, codes: Tensor) -> Tensor:
        """Pixels b c h w of codes b h w d; the decoder alone."""
        # Contiguous, because group norm rounds less well with the channels last.
        codes = rearrange(codes, "b h w d -> b d h w").contiguous()
        return self.decoder(self.post_quant_conv(codes))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """For training: reconstruction b c h w, ids b n, losses codebook and commitment."""
        codes, ids, losses = self.quantize(self.latents(pixels))
        return self.pixels(codes), rearrange(ids, "b h w -> b (h w)"), losses

    @torch.no_grad()
    def restart_dead_codes(self, used: Tensor, pixels: Tensor, generator: Generator) -> int:
        """Give codes with used k = 0 the latents of badly drawn places of pixels b c h w.

        A place is taken in proportion to its squared error: evenly, half of the codes would
        come back as copies of one for plain background. Returns how many codes started
        anew; the generator is one of the CPU.
        """
        z = self.latents(pixels)
        codes, _, _ = self.quantize(z)
        error = (self.pixels(codes) - pixels).square().mean(dim=1, keepdim=True)
        weights = F.avg_pool2d(error, self.downsample).flatten()
        dead = (used == 0).nonzero()[:, 0]
        if not len(dead):
            return 0
        rows = torch.multinomial(
            weights.float().cpu(), len(dead), True, generator=generator
        )
        codebook = self.quantize.embedding.weight
        codebook[dead] = z.flatten(0, -2)[rows.to(z.device)].to(codebook.dtype)
        return len(dead)
