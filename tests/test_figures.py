"""Our drawing of Figure 2: each part is named, what is lit can be seen without colour."""

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from minijanus import figures
from minijanus.config import TRAINS_IN, Config
from minijanus.lab import UserError
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import to_sequence

LIT = ("Und. Adaptor", "Auto-Regressive Transformer")


def drawn(lit: tuple[str, ...]) -> tuple[dict[str, Rectangle], dict[str, Text]]:
    """The boxes and the texts of a laid-out Figure 2, by the part each belongs to."""
    figure = figures.drawn_figure_2(lit)
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    texts = {text.get_text().removesuffix("\ntoday"): text for text in axes.texts}
    boxes = dict(zip(figures.PARTS, axes.patches, strict=True))
    return boxes, {name: texts[name] for name in figures.PARTS}


def test_every_part_of_figure_3_has_its_box():
    """A part that trains but is on no map is one that a learner never meets."""
    names = {name.lower().replace(". ", "_").replace(" ", "_") for name in figures.PARTS}
    known = names | {"llm"} if "auto-regressive_transformer" in names else names
    assert set(TRAINS_IN) <= known


def test_lit_parts_differ_by_frame_and_word():
    """Who cannot tell the colours apart would not see what the lesson is about."""
    boxes, texts = drawn(LIT)
    for name in figures.PARTS:
        thick = boxes[name].get_linewidth() > 2
        said = "today" in texts[name].get_text()
        assert thick == said == (name in LIT)


def test_every_name_fits_into_its_box():
    """A name that runs out of its box covers the arrows beside it."""
    for lit in ((), tuple(figures.PARTS)):
        boxes, texts = drawn(lit)
        for name, text in texts.items():
            inner, outer = text.get_window_extent(), boxes[name].get_window_extent()
            assert outer.x0 < inner.x0 and inner.x1 < outer.x1, name
            assert outer.y0 < inner.y0 and inner.y1 < outer.y1, name


def test_an_unknown_part_is_refused():
    """A misspelt part would silently light nothing."""
    with pytest.raises(UserError, match="no part 'Gen Encoder': choose from Und. Encoder"):
        figures.figure_2(("Gen Encoder",))


def test_the_picture_is_small():
    """Ten of these stand in a notebook of 300 KB."""
    picture = figures.figure_2(LIT)
    assert picture.mode == "P" and picture.width > 600


def test_blocks_by_hand(cfg: Config, tokenizer):
    """A strip that is off by one teaches the very bug it should prevent."""
    record = Record("generation", [None], turns("dog", IMAGE))
    sequence = to_sequence(record, cfg.stage(1), tokenizer, {"gen": 3})
    words = len(tokenizer.encode(" dog"))
    assert figures.blocks(sequence, tokenizer) == [
        ("BOS", 0, 0),
        ("words", 1, words),
        ("BOI", words + 1, words + 1),
        ("picture", words + 2, words + 4),
        ("EOI", words + 5, words + 5),
    ]
    assert figures.sequence_strip([sequence], tokenizer).width > 600


def test_a_number_stands_on_its_own_colour():
    """A table with rows and columns exchanged shows the wrong pairs as the sure ones."""
    values = torch.tensor([[0.9, 0.25, 0.0], [0.1, 0.6, 1.0]])
    axes = figures.number_table(values, "caption", "picture").axes[0]
    written = {text.get_position(): text for text in axes.texts}
    assert {place: text.get_text() for place, text in written.items()} == {
        (0, 0): "0.90", (1, 0): "0.25", (2, 0): "0.00",
        (0, 1): "0.10", (1, 1): "0.60", (2, 1): "1.00",
    }  # fmt: skip
    assert axes.images[0].get_array().tolist() == values.tolist()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("caption", "picture")
    for (column, row), text in written.items():  # dark ink on a light square only
        light = sum(axes.images[0].to_rgba(values)[row, column, :3]) > 1.5
        assert text.get_color() == ("black" if light else "white")


def test_a_curve_goes_through_its_points():
    """A curve against row numbers instead of steps puts the end of a warm-up elsewhere."""
    points, names = [(10.0, 3.0), (30.0, 2.0)], ("step", "loss")
    axes = figures.curve(points, names, (7.6, "knows nothing"), 8).axes[0]
    line, level = axes.lines
    assert line.get_xydata().tolist() == [[10, 3], [30, 2]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == names
    assert list(level.get_ydata()) == [7.6, 7.6] and axes.get_ylim() == (0, 8)
    assert [text.get_text() for text in axes.get_legend().texts] == ["knows nothing"]
    assert len(figures.curve(points, names).axes[0].lines) == 1


def test_little_squares_stand_row_by_row():
    """A title beside the wrong square gives one code the chance of another."""
    pixels = torch.rand(5, 3, 2, 4)
    figure = figures.little_squares(pixels, 3, ["a", "b", "c", "d", "e"])
    FigureCanvasAgg(figure).draw()
    places = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in places] == ["a", "b", "c", "d", "e"]
    for axes, square in zip(places, pixels, strict=True):
        shown = torch.tensor(axes.images[0].get_array())
        assert shown[1, 3].tolist() == square[:, 1, 3].tolist()
    left, top = zip(*[axes.get_position().get_points()[0] for axes in places], strict=True)
    assert left[0] < left[1] < left[2] and left[3] == left[0] and top[3] < top[0]


def test_attention_goes_from_row_to_column():
    """Transposed, the picture would say that the past looks at the future."""
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.0, 0.9, 0.1]])
    axes = figures.attention_square(weights, ["BOS", " a", " dog"]).axes[0]
    assert axes.images[0].get_array().tolist() == weights.tolist()
    assert axes.images[0].origin == "upper"
    assert axes.images[0].get_clim()[1] == pytest.approx(0.9)  # not the first row's 1
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["BOS", " a", " dog"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("who looks", "at whom")
