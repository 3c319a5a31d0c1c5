"""The world's pictures and pools against brute force (issue 2 §3)."""

import colorsys
import hashlib
import os
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from minijanus.concepts import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_STYLE,
    colour_held_out,
    near_copies,
    overlap,
    relation_held_out,
)
from minijanus.config import SMALL, TINY
from minijanus.scenes import Scene
from minijanus.sprites import compose, cut_out, drawings
from minijanus.world import World, concepts_of

CFG = replace(TINY, n_scenes=700)
HUES = {"red": 0, "yellow": 48, "green": 125, "blue": 218, "purple": 275, "pink": 328}
TASKS = ("understanding", "text", "generation")


@pytest.fixture(scope="module")
def world() -> World:
    """The tiny world with small pools."""
    return World(CFG)


def all_scenes(world: World, count: int) -> Iterator[Scene]:
    """The first scenes of every stream."""
    for stream in ("scene", "document", "category", "caption", "text"):
        for index in range(count):
            yield world.scene(stream, index)


def named(hue: float) -> str:
    """The colour whose hue, in degrees, is nearest."""
    return min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))


def seen_pixels(world: World, scene: Scene, size: int) -> np.ndarray:
    """Which pixels differ from the background."""
    picture = np.asarray(world.render(scene, size)).astype(int)
    return np.abs(picture - BACKGROUNDS[scene.background]).max(-1) > 0


def test_box_is_where_the_pixels_are(world: World) -> None:
    """A box that is not where the object was drawn would make every place answer wrong."""
    size, checked = 192, 0
    for scene in (world.scene(s, i) for s in ("scene", "caption") for i in range(150)):
        if len(scene.objects) > 1:
            continue
        # A pale drawing may fade into a pale background: show it on black instead.
        (thing,) = scene.objects
        code = world.codes[thing.concept]
        item = (code, thing.style, thing.colour or "green", thing.box)
        shown = np.asarray(compose(size, (0, 0, 0), [item])).max(-1) > 20
        rows, columns = np.where(shown.any(1))[0], np.where(shown.any(0))[0]
        x, y, width, height = (round(edge * size) for edge in thing.box)
        spans = (columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        assert abs(max(spans) - width) <= 3
        assert abs((columns[0] + columns[-1] + 1) / 2 - (x + width / 2)) <= 3
        assert abs((rows[0] + rows[-1] + 1) / 2 - (y + height / 2)) <= 3
        checked += 1
    assert checked > 50


def test_every_box_holds_something_and_nothing_lies_outside(world: World) -> None:
    """An object drawn twice, hidden, or forgotten would make counts wrong."""
    for scene in (world.scene(s, i) for s in ("scene", "caption") for i in range(150)):
        seen = seen_pixels(world, scene, 64)
        for thing in scene.objects:
            x, y, width, height = (round(edge * 64) for edge in thing.box)
            inside = seen[y : y + height, x : x + width]
            assert inside.mean() > 0.05, scene
            seen[y : y + height, x : x + width] = False
        assert not seen.any(), scene


def test_boxes_do_not_overlap_and_stay_large(world: World) -> None:
    """Objects over one another or too small to see would be counted but not visible."""
    for scene in all_scenes(world, 300):
        for thing in scene.objects:
            x, y, width, height = thing.box
            assert min(x, y) >= 0 and max(x + width, y + height) <= 1
            assert width == height >= 14 / 64
        for a, b in combinations([thing.box for thing in scene.objects], 2):
            pixels = np.zeros((64, 64), int)
            for x, y, width, height in (a, b):
                left, top = round(x * 64), round(y * 64)
                pixels[top : top + round(height * 64), left : left + round(width * 64)] += 1
            assert pixels.max() == 1


def test_drawing_scenes_stand_on_the_grid(world: World) -> None:
    """Off the grid of codes the same drawing gives other codes, and nothing is learnt."""
    for stream in ("category", "caption"):
        boxes = set()
        for scene in (world.scene(stream, i) for i in range(300)):
            for x, y, width, _ in (thing.box for thing in scene.objects):
                centre = ((x + width / 2) * 8, (y + width / 2) * 8)
                assert all(c == int(c) for c in centre)
                assert (x - 1 / 64) * 8 % 1 == 0, "the phase of the grid differs"
                boxes.add((x, y, width))
        assert len({width for _, _, width in boxes}) == 1 and len(boxes) == 9


@pytest.mark.parametrize("style", [*CFG.styles, HELD_OUT_STYLE])
def test_the_whole_drawing_has_the_named_colour(style: str) -> None:
    """A tint that leaves white or black drawings as they are would make colours a lie."""
    for concept in concepts_of("tiny", (style,)):
        for colour in HUES:
            item = (concept.hexcode, style, colour, (0, 0, 1, 1))
            on_white = np.asarray(compose(24, (255, 255, 255), [item])).reshape(-1, 3)
            on_black = np.asarray(compose(24, (0, 0, 0), [item])).reshape(-1, 3)
            solid = on_black[(on_white == on_black).all(-1)] / 255
            names = [named(colorsys.rgb_to_hsv(*pixel)[0] * 360) for pixel in solid]
            assert names.count(colour) > 0.97 * len(names), (concept.name, colour)


def test_held_out_combinations_never_appear_in_training(world: World) -> None:
    """One leak and the test of generalisation measures memory."""
    shown = Counter()
    for scene in all_scenes(world, 700):
        for thing in scene.objects:
            shown[thing.colour, thing.concept] += 1
        for a, b in combinations(scene.objects, 2):
            # Brute force: whatever its angle, no pair may look like a held-out one.
            dx = a.box[0] + a.box[2] / 2 - b.box[0] - b.box[2] / 2
            dy = a.box[1] + a.box[3] / 2 - b.box[1] - b.box[3] / 2
            if abs(dx) >= 2 * abs(dy) and a.concept != b.concept:
                assert not relation_held_out(
                    a.concept, "left" if dx < 0 else "right", b.concept
                )
            if abs(dy) >= 2 * abs(dx) and a.concept != b.concept:
                assert not relation_held_out(
                    a.concept, "above" if dy < 0 else "below", b.concept
                )
    assert not [pair for pair in shown if pair[0] and colour_held_out(*pair)]
    names = [concept.name for concept in world.concepts]
    held = sum(colour_held_out(c, n) for c in COLOURS for n in names)
    assert 0.05 < held / (len(COLOURS) * len(names)) < 0.2
    # Seen ones do appear, each of them.
    assert len([p for p in shown if p[0]]) == len(COLOURS) * len(names) - held


def test_held_out_relations_are_held_out_in_both_wordings(world: World) -> None:
    """(a left of b) held out while (b right of a) trains would be no hold-out at all."""
    names = [concept.name for concept in world.concepts]
    pairs = [(a, b) for a in names for b in names if a != b]
    for a, b in pairs:
        assert relation_held_out(a, "left", b) == relation_held_out(b, "right", a)
        assert relation_held_out(a, "above", b) == relation_held_out(b, "below", a)
    share = np.mean([relation_held_out(a, "left", b) for a, b in pairs])
    assert 0.07 < share < 0.13


def test_the_held_out_worlds() -> None:
    """Held-out scenes must not repeat training ones, unseen ones must show the unseen."""
    train, fresh = World(CFG), World(CFG, "heldout")
    unseen = World(CFG, "heldout", combinations="unseen")
    old = {train.scene("caption", i).objects for i in range(700)}
    free = {train.scene("scene", i).objects for i in range(700)}
    for i in range(200):
        assert not fresh.scene("caption", i).shows_unseen()
        assert fresh.scene("scene", i).objects not in free
        for stream in ("scene", "caption", "category"):
            scene = unseen.scene(stream, i)
            assert scene.shows_unseen() and scene.objects not in old
    test = World(CFG, "test")
    keys = {w.record("generation", 3, 2).key for w in (train, fresh, unseen, test)}
    assert len(keys) == 4
    looked_at = {fresh.scene("scene", i).objects for i in range(700)}
    assert not any(test.scene("scene", i).objects in looked_at | free for i in range(200))
    with pytest.raises(ValueError, match="not for the split train"):
        World(CFG, combinations="unseen")


def test_no_held_out_picture_is_a_training_picture() -> None:
    """Single things stand in few ways: drawn freely, both splits would show the same."""
    train, fresh = World(CFG), World(CFG, "heldout")
    for stream in ("category", "caption"):
        old = {train.render(train.scene(stream, i)).tobytes() for i in range(1500)}
        new = {fresh.render(fresh.scene(stream, i)).tobytes() for i in range(300)}
        assert not old & new, stream


def test_a_natural_colour_is_not_held_out() -> None:
    """Were (red, balloon) held out, every plain balloon of the training would show it."""
    assert zlib.crc32(b"red balloon") % 10 == 0  # by its hash it would be
    assert not colour_held_out("red", "balloon")
    image = np.asarray(cut_out("1F388", "noto"), dtype=int)
    middle = image[image.shape[0] // 3, image.shape[1] // 2]
    assert middle[0] > 2 * max(middle[1:3])  # it is red indeed
    assert colour_held_out("blue", "crown")  # gold by nature


def test_styles(world: World) -> None:
    """One training picture in the held-out style and it is held out no more."""
    assert {s.style for s in all_scenes(world, 100)} == set(CFG.styles)
    assert all(len({t.style for t in s.objects}) == 1 for s in all_scenes(world, 50))
    held = World(CFG, "heldout", style=HELD_OUT_STYLE)
    assert {s.style for s in all_scenes(held, 50)} == {HELD_OUT_STYLE}
    assert len(world.concepts) == 32
    kept = {c.hexcode for c in held.concepts}  # copies of training drawings are left out
    assert kept == {c.hexcode for c in world.concepts} - near_copies()
    assert len(kept) > 16
    assert HELD_OUT_STYLE not in SMALL.styles + TINY.styles


def test_no_held_out_drawing_has_a_near_copy_in_training() -> None:
    """A drawing that both styles share is not unseen (nearest neighbours in RGBA)."""

    def features(items: list[tuple[str, str]]) -> np.ndarray:
        small = [np.asarray(cut_out(*item).resize((24, 24)), np.float32) for item in items]
        flat = [
            np.dstack([a[..., :3] * a[..., 3:] / 255, a[..., 3]]).ravel() for a in small
        ]
        return np.stack(flat)

    def nearest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        return np.sqrt(np.maximum(squares, 0).min(1) / a.shape[1])

    held = [(c.hexcode, HELD_OUT_STYLE) for c in concepts_of("small", (HELD_OUT_STYLE,))]
    codes = {c.hexcode for c in concepts_of("small", SMALL.styles)}
    by_style = {
        style: features([(h, s) for h, s in drawings() if s == style and h in codes])
        for style in SMALL.styles
    }
    distance = nearest(features(held), np.concatenate(list(by_style.values())))
    # The two Fluent sets share their drawings: that is how near copies are.
    shared = nearest(by_style["fluent-3d"], by_style["fluent-flat"])
    assert distance.min() > np.quantile(shared, 0.7)
    assert np.median(distance) > 1.8 * np.median(shared)


def test_records_depend_on_seed_and_index_only() -> None:
    """Order of access, another instance or another process must not change a sample."""
    wanted = [(t, i, s) for t in TASKS for i in (9, 4, 30) for s in (1, 2, 3)]
    first, second = World(CFG), World(CFG)
    forth = [first.record(*one) for one in wanted]
    back = [second.record(*one) for one in reversed(wanted)][::-1]
    for a, b in zip(forth, back, strict=True):
        assert a.messages == b.messages and a.key == b.key
        assert [i.tobytes() for i in a.images] == [i.tobytes() for i in b.images]
    other = World(replace(CFG, seed=1))
    assert any(
        other.record(*w).messages != a.messages for w, a in zip(wanted, forth, strict=True)
    )


def test_another_process_gives_the_same_records() -> None:
    """Python's hash of strings changes between processes; a sample must not follow it."""
    code = (
        "import hashlib; from minijanus.config import TINY;"
        "from minijanus.world import World;"
        "w = World(TINY); h = hashlib.sha256();"
        "[h.update(repr((r.messages, r.key)).encode() + b''.join(i.tobytes() for i in "
        "r.images)) for t in ('understanding', 'text', 'generation') for i in range(60)"
        " for r in [w.record(t, i, 3)]]; print(h.hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_same_key_means_the_same_pictures(world: World) -> None:
    """A cache of encoded pictures by key would hand out the wrong picture."""
    pictures: dict[str, str] = {}
    words: dict[str, set[str]] = {}
    small = World(replace(CFG, n_scenes=40))
    for task, stage, category in (
        ("understanding", 1, False),
        ("understanding", 2, False),
        ("understanding", 3, False),
        ("generation", 1, True),
        ("generation", 2, False),
    ):
        for index in range(250):
            record = small.record(task, index, stage, category)
            parts = b"".join(image.tobytes() for image in record.images)
            digest = hashlib.sha256(parts).hexdigest()
            assert pictures.setdefault(record.key, digest) == digest
            words.setdefault(record.key, set()).add(str(record.messages))
    assert len(pictures) == 4 * 40
    assert np.mean([len(w) > 1 for k, w in words.items() if k.startswith("scene")]) > 0.9


def test_a_world_without_end_keeps_no_picture() -> None:
    """Every picture ever drawn would pile up in the cache, and none would come back."""
    endless = World(replace(CFG, n_scenes=0))
    for task in ("understanding", "generation"):
        assert {endless.record(task, index, stage=2).key for index in range(50)} == {""}
    assert endless.scene("scene", 5).objects != endless.scene("scene", 5 + 700).objects
    assert World(CFG).scene("scene", 5).objects == World(CFG).scene("scene", 705).objects


def test_frequent_concepts_and_related_ones(world: World) -> None:
    """ "Popular" and "adversarial" questions mean nothing if all concepts were alike."""
    scenes = [world.scene("scene", i) for i in range(700)]
    scenes += [world.scene("caption", i) for i in range(700)]
    rank = {concept.name: place for place, concept in enumerate(world.concepts)}
    group = {concept.name: concept.group for concept in world.concepts}
    shown = Counter(rank[t] for s in scenes for t in {t.concept for t in s.objects})
    assert len(shown) == 32
    often, seldom = sum(shown[i] for i in range(8)), sum(shown[i] for i in range(24, 32))
    assert 1.5 < often / seldom < 5
    pairs = [p for s in scenes for p in combinations([g.concept for g in s.groups], 2)]
    together = np.mean([group[a] == group[b] for a, b in pairs])
    firsts, seconds = zip(*pairs, strict=True)
    shuffled = np.random.default_rng(0).permutation(seconds)
    chance = np.mean([group[a] == group[b] for a, b in zip(firsts, shuffled, strict=True)])
    assert together > 1.8 * chance


def test_small_world_never_shows_two_names_of_one_thing() -> None:
    """A penguin beside a bird: how many birds are there?"""
    world = World(replace(SMALL, n_scenes=300))
    styles = {concept.name: concept.styles for concept in world.concepts}
    assert len(styles) > 400
    for scene in all_scenes(world, 200):
        names = {thing.concept for thing in scene.objects}
        assert not any(overlap(a, b) for a, b in combinations(sorted(names), 2))
        assert all(thing.style in styles[thing.concept] for thing in scene.objects)
        assert not scene.shows_unseen()


def test_render_at_other_sizes(world: World) -> None:
    """Boxes in pixels of one size would move at another."""
    scene = world.scene("caption", 6)
    large = np.asarray(world.render(scene, 256).resize((64, 64))).astype(int)
    assert world.render(scene).size == (CFG.image_size, CFG.image_size)
    assert np.abs(large - np.asarray(world.render(scene, 64))).mean() < 6
