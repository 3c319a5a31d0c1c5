"""Text without pictures: for the LLM's pre-training and the text share (paper §4.2).

Four kinds of document: WordNet sentences about concrete things, labels of things in 28
locales side by side, descriptions of scenes with questions and answers in the words of
the visual ones, and dialogues.
"""

from collections.abc import Sequence
from functools import lru_cache
from random import Random
from zlib import crc32

from minijanus.concepts import HELD_OUT_SHARE, MEMBER_OF, Concept
from minijanus.language import NUMBERS, a, description, plural
from minijanus.questions import several
from minijanus.scenes import Scene, weighted
from minijanus.sprites import read_table

SHARES = {"wordnet": 35, "labels": 20, "scene": 30, "dialogue": 15}  # percent
LANGUAGES = {
    "bn": "Bengali",
    "da": "Danish",
    "de": "German",
    "en-gb": "British English",
    "es": "Spanish",
    "es-mx": "Mexican Spanish",
    "et": "Estonian",
    "fi": "Finnish",
    "fr": "French",
    "hi": "Hindi",
    "hu": "Hungarian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "ms": "Malay",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
    "zh-hant": "traditional Chinese",
}


def shares(foreign: bool) -> dict[str, int]:
    """The shares of the kinds of document, with or without labels in other languages."""
    return {kind: n for kind, n in SHARES.items() if foreign or kind != "labels"}


@lru_cache(maxsize=2)
def wordnet(heldout: bool) -> list[str]:
    """The sentences of data/text.parquet, of one split."""
    texts = [row["text"] for row in read_table("text")]
    return [t for t in texts if (crc32(t.encode()) % HELD_OUT_SHARE == 0) == heldout]


@lru_cache(maxsize=1)
def labels() -> dict[str, dict[str, str]]:
    """The label of every emoji code in every locale: labels()[code][locale]."""
    found: dict[str, dict[str, str]] = {}
    for row in read_table("labels"):
        found.setdefault(row["hexcode"], {})[row["locale"]] = row["label"]
    return found


@lru_cache(maxsize=1)
def codes() -> list[str]:
    """All emoji codes that have labels."""
    return sorted(labels())


def wordnet_document(rng: Random, heldout: bool) -> str:
    """One to three sentences, each on a line of its own; training never sees held-out."""
    return "\n".join(rng.choices(wordnet(heldout), k=rng.randint(1, 3)))


def label_pairs(rng: Random) -> str:
    """Two to four lines like "fr: pomme rouge = en: red apple"."""
    lines = []
    for _ in range(rng.randint(2, 4)):
        names = labels()[rng.choice(codes())]
        locale = rng.choice(tuple(LANGUAGES))
        pair = [f"{locale}: {names[locale]}", f"en: {names['en']}"]
        rng.shuffle(pair)
        lines.append(" = ".join(pair))
    return "\n".join(lines)


def scene_with_questions(scene: Scene, rng: Random, concepts: Sequence[Concept]) -> str:
    """A scene told in words, then questions about it in the words of the visual ones."""
    turns = several(scene, rng, concepts, rng.randint(3, 8))
    return "\n".join(
        [description(scene, rng), *(f"{ask} {answer}" for ask, answer in turns)]
    )


def told(scene: Scene, rng: Random, concepts: Sequence[Concept], number: int) -> list[str]:
    """A dialogue about a scene that the user tells: up to so many questions, answered."""
    turns = several(scene, rng, concepts, number)
    said = [words for turn in turns for words in turn]
    return [f"{description(scene, rng)} {said[0]}", *said[1:]]


def dialogue(
    scene: Scene,
    rng: Random,
    concepts: Sequence[Concept],
    heldout: bool,
    foreign: bool = True,
) -> list[str]:
    """What a user and an assistant say in turn, the user first."""
    if rng.random() < 0.2:
        return told(scene, rng, concepts, rng.randint(1, 3))
    if rng.random() < 0.75:
        return list(document(scene, rng, concepts, heldout, foreign))
    return small_talk(rng, concepts, foreign)


def small_talk(rng: Random, concepts: Sequence[Concept], foreign: bool = True) -> list[str]:
    """One or two questions about words and numbers, with their answers."""
    several_languages = (translation, meaning) if foreign else ()
    makers = rng.sample((*several_languages, addition, membership, more), 2)
    first, second = (make(rng, concepts) for make in makers)
    return [*first, *second] if rng.random() < 0.5 else list(first)


def document(
    scene: Scene,
    rng: Random,
    concepts: Sequence[Concept],
    heldout: bool,
    foreign: bool = True,
) -> tuple[str, str]:
    """A document of the pre-training on demand, so that stage III forgets none of it."""
    kind = weighted(rng, shares(foreign))
    if kind == "wordnet":
        return "Write a few sentences.", wordnet_document(rng, heldout)
    if kind == "labels":
        return "Translate a few words.", label_pairs(rng)
    if kind == "scene":
        return "Tell a scene and ask about it.", scene_with_questions(scene, rng, concepts)
    return "Write a dialogue.", as_text(small_talk(rng, concepts, foreign))


def translation(rng: Random, concepts: Sequence[Concept]) -> tuple[str, str]:
    """How do you say dog in French?"""
    concept, locale = rng.choice(concepts), rng.choice(tuple(LANGUAGES))
    names = labels()[concept.hexcode]
    return f"How do you say {names['en']} in {LANGUAGES[locale]}?", names[locale]


def meaning(rng: Random, concepts: Sequence[Concept]) -> tuple[str, str]:
    """What does chien mean?"""
    names = labels()[rng.choice(concepts).hexcode]
    return f"What does {names[rng.choice(tuple(LANGUAGES))]} mean?", names["en"]


def addition(rng: Random, concepts: Sequence[Concept]) -> tuple[str, str]:
    """If there are two dogs and one more comes, how many are there?"""
    first, second = rng.randint(1, 4), rng.randint(1, 5)
    total = NUMBERS[first + second]
    if rng.random() < 0.5:
        return f"How much is {NUMBERS[first]} plus {NUMBERS[second]}?", total
    name = rng.choice(concepts).name
    start = f"{NUMBERS[first]} {name if first == 1 else plural(name)}"
    return f"I have {start} and get {NUMBERS[second]} more. How many do I have?", total


def membership(rng: Random, concepts: Sequence[Concept]) -> tuple[str, str]:
    """Is a dog an animal? Half no; another question where groups have no plain name."""
    named = [concept for concept in concepts if concept.group in MEMBER_OF]
    if not named:
        return more(rng, concepts)
    concept = rng.choice(named)
    yes = rng.random() < 0.5
    group = concept.group
    if not yes:
        group = rng.choice([other for other in MEMBER_OF if other != group])
    return f"Is {a(concept.name)} {MEMBER_OF[group]}?", "yes" if yes else "no"


def more(rng: Random, concepts: Sequence[Concept]) -> tuple[str, str]:
    """What is the plural of butterfly?"""
    name = rng.choice(concepts).name
    if rng.random() < 0.5:
        return f"What is the plural of {name}?", plural(name)
    return f"What do you call one of many {plural(name)}?", a(name)


def as_text(said: Sequence[str]) -> str:
    """A dialogue as one text, laid out like the chat template of stage III."""
    names = ("User", "Assistant")
    return "\n\n".join(f"{names[i % 2]}: {words}" for i, words in enumerate(said))
