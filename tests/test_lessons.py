"""What notebooks 06 to 10 rely on: short trainings, who moved, held-out losses, figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from minijanus import lessons
from minijanus.config import TRAINS_IN
from minijanus.lab import UserError
from minijanus.load import PHASES
from minijanus.sequence import to_sequence
from minijanus.studio import unfinished


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
    words = lessons.word_losses(janus, tokenizer, source, count=3)
    assert all(value > 0 for value in words.values())


@torch.no_grad()
def test_losses_of_a_batch_are_those_of_its_tasks(janus, tokenizer, source):
    """Catches a batch that changes from call to call, or one task's loss under another."""
    plain = replace(janus.cfg.stage(2), category_first=0.0, first_sentence=0.0)
    plain = replace(plain, drop_condition=0.0)
    found = lessons.task_losses(janus, tokenizer, source, plain, samples=10)
    assert list(found) == ["understanding", "text", "generation"]
    alone = lessons.drawing_loss(janus, tokenizer, source, False, count=5)  # 2 : 3 : 5
    assert found["generation"] == pytest.approx(alone, abs=1e-4)
    chat = janus.cfg.stage(3)
    found = lessons.task_losses(janus, tokenizer, source, chat, samples=20)
    alone = lessons.word_losses(janus, tokenizer, source, count=7)  # 7 : 3 : 10
    assert found["understanding"] == pytest.approx(alone["answers"], abs=1e-4)
    assert found == lessons.task_losses(janus, tokenizer, source, chat, samples=20)


@torch.no_grad()
def test_answers_and_questions_are_all_words(janus, tokenizer, source):
    """Catches a loss of questions into which answers, or a picture's marks, are counted."""
    chat, lengths = replace(janus.cfg.stage(3), ratio=(1, 0, 0)), janus.lengths()
    every, counts = replace(chat, scored_text="all"), []
    records = [source.record("understanding", i, 3) for i in range(4)]
    for stage in (chat, every):
        rows = [to_sequence(record, stage, tokenizer, lengths) for record in records]
        counts.append(sum(sum(row.scored) for row in rows))
    whole = lessons.task_losses(janus, tokenizer, source, every, samples=4)
    parts = lessons.word_losses(janus, tokenizer, source, count=4)
    answers, words = counts
    others = (words - answers) * parts["other words"]
    mean = (answers * parts["answers"] + others) / words
    assert whole["understanding"] == pytest.approx(mean, abs=1e-4)


def test_losses_are_printed_under_their_tasks(capsys):
    """Catches a number under the wrong heading where two rows name tasks in two orders."""
    lessons.print_losses({"before": {"a": 1.0, "b": 2.0}, "after": {"b": 4.0, "a": 3.0}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["a", "b"], ["before", "1.00", "2.00"], ["after", "3.00", "4.00"]]


def test_a_strip_is_blue_where_something_is_predicted(janus, tokenizer, source):
    """Catches a drawn picture painted as read, a picture looked at painted as scored."""
    stage, lengths = janus.cfg.stage(3), janus.lengths()
    tasks = ("understanding", "text", "generation")
    rows = [
        to_sequence(source.record(task, 0, 3), stage, tokenizer, lengths) for task in tasks
    ]
    figure = lessons.strips(rows, room=max(len(row.ids) for row in rows))
    blue = [
        sum(to_hex(bar.get_facecolor()) == lessons.SCORED for bar in axis.patches)
        for axis in figure.axes
    ]
    assert blue == [sum(rows[0].scored), sum(rows[1].scored), lengths["gen"]]
    assert [len(axis.patches) for axis in figure.axes] == [len(row.ids) for row in rows]
    with pytest.raises(ValueError, match="more room"):
        lessons.strips(rows, room=5)


def test_codes_that_do_not_exist_are_grey(janus):
    """Catches a square that is shown before its code, or codes counted down, not across."""
    codes = torch.arange(16)[None] % janus.cfg.n_codes
    side = janus.cfg.image_size // 4  # 16 codes, 4 a row
    for m in (1, 4, 6, 16):
        pixels = np.array(lessons.so_far(janus, codes[:, :m]))
        for place in range(m, 16):
            row, column = (number * side for number in divmod(place, 4))
            assert (pixels[row : row + side, column : column + side] == 128).all()
        last = [number * side for number in divmod(m - 1, 4)]
        square = pixels[last[0] : last[0] + side, last[1] : last[1] + side]
        assert (square != 128).any()
    (rows,) = unfinished(janus, codes[:, :8])
    assert np.array_equal(np.array(lessons.so_far(janus, codes[:, :8])), np.array(rows))


def test_a_map_has_its_codes_row_by_row():
    """Catches a map that is turned over, or one that hangs under another's title."""
    shares = torch.arange(32.0).reshape(2, 16)
    figure = lessons.maps(Image.new("RGB", (8, 8)), shares, ["one", "two"], columns=2)
    _, one, two, _ = figure.axes
    assert one.images[0].get_array()[1].tolist() == [4, 5, 6, 7]
    assert two.get_title() == "two" and two.images[0].get_array()[0, 3] == 19


def test_a_preset_without_checkpoints_is_refused(monkeypatch, tmp_path: Path):
    """Catches a traceback where a name was mistyped, and a GPU that needs small's files."""
    monkeypatch.setattr(lessons, "SHIPPED", tmp_path)
    monkeypatch.delenv("MINIJANUS_PRESET", raising=False)
    assert lessons.preset() == "tiny"
    monkeypatch.setattr(lessons, "device", lambda: torch.device("cuda"))
    assert lessons.preset() == "tiny"
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "stage3.json").write_text("{}")
    assert lessons.preset() == "tiny"  # the end alone is no beginning for a stage
    for phase in PHASES:
        (tmp_path / "small" / f"{phase}.json").write_text("{}")
    assert lessons.preset() == "small"
    monkeypatch.setenv("MINIJANUS_PRESET", "smal")
    with pytest.raises(UserError, match="choose one of small"):
        lessons.preset()
