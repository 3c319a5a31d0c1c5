"""The judge: verdicts worked by hand, targets against a loop, its scenes brute force."""

from dataclasses import replace
from random import Random

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torchvision.transforms.functional import to_tensor

from minijanus.config import TINY
from minijanus.judge import NAMES, Found, Judge, overlap, sees_all, shows
from minijanus.judge_training import (
    PHASE,
    blurred,
    free_places,
    judge_loss,
    samples,
    scene,
    shuffled,
)
from minijanus.scenes import Scene, Thing
from minijanus.world import World, concepts_of

LEFT, RIGHT = (0.02, 0.27, 0.46, 0.46), (0.52, 0.27, 0.46, 0.46)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """An untrained judge of the tiny world."""
    torch.manual_seed(0)
    return Judge(TINY)


def made(kind: str, *things: tuple) -> Scene:
    """A scene of (concept, colour, box)."""
    objects = tuple(Thing(name, colour, "noto", box) for name, colour, box in things)
    return Scene(kind, objects, "white", "caption", 0)


CAR_AND_DOG = made("position", ("car", "red", LEFT), ("dog", None, RIGHT))


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ([("car", "red", LEFT), ("dog", None, RIGHT)], True),
        ([("dog", "blue", RIGHT), ("car", "red", LEFT)], True),  # any colour, any order
        ([("car", "red", RIGHT), ("dog", None, LEFT)], False),  # exchanged
        ([("car", "blue", LEFT), ("dog", None, RIGHT)], False),  # another colour
        ([("car", None, LEFT), ("dog", "red", RIGHT)], False),  # the dog's colour
        ([("car", "red", LEFT)], False),  # one is missing
        ([("car", "red", LEFT), ("cat", None, RIGHT)], False),  # another thing
        (
            [("car", "red", LEFT), ("dog", None, RIGHT), ("key", None, (0, 0, 0.1, 0.1))],
            False,
        ),
        ([("car", "red", LEFT), ("dog", None, (0.52, 0.75, 0.2, 0.2))], False),  # askew
        ([], False),
    ],
)
def test_verdicts_by_hand(found: list[tuple], right: bool):
    """Catches a verdict that forgets extra things, swaps colours, or ignores places."""
    assert shows([Found(*row) for row in found], CAR_AND_DOG) == right


def test_places_count_only_where_the_prompt_tells_them():
    """Catches "a car and a dog" called wrong because the two stand the other way."""
    scene = replace(CAR_AND_DOG, kind="two")
    assert shows([Found("car", "red", RIGHT), Found("dog", None, LEFT)], scene)


def test_counts_are_exact():
    """Catches GenEval's "at least", which calls four of three right."""
    box = (0.1, 0.1, 0.2, 0.2)
    three = made("counting", *[("cat", None, box)] * 3)
    for number in range(6):
        assert shows([Found("cat", None, box)] * number, three) == (number == 3)


def test_all_things_at_their_places():
    """Catches one found thing that stands for two true ones, and a box elsewhere."""
    scene = made("counting", ("cat", None, LEFT), ("cat", None, RIGHT))
    left, right = Found("cat", None, LEFT), Found("cat", "red", RIGHT)
    assert sees_all([left, right], scene)
    assert not sees_all([left, left], scene)
    assert not sees_all([left, right, replace(right, box=(0, 0.8, 0.1, 0.1))], scene)
    assert not sees_all([left, replace(right, box=(0.8, 0.27, 0.46, 0.46))], scene)


def test_overlap_by_hand():
    """Catches an overlap over the sum and not the union of two boxes."""
    assert overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(2 / 6)
    assert overlap((0, 0, 1, 1), (2, 2, 1, 1)) == 0


def test_loss_equals_a_loop_over_cells(judge: Judge):
    """Catches x and y exchanged in the targets, and a thing that spills into others."""
    pixels = torch.rand(2, 3, 64, 64)
    # picture, concept, colour, middle x, middle y, side
    things = torch.tensor([[0, 3, 2, 0.30, 0.7, 0.4], [1, 5, 6, 0.81, 0.2, 0.22]])
    losses = judge_loss(judge, pixels, things)
    concept, colour, box = judge(pixels)
    something, nothing, colours, boxes = [], [], [], []
    for b in range(2):
        _, what, tint, x, y, side = things[b].tolist()
        reach = max(side / 5, 0.5 / 16)
        for row in range(16):
            for column in range(16):
                inside = abs((column + 0.5) / 16 - x) <= reach
                inside = inside and abs((row + 0.5) / 16 - y) <= reach
                target = torch.tensor(int(what) if inside else 0)
                loss = F.cross_entropy(concept[b, row, column], target)
                (something if inside else nothing).append(loss)
                if inside:
                    of = torch.tensor(int(tint))
                    colours.append(F.cross_entropy(colour[b, row, column], of))
                    boxes.append((box[b, row, column] - things[b, 3:]).abs().mean())
    expected = {"something": something, "nothing": nothing, "colour": colours, "box": boxes}
    for name, values in expected.items():
        assert_close(losses[name], torch.stack(values).mean(), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_look_reads_a_map_made_by_hand(judge: Judge, monkeypatch):
    """Catches a thing seen twice by neighbouring cells, and rows read as columns."""
    concept = torch.zeros(1, 16, 16, 33)
    concept[..., 0] = 9.0
    colour, box = torch.zeros(1, 16, 16, 7), torch.zeros(1, 16, 16, 3)
    for x in (10, 11):  # one dog, seen from two cells
        concept[0, 4, x, 1], colour[0, 4, x, 2] = 20.0, 5.0
        box[0, 4, x] = torch.tensor([0.7, 0.3, 0.4])
    concept[0, 12, 3, 32], colour[0, 12, 3, 6] = 20.0, 5.0
    box[0, 12, 3] = torch.tensor([0.2, 0.8, 0.2])
    monkeypatch.setattr(judge, "forward", lambda pixels: (concept, colour, box))
    [found] = judge.look(torch.zeros(1, 3, 64, 64))
    dog, key = sorted(found, key=lambda f: f.concept)
    assert (dog.concept, dog.colour) == ("dog", NAMES[2])
    assert dog.box == pytest.approx((0.5, 0.1, 0.4, 0.4), abs=1e-6)
    assert (key.concept, key.colour) == ("key", None)


def test_it_learns_from_other_scenes_than_janus():
    """Catches things that touch, a fixed size, and a count that is not in the picture."""
    sides = set()
    for index in range(400):
        places = free_places(Random(index))
        sides |= {side for _, _, side in places}
        for i, (x, y, side) in enumerate(places):
            assert 0 <= x <= 64 - side and 0 <= y <= 64 - side
            for other_x, other_y, other in places[:i]:
                beside = x + side < other_x or other_x + other < x
                assert beside or y + side < other_y or other_y + other < y
    assert min(sides) < 16 and max(sides) > 48  # world scenes have 14 to 48
    pixels, things = scene(TINY, concepts_of("tiny", TINY.styles), Random(3))
    assert pixels.shape == (3, 64, 64)
    for _, _, x, y, side in things:
        box = pixels[:, int((y - side / 2) * 64) :, int((x - side / 2) * 64) :]
        assert box[:, : int(side * 64), : int(side * 64)].std() > 0.01


def test_samples_depend_on_the_step_alone(monkeypatch):
    """Catches a data order that an interrupted training could not take up again."""
    concepts = concepts_of("tiny", TINY.styles)
    monkeypatch.setattr("minijanus.judge_training.PHASE", replace(PHASE, batch=6))
    first, second = samples(TINY, concepts, 2), samples(TINY, concepts, 2)
    assert_close(first, second)
    assert first[0].shape == (6, 3, 64, 64) and first[1].shape[1] == 6
    assert not torch.equal(samples(TINY, concepts, 3)[0], first[0])


def test_pieces_are_all_there_and_blur_keeps_the_scene():
    """Catches torn pictures that lose tiles, and noise so strong that nothing is left."""
    world = World(TINY)
    pixels = torch.rand(3, 64, 64)
    torn = shuffled(pixels, torch.Generator().manual_seed(0))
    assert not torch.equal(torn, pixels)
    assert_close(torn.flatten().sort().values, pixels.flatten().sort().values)
    clean = to_tensor(world.render(world.scene("caption", 0)))
    for number in range(20):
        dull = blurred(clean, torch.Generator().manual_seed(number))
        assert 0 <= dull.min() and dull.max() <= 1
        assert torch.corrcoef(torch.stack([clean.flatten(), dull.flatten()]))[0, 1] > 0.7
