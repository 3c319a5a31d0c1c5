"""Scenes told in words: what is asked can be answered from the words alone."""

import re
from collections import Counter

from conftest import MICRO, script

from minijanus.layout import OPPOSITE
from minijanus.world import World

told_probe = script("told_probe")
SAID = re.compile(
    r"(?:The|An?)(?: \w+)? (\w+) is (?:to the )?(left|right|above|below)(?: of)?"
    r" (?:the|an?)(?: \w+)? (\w+)\."
)
ASKED = re.compile(r"Where is the (\w+)(?: relative to|, seen from) the (\w+)\?")


def test_what_is_asked_follows_from_what_is_told():
    """Catches a scene told without what its questions are about, or another scene's."""
    world = World(MICRO, "heldout")
    answered, parts = [], Counter()
    for words, question, truth in told_probe.told(world, "position"):
        parts[told_probe.part("position", truth)] += 1
        told = {(a, b): side for a, side, b in SAID.findall(words)}
        told |= {(b, a): OPPOSITE[side] for (a, b), side in told.items()}
        if asked := ASKED.fullmatch(question):
            assert told.get(asked.groups(), truth) == truth, (words, question)
            answered.append(asked.groups() in told)
    # Of four things with places not all pairs are told.
    assert sum(answered) > 0.8 * len(answered) > 0
    assert len(parts) == 2 and min(parts.values()) > 40
