"""Fine-tuning a released model on one's own pictures: what moves, what is kept (§3.2)."""

import random
import sys
from pathlib import Path

import pytest
import torch
from conftest import MICRO, draw_something
from micro_run import save_run
from released_folder import official_folder
from safetensors.torch import load_file
from torch import Tensor

from minijanus import finetune, memory
from minijanus.__main__ import main
from minijanus.config import PAPER, PRESETS
from minijanus.finetune import PictureFolder, add_lora, merge_lora, state_memory
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.records import IMAGE

CAPTIONS = ("a red dog on grass", "two blue cats", "a house\n")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures with captions, and a file that is neither."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, words in enumerate(CAPTIONS):
        draw_something(random.Random(number)).save(folder / f"{number}.PNG")
        (folder / f"{number}.txt").write_text(words, encoding="utf-8")
    (folder / "notes.md").write_text("not a caption", encoding="utf-8")
    return folder


@pytest.fixture
def released(tmp_path, tokenizer) -> Path:
    """A small folder in the official layout."""
    return official_folder(tmp_path / "Small", tokenizer)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The first two words of the names of tensors that differ."""
    assert before.keys() == after.keys()
    return {
        ".".join(name.split(".")[:2])
        for name, tensor in before.items()
        if not torch.equal(tensor, after[name])
    }


def tuned(released: Path, pictures: Path, out: Path, *options: str) -> tuple[dict, dict]:
    """All tensors before and after four steps of the command."""
    command = ["train", "--model", str(released), "--data", str(pictures)]
    command += ["--out", str(out), "--steps", "4", "--batch", "4", "--rate", "1e-2"]
    assert main([*command, *options]) == 0
    before, after = (Janus.from_pretrained(f) for f in (released, out / "model"))
    assert (
        load_file(out / "model" / "model.safetensors").keys()
        == load_file(released / "model.safetensors").keys()
    )
    return before.state_dict(), after.state_dict()


ADAPTORS = {"und.adaptor", "gen.adaptor", "gen.embedding", "image_head.vision_head"}
ADAPTORS |= {"image_head.output_mlp_projector"}


def test_a_folder_is_read_both_ways(pictures):
    """Catches a caption of another picture, and a picture that is never drawn."""
    source = PictureFolder(pictures)
    for task in ("generation", "understanding"):
        passes = [[], []]
        for index in range(6):
            record = source.record(task, index, stage=3)
            first, second = (message["content"] for message in record.messages)
            words, shown = (first, second) if task == "generation" else (second, first)
            assert IMAGE in shown and (shown == IMAGE) == (task == "generation")
            number = [" ".join(c.split()) for c in CAPTIONS].index(words)
            same = draw_something(random.Random(number))
            assert record.images[0].tobytes() == same.tobytes()
            assert record.key == "", "features of another model would be found again"
            passes[index // 3].append(words)
        assert all(len(set(words)) == 3 for words in passes)


def test_adaptors_alone(released, pictures, tmp_path, capsys):
    """Catches an LLM that moves although it is to be left alone, and a lost tensor."""
    before, after = tuned(released, pictures, tmp_path / "out", "--only-adaptors")
    assert moved(before, after) == ADAPTORS
    assert "numbers train" in capsys.readouterr().out


def test_as_stage_three(released, pictures, tmp_path):
    """Catches a part of stage III that is left frozen, and a tokenizer that moves."""
    before, after = tuned(released, pictures, tmp_path / "out")
    found = moved(before, after)
    assert found >= ADAPTORS | {"llm.layers", "text_head.weight", "und.encoder"}
    assert not any(name.startswith("gen.encoder") for name in found)


def test_low_rank_adapters_are_merged(released, pictures, tmp_path):
    """Catches adapters that are lost when the model is saved, and a full-rank change."""
    before, after = tuned(released, pictures, tmp_path / "out", "--lora", "2")
    assert moved(before, after) - {"llm.layers"} <= ADAPTORS | {"text_head.weight"} | {
        name for name in moved(before, after) if name.startswith("und.encoder")
    }
    name = "llm.layers.0.self_attn.q_proj.weight"
    change = (after[name] - before[name]).float()
    assert change.norm() > 0 and torch.linalg.matrix_rank(change, rtol=1e-4) == 2
    assert torch.equal(before["llm.norm.weight"], after["llm.norm.weight"])
    assert torch.equal(before["llm.embed_tokens.weight"], after["llm.embed_tokens.weight"])


def test_merging_changes_no_output(released):
    """Catches a scale that is forgotten: merged, a model must say what it said before."""
    janus = Janus.from_pretrained(released, dtype=torch.float32)
    names = set(janus.state_dict())
    janus.requires_grad_(True)
    add_lora(janus, 3)
    x, positions = torch.randn(1, 5, janus.cfg.llm_width), torch.arange(5)[None]
    with torch.no_grad():
        for name, parameter in janus.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.2)
        before = janus.llm(x, positions)
        merge_lora(janus)
        torch.testing.assert_close(janus.llm(x, positions), before, atol=1e-4, rtol=1e-4)
    assert set(janus.state_dict()) == names


def test_one_of_our_own_runs(pictures, tmp_path, tokenizer, monkeypatch):
    """Catches a result that --checkpoint cannot read."""
    monkeypatch.setitem(PRESETS, MICRO.name, MICRO)
    run = save_run(tmp_path, tokenizer)
    out = tmp_path / "out"
    command = ["train", "--model", str(run), "--data", str(pictures), "--out", str(out)]
    assert main([*command, "--steps", "2", "--batch", "2"]) == 0
    grid = tmp_path / "grid.png"
    drawn = ["draw", "a dog", "--checkpoint", str(out / "model"), "--out", str(grid)]
    assert main(drawn) == 0 and grid.exists()


def test_what_it_costs_is_said(released, monkeypatch, capsys):
    """Catches Adam's two numbers or the gradient left out, or memory that is not there."""
    janus = Janus.from_pretrained(released, dtype=torch.float32)
    named = list(janus.image_head.named_parameters())
    whole = sum(p.numel() for p in janus.parameters())
    training = sum(p.numel() for _, p in named)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 12 * training)
    state_memory(janus, named)
    said = capsys.readouterr().out
    assert f"{training:,} of {whole:,}" in said
    assert f"{(4 * whole + 12 * training) / 1e9:.3g} GB" in said
    monkeypatch.setattr(memory, "free_bytes", lambda device: 12 * training - 1)
    with pytest.raises(UserError, match="are free on cpu: close other programs, or train"):
        state_memory(janus, named)


def test_memory_is_said_before_the_first_step_and_time_after_it(
    released, pictures, tmp_path, monkeypatch, capsys
):
    """Catches a number of gigabytes that is told after the step that did not fit."""
    before = []

    def one_step(*_) -> float:
        before.append(capsys.readouterr().out)
        return 45.0

    monkeypatch.setattr(finetune, "one_step", one_step)
    monkeypatch.setattr(finetune, "run_stage", lambda *_: None)
    command = ["train", "--model", str(released), "--data", str(pictures)]
    command += ["--out", str(tmp_path / "out"), "--steps", "2", "--batch", "2"]
    assert main(command) == 0
    assert "numbers train: " in before[0] and "minutes" not in before[0]
    assert "about 1.5 minutes, by one step" in capsys.readouterr().out


def test_without_peft_there_is_one_sentence(
    released, pictures, tmp_path, monkeypatch, capsys
):
    """Catches a traceback where the package for low-rank adapters is not installed."""
    monkeypatch.setitem(sys.modules, "peft", None)  # what import then finds
    command = ["train", "--model", str(released), "--data", str(pictures)]
    assert main([*command, "--out", str(tmp_path / "out"), "--lora", "2"]) == 2
    said = capsys.readouterr().err
    assert said == "--lora needs the package peft: type `pip install peft`.\n"


@pytest.mark.parametrize(
    "harm, sentence",
    [
        (lambda f: (f / "1.txt").unlink(), r"1\.PNG has no caption: write one into 1\.txt"),
        (lambda f: (f / "1.txt").write_text(" "), "has no caption"),
        (lambda f: (f / "1.txt").write_bytes("Kätzchen".encode("latin-1")), "not in UTF-8"),
        (lambda f: (f / "1.PNG").write_bytes(b"no"), "is not a picture"),
        (lambda f: [p.unlink() for p in f.glob("*.PNG")], "holds no picture"),
    ],
)
def test_a_bad_folder_is_refused_before_training(pictures, harm, sentence):
    """Catches minutes of training that end at one bad file."""
    harm(pictures)
    with pytest.raises(UserError, match=sentence):
        PictureFolder(pictures)


def test_a_mark_before_the_text_is_no_part_of_the_caption(pictures):
    """Catches the byte order mark of some editors, which no caption begins with."""
    (pictures / "1.txt").write_text("a cat", encoding="utf-8-sig")
    assert PictureFolder(pictures).captions[1] == "a cat"


def test_a_caption_too_long_is_named_before_training(released, pictures, tmp_path, capsys):
    """Catches minutes of training that end at one long caption."""
    (pictures / "1.txt").write_text("a dog and " * 3000)
    command = ["train", "--model", str(released), "--data", str(pictures)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "1.PNG is" in said and "tokens too long" in said and "shorten 1.txt" in said


def test_a_save_that_fails_can_be_tried_again(released, pictures, tmp_path, monkeypatch):
    """Catches a half-written folder that passes for the model, so that all is lost."""

    def full(*_, **__):
        raise OSError("no space left")

    out = tmp_path / "out"
    command = ["train", "--model", str(released), "--data", str(pictures)]
    command += ["--out", str(out), "--steps", "2", "--batch", "2"]
    with monkeypatch.context() as disk:
        disk.setattr("minijanus.weights.save_file", full)
        assert main(command) != 0
    assert (out / "finetune.safetensors").exists() and not (out / "model").exists()
    assert not list(out.glob(".*")), "what a full disk could do with is given back"
    assert main(command) == 0
    assert Janus.from_pretrained(out / "model").pretrained.layout == "official"
    assert not list(out.glob(".*"))


def test_a_model_is_never_overwritten(released, pictures, tmp_path, capsys):
    """Catches a second run that destroys the result of the first."""
    (tmp_path / "out" / "model").mkdir(parents=True)
    command = ["train", "--model", str(released), "--data", str(pictures)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "already holds a model" in capsys.readouterr().err
    assert main(["train", "--model", str(released)]) == 2
    assert "--model needs --data" in capsys.readouterr().err
    both = [*command, "--out", str(tmp_path / "new"), "--only-adaptors", "--lora", "2"]
    assert main(both) == 2
    assert "drop one" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_model_alone(released, pictures, tmp_path, capsys):
    """Catches a run that says it tunes one model and goes on with another's weights."""
    other = tmp_path / "other"
    janus = Janus.from_pretrained(released)
    with torch.no_grad():
        janus.llm.norm.weight.add_(1)
    janus.save_pretrained(other)
    command = ["train", "--data", str(pictures), "--out", str(tmp_path / "out")]
    command += ["--steps", "3", "--batch", "2"]
    assert main([*command, "--model", str(released), "--minutes", "1e-9"]) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert main([*command, "--model", str(other)]) == 2
    assert "began with another model" in capsys.readouterr().err
    assert main([*command, "--model", str(released)]) == 0


def test_the_stage_is_the_papers_third():
    """Catches a template or a rate of scored words that the released model never saw."""
    from minijanus.finetune import stage_of

    stage = stage_of(PAPER, False, 100, 8, 2e-5)
    assert (stage.template, stage.scored_text, stage.system_prompt) == (
        "chat",
        "answers",
        True,
    )
    assert stage.trains("und_encoder") and not stage.trains("gen_encoder")
    only = stage_of(PAPER, True, 100, 8, 2e-5)
    assert not only.trains("llm") and only.trains("image_head")
