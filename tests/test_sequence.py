"""Sequences: every format laid out by hand, token by token (paper §4.2).

In the hand-worked rows a token stands as its text, special tokens as BOS, EOS, PAD, BOI,
EOI, a picture position as #. A star before a token says that the loss counts it.
"""

from dataclasses import replace

import pytest

from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import (
    Sequence,
    cut_caption,
    drop_condition,
    first_sentence,
    to_sequence,
)
from minijanus.text import EOS, SYSTEM_PROMPT, Tokenizer

LENGTHS = {"und": 2, "gen": 3}
DESCRIBE = "Describe the image in detail."


def marked(sequence: Sequence, tokenizer: Tokenizer) -> list[str]:
    """The sequence as the hand-worked rows write it."""
    special = {
        tokenizer.bos: "BOS",
        tokenizer.eos: "EOS",
        tokenizer.pad: "PAD",
        tokenizer.boi: "BOI",
        tokenizer.eoi: "EOI",
        tokenizer.image: "#",
    }
    texts = [special.get(i) or tokenizer.decode([i]) for i in sequence.ids]
    return ["*" * s + text for s, text in zip(sequence.scored, texts, strict=True)]


def record(kind: str, *contents: str) -> Record:
    """A record with as many pictures as its messages mark."""
    return Record(kind, [None] * "".join(contents).count(IMAGE), turns(*contents))


# stage, kind, the contents of user and assistant in turn, the sequence worked by hand
BY_HAND = {
    "stage I, caption: all of the text": (
        1, "understanding", [IMAGE, "a red dog."],
        ["BOS", "BOI", "#", "#", "EOI", "* a", "* red", "* dog", "*.", "*EOS"],
    ),
    "stage I, category: the picture only": (
        1, "generation", ["dog", IMAGE],
        ["BOS", " dog", "BOI", "#", "#", "#", "EOI"],
    ),
    "stage II, description: the request is scored too": (
        2, "understanding", [IMAGE + DESCRIBE, "a red dog."],
        ["BOS", "BOI", "#", "#", "EOI", "*Describe", "* the", "* image", "* in",
         "* detail", "*.", "* a", "* red", "* dog", "*.", "*EOS"],
    ),
    "stage II, question and answer: the question is scored too": (
        2, "understanding", [IMAGE + "is it red?", "yes."],
        ["BOS", "BOI", "#", "#", "EOI", "*is", "* it", "* red", "*?", "* yes", "*.",
         "*EOS"],
    ),
    "stage II, interleaved: text around the pictures, never BOI or EOI": (
        2, "understanding", [f"a dog. {IMAGE} a car. {IMAGE}"],
        ["BOS", "* a", "* dog", "*.", "* ", "BOI", "#", "#", "EOI", "* a", "* car", "*.",
         "* ", "BOI", "#", "#", "EOI", "*EOS"],
    ),
    "stage II, plain text: every token and the end": (
        2, "text", ["a red dog."],
        ["BOS", "* a", "* red", "* dog", "*.", "*EOS"],
    ),
    "stage II, caption to picture: the picture only": (
        2, "generation", ["a red dog.", IMAGE],
        ["BOS", " a", " red", " dog", ".", "BOI", "#", "#", "#", "EOI"],
    ),
    "stage III, several turns: the answers with their EOS only": (
        3, "understanding", [IMAGE + "\nis it red?", "yes.", "is it a dog?", "no."],
        ["BOS", "User", ":", " ", "BOI", "#", "#", "EOI", "\n", "is", " it", " red", "?",
         "\n", "\n", "Assistant", ":", "* yes", "*.", "*EOS", "User", ":", " is", " it",
         " a", " dog", "?", "\n", "\n", "Assistant", ":", "* no", "*.", "*EOS"],
    ),
    "stage III, text: the answer only": (
        3, "text", ["is it red?", "yes."],
        ["BOS", "User", ":", " is", " it", " red", "?", "\n", "\n", "Assistant", ":",
         "* yes", "*.", "*EOS"],
    ),
    "stage III, drawing: the picture only, nothing between Assistant: and BOI": (
        3, "generation", ["a red dog", IMAGE],
        ["BOS", "User", ":", " a", " red", " dog", "\n", "\n", "Assistant", ":", "BOI",
         "#", "#", "#", "EOI", "EOS"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_HAND)
def test_formats_and_scored_tokens_by_hand(case, cfg, tokenizer):
    """Catches a wrong format, a scored question in stage III, an unscored one before it,
    a scored prompt of a drawing, BOI or EOI as a target.
    """
    number, kind, contents, expected = BY_HAND[case]
    sequence = to_sequence(record(kind, *contents), cfg.stage(number), tokenizer, LENGTHS)
    assert marked(sequence, tokenizer) == expected
    assert sequence.task == kind


@pytest.mark.parametrize("kind", ["understanding", "text", "generation"])
def test_the_system_prompt_stands_before_all_but_drawings_and_is_never_scored(
    kind, cfg, tokenizer
):
    """Catches a system prompt before a drawing, plain talk without, or one as a target."""
    stage = replace(cfg.stage(3), system_prompt=True)
    contents = {
        "understanding": [IMAGE + "\nis it red?", "yes."],
        "text": ["is it red?", "yes."],
        "generation": ["a red dog", IMAGE],
    }[kind]
    without = to_sequence(record(kind, *contents), cfg.stage(3), tokenizer, LENGTHS)
    sequence = to_sequence(record(kind, *contents), stage, tokenizer, LENGTHS)
    if kind == "generation":
        assert sequence == without
        return
    head = tokenizer.encode(SYSTEM_PROMPT + "\n\nUser:")
    assert sequence.ids[: 1 + len(head)] == [tokenizer.bos, *head]
    n_scored = sum(without.scored)
    assert sequence.scored[-n_scored:] == [True] * n_scored
    assert sum(sequence.scored) == n_scored


def test_spans_say_where_the_pictures_stand(cfg, tokenizer):
    """Catches a length from a constant, and pictures that change places."""
    document = record("understanding", f"a dog. {IMAGE} a car. {IMAGE}")
    for lengths in ({"und": 2, "gen": 3}, {"und": 5, "gen": 1}):
        sequence = to_sequence(document, cfg.stage(2), tokenizer, lengths)
        drawing = to_sequence(
            record("generation", "dog", IMAGE), cfg.stage(2), tokenizer, lengths
        )
        assert [s.picture for s in sequence.spans] == [0, 1]
        for one in (sequence, drawing):
            covered = [i for s in one.spans for i in range(s.start, s.start + s.length)]
            assert covered == [i for i, t in enumerate(one.ids) if t == tokenizer.image]
            for span in one.spans:
                assert one.ids[span.start - 1] == tokenizer.boi
                assert one.ids[span.start + span.length] == tokenizer.eoi
                assert span.length == lengths[span.pathway]
        assert [(s.pathway, s.drawn) for s in sequence.spans] == [("und", False)] * 2
        assert [(s.pathway, s.drawn) for s in drawing.spans] == [("gen", True)]


def test_pictures_and_marks_must_be_as_many(cfg, tokenizer):
    """Catches a record whose second picture would silently be left out."""
    bad = Record("understanding", [None, None], turns(IMAGE, "a dog."))
    with pytest.raises(ValueError, match=r"2 pictures but 1 .* marks: write one mark"):
        to_sequence(bad, cfg.stage(2), tokenizer, LENGTHS)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_special_strings_in_a_prompt_stay_text(number, cfg, tokenizer):
    """Catches a person whose prompt ends with EOS's string or holds BOI's."""
    special = {tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.boi, tokenizer.eoi}
    for typed in ("<begin_of_image> dog", "dog <end_of_image>", EOS):
        sequence = to_sequence(
            record("generation", typed, IMAGE), cfg.stage(number), tokenizer, LENGTHS
        )
        prompt = sequence.ids[1 : sequence.spans[0].start - 1]
        assert not special & set(prompt)


DROPPED = {
    1: ["BOS", "PAD", "PAD", "PAD", "BOI", "#", "#", "#", "EOI"],
    2: ["BOS", "PAD", "PAD", "PAD", "BOI", "#", "#", "#", "EOI"],
    3: ["BOS", *["PAD"] * 9, "BOI", "#", "#", "#", "EOI", "EOS"],
}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_dropping_the_prompt_leaves_its_length_in_pads(number, cfg, tokenizer):
    """Catches a dropped prompt that becomes an empty one, keeps "User:", or loses BOI.

    By hand: " a", " red", " dog" in stages I and II; "User", ":", " a", " red", " dog",
    two newlines, "Assistant", ":" in stage III.
    """
    drawing = record("generation", "a red dog", IMAGE)
    sequence = to_sequence(drawing, cfg.stage(number), tokenizer, LENGTHS)
    dropped = drop_condition(sequence, tokenizer.pad)
    assert marked(dropped, tokenizer) == DROPPED[number]
    assert dropped.spans == sequence.spans
    assert marked(sequence, tokenizer)[1] != "PAD", "the original was changed in place"


def test_pad_is_a_token_of_its_own(tokenizer):
    """Catches the released model's launch bug: PAD fell back to EOS, guidance broke."""
    ids = [tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.boi, tokenizer.eoi]
    assert len({*ids, tokenizer.image}) == 6


def test_first_sentence_by_hand():
    """Catches a split inside a number, a lost full stop, a cut of the only sentence."""
    cases = {
        "a red dog. it is left of a car.": "a red dog.",
        "a red dog.": "a red dog.",
        "a red dog": "a red dog",
        "a dog 1.5 m high. it is red.": "a dog 1.5 m high.",
        "one. two. three.": "one.",
    }
    assert {text: first_sentence(text) for text in cases} == cases
    full = record("generation", "a red dog. it is left.", IMAGE)
    assert cut_caption(full).messages == turns("a red dog.", IMAGE)
    assert full.messages == turns("a red dog. it is left.", IMAGE)
