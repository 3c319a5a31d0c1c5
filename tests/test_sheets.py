"""The README's pictures: fixed and seen prompts, held-out questions, every tile shown."""

import inspect
import json
from pathlib import Path

import pytest
from micro_run import CommandLine, save_run
from PIL import Image

from minijanus import cfg_sampler, report, sheets, studio
from minijanus.__main__ import make_parser
from minijanus.concepts import COLOURS, TINY_CONCEPTS, colour_held_out, relation_held_out
from minijanus.config import TINY as TINY_CONFIG
from minijanus.language import NUMBERS, RELATION_WORDS, a, plural
from minijanus.scenes import DRAWN
from minijanus.sheets import EACH, PROMPTS, QUESTIONS, TILE
from minijanus.text import Tokenizer
from minijanus.world import World

RELATIONS = {words: name for name, wordings in RELATION_WORDS.items() for words in wordings}


@pytest.fixture
def minijanus(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line."""
    return CommandLine(capsys, monkeypatch)


def things() -> dict[str, tuple[str | None, str]]:
    """Every seen way to name one thing of the tiny world: its colour and concept."""
    named = {}
    for name, _, _ in TINY_CONCEPTS:
        named[a(name)] = (None, name)
        for colour in COLOURS:
            if not colour_held_out(colour, name):
                named[a(name, colour)] = (colour, name)
    return named


def test_the_prompts_are_of_the_tiny_world_and_seen():
    """A prompt that no training shows would look like a fault of drawing."""
    assert len(PROMPTS) == len(DRAWN) and {len(group) for group in PROMPTS.values()} == {4}
    assert len({prompt for group in PROMPTS.values() for prompt in group}) == 24
    one = things()
    for prompt in (*PROMPTS["single object"], *PROMPTS["colours"]):
        assert (one[prompt][0] is not None) == (prompt in PROMPTS["colours"])
    many = {
        f"{NUMBERS[n]} {plural(name)}" for n in (2, 3, 4) for name, _, _ in TINY_CONCEPTS
    }
    assert set(PROMPTS["counting"]) <= many
    for kind in ("two objects", "colour attribution"):
        for prompt in PROMPTS[kind]:
            (c, first), (d, second) = (one[part] for part in prompt.split(" and "))
            assert first != second
            assert c != d if kind == "colour attribution" else c is d is None
            assert not any(relation_held_out(first, r, second) for r in RELATION_WORDS)
    for prompt in PROMPTS["position"]:
        [words] = [words for words in RELATIONS if f" {words} " in prompt]
        (_, first), (_, second) = (one[part] for part in prompt.split(f" {words} "))
        assert first != second
        assert not relation_held_out(first, RELATIONS[words], second)


def test_the_default_guidance_is_the_papers():
    """Catches another scale in one of the places that a picture can come from (§3.4)."""
    functions = (
        cfg_sampler.drawing,
        studio.draw_pictures,
        sheets.save_contact_sheet,
        report.main_report,
    )
    for function in functions:
        assert inspect.signature(function).parameters["guidance"].default == 5.0
    assert make_parser().parse_args(["draw", "a dog"]).guidance == 5.0
    assert make_parser().parse_args(["report"]).guidance == 5.0


def test_every_drawing_is_on_the_sheet_once_in_reading_order():
    """A drawing under the prompt beside it, or one that was left out."""
    number = EACH * sum(len(group) for group in PROMPTS.values())
    colours = [(255, 100 + i, 10) for i in range(number)]
    pictures = [Image.new("RGB", (64, 64), colour) for colour in colours]
    sheet = sheets.contact_sheet(sheets.PROMPTS, pictures, "a caption")
    counted = {colour: count for count, colour in sheet.getcolors(1 << 16)}
    assert [counted[colour] for colour in colours] == [TILE * TILE] * number
    places = [sheet.tobytes().index(bytes(colour)) for colour in colours]
    assert places == sorted(places)


def test_lines_are_wrapped_to_their_width():
    """A question that runs into the picture beside it cannot be read."""
    lines = sheets.wrapped("Where is the elephant relative to the strawberry?", 120, 15)
    assert " ".join(lines) == "Where is the elephant relative to the strawberry?"
    font = sheets.ImageFont.load_default(15)
    assert len(lines) > 2 and all(font.getlength(line) <= 120 for line in lines)


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("Yes.", "yes", True),
        (" two ", "two", True),
        ("no", "yes", False),
        ("", "no", False),
    ],
)
def test_an_answer_is_right_if_it_is_the_truth(answer: str, truth: str, right: bool):
    """A full stop counted as an error, or any answer counted as right."""
    assert sheets.same(answer, truth) is right


def test_the_questions_are_held_out_and_always_the_same():
    """Pictures of the training split would show memory, new ones each time luck."""
    world = World(TINY_CONFIG, "heldout")
    asked = sheets.questions(world)
    assert len(asked) == 12 and len({picture.tobytes() for picture, *_ in asked}) == 12
    kinds = [name.split("/")[:2] for _, name, _, _ in asked]
    assert kinds == [["heldout", kind] for kind in QUESTIONS]
    again = sheets.questions(World(TINY_CONFIG, "heldout"))
    assert [rest for _, *rest in again] == [rest for _, *rest in asked]


def test_report_makes_the_pictures(
    tmp_path: Path, tokenizer: Tokenizer, minijanus: CommandLine
):
    """With a model that draws noise, the largest files; both pictures whole and small."""
    run = save_run(tmp_path / "run", tokenizer)
    for part in ("sheet", "answers"):
        report.main_report(run, part, out=tmp_path)
    for name in ("contact_sheet.png", "answers.png"):
        assert (tmp_path / name).stat().st_size < 1_000_000
        Image.open(tmp_path / name).load()
    told = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert len(told) == len(QUESTIONS)
    assert all(row["right"] == sheets.same(row["answer"], row["truth"]) for row in told)


def test_the_command_passes_its_options_on(minijanus: CommandLine, monkeypatch):
    """An option that is read but not passed on changes nothing, silently."""
    asked = []

    def note(*arguments: object) -> None:
        asked.append(arguments)

    with monkeypatch.context() as patch:
        patch.setattr(report, "main_report", note)
        minijanus("report", "--checkpoint", "some", "--only", "sheet", "--guidance", "3")
    assert asked == [(Path("some"), "sheet", 3.0)]
    assert "tables, sheet, answers" in minijanus.refusal("report", "--only", "tabels")
