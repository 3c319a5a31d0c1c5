"""The two networks of the VQ tokenizer: pixels to a small map, and back (paper §4.1).

The architecture is LlamaGen's VQ-16, which Janus took over; the config sets its size, and
whether they are local: then no place of a map looks further than convolutions reach.
Legend: b batch, c channels, h w of a picture or feature map.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minijanus.config import Config


class PlaceNorm(nn.LayerNorm):
    """Layer norm of each place of a map on its own."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(rearrange(x, "b c h w -> b h w c"))
        return rearrange(y, "b h w c -> b c h w")


def norm(channels: int, local: bool) -> nn.Module:
    """32 groups as released, fewer where the channels are few; or each place alone."""
    if local:
        return PlaceNorm(channels, eps=1e-6)
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


def conv(c_in: int, c_out: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size of the map."""
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)


class ResBlock(nn.Module):
    """Twice norm, SiLU, convolution, added to the input."""

    def __init__(self, c_in: int, c_out: int, local: bool, kernel: int = 3):
        super().__init__()
        self.norm1 = norm(c_in, local)
        self.conv1 = conv(c_in, c_out, kernel)
        self.norm2 = norm(c_out, local)
        self.conv2 = conv(c_out, c_out, kernel)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return self.nin_shortcut(x) + y


class AttnBlock(nn.Module):
    """Every place of the map looks at every other one, with one head."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels, local=False)
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
    """The blocks at one resolution; attention only at the lowest one, and if not local."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        n_res: int,
        local: bool,
        lowest: bool,
        down: bool = False,
        up: bool = False,
    ):
        super().__init__()
        kernel = 1 if local and lowest else 3
        self.res = nn.ModuleList(
            ResBlock(c_out if i else c_in, c_out, local, kernel) for i in range(n_res)
        )
        attend = lowest and not local
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(n_res if attend else 0))
        self.downsample = Downsample(c_out) if down else nn.Identity()
        self.upsample = Upsample(c_out) if up else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.res):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return self.upsample(self.downsample(x))


def middle(d: int, local: bool) -> nn.Sequential:
    """The blocks between a level and the codes, at the lowest resolution."""
    kernel = 1 if local else 3
    attention = nn.Identity() if local else AttnBlock(d)
    return nn.Sequential(
        ResBlock(d, d, local, kernel), attention, ResBlock(d, d, local, kernel)
    )


class Encoder(nn.Module):
    """Pixels to the map that is quantised, halving the side between levels."""

    def __init__(self, cfg: Config):
        super().__init__()
        widths = [cfg.vq_channels * m for m in (1, *cfg.vq_multipliers)]
        last, n_res, local = len(cfg.vq_multipliers) - 1, cfg.vq_res_blocks, cfg.vq_local
        self.conv_in = conv(3, widths[0], 3)
        self.conv_blocks = nn.ModuleList(
            Level(widths[i], widths[i + 1], n_res, local, i == last, down=i < last)
            for i in range(last + 1)
        )
        self.mid = middle(widths[-1], local)
        self.norm_out = norm(widths[-1], local)
        self.conv_out = conv(widths[-1], cfg.vq_latent, 1 if local else 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in (*self.conv_blocks, self.mid):
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """The way back to pixels; one more block per level than the encoder."""

    def __init__(self, cfg: Config):
        super().__init__()
        widths = [cfg.vq_channels * m for m in reversed(cfg.vq_multipliers)]
        widths = [widths[0], *widths]
        last, n_res, local = (
            len(cfg.vq_multipliers) - 1,
            cfg.vq_res_blocks + 1,
            cfg.vq_local,
        )
        self.conv_in = conv(cfg.vq_latent, widths[0], 1 if local else 3)
        self.mid = middle(widths[0], local)
        self.conv_blocks = nn.ModuleList(
            Level(widths[i], widths[i + 1], n_res, local, i == 0, up=i < last)
            for i in range(last + 1)
        )
        self.norm_out = norm(widths[-1], local)
        self.conv_out = conv(widths[-1], 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in (self.mid, *self.conv_blocks):
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))
