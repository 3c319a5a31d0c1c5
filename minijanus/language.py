"""All English of the world, as pure functions of a scene: words, captions, prompts.

Questions stand in questions.py. A natural colour is never named, a tint always is, so
what a sentence leaves out cannot be wrong.
"""

from collections.abc import Sequence
from random import Random

from minijanus.layout import Box
from minijanus.scenes import Group, Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLURALS = {
    "bison": "bison",
    "buffalo": "buffaloes",
    "deer": "deer",
    "goose": "geese",
    "knife": "knives",
    "leaf": "leaves",
    "mango": "mangoes",
    "moose": "moose",
    "mosquito": "mosquitoes",
    "mouse": "mice",
    "ox": "oxen",
    "potato": "potatoes",
    "scarf": "scarves",
    "sheep": "sheep",
    "shrimp": "shrimp",
    "snowman": "snowmen",
    "squid": "squid",
    "tomato": "tomatoes",
    "tornado": "tornadoes",
    "volcano": "volcanoes",
    "wolf": "wolves",
}
RELATION_WORDS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below",),
}
ROWS, COLUMNS, MIDDLE = ("top", "", "bottom"), ("left", "", "right"), "middle"
# Sound decides, not spelling.
SOUNDS_LIKE_CONSONANT = ("uni", "use", "uk", "eu", "ewe", "one", "uti")
SOUNDS_LIKE_VOWEL = ("hour", "heir", "honest")
DESCRIBE = "Describe the image in detail."  # the paper's own words (paper §4.2)
DESCRIBE_TOO = (DESCRIBE, "What is in the picture?", "Describe the picture.")


def article(words: str) -> str:
    """The indefinite article before these words: a or an."""
    if words.startswith(SOUNDS_LIKE_VOWEL):
        return "an"
    if words.startswith(SOUNDS_LIKE_CONSONANT):
        return "a"
    return "an" if words[0] in "aeiou" else "a"


def plural(noun: str) -> str:
    """The plural of a noun of one or two words."""
    *before, last = noun.split(" ")
    if last in PLURALS:
        many = PLURALS[last]
    elif last.endswith("fish"):
        many = last
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        many = last + "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        many = last[:-1] + "ies"
    else:
        many = last + "s"
    return " ".join([*before, many])


def coloured(concept: str, colour: str | None) -> str:
    """The noun with its colour word, if it has one: "red car"."""
    return f"{colour} {concept}" if colour else concept


def a(concept: str, colour: str | None = None) -> str:
    """One of it: "a red car", "an apple"."""
    words = coloured(concept, colour)
    return f"{article(words)} {words}"


def some(group: Group) -> str:
    """The whole group: "a red car", "three blue dogs"."""
    if group.count == 1:
        return a(group.concept, group.colour)
    return f"{NUMBERS[group.count]} {plural(coloured(group.concept, group.colour))}"


def the(group: Group) -> str:
    """The group as something known: "the car", "the dogs"."""
    return f"the {group.concept if group.count == 1 else plural(group.concept)}"


def listed(parts: Sequence[str]) -> str:
    """Words in a row: "a dog", "a dog and a cat", "a dog, a cat and a bird"."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(words: str) -> str:
    """The words with a capital letter and a full stop."""
    return f"{words[0].upper()}{words[1:]}."


def shuffled_groups(scene: Scene, rng: Random) -> list[Group]:
    """The groups of a scene in random order, so that order of mention means nothing."""
    groups = list(scene.groups)
    rng.shuffle(groups)
    return groups


def unique_things(scene: Scene) -> list[Thing]:
    """The things that are the only one of their concept: "the dog" can mean no other."""
    single = {group.concept for group in scene.groups if group.count == 1}
    return [thing for thing in scene.objects if thing.concept in single]


def unique_relations(scene: Scene) -> list[tuple[Thing, str, Thing]]:
    """The clear relations between things that are the only one of their concept."""
    single = unique_things(scene)
    return [one for one in scene.relations() if one[0] in single and one[2] in single]


def ninth(box: Box) -> str:
    """In which ninth of the picture the middle of a box is: "top left", "middle"."""
    x, y, width, height = box
    row, column = int(3 * (y + height / 2)), int(3 * (x + width / 2))
    return " ".join(filter(None, (ROWS[row], COLUMNS[column]))) or MIDDLE


def related(first: Thing, name: str, second: Thing, rng: Random) -> str:
    """One relation without a verb: "a red car left of a dog"."""
    words = rng.choice(RELATION_WORDS[name])
    return f"{a(first.concept, first.colour)} {words} {a(second.concept, second.colour)}"


def caption(scene: Scene, rng: Random) -> str:
    """What stands in the picture, as a phrase; of a position scene also where.

    Only pictures that were arranged for it state a relation always: GenEval's kinds.
    """
    relations = unique_relations(scene)
    says_where = scene.kind == "position" or (
        scene.stream == "scene" and rng.random() < 0.4
    )
    if says_where and relations and len(scene.objects) == 2:
        return related(*rng.choice(relations), rng)
    return listed([some(group) for group in shuffled_groups(scene, rng)])


def background(scene: Scene) -> str:
    """The background in words, no sentence yet: "the background is yellow"."""
    return f"the background is {scene.background}"


def long_caption(scene: Scene, rng: Random) -> str:
    """A caption that in half of the cases names the background as well."""
    words = caption(scene, rng)
    return f"{words}. {sentence(background(scene))}" if rng.random() < 0.5 else words


def prompt(scene: Scene, rng: Random) -> str:
    """A short request for a drawing, such as a person types (GenEval's six kinds)."""
    before = rng.choice(("a photo of ", "a picture of ")) if rng.random() < 0.3 else ""
    return before + caption(scene, rng)


def description(scene: Scene, rng: Random) -> str:
    """Several sentences that state everything: objects, colours, places, background."""
    groups = shuffled_groups(scene, rng)
    relations = unique_relations(scene)
    rng.shuffle(relations)
    where = scene.kind == "position" or rng.random() < 0.5
    if relations and len(scene.objects) == 2 and where:
        first, name, second = relations[0]
        words = rng.choice(RELATION_WORDS[name])
        told = [
            f"{a(first.concept, first.colour)} is {words} "
            + a(second.concept, second.colour)
        ]
    else:
        everything = listed([some(group) for group in groups])
        verb = "is" if groups[0].count == 1 else "are"
        opening = (f"there {verb} {everything}", f"the image shows {everything}")
        told = [rng.choice(opening), *further_relations(relations, rng)]
    told.append(background(scene))
    return " ".join(sentence(words) for words in told)


def further_relations(relations: list[tuple[Thing, str, Thing]], rng: Random) -> list[str]:
    """One sentence for each of at most two different pairs."""
    told: dict[frozenset[str], str] = {}
    for first, name, second in relations:
        words = rng.choice(RELATION_WORDS[name])
        pair = frozenset((first.concept, second.concept))
        told.setdefault(pair, f"the {first.concept} is {words} the {second.concept}")
    return list(told.values())[:2]
