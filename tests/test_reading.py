"""Reading and marking of answers, against hand-worked cases of the official rules."""

from random import Random

import pytest

from minijanus.config import TINY
from minijanus.language import description
from minijanus.reading import (
    agreement,
    letter,
    normal,
    plain_yes_or_no,
    told_facts,
    vqa_accuracy,
    yes_or_no,
)
from minijanus.world import World


@pytest.mark.parametrize(
    ("said", "pope", "mme"),
    [
        ("yes", "yes", "yes"),
        ("No, there is no dog.", "no", "no"),
        ("There is not a dog", "no", ""),
        ("NO", "yes", "no"),  # POPE's list of words has no capitals
        ("A dog", "yes", ""),  # POPE counts all but a no as yes, MME counts it wrong
        ("Yes. There is no cat.", "yes", "yes"),  # the first sentence counts
        ("Nothing", "yes", "no"),  # MME looks at four characters
        ("", "yes", ""),
    ],
)
def test_yes_or_no(said: str, pope: str, mme: str):
    """Catches a "nothing" read as no, and a no in the second sentence."""
    assert yes_or_no(said) == pope and plain_yes_or_no(said) == mme


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("B", "B"),
        ("B. red", "B"),
        ("(C)", "C"),
        ("A red car", "A"),
        ("A blue car is left of it.", "B"),  # its A is an article
        ("A white car", ""),
        ("D, a dog", "D"),
        ("The answer is B", "B"),
        ("B or C", ""),
        ("red", "A"),
        ("the blue one", "B"),
        ("red or blue", ""),
        ("Apple", ""),  # its first character is no letter of an option
        ("a", ""),
        ("", ""),
    ],
)
def test_letter(said: str, read: str):
    """Catches "Apple" and an article read as A, and a guess where two options are named."""
    assert letter(said, ("red", "blue", "green", "a dog")) == read


@pytest.mark.parametrize(
    ("said", "form"),
    [
        ("Two dogs.", "2 dogs"),
        ("the Dog", "dog"),
        ("none", "0"),
        ("3.5", "3.5"),
        ("1,000", "1000"),
        ("left-hand", "left hand"),
        ("an apple, a pear", "apple pear"),
    ],
)
def test_normal_form(said: str, form: str):
    """Catches articles and number words that count as another answer."""
    assert normal(said) == form


def test_vqa_accuracy_by_hand():
    """Catches the short form min(matches / 3, 1), which the official one differs from.

    Three of ten agree: left out in turn, they leave 2 of 9 (2/3), the other seven 3 (1).
    """
    said = ("two",) * 3 + ("three",) * 7
    assert vqa_accuracy("2", said) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa_accuracy("3", said) == 1
    assert vqa_accuracy("4", said) == 0
    one = ("two",) + ("three",) * 9
    assert vqa_accuracy("2", one) == pytest.approx((0 + 9 * 1 / 3) / 10)


def test_facts_of_descriptions():
    """Catches a colour given to the next thing, and "the dog" counted as another dog."""
    names = ("dog", "car", "polar bear", "fish")
    text = (
        "The image shows a red car, three blue dogs and a polar bear. "
        "The polar bear is left of the car. The background is grey."
    )
    facts = {"1 red car", "3 blue dog", "1 polar bear", "background grey"}
    assert told_facts(text, names) == facts
    assert told_facts("two fish", names) == {"2 fish"}
    assert told_facts("", names) == set()


def test_every_description_states_exactly_its_scene():
    """Catches a form of words that the reader of free answers does not know."""
    world = World(TINY, "heldout")
    names = [concept.name for concept in world.concepts]
    for index in range(300):
        scene = world.scene("scene", index)
        facts = {f"background {scene.background}"}
        for g in scene.groups:
            facts.add(" ".join(filter(None, (str(g.count), g.colour, g.concept))))
        assert told_facts(description(scene, Random(index)), names) == facts


def test_agreement_by_hand():
    """Catches a model that is paid for naming everything."""
    assert agreement({"a", "b"}, {"a", "b"}) == 1
    assert agreement({"a", "b", "c"}, {"a", "b"}) == pytest.approx(2 / 3)
    assert agreement({"x"}, {"a", "b"}) == 0 == agreement(set(), set())
