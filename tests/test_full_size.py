"""The script that measures the full size, at a small one."""

import sys
from dataclasses import replace

import pytest
import torch
from conftest import script

from minijanus.lab import UserError
from minijanus.parity import SMALL

full_size = script("full_size")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read in /proc")
def test_a_made_folder_draws_and_answers(tmp_path) -> None:
    """Catches ids beyond the tokenizer's words, which only a large vocabulary has."""
    cfg = replace(SMALL, vocabulary=3000, max_positions=600)
    full_size.make(cfg, tmp_path / "made")
    found = full_size.measure(tmp_path / "made", torch.float32)
    assert found["codes"] == 64 and found["weights"] == 4 * found["parameters"]
    seconds = [found[f"{what} s"] for what in ("loading", "drawing", "answering")]
    assert all(second > 0 for second in seconds)
    before = full_size.memory("VmHWM")
    more = before - full_size.memory("VmRSS") + 200_000_000  # bytes, past the peak so far
    held = torch.ones(more // 4)
    assert full_size.memory("VmHWM") - before >= 1e8 and len(held)
    with pytest.raises(UserError, match="already holds a model"):
        full_size.make(cfg, tmp_path / "made")
