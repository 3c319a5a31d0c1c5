"""The README's two pictures: what the model draws, and what it answers (paper §3.4).

They show, they do not score: prompts and pictures are few, fixed, and not chosen by result.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from minijanus.answers_mini import same
from minijanus.charts import chart_question, draw_chart, sample_chart
from minijanus.checkpoint import write_text, write_whole
from minijanus.lab import device
from minijanus.load import load_janus
from minijanus.questions import KINDS, ask
from minijanus.studio import GAP, ask_picture, draw_pictures
from minijanus.world import World

# GenEval's six kinds, four prompts each; no held-out combination is among them.
PROMPTS = {
    "single object": ("a dog", "a house", "a banana", "an umbrella"),
    "two objects": (
        "a dog and an apple",
        "a car and a tree",
        "a cat and a sunflower",
        "a fish and a rocket",
    ),
    "counting": ("two cats", "three apples", "four balls", "three penguins"),
    "colours": ("a red apple", "a blue dog", "a yellow car", "a purple umbrella"),
    "position": (
        "a red car left of a dog",
        "a cat above a ball",
        "an apple below a tree",
        "a bus right of a house",
    ),
    "colour attribution": (
        "a red car and a blue dog",
        "a green apple and a yellow hamburger",
        "a pink rocket and a purple ball",
        "a blue cat and a red umbrella",
    ),
}
EACH = 4  # drawings of a prompt
SEED = 0
QUESTIONS = (*KINDS, *KINDS, "chart", "chart")
TILE = 128  # pixels of a picture on the contact sheet
LARGE = 192  # and beside a question
TEXT, SMALL = 18, 15  # heights of letters, in pixels
INK = (20, 20, 20)


def write_on(sheet: Image.Image, at: tuple[int, int], words: str, size: int = TEXT) -> None:
    """Write a line of text on the sheet; the font comes with Pillow."""
    ImageDraw.Draw(sheet).text(at, words, INK, ImageFont.load_default(size))


def wrapped(words: str, width: int, size: int) -> list[str]:
    """The words in lines that are at most `width` pixels long."""
    font, lines = ImageFont.load_default(size), [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def scaled(picture: Image.Image, side: int) -> Image.Image:
    """The picture in a square of `side` pixels; its own pixels stay visible."""
    return picture.resize((side, side), Image.Resampling.NEAREST)


def save_picture(sheet: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    # Six bits for each channel look like eight, and halve the file.
    sheet = sheet.point(lambda level: level & 252 | level >> 6)
    write_whole(path, lambda beside: sheet.save(beside, format="png", optimize=True))


def contact_sheet(
    groups: Mapping[str, Sequence[str]], pictures: list[Image.Image], caption: str
) -> Image.Image:
    """Two prompts in a row, EACH drawings of each, under a heading for every kind."""
    column, line = EACH * (TILE + GAP) + 20, TEXT + 8
    row = line + TILE + 12
    heights = [line + 10 + (len(prompts) + 1) // 2 * row for prompts in groups.values()]
    sheet = Image.new("RGB", (2 * column, sum(heights) + 2 * line), "white")
    left, top = iter(pictures), 4
    for (kind, prompts), height in zip(groups.items(), heights, strict=True):
        write_on(sheet, (0, top), kind.upper())
        for number, prompt in enumerate(prompts):
            x, y = number % 2 * column, top + line + number // 2 * row
            write_on(sheet, (x, y), prompt)
            for place in range(EACH):
                tile = scaled(next(left), TILE)
                sheet.paste(tile, (x + place * (TILE + GAP), y + line))
        top += height
    write_on(sheet, (0, top + 6), caption, SMALL)
    return sheet


def save_contact_sheet(folder: Path, out: Path, guidance: float = 5.0) -> Path:
    """Draw all PROMPTS with the model in `folder`; return the path of the picture."""
    model = load_janus(folder, device=device())
    prompts = [prompt for group in PROMPTS.values() for prompt in group]
    pictures = draw_pictures(*model, prompts, EACH, SEED, guidance)
    caption = (
        f"{len(prompts)} prompts, the first {EACH} drawings of each: {model[0].cfg.name}, "
        f"stage {model[2]}, guidance {guidance:g}, temperature 1, seed {SEED}"
    )
    path = out / "contact_sheet.png"
    save_picture(contact_sheet(PROMPTS, pictures, caption), path)
    return path


def questions(world: World) -> list[tuple[Image.Image, str, str, str]]:
    """A picture with its name, a question and the true answer, for each of QUESTIONS."""
    found, index = [], 0
    for kind in QUESTIONS:
        turn = None
        while turn is None:  # not every scene allows every kind
            rng = world.rng("report", index)
            if kind == "chart":
                chart = sample_chart(rng)
                picture = draw_chart(chart, world.cfg.image_size)
                turn = chart_question(chart, rng)
            else:
                scene = world.scene("scene", index)
                picture, turn = world.render(scene), ask(scene, rng, world.concepts, kind)
            index += 1
        found.append((picture, f"{world.split}/{kind}/{index - 1}", *turn))
    return found


def told_lines(told: dict) -> list[str]:
    """Question, answer, truth and verdict in lines as wide as their picture's column."""
    words = [told["question"], f"Model: {told['answer']}", f"Truth: {told['truth']}"]
    words.append("RIGHT" if told["right"] else "WRONG")
    return [line for text in words for line in wrapped(text, LARGE + 20, SMALL)]


def answers_sheet(asked: list[tuple[Image.Image, dict]], caption: str) -> Image.Image:
    """Four pictures in a row, each with what was asked, said and true; a word judges."""
    columns, line = 4, SMALL + 6
    lines = [told_lines(told) for _, told in asked]
    width, height = LARGE + 28, LARGE + max(map(len, lines)) * line + 14
    rows = -(-len(asked) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height + 2 * line), "white")
    for number, (picture, _) in enumerate(asked):
        x, y = number % columns * width, number // columns * height
        sheet.paste(scaled(picture, LARGE), (x, y))
        for place, text in enumerate(lines[number]):
            write_on(sheet, (x, y + LARGE + 4 + place * line), text, SMALL)
    write_on(sheet, (0, rows * height + 4), caption, SMALL)
    return sheet


def save_answers(folder: Path, out: Path) -> Path:
    """Ask the model in `folder` about held-out pictures; write answers.png and .json."""
    model = load_janus(folder, device=device())
    asked = []
    for picture, name, question, truth in questions(World(model[0].cfg, "heldout")):
        said = ask_picture(*model, picture, question)
        told = {"picture": name, "question": question, "answer": said, "truth": truth}
        asked.append((picture, {**told, "right": same(said, truth)}))
    good = sum(told["right"] for _, told in asked)
    caption = f"{good} of {len(asked)} right: {model[0].cfg.name}, after stage {model[2]}"
    save_picture(answers_sheet(asked, caption), out / "answers.png")
    rows = [told for _, told in asked]
    write_text(out / "answers.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return out / "answers.png"
