"""`Janus.draw` and `Janus.answer` on a small folder as the released Janus has it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import draw_something
from PIL import Image
from released_folder import official_folder, write_json

from minijanus import given, studio
from minijanus.__main__ import main
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.records import IMAGE, turns
from minijanus.text import BOI, EOI, SYSTEM_PROMPT, Tokenizer
from minijanus.text_sampler import pieces

PROMPTS = ["a dog", "a red car left of a blue dog", "two cats"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer) -> Path:
    """A small folder in the official layout."""
    return official_folder(tmp_path_factory.mktemp("released") / "Small", tokenizer)


@pytest.fixture(scope="module")
def model(folder) -> Janus:
    """The Janus in it, made lively: random weights this small always say the same."""
    janus = Janus.from_pretrained(folder, dtype=torch.float32)
    janus.cfg = replace(janus.cfg, max_positions=500)  # room for two pictures
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in (*janus.llm.parameters(), *janus.text_head.parameters()):
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)
    return janus


@pytest.fixture
def pictures() -> list[Image.Image]:
    """Three pictures to ask about."""
    return [draw_something(random.Random(seed)) for seed in range(3)]


def same(a: Image.Image, b: Image.Image) -> bool:
    """Whether two pictures are equal, pixel by pixel."""
    return a.size == b.size and a.tobytes() == b.tobytes()


def test_a_picture_of_a_batch_is_the_one_drawn_alone(model):
    """Catches padding that is seen, and a seed that counts from the first of the batch."""
    seeds = [5, 6, 7, 5, 11, 12]
    batch = model.draw(PROMPTS, n=2, seeds=seeds, top_k=9, top_p=0.95)
    prompts = [prompt for prompt in PROMPTS for _ in range(2)]
    for prompt, seed, picture in zip(prompts, seeds, batch, strict=True):
        (alone,) = model.draw(prompt, seeds=[seed], top_k=9, top_p=0.95)
        assert same(alone, picture)
    assert len({picture.tobytes() for picture in batch}) == 6
    assert same(model.draw("a dog", n=3)[2], model.draw("a dog", seeds=[2])[0])


def test_a_picture_is_seen_growing(model, monkeypatch):
    """Catches frames of the wrong batch, and a last frame that is not the picture."""
    monkeypatch.setattr(studio, "AT_ONCE", 2)
    frames: list[list[Image.Image]] = []
    whole = model.draw("a dog", n=3, on_step=frames.append)
    assert [len(frame) for frame in frames] == [2] * 8 + [1] * 8  # 8 rows of codes
    assert all(map(same, [*frames[7], *frames[15]], whole))
    half = frames[3][0].crop((0, 8, 16, 16))  # the lower half is still to come
    assert half.getcolors() == [(16 * 8, (128, 128, 128))]


def test_a_conversation_is_laid_out_as_the_released_code_does(model, pictures):
    """Catches a lost turn, a picture at the wrong place, or a missing system prompt."""
    tokenizer = model.pretrained.tokenizer
    said = turns(f"{IMAGE}\nis it red?", "yes.", f"{IMAGE}\nand this?")
    fed = []
    hook = model.llm.embed_tokens.register_forward_pre_hook(
        lambda module, given: fed.append(given[0].tolist())
    )
    model.answer(said, images=pictures[:2], max_tokens=1)
    hook.remove()
    shown = [tokenizer.boi, *[tokenizer.image] * model.und.n_tokens, tokenizer.eoi]
    first = tokenizer.encode(f"{SYSTEM_PROMPT}\n\nUser: ")
    middle = tokenizer.encode("\nis it red?\n\nAssistant:") + tokenizer.encode(" yes.")
    second = [tokenizer.eos, *tokenizer.encode("User: ")]
    last = tokenizer.encode("\nand this?\n\nAssistant:")
    expected = [tokenizer.bos, *first, *shown, *middle, *second, *shown, *last]
    assert fed == [[expected]]


def test_a_chat_without_pictures_has_the_system_prompt_too(model):
    """Catches a bare "User:", under which a released model answers another question."""
    tokenizer, fed = model.pretrained.tokenizer, []
    hook = model.llm.embed_tokens.register_forward_pre_hook(
        lambda module, given: fed.append(given[0].tolist())
    )
    model.answer(turns("is it red?", "yes.", "why?"), max_tokens=1)
    hook.remove()
    said = f"{SYSTEM_PROMPT}\n\nUser: is it red?\n\nAssistant:"
    first = [tokenizer.bos, *tokenizer.encode(said), *tokenizer.encode(" yes.")]
    last = [tokenizer.eos, *tokenizer.encode("User: why?\n\nAssistant:")]
    assert fed == [[[*first, *last]]]


def test_marks_of_pictures_may_be_left_out(model, pictures):
    """Catches pictures that are dropped where a question has no mark."""
    short = model.answer("is it red?", images=pictures[:1], max_tokens=9)
    assert short == model.answer(f"{IMAGE}\nis it red?", images=pictures[:1], max_tokens=9)
    assert short != model.answer("is it red?", images=pictures[1:2], max_tokens=9)
    assert short != model.answer("is it red?", max_tokens=9)


def test_without_a_picture_the_vision_encoder_rests(model, monkeypatch):
    """Catches a blank picture in the place of none, which costs seconds at full size."""

    def encode(pixels: torch.Tensor) -> None:
        raise AssertionError("the vision encoder ran")

    monkeypatch.setattr(model.und, "encode", encode)
    assert isinstance(model.answer("what is a dog?", max_tokens=5), str)


def test_a_stream_without_room_is_refused_when_it_is_asked_for(model):
    """Catches an error that comes only with the first piece, after the page is begun."""
    with pytest.raises(UserError, match="too many to leave room"):
        model.answer("why?", stream=True, max_tokens=model.cfg.max_positions)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_stream_and_a_batch_say_what_is_said_alone(model, pictures, temperature):
    """Catches a last piece that is lost, filler that is seen, seeds of other rows."""
    asked = ["is it red?", "what is the dog doing in the garden?", "why?"]
    shown = [pictures[:1], [], pictures[1:]]
    how = {"max_tokens": 12, "temperature": temperature, "top_p": 0.9}
    alone = [
        model.answer(question, images, seed=seed, **how)
        for seed, (question, images) in enumerate(zip(asked, shown, strict=True))
    ]
    assert len(set(alone)) == 3
    assert model.answers(asked, shown, seeds=[0, 1, 2], **how) == alone
    stream = model.answer(asked[0], shown[0], stream=True, **how)
    assert not isinstance(stream, str) and "".join(stream) == alone[0]


def test_pieces_never_break_a_character():
    """Catches the replacement mark where the bytes of a character come in two tokens."""
    tokenizer = Tokenizer.train(["a dog"], 262)  # nearly every byte is a token of its own
    text = "né 犬 🐕 ok  end"
    ids = tokenizer.encode(f" {text} ")
    found = list(pieces(tokenizer, [*ids, tokenizer.eos, *ids]))
    assert "".join(found) == text and len(found) > 8
    assert {"é", " 犬", " 🐕"} <= set(found)
    broken = tokenizer.encode("🐕")[:2]
    assert "".join(pieces(tokenizer, broken)).strip("\ufffd") == ""  # and does not hang


def computed(folder: Path, picture: Image.Image, dtype, device) -> dict[str, list]:
    """What the heads and the decoder say in a dtype while a model draws and answers."""
    janus = Janus.from_pretrained(folder, device, dtype)
    names = ("und", "text_head", "image_head", "gen.encoder.decoder")
    found: dict[str, list] = {name: [] for name in names}
    for name in names[1:]:
        janus.get_submodule(name).register_forward_hook(
            lambda m, given, out, name=name: found[name].append(out.detach().cpu())
        )
    janus.und.encoder.register_forward_hook(
        lambda m, given, out: found["und"].append(out.detach().cpu())
    )
    assert janus.draw("a dog")[0].size == (16, 16)
    janus.answer("is it red?", images=[picture], max_tokens=3)
    ids = torch.arange(janus.gen.n_tokens, device=device)[None] % janus.cfg.n_codes
    with torch.no_grad():  # of the same codes: what is drawn soon parts in another dtype
        janus.gen.encoder.decode(ids)
    return found


@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
@pytest.mark.parametrize("dtype, most", [(torch.float16, 0.01), (torch.bfloat16, 0.06)])
def test_half_precision_draws_and_answers(folder, pictures, dtype, most, device):
    """Catches a cast that is written into the code, an overflow, and lost digits."""
    exact = computed(folder, pictures[0], torch.float32, "cpu")
    for name, outputs in computed(folder, pictures[0], dtype, device).items():
        assert {out.dtype for out in outputs} == {dtype}, name
        assert all(out.isfinite().all() for out in outputs), name
        place = -1 if name.startswith("gen") else 0  # before a choice parts the two
        ours, right = outputs[place].float(), exact[name][place]
        assert 0 < (ours - right).norm() / right.norm() < most, name


@pytest.mark.parametrize("do_normalize", [True, False])
def test_pixels_are_in_the_range_that_the_folder_says(tokenizer, tmp_path, do_normalize):
    """Catches a do_normalize that is read and then forgotten."""
    folder = official_folder(tmp_path / "Small", tokenizer)
    told = {"do_normalize": do_normalize, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    write_json(folder / "preprocessor_config.json", told)
    janus = Janus.from_pretrained(folder, dtype=torch.float32)
    seen = []
    janus.und.encoder.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    picture = Image.new("RGB", (16, 16), (51, 102, 255))
    janus.answer("is it red?", images=[picture], max_tokens=1)
    expected = torch.tensor([51, 102, 255]) / 255
    expected = expected * 2 - 1 if do_normalize else expected
    torch.testing.assert_close(seen[0][0, :, 5, 5], expected)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"n": 0}, "n is 0"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 1.5}, r"top_p is 1\.5"),
        ({"temperature": -1}, "temperature is -1"),
        ({"seeds": [1, 2]}, "2 seeds for 1 pictures"),
        ({"seeds": 3}, "seeds is 3: give a list"),
    ],
)
def test_drawing_refuses_bad_numbers(model, wrong, sentence):
    """Catches a number that draws noise, or a traceback from the depths."""
    with pytest.raises(UserError, match=sentence):
        model.draw("a dog", **wrong)


@pytest.mark.parametrize(
    "said, count, sentence",
    [
        (turns("a", "b"), 0, "the user first and last"),
        ([], 0, "the user first and last"),
        (turns("a", " ", "c"), 0, "is empty"),
        (turns(f"{IMAGE} a"), 2, "1 <image_placeholder> marks but 2 pictures"),
        ([{"content": "a"}], 0, "is not as in"),
        (["why?"], 0, "is not as in"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], 0, "is not as in"),
    ],
)
def test_answering_refuses_bad_conversations(model, pictures, said, count, sentence):
    """Catches a conversation that the model would go on with in the user's name."""
    with pytest.raises(UserError, match=sentence):
        model.answer(said, images=pictures[:count])
    with pytest.raises(UserError, match="give a list of pictures"):
        model.answer("a", images=pictures[0])
    with pytest.raises(UserError, match="holds what is no picture"):
        model.answer("a", images=["dog.png"], stream=True)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"seeds": [1]}, "1 seeds for 2 answers"),
        ({"seeds": 3}, "seeds is 3: give a list"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"images": [[]]}, "2 conversations but 1 lists of pictures"),
    ],
)
def test_a_batch_refuses_bad_numbers(model, wrong, sentence):
    """Catches rows that share a seed by accident, or answers that are silently fewer."""
    with pytest.raises(UserError, match=sentence):
        model.answers(["why?", "how?"], **({"images": [[], []]} | wrong))
    assert model.answers([], []) == []


def test_a_model_without_a_folder_says_so(janus):
    """Catches an AttributeError where the tokenizer is missing."""
    with pytest.raises(UserError, match=r"begin with Janus\.from_pretrained"):
        janus.draw("a dog")


def test_prompts_in_any_script_reach_a_released_model(model, monkeypatch):
    """Catches the tiny model's rules in the way of one that read the web."""
    read, real = [], studio.prompt_ids

    def prompt_ids(prompt: str, *how) -> list[int]:
        read.append(prompt)
        return real(prompt, *how)

    monkeypatch.setattr(studio, "prompt_ids", prompt_ids)
    for prompt in ("собака и кошка", "كلب", "🐶", "2+2=?", "a dog\n\nin the rain\n"):
        assert studio.checked_prompt(prompt, *given.loaded(model))
    assert read == ["собака и кошка", "كلب", "🐶", "2+2=?", "a dog\n\nin the rain"]
    with pytest.raises(UserError, match="has no words"):
        model.draw(" \n ")


def test_a_formula_is_asked_from_the_command_line(folder, tmp_path, capsys):
    """Catches a check before loading that does not know which model will be loaded."""
    draw_something(random.Random(0)).save(tmp_path / "a.png")
    command = ["ask", str(tmp_path / "a.png"), "2+2=?", "--model", str(folder)]
    assert main(command) == 0 and capsys.readouterr().out.strip()
    assert main(["ask", str(tmp_path / "a.png"), " ", "--model", str(folder)]) == 2
    assert "has no words" in capsys.readouterr().err


def test_images_stay_as_they_were(model, pictures):
    """Catches a caller's picture or list that is changed."""
    before, messages = pictures[0].tobytes(), turns("is it red?")
    model.answer(messages, images=pictures[:1], max_tokens=2)
    assert pictures[0].tobytes() == before and messages == turns("is it red?")


def test_marks_of_other_kinds_are_refused(model):
    """Catches a typed begin_of_image that opens a picture."""
    for mark in (BOI, EOI):
        with pytest.raises(UserError, match="a mark of the model's own"):
            model.draw(f"a dog {mark}")


def typed(monkeypatch, *lines: str) -> None:
    """Let these lines be what a person types; then the input ends."""
    left = list(lines)

    def line(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", line)


def test_a_chat_remembers_and_survives_a_bad_line(folder, tmp_path, monkeypatch, capsys):
    """Catches a turn that is forgotten, and a typing error that ends the conversation."""
    asked, real = [], studio.reply

    def reply(janus, tokenizer, stage, conversation, *how):
        asked.append([message["content"] for message in conversation[0]])
        return iter(("", "one ", "two"))

    monkeypatch.setattr(studio, "reply", reply)
    draw_something(random.Random(0)).save(tmp_path / "a.png")
    typed(monkeypatch, "what is it?", f"what {BOI}?", "and why?")
    assert main(["chat", str(tmp_path / "a.png"), "--model", str(folder)]) == 0
    assert asked == [["what is it?"], ["what is it?", "one two", "and why?"]]
    said = capsys.readouterr().out
    assert said.count("Assistant: one two\n") == 2 and f"has {BOI}" in said
    monkeypatch.setattr(studio, "reply", lambda *given: iter(()))
    typed(monkeypatch, "what is it?", "")
    assert main(["chat", "--model", str(folder)]) == 0
    assert "(the model says nothing)" in capsys.readouterr().out
    assert real is not studio.reply


def test_the_command_line_takes_a_model(folder, model, tmp_path, capsys):
    """Catches a --model that is read and then forgotten for the shipped one."""
    out = tmp_path / "grid.png"
    options = ["--model", str(folder), "--n", "1", "--seed", "3"]
    assert main(["draw", "a dog", "--out", str(out), *options]) == 0
    fresh = Janus.from_pretrained(folder)
    (picture,) = fresh.draw("a dog", seeds=[studio.picture_seed(3, 0)])
    assert same(Image.open(out), studio.grid_picture([picture]))
    draw_something(random.Random(0)).save(tmp_path / "a.png")
    capsys.readouterr()
    assert main(["ask", str(tmp_path / "a.png"), "is it red?", "--model", str(folder)]) == 0
    said = fresh.answer("is it red?", images=[draw_something(random.Random(0))])
    assert capsys.readouterr().out.strip() == (said or "(the model says nothing)")
