"""The language model: a Llama decoder, as DeepSeek-LLM 1.3B is one (paper §3.1, §4.1).

It reads embeddings, not ids: words, picture features and codes all arrive as vectors.
Legend: b batch, t new positions, T cached + new positions, h heads, d width.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minijanus.config import Config


def attention_mask(
    documents: Tensor,
    spans: Tensor | None = None,
    new: int | None = None,
    see_whole_spans: bool = False,
) -> Tensor:
    """Who may look at whom: one's own document, nothing later (paper §3.1, §4.1).

    documents b T: a number per document, -1 for filler, which sees itself and is seen by
    nobody else. spans b T: a number per picture span, -1 outside; with see_whole_spans the
    positions of one span see each other both ways. new: only the last `new` query rows.
    Returns bool b 1 t T, True = may look.
    """
    length = documents.shape[1]
    first = 0 if new is None else length - new
    order = torch.arange(length, device=documents.device)
    not_later = order[first:, None] >= order[None, :]  # t T
    if see_whole_spans and spans is not None:
        same_span = spans[:, first:, None] == spans[:, None, :]  # b t T
        not_later = not_later | (same_span & (spans >= 0)[:, None, :])
    same_document = documents[:, first:, None] == documents[:, None, :]
    may_look = same_document & (documents >= 0)[:, None, :] & not_later
    # A row without a single True would make the softmax 0 / 0 and spread NaN.
    itself = order[first:, None] == order[None, :]
    return (may_look | itself)[:, None]


def rope_tables(
    positions: Tensor, d_head: int, theta: float, scaling: tuple[float, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's rotation, b 1 t (d_head / 2), in float32."""
    # Not a buffer: computed where the positions are, it also survives the meta device.
    exponents = torch.arange(0, d_head, 2, device=positions.device).float() / d_head
    angles = positions[:, None, :, None].float() * slowed(theta**-exponents, scaling)
    return angles.cos(), angles.sin()


def slowed(speeds: Tensor, scaling: tuple[float, ...]) -> Tensor:
    """Rotations per position, in radians, of a Llama whose context was made longer.

    scaling: () changes nothing; (factor,) makes all slower by it; Llama 3's (factor, low,
    high, context) only those that turn less often than `high` times in the first context,
    fully below `low` times.
    """
    if not scaling:
        return speeds
    factor, *band = scaling
    if not band:
        return speeds / factor
    low, high, context = band
    turns = context * speeds / (2 * torch.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return speeds * (kept + (1 - kept) / factor)


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of b h t d, first half paired with second half (as Hugging Face)."""
    cos, sin = rope
    first, second = x.float().chunk(2, dim=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return torch.cat(turned, dim=-1).to(x.dtype)


class KVCache:
    """Keys and values of all positions so far, so that each is computed only once."""

    def __init__(
        self,
        cfg: Config,
        batch: int,
        length: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        if length > cfg.max_positions:
            raise ValueError(
                f"{length} positions do not fit into the context of {cfg.max_positions}: "
                "shorten the prompt or the answer."
            )
        d_head = cfg.llm_width // cfg.llm_heads
        shape = (cfg.llm_depth, batch, cfg.llm_heads, length, d_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.filled = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store b h t d of one layer behind what is there; return all of it, b h T d."""
        end = self.filled + keys.shape[2]
        if end > self.keys.shape[3]:
            raise ValueError(
                f"The cache holds {self.keys.shape[3]} positions and {end} were asked for: "
                "make it longer."
            )
        self.keys[layer, :, :, self.filled : end] = keys
        self.values[layer, :, :, self.filled : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class RMSNorm(nn.Module):
    """Scale to root mean square 1, in float32 whatever the input."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return (wide * scale).to(x.dtype) * self.weight


class Attention(nn.Module):
    """Multi-head attention with rotary positions and, if given, a cache."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.heads = cfg.llm_heads
        self.q_proj = nn.Linear(cfg.llm_width, cfg.llm_width, bias=False)
        self.k_proj = nn.Linear(cfg.llm_width, cfg.llm_width, bias=False)
        self.v_proj = nn.Linear(cfg.llm_width, cfg.llm_width, bias=False)
        self.o_proj = nn.Linear(cfg.llm_width, cfg.llm_width, bias=False)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        projected = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (rearrange(p, "b t (h d) -> b h t d", h=self.heads) for p in projected)
        q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            k, v = cache.extend(layer, k, v)  # b h T d
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(rearrange(x, "b h t d -> b t (h d)"))


class SwiGLU(nn.Module):
    """The feed-forward part: down(silu(gate) * up)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.gate_proj = nn.Linear(cfg.llm_width, cfg.llm_ff, bias=False)
        self.up_proj = nn.Linear(cfg.llm_width, cfg.llm_ff, bias=False)
        self.down_proj = nn.Linear(cfg.llm_ff, cfg.llm_width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer: attention, then feed-forward; normed before, added after."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.input_layernorm = RMSNorm(cfg.llm_width, cfg.norm_eps)
        self.self_attn = Attention(cfg)
        self.post_attention_layernorm = RMSNorm(cfg.llm_width, cfg.norm_eps)
        self.mlp = SwiGLU(cfg)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rope, mask, cache, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Embeddings in, hidden states out; the two heads live in their own files."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.d_head = cfg.llm_width // cfg.llm_heads
        self.rope_theta, self.rope_scaling = cfg.rope_theta, cfg.rope_scaling
        self.embed_tokens = nn.Embedding(cfg.vocabulary, cfg.llm_width)
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.llm_depth))
        self.norm = RMSNorm(cfg.llm_width, cfg.norm_eps)
        # The usual 0.02 is the width^-0.5 of a model 2,048 wide. In a much narrower one it
        # leaves attention flat for long, and no head learns to find a word again.
        nn.init.normal_(self.embed_tokens.weight, std=1.0)  # what the layers add is near 1
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states b t d of any number of new positions, after the final norm.

        positions b t restart with each document; mask b 1 t T as attention_mask makes it,
        None = plain causal; a cache is extended by these t positions.
        """
        new = embeddings.shape[1]
        cached = 0 if cache is None else cache.filled
        if mask is None:
            everything = embeddings.new_ones((new, cached + new), dtype=torch.bool)
            mask = everything.tril(cached)
        rope = rope_tables(positions, self.d_head, self.rope_theta, self.rope_scaling)
        x = embeddings
        for i, layer in enumerate(self.layers):
            x = layer(x, rope, mask, cache, i)
        if cache is not None:
            cache.filled += new
        return self.norm(x)
