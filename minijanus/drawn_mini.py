"""GenEval, the Fréchet distance and Figure 8 in miniature: benchmarks of drawings.

A drawing is kept as its codes, so that it can be looked at again. Blind means drawn
without its prompt, by the unconditional branch alone (paper §4.3, Table 3, Table 4).
"""

import json
from collections.abc import Sequence
from random import Random

import torch
from PIL import Image
from torch import Tensor

from minijanus import frechet
from minijanus.benchmark import Benchmark, Line, Measure, Row, marked
from minijanus.cfg_sampler import drawing
from minijanus.geneval_mini import DRAWINGS, PROMPTS, Model, looked, prompts, redrawn
from minijanus.judge import Found, Judge, shows
from minijanus.language import caption, coloured
from minijanus.limits import truth
from minijanus.scenes import DRAWN, Scene
from minijanus.scores import statistic_of
from minijanus.sequence import without_condition
from minijanus.studio import AT_ONCE, checked_prompt, unfinished
from minijanus.suites_mini import accuracy
from minijanus.world import World

DISTANT = 400  # drawings of each set of prompts that the Fréchet distance takes
FIRST = 200_000  # the first scene of these, far from those of other measures
# In the place of COCO-30K and MJHQ-30K: the streams of scenes that two sets are of.
SETS = {"captions": "caption", "categories": "category"}


def drawn(
    model: Model,
    judge: Judge,
    guidance: float,
    benchmark: Benchmark,
    rows: Sequence[Row],
    blind: bool,
) -> list[Line]:
    """Draw each row's prompt, or nothing, with the row's own seed, and have it judged."""
    janus, tokenizer, stage = model
    codes: list[Tensor] = []
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        ids = [checked_prompt(row.words, janus, tokenizer, stage) for row in some]
        if blind:
            ids = [without_condition(one, len(one) - 1, tokenizer.pad) for one in ids]
        seeds = [Random(row.id).getrandbits(63) for row in some]
        generators = [torch.Generator(janus.device).manual_seed(seed) for seed in seeds]
        *_, last = drawing(janus, ids, tokenizer.pad, generators, guidance)
        codes += last.cpu()
    raw = [" ".join(map(str, one.tolist())) for one in codes]
    return judged(judge, benchmark, rows, raw, pictures(model, raw), blind)


def best(
    model: Model, judge: Judge, benchmark: Benchmark, rows: Sequence[Row]
) -> list[Line]:
    """The most that can be had: the units' own scenes after the VQ tokenizer."""
    rows = list({row.unit: row for row in rows}.values())
    asked = [(row.words, row.shown[0]) for row in rows]
    images = redrawn(model, World(model[0].cfg), asked)
    return judged(judge, benchmark, rows, [""] * len(rows), images, False)


def judged(
    judge: Judge,
    benchmark: Benchmark,
    rows: Sequence[Row],
    raw: Sequence[str],
    images: Sequence[Image.Image],
    blind: bool,
) -> list[Line]:
    """The lines of drawings: their codes, and what the judge says that they show."""
    return [
        marked(benchmark, row, words, blind, written(things))
        for row, words, things in zip(rows, raw, looked(judge, images), strict=True)
    ]


def pictures(model: Model, raw: Sequence[str]) -> list[Image.Image]:
    """The drawings whose codes these are."""
    codes = [list(map(int, words.split())) for words in raw]
    return unfinished(model[0], torch.tensor(codes, device=model[0].device))


def written(found: Sequence[Found]) -> str:
    """What the judge found, as text: concept, colour and box of each thing."""
    rows = [[f.concept, f.colour, *(round(edge, 4) for edge in f.box)] for f in found]
    return json.dumps(rows)


def shows_prompt(parsed: str, row: Row) -> float:
    """Whether the things that were found are those that the prompt asks for."""
    found = [Found(what, colour, tuple(box)) for what, colour, *box in json.loads(parsed)]
    (scene,) = row.shown
    return float(shows(found, scene))


def as_it_is(said: str, row: Row) -> str:
    """What was found needs no reading; a guess is what another row asks for."""
    return said


def geneval_rows(world: World) -> list[Row]:
    """GenEval's six kinds, each prompt drawn several times."""
    return [
        drawing_row(f"{kind}/{i}/{n}", kind, f"{kind}/{i}", words, scene, blind=n == 0)
        for kind in DRAWN
        for i, (words, scene) in enumerate(prompts(world, kind, PROMPTS))
        for n in range(DRAWINGS)
    ]


def drawing_row(
    id: str, part: str, unit: str, words: str, scene: Scene, blind: bool = True
) -> Row:
    """A prompt and the scene it describes; the truth is what a perfect judge would find."""
    found = (written(truth(scene)),)
    return Row(id, part, unit, words, found, (scene,), blind=blind)


def distance_rows(world: World) -> list[Row]:
    """Two sets of prompts: captions of all kinds, and names of categories."""
    rows = []
    for index in range(FIRST, FIRST + DISTANT):
        for name, stream in SETS.items():
            scene, unit = world.scene(stream, index), f"{name}/{index - FIRST}"
            thing = scene.objects[0]
            words = coloured(thing.concept, thing.colour)
            if name == "captions":
                words = caption(scene, world.rng("fd", index))
            rows.append(Row(unit, name, unit, words, (), (scene,)))
    return rows


def some_scenes(world: World, stream: str, first: int) -> list[Scene]:
    """DISTANT scenes of a stream, from the scene `first`."""
    return [world.scene(stream, index) for index in range(first, first + DISTANT)]


class Distances:
    """The Fréchet distance between each set's drawings and as many other scenes.

    Beside it that of the prompts' own scenes after a way through the VQ tokenizer.

    The ceiling is what the very scenes of the prompts have: real against real, as many.
    """

    def __init__(self, model: Model, world: World):
        self.model, self.world = model, world
        self.encoder: torch.nn.Module | None = None

    def load(self) -> None:
        """Make what is the same for all drawings, once; UserError without its packages."""
        if self.encoder is not None:
            return
        self.encoder = frechet.load_encoder(self.model[0].device)
        world = World(self.world.cfg)  # the axes are of training scenes
        train = [*map(world.render, some_scenes(world, "caption", 0))]
        self.basis = frechet.principal_axes(frechet.features(self.encoder, train))
        self.real, self.best, self.redrawn = {}, {}, {}
        for name, stream in SETS.items():
            own, others = (
                some_scenes(self.world, stream, first) for first in (FIRST, FIRST + DISTANT)
            )
            groups = [self.moments([*map(self.world.render, s)]) for s in (own, others)]
            self.real[name] = groups[1]  # not the scenes that the prompts are of
            self.best[name] = statistic_of(groups, frechet.distance_of)
            again = redrawn(self.model, self.world, [("", scene) for scene in own])
            self.redrawn[name] = self.moments(again)

    def moments(self, images: list[Image.Image]) -> Tensor:
        """The moments of pictures' features in the basis."""
        return frechet.moments(self.basis.project(frechet.features(self.encoder, images)))

    def __call__(self, lines: list[Line]) -> dict[str, Measure]:
        self.load()
        measures = {}
        for name in SETS:
            raw = [line.raw for line in lines if line.part == name]
            made = {name: self.moments(pictures(self.model, raw))}
            made[f"{name}_redrawn"] = self.redrawn[name]
            for what, found in made.items():
                groups = [found, self.real[name]]
                how = (frechet.distance_of, self.best[name], True)
                measures[what] = Measure(groups, *how)
        return measures


def drawing_suites(model: Model, world: World) -> tuple[Benchmark, ...]:
    """The benchmarks of drawings, of which the second needs the model to look again."""
    distances = Distances(model, world)
    return (
        Benchmark("geneval_mini", geneval_rows, as_it_is, shows_prompt, by_kind),
        Benchmark("fd_mini", distance_rows, as_it_is, no_mark, distances),
    )


def by_kind(lines: list[Line]) -> dict[str, Measure]:
    """The share of right drawings of each kind, and the mean of the kinds."""
    found = accuracy(lines)
    found["overall"] = found.pop("accuracy")
    return found


def no_mark(parsed: str, row: Row) -> float:
    """A distance is one of many drawings: none has a mark of its own."""
    return 0.0
