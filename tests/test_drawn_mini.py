"""Benchmarks of drawings: their rows, their lines, and a handful drawn for each."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from minijanus import drawn_mini, frechet, suites
from minijanus.benchmark import Line
from minijanus.concepts import COLOURS
from minijanus.config import TINY
from minijanus.corpus import labels
from minijanus.drawn_mini import (
    as_it_is,
    distance_rows,
    drawn,
    geneval_rows,
    pictures,
    shows_prompt,
)
from minijanus.folders import TINY_FOLDER
from minijanus.geneval_mini import Model
from minijanus.judge import load_judge
from minijanus.lab import UserError
from minijanus.languages_mini import (
    COLOUR_WORDS,
    in_language,
    language_measures,
    language_rows,
)
from minijanus.load import load_janus
from minijanus.scenes import DRAWN
from minijanus.scores import statistic_of
from minijanus.suites_mini import accuracy
from minijanus.world import World

BENCHMARK = suites.Benchmark("x", geneval_rows, as_it_is, shows_prompt, accuracy)


@pytest.fixture(scope="module")
def world() -> World:
    """The world's held-out part."""
    return World(TINY, "heldout")


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped model."""
    return load_janus(TINY_FOLDER)


def test_a_prompt_is_met_by_its_own_scene_only(world: World):
    """Catches a truth that belongs to another row, or a mark that everything gets."""
    rows = geneval_rows(world)
    assert len(rows) == 2400 and {row.part for row in rows} == set(DRAWN)
    units = rows[::4]
    assert all(shows_prompt(row.truths[0], row) == 1 for row in units)
    others = zip(units, units[1:], strict=False)
    wrong = [shows_prompt(other.truths[0], row) for row, other in others]
    assert sum(wrong) / len(wrong) < 0.1
    assert shows_prompt("[]", rows[0]) == 0


def test_a_line_is_enough_to_see_its_drawing(world: World, model: Model):
    """Catches codes that are another drawing's: judged again, they get the same mark."""
    judge = load_judge(TINY, TINY_FOLDER, "cpu")
    rows = [geneval_rows(world)[i] for i in (0, 401, 800)]
    lines = drawn(model, judge, 1.5, BENCHMARK, rows, False)
    alone = drawn(model, judge, 1.5, BENCHMARK, rows[1:2], False)
    assert alone[0] == lines[1]  # whatever is drawn beside it
    found = drawn_mini.looked(judge, pictures(model, [line.raw for line in lines]))
    assert [drawn_mini.written(some) for some in found] == [line.parsed for line in lines]
    blind = drawn(model, judge, 1.5, BENCHMARK, rows, True)
    other = drawn(model, judge, 3.0, BENCHMARK, rows[:1], True)
    assert blind[0].raw == other[0].raw  # without a prompt guidance changes nothing
    assert {line.raw for line in blind}.isdisjoint(line.raw for line in lines)


def test_languages_say_the_same_thing(world: World):
    """Catches a colour or a noun of another row; English is the caption itself."""
    rows = language_rows(world)
    assert len({row.id for row in rows}) == len(rows) == 11 * 60
    assert len(COLOUR_WORDS) == 9  # with emoji and English eleven
    for row in rows:
        (thing,) = row.shown[0].objects
        language, kind = row.part.split("_")
        assert (kind == "colours") == (thing.colour is not None)
        if language in COLOUR_WORDS:
            words, _ = COLOUR_WORDS[language]
            assert labels()[world.codes[thing.concept]][language] in row.words
            if thing.colour:
                assert words.split()[list(COLOURS).index(thing.colour)] in row.words
        elif language == "en":
            assert thing.concept in row.words and (thing.colour or "") in row.words
        else:
            assert not row.words.isascii() and thing.concept not in row.words
    hearts = {row["fr"]: row["en"] for row in labels().values() if "heart" in row["en"]}
    french, _ = COLOUR_WORDS["fr"]
    for english, word in zip(COLOURS, french.split(), strict=True):
        assert hearts[f"cœur {word}"] == f"{english} heart"


def test_an_emoji_of_several_parts_is_whole(world: World):
    """Catches an emoji cut at its first code point."""
    thing = world.scene("category", 0).objects[0]
    assert in_language(thing, "1F468-200D-1F692", "emoji").endswith(
        "\U0001f468\u200d\U0001f692"
    )


@pytest.mark.parametrize("name", ["geneval_mini", "languages_mini"])
def test_a_handful_of_drawings(name: str, model: Model, tmp_path):
    """Catches a suite that stops half way, and scores that no line explains."""
    out = tmp_path / "mini.json"
    found = suites.run_suites(name, model, TINY_FOLDER, 1.5, out, (1, 1), 1)
    text = (tmp_path / "answers" / f"{name}.jsonl").read_text().splitlines()[1:]
    seen = [one for one in map(json.loads, text) if not one["blind"]]
    for part in {one["part"] for one in seen}:
        scores = [one["score"] for one in seen if one["part"] == part]
        mean = sum(scores) / len(scores)
        assert found[f"{name}.{part}"]["value"] == pytest.approx(mean, abs=1e-4)
    assert json.loads(out.read_text()) == found


def test_english_is_not_mixed_with_the_others():
    """Catches a mean in which English alone looks like a language that carried over."""
    scores = {"en_single": 1.0, "en_colours": 0.5, "fr_single": 0.25, "fr_colours": 0.0}
    lines = [
        Line(f"{part}/{i}", part, f"{part}/{i}", False, "", "", "", [], value)
        for part, value in scores.items()
        for i in range(4)
    ]
    found = {
        name: statistic_of(one.parts, one.statistic)
        for name, one in language_measures(lines).items()
    }
    assert found == scores | {"english": 0.75, "other": 0.125}


def test_the_judge_of_another_size_is_refused(model: Model):
    """Catches `tiny`'s judge finding nonsense in pictures of 384 pixels."""
    with pytest.raises(UserError, match="64 pixels, but these have 128"):
        load_judge(replace(TINY, image_size=128), TINY_FOLDER, "cpu")


def test_a_handful_for_the_distance(model: Model, tmp_path, monkeypatch):
    """Catches a distance of drawings to themselves, and real scenes that are the worst."""
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setattr(drawn_mini, "DISTANT", 40)
    few = partial(frechet.principal_axes, dimensions=4)
    monkeypatch.setattr(drawn_mini.frechet, "principal_axes", few)
    out = tmp_path / "mini.json"
    found = suites.run_suites("fd_mini", model, TINY_FOLDER, 1.5, out)
    names = ("captions", "captions_redrawn", "categories", "categories_redrawn")
    assert tuple(found) == tuple(f"fd_mini.{name}" for name in names)
    for one in found.values():
        assert one["value"] > one["ceiling"] and one["guess"] is None and one["n"] == 40
    for name in ("captions", "categories"):  # what no prompt changes has no blind score
        redrawn, drawn = (found[f"fd_mini.{name}{end}"] for end in ("_redrawn", ""))
        assert redrawn["floor"] == redrawn["value"] != drawn["value"]
        assert redrawn["value"] < drawn["floor"]
        assert torch.isfinite(torch.tensor([one["low"], one["high"], one["floor"]])).all()
    rows = {row.id for row in distance_rows(World(TINY, "test"))}
    text = (tmp_path / "answers" / "fd_mini.jsonl").read_text().splitlines()[1:]
    assert {json.loads(one)["id"] for one in text} == rows and len(rows) == 80
