"""Charts: numbers read back from the pixels, by brute force."""

import re
from random import Random

import numpy as np
import pytest

from minijanus.charts import (
    DIGITS,
    Chart,
    chart_description,
    chart_question,
    draw_chart,
    sample_chart,
)
from minijanus.concepts import COLOURS

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIZES = (64, 128)


def charts(kind: str) -> list[Chart]:
    """Charts of one kind, at least a hundred."""
    found = [sample_chart(Random(index)) for index in range(600)]
    return [chart for chart in found if chart.kind == kind]


def is_colour(picture: np.ndarray, colour: str) -> np.ndarray:
    """Which pixels have exactly this colour."""
    return (picture == np.array(COLOURS[colour][1])).all(-1)


@pytest.mark.parametrize("size", SIZES)
def test_bars_have_the_height_of_their_number(size: int) -> None:
    """A bar that is drawn too high by one unit makes every answer about it wrong."""
    found = charts("bar")
    assert len(found) > 100
    for chart in found:
        picture = np.asarray(draw_chart(chart, size))
        lefts = []
        for colour, value in chart.values:
            rows, columns = np.where(is_colour(picture, colour))
            assert rows.max() - rows.min() + 1 == round(value * 9 * size / 64)
            assert columns.max() - columns.min() + 1 == 10 * size // 64
            assert len(rows) == len(set(rows)) * len(set(columns))
            lefts.append(columns.min())
        assert lefts == sorted(lefts)


@pytest.mark.parametrize("size", SIZES)
def test_slices_have_the_area_of_their_number(size: int) -> None:
    """Slices in another order, or that do not fill the pie, would show other shares."""
    for chart in charts("pie"):
        picture = np.asarray(draw_chart(chart, size))
        areas = {c: is_colour(picture, c).sum() for c, _ in chart.values}
        whole = sum(areas.values())
        assert sum(value for _, value in chart.values) == 8
        assert whole > 0.5 * size * size
        for colour, value in chart.values:
            assert abs(8 * areas[colour] / whole - value) < 0.25


@pytest.mark.parametrize("size", SIZES)
def test_digits_of_a_table_can_be_read(size: int) -> None:
    """A digit cut off by a cell's edge, or in the wrong row, cannot be read."""
    for chart in charts("table"):
        picture = np.asarray(draw_chart(chart, size))
        for colour, value in chart.values:
            rows = np.where(is_colour(picture, colour).any(1))[0]
            cell = picture[
                rows.min() + size // 64 : rows.max() - size // 64, size // 2 + 2 :
            ]
            ink = cell[:, : -4 * size // 64].max(-1) < 128
            down, across = np.where(ink.any(1))[0], np.where(ink.any(0))[0]
            glyph = ink[down.min() : down.max() + 1, across.min() : across.max() + 1]
            dot = glyph.shape[0] // 5
            read = glyph[dot // 2 :: dot, dot // 2 :: dot][:5]
            dots = np.array([[d == "1" for d in row] for row in DIGITS[value].split()])
            dots = dots[:, dots.any(0)]
            assert (read == dots).all(), chart


def test_the_digits_differ() -> None:
    """Two digits with the same dots could not be told apart."""
    assert len(set(DIGITS.values())) == 9
    assert all(re.fullmatch("([01]{3} ){4}[01]{3}", dots) for dots in DIGITS.values())


def answer(chart: Chart, question: str) -> str:
    """The answer by brute force over the numbers."""
    values = dict(chart.values)
    named = [word for word in re.findall(r"\w+", question) if word in values]
    if "are there" in question:
        return WORDS[len(values)]
    if len(named) == 2:
        return "yes" if values[named[0]] > values[named[1]] else "no"
    if len(named) == 1:
        return WORDS[values[named[0]]]
    up = re.search("highest|largest", question) is not None
    ordered = sorted(values, key=values.get, reverse=up)
    return ordered[0]


def test_answers_about_charts_are_right_and_balanced() -> None:
    """A question with two right answers, or a comparison that is mostly yes."""
    said = []
    for index in range(3000):
        chart = sample_chart(Random(index))
        numbers = [value for _, value in chart.values]
        assert len(set(numbers)) == len(numbers) == len(dict(chart.values))
        question, found = chart_question(chart, Random(index + 1))
        assert answer(chart, question) == found, (chart, question)
        said += [found] if found in ("yes", "no") else []
    assert len(said) > 300 and abs(said.count("yes") / len(said) - 0.5) < 0.07


def test_the_description_states_every_number() -> None:
    """A description that drops a number cannot be learnt from."""
    for index in range(200):
        chart = sample_chart(Random(index))
        text = chart_description(chart).lower()
        found = re.findall(r"the (\w+) (?:bar|slice|row) is (\w+)", text)
        assert tuple((colour, WORDS.index(word)) for colour, word in found) == chart.values
