"""Sentences about concrete things from WordNet 3.1, for `build.py` (issue 2 §3)."""

from __future__ import annotations

import re

LICENSE = "LicenseRef-WordNet-3.1"
LONGEST = 160  # characters of a definition: beyond, only its first clauses are kept
# WordNet's lexicographer files of concrete things.
ANIMAL, ARTIFACT, BODY, FOOD, OBJECT, PLANT, SHAPE, SUBSTANCE = 5, 6, 8, 13, 17, 20, 25, 27
CONCRETE = {ANIMAL, ARTIFACT, BODY, FOOD, OBJECT, PLANT, SHAPE, SUBSTANCE}
COUNTED = {ANIMAL, ARTIFACT, PLANT, OBJECT, SHAPE}

# Spelling that hides the sound: "a unicorn", "an hour", "an X-ray" (American "an herb").
SOUNDS_LIKE_YOU = re.compile(
    r"eu|ewe|one\b|once|uni([acfopqstv]|l(?!l))|u[brt][aeiou]|us[aeu]|uk[eru]|uv[eu]"
)
SILENT_H = re.compile(r"hour|heir|honest|honor|honour|herbs?\b|herbal\b")
VOWEL_LETTER = re.compile(r"[AEFHILMNORSX](-|[A-Z0-9]|\b)|[fhlmnrsx]-")
CONSONANT_LETTER = re.compile(r"[BCDGJKPQTUVWYZ](-|[A-Z0-9]|\b)|u-")

TAXON = re.compile(r"(genus|family|order|class|phylum|tribe|division|(sub|super)[a-z]+) ")
# Sexual words, slurs, crimes and trade names of drugs: a model for a class repeats them.
UNSUITABLE = re.compile(
    r"\b(sex|sexual\w*|sexy|genital\w*|penis|vagina\w*|vulva|semen|nude|naked|erotic\w*|"
    r"prostitut\w*|whore|slut|rape[ds]?|rapist|fuck\w*|shit\w*|bitch|bastard|bra|heroin|"
    r"nigger\w*|negro\w*|cocaine|marijuana|suicide|murder\w*|nazi\w*|contracepti\w*|anus|"
    r"condoms?|scrotum|testic\w*|clitor\w*|masturbat\w*|(trade|brand|street) names?)\b",
    re.IGNORECASE,
)
# Words of no count: "software: ..." and not "A software is ...".
MASS_WORD = re.compile(r"(ing|ware|wear|work|gear|ry|ment|tion|age|cloth|lace|fabric)$")
MASS_GLOSS = re.compile(
    r"\b(fabrics?|cloth|material|fibers?|yarn|leather|silk|drugs?|pair)\b"
)


def article(word: str) -> str:
    """Return "a" or "an", by the sound of the word's beginning."""
    if VOWEL_LETTER.match(word):
        return "an"
    lower = word.lower()
    if CONSONANT_LETTER.match(word) or SOUNDS_LIKE_YOU.match(lower):
        return "a"
    return "an" if lower[0] in "aeiou" or SILENT_H.match(lower) else "a"


def looks_plural(word: str) -> bool:
    """Say whether a noun ends like a plural ("scissors", not "bus" or "glass")."""
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))


def sentence(word: str, gloss: str, file: int) -> str:
    """Return "A guitar is a ..." for a thing that is counted, else "rice: grains ..."."""
    clauses = gloss.split("; ")
    while len(clauses) > 1 and len("; ".join(clauses)) > LONGEST:
        clauses.pop()
    text = "; ".join(clauses)
    counted = (
        file in COUNTED
        and re.match(r"(a|an|any) ", text)
        and not looks_plural(word)
        and not re.match(r"[A-Z]{3}", word)  # read as a word or by its letters?
        and not MASS_WORD.search(word)
        and not MASS_GLOSS.search(clauses[0])
    )
    if counted:
        return f"{article(word).capitalize()} {word} is {text}."
    return f"{word}: {text}."


def synsets(text: bytes) -> list[tuple[int, list[str], str, str]]:
    """Parse a data.* file into (lexicographer file, words, pointers, gloss) rows."""
    rows = []
    for line in text.decode().splitlines():
        if line.startswith("  "):  # the licence, at the top of each file
            continue
        fields, gloss = line.split(" | ", 1)
        parts = fields.split(" ")
        count = int(parts[3], 16)
        words = [parts[4 + 2 * i].replace("_", " ") for i in range(count)]
        rows.append((int(parts[1]), words, fields, gloss.strip()))
    return rows


def definitions(nouns: list[tuple[int, list[str], str, str]]) -> list[str]:
    """Return one sentence per kind of thing; single things and Latin names are left out."""
    lines = []
    for file, words, fields, gloss in nouns:
        word = words[0]
        latin = file in (ANIMAL, PLANT) and word[0].isupper() and " " not in word
        if file not in CONCRETE or " @i " in fields or latin or TAXON.match(word):
            continue
        text = re.split(r'[;:,]?\s*"', gloss, maxsplit=1)[0]  # examples come in quotes
        text = re.sub(r"^\([^)]*\) ", "", text).strip(" ;:,.")
        if text and re.fullmatch(r"[A-Za-z][A-Za-z' -]*", word):
            lines.append(sentence(word, text, file))
    return lines


def first_sense_concrete(index: bytes, nouns: dict[int, int]) -> set[str]:
    """Return the single words whose commonest noun sense is a concrete thing."""
    found = set()
    for line in index.decode().splitlines():
        if line.startswith("  "):
            continue
        parts = line.split()
        first = int(parts[-int(parts[2])])  # senses end the line, commonest first
        if nouns.get(first) in CONCRETE and re.fullmatch(r"[a-z]{3,}", parts[0]):
            found.add(parts[0])
    return found


def examples(glosses: list[str], things: set[str]) -> list[str]:
    """Return the example sentences that name a concrete thing."""
    lines = []
    for gloss in glosses:
        for example in re.findall(r'"([^"]+)"', gloss):
            text = example.strip(" ;,")
            words = re.findall(r"[a-z]+", text)
            named = any(w in things or w.removesuffix("s") in things for w in words)
            if len(words) >= 4 and named and not re.search(r"[`_\[]|--", text):
                ending = "" if text[-1] in ".!?" else "."
                lines.append(text[0].upper() + text[1:] + ending)
    return lines


def rows(wordnet: dict[str, bytes]) -> list[dict[str, str]]:
    """Return the text table: definitions, then examples, in WordNet's own order."""
    parsed = {
        part: synsets(wordnet[f"dict/data.{part}"])
        for part in ("noun", "verb", "adj", "adv")
    }
    nouns = parsed["noun"]
    by_offset = {int(fields.split(" ", 1)[0]): file for file, _, fields, _ in nouns}
    things = first_sense_concrete(wordnet["dict/index.noun"], by_offset)
    glosses = [gloss for synset in parsed.values() for *_, gloss in synset]
    kinds = {"definition": definitions(nouns), "example": examples(glosses, things)}
    return [
        {"text": text, "kind": kind, "license": LICENSE}
        for kind, lines in kinds.items()
        for text in dict.fromkeys(lines)
        if not UNSUITABLE.search(text)
    ]
