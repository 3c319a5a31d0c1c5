"""`evaluate --suite`: run benchmarks, keep every answer, and make scores of the answers.

A suite's scores stand beside three others: what a guess scores (another row's answer),
what the model scores blind (without the picture), and the ceiling (paper §4.3).
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

from minijanus import drawn_mini
from minijanus.benchmark import Benchmark, Line, Row, asked, marked, run
from minijanus.checkpoint import fingerprint, write_text
from minijanus.drawn_mini import Distances, drawing_suites, drawn
from minijanus.geneval_mini import Model
from minijanus.judge import load_judge
from minijanus.lab import UserError
from minijanus.languages_mini import LANGUAGES_MINI
from minijanus.paper_tables import measured
from minijanus.scores import score, statistic_of
from minijanus.suites_mini import SUITES
from minijanus.world import World

GUESSES = 20  # draws of answers that the floor of guessing is averaged over
ALL = "mini"


def guessed(benchmark: Benchmark, rows: list[Row], draw: int) -> list[Line]:
    """Every row answered with the truth of another unit of its part, drawn by chance."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    rng, lines = Random(f"guess {draw}"), []
    for row in rows:
        other = rng.choice(parts[row.part])
        while other.unit == row.unit and len({one.unit for one in parts[row.part]}) > 1:
            other = rng.choice(parts[row.part])
        parsed = benchmark.parse(other.truths[0], other)
        lines.append(marked(benchmark, row, "", parsed=parsed))
    return lines


def values(benchmark: Benchmark, lines: list[Line]) -> dict[str, float]:
    """The value of each measure of a benchmark."""
    measures = benchmark.measures(lines)
    return {name: statistic_of(m.parts, m.statistic) for name, m in measures.items()}


def suite_scores(
    benchmark: Benchmark,
    rows: list[Row],
    lines: list[Line],
    best: list[Line],
    conditions: str,
) -> dict[str, dict]:
    """The scores' JSON of one benchmark: "name.measure", with both floors and ceiling.

    `best`: the lines of the best that can be had, of which the ceiling is made, or none.
    """
    seen = [line for line in lines if not line.blind]
    blind = values(benchmark, [line for line in lines if line.blind])
    top = values(benchmark, best) if best else {}
    seconds = round(sum(line.seconds for line in lines), 1)
    luck = []
    if rows[0].truths:
        draws = (guessed(benchmark, rows, draw) for draw in range(GUESSES))
        luck = [values(benchmark, lines) for lines in draws]
    result = {}
    for name, measure in benchmark.measures(seen).items():
        guess = round(sum(draw[name] for draw in luck) / len(luck), 4) if luck else None
        ceiling = round(top[name], 4) if top else measure.ceiling
        how = (ceiling, conditions, measure.statistic, measure.biased)
        found = score(measure.parts, round(blind[name], 4), *how)
        if measure.biased:  # the other group are real pictures
            found["n"] = len(measure.parts[0])
        found |= {"guess": guess, "seconds": seconds}  # of the whole suite
        result[f"{benchmark.name}.{name}"] = found
    return result


def chosen(name: str, every: Sequence[Benchmark]) -> list[Benchmark]:
    """The benchmarks of a name: one, or all; UserError if there is none."""
    names = [benchmark.name for benchmark in every]
    if name != ALL and name not in names:
        raise UserError(
            f"there is no suite {name}: choose one of {', '.join((ALL, *names))}."
        )
    return [benchmark for benchmark in every if name in (ALL, benchmark.name)]


def shard_of(text: str) -> tuple[int, int]:
    """Which part of how many, from "2/4"; UserError if it is none."""
    number, slash, shards = text.partition("/")
    if not (slash and number.isdigit() and shards.isdigit()):
        raise UserError(f"--shard is {text}: write it as 1/4, the first of four parts.")
    if not 1 <= int(number) <= int(shards):
        raise UserError(f"--shard is {text}: the part is from 1 to the number of parts.")
    return int(number), int(shards)


def run_suites(
    name: str,
    model: Model,
    judges: Path,
    guidance: float,
    out: Path,
    shard: tuple[int, int] = (1, 1),
    most: int | None = None,
) -> dict[str, dict]:
    """Answer what is missing of these suites, write the scores of those that are whole.

    Answers go to the folder `answers` beside the JSON `out`, which keeps the scores of
    other suites. `most`: only so many units of each part of a suite, to try it.
    """
    cfg = model[0].cfg
    world = World(cfg, "test")
    geneval, distances = drawing_suites(model, world)
    drawings = (geneval, LANGUAGES_MINI, distances)  # the last needs further packages
    every = (*SUITES, *drawings)
    order, made = [benchmark.name for benchmark in every], {}
    check_file(out, order)  # before hours of work
    for benchmark in chosen(name, every):
        rows = benchmark.rows(world)
        only = first_rows(rows, most)
        answer, how, best = partial(asked, model, world, benchmark), "greedy", None
        if benchmark in drawings:
            judge = load_judge(cfg, judges, model[0].device)
            answer = partial(drawn, model, judge, guidance, benchmark)
            best = partial(drawn_mini.best, model, judge, benchmark)
            how = f"guidance {guidance:g}, judge {fingerprint(judge)}"
        if isinstance(benchmark.measures, Distances):
            best = None  # its ceiling is no reconstruction, but other real scenes
            benchmark.measures.load()  # a missing package is told before the drawing
        head = {"suite": benchmark.name, "model": fingerprint(model[0]), "how": how}
        lines = run(benchmark, rows, answer, out.parent / "answers", head, shard, only)
        wanted = sum(1 + row.blind for row in only)
        if len(lines) < wanted:
            left = "run the other shards"
            print(f"{benchmark.name}: {len(lines)} of {wanted} answers are there; {left}.")
            continue
        how += f", model {head['model']}" + (f", first {most} a part" if most else "")
        new = suite_scores(benchmark, only, lines, best(only) if best else [], how)
        new = {name: one | {"preset": cfg.name} for name, one in new.items()}
        made |= new
        # Read anew, as another shard may have written its suites meanwhile.
        kept = {k: v for k, v in measured(out).items() if suite_of(k) != benchmark.name}
        both = sorted((kept | new).items(), key=lambda one: order.index(suite_of(one[0])))
        write_text(out, json.dumps(dict(both), indent=1) + "\n")
    return made


def check_file(path: Path, suites: Sequence[str]) -> None:
    """Raise UserError if a file is there that does not hold scores of suites."""
    found = measured(path)
    strange = [name for name in found if suite_of(name) not in suites]
    if strange:
        raise UserError(
            f"{path} holds {strange[0]}, which is of no suite: name another file with "
            "--json."
        )


def suite_of(measure: str) -> str:
    """The name of a measure's suite."""
    return measure.partition(".")[0]


def first_rows(rows: list[Row], most: int | None) -> list[Row]:
    """The rows of the first `most` units of each part, or all."""
    if most is None:
        return rows
    kept: dict[str, list[str]] = {}
    for row in rows:
        units = kept.setdefault(row.part, [])
        if row.unit not in units and len(units) < most:
            units.append(row.unit)
    return [row for row in rows if row.unit in kept[row.part]]
