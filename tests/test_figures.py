"""Our drawing of Figure 2: each part is named, what is lit can be seen without colour."""

import pytest
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
