"""Tables, bar charts and pie charts of known numbers, with questions (paper §4.2).

Drawn without text but for large digits, so that they can be read at 64 pixels. Numbers
are small whole ones; within a chart they differ, so that "largest" has one answer.
"""

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from minijanus.concepts import COLOURS
from minijanus.language import DESCRIBE, NUMBERS, listed, sentence
from minijanus.options import Choice, lettered

WHITE = (255, 255, 255)
INK = (40, 40, 40)
LINE = (225, 225, 225)
TALLEST = 6  # units of the tallest bar
UNIT = 9  # height of one unit in 64ths of the picture
FLOOR = 60  # where the bars stand, in 64ths
SLICES = ((7, 1), (6, 2), (5, 3), (5, 2, 1), (4, 3, 1))  # eighths of the pie
DIGITS = {  # 3 x 5 dots, row by row
    1: "010 110 010 010 111",
    2: "111 001 111 100 111",
    3: "111 001 111 001 111",
    4: "101 101 111 001 001",
    5: "111 100 111 001 111",
    6: "111 100 111 101 111",
    7: "111 001 010 010 010",
    8: "111 101 111 101 111",
    9: "111 101 111 001 111",
}
PART = {"bar": "bar", "pie": "slice", "table": "row"}


@dataclass(frozen=True)
class Chart:
    """A chart: its kind (bar, pie, table) and the number of each colour, in order."""

    kind: str
    values: tuple[tuple[str, int], ...]


def sample_chart(rng: Random) -> Chart:
    """Draw a chart of any kind with different colours and different numbers."""
    kind = rng.choice(tuple(PART))
    if kind == "pie":
        numbers = list(rng.choice(SLICES))
        rng.shuffle(numbers)
    else:
        most = TALLEST if kind == "bar" else 9
        numbers = rng.sample(range(1, most + 1), rng.randint(2, 4 if kind == "bar" else 3))
    colours = rng.sample(tuple(COLOURS), len(numbers))
    return Chart(kind, tuple(zip(colours, numbers, strict=True)))


def draw_chart(chart: Chart, size: int) -> Image.Image:
    """The chart as an RGB picture of size x size pixels, in plain colours."""
    image = Image.new("RGB", (size, size), WHITE)
    pen = ImageDraw.Draw(image)
    if chart.kind == "bar":
        draw_bars(pen, chart, size / 64)
    elif chart.kind == "pie":
        draw_pie(pen, chart, size / 64)
    else:
        draw_table(pen, chart, size / 64)
    return image


def fill(
    pen: ImageDraw.ImageDraw, scale: float, box: tuple[float, ...], colour: tuple
) -> None:
    """Fill a box (left, top, right, bottom) in 64ths, right and bottom not included."""
    left, top, right, bottom = (round(edge * scale) for edge in box)
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=colour)


def draw_bars(pen: ImageDraw.ImageDraw, chart: Chart, scale: float) -> None:
    """Bars on a floor, with a pale line at every unit."""
    for unit in range(1, TALLEST + 1):
        height = FLOOR - UNIT * unit
        fill(pen, scale, (2, height, 62, height + 1), LINE)
    for place, (colour, value) in enumerate(chart.values):
        left = 5 + 14 * place
        box = (left, FLOOR - UNIT * value, left + 10, FLOOR)
        fill(pen, scale, box, COLOURS[colour][1])
    fill(pen, scale, (2, FLOOR, 62, FLOOR + 2), INK)


def draw_pie(pen: ImageDraw.ImageDraw, chart: Chart, scale: float) -> None:
    """Slices clockwise from the top; eight eighths make the circle."""
    start = -90
    disc = [round(edge * scale) for edge in (4, 4, 59, 59)]
    for colour, value in chart.values:
        pen.pieslice(disc, start, start + 45 * value, fill=COLOURS[colour][1])
        start += 45 * value


def draw_table(pen: ImageDraw.ImageDraw, chart: Chart, scale: float) -> None:
    """Rows of a coloured cell and a digit, with lines around the cells."""
    height = 60 / len(chart.values)
    fill(pen, scale, (2, 2, 62, 62), INK)
    for place, (colour, value) in enumerate(chart.values):
        top = 2 + height * place
        fill(pen, scale, (3, top + 1, 31, top + height - 1), COLOURS[colour][1])
        fill(pen, scale, (32, top + 1, 61, top + height - 1), WHITE)
        draw_digit(pen, scale, value, 42, int(top + (height - 15) / 2))


def draw_digit(
    pen: ImageDraw.ImageDraw, scale: float, digit: int, left: float, top: float
) -> None:
    """A digit of 9 x 15 64ths, dot by dot."""
    for y, dots in enumerate(DIGITS[digit].split()):
        for x, dot in enumerate(dots):
            if dot == "1":
                corner = (left + 3 * x, top + 3 * y)
                fill(pen, scale, (*corner, corner[0] + 3, corner[1] + 3), INK)


def chart_description(chart: Chart) -> str:
    """Two sentences that state every number."""
    part = PART[chart.kind]
    name = {"bar": "bar chart", "pie": "pie chart", "table": "table"}[chart.kind]
    first = f"this is a {name} with {NUMBERS[len(chart.values)]} {part}s"
    if chart.kind == "pie":
        values = [f"the {c} slice is {NUMBERS[v]} of eight parts" for c, v in chart.values]
    else:
        values = [f"the {colour} {part} is {NUMBERS[v]}" for colour, v in chart.values]
    return f"{sentence(first)} {sentence(listed(values))}"


def chart_question(chart: Chart, rng: Random) -> tuple[str, str]:
    """A question about the numbers with its answer; half of the yes-or-no ones are no."""
    part = PART[chart.kind]
    kind = rng.choice(("value", "value", "most", "how many", "compare"))
    (colour, value), (other, other_value) = rng.sample(chart.values, 2)
    if kind == "value":
        asked = {
            "bar": f"How high is the {colour} bar?",
            "pie": f"How many eighths is the {colour} slice?",
            "table": f"Which number is in the {colour} row?",
        }
        return asked[chart.kind], NUMBERS[value]
    if kind == "how many":
        return f"How many {part}s are there?", NUMBERS[len(chart.values)]
    most = {"bar": ("highest", "lowest"), "pie": ("largest", "smallest")}
    if kind == "most":
        up = rng.random() < 0.5
        found = (max if up else min)(chart.values, key=number_of)[0]
        if chart.kind == "table":
            return f"Which row has the {'largest' if up else 'smallest'} number?", found
        return f"Which {part} is the {most[chart.kind][not up]}?", found
    more = {
        "bar": f"Is the {colour} bar higher than the {other} bar?",
        "pie": f"Is the {colour} slice larger than the {other} slice?",
        "table": f"Is the number in the {colour} row larger than in the {other} row?",
    }
    return more[chart.kind], "yes" if value > other_value else "no"


def chart_choice(chart: Chart, rng: Random) -> Choice:
    """A question about a number or a colour, its answer, and what else is an option."""
    words, truth = chart_question(chart, rng)
    while truth in ("yes", "no"):
        words, truth = chart_question(chart, rng)
    return words, truth, tuple(COLOURS) if truth in COLOURS else NUMBERS[1:9]


def number_of(pair: tuple[str, int]) -> int:
    """The number of a (colour, number) pair."""
    return pair[1]


def chart_turns(chart: Chart, rng: Random) -> list[tuple[str, str]]:
    """What is said about a chart: its description, or one to four different questions."""
    if rng.random() < 0.25:
        return [(DESCRIBE, chart_description(chart))]
    asked = dict(chart_question(chart, rng) for _ in range(rng.randint(1, 3)))
    if rng.random() < 0.25:
        asked |= dict([lettered(chart_choice(chart, rng), rng)])
    return list(asked.items())
