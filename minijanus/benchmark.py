"""A benchmark as data, and how it is run: one JSON line for each answer (paper §4.3).

What a line already answers is never asked again, so a run can be stopped, gone on with, or
cut into shards, and every score can be traced to the words that the model said.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from minijanus.charts import Chart, draw_chart
from minijanus.checkpoint import write_text
from minijanus.geneval_mini import Model
from minijanus.lab import UserError
from minijanus.records import turns
from minijanus.scenes import Scene
from minijanus.scores import Statistic
from minijanus.text_sampler import replies
from minijanus.world import World

AT_ONCE = 50  # questions in one batch; lines are written after each


@dataclass(frozen=True)
class Row:
    """One question about what is shown, or one prompt with the scene it asks for."""

    id: str  # its name within the benchmark
    part: str  # a split or kind; a suite's score is the mean of its parts'
    unit: str  # rows of one unit are about the same thing, and drawn anew together
    words: str  # question or prompt, without the benchmark's suffix
    truths: tuple[str, ...] = ()  # accepted answers, the best one first
    shown: tuple[Scene | Chart | Image.Image, ...] = ()
    options: tuple[str, ...] = ()  # of a choice; of a description, the names that count
    blind: bool = True  # it is asked without its picture too


@dataclass(frozen=True)
class Line:
    """What was asked, said, understood and given: a line of the file of answers."""

    id: str
    part: str
    unit: str
    blind: bool  # asked without the picture
    prompt: str
    raw: str
    parsed: str
    truths: list[str]  # of the row: all that its score is made of
    score: float  # 0 to 1
    seconds: float = 0.0  # its share of the time that its batch took


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, in miniature or a real one: rows, prompt, reading, marks."""

    name: str
    rows: Callable[[World], list[Row]]
    parse: Callable[[str, Row], str]  # what was said -> an answer
    mark: Callable[[str, Row], float]  # an answer -> 0 to 1
    measures: Callable[[list[Line]], dict[str, "Measure"]]
    suffix: str = ""  # written after every question
    system_prompt: bool = False  # the released one, for models that know it
    max_tokens: int = 12


@dataclass(frozen=True)
class Measure:
    """A number of a benchmark: statistic(means of the parts' columns), and its ceiling."""

    parts: list[Tensor]  # of each part, one row per unit: n, or n k
    statistic: Statistic
    ceiling: float | None = 1.0
    biased: bool = False  # drawing rows anew makes it larger, as any distance


def picture(thing: Scene | Chart | Image.Image, world: World) -> Image.Image:
    """What is shown, as a picture of the world's size."""
    if isinstance(thing, Scene):
        return world.render(thing)
    if isinstance(thing, Chart):
        return draw_chart(thing, world.cfg.image_size)
    return thing


def expected(benchmark: Benchmark, row: Row) -> tuple[str, list[str]]:
    """The question or prompt of a row with its suffix, and the accepted answers."""
    return row.words + benchmark.suffix, list(row.truths)


def marked(
    benchmark: Benchmark, row: Row, raw: str, blind: bool = False, parsed: str | None = None
) -> Line:
    """The line of a row and what was said about it, read here if it was not before."""
    parsed = benchmark.parse(raw, row) if parsed is None else parsed
    prompt, truths = expected(benchmark, row)
    found = (prompt, raw, parsed, truths, float(benchmark.mark(parsed, row)))
    return Line(row.id, row.part, row.unit, blind, *found)


def asked(
    model: Model, world: World, benchmark: Benchmark, rows: Sequence[Row], blind: bool
) -> list[Line]:
    """Ask about each row's pictures, or blind about none, and mark the answers."""
    janus, tokenizer, number = model
    stages = tuple(
        replace(s, system_prompt=s.system_prompt and benchmark.system_prompt)
        for s in janus.cfg.stages
    )
    conversations = [
        (
            turns(row.words + benchmark.suffix),
            [] if blind else [picture(thing, world) for thing in row.shown],
        )
        for row in rows
    ]
    before, janus.cfg = janus.cfg, replace(janus.cfg, stages=stages)
    try:
        said = replies(janus, tokenizer, conversations, number, benchmark.max_tokens)
    finally:
        janus.cfg = before
    return [marked(benchmark, row, raw, blind) for row, raw in zip(rows, said, strict=True)]


def line_files(folder: Path, name: str) -> list[Path]:
    """The files of a benchmark's answers: of a whole run, and of shards."""
    return sorted([*folder.glob(f"{name}.jsonl"), *folder.glob(f"{name}.*-of-*.jsonl")])


def read_lines(
    path: Path, benchmark: Benchmark, head: dict[str, str], rows: dict[str, Row]
) -> list[Line]:
    """The whole lines of a file of answers; one that was cut off in the middle is left out.

    UserError if they are another benchmark's or model's, were asked in another way, or are
    about other questions.
    """
    other = f"move {path} away, or write with --json to another folder."
    try:
        first, *others = path.read_text(encoding="utf-8").split("\n")
        found = {key: json.loads(first)[key] for key in head}
        # What follows the last line break was not written to its end.
        lines = [Line(**json.loads(text)) for text in others[:-1]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.name} is no file of answers: {other}") from error
    if found != head:
        raise UserError(
            f"{path.name} holds answers of {', '.join(found.values())}, not of "
            f"{', '.join(head.values())}: {other}"
        )
    for line in lines:
        row = rows.get(line.id)
        if row is None or (line.prompt, line.truths) != expected(benchmark, row):
            raise UserError(f"{path.name} answers other questions ({line.id}): {other}")
    return lines


Found = dict[tuple[str, bool], Line]  # by the row's id, and whether blind


def read_all(
    folder: Path, benchmark: Benchmark, head: dict[str, str], rows: list[Row]
) -> Found:
    """Every line of a whole run or of any shard; UserError as `read_lines`."""
    by_id = {row.id: row for row in rows}
    files = line_files(folder, benchmark.name)
    every = (line for path in files for line in read_lines(path, benchmark, head, by_id))
    return {(line.id, line.blind): line for line in every}


def run(
    benchmark: Benchmark,
    rows: list[Row],
    answer: Callable[[list[Row], bool], list[Line]],
    folder: Path,
    head: dict[str, str],
    shard: tuple[int, int] = (1, 1),
    only: list[Row] | None = None,
) -> list[Line]:
    """Have what is missing of this shard answered; return the lines of all shards.

    `answer` takes some rows, and whether without their pictures. `head` says what a file's
    answers are of: suite, model, and how it was asked. `only`: of these rows alone.
    """
    if not rows:
        raise UserError(f"{benchmark.name} has nothing to ask: no scene is of its kinds.")
    found = read_all(folder, benchmark, head, rows)
    only = rows if only is None else only
    wanted = [
        (row, blind) for blind in (False, True) for row in only if row.blind or not blind
    ]
    number, shards = shard
    name = f"{benchmark.name}.{number}-of-{shards}" if shards > 1 else benchmark.name
    todo = [
        (row, blind)
        for row, blind in wanted[number - 1 :: shards]
        if (row.id, blind) not in found
    ]
    with (
        open_lines(folder / f"{name}.jsonl", head) as file,
        tqdm(total=len(todo), desc=benchmark.name, mininterval=5) as bar,
    ):
        for start in range(0, len(todo), AT_ONCE):
            some = todo[start : start + AT_ONCE]
            for without in (False, True):
                part = [row for row, blind in some if blind == without]
                started = time.monotonic()
                lines = answer(part, without) if part else []
                each = round((time.monotonic() - started) / max(1, len(part)), 4)
                for line in lines:
                    line = replace(line, seconds=each)
                    file.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
                file.flush()
            bar.update(len(some))
    # Anew, as other shards may have been at work at the same time.
    found = read_all(folder, benchmark, head, rows)
    keys = ((row.id, blind) for row, blind in wanted)
    return [found[key] for key in keys if key in found]


def open_lines(path: Path, head: dict[str, str]) -> TextIO:
    """A file of answers, opened to be gone on with, without a line that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = ""
    if path.exists():
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    write_text(path, (whole or json.dumps(head)) + "\n")
    return path.open("a", encoding="utf-8")
