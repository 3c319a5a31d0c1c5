"""The losses of the VQ tokenizer: hand cases, and who learns from which term."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minijanus.config import TINY
from minijanus.siglip import VisionTransformer
from minijanus.vq_losses import (
    PatchDiscriminator,
    Perceptual,
    hinge_discriminator_loss,
    hinge_generator_loss,
    vq_loss,
)
from minijanus.vq_tokenizer import VQTokenizer

START = 7
ALL = replace(TINY, vq_perceptual=True, vq_adversarial_from=START)
NONE = replace(TINY, vq_perceptual=False, vq_adversarial_from=None)
NAMES = {"loss", "reconstruction", "codebook", "commitment"}

PIXELS = torch.tensor([[1.0, 1.0], [-0.5, -1.0]])
DRAWN = torch.tensor([[0.0, 1.0], [0.5, -1.0]])


class Scale(nn.Module):
    """A discriminator to follow by hand: its logits are the pixels times 2."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.scale * pixels


class Constant(nn.Module):
    """A perceptual loss to follow by hand: always 0.3."""

    def forward(self, pixels: Tensor, others: Tensor) -> Tensor:
        return torch.tensor(0.3)


def hand_output(drawn: Tensor = DRAWN) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What a tokenizer would return, with losses 0.4 and 0.8."""
    losses = {"codebook": torch.tensor(0.4), "commitment": torch.tensor(0.8)}
    return drawn, torch.zeros(1, 1, dtype=torch.long), losses


def pictures(seed: int, side: int = TINY.image_size) -> Tensor:
    """Two noisy pictures b c h w in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(2, 3, side, side, generator=generator) - 1


@pytest.fixture(scope="module")
def tower() -> VisionTransformer:
    """A small vision tower, random."""
    torch.manual_seed(0)
    return VisionTransformer(TINY)


def test_hinge_losses_by_hand():
    """Catches a swapped sign, a missing half, and real and drawn logits exchanged."""
    real = torch.tensor([[2.0, 0.0], [-1.0, 0.5]])  # relu(1 - x): 0, 1, 2, 0.5
    fake = torch.tensor([[-2.0, 1.0], [3.0, 0.0]])  # relu(1 + x): 0, 2, 4, 1
    assert hinge_discriminator_loss(real, fake).item() == 0.5 * (3.5 / 4 + 7 / 4)
    assert hinge_generator_loss(fake).item() == -0.5


def test_loss_without_extras_by_hand():
    """Catches commitment counted whole, or twice by a second weight in the tokenizer."""
    losses = vq_loss(hand_output(), PIXELS, 0, NONE)
    assert set(losses) == NAMES
    assert losses["reconstruction"].item() == 0.5  # (1 + 0 + 1 + 0) / 4
    assert losses["loss"].item() == pytest.approx(0.5 + 0.4 + 0.25 * 0.8)


def test_loss_with_everything_by_hand():
    """Catches a wrong weight of a term, and a total that is not what is logged."""
    losses = vq_loss(hand_output(), PIXELS, START, ALL, Constant(), Scale())
    assert set(losses) == NAMES | {"perceptual", "adversarial", "discriminator"}
    # Real logits 2 2 -1 -2: (0 + 0 + 2 + 3) / 4; drawn ones 0 2 1 -2: (1 + 3 + 2 + 0) / 4.
    assert losses["discriminator"].item() == 0.5 * (1.25 + 1.5)
    assert losses["adversarial"].item() == -0.25
    expected = 0.5 + 0.3 + 0.5 * -0.25 + 0.4 + 0.25 * 0.8 + 1.375
    assert losses["loss"].item() == pytest.approx(expected)


def test_one_backward_serves_both_by_hand():
    """Catches the tokenizer's term teaching the discriminator, and the reverse."""
    drawn, judge = DRAWN.clone().requires_grad_(), Scale()
    losses = vq_loss(hand_output(drawn), PIXELS, START, ALL, Constant(), judge)
    losses["loss"].backward()
    # 2 (drawn - pixels) / 4 of the reconstruction, and 0.5 * -scale / 4 everywhere.
    assert torch.allclose(drawn.grad, (DRAWN - PIXELS) / 2 - 0.25)
    # Inside the hinge: real -0.5 and -1 give -x, drawn 0, 1 and 0.5 give x; each over 4.
    assert judge.scale.grad.item() == pytest.approx(0.5 * (1.5 / 4 + 1.5 / 4))


def learners(term: Tensor, parts: dict[str, nn.Module]) -> set[str]:
    """The parts of which some parameter gets a gradient other than 0 from a term."""
    for module in parts.values():
        module.zero_grad(set_to_none=True)
    term.backward(retain_graph=True)
    return {
        name
        for name, module in parts.items()
        if any(p.grad is not None and p.grad.any() for p in module.parameters())
    }


def test_each_term_teaches_its_own_part(tower: VisionTransformer):
    """Catches a detach that is missing or one too many, in any of the six terms."""
    torch.manual_seed(1)
    tokenizer, judge = VQTokenizer(TINY), PatchDiscriminator(width=4)
    parts = {
        "encoder": tokenizer.encoder,
        "codebook": tokenizer.quantize,
        "decoder": tokenizer.decoder,
        "discriminator": judge,
        "tower": tower,
    }
    pixels = pictures(0)
    losses = vq_loss(tokenizer(pixels), pixels, START, ALL, Perceptual(tower), judge)
    taught = {name: learners(losses[name], parts) for name in losses if name != "loss"}
    assert taught == {
        "reconstruction": {"encoder", "decoder"},
        "perceptual": {"encoder", "decoder"},
        "adversarial": {"encoder", "decoder"},
        "codebook": {"codebook"},
        "commitment": {"encoder"},
        "discriminator": {"discriminator"},
    }
    assert learners(losses["loss"], parts) == set(parts) - {"tower"}


def test_discriminator_starts_late():
    """Catches a start one step off, a discriminator that trains before it, lost columns."""
    judge, drawn = PatchDiscriminator(width=4), pictures(1).requires_grad_()
    before, after = (
        vq_loss(hand_output(drawn), pictures(2), step, ALL, Constant(), judge)
        for step in (START - 1, START)
    )
    assert list(before) == list(after)
    assert before["adversarial"].item() == before["discriminator"].item() == 0
    assert after["adversarial"].item() != 0
    assert after["discriminator"].item() > 0
    before["loss"].backward()
    assert all(p.grad is None for p in judge.parameters())
    # The tokenizer feels the reconstruction alone.
    assert torch.allclose(drawn.grad, 2 * (drawn - pictures(2)).detach() / drawn.numel())
    after["loss"].backward()
    assert all(p.grad is not None for p in judge.parameters())


@pytest.mark.parametrize(
    ("cfg", "perceptual", "judge"),
    [(ALL, None, Scale()), (ALL, Constant(), None), (NONE, Constant(), None)],
)
def test_parts_and_config_must_agree(cfg, perceptual, judge):
    """Catches a loss silently left out of a run whose config asks for it."""
    with pytest.raises(ValueError, match="if, and only if"):
        vq_loss(hand_output(), PIXELS, START, cfg, perceptual, judge)


def test_perceptual_matches_hooks_and_cosines(tower: VisionTransformer):
    """Catches a skipped block, no normalisation, and a mean over the width for the sum."""
    seen: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda module, args, out: seen.append(out))
        for block in tower.blocks
    ]
    first, second = pictures(3), pictures(4)
    tower(first)
    tower(second)
    for hook in hooks:
        hook.remove()
    # Unit vectors are 2 - 2 cos apart, squared.
    pairs = zip(seen[: len(tower.blocks)], seen[len(tower.blocks) :], strict=True)
    expected = sum((2 - 2 * F.cosine_similarity(a, b, dim=-1)).mean() for a, b in pairs)
    assert torch.allclose(Perceptual(tower)(first, second), expected / len(tower.blocks))


def test_perceptual_judges_pictures_and_learns_nothing(tower: VisionTransformer):
    """Catches a tower that trains along, and a no_grad that keeps the pictures from it."""
    perceptual = Perceptual(tower).train()
    first, second = pictures(5).requires_grad_(), pictures(6)
    assert perceptual(first, first.detach()).item() == 0
    distance = perceptual(first, second)
    assert distance.item() > 0
    distance.backward()
    assert first.grad.abs().amax(dim=(1, 2, 3)).gt(0).all()
    assert all(p.grad is None and not p.requires_grad for p in tower.parameters())


@pytest.mark.parametrize(("side", "patches"), [(64, 6), (128, 14), (256, 30)])
def test_number_of_patches(side: int, patches: int):
    """Catches a wrong stride or padding: three halvings, then twice one less."""
    logits = PatchDiscriminator(width=2)(pictures(7, side))
    assert logits.shape == (2, 1, patches, patches)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field(layers: int, field: int):
    """Catches a wrong kernel or depth: 1, 4, 7, then 2 r + 2 for each halving."""
    judge = PatchDiscriminator(width=2, layers=layers).double().eval()  # in train mode all
    pixels = torch.randn(1, 3, 192, 192, dtype=torch.double).requires_grad_()  # pixels mix
    logits = judge(pixels)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    reached = pixels.grad[0].abs().sum(dim=0) > 0  # h w
    assert reached.any(dim=0).sum() == reached.any(dim=1).sum() == field


def test_discriminator_is_the_published_one():
    """Catches a norm on the first layer, a bias too many, and a width that is off.

    pix2pix's 70 x 70 discriminator has 2,768,705 parameters; it reads three channels more.
    """
    torch.manual_seed(2)
    judge = PatchDiscriminator()
    assert sum(p.numel() for p in judge.parameters()) == 2_768_705 - 3 * 64 * 4 * 4
    for layer in judge.layers:
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.2)
        elif isinstance(layer, nn.LeakyReLU):
            assert layer.negative_slope == 0.2


def test_running_statistics_have_no_part():
    """Catches a run that goes on differently for what BatchNorm remembers of the past."""
    judge, drawn, pixels = PatchDiscriminator(width=4), pictures(8), pictures(9)
    first = vq_loss(hand_output(drawn), pixels, START, ALL, Constant(), judge)
    for name, buffer in judge.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.fill_(9.0)
    again = vq_loss(hand_output(drawn), pixels, START, ALL, Constant(), judge)
    assert all(torch.equal(first[name], again[name]) for name in first)
