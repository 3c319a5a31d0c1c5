"""Text: the released template to the character, and ids that lose nothing."""

import json
import pickle
import random

import pytest

from minijanus.lab import UserError
from minijanus.text import (
    BOI,
    BOS,
    EOI,
    EOS,
    IMAGE,
    PAD,
    SPECIAL,
    SYSTEM_PROMPT,
    Tokenizer,
    chat_pieces,
    plain_pieces,
)

LINES = [
    "a red car left of a dog",
    "There are 3 dogs and a car. The dog is red.",
    "How many dogs are there?",
    "fr: pomme rouge = en: red apple",
    "पानी में दो मछलियाँ हैं",
]
SCRIPTS = {
    "latin": "Où est le chien ? Señor, größer, İstanbul",
    "emoji": "👩‍👩‍👧‍👦 🐕‍🦺 🇫🇷 ✌🏽 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "hindi": "पानी में दो मछलियाँ हैं ३",
    "arabic": "مرحبا، كم كلبًا هناك؟ ٣ ﷽",
    "chinese": "图中有三只狗。𠮷野家",
    "thai": "มีหมากี่ตัว",
    "rare": "𓀀𓂀 ᚠᛇᚻ 𝒳 ꙮ \U0010ffff",
    "control": "".join(map(chr, range(32))) + "\x7f\x85\u2028\ufeff",
    "combining": "e\u0301 \u00e9 \u200d \u0301 Z\u0351\u036b",
    "spaces": "  two  three   \n\n\ttab\r\n ",
    "empty": "",
    "marks": "▁ ｜ Ġ Ċ <｜ ▁▁ |>",
    "digits": "1 22 333 3.14 ½ ² ٣ 四",
}
USER, ASSISTANT = "user", "assistant"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A small tokenizer that knows the words of LINES."""
    return Tokenizer.train(LINES * 3, 400)


def talk(*contents: str) -> list[dict[str, str]]:
    """Messages of alternating roles, the user first."""
    roles = (USER, ASSISTANT)
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


def joined(pieces: list[tuple[str, bool]]) -> str:
    """The pieces as one text."""
    return "".join(text for text, _ in pieces)


def released(contents: list[str], system: str) -> str:
    """The released template, turn by turn: separators follow the turn's number."""
    text = system + "\n\n" if system else ""
    for turn, content in enumerate(contents):
        name = ["User", "Assistant"][turn % 2]
        closing = ["\n\n", "<｜end▁of▁sentence｜>"][turn % 2]
        text += f"{name}: {content}{closing}" if content else f"{name}:"
    return text


def test_special_strings_are_the_released_ones():
    """A look-alike character (| for ｜, _ for ▁) would miss the released ids."""
    bar, low = "\uff5c", "\u2581"
    assert BOS == f"<{bar}begin{low}of{low}sentence{bar}>"
    assert EOS == f"<{bar}end{low}of{low}sentence{bar}>"
    assert PAD == f"<{bar}{low}pad{low}{bar}>"
    assert (BOI, EOI) == ("<begin_of_image>", "<end_of_image>")
    assert IMAGE == "<image_placeholder>"


def test_system_prompt_is_the_released_one():
    """A changed word would put the released weights off their training distribution."""
    assert SYSTEM_PROMPT == (
        "You are a helpful language and vision assistant. You are able to understand the "
        "visual content that the user provides, and assist the user with a variety of "
        "tasks using natural language."
    )


def test_drawing_prompt_to_the_character():
    """A space between "Assistant:" and the picture is the commonest template bug."""
    prompt = joined(chat_pieces(talk("a cat", "")))
    assert prompt + BOI == "User: a cat\n\nAssistant:<begin_of_image>"
    trained = joined(chat_pieces(talk("a cat", IMAGE)))
    assert trained == "User: a cat\n\nAssistant:<image_placeholder><｜end▁of▁sentence｜>"
    assert trained.startswith(prompt)


def test_two_turns_to_the_character():
    """A BOS at the second turn, or a missing EOS after the first, changes this string."""
    contents = (f"{IMAGE}\nhello", "a dog", "world", "")
    assert joined(chat_pieces(talk(*contents), SYSTEM_PROMPT)) == (
        f"{SYSTEM_PROMPT}\n\nUser: <image_placeholder>\nhello\n\n"
        "Assistant: a dog<｜end▁of▁sentence｜>User: world\n\nAssistant:"
    )


@pytest.mark.parametrize("turns", range(1, 7))
def test_template_equals_the_released_loop(turns: int):
    """Separators by role must be the released separators by turn, for any length."""
    rng = random.Random(turns)
    contents = [rng.choice(LINES) for _ in range(turns)]
    for system in ("", SYSTEM_PROMPT):
        assert joined(chat_pieces(talk(*contents), system)) == released(contents, system)
        contents[-1] = ""
        assert joined(chat_pieces(talk(*contents), system)) == released(contents, system)


def test_only_answers_are_marked_and_each_ends_with_eos():
    """Scoring "Assistant:" or not scoring EOS would teach the model never to stop."""
    pieces = chat_pieces(talk("one", "two", "three", "four"), "be kind")
    assert pieces == [
        ("be kind\n\nUser: one\n\nAssistant:", False),
        (f" two{EOS}", True),
        ("User: three\n\nAssistant:", False),
        (f" four{EOS}", True),
    ]


def test_plain_pieces_are_contents_one_after_the_other():
    """A newline or a role name would not be the formats of §4.2."""
    described = talk(f"{IMAGE}Describe the image in detail.", "Two dogs.")
    assert plain_pieces(described) == [
        (f"{IMAGE}Describe the image in detail.", False),
        (" Two dogs.", True),
    ]
    assert plain_pieces(talk("a cat", IMAGE)) == [(" a cat", False), (IMAGE, True)]
    assert plain_pieces(talk("a cat", "")) == [(" a cat", False)]
    assert plain_pieces(talk(IMAGE, "a cat")) == [(IMAGE, False), (" a cat", True)]


def test_a_word_is_one_token_in_both_templates(tokenizer: Tokenizer):
    """Without the leading space, stage III would meet first words as unknown tokens."""
    plain = plain_pieces(talk(IMAGE, "dog"))[-1][0]
    chat = chat_pieces(talk(IMAGE, "dog"))[-1][0].removesuffix(EOS)
    assert tokenizer.encode(plain) == tokenizer.encode(chat)
    assert len(tokenizer.encode(chat)) == 1


def test_pieces_encode_as_the_whole_text_does(tokenizer: Tokenizer):
    """A merge across the start of an answer would make training differ from asking."""
    pieces = chat_pieces(talk("How many dogs are there?", "3 dogs", "red?", "a car"), "Hi.")
    parts = [tokenizer.encode(text.removesuffix(EOS)) for text, _ in pieces]
    for prompt, answer in ((0, 1), (2, 3)):
        text = pieces[prompt][0] + pieces[answer][0].removesuffix(EOS)
        assert tokenizer.encode(text) == parts[prompt] + parts[answer]


@pytest.mark.parametrize("make", [chat_pieces, plain_pieces])
def test_an_unknown_role_is_refused(make):
    """A typo in a data set's role would silently become an unscored prompt."""
    with pytest.raises(ValueError, match='role "gpt": use "user" or "assistant"'):
        make([{"role": "gpt", "content": "hello"}])


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_any_text_comes_back_unchanged(tokenizer: Tokenizer, text: str):
    """Unicode normalisation, an added space or an unknown token would change the text."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special=False) == text
    assert all(0 <= i < tokenizer.vocabulary for i in ids)


def test_every_character_comes_back_unchanged(tokenizer: Tokenizer):
    """One byte missing from the alphabet would drop the characters that contain it."""
    rng = random.Random(0)
    points = [*range(0x3000), *(rng.randrange(0x3000, 0x110000) for _ in range(5000))]
    text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_what_a_user_types_never_becomes_a_special_token(tokenizer: Tokenizer):
    """A typed "<begin_of_image>" would open a picture, a typed EOS would end the answer."""
    special = {tokenizer.core.token_to_id(name) for name in SPECIAL}
    copies = {"itself": tokenizer, "pickled": pickle.loads(pickle.dumps(tokenizer))}
    for name, copy in copies.items():
        for text in SPECIAL:
            typed = f"draw {text}, please{text}"
            ids = copy.encode(typed)
            assert not special & set(ids), name
            assert copy.decode(ids) == typed


def test_encode_adds_nothing(tokenizer: Tokenizer):
    """A BOS of the tokenizer's own would come twice, or in the middle of a row."""
    assert tokenizer.encode("") == []
    assert len(tokenizer.encode("#")) == 1


def test_a_limit_in_the_file_is_not_obeyed(tokenizer: Tokenizer):
    """Catches a prompt that is cut, or filled up, as somebody's training asked for."""
    core = type(tokenizer.core).from_str(tokenizer.core.to_str())
    core.enable_truncation(3)
    core.enable_padding(length=50)
    assert Tokenizer(core).encode(LINES[0]) == tokenizer.encode(LINES[0])


def test_ids_that_are_skipped_count(tokenizer: Tokenizer):
    """Catches a table with fewer rows than the largest id asks for."""
    content = json.loads(tokenizer.core.to_str())
    content["model"]["vocab"]["a word far behind"] = tokenizer.vocabulary + 9
    core = type(tokenizer.core).from_str(json.dumps(content))
    assert Tokenizer(core).vocabulary == tokenizer.vocabulary + 10


def test_decode_skips_special_tokens_on_request(tokenizer: Tokenizer):
    """An answer shown to a person must not end in "<｜end▁of▁sentence｜>"."""
    ids = [tokenizer.bos, *tokenizer.encode(" a dog"), tokenizer.eos]
    assert tokenizer.decode(ids) == " a dog"
    assert tokenizer.decode(ids, skip_special=False) == f"{BOS} a dog{EOS}"


def test_half_a_character_decodes_to_the_replacement_mark(tokenizer: Tokenizer):
    """A model may stop inside a character; that must not raise."""
    assert tokenizer.decode(tokenizer.encode("𓀀")[:-1]).strip("\ufffd") == ""


def test_special_ids_are_six_different_ones(tokenizer: Tokenizer):
    """Ids are looked up by string, so a swapped pair would show here."""
    t = tokenizer
    ids = [t.bos, t.eos, t.pad, t.boi, t.eoi, t.image]
    assert len(set(ids)) == 6
    assert [t.core.id_to_token(i) for i in ids] == list(SPECIAL)


def test_training_twice_gives_the_same_tokenizer():
    """Ties between equally frequent pairs must not follow a hash table's order."""
    first, *others = (Tokenizer.train(iter(LINES * 3), 500).core.to_str() for _ in range(4))
    assert all(other == first for other in others)


def test_a_pair_seen_once_is_not_merged():
    """Merges of what occurs once would spend the vocabulary on noise."""
    bare = 256 + len(SPECIAL)
    assert Tokenizer.train(["ab"], 300).vocabulary == bare
    assert Tokenizer.train(["ab", "ab"], 300).vocabulary == bare + 1


def test_each_digit_is_a_token_of_its_own():
    """Merged digits would make "12" and "13" unrelated tokens in the chart questions."""
    tokenizer = Tokenizer.train(["2024 dogs, 2024 cars"] * 50, 300)
    digits = [tokenizer.encode(d) for d in "2024"]
    assert all(len(d) == 1 for d in digits)
    assert tokenizer.encode("2024") == sum(digits, [])


def test_a_vocabulary_below_the_bytes_is_refused():
    """The library would silently return more tokens than the embedding has rows."""
    with pytest.raises(ValueError, match="make it at least 262"):
        Tokenizer.train(LINES, 261)
    assert Tokenizer.train(LINES, 262).vocabulary == 262


def test_saving_and_loading_change_nothing(tokenizer: Tokenizer, tmp_path):
    """A setting lost in the file would make a shipped model read other ids."""
    path, again = tmp_path / "tokenizer.json", tmp_path / "again.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.json", "tokenizer.json"]
    for text in [*LINES, *SCRIPTS.values(), *SPECIAL]:
        assert loaded.encode(text) == tokenizer.encode(text)
    assert (loaded.bos, loaded.pad, loaded.image, loaded.vocabulary) == (
        tokenizer.bos,
        tokenizer.pad,
        tokenizer.image,
        tokenizer.vocabulary,
    )


def test_a_file_whose_pad_is_eos_is_refused(tokenizer: Tokenizer, tmp_path):
    """The released model's first bug: with PAD = EOS, guidance does not work."""
    content = json.loads(tokenizer.core.to_str())
    content["model"]["vocab"][PAD] = tokenizer.eos
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != PAD]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"^the tokenizer has one id for PAD and EOS: [^.]*\.$"
    ):
        Tokenizer.load(path)


def test_a_file_without_a_special_token_is_refused(tokenizer: Tokenizer, tmp_path):
    """A missing BOI would surface much later, as an index of None."""
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.core.to_str().replace(BOI, "<begin>"), encoding="utf-8")
    with pytest.raises(UserError, match=f"lacks {BOI}: train it again"):
        Tokenizer.load(path)


@pytest.mark.parametrize("content", [None, "", "{}", "not json", '{"model": 3}', "\x00"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content: str | None):
    """The library's own error is a bare Exception about line and column."""
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="`make train`.$") as caught:
        Tokenizer.load(path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tokenizer: Tokenizer):
    """A shell passes broken bytes as lone surrogates, on which the library would crash."""
    with pytest.raises(UserError, match="not valid UTF-8"):
        tokenizer.encode("caf\udce9")
