"""Wrong answers that are surely wrong: what a scene does not show, and the four options.

Training and benchmarks ask with the same options. No held-out combination is ever a wrong
answer, or "unseen" would mean wrong.
"""

from collections.abc import Sequence
from random import Random

from minijanus.concepts import COLOURS, Concept, colour_held_out, overlap, relation_held_out
from minijanus.language import NUMBERS, RELATION_WORDS, a, plural, the, unique_relations
from minijanus.scenes import Group, Scene

POPULAR = 4  # "popular" means the most frequent quarter of the concepts
LETTERS = ("A", "B", "C", "D")
CHOICES = ("thing", "count", "colour", "position")  # kinds of question with options
Choice = tuple[str, str, Sequence[str]]  # a question, its answer, what else is an option


def absent_pools(scene: Scene, concepts: Sequence[Concept]) -> dict[str, list[str]]:
    """Names of concepts that the scene does not show: any, frequent ones, related ones."""
    present = {group.concept for group in scene.groups}
    kinds = {c.group for c in concepts if c.name in present}
    pools = {
        "random": concepts,
        "popular": concepts[: max(1, len(concepts) // POPULAR)],
        "adversarial": [c for c in concepts if c.group in kinds],
    }
    return {
        split: [c.name for c in pool if not any(overlap(c.name, p) for p in present)]
        for split, pool in pools.items()
    }


def absent(scene: Scene, rng: Random, concepts: Sequence[Concept]) -> str:
    """A concept that is not in the scene: any, a frequent one, or a related one."""
    pools = absent_pools(scene, concepts)
    for names in (rng.choice(list(pools.values())), pools["random"]):
        if names:
            return rng.choice(names)
    raise ValueError("A question needs a concept that the scene does not show; add some.")


def other_colour(group: Group, rng: Random) -> str:
    """A colour that the group does not have and that is not held out with it."""
    return rng.choice(
        [c for c in COLOURS if c != group.colour and not colour_held_out(c, group.concept)]
    )


def choice(
    scene: Scene, rng: Random, concepts: Sequence[Concept], kind: str
) -> Choice | None:
    """A question of one of CHOICES; None where the scene does not allow it."""
    if kind == "thing":
        others = [a(name) for name in absent_pools(scene, concepts)["random"]]
        there = a(rng.choice(scene.groups).concept)
        return "Which of these is in the image?", there, others
    if kind == "count":
        group = rng.choice(scene.groups)
        words = f"How many {plural(group.concept)} are there?"
        return words, NUMBERS[group.count], NUMBERS[1:7]
    if kind == "colour":
        return choice_of_colour(scene, rng)
    return choice_of_place(scene, rng)


def choice_of_colour(scene: Scene, rng: Random) -> Choice | None:
    """What color is the car? No option is held out with it; None if too few are left."""
    tinted = [group for group in scene.groups if group.colour]
    if not tinted:
        return None
    group = rng.choice(tinted)
    be = "is" if group.count == 1 else "are"
    others = [c for c in COLOURS if not colour_held_out(c, group.concept)]
    if len({group.colour, *others}) < len(LETTERS):
        return None
    return f"What color {be} {the(group)}?", group.colour, others


def choice_of_place(scene: Scene, rng: Random) -> Choice | None:
    """Where is the car? Only of two things that may lie in any way to each other."""
    free = [
        (first.concept, name, second.concept)
        for first, name, second in unique_relations(scene)
        if not any(
            relation_held_out(first.concept, other, second.concept)
            for other in RELATION_WORDS
            if other != name
        )
    ]
    if not free:
        return None
    first, name, second = rng.choice(free)
    return f"Where is the {first} relative to the {second}?", name, tuple(RELATION_WORDS)


def four_options(asked: Choice, rng: Random) -> list[str]:
    """The answer and three others, in random order."""
    _, answer, others = asked
    wrong = [other for other in others if other != answer]
    options = [answer, *rng.sample(wrong, len(LETTERS) - 1)]
    rng.shuffle(options)
    return options


def lay_out(question: str, options: Sequence[str]) -> str:
    """A question with four options below it, each on a line with its letter."""
    lines = [f"{name}. {option}" for name, option in zip(LETTERS, options, strict=True)]
    return "\n".join([question, *lines])


def lettered(asked: Choice, rng: Random) -> tuple[str, str]:
    """The question with its options, and the letter of the right one."""
    options = four_options(asked, rng)
    return lay_out(asked[0], options), LETTERS[options.index(asked[1])]


def choose(
    scene: Scene, rng: Random, concepts: Sequence[Concept]
) -> tuple[str, str] | None:
    """A question with options of any kind, and its letter; None if that does not fit."""
    asked = choice(scene, rng, concepts, rng.choice(CHOICES))
    return lettered(asked, rng) if asked else None
