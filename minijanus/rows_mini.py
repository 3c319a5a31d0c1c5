"""The rows of POPE, MME, VQAv2, GQA and MM-Vet in miniature, about held-out scenes.

Each function takes a world and gives rows, the same ones every time (paper §4.3).
"""

from random import Random

from minijanus import answers_mini
from minijanus.answers_mini import taken
from minijanus.benchmark import Row
from minijanus.charts import chart_description, sample_chart
from minijanus.concepts import COLOURS, relation_held_out
from minijanus.language import (
    DESCRIBE,
    NUMBERS,
    RELATION_WORDS,
    a,
    description,
    plural,
    the,
)
from minijanus.language import unique_relations as relations
from minijanus.layout import OPPOSITE
from minijanus.options import absent_pools, other_colour
from minijanus.questions import two_step
from minijanus.reading import ANNOTATORS, DIGITS
from minijanus.scenes import Scene
from minijanus.world import World

PAIRS = 60  # of each kind in MME-mini
TWO_STEP = 240
DESCRIBED = 80  # scenes in Vet-mini, and half as many charts
WRONG = 3  # of ten annotators at most


def pope_rows(world: World) -> list[Row]:
    """POPE's three splits; the two questions about a scene are one unit."""
    return [
        Row(f"{split}/{i}", split, f"{split}/{i // 2}", words, (truth,), (scene,))
        for split in answers_mini.SPLITS
        for i, (scene, words, truth) in enumerate(answers_mini.pope(world, split))
    ]


def mme_rows(world: World) -> list[Row]:
    """MME: to each picture two questions, one to be answered by yes and one by no."""

    def existence(scene: Scene, rng: Random) -> tuple[str, str] | None:
        missing = absent_pools(scene, world.concepts)["random"]
        names = rng.choice(scene.groups).concept, rng.choice(missing)
        return tuple(f"Is there {a(name)} in the image?" for name in names)

    def number(scene: Scene, rng: Random) -> tuple[str, str] | None:
        group = rng.choice([g for g in scene.groups if g.count > 1] or [None])
        if group is None:
            return None
        false = rng.choice([n for n in range(2, 6) if n != group.count])
        return tuple(
            f"Are there {NUMBERS[n]} {plural(group.concept)} in the image?"
            for n in (group.count, false)
        )

    def colour(scene: Scene, rng: Random) -> tuple[str, str] | None:
        tinted = [group for group in scene.groups if group.colour]
        if not tinted:
            return None
        group = rng.choice(tinted)
        be = "Is" if group.count == 1 else "Are"
        return tuple(
            f"{be} {the(group)} {c}?" for c in (group.colour, other_colour(group, rng))
        )

    def position(scene: Scene, rng: Random) -> tuple[str, str] | None:
        if not relations(scene):
            return None
        first, name, second = rng.choice(relations(scene))
        if relation_held_out(first.concept, OPPOSITE[name], second.concept):
            return None  # or a held-out relation would mean no
        return tuple(
            f"Is the {first.concept} {RELATION_WORDS[n][0]} the {second.concept}?"
            for n in (name, OPPOSITE[name])
        )

    kinds = {
        "existence": existence, "count": number, "colour": colour, "position": position
    }  # fmt: skip
    rows = [
        Row(f"{k}/{i}/{truth}", k, f"{k}/{i}", words, (truth,), (scene,))
        for k, make in kinds.items()
        for i, (scene, pair) in enumerate(taken(world, f"mme {k}", PAIRS, make))
        for words, truth in zip(pair, ("yes", "no"), strict=True)
    ]
    return rows + chart_pairs(world)


def chart_pairs(world: World) -> list[Row]:
    """Two bars compared, and the same the other way round."""
    rows: list[Row] = []
    for i in range(PAIRS):
        rng = world.rng("mme chart", i)
        chart = sample_chart(rng)
        while chart.kind != "bar":
            chart = sample_chart(rng)
        (low, _), (high, _) = sorted(rng.sample(chart.values, 2), key=lambda pair: pair[1])
        for truth, (one, two) in {"yes": (high, low), "no": (low, high)}.items():
            words = f"Is the {one} bar higher than the {two} bar?"
            rows.append(
                Row(f"chart/{i}/{truth}", "chart", f"chart/{i}", words, (truth,), (chart,))
            )
    return rows


def vqa_rows(world: World) -> list[Row]:
    """VQAv2: open questions, each with the answers of ten annotators, made by rule.

    Most say the truth, in words, digits or with an article; up to three are wrong.
    """
    rows = []
    for kind in answers_mini.KINDS:
        for i, (scene, words, truth) in enumerate(answers_mini.vqa(world, kind)):
            rng = world.rng(f"vqa annotators {kind}", i)
            said = (truth, *annotators(truth, rng))
            rows.append(Row(f"{kind}/{i}", kind, f"{kind}/{i}", words, said, (scene,)))
    return rows


def annotators(truth: str, rng: Random) -> list[str]:
    """What ten people say who look at the same picture, some of them carelessly."""
    alike = [truth, truth, DIGITS.get(truth, truth), truth.capitalize() + "."]
    pools = (NUMBERS[1:7], tuple(COLOURS), tuple(RELATION_WORDS), ("yes", "no"))
    pool = next((pool for pool in pools if truth in pool), (truth, "none"))
    false = [word for word in pool if word != truth]
    wrong = min(rng.randint(0, WRONG), len(false))  # they do not all say the same
    said = [rng.choice(alike) for _ in range(ANNOTATORS - wrong)]
    said += rng.sample(false, wrong)
    rng.shuffle(said)
    return said


def gqa_rows(world: World) -> list[Row]:
    """GQA: questions that need two looks, such as what color the thing left of it is."""
    return [
        Row(f"{i}", "two_step", f"{i}", turn[0], (turn[1],), (scene,))
        for i, (scene, turn) in enumerate(taken(world, "gqa", TWO_STEP, two_step))
    ]


def vet_rows(world: World) -> list[Row]:
    """MM-Vet: free answers, marked by the facts they state."""
    names, rows = tuple(concept.name for concept in world.concepts), []
    for i in range(DESCRIBED):
        scene, unit = world.scene("scene", i), f"scene/{i}"
        truth = description(scene, world.rng("vet", i))
        rows.append(Row(unit, "scene", unit, DESCRIBE, (truth,), (scene,), names))
    for i in range(DESCRIBED // 2):
        chart, unit = sample_chart(world.rng("vet chart", i)), f"chart/{i}"
        truth = chart_description(chart)
        rows.append(Row(unit, "chart", unit, DESCRIBE, (truth,), (chart,)))
    return rows
