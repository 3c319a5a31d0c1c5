"""The exercises' checks: not done, wrong and right are three different things."""

import pytest
from PIL import Image
from torch import Tensor

from minijanus import check, check_stages, check_start
from minijanus.images import generation_pixels, understanding_pixels
from minijanus.sequence import Span


def right_n_positions(words: int, pictures: int, n: int) -> int:
    """BOS, the words, each picture between its two marks, EOS."""
    return 1 + words + pictures * (n + 2) + 1


def test_what_is_not_done_is_not_wrong(capsys):
    """A stub that fails would make Run All red before the learner has begun."""
    check.guess("1.2", ..., 63, "think")
    check.n_positions(lambda words, pictures, n: ...)
    check.n_positions(lambda words, pictures, n: None)
    check.predicting_positions(
        lambda span: list(range(span.start, span.start + span.length - 1))
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("todo: exercise 1.") for line in lines)


def test_a_right_answer_is_told_so(capsys):
    """A check that never says ok teaches nothing."""
    check.guess("1.2", 63, 63, "think")
    check.n_positions(right_n_positions)
    check.predicting_positions(
        lambda span: [span.start - 1 + k for k in range(span.length)]
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.startswith("ok: 1.") for line in lines)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_wrong_answer_gets_one_sentence(missing: int):
    """A check that accepts a near miss confirms the bug that it is about."""
    with pytest.raises(AssertionError, match="count BOS, EOS and what frames"):
        check.n_positions(lambda *given: right_n_positions(*given) - missing)
    with pytest.raises(AssertionError, match="^think$"):
        check.guess("1.2", 64 - missing - 1, 63, "think")

    def late(span: Span) -> list[int]:
        return [span.start - 1 + missing + k for k in range(span.length)]

    with pytest.raises(AssertionError, match="one position before its code.$"):
        check.predicting_positions(late)


def test_a_second_way_to_be_wrong_is_found_too():
    """Catches a check that, made stricter in one place, forgot what it had tested."""
    with pytest.raises(AssertionError, match="still get one"):
        check_stages.through_frozen(lambda frozen, x: frozen(x))
    with pytest.raises(AssertionError, match="keep .a dog and a cat., not"):
        check_stages.first(lambda text: text.split(".")[0] + ".")
    with pytest.raises(AssertionError, match="to see, a wide"):
        check_start.prepared(lambda image, size, task: generation_pixels(image, size))


def right_prepared(image: Image.Image, size: int, task: str) -> Tensor:
    """Whole with bars to see; the middle, without bars, to draw."""
    eye = understanding_pixels if task == "see" else generation_pixels
    return eye(image, size)


def test_targets_with_grey_bars_are_known(capsys):
    """The bug as given must say todo, or Run All is red before the learner has begun."""
    check_start.prepared(lambda image, size, task: understanding_pixels(image, size))
    check_start.prepared(lambda image, size, task: ...)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith("todo: exercise 0.3") for line in lines)
    check_start.prepared(right_prepared)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("ok: 0.3") for line in lines)


def squeezed(image: Image.Image, size: int, task: str) -> Tensor:
    """To draw, the whole picture pressed into the square."""
    pressed = image if task == "see" else image.resize((size, size))
    return understanding_pixels(pressed, size)


def turned_off(image: Image.Image, size: int, task: str) -> Tensor:
    """To draw, the left end of a wide picture instead of its middle."""
    end = image if task == "see" else image.crop((0, 0, min(image.size), min(image.size)))
    return understanding_pixels(end, size)


def upright_only(image: Image.Image, size: int, task: str) -> Tensor:
    """Right for a wide picture, while a high one keeps its bars."""
    return right_prepared(image, size, "see" if image.height > image.width else task)


@pytest.mark.parametrize("wrong", [squeezed, turned_off])
def test_a_target_without_bars_can_still_be_wrong(wrong):
    """A check that looks for grey alone accepts squeezed pictures and cut-off ones."""
    with pytest.raises(AssertionError, match="to draw, a wide picture must fill"):
        check_start.prepared(wrong)


def test_high_pictures_are_tried_too(capsys):
    """Catches a check of wide pictures only: half of all photos stand upright."""
    check_start.prepared(upright_only)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("todo: exercise 0.3")
    with pytest.raises(AssertionError, match="return pixels c h w"):
        check_start.prepared(lambda image, size, task: image)
