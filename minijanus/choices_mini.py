"""The rows of MMBench, SEED-Bench and MMMU in miniature: questions with options.

Each function takes a world and gives rows, the same ones every time (paper §4.3).
"""

from collections.abc import Callable, Iterator
from random import Random

from minijanus.answers_mini import taken
from minijanus.benchmark import Row
from minijanus.charts import Chart, chart_question, sample_chart
from minijanus.concepts import COLOURS
from minijanus.language import NUMBERS, RELATION_WORDS, a, plural, the
from minijanus.language import unique_relations as relations
from minijanus.questions import absent_pools
from minijanus.reading import LETTERS
from minijanus.scenes import Scene
from minijanus.world import World, which_picture

CHOICES = 40  # questions of each kind in MMB-mini, each in four orders; twice in SEED-mini
SUBJECTS = 60  # of each kind in MMMU-mini

Choice = tuple[str, str, tuple[str, ...]]  # a question, its answer, other options


def choices(world: World) -> dict[str, Callable[[Scene, Random], Choice | None]]:
    """The kinds of question that come with options."""

    def thing(scene: Scene, rng: Random) -> Choice:
        others = tuple(map(a, absent_pools(scene, world.concepts)["random"]))
        return (
            "Which of these is in the image?",
            a(rng.choice(scene.groups).concept),
            others,
        )

    def number(scene: Scene, rng: Random) -> Choice:
        group = rng.choice(scene.groups)
        words = f"How many {plural(group.concept)} are there?"
        return words, NUMBERS[group.count], NUMBERS[1:7]

    def colour(scene: Scene, rng: Random) -> Choice | None:
        tinted = [group for group in scene.groups if group.colour]
        if not tinted:
            return None
        group = rng.choice(tinted)
        be = "is" if group.count == 1 else "are"
        return f"What color {be} {the(group)}?", group.colour, tuple(COLOURS)

    def position(scene: Scene, rng: Random) -> Choice | None:
        if not relations(scene):
            return None
        first, name, second = rng.choice(relations(scene))
        words = f"Where is the {first.concept} relative to the {second.concept}?"
        return words, name, tuple(RELATION_WORDS)

    return {"thing": thing, "count": number, "colour": colour, "position": position}


def choice_row(
    id: str, part: str, unit: str, asked: Choice, shown: tuple, rng: Random, turn: int = 0
) -> Row:
    """A question with options in a random order, moved on by `turn` places."""
    question, answer, others = asked
    options = [answer, *rng.sample([other for other in others if other != answer], 3)]
    rng.shuffle(options)
    options = options[turn:] + options[:turn]
    lines = [f"{name}. {option}" for name, option in zip(LETTERS, options, strict=True)]
    words, truth = "\n".join([question, *lines]), LETTERS[options.index(answer)]
    return Row(id, part, unit, words, (truth,), shown, tuple(options))


def mmb_rows(world: World) -> list[Row]:
    """MMBench: four options; each question in all four rotations of them."""
    return [
        choice_row(
            f"{kind}/{i}/{turn}", kind, f"{kind}/{i}", asked, (scene,),
            world.rng(f"mmb order {kind}", i), turn,
        )
        for kind, make in choices(world).items()
        for i, (scene, asked) in enumerate(taken(world, f"mmb {kind}", CHOICES, make))
        for turn in range(4)
    ]  # fmt: skip


def seed_rows(world: World) -> list[Row]:
    """SEED-Bench: four options, asked once; charts stand for its text and tables."""
    rows = [
        choice_row(
            f"{kind}/{i}", kind, f"{kind}/{i}", asked, (scene,),
            world.rng(f"seed order {kind}", i),
        )
        for kind, make in choices(world).items()
        for i, (scene, asked) in enumerate(
            taken(world, f"seed {kind}", 2 * CHOICES, make)
        )
    ]  # fmt: skip
    return rows + [
        choice_row(f"chart/{i}", "chart", f"chart/{i}", asked, (chart,), rng)
        for i, (chart, asked, rng) in enumerate(chart_choices(world, "seed", 2 * CHOICES))
    ]


def chart_choices(
    world: World, name: str, number: int
) -> Iterator[tuple[Chart, Choice, Random]]:
    """Charts, each with a question about a number or a colour."""
    for i in range(number):
        rng = world.rng(f"{name} chart", i)
        chart = sample_chart(rng)
        words, truth = chart_question(chart, rng)
        while truth in ("yes", "no"):
            words, truth = chart_question(chart, rng)
        others = tuple(COLOURS) if truth in COLOURS else NUMBERS[1:9]
        yield chart, (words, truth, others), rng


def mmmu_rows(world: World) -> list[Row]:
    """MMMU: charts and tables with options and without, and several pictures at once."""
    rows = []
    for i, (chart, asked, rng) in enumerate(chart_choices(world, "mmmu", 2 * SUBJECTS)):
        unit = f"chart/{i}"
        if i % 2:
            rows.append(choice_row(unit, "chart choice", unit, asked, (chart,), rng))
        else:
            rows.append(Row(unit, "chart open", unit, asked[0], (asked[1],), (chart,)))
    index = 0
    while len(rows) < 3 * SUBJECTS:
        scenes = [world.scene("document", 4 * index + i) for i in range(2 + index % 3)]
        words, truth = which_picture(scenes, world.rng("mmmu pictures", index))
        index += 1
        if words.startswith("Which"):
            unit = f"pictures/{index}"
            rows.append(Row(unit, "pictures", unit, words, (truth,), tuple(scenes)))
    return rows
