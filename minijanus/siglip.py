"""SigLIP: the understanding encoder, and what trains it (paper §3.1, §4.1, ref. [92]).

Janus keeps only the vision transformer and reads all its tokens. The pooling head, the
text tower and the sigmoid loss serve pre-training alone.
Legend: b batch, n image tokens, t text tokens, d width, c h w picture.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from minijanus.config import Config
from minijanus.layout import Box
from minijanus.vq_network import ResBlock

MAX_TEXT = 64  # text positions, as SigLIP


def linear(d_in: int, d_out: int) -> nn.Linear:
    """A linear layer started as in SigLIP: Xavier weights, biases of zero."""
    layer = nn.Linear(d_in, d_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class SelfAttention(nn.Module):
    """Multi-head attention in both directions, q, k and v from one matrix."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = linear(width, 3 * width)
        self.proj = linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(rearrange(x, "b h n d -> b n (h d)"))


class MLP(nn.Module):
    """Four times as wide inside, exact GELU."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = linear(width, 4 * width)
        self.fc2 = linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each normalised before and added after."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


def position_table(n: int, width: int) -> nn.Parameter:
    """Learned positions 1 n d."""
    return nn.Parameter(torch.randn(1, n, width) * width**-0.5)


class PatchEmbed(nn.Module):
    """Each patch of pixels as one vector: a convolution whose stride is its size."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.proj = nn.Conv2d(3, cfg.und_width, cfg.und_patch, stride=cfg.und_patch)

    def forward(self, pixels: Tensor) -> Tensor:
        return rearrange(self.proj(pixels), "b d h w -> b (h w) d")


class ConvEmbed(nn.Module):
    """Convolutions that halve the side until a patch is one place; neighbours count too."""

    def __init__(self, cfg: Config):
        super().__init__()
        halvings = cfg.und_patch.bit_length() - 1
        assert cfg.und_patch == 2**halvings, "und_patch must be a power of two"
        assert cfg.und_width % (2 * cfg.und_patch) == 0, "und_width: too few channels"
        channels = [cfg.und_width >> i for i in reversed(range(halvings))]
        self.layers = nn.Sequential()
        for c_in, c_out in zip([3, *channels], channels, strict=False):
            self.layers.append(nn.Conv2d(c_in, c_out, 3, stride=2, padding=1))
            self.layers.append(ResBlock(c_out, c_out, local=False))

    def forward(self, pixels: Tensor) -> Tensor:
        return rearrange(self.layers(pixels), "b d h w -> b (h w) d")


class VisionTransformer(nn.Module):
    """The understanding encoder: a picture as a row of features (paper §3.1)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.image_size = cfg.image_size
        self.n_tokens = (cfg.image_size // cfg.und_patch) ** 2
        self.patch_embed = (ConvEmbed if cfg.und_convolutions else PatchEmbed)(cfg)
        self.pos_embed = position_table(self.n_tokens, cfg.und_width)
        self.blocks = nn.ModuleList(
            Block(cfg.und_width, cfg.und_heads) for _ in range(cfg.und_depth)
        )
        self.norm = nn.LayerNorm(cfg.und_width, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features b n d, row by row, of pixels b c h w in [-1, 1]."""
        side = self.image_size
        if pixels.shape[-2:] != (side, side):
            raise ValueError(f"The understanding encoder reads {side} x {side} px only.")
        x = self.patch_embed(pixels) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class MapPooling(nn.Module):
    """One vector for a picture: a learned query looks at all tokens, then an MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.latent = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.q = linear(width, width)
        self.kv = linear(width, 2 * width)
        self.proj = linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """b n d -> b d; looks only where inside b n is True, by default everywhere."""
        query = repeat(self.q(self.latent), "1 1 (h d) -> b h 1 d", b=len(x), h=self.heads)
        k, v = rearrange(self.kv(x), "b n (s h d) -> s b h n d", s=2, h=self.heads)
        mask = None if inside is None else rearrange(inside, "b n -> b 1 1 n")
        x = F.scaled_dot_product_attention(query, k, v, attn_mask=mask)
        x = self.proj(rearrange(x, "b h 1 d -> b (h d)"))
        return x + self.mlp(self.norm(x))


class TextTower(nn.Module):
    """A transformer that reads a caption in both directions."""

    def __init__(self, cfg: Config, vocabulary: int):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, cfg.und_width)
        nn.init.normal_(self.token_embedding.weight, std=cfg.und_width**-0.5)
        self.pos_embed = position_table(MAX_TEXT, cfg.und_width)
        self.blocks = nn.ModuleList(
            Block(cfg.und_width, cfg.und_heads) for _ in range(cfg.und_text_depth)
        )
        self.norm = nn.LayerNorm(cfg.und_width, eps=1e-6)
        self.head = linear(cfg.und_width, cfg.und_width)

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States of all tokens, ids b t and mask b t (True = a token) -> b t d."""
        x = self.token_embedding(ids) + self.pos_embed[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask[:, None, None, :])
        return self.norm(x)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """One vector per caption, b t -> b d; what is beyond 64 tokens is cut off."""
        ids, mask = ids[:, :MAX_TEXT], mask[:, :MAX_TEXT].bool()
        x = self.hidden(ids, mask)
        # Differs: SigLIP reads its last position, always the 64th, where it padded to; the
        # mean of the real tokens needs no padding to 64 and ignores how much there is.
        weight = mask[:, :, None].to(x.dtype)
        return self.head((x * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))


class SigLIP(nn.Module):
    """Pictures and captions in one space, where those that belong together are close."""

    def __init__(self, cfg: Config, vocabulary: int):
        super().__init__()
        self.cfg = cfg
        self.vision = VisionTransformer(cfg)
        self.pool = MapPooling(cfg.und_width, cfg.und_heads)
        self.text = TextTower(cfg, vocabulary)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        # As nearly all pairs do not match, the bias makes "no" the default.
        # Differs: it begins at the odds of one right pair in a batch of whole pictures;
        # SigLIP's -10 suits batches of 32 thousand, and a short run could not move it.
        self.bias = nn.Parameter(torch.tensor(-math.log(max(1, cfg.siglip.batch - 1))))

    def image_embedding(self, pixels: Tensor) -> Tensor:
        """Unit vectors b d of pixels b c h w."""
        return F.normalize(self.pool(self.vision(pixels)).float(), dim=-1)

    def parts_embedding(self, pixels: Tensor, picture: Tensor, inside: Tensor) -> Tensor:
        """Unit vectors of the pictures b c h w, then of r parts of them, (b + r) d.

        Part r lies in the picture with this number, on its tokens where inside r n is True.
        """
        features = self.vision(pixels)
        parts = self.pool(features[picture], inside)
        return F.normalize(torch.cat([self.pool(features), parts]).float(), dim=-1)

    def text_embedding(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors b d of captions, ids b t and mask b t (True = a token)."""
        return F.normalize(self.text(ids, mask).float(), dim=-1)


def tokens_inside(boxes: Sequence[Box], side: int) -> Tensor:
    """Which of side x side tokens have their middle in each box, bool r n; never none."""
    x, y, w, h = torch.tensor(boxes).reshape(-1, 4, 1).unbind(dim=1)  # each r 1
    middles = (torch.arange(side) + 0.5) / side

    def within(start: Tensor, length: Tensor) -> Tensor:
        inside = (start <= middles) & (middles <= start + length)
        far = (middles - (start + length / 2)).abs()
        return inside | (far == far.amin(dim=1, keepdim=True))

    return rearrange(within(y, h)[:, :, None] & within(x, w)[:, None], "r y x -> r (y x)")


def sigmoid_loss(
    image_emb: Tensor, text_emb: Tensor, log_scale: Tensor, bias: Tensor, match: Tensor
) -> Tensor:
    """A yes-or-no question for every picture with every caption; summed, divided by b.

    match b b says which belong together.
    """
    # In full precision, whatever the training step has: nearly equal vectors decide.
    with torch.autocast(image_emb.device.type, enabled=False):
        logits = image_emb.float() @ text_emb.float().T * log_scale.exp() + bias  # b b
        return -F.logsigmoid(torch.where(match, logits, -logits)).sum() / len(logits)


def same_caption(ids: Tensor) -> Tensor:
    """Which of the captions ids b t are equal, b b; on the diagonal all are."""
    # Differs: SigLIP calls every pair off the diagonal wrong; here two pictures of a batch
    # often have the same caption, "a dog", and it is right for both.
    return (ids[:, None] == ids[None]).all(dim=-1)
