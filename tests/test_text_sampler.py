"""Answering: formats, the end of an answer, and the cache against a slow loop (§3.4)."""

import random

import pytest
import torch
from conftest import draw_something
from PIL import Image
from torch import Tensor, nn

from minijanus.images import understanding_pixels
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import to_sequence
from minijanus.text import Tokenizer
from minijanus.text_sampler import answer, answers

QUESTION = "is it red?"


@pytest.fixture
def picture() -> Image.Image:
    """A picture to ask about."""
    return draw_something(random.Random(0))


class Script(nn.Module):
    """A text head that says what it was told, whatever it reads."""

    def __init__(self, ids: list[int], vocabulary: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.ids, self.vocabulary, self.said = ids, vocabulary, 0

    def forward(self, hidden: Tensor) -> Tensor:
        self.said += 1
        logits = torch.zeros(len(hidden), self.vocabulary)
        logits[:, self.ids[self.said - 1]] = 1.0
        return logits


def prompt_by_hand(number: int, with_picture: bool, tokenizer: Tokenizer) -> list[int]:
    """The ids before the answer: §4.2 for stages I and II, the released chat for III."""
    n = 4 if with_picture else 0
    shown = [tokenizer.boi, *[tokenizer.image] * n, tokenizer.eoi] if n else []
    if number < 3:
        text = QUESTION if with_picture else " " + QUESTION
        return [tokenizer.bos, *shown, *tokenizer.encode(text)]
    before = "User: " if with_picture else "User:"
    after = ("\n" if with_picture else " ") + QUESTION + "\n\nAssistant:"
    return [
        tokenizer.bos, *tokenizer.encode(before), *shown, *tokenizer.encode(after),
    ]  # fmt: skip


@torch.no_grad()
def slow_answer(
    janus: Janus, tokenizer: Tokenizer, ids: list[int], picture: Image.Image, most: int
) -> list[int]:
    """Greedy tokens without a cache: the whole sequence at each step."""
    vectors = list(janus.llm.embed_tokens(torch.tensor(ids)))
    if picture is not None:
        pixels = understanding_pixels(picture, janus.cfg.image_size)
        features = janus.und.adaptor(janus.und.encoder(pixels[None]))[0]
        start = ids.index(tokenizer.boi) + 1
        vectors[start : start + len(features)] = list(features)
    said: list[int] = []
    while len(said) < most:
        words = [janus.llm.embed_tokens.weight[i] for i in said]
        everything = torch.stack(vectors + words)[None]
        positions = torch.arange(everything.shape[1])[None]
        token = int(janus.text_head(janus.llm(everything, positions)[0, -1]).argmax())
        if token == tokenizer.eos:
            break
        said.append(token)
    return said


@pytest.mark.parametrize("with_picture", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_answer_is_that_of_the_slow_loop(
    number, with_picture, janus, tokenizer, picture
):
    """Catches a cache that differs, a wrong position of a new token, another format than
    the stage's, a picture at the wrong place.
    """
    shown = picture if with_picture else None
    ids = prompt_by_hand(number, with_picture, tokenizer)
    said = slow_answer(janus, tokenizer, ids, shown, most=12)
    assert len(set(said)) > 2
    fast = answer(janus, tokenizer, shown, QUESTION, number, max_tokens=12)
    assert fast == tokenizer.decode(said).strip()
    if with_picture:
        other = draw_something(random.Random(1))
        assert slow_answer(janus, tokenizer, ids, other, most=12) != said, "blind"


@pytest.mark.parametrize("number", [2, 3])
def test_the_question_is_laid_out_as_in_training(number, janus, tokenizer, picture):
    """Catches asking in a format that training never showed: equal up to the answer."""
    gap = "\n" if number == 3 else ""
    record = Record("understanding", [None], turns(f"{IMAGE}{gap}{QUESTION}", "yes."))
    sequence = to_sequence(record, janus.cfg.stage(number), tokenizer, janus.lengths())
    end = [*tokenizer.encode(" yes."), tokenizer.eos]
    assert sequence.ids[-len(end) :] == end
    fed = []
    janus.llm.embed_tokens.register_forward_pre_hook(
        lambda module, given: fed.append(given[0].tolist())
    )
    answer(janus, tokenizer, picture, QUESTION, number, max_tokens=1)
    assert fed[0] == [sequence.ids[: -len(end)]]
    assert fed[0] == [prompt_by_hand(number, True, tokenizer)]


def test_an_answer_ends_at_eos(janus, tokenizer, picture):
    """Catches an answer that runs on after its end, or holds the end's string."""
    script = [*tokenizer.encode(" yes."), tokenizer.eos, *tokenizer.encode(" no.")]
    janus.text_head = Script(script, janus.cfg.vocabulary)
    assert answer(janus, tokenizer, picture, QUESTION, 3) == "yes."
    assert janus.text_head.said == len(tokenizer.encode(" yes.")) + 1
    janus.text_head = Script([tokenizer.eos], janus.cfg.vocabulary)
    assert answer(janus, tokenizer, picture, QUESTION, 3) == ""


def test_answers_of_a_batch_are_those_given_alone(janus, tokenizer, picture):
    """Catches filler that is seen, positions that count it, a picture in another's row."""
    other = draw_something(random.Random(1))
    asked = [(picture, QUESTION), (None, "why?"), (other, "how many are there? " * 2)]
    asked += [(other, QUESTION), (None, "what is a dog and what is a cat?")]
    alone = [answer(janus, tokenizer, *one, 3, max_tokens=12) for one in asked]
    assert answers(janus, tokenizer, asked, 3, max_tokens=12) == alone
    assert len(set(alone)) > 2


def test_an_answer_ends_after_max_tokens(janus, tokenizer, picture):
    """Catches an answer without end, and one token too many or too few."""
    script = tokenizer.encode(" yes") * 9
    janus.text_head = Script(script, janus.cfg.vocabulary)
    answered = answer(janus, tokenizer, picture, QUESTION, 3, max_tokens=5)
    assert answered.split() == ["yes"] * 5


def test_a_question_that_leaves_no_room_is_refused(janus, tokenizer, picture):
    """Catches a question longer than the context: one sentence, not a traceback."""
    ids = prompt_by_hand(3, True, tokenizer)
    room = janus.cfg.max_positions - len(ids)
    janus.text_head = Script(tokenizer.encode(" yes") * room, janus.cfg.vocabulary)
    long = answer(janus, tokenizer, picture, QUESTION, 3, max_tokens=room)
    assert len(long.split()) == room
    with pytest.raises(UserError, match=r"tokens of answer: shorten it, or begin"):
        answer(janus, tokenizer, picture, QUESTION, 3, max_tokens=room + 1)
