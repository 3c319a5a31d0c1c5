"""The preset for one GPU, by the same code on the CPU: a few steps of every phase."""

from dataclasses import replace

import pytest

from minijanus.config import SMALL, Config
from minijanus.janus import Janus
from minijanus.load import PHASES, load_janus
from minijanus.studio import draw_pictures
from minijanus.train import at_most, train_all
from minijanus.world import World

STEPS = 2


@pytest.fixture
def few() -> Config:
    """SMALL with two steps of small batches a phase; its losses all have their turn."""
    cut = at_most(SMALL, STEPS)
    return replace(
        cut,
        workers=1,
        n_scenes=20,
        vq_adversarial_from=1,
        siglip=replace(cut.siglip, batch=4),
        vq=replace(cut.vq, batch=2),
        llm=replace(cut.llm, batch=4),
        stages=tuple(replace(stage, batch=10) for stage in cut.stages),
    )


def test_small_trains_every_phase_and_draws(few, tmp_path):
    """Catches what only small's settings run: perceptual and adversarial loss, workers,
    128 px, other lengths of picture in the two pathways, 496 concepts.
    """
    train_all(few, tmp_path, World(few))
    assert all((tmp_path / f"{phase}.json").exists() for phase in PHASES)
    header = (tmp_path / "vq.csv").read_text().splitlines()[0]
    assert {"perceptual", "adversarial", "discriminator"} <= set(header.split(","))
    model = load_janus(tmp_path)
    assert model[0].lengths() == {"und": 64, "gen": 256}
    [picture] = draw_pictures(*model, ["a dog"], n=1)
    assert picture.size == (128, 128)


def test_small_is_small():
    """Catches a preset that grows past the 20 M parameters it may have."""
    assert sum(p.numel() for p in Janus(SMALL).parameters()) <= 20_000_000
