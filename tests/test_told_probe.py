"""Scenes told in words: what is asked can be answered from the words alone."""

import re
from collections import Counter

from conftest import MICRO, script

from minijanus.world import World

told_probe = script("told_probe")
SAID = re.compile(r"The (\w+) is (?:in|on|at) the ([a-z ]+)\.")
ASKED = re.compile(r"Where is the (\w+)(?: relative to|, seen from) the (\w+)\?")
AXES = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}


def point(ninth: str) -> tuple[int, int]:
    """Column and row of a ninth in words, each -1, 0 or 1."""
    column = ("right" in ninth) - ("left" in ninth)
    return column, ("bottom" in ninth) - ("top" in ninth)


def test_what_is_asked_follows_from_what_is_told():
    """Catches a scene told without the places that its questions are about."""
    world, parts = World(MICRO, "heldout"), Counter()
    for words, question, truth in told_probe.told(world, "place"):
        assert dict(SAID.findall(words))[question.split()[-1].strip("?")] == truth
    for words, question, truth in told_probe.told(world, "position"):
        name = told_probe.part("position", words, question)
        parts[name] += 1
        between = re.findall(
            r"(?:left of|right of|above|below) an? |the \w+ is \w+ of", words
        )
        assert not ("derived" in name and between), words
        if asked := ASKED.fullmatch(question):
            places = dict(SAID.findall(words))
            axis, sign = AXES[truth]
            first, second = (point(places[thing])[axis] for thing in asked.groups())
            assert (first - second) * sign > 0, (words, question, truth)
    assert len(parts) == 4 and min(parts.values()) > 15, parts
