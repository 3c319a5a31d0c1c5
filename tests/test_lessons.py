"""What the stage notebooks rely on: short trainings, who moved, losses on held-out."""

from pathlib import Path

import pytest
import torch

from minijanus import lessons
from minijanus.config import TRAINS_IN
from minijanus.lab import UserError


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_short_training_moves_what_figure_3_says(janus, tokenizer, source, number):
    """Catches a notebook that shows frozen parts moving, or trained ones standing still."""
    stage = janus.cfg.stage(number)
    before = lessons.weights(janus)
    log = lessons.train_a_little(janus, tokenizer, source, stage, 12)
    change = lessons.moved(before, janus)
    assert {p for p, x in change.items() if x > 0} == {
        p for p in TRAINS_IN if stage.trains(p)
    }
    assert [row["step"] for row in log] == [10, 12]
    assert all(row["generation"] > 0 for row in log)


def test_moved_is_the_change_over_the_length(janus):
    """Catches an absolute change, by which the largest part always moves most."""
    before = lessons.weights(janus)
    with torch.no_grad():
        for p in janus.text_head.parameters():
            p *= 1.5
        for p in janus.image_head.parameters():
            p.neg_()
    change = lessons.moved(before, janus)
    assert change["text_head"] == pytest.approx(0.5)
    assert change["image_head"] == pytest.approx(2.0)
    assert change["llm"] == 0


@torch.no_grad()
def test_losses_are_means_over_all_tokens(janus, tokenizer, source):
    """Catches a loss that depends on how sequences are packed, or counts prompts."""
    together = lessons.drawing_loss(janus, tokenizer, source, True, count=3)

    class Shifted:
        """The source from a later sample on."""

        def __init__(self, first: int):
            self.first = first

        def record(self, task, index, stage, category=False):
            return source.record(task, index + self.first, stage, category)

    alone = [
        lessons.drawing_loss(janus, tokenizer, Shifted(i), True, count=1) for i in range(3)
    ]
    assert together == pytest.approx(sum(alone) / 3, abs=1e-4)
    assert lessons.answer_loss(janus, tokenizer, source, count=3) > 0


def test_a_preset_without_checkpoints_is_refused(monkeypatch, tmp_path: Path):
    """Catches a traceback where a name was mistyped, and a GPU that needs small's files."""
    monkeypatch.setattr(lessons, "SHIPPED", tmp_path)
    monkeypatch.delenv("MINIJANUS_PRESET", raising=False)
    assert lessons.preset() == "tiny"
    monkeypatch.setattr(lessons, "device", lambda: torch.device("cuda"))
    assert lessons.preset() == "tiny"
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "stage3.json").write_text("{}")
    assert lessons.preset() == "small"
    monkeypatch.setenv("MINIJANUS_PRESET", "smal")
    with pytest.raises(UserError, match="choose one of small"):
        lessons.preset()
