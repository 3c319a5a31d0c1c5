"""The image head: from a hidden state to the next code of a picture (paper §3.1, §3.4).

Legend: b batch, m scored positions, d width, k codes of the codebook. Nobody outside this
file sees logits: training asks for `loss`, drawing asks for `sample`.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from minijanus.config import Config
from minijanus.sampling import choose


def guide(l_c: Tensor, l_u: Tensor, s: float) -> Tensor:
    """Classifier-free guidance, l_g = l_u + s (l_c - l_u)  (paper §3.4)."""
    return l_u + s * (l_c - l_u)


class ImageHead(nn.Module):
    """The randomly initialised prediction head for pictures (paper §3.1).

    The paper gives no shape; Linear, GELU, Linear is the released one.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        self.output_mlp_projector = nn.Linear(cfg.llm_width, cfg.llm_width)
        self.vision_head = nn.Linear(cfg.llm_width, cfg.n_codes)
        for linear in (self.output_mlp_projector, self.vision_head):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits over the codebook, ... d -> ... k."""
        return self.vision_head(F.gelu(self.output_mlp_projector(hidden)))

    def loss(self, hidden: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of each position, m d and m -> m, not reduced (paper Eq. 1)."""
        return F.cross_entropy(self(hidden).float(), target, reduction="none")

    @torch.no_grad()
    def sample(
        self,
        hidden_cond: Tensor,
        hidden_uncond: Tensor | None,
        guidance: float,
        generators: list[Generator],
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        """Draw one code for each picture, b d (and b d without the prompt) -> ids b.

        One generator per picture, on the hidden states' device, so that a picture does
        not depend on the others in its batch. Without hidden_uncond there is no guidance;
        temperature, top_k and top_p are those of `choose`.
        """
        if len(generators) != len(hidden_cond):
            raise ValueError(
                f"Give one generator for each of the {len(hidden_cond)} pictures, "
                f"not {len(generators)}."
            )
        logits = self(hidden_cond).float()  # b k
        if hidden_uncond is not None:
            logits = guide(logits, self(hidden_uncond).float(), guidance)
        return choose(logits, generators, temperature, top_k, top_p)
