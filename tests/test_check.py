"""The exercises' checks: not done, wrong and right are three different things."""

import pytest

from minijanus import check, check_stages, check_start
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
    with pytest.raises(AssertionError, match="begins with"):
        check_stages.first(lambda text: text.split(".")[0] + ".")
    with pytest.raises(AssertionError, match="torch.uint8"):
        check_start.levels(lambda x: ((x.clamp(-1, 1) + 1) / 2 * 255).round())
