"""Figure 8 in miniature: prompts in languages that drawing was never trained in.

Nouns are the labels of data/labels.parquet, which the language model has read beside
their English ones; no picture came with them (paper Appendix B, Fig. 8).
"""

from minijanus.benchmark import Benchmark, Line, Measure, Row
from minijanus.concepts import COLOURS
from minijanus.corpus import labels
from minijanus.drawn_mini import as_it_is, drawing_row, shows_prompt
from minijanus.geneval_mini import prompts
from minijanus.language import caption
from minijanus.scenes import Thing
from minijanus.scores import mean_of_groups
from minijanus.suites_mini import accuracy
from minijanus.world import World

PROMPTS = 30  # of each language and kind, each drawn once
KINDS = ("single", "colours")
# The six colours of concepts.COLOURS in order, as they stand beside a noun. Adjectives
# keep one form whatever the noun: agreement would need each noun's gender.
COLOUR_WORDS = {
    "zh": ("红色 黄色 绿色 蓝色 紫色 粉色", "{colour}{noun}"),
    "ja": ("赤い 黄色い 緑の 青い 紫の ピンクの", "{colour}{noun}"),
    "ko": ("빨간 노란 초록색 파란 보라색 분홍색", "{colour} {noun}"),
    "fr": ("rouge jaune vert bleu violet rose", "{noun} {colour}"),
    "es": ("rojo amarillo verde azul morado rosa", "{noun} {colour}"),
    "it": ("rosso giallo verde blu viola rosa", "{noun} {colour}"),
    "de": ("roter gelber grüner blauer lila rosa", "{colour} {noun}"),
    "ru": ("красный желтый зеленый синий фиолетовый розовый", "{colour} {noun}"),
    "fi": ("punainen keltainen vihreä sininen violetti pinkki", "{colour} {noun}"),
}


def in_language(thing: Thing, code: str, language: str) -> str:
    """The thing in another language's words, or in English with an emoji for the noun.

    `code` is the emoji code of its concept.
    """
    if language == "emoji":
        noun = "".join(chr(int(part, 16)) for part in code.split("-"))
        return f"a {thing.colour} {noun}" if thing.colour else f"a {noun}"
    noun = labels()[code][language]
    if thing.colour is None:
        return noun
    words, order = COLOUR_WORDS[language]
    colour = dict(zip(COLOURS, words.split(), strict=True))[thing.colour]
    return order.format(colour=colour, noun=noun)


def language_rows(world: World) -> list[Row]:
    """The same single things, plain and tinted, in English and in ten other ways.

    A part is one language and kind, such as "fr_colours".
    """
    rows = []
    for kind in KINDS:
        for i, (_, scene) in enumerate(prompts(world, kind, PROMPTS)):
            (thing,) = scene.objects
            english = caption(scene, world.rng("language", i))
            words = {"en": english}
            for language in (*COLOUR_WORDS, "emoji"):
                words[language] = in_language(thing, world.codes[thing.concept], language)
            parts = ((f"{name}_{kind}", said) for name, said in words.items())
            rows += [
                drawing_row(f"{part}/{i}", part, f"{part}/{i}", said, scene)
                for part, said in parts
            ]
    return rows


def language_measures(lines: list[Line]) -> dict[str, Measure]:
    """The share of right drawings: of each language and kind, of English, of the rest."""
    found = accuracy(lines)
    del found["accuracy"]  # a mean over English and others would say nothing
    english = {name: one for name, one in found.items() if name.startswith("en_")}
    for name, some in (("english", english), ("other", found.keys() - english.keys())):
        parts = [values for part in sorted(some) for values in found[part].parts]
        found[name] = Measure(parts, mean_of_groups)
    return found


LANGUAGES_MINI = Benchmark(
    "languages_mini", language_rows, as_it_is, shows_prompt, language_measures
)
