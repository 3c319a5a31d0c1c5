"""Where things stand: boxes on the grid for drawing, free boxes for understanding.

Boxes are (x, y, w, h) in [0, 1] of the picture, x to the right and y downwards.
"""

from collections.abc import Sequence
from random import Random

Box = tuple[float, float, float, float]
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

# Drawing scenes stand on eighths of the picture, which are whole cells of VQ codes: the
# same drawing then always falls into the same few codes, which is what makes it learnable.
# For that reason a thing is as large alone as among three others.
GRID = 8
SIDE = 4  # of every drawn thing, in eighths
INSET = 1 / 64  # keeps neighbours on the grid apart, at a fixed phase of the grid
PLACES = {  # how many objects: their corners in eighths, one layout drawn by weight
    1: (((2, 2),), ((0, 2),), ((4, 2),), ((2, 0),), ((2, 4),)),
    2: (((0, 2), (4, 2)), ((2, 0), (2, 4))),
    3: (((0, 0), (4, 0), (2, 4)), ((2, 0), (0, 4), (4, 4))),
    4: (((0, 0), (4, 0), (0, 4), (4, 4)),),
}
WEIGHTS = {1: (6, 1, 1, 1, 1), 2: (1, 1), 3: (1, 1), 4: (1,)}

# Free scenes: how many objects: shortest and longest side in 64ths of the picture.
SIDES = {1: (20, 48), 2: (16, 32), 3: (14, 26), 4: (14, 24), 5: (14, 20)}
CLEAR = 0.7  # how often two objects are arranged so that one is clearly beside the other
TRIES = 40  # random places before all boxes are drawn anew


def relation(a: Box, b: Box) -> str | None:
    """Where a is, seen from b: left, right, above, below; None where it is not clear."""
    dx = (a[0] + a[2] / 2) - (b[0] + b[2] / 2)
    dy = (a[1] + a[3] / 2) - (b[1] + b[3] / 2)
    if abs(dx) >= 2 * abs(dy) and abs(dx) >= (a[2] + b[2]) / 2:
        return "left" if dx < 0 else "right"
    if abs(dy) >= 2 * abs(dx) and abs(dy) >= (a[3] + b[3]) / 2:
        return "above" if dy < 0 else "below"
    return None


def drawn_boxes(rng: Random, count: int) -> list[Box]:
    """Boxes of one size on the grid, in random order."""
    corners = rng.choices(PLACES[count], weights=WEIGHTS[count])[0]
    width = SIDE / GRID - 2 * INSET
    boxes = [(x / GRID + INSET, y / GRID + INSET, width, width) for x, y in corners]
    rng.shuffle(boxes)
    return boxes


def category_box(rng: Random) -> list[Box]:
    """One box of a drawing scene of one to four, so that categories teach every place."""
    return drawn_boxes(rng, rng.choice((1, 1, 1, 2, 3, 4)))[:1]


def free_boxes(rng: Random, count: int) -> list[Box]:
    """Boxes of any size and place, in random order, that never touch one another."""
    low, high = SIDES[count]
    clear = count == 2 and rng.random() < CLEAR
    while True:
        boxes: list[tuple[int, int, int]] = []
        for _ in range(TRIES):
            # Even sides: half as many sizes of each sprite to keep in memory.
            side = 2 * rng.randint(low // 2, high // 2)
            box = (rng.randint(0, 64 - side), rng.randint(0, 64 - side), side)
            if not any(touch(box, other) for other in boxes):
                boxes.append(box)
            if len(boxes) == count:
                found = [(x / 64, y / 64, s / 64, s / 64) for x, y, s in boxes]
                if not clear or relation(*found):
                    return found
                break


def bare_box(rng: Random, boxes: Sequence[Box]) -> Box | None:
    """A square of the grid, an eighth a side, where nothing stands; None if all is full."""
    side = 1 / GRID
    bare = [
        (x * side, y * side, side, side)
        for x in range(GRID)
        for y in range(GRID)
        if not any(
            x * side < left + width
            and left < (x + 1) * side
            and y * side < top + height
            and top < (y + 1) * side
            for left, top, width, height in boxes
        )
    ]
    return rng.choice(bare) if bare else None


def touch(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    """Whether two squares (x, y, side) overlap or have no line of background between."""
    apart_in_x = a[0] + a[2] < b[0] or b[0] + b[2] < a[0]
    apart_in_y = a[1] + a[2] < b[1] or b[1] + b[2] < a[1]
    return not (apart_in_x or apart_in_y)
