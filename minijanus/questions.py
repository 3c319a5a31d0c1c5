"""Questions about a scene with their answers, as pure functions of the scene.

A question is asked only where its answer is certain: colours of tinted things, places of
things that are the only one of their concept. Half of all yes-or-no answers are no, and
no question that is answered by no names a held-out combination, or "unseen" would mean no.
"""

from collections.abc import Sequence
from itertools import islice
from random import Random

from minijanus.concepts import Concept, relation_held_out
from minijanus.language import (
    NUMBERS,
    RELATION_WORDS,
    a,
    coloured,
    ninth,
    plural,
    shuffled_groups,
    the,
    unique_relations,
    unique_things,
)
from minijanus.options import absent, choose, other_colour
from minijanus.scenes import Scene

Turn = tuple[str, str]  # question, answer
KINDS = ("existence", "count", "colour", "position", "two_step")
# Whether something is there is the hardest to learn, and few scenes allow a question about
# how two things lie, so these are asked more often. "options" is any kind that has them.
OFTEN = (*KINDS, *7 * ["existence"], "position", "position", "two_step", *2 * ["options"])
# Where one thing is must be learned before how two lie; words of a scene do not say it.
OF_PICTURES = (*OFTEN, *3 * ["place"])
SEVERAL = (6, 14)  # asked for about one scene, where many are; it may not allow as many
SEVERAL_SEEN = (7, 17)  # of a picture, so that those of OFTEN stay as many as in words


def existence(scene: Scene, rng: Random, concepts: Sequence[Concept]) -> Turn:
    """Is there a dog? Half no: random, popular or adversarial ones, or another colour."""
    group = rng.choice(scene.groups)
    name, colour = group.concept, None
    yes = rng.random() < 0.5
    if group.colour and rng.random() < 0.4:
        colour = group.colour if yes else other_colour(group, rng)
    elif not yes:
        name = absent(scene, rng, concepts)
    templates = (
        f"Is there {a(name, colour)} in the image?",
        f"Is there {a(name, colour)} in the picture?",
        f"Is there {a(name, colour)}?",
        f"Do you see {a(name, colour)}?",
        f"Are there any {plural(coloured(name, colour))} in the image?",
    )
    return rng.choice(templates), "yes" if yes else "no"


def count(scene: Scene, rng: Random) -> Turn:
    """How many dogs are there?"""
    group = rng.choice(scene.groups)
    colour = group.colour if rng.random() < 0.2 else None
    many = plural(coloured(group.concept, colour))
    ends = ("are there?", "are in the image?", "do you see?", "are there in the picture?")
    return f"How many {many} {rng.choice(ends)}", NUMBERS[group.count]


def colour(scene: Scene, rng: Random) -> Turn:
    """What color is the car? Of the background where no thing is tinted."""
    tinted = [group for group in scene.groups if group.colour]
    word = rng.choice(("color", "colour"))
    if not tinted or rng.random() < 0.15:
        return f"What {word} is the background?", scene.background
    group = rng.choice(tinted)
    be = "is" if group.count == 1 else "are"
    if rng.random() < 0.3:
        yes = rng.random() < 0.5
        asked = group.colour if yes else other_colour(group, rng)
        return f"{be.capitalize()} {the(group)} {asked}?", "yes" if yes else "no"
    does = "does" if group.count == 1 else "do"
    templates = (
        f"What {word} {be} {the(group)}?",
        f"Which {word} {does} {the(group)} have?",
    )
    return rng.choices(templates, weights=(3, 1))[0], group.colour


def position(scene: Scene, rng: Random) -> Turn | None:
    """Where is the car relative to the dog? None where no place is certain."""
    relations = unique_relations(scene)
    if not relations:
        return None
    first, name, second = rng.choice(relations)
    if rng.random() < 0.5:
        templates = (
            f"Where is the {first.concept} relative to the {second.concept}?",
            f"Where is the {first.concept}, seen from the {second.concept}?",
        )
        return rng.choices(templates, weights=(3, 1))[0], name
    yes = rng.random() < 0.5
    if not yes:
        false = [
            other
            for other in RELATION_WORDS
            if other != name and not relation_held_out(first.concept, other, second.concept)
        ]
        yes = not false  # every other place is held out: ask about the true one
        name = rng.choice(false) if false else name
    words = rng.choice(RELATION_WORDS[name])
    return f"Is the {first.concept} {words} the {second.concept}?", "yes" if yes else "no"


def place(scene: Scene, rng: Random) -> Turn | None:
    """Where in the image is the car? In a ninth of it; None without a unique thing."""
    things = unique_things(scene)
    if not things:
        return None
    thing = rng.choice(things)
    where = rng.choice(("image", "picture"))
    return f"Where in the {where} is the {thing.concept}?", ninth(thing.box)


def two_step(scene: Scene, rng: Random) -> Turn | None:
    """A question that needs two looks: find a thing by another, then say what it is."""
    steps = [beside, compare, total, which_is]
    rng.shuffle(steps)
    found = (step(scene, rng) for step in steps)
    return next((turn for turn in found if turn), None)


def beside(scene: Scene, rng: Random) -> Turn | None:
    """What is left of the dog? Only where one thing alone lies on that side."""
    relations = unique_relations(scene)
    if not relations or len(scene.objects) > 2:
        return None
    first, name, second = rng.choice(relations)
    where = f"{rng.choice(RELATION_WORDS[name])} the {second.concept}"
    if first.colour and rng.random() < 0.5:
        word = rng.choice(("color", "colour"))
        return f"What {word} is the object {where}?", first.colour
    return f"What is {where}?", a(first.concept)


def compare(scene: Scene, rng: Random) -> Turn | None:
    """Are there more dogs than cats?"""
    if len(scene.groups) != 2:
        return None
    first, second = shuffled_groups(scene, rng)
    if first.count == second.count:
        return None
    words = f"Are there more {plural(first.concept)} than {plural(second.concept)}?"
    return words, "yes" if first.count > second.count else "no"


def total(scene: Scene, rng: Random) -> Turn | None:
    """How many objects are there?"""
    if len(scene.groups) == 1:
        return None
    ends = ("are there?", "are in the image?", "do you see?")
    return f"How many objects {rng.choice(ends)}", NUMBERS[len(scene.objects)]


def which_is(scene: Scene, rng: Random) -> Turn | None:
    """Which object is red? Only where nothing with a colour of its own could be meant."""
    groups = scene.groups
    if len(groups) == 1 or not all(group.colour for group in groups):
        return None
    group = rng.choice(groups)
    alone = sum(other.colour == group.colour for other in groups) == 1
    if not alone or group.count > 1:
        return None
    return f"Which object is {group.colour}?", f"the {group.concept}"


def ask(scene: Scene, rng: Random, concepts: Sequence[Concept], kind: str) -> Turn | None:
    """A question of one of KINDS or a place; None where the scene does not allow it."""
    if kind == "existence":
        return existence(scene, rng, concepts)
    if kind == "count":
        return count(scene, rng)
    if kind == "colour":
        return colour(scene, rng)
    if kind == "position":
        return position(scene, rng)
    if kind == "place":
        return place(scene, rng)
    return two_step(scene, rng)


def several(
    scene: Scene,
    rng: Random,
    concepts: Sequence[Concept],
    number: int,
    kinds: Sequence[str] = OFTEN,
) -> list[Turn]:
    """Up to `number` differently worded questions of these kinds, mixed; never none."""
    turns = (
        choose(scene, rng, concepts)
        if kind == "options"
        else ask(scene, rng, concepts, kind)
        for kind in rng.sample(kinds, len(kinds))
    )
    different = dict(turn for turn in turns if turn)
    return list(islice(different.items(), number))
