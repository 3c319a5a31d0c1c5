"""What the world is made of: concepts, colours, backgrounds, and what is held out.

A concept has a name, an emoji code that finds its drawings in data/sprites.parquet, and
a group: things of one group appear together more often. The order of a list is the order
of frequency, so the first concepts are the "popular" ones.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from zlib import crc32

from minijanus.folders import RESULTS

HELD_OUT_STYLE = "noto-v1"  # no training picture of any phase is drawn in it
HELD_OUT_SHARE = 10  # about one in ten combinations, and one in ten scenes, is held out

# Three stops per colour, dark to light: shading stays, and every stop bears the name.
COLOURS = {
    "red": ((96, 6, 10), (222, 32, 34), (255, 118, 96)),
    "yellow": ((128, 92, 0), (244, 202, 12), (255, 240, 120)),
    "green": ((8, 68, 18), (44, 166, 56), (140, 224, 120)),
    "blue": ((8, 26, 104), (30, 96, 228), (118, 180, 255)),
    "purple": ((48, 8, 84), (128, 46, 186), (188, 126, 236)),
    "pink": ((150, 24, 96), (255, 104, 182), (255, 190, 222)),
}
BACKGROUNDS = {
    "white": (255, 255, 255),
    "yellow": (253, 243, 205),
    "blue": (203, 225, 250),
    "green": (212, 239, 209),
    "grey": (218, 218, 218),
}

TINY_CONCEPTS = (  # name, emoji code, group; most frequent first
    ("dog", "1F436", "animals"),
    ("car", "1F697", "vehicles"),
    ("apple", "1F34E", "food"),
    ("house", "1F3E0", "things"),
    ("cat", "1F431", "animals"),
    ("tree", "1F333", "plants"),
    ("ball", "26BD", "things"),
    ("banana", "1F34C", "food"),
    ("airplane", "2708", "vehicles"),
    ("fish", "1F41F", "animals"),
    ("umbrella", "2602", "things"),
    ("sunflower", "1F33B", "plants"),
    ("hamburger", "1F354", "food"),
    ("penguin", "1F427", "animals"),
    ("bus", "1F68C", "vehicles"),
    ("cactus", "1F335", "plants"),
    ("guitar", "1F3B8", "things"),
    ("elephant", "1F418", "animals"),
    ("strawberry", "1F353", "food"),
    ("rocket", "1F680", "vehicles"),
    ("crown", "1F451", "things"),
    ("mushroom", "1F344", "plants"),
    ("butterfly", "1F98B", "animals"),
    ("cake", "1F382", "food"),
    ("boat", "26F5", "vehicles"),
    ("robot", "1F916", "things"),
    ("tulip", "1F337", "plants"),
    ("octopus", "1F419", "animals"),
    ("carrot", "1F955", "food"),
    ("truck", "1F69A", "vehicles"),
    ("balloon", "1F388", "things"),
    ("key", "1F511", "things"),
)
MEMBER_OF = {  # how the groups of the tiny world read after "Is a dog ...?"
    "animals": "an animal",
    "vehicles": "a vehicle",
    "food": "something to eat",
    "plants": "a plant",
}

GROUPS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
# Labels that name no thing one can count, or a second drawing of a thing already there.
ODD = """
    guide dog, service dog, pig nose, microbe, herb, coral, wilted flower, leafless tree,
    spouting whale, leafy green, broccoli, garlic, ginger root, root vegetable, bread,
    baguette bread, flatbread, stuffed flatbread, bacon, falafel, cooking, fondue, popcorn,
    butter, salt, canned food, cooked rice, curry rice, spaghetti, oden, sushi, fried
    shrimp, dango, shaved ice, custard, sake, pouring liquid, bubble tea, mate, ice, hot
    beverage, tropical drink, landslide, mount fuji, camping, desert, desert island,
    national park, building construction, wood, derelict house, love hotel, wedding, kaaba,
    foggy, cityscape, sunrise, sunset, metro, light rail, mountain railway, motorway,
    railway track, construction, airplane departure, airplane arrival, suspension railway,
    mountain cableway, aerial tramway, hourglass done, new moon, full moon, milky way, fog,
    cyclone, high voltage, fire, water wave, glowing star, tanabata tree, pine decoration,
    tennis, bowling, cricket game, field hockey, ice hockey, lacrosse, badminton, water
    pistol, spade suit, heart suit, diamond suit, club suit, joker, yarn, thread, reminder
    ribbon, muted speaker, low battery, dvd, incoming envelope, outbox tray, inbox tray,
    memo, chart increasing, chart decreasing, bar chart, locked, unlocked, broken chain,
    dna, soap, cigarette, coffin, headstone, funeral urn, nazar amulet, hamsa, moai,
    placard, bikini, gem stone, round pushpin, ping pong, hot pepper, computer disk,
    american football, rugby football, military medal, postal horn, clutch bag, flat shoe,
    telephone receiver, game die, yen banknote, euro banknote, pound banknote, spiral
    calendar, optical disk, hindu temple, shinto shrine, luggage, label, link, steaming bowl
"""
ODD_LABELS = frozenset(" ".join(ODD.split()).split(", "))
# Which names also cover others: a scene with a penguin is never asked about birds.
COVERS = {
    "ball": ("baseball", "basketball", "softball", "volleyball"),
    "bear": ("panda",),
    "bird": (
        "baby chick", "chicken", "dodo", "dove", "duck", "eagle", "flamingo", "goose",
        "hatching chick", "owl", "parrot", "peacock", "penguin", "phoenix", "rooster",
        "swan", "turkey",
    ),
    "boat": ("canoe", "ferry", "passenger ship", "ship", "speedboat"),
    "bug": ("ant", "beetle", "cockroach", "cricket", "fly", "honeybee", "mosquito"),
    "bus": ("minibus", "trolleybus"),
    "cake": ("cupcake", "shortcake"),
    "car": ("taxi",),
    "chicken": ("baby chick", "hatching chick", "rooster"),
    "cow": ("ox",),
    "dog": ("poodle",),
    "elephant": ("mammoth",),
    "fish": ("blowfish", "shark"),
    "lizard": ("crocodile",),
    "monkey": ("gorilla", "orangutan"),
    "notebook": ("spiral notepad",),
    "pig": ("boar",),
    "purse": ("handbag",),
    "ship": ("ferry",),
    "telephone": ("mobile phone",),
    "train": ("locomotive", "monorail", "tram"),
    "truck": ("articulated lorry",),
    "watch": ("stopwatch",),
    "whale": ("orca",),
}  # fmt: skip
SINGULAR_ENDS = ("us", "ss", "os")  # an s that does not make a plural


@dataclass(frozen=True)
class Concept:
    """One kind of thing and the styles in which it may be drawn."""

    name: str
    hexcode: str
    group: str
    styles: tuple[str, ...]


@cache
def colour_held_out(colour: str, concept: str) -> bool:
    """Whether no training scene is tinted, and no prompt worded, in this combination.

    A colour that a thing has by nature is never held out: plain balloons are red.
    """
    if colour in natural_colours().get(concept, ()):
        return False
    return crc32(f"{colour} {concept}".encode()) % HELD_OUT_SHARE == 0


@cache
def relation_held_out(first: str, relation: str, second: str) -> bool:
    """Whether no training picture or prompt shows this arrangement, in either wording."""
    if relation in ("right", "below"):  # (b right of a) is the same picture
        first, second = second, first
        relation = {"right": "left", "below": "above"}[relation]
    return crc32(f"{first} {relation} {second}".encode()) % HELD_OUT_SHARE == 0


def tiny_concepts(sprites: Iterable[dict], styles: Iterable[str]) -> list[Concept]:
    """The concepts of tiny that are drawn in at least one of these styles."""
    drawn = styles_by_code(sprites, styles)
    return [
        Concept(name, code, group, drawn[code])
        for name, code, group in TINY_CONCEPTS
        if code in drawn
    ]


def small_concepts(sprites: Iterable[dict], styles: Iterable[str]) -> list[Concept]:
    """All things with a plain name of one or two words; those of tiny come first."""
    sprites = list(sprites)
    drawn = styles_by_code(sprites, styles)
    names = {name: code for name, code, _ in TINY_CONCEPTS}
    groups = {row["hexcode"]: row["group"] for row in sprites}
    plain = {row["label"]: row["hexcode"] for row in sprites if is_plain(row)}
    # By hash, so that frequency follows neither the alphabet nor the group.
    for label in sorted(plain, key=label_hash):
        if label not in names and plain[label] not in names.values():
            names[label] = plain[label]
    return [
        Concept(name, code, groups[code], drawn[code])
        for name, code in names.items()
        if code in drawn
    ]


@cache
def near_copies() -> frozenset[str]:
    """Codes whose held-out drawing nearly equals another one (data/style_distance.py)."""
    return frozenset(result("style_distance")["near_copies"])


@cache
def natural_colours() -> dict[str, list[str]]:
    """The colours that each concept has without a tint (data/natural_colours.py)."""
    return result("natural_colours")


def result(name: str) -> dict:
    """What a script of data/ found, from data/results."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def styles_by_code(
    sprites: Iterable[dict], styles: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Which of these styles each emoji code is drawn in, in the order of the styles."""
    have = {
        (row["hexcode"], row["style"])
        for row in sprites
        if row["style"] != HELD_OUT_STYLE or row["hexcode"] not in near_copies()
    }
    wanted = tuple(styles)
    found = {code: tuple(s for s in wanted if (code, s) in have) for code, _ in have}
    return {code: names for code, names in found.items() if names}


def is_plain(row: dict) -> bool:
    """Whether a drawing's label can stand in a sentence as the name of one thing."""
    label = row["label"]
    words = label.split()
    return (
        row["group"] in GROUPS
        and re.fullmatch("[a-z]+( [a-z]+)?", label) is not None
        and label not in ODD_LABELS
        and not {"face", "clock", "oncoming"} & set(words)
        and not {*COLOURS, "orange", "brown", "black", "white"} & set(words)
        and (not label.endswith("s") or label.endswith(SINGULAR_ENDS))
    )


def label_hash(label: str) -> int:
    """A number that depends on nothing but the label."""
    return crc32(label.encode())


def overlap(a: str, b: str) -> bool:
    """Whether one name may be said of the other: bird and penguin, bear and polar bear."""
    for wide, narrow in ((a, b), (b, a)):
        if narrow.split(" ")[-1] == wide or narrow in COVERS.get(wide, ()):
            return True
    return False
