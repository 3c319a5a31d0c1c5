"""Benchmarks: rows, lines, shards, and the statistics, against brute force."""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minijanus import benchmark as benchmark_module
from minijanus import choices_mini, suites
from minijanus.__main__ import main
from minijanus.benchmark import Benchmark, Line, Row, asked, marked, read_lines, run
from minijanus.checkpoint import fingerprint
from minijanus.config import TINY
from minijanus.drawn_mini import drawing_suites
from minijanus.folders import RESULTS, SHIPPED, TINY_FOLDER
from minijanus.geneval_mini import Model
from minijanus.lab import UserError
from minijanus.languages_mini import LANGUAGES_MINI
from minijanus.load import load_janus
from minijanus.scores import bootstrap, statistic_of
from minijanus.suites_mini import SUITES, mme_measures, pope_measures
from minijanus.world import World

IDS = [(part, f"{part}/{i}") for part in "ab" for i in range(4)]
ROWS = [Row(name, part, name, f"Is {name} there?", ("yes",)) for part, name in IDS]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    """The rows of every suite."""
    world = World(TINY, "heldout")
    return {benchmark.name: benchmark.rows(world) for benchmark in SUITES}


def by_name(name: str) -> Benchmark:
    """The suite of this name."""
    return next(benchmark for benchmark in SUITES if benchmark.name == name)


@pytest.mark.parametrize("benchmark", SUITES, ids=[b.name for b in SUITES])
def test_rows_have_names_and_the_truth_full_marks(benchmark, rows):
    """Catches two rows of one id, of which one would never be asked, and unfair marking."""
    mine = rows[benchmark.name]
    assert len({row.id for row in mine}) == len(mine) >= 120
    assert all(row.shown and row.words for row in mine)
    for row in mine:
        assert marked(benchmark, row, row.truths[0]).score == 1
        assert marked(benchmark, row, "xyzzy").score in (0, float(row.truths[0] == "yes"))
    assert benchmark.rows(World(TINY, "heldout"))[:20] == mine[:20]


def test_a_right_answer_is_not_the_only_possible_one(rows):
    """Catches a suite whose answers are all the same, so that the floor is the ceiling."""
    for benchmark in SUITES:
        lines = suites.guessed(benchmark, rows[benchmark.name], 0)
        values = suites.values(benchmark, lines)
        main = {"mmb_mini": "circular"}.get(benchmark.name, "accuracy")
        assert values[main] < 0.6, benchmark.name


def test_mme_asks_each_picture_once_yes_and_once_no(rows):
    """Catches a pair whose second answer is yes as well."""
    pairs: dict[str, list[str]] = {}
    for row in rows["mme_mini"]:
        pairs.setdefault(row.unit, []).append(row.truths[0])
    assert all(truths == ["yes", "no"] for truths in pairs.values())
    assert len(pairs) == 300


def test_circular_asks_the_same_in_all_orders(rows):
    """Catches rotations in which the letter does not move with its option."""
    for start in range(0, 40, 4):
        some = rows["mmb_mini"][start : start + 4]
        assert len({row.unit for row in some}) == 1
        said = {row.options["ABCD".index(row.truths[0])] for row in some}
        assert len(said) == 1 and {row.truths[0] for row in some} == set("ABCD")
        assert all(
            f"{letter}. {option}" in row.words
            for row in some
            for letter, option in zip("ABCD", row.options, strict=True)
        )


def line(unit: str, said: str, truth: str, part: str = "p") -> Line:
    """A line of a yes-or-no benchmark."""
    score = float(said == truth)
    return Line(f"{unit}{truth}", part, unit, False, "", said, said, [truth], score)


def test_pope_numbers_by_hand():
    """Catches precision and recall exchanged: two true yes, one false yes, one missed."""
    lines = [
        line("1", "yes", "yes"), line("1", "yes", "no"),
        line("2", "yes", "yes"), line("2", "no", "no"),
        line("3", "no", "yes"), line("3", "no", "no"),
    ]  # fmt: skip
    found = {
        name: statistic_of(m.parts, m.statistic) for name, m in pope_measures(lines).items()
    }
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["yes_ratio"] == pytest.approx(3 / 6)
    more = [line("4", "yes", "yes", "q"), line("4", "no", "no", "q")]
    of_split = pope_measures([*lines, *more])
    for name in ("precision", "recall", "f1", "yes_ratio"):
        assert of_split[f"p_{name}"].parts[0].equal(pope_measures(lines)[name].parts[0])
    f1 = of_split["f1"]
    assert statistic_of(f1.parts, f1.statistic) == pytest.approx((2 / 3 + 1) / 2)


def test_mme_points_by_hand():
    """Catches accuracy+ counted by answer: of two pairs one is right in both."""
    lines = [line("1", "yes", "yes"), line("1", "no", "no"), line("2", "yes", "yes")]
    lines += [line("2", "yes", "no")]
    lines += [line("3", "yes", "yes", "q"), line("3", "no", "no", "q")]
    found = mme_measures(lines)
    value = statistic_of(found["points"].parts, found["points"].statistic)
    assert value == pytest.approx(75 + 50 + 100 + 100)
    assert found["points"].ceiling == 400
    plus = found["accuracy_plus"]
    assert statistic_of(plus.parts, plus.statistic) == pytest.approx(0.75)


def test_bootstrap_of_a_ratio_covers_it():
    """Catches a statistic that is averaged over draws in the place of drawn anew."""
    torch.manual_seed(0)
    columns = torch.rand(400, 2)
    ratio = lambda means: (means[..., 0] / means[..., 1]).mean(dim=0)  # noqa: E731
    low, high = bootstrap([columns], ratio)
    value = statistic_of([columns], ratio)
    again = torch.stack([columns[torch.randint(400, (400,))].mean(0) for _ in range(3000)])
    wide = (again[:, 0] / again[:, 1]).quantile(torch.tensor([0.025, 0.975]))
    assert low < value < high
    assert (low, high) == pytest.approx(wide.tolist(), abs=0.01)


def test_the_interval_of_a_distance_lies_about_it():
    """Catches an interval that leaves its own value out: drawn anew, a distance grows."""
    torch.manual_seed(0)
    columns = torch.randn(100, 1)
    square = lambda means: means[..., 0].square().mean(dim=0)  # noqa: E731
    value = statistic_of([columns], square)
    low, high = bootstrap([columns], square, biased=True)
    plain_low, plain_high = bootstrap([columns], square)
    assert low < value < high and high - low == pytest.approx(plain_high - plain_low)
    assert low + high < plain_low + plain_high


X = replace(by_name("pope_mini"), name="x")
HEAD = {"suite": "x", "model": "m", "how": "greedy"}


def answerer(asked: list):
    """Something that answers yes to every row, and notes what it was asked."""

    def answer(some: list[Row], blind: bool) -> list[Line]:
        asked.extend((row.id, blind) for row in some)
        return [marked(X, row, "yes", blind) for row in some]

    return answer


def test_shards_ask_every_row_once(tmp_path):
    """Catches a row that two shards ask, or none."""
    asked: list = []
    for number in (1, 2, 3):
        lines = run(X, ROWS, answerer(asked), tmp_path, HEAD, (number, 3))
    assert sorted(asked) == sorted((r.id, blind) for r in ROWS for blind in (False, True))
    assert len(lines) == 16 and len(list(tmp_path.glob("*.jsonl"))) == 3
    asked.clear()
    assert len(run(X, ROWS, answerer(asked), tmp_path, HEAD)) == 16 and not asked


def test_an_interrupted_run_goes_on_and_a_torn_line_is_asked_again(tmp_path):
    """Catches a line lost or read twice where the run was cut off in its middle."""
    asked: list = []
    run(X, ROWS, answerer(asked), tmp_path, HEAD)
    path = tmp_path / "x.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) - 30])  # in the middle of the last line
    asked.clear()
    lines = run(X, ROWS, answerer(asked), tmp_path, HEAD)
    assert asked == [(ROWS[-1].id, True)] and len(lines) == 16

    def without_time(text: str) -> list[dict]:
        return [json.loads(one) | {"seconds": 0} for one in text.splitlines()]

    assert without_time(path.read_text()) == without_time(text)


@pytest.mark.parametrize(
    ("head", "row", "words"),
    [
        (HEAD | {"suite": "y"}, None, "holds answers of y, m, greedy"),
        (HEAD | {"model": "other"}, None, "of x, other, greedy, not of x, m"),
        (HEAD | {"how": "guidance 5"}, None, "of x, m, guidance 5, not of"),
        (None, {"prompt": "Something else?"}, "answers other questions"),
        (None, {"id": "z/9"}, "answers other questions"),
        (None, {"truths": ["no"]}, "answers other questions"),  # its world has changed
        ("no json", None, "is no file of answers"),
    ],
)
def test_answers_of_something_else_are_refused(tmp_path, head, row, words):
    """Catches scores made of another model's, suite's or world's answers."""
    run(X, ROWS, answerer([]), tmp_path, HEAD)
    path = tmp_path / "x.jsonl"
    lines = path.read_text().splitlines()
    if head:
        lines[0] = head if isinstance(head, str) else json.dumps(head)
    if row:
        lines[3] = json.dumps(json.loads(lines[3]) | row)
    path.write_text("\n".join(lines) + "\n")
    before = path.read_text()
    with pytest.raises(UserError, match=words):
        run(X, ROWS, answerer([]), tmp_path, HEAD)
    assert path.read_text() == before


def test_two_shardings_at_once_count_no_answer_twice(tmp_path):
    """Catches rows that weigh double, or a suite called whole with half its answers."""
    run(X, ROWS, answerer([]), tmp_path, HEAD, (1, 2))
    half = tmp_path / "x.1-of-2.jsonl"
    (tmp_path / "x.1-of-4.jsonl").write_text(half.read_text())
    asked: list = []
    lines = run(X, ROWS, answerer(asked), tmp_path, HEAD, (1, 2))
    assert not asked and len(lines) == 8


def test_the_last_of_shards_at_once_has_them_all(tmp_path):
    """Catches shards that run side by side, of which none ever sees the others' lines."""

    def while_another_runs(some: list[Row], blind: bool) -> list[Line]:
        if not (tmp_path / "x.2-of-2.jsonl").exists():
            run(X, ROWS, answerer([]), tmp_path, HEAD, (2, 2))
        return answerer([])(some, blind)

    assert len(run(X, ROWS, while_another_runs, tmp_path, HEAD, (1, 2))) == 16


def test_the_time_of_a_suite_is_that_of_its_batches(tmp_path):
    """Catches a time that only the last piece of a stopped run took."""

    def slow(some: list[Row], blind: bool) -> list[Line]:
        time.sleep(0.08)
        return answerer([])(some, blind)

    run(X, ROWS, slow, tmp_path, HEAD, only=ROWS[:2])
    lines = run(X, ROWS, slow, tmp_path, HEAD)  # four batches in all
    taken = sum(line.seconds for line in lines)
    assert 0.31 < taken < 3  # more only where the machine had something else to do
    found = suites.suite_scores(X, ROWS, lines, [], "by hand")
    assert found["x.accuracy"]["seconds"] == round(taken, 1)


def test_a_ceiling_is_made_of_the_best_lines(tmp_path):
    """Catches a ceiling of 1 where even the best that can be had is not always right."""
    lines = run(X, ROWS, answerer([]), tmp_path, HEAD)
    best = [marked(X, row, "yes" if row.part == "a" else "no") for row in ROWS]
    found = suites.suite_scores(X, ROWS, lines, best, "by hand")
    assert found["x.a"]["ceiling"] == 1 and found["x.b"]["ceiling"] == 0
    assert found["x.accuracy"]["ceiling"] == 0.5


def test_what_is_asked_is_the_row_its_pictures_and_nothing_else(monkeypatch):
    """Catches a blind run that sees, a suffix left out, a system prompt not wanted."""
    given = []

    def replies(janus, tokenizer, conversations, number, most) -> list[str]:
        stage = janus.cfg.stage(number)
        given.append((conversations, stage.system_prompt, most))
        return ["yes"] * len(conversations)

    monkeypatch.setattr(benchmark_module, "replies", replies)
    world = World(TINY, "heldout")
    scene = world.scene("scene", 0)
    row = replace(ROWS[0], shown=(scene,))
    stages = tuple(replace(stage, system_prompt=True) for stage in TINY.stages)
    janus = SimpleNamespace(cfg=replace(TINY, stages=stages))
    wordy = replace(X, suffix="\nIn one word.", max_tokens=7)
    for blind in (False, True):
        [line] = asked((janus, None, 3), world, wordy, [row], blind)
        assert line.blind == blind and line.prompt == "Is a/0 there?\nIn one word."
    asked((janus, None, 3), world, replace(wordy, system_prompt=True), [row], False)
    (seen, *plain), (unseen, *_), (_, *wanted) = given
    [(messages, [image])] = seen
    assert messages == [{"role": "user", "content": "Is a/0 there?\nIn one word."}]
    assert image.tobytes() == world.render(scene).tobytes()
    assert [shown for _, shown in unseen] == [[]]
    assert plain == [False, 7] and wanted == [True, 7]
    assert janus.cfg.stages == stages  # as it was


def test_some_rows_first_and_all_later(tmp_path):
    """Catches a trial whose answers stand in the way of the whole, or the reverse."""
    asked: list = []
    assert len(run(X, ROWS, answerer(asked), tmp_path, HEAD, only=ROWS[:2])) == 4
    assert len(run(X, ROWS, answerer(asked), tmp_path, HEAD)) == 16 == len(asked)
    assert len(run(X, ROWS, answerer(asked), tmp_path, HEAD, only=ROWS[:2])) == 4
    assert len(asked) == 16


def test_nothing_to_ask_is_told(tmp_path):
    """Catches a score of nothing, which is not a number."""
    with pytest.raises(UserError, match="has nothing to ask"):
        run(X, [], answerer([]), tmp_path, HEAD)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_strange_shard_is_refused(text: str):
    """Catches a shard that would ask nothing and call the suite done."""
    with pytest.raises(UserError, match="--shard is"):
        suites.shard_of(text)


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped model."""
    return load_janus(TINY_FOLDER)


@pytest.mark.parametrize("name", [benchmark.name for benchmark in SUITES])
def test_the_whole_way_on_a_handful(name: str, model: Model, tmp_path):
    """Catches a suite that fails on the shipped model, and scores that no line explains."""
    out = tmp_path / "mini.json"
    found = suites.run_suites(name, model, tmp_path, 1.5, out, (1, 1), 2)
    assert json.loads(out.read_text()) == found
    text = (tmp_path / "answers" / f"{name}.jsonl").read_text().splitlines()[1:]
    lines = [json.loads(one) for one in text]
    measure = {"mmb_mini": "vanilla"}.get(name, "accuracy")
    for blind, key in ((False, "value"), (True, "floor")):
        parts: dict[str, list[float]] = {}
        for one in lines:
            if one["blind"] == blind and (name != "mmb_mini" or one["id"][-2:] == "/0"):
                parts.setdefault(one["part"], []).append(one["score"])
        means = [sum(scores) / len(scores) for scores in parts.values()]
        score = found[f"{name}.{measure}"][key]
        assert score == pytest.approx(sum(means) / len(means), abs=1e-4)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--suite", "nothing"], "no suite nothing"),
        (["--suite", "pope_mini", "--phase", "llm"], "neither sees nor draws"),
        (["--suite", "pope_mini", "--shard", "5/4"], "--shard is 5/4"),
        (["--model", "somewhere"], "add --suite mini"),
        (["--phase", "stage2"], "add --suite mini"),
        (["--shard", "1/4"], "add --suite mini"),
        (["--guidance", "0"], "add --suite mini"),
    ],
)
def test_what_was_typed_wrong_is_told_in_one_line(typed, words, tmp_path, capsys):
    """Catches a traceback, or a model measured that never saw a picture."""
    assert main(["evaluate", "--json", str(tmp_path / "x.json"), *typed]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["[]", '{"judge.real": {}}', "{"])
def test_a_file_of_something_else_is_told_before_the_work(text, tmp_path, capsys):
    """Catches half an hour of answers, and then a file that cannot take their scores."""
    (tmp_path / "x.json").write_text(text)
    typed = ["evaluate", "--suite", "pope_mini", "--json", str(tmp_path / "x.json")]
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert "--json" in said or "is no file of scores" in said
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_text() == text


def test_a_trial_does_not_replace_what_was_measured(capsys):
    """Catches `--units 2` written over the scores that the README shows."""
    assert main(["evaluate", "--suite", "vqa_mini", "--units", "2"]) == 2
    assert "--json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "scores"),
    [(TINY_FOLDER, "mini.json"), (SHIPPED / "control", "control/languages.json")],
    ids=["tiny", "control"],
)
def test_the_shipped_scores_are_what_the_shipped_lines_say(folder: Path, scores: str):
    """Catches answers of another model or world under the scores, or lines touched later.

    Not of fd_mini, whose drawings would have to be made anew.
    """
    model, world = fingerprint(load_janus(folder)[0]), World(TINY, "test")
    found = json.loads((RESULTS / scores).read_text())
    geneval, _ = drawing_suites(None, world)
    every = (*SUITES, geneval, LANGUAGES_MINI)
    for benchmark in every if folder == TINY_FOLDER else (LANGUAGES_MINI,):
        path = (RESULTS / scores).parent / "answers" / f"{benchmark.name}.jsonl"
        head = json.loads(path.read_text(encoding="utf-8").partition("\n")[0])
        assert (head["suite"], head["model"]) == (benchmark.name, model)
        rows = {row.id: row for row in benchmark.rows(world)}
        lines = read_lines(path, benchmark, head, rows)
        assert len(lines) == sum(1 + row.blind for row in rows.values())
        for line in lines:
            assert line.score == benchmark.mark(line.parsed, rows[line.id]), line.id
            if benchmark in SUITES:
                assert line.parsed == benchmark.parse(line.raw, rows[line.id]), line.id
        for blind, key in ((False, "value"), (True, "floor")):
            some = [line for line in lines if line.blind == blind]
            for name, value in suites.values(benchmark, some).items():
                assert found[f"{benchmark.name}.{name}"][key] == round(value, 4), name


def test_every_suite_keeps_to_its_time():
    """Catches a suite that grew until nobody runs it: 5 minutes each, 40 in all."""
    found = json.loads((RESULTS / "mini.json").read_text())
    taken = {name.partition(".")[0]: one["seconds"] for name, one in found.items()}
    assert all(0 < seconds < 300 for seconds in taken.values()), taken
    assert sum(taken.values()) < 2400


def test_every_shipped_interval_holds_its_value():
    """Catches scores of an older way to make intervals."""
    found = json.loads((RESULTS / "mini.json").read_text())
    assert {name.partition(".")[0] for name in found} >= {b.name for b in SUITES}
    for name, one in found.items():
        assert one["low"] <= one["value"] <= one["high"], name


def test_pictures_that_all_show_the_same_are_not_searched_for_ever(monkeypatch):
    """Catches a loop without end in a world too small for the question."""
    calls = iter(range(5))  # a sixth one raises StopIteration

    def nothing_to_ask(scenes, rng):
        next(calls)
        return ["Describe the pictures.", ""]

    monkeypatch.setattr(choices_mini, "TRIES", 5)
    monkeypatch.setattr(choices_mini, "which_picture", nothing_to_ask)
    with pytest.raises(UserError, match="choose a world with more concepts"):
        choices_mini.mmmu_rows(World(TINY, "heldout"))
