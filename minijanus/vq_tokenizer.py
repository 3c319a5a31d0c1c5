"""The VQ tokenizer: a picture as codes of a codebook, 16x down (paper §3.1, §4.1).

The architecture is LlamaGen's VQ-16, which Janus took over; the config sets its size.
Outside this file it is `encode`, `decode`, `codebook`; its losses are in vq_losses.py.
Legend: b batch, c h w picture or feature map, n = h w codes, k codes, d width of a code.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor, nn

from minijanus.config import Config


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups as released, fewer where the channels are few."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class ResBlock(nn.Module):
    """Twice norm, SiLU, 3 x 3 convolution, added to the input."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm1 = group_norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = group_norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return self.nin_shortcut(x) + y


class AttnBlock(nn.Module):
    """Every place of the map looks at every other one, with one head."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        maps = (self.q(y), self.k(y), self.v(y))
        q, k, v = (rearrange(m, "b c h w -> b 1 (h w) c") for m in maps)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(y, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Half the side; the zeros go right and below only, as released."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the side: nearest neighbour, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks at one resolution; attention only at the lowest one."""

    def __init__(
        self, c_in: int, c_out: int, n_res: int, attend: bool, down: bool, up: bool
    ):
        super().__init__()
        widths = [c_in] + [c_out] * n_res
        self.res = nn.ModuleList(map(ResBlock, widths[:-1], widths[1:]))
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(n_res if attend else 0))
        self.downsample = Downsample(c_out) if down else nn.Identity()
        self.upsample = Upsample(c_out) if up else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.res):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return self.upsample(self.downsample(x))


class Encoder(nn.Module):
    """Pixels to the map that is quantised, halving the side between levels."""

    def __init__(self, cfg: Config):
        super().__init__()
        widths = [cfg.vq_channels * m for m in (1, *cfg.vq_multipliers)]
        last, n_res = len(cfg.vq_multipliers) - 1, cfg.vq_res_blocks
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.conv_blocks = nn.ModuleList(
            Level(widths[i], widths[i + 1], n_res, i == last, down=i < last, up=False)
            for i in range(last + 1)
        )
        d = widths[-1]
        self.mid = nn.ModuleList([ResBlock(d, d), AttnBlock(d), ResBlock(d, d)])
        self.norm_out = group_norm(d)
        self.conv_out = nn.Conv2d(d, cfg.vq_latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in (*self.conv_blocks, *self.mid):
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """The way back to pixels; one more block per level than the encoder."""

    def __init__(self, cfg: Config):
        super().__init__()
        widths = [cfg.vq_channels * m for m in reversed(cfg.vq_multipliers)]
        widths = [widths[0], *widths]
        last, n_res = len(cfg.vq_multipliers) - 1, cfg.vq_res_blocks + 1
        d = widths[0]
        self.conv_in = nn.Conv2d(cfg.vq_latent, d, 3, padding=1)
        self.mid = nn.ModuleList([ResBlock(d, d), AttnBlock(d), ResBlock(d, d)])
        self.conv_blocks = nn.ModuleList(
            Level(widths[i], widths[i + 1], n_res, i == 0, down=False, up=i < last)
            for i in range(last + 1)
        )
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in (*self.mid, *self.conv_blocks):
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


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
        # Half precision cannot tell thousands of codes apart, so no autocast here.
        with torch.autocast(z.device.type, enabled=False):
            codebook = self.codebook
            return (z.to(codebook.dtype) @ codebook.T).argmax(dim=-1)

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
        self.downsample = cfg.vq_downsample
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
        if any(side % self.downsample for side in pixels.shape[-2:]):
            raise ValueError(f"Picture sides must be multiples of {self.downsample} px.")
        z = self.quant_conv(self.encoder(pixels))
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
        return self.decoder(self.post_quant_conv(rearrange(codes, "b h w d -> b d h w")))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """For training: reconstruction b c h w, ids b n, losses codebook and commitment."""
        codes, ids, losses = self.quantize(self.latents(pixels))
        return self.pixels(codes), rearrange(ids, "b h w -> b (h w)"), losses

    @torch.no_grad()
    def restart_dead_codes(self, used: Tensor, z: Tensor, generator: Generator) -> int:
        """Give codes with used k = 0 a random row of z N d; return how many there were.

        The generator is one of the CPU.
        """
        dead = (used == 0).nonzero()[:, 0]
        rows = torch.randint(len(z), dead.shape, generator=generator)
        self.quantize.embedding.weight[dead] = F.normalize(z[rows.to(z.device)], dim=-1)
        return len(dead)
