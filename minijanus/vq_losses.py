"""What trains the VQ tokenizer: pixels, features, a discriminator, codes (paper §4.1).

The paper takes LlamaGen's tokenizer ready-made; these are the losses of its recipe.
Legend: b batch, c h w picture, h w also patches, n image tokens, d width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from minijanus.config import Config
from minijanus.siglip import VisionTransformer

# LlamaGen's weights, without its further 0.5 on the discriminator: Adam ignores scale.
WEIGHTS = {
    "reconstruction": 1.0,
    "perceptual": 1.0,
    "adversarial": 0.5,
    "codebook": 1.0,
    "commitment": 0.25,
    "discriminator": 1.0,
}


class PatchDiscriminator(nn.Module):
    """PatchGAN: one logit per overlapping patch, above 0 where it looks like a real one.

    With three layers a patch is 70 x 70 px. It stays in train mode: BatchNorm then takes
    the statistics of the batch at hand; its running averages, though kept, are never read.
    """

    def __init__(self, width: int = 64, layers: int = 3):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            blocks += [
                nn.LeakyReLU(0.2),
                # BatchNorm takes a bias away again, so the convolution has none.
                nn.Conv2d(widths[i - 1], widths[i], 4, stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[i]),
            ]
        blocks += [nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 1, 4, padding=1)]
        self.layers = nn.Sequential(*blocks)
        for block in blocks:
            if isinstance(block, nn.Conv2d):
                nn.init.normal_(block.weight, 0.0, 0.02)
            elif isinstance(block, nn.BatchNorm2d):
                nn.init.normal_(block.weight, 1.0, 0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits b 1 h w of the patches of pixels b c h w in [-1, 1]."""
        # float32 under autocast too: the hinge is a mean over thousands of patches.
        return self.layers(pixels).float()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """How far real patches are from above 1 and drawn ones from below -1, halved."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """What the tokenizer lowers so that its patches are taken for real ones."""
    return -fake_logits.mean()


class Perceptual(nn.Module):
    """How different two pictures look to a trained vision tower, which this freezes.

    As LPIPS does, it compares unit feature vectors after every block, place by place.
    """

    # Differs: the run's own SigLIP tower plays the role of LPIPS (VGG-16, learned channel
    # weights), because no package holds those weights and nothing here needs the network.
    def __init__(self, vision: VisionTransformer):
        super().__init__()
        self.vision = vision.requires_grad_(False).eval()

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Unit vectors b n d after every block, of pixels b c h w in [-1, 1]."""
        x, features = self.vision.patch_embed(pixels) + self.vision.pos_embed, []
        for block in self.vision.blocks:
            x = block(x)
            features.append(F.normalize(x.float(), dim=-1))
        return features

    def forward(self, pixels: Tensor, others: Tensor) -> Tensor:
        """Squared distance of two batches b c h w, the mean of pictures, places, blocks."""
        pairs = zip(self.features(pixels), self.features(others), strict=True)
        distances = [(a - b).square().sum(dim=-1).mean() for a, b in pairs]
        return torch.stack(distances).mean()


def adversarial_losses(
    reconstruction: Tensor, pixels: Tensor, discriminator: PatchDiscriminator
) -> dict[str, Tensor]:
    """The tokenizer's and the discriminator's loss, apart enough for one backward pass.

    "adversarial" reaches the reconstruction only, "discriminator" the discriminator only.
    """
    # The tokenizer plays against a copy held still: else it would make its judge milder.
    still = {name: p.detach() for name, p in discriminator.named_parameters()}
    judged = functional_call(discriminator, still, (reconstruction,))
    # Real and drawn pictures pass separately: each kind has its own batch statistics.
    real, fake = discriminator(pixels), discriminator(reconstruction.detach())
    return {
        "adversarial": hinge_generator_loss(judged),
        "discriminator": hinge_discriminator_loss(real, fake),
    }


def check_parts(
    cfg: Config, perceptual: Perceptual | None, discriminator: PatchDiscriminator | None
) -> None:
    """Raise ValueError if a part that the config asks for is missing, or the reverse."""
    if (perceptual is not None) != cfg.vq_perceptual:
        raise ValueError("Give vq_loss a Perceptual if, and only if, cfg.vq_perceptual.")
    if (discriminator is not None) != (cfg.vq_adversarial_from is not None):
        raise ValueError(
            "Give vq_loss a PatchDiscriminator if, and only if, the config names the step "
            "from which it plays (vq_adversarial_from)."
        )


def vq_loss(
    output: tuple[Tensor, Tensor, dict[str, Tensor]],
    pixels: Tensor,
    step: int,
    cfg: Config,
    perceptual: Perceptual | None = None,
    discriminator: PatchDiscriminator | None = None,
) -> dict[str, Tensor]:
    """The weighted "loss" and each of its terms, of VQTokenizer.forward's output.

    The same names at every step: before cfg.vq_adversarial_from the two losses of the
    discriminator are constant zeros, so it gets no gradient at all. Raises ValueError if
    perceptual or discriminator is there but not in the config, or the reverse.
    """
    check_parts(cfg, perceptual, discriminator)
    reconstruction, _, losses = output
    terms = {"reconstruction": F.mse_loss(reconstruction, pixels), **losses}
    if perceptual is not None:
        terms["perceptual"] = perceptual(reconstruction, pixels)
    if discriminator is not None and step >= cfg.vq_adversarial_from:
        terms.update(adversarial_losses(reconstruction, pixels, discriminator))
    elif discriminator is not None:
        zero = pixels.new_zeros(())
        terms.update(adversarial=zero, discriminator=zero)
    total = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    return {"loss": total, **terms}
