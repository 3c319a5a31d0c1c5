"""The two ways a picture enters the language model (paper §3.1, Fig. 2).

A pathway is encode(pixels) -> what may be cached, and embed(cached) -> b n d. The
understanding pathway caches features, the generation pathway caches code ids.
Legend: b batch, n image tokens, d width of the language model, k codes, c h w picture.
"""

import math

import torch
from einops import repeat
from torch import Tensor, nn

from minijanus.config import Config
from minijanus.siglip import VisionTransformer
from minijanus.vq_tokenizer import VQTokenizer

GELU_POWER = 0.425  # mean square of GELU(x) where x is normal


class Adaptor(nn.Module):
    """A two-layer MLP into the input space of the language model (paper §4.1)."""

    def __init__(self, d_in: int, d_model: int, size: float = 1.0):
        """`size` is the root mean square of inputs; that of outputs begins near 1."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(d_in, d_model), nn.GELU(), nn.Linear(d_model, d_model)
        )
        nn.init.normal_(self.layers[0].weight, std=d_in**-0.5 / size)
        nn.init.normal_(self.layers[2].weight, std=(GELU_POWER * d_model) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """... d_in -> ... d_model."""
        return self.layers(x)


def place_waves(side: int, width: int) -> Tensor:
    """Where each of side x side tokens stands, as sines and cosines, (h w) d.

    A quarter of the width each for sine and cosine of row and column, at rates from one
    radian a token to half a turn in `side` tokens; each token's root mean square is 1.
    """
    rates = torch.linspace(0, math.log(math.pi / side), width // 4).exp()
    angles = torch.arange(side)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1) * 2**0.5
    rows = repeat(waves, "h d -> (h w) d", w=side)
    return torch.cat([rows, repeat(waves, "w d -> (h w) d", h=side)], dim=1)


class UnderstandingPathway(nn.Module):
    """Picture -> SigLIP features -> understanding adaptor (paper §3.1)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.encoder = VisionTransformer(cfg)
        self.adaptor = Adaptor(cfg.und_width, cfg.llm_width)
        side = cfg.image_size // cfg.und_patch
        places = place_waves(side, cfg.llm_width) if cfg.und_places else None
        self.register_buffer("places", places, persistent=False)

    @property
    def n_tokens(self) -> int:
        """How many positions one picture takes."""
        return self.encoder.n_tokens

    def encode(self, pixels: Tensor) -> Tensor:
        """Features b n d_und of pixels b c h w; gradients flow (stage III needs them)."""
        return self.encoder(pixels)

    def embed(self, features: Tensor) -> Tensor:
        """What the language model reads, b n d_und -> b n d."""
        vectors = self.adaptor(features)
        if self.places is None:
            return vectors
        # Differs: each vector is also told its place, as loud as it is itself. SigLIP tells
        # it faintly, and what is faint a short run hardly comes to read.
        size = vectors.square().mean(dim=-1, keepdim=True).sqrt()
        return vectors + size * self.places


class GenerationPathway(nn.Module):
    """Picture -> code ids -> code embeddings -> generation adaptor (paper §3.1)."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.encoder = VQTokenizer(cfg)
        # Differs: the paper maps "the codebook embeddings"; as in the released code they
        # are a table of their own. Ours starts as the codebook; how theirs did is unknown.
        self.embedding = nn.Embedding(cfg.n_codes, cfg.d_code)
        self.adaptor = Adaptor(cfg.d_code, cfg.llm_width, cfg.d_code**-0.5)

    @property
    def n_tokens(self) -> int:
        """How many positions one picture takes."""
        return self.encoder.n_tokens

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Code ids b n of pixels b c h w."""
        return self.encoder.encode(pixels)

    def embed(self, ids: Tensor) -> Tensor:
        """What the language model reads, ids b n -> b n d; ValueError for a strange id."""
        self.encoder.check_ids(ids)
        return self.adaptor(self.embedding(ids))

    def first_state(self) -> None:
        """The state before the first code; a table needs none."""
        return None

    def feedback(self, ids: Tensor, state: None) -> tuple[Tensor, None]:
        """The next input b 1 d for the codes just drawn, ids b, and the state after it."""
        # Drawn ids are always codes; checking them would halt the GPU at each token.
        return self.adaptor(self.embedding(ids))[:, None], state

    @torch.no_grad()
    def start_from_codebook(self) -> None:
        """Copy the tokenizer's normalised codebook into the embedding table."""
        self.embedding.weight.copy_(self.encoder.codebook)
