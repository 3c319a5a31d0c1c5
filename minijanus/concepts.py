"""What the world is made of: concepts, colours, backgrounds, and what is held out.

A concept has a name, an emoji code that finds its drawings in data/sprites.parquet, and
a group: things of one group appear together more often. The order of a list is the order
of frequency, so the first concepts are the "popular" ones.
"""

from dataclasses import dataclass
from functools import cache
from zlib import crc32

HELD_OUT_STYLE = "noto-v1"  # no training picture of any phase is drawn in it
HELD_OUT_SHARE = 10  # about one in ten combinations is held out

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

TINY = (  # name, emoji code, group; most frequent first
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
    ("bird", "1F426", "animals"),
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


@dataclass(frozen=True)
class Concept:
    """One kind of thing and the styles in which it may be drawn."""

    name: str
    hexcode: str
    group: str
    styles: tuple[str, ...]


@cache
def colour_held_out(colour: str, concept: str) -> bool:
    """Whether no training picture or prompt shows this concept in this colour."""
    return crc32(f"{colour} {concept}".encode()) % HELD_OUT_SHARE == 0


@cache
def relation_held_out(first: str, relation: str, second: str) -> bool:
    """Whether no training picture or prompt shows this arrangement, in either wording."""
    if relation in ("right", "below"):  # (b right of a) is the same picture
        first, second = second, first
        relation = {"right": "left", "below": "above"}[relation]
    return crc32(f"{first} {relation} {second}".encode()) % HELD_OUT_SHARE == 0
