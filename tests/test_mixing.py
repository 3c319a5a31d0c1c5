"""Mixing: Table 1's ratios, sample by sample, by counting (paper §4.1, Table 1)."""

from fractions import Fraction

import pytest

from minijanus.config import PAPER, SMALL, TINY
from minijanus.mixing import TASKS, plan

RATIOS = [(1, 0, 1), (2, 3, 5), (7, 3, 10)]
BATCHES = [1, 2, 3, 4, 7, 8, 10, 12, 16, 19, 20, 30, 32, 60, 64, 256, 512]


def counts(ratio: tuple[int, int, int], batch: int, step: int) -> list[int]:
    """How many samples of each task a step takes."""
    return [len(plan(ratio, batch, step)[task]) for task in TASKS]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_window_is_within_one_sample_of_exact(ratio, batch):
    """Catches rounding each step by itself: the error would add up over the steps."""
    steps = 2 * sum(ratio) + 1
    taken = [counts(ratio, batch, step) for step in range(steps)]
    for first in range(steps):
        window = [0, 0, 0]
        for last in range(first, steps):
            window = [w + t for w, t in zip(window, taken[last], strict=True)]
            samples = batch * (last - first + 1)
            assert sum(window) == samples
            for got, share in zip(window, ratio, strict=True):
                assert abs(got - Fraction(share * samples, sum(ratio))) <= 1


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_step_is_exact_where_the_batch_divides(ratio):
    """Catches drawing the tasks at random: the paper mixes them within a single step."""
    for times in (1, 2, 3, 7):
        expected = [times * share for share in ratio]
        for step in (*range(25), 9_999, 179_999):
            assert counts(ratio, times * sum(ratio), step) == expected


def test_the_remainder_goes_to_the_largest_and_is_carried():
    """Catches the remainder always going to the same task, on steps worked by hand.

    2:3:5 with 4 a step. Exact totals after steps 1 to 5: (0.8, 1.2, 2), (1.6, 2.4, 4),
    (2.4, 3.6, 6), (3.2, 4.8, 8), (4, 6, 10); rounded: (1, 1, 2), (2, 2, 4), (2, 4, 6),
    (3, 5, 8), (4, 6, 10).
    """
    steps = [counts((2, 3, 5), 4, step) for step in range(5)]
    assert steps == [[1, 1, 2], [1, 1, 2], [0, 2, 2], [1, 1, 2], [1, 1, 2]]


def test_a_step_that_would_take_a_sample_back_is_refused():
    """Catches a sample that is served twice: after 9, 10, 11 steps of one sample the
    rounded totals of 3:3:1 are (4, 4, 1), (4, 4, 2), (5, 5, 1)."""
    assert counts((3, 3, 1), 1, 9) == [0, 0, 1]
    with pytest.raises(ValueError, match="make the batch larger"):
        plan((3, 3, 1), 1, 10)


@pytest.mark.parametrize("batch", [4, 7, 10])
def test_each_task_counts_its_own_samples_without_gap(batch):
    """Catches one counter for all tasks: another mix would then show other samples."""
    for ratio in RATIOS:
        seen = {task: [] for task in TASKS}
        for step in range(40):
            for task, indices in plan(ratio, batch, step).items():
                seen[task] += indices
        for indices in seen.values():
            assert indices == list(range(len(indices)))


@pytest.mark.parametrize("cfg", [TINY, SMALL, PAPER], ids=lambda cfg: cfg.name)
def test_the_stages_of_every_preset_mix_as_table_1(cfg):
    """Catches a preset with ratios of its own: Table 1 says 1:0:1, 2:3:5, 7:3:10."""
    assert [stage.ratio for stage in cfg.stages] == RATIOS
