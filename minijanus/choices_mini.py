"""The rows of MMBench, SEED-Bench and MMMU in miniature: questions with options.

Each function takes a world and gives rows, the same ones every time (paper §4.3).
"""

from collections.abc import Iterator
from random import Random

from minijanus.answers_mini import taken
from minijanus.benchmark import Row
from minijanus.charts import Chart, chart_choice, sample_chart
from minijanus.options import CHOICES, LETTERS, Choice, choice, four_options, lay_out
from minijanus.scenes import TRIES, Scene, enough
from minijanus.world import World, which_picture

EACH = 40  # questions of each kind in MMB-mini, each in four orders; twice in SEED-mini
SUBJECTS = 60  # of each kind in MMMU-mini


def choice_row(
    id: str, part: str, unit: str, asked: Choice, shown: tuple, rng: Random, turn: int = 0
) -> Row:
    """A question with options in a random order, moved on by `turn` places."""
    question, answer, _ = asked
    options = four_options(asked, rng)
    options = options[turn:] + options[:turn]
    words, truth = lay_out(question, options), LETTERS[options.index(answer)]
    return Row(id, part, unit, words, (truth,), shown, tuple(options))


def choices(world: World, name: str, kind: str, number: int) -> list[tuple[Scene, Choice]]:
    """So many scenes, each with a question of this kind that has options."""
    return taken(
        world, name, number, lambda scene, rng: choice(scene, rng, world.concepts, kind)
    )


def mmb_rows(world: World) -> list[Row]:
    """MMBench: four options; each question in all four rotations of them."""
    return [
        choice_row(
            f"{kind}/{i}/{turn}", kind, f"{kind}/{i}", asked, (scene,),
            world.rng(f"mmb order {kind}", i), turn,
        )
        for kind in CHOICES
        for i, (scene, asked) in enumerate(choices(world, f"mmb {kind}", kind, EACH))
        for turn in range(4)
    ]  # fmt: skip


def seed_rows(world: World) -> list[Row]:
    """SEED-Bench: four options, asked once; charts stand for its text and tables."""
    rows = [
        choice_row(
            f"{kind}/{i}", kind, f"{kind}/{i}", asked, (scene,),
            world.rng(f"seed order {kind}", i),
        )
        for kind in CHOICES
        for i, (scene, asked) in enumerate(choices(world, f"seed {kind}", kind, 2 * EACH))
    ]  # fmt: skip
    return rows + [
        choice_row(f"chart/{i}", "chart", f"chart/{i}", asked, (chart,), rng)
        for i, (chart, asked, rng) in enumerate(chart_choices(world, "seed", 2 * EACH))
    ]


def chart_choices(
    world: World, name: str, number: int
) -> Iterator[tuple[Chart, Choice, Random]]:
    """Charts, each with a question about a number or a colour."""
    for i in range(number):
        rng = world.rng(f"{name} chart", i)
        chart = sample_chart(rng)
        yield chart, chart_choice(chart, rng), rng


def mmmu_rows(world: World) -> list[Row]:
    """MMMU: charts and tables with options and without, and several pictures at once."""
    rows = []
    for i, (chart, asked, rng) in enumerate(chart_choices(world, "mmmu", 2 * SUBJECTS)):
        unit = f"chart/{i}"
        if i % 2:
            rows.append(choice_row(unit, "chart choice", unit, asked, (chart,), rng))
        else:
            rows.append(Row(unit, "chart open", unit, asked[0], (asked[1],), (chart,)))
    return rows + enough(picture_rows(world), "mmmu pictures", SUBJECTS)


def picture_rows(world: World) -> Iterator[Row]:
    """Two to four pictures at once, of which one alone shows what is asked for."""
    for index in range(TRIES):
        scenes = [world.scene("document", 4 * index + i) for i in range(2 + index % 3)]
        words, truth = which_picture(scenes, world.rng("mmmu pictures", index))
        if words.startswith("Which"):
            unit = f"pictures/{index + 1}"
            yield Row(unit, "pictures", unit, words, (truth,), tuple(scenes))
