"""Scenes as plain facts: what is where, in which colour; how they are sampled.

A scene is drawn at any size by world.py and put into words by language.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, islice
from random import Random
from typing import TypeVar
from zlib import crc32

from minijanus.concepts import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_SHARE,
    Concept,
    colour_held_out,
    overlap,
    relation_held_out,
)
from minijanus.lab import UserError
from minijanus.layout import OPPOSITE, Box, category_box, drawn_boxes, free_boxes, relation

T = TypeVar("T")
TRIES = 10_000  # scenes looked at before a kind of question or drawing is given up
RELATED = 0.5  # how often the next thing comes from the first one's group on purpose
TINTED = 0.3  # how often a thing whose colour is free is tinted in a drawing scene
TINTED_CATEGORY = 0.5  # and in a category picture: "red car" is a category like "car"

# GenEval's six kinds and what free scenes show; shares in percent.
DRAWN = {
    "single": 15,
    "two": 20,
    "counting": 15,
    "colours": 15,
    "position": 20,
    "attribution": 15,
}
FREE = {"single": 15, "two": 40, "counting": 15, "mixed": 30}


@dataclass(frozen=True)
class Thing:
    """One object: a colour of None is the drawing as it is, of which none is named."""

    concept: str
    colour: str | None
    style: str
    box: Box


@dataclass(frozen=True)
class Group:
    """All objects of one concept in a scene; they share their colour."""

    concept: str
    colour: str | None
    count: int


@dataclass(frozen=True)
class Scene:
    """What a picture shows, exactly."""

    kind: str  # a key of DRAWN or FREE
    objects: tuple[Thing, ...]
    background: str
    stream: str  # scene, document: to be understood; caption, category: to be drawn; text
    index: int

    @property
    def style(self) -> str:
        """The one art style of the scene."""
        return self.objects[0].style

    @property
    def groups(self) -> tuple[Group, ...]:
        """The objects counted by concept, in order of first appearance."""
        counts: dict[tuple[str, str | None], int] = {}
        for thing in self.objects:
            name = (thing.concept, thing.colour)
            counts[name] = counts.get(name, 0) + 1
        return tuple(Group(*name, count) for name, count in counts.items())

    def relations(self) -> list[tuple[Thing, str, Thing]]:
        """Every clear (a, relation, b) between objects of different concepts, both ways."""
        found = []
        for a, b in combinations(self.objects, 2):
            name = relation(a.box, b.box)
            if name and a.concept != b.concept:
                found += [(a, name, b), (b, OPPOSITE[name], a)]
        return found

    @property
    def held_out(self) -> bool:
        """Whether no training picture may be this one; decided by what it shows alone."""
        shown = sorted(map(repr, self.objects))
        return crc32(f"{shown} {self.background}".encode()) % HELD_OUT_SHARE == 0

    def shows_unseen(self) -> bool:
        """Whether the scene shows a combination that no training picture shows."""
        if any(t.colour and colour_held_out(t.colour, t.concept) for t in self.objects):
            return True
        return any(
            relation_held_out(a.concept, name, b.concept) for a, name, b in self.relations()
        )


class Sampler:
    """Draws concepts with skewed frequency, related ones together, and builds scenes."""

    def __init__(self, concepts: Sequence[Concept]):
        self.concepts = tuple(concepts)
        weights = [1 / (1 + rank) ** 0.5 for rank in range(len(self.concepts))]
        self.all = (self.concepts, list(accumulate(weights)))
        members: dict[str, list[tuple[Concept, float]]] = {}
        for concept, weight in zip(self.concepts, weights, strict=True):
            members.setdefault(concept.group, []).append((concept, weight))
        self.by_group = {
            group: ([c for c, _ in pairs], list(accumulate(w for _, w in pairs)))
            for group, pairs in members.items()
        }

    def pick(self, rng: Random, count: int) -> list[Concept]:
        """Draw different concepts that have at least one style in common."""
        chosen: list[Concept] = []
        while len(chosen) < count:
            related = chosen and rng.random() < RELATED
            names, weights = self.by_group[chosen[0].group] if related else self.all
            concept = rng.choices(names, cum_weights=weights)[0]
            told_apart = not any(overlap(concept.name, other.name) for other in chosen)
            if told_apart and shared_styles([*chosen, concept]):
                chosen.append(concept)
        return chosen

    def scene(
        self, rng: Random, stream: str, index: int, heldout: bool, unseen: bool
    ) -> Scene:
        """Draw one scene of a stream, of the held-out picture pool iff `heldout`.

        It shows a held-out combination iff `unseen`.
        """
        shares = FREE if stream in ("scene", "document", "text") else DRAWN
        kind = "single" if stream == "category" else weighted(rng, shares)
        while True:
            scene = self._attempt(rng, kind, stream, index)
            if scene.held_out == heldout and scene.shows_unseen() == unseen:
                return scene
            # This kind may be one that cannot hold anything out; a category is always one.
            if unseen and stream != "category":
                kind = weighted(rng, shares)

    def _attempt(self, rng: Random, kind: str, stream: str, index: int) -> Scene:
        counts = group_counts(rng, kind)
        chosen = self.pick(rng, len(counts))
        colours = pick_colours(rng, kind, stream, len(counts))
        if stream == "category":
            boxes = category_box(rng)
        else:
            boxes = (drawn_boxes if on_grid(stream) else free_boxes)(rng, sum(counts))
        style = rng.choice(shared_styles(chosen))
        named = [
            (concept.name, colour)
            for concept, colour, count in zip(chosen, colours, counts, strict=True)
            for _ in range(count)
        ]
        things = tuple(
            Thing(name, colour, style, box)
            for (name, colour), box in zip(named, boxes, strict=True)
        )
        return Scene(kind, things, rng.choice(tuple(BACKGROUNDS)), stream, index)


def on_grid(stream: str) -> bool:
    """Whether the pictures of a stream are drawing targets, which stand on the grid."""
    return stream in ("category", "caption")


def shared_styles(concepts: Sequence[Concept]) -> list[str]:
    """The styles that all these concepts have, in a fixed order."""
    first, *rest = concepts
    return [s for s in first.styles if all(s in c.styles for c in rest)]


def weighted(rng: Random, shares: dict[T, int]) -> T:
    """Draw a key with the probability of its share."""
    return rng.choices(tuple(shares), weights=tuple(shares.values()))[0]


def group_counts(rng: Random, kind: str) -> list[int]:
    """How many objects each group of a scene of this kind has."""
    if kind in ("single", "colours"):
        return [1]
    if kind == "counting":
        return [rng.randint(2, 4)]
    if kind == "mixed":
        return list(rng.choice(((1, 1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (4, 1), (2, 3))))
    return [1, 1]


def pick_colours(rng: Random, kind: str, stream: str, count: int) -> list[str | None]:
    """The colour of each group; two attributed colours always differ."""
    if kind == "colours":
        return [rng.choice(tuple(COLOURS))]
    if kind == "attribution":
        return rng.sample(tuple(COLOURS), 2)
    if kind == "single" and stream == "caption":
        return [None]
    share = {"caption": TINTED, "category": TINTED_CATEGORY}.get(stream, 0.5)
    names = tuple(COLOURS)
    return [rng.choice(names) if rng.random() < share else None for _ in range(count)]


def enough(found: Iterator[T], name: str, number: int) -> list[T]:
    """The first so many of what was found in TRIES scenes; UserError for too few."""
    first = list(islice(found, number))
    if len(first) < number:
        raise UserError(
            f"{name} needs {number} scenes and only {len(first)} of {TRIES} allow it: "
            "choose a world with more concepts."
        )
    return first
