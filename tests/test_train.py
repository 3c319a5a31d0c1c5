"""The three stages: Figure 3, Table 1's random cuts, and going on exactly (paper §3.2)."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import MicroSource

from minijanus import checkpoint
from minijanus.config import PAPER, Stage
from minijanus.images import generation_pixels, understanding_pixels
from minijanus.lab import UserError
from minijanus.loop import Stopped
from minijanus.picture_cache import PictureCache
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import pack, to_sequence
from minijanus.train import lay_out, prepare_step, records_of_step, stage_loss, train_stage

# Figure 3, typed from the paper: where the flame burns in stages I, II and III. The code
# embedding, which the figure does not show, goes with the generation adaptor.
FIGURE_3 = {
    "und.encoder.": (False, False, True),
    "und.adaptor.": (True, True, True),
    "gen.encoder.": (False, False, False),
    "gen.embedding.": (True, True, True),
    "gen.adaptor.": (True, True, True),
    "llm.": (False, True, True),
    "text_head.": (False, True, True),
    "image_head.": (True, True, True),
}
CAPTION = "a red dog. it is left of a blue car."


def burns(name: str, number: int) -> bool:
    """Whether a parameter trains in a stage, by Figure 3."""
    [row] = [row for prefix, row in FIGURE_3.items() if name.startswith(prefix)]
    return row[number - 1]


def one_step(cfg, number: int) -> Stage:
    """The stage cut to a single step, which holds all of its tasks."""
    return replace(cfg.stage(number), steps=1, warmup=0)


def test_a_stopped_stage_keeps_what_trains_and_nothing_else(
    cfg, janus, tokenizer, source, tmp_path
):
    """Catches gigabytes of a frozen model written every two minutes of fine-tuning."""
    with pytest.raises(Stopped):
        train_stage(cfg, cfg.stage(1), janus, tokenizer, source, tmp_path, deadline=0)
    tensors, _ = checkpoint.read(tmp_path / "stage1.resume.safetensors")
    kept = {name.partition("/")[2] for name in tensors if name.startswith("model/")}
    named = {name for name, _ in janus.named_parameters()}
    assert {name for name in kept if name in named} == {n for n in named if burns(n, 1)}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_parameter_has_a_gradient_if_and_only_if_its_flame_burns(
    number, cfg, janus, tokenizer, source, tmp_path
):
    """Catches a text head that trains in stage I, SigLIP frozen in stage III or trained
    before, a trained VQ tokenizer, weight decay of what is frozen.
    """
    before = {name: p.detach().clone() for name, p in janus.named_parameters()}
    train_stage(cfg, one_step(cfg, number), janus, tokenizer, source, tmp_path)
    for name, parameter in janus.named_parameters():
        changed = not torch.equal(parameter, before[name])
        assert parameter.requires_grad == burns(name, number), name
        if burns(name, number):
            assert parameter.grad is not None and parameter.grad.any(), name
            assert changed, name
        else:
            assert parameter.grad is None, name
            assert not changed, name
    norms = [p.grad.norm() for p in janus.parameters() if p.grad is not None]
    whole = float(torch.stack(norms).norm())
    assert whole == pytest.approx(1.0, rel=1e-3), "not clipped to 1 as one gradient"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_checkpoint_holds_what_the_stage_trained(
    number, cfg, janus, tokenizer, source, tmp_path
):
    """Catches a trained part that is not saved, and encoders saved in every stage."""
    stage = one_step(cfg, number)
    train_stage(cfg, stage, janus, tokenizer, source, tmp_path)
    tensors, manifest = checkpoint.load(tmp_path / f"stage{number}.safetensors")
    state = janus.state_dict()
    assert set(tensors) == {name for name in state if burns(name, number)}
    for name, tensor in tensors.items():
        assert torch.equal(tensor, state[name])
    assert manifest["preset"] == "micro" and manifest["step"] == 1
    assert set(manifest["metrics"]) == {
        "loss", "understanding", "generation", *(["text"] if number > 1 else []),
    }  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_field_freezes_the_generation_embedding(
    number, cfg, janus, tokenizer, source, tmp_path
):
    """Catches a code table that trains although the stage says it should not."""
    stage = replace(one_step(cfg, number), train_gen_embedding=False)
    before = janus.gen.embedding.weight.detach().clone()
    train_stage(cfg, stage, janus, tokenizer, source, tmp_path)
    assert torch.equal(janus.gen.embedding.weight, before)
    assert janus.gen.embedding.weight.grad is None
    assert janus.gen.adaptor.layers[0].weight.grad.any()
    tensors, _ = checkpoint.load(tmp_path / f"stage{number}.safetensors")
    assert torch.equal(tensors["gen.embedding.weight"], before)


def drawings(cfg, tokenizer, janus, number: int, count: int, prompt: str = CAPTION):
    """The laid-out sequences of a stage's first drawing samples, all of one prompt."""
    record = Record("generation", [None], turns(prompt, IMAGE))
    stage = cfg.stage(number)
    return [
        lay_out(cfg, stage, tokenizer, janus.lengths(), i, record) for i in range(count)
    ]


def prompt_of(sequence, tokenizer) -> list[int]:
    """The ids between BOS and BOI."""
    return sequence.ids[1 : sequence.ids.index(tokenizer.boi)]


def assert_share(hits: int, count: int, share: float) -> None:
    """Fail if so many hits are less likely than one in ten thousand."""
    spread = math.sqrt(count * share * (1 - share))
    assert abs(hits - count * share) < 3.9 * spread, f"{hits} of {count}, not {share:.0%}"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_tenth_of_the_drawings_loses_its_prompt(number, cfg, janus, tokenizer):
    """Catches a drop of another share, in one stage only, or of part of the prompt."""
    prompts = [
        prompt_of(s, tokenizer) for s in drawings(cfg, tokenizer, janus, number, 3000)
    ]
    dropped = [p for p in prompts if tokenizer.pad in p]
    assert all(set(p) == {tokenizer.pad} for p in dropped)
    assert_share(len(dropped), 3000, 0.1)


def test_captions_are_cut_in_stage_2_only_and_apart_from_the_drop(cfg, janus, tokenizer):
    """Catches a cut in another stage, of another share, or tied to the drop by one draw."""
    whole, first = (len(tokenizer.encode(" " + t)) for t in (CAPTION, "a red dog."))
    prompts = [prompt_of(s, tokenizer) for s in drawings(cfg, tokenizer, janus, 2, 3000)]
    assert {len(p) for p in prompts} == {whole, first}
    assert_share(sum(len(p) == first for p in prompts), 3000, 0.25)
    dropped = [p for p in prompts if tokenizer.pad in p]
    assert_share(sum(len(p) == first for p in dropped), len(dropped), 0.25)
    kept = [p for p in prompts if tokenizer.pad not in p]
    texts = {tokenizer.decode(p) for p in kept}
    assert texts == {" " + CAPTION, " a red dog."}
    for number in (1, 3):
        sequences = drawings(cfg, tokenizer, janus, number, 300)
        assert len({len(s.ids) for s in sequences}) == 1


def test_the_drop_depends_on_seed_and_index_alone(cfg, janus, tokenizer):
    """Catches a drop that another mix, order, caption or stage would change."""

    def pattern(config, number: int, prompt: str = CAPTION) -> list[bool]:
        sequences = drawings(config, tokenizer, janus, number, 200, prompt)
        return [tokenizer.pad in s.ids for s in sequences]

    expected = pattern(cfg, 1)
    assert pattern(cfg, 1) == pattern(cfg, 2) == pattern(cfg, 3) == expected
    assert pattern(cfg, 2, "dog") == expected
    other_mix = replace(cfg.stage(2), ratio=(5, 1, 4), batch=7)
    stages = (cfg.stages[0], other_mix, cfg.stages[2])
    assert pattern(replace(cfg, stages=stages), 2) == expected
    assert pattern(replace(cfg, seed=1), 1) != expected


def test_only_drawings_are_cut_or_dropped(cfg, janus, tokenizer, source):
    """Catches understanding or text samples that lose their words."""
    for number, task in ((1, "understanding"), (2, "understanding"), (2, "text")):
        stage = cfg.stage(number)
        for index in range(60):
            record = source.record(task, index, number)
            sequence = lay_out(cfg, stage, tokenizer, janus.lengths(), index, record)
            assert sequence == to_sequence(record, stage, tokenizer, janus.lengths())


def category_steps(cfg, stage: Stage, steps) -> list[bool]:
    """For each step, whether its drawings are category pictures; all must agree."""
    found = []
    for step in steps:
        source = MicroSource()
        records_of_step(stage, source, step)
        [category] = {asked[3] for asked in source.asked if asked[0] == "generation"}
        found.append(category)
    return found


def test_category_pictures_come_first_for_two_thirds_of_stage_2(cfg):
    """Catches categories last, at random, or in stage III; Table 1: 120,000 of 180,000."""
    paper = replace(PAPER.stage(2), batch=10)
    ends = (0, 119_999, 120_000, 179_999)
    assert category_steps(PAPER, paper, ends) == [True, True, False, False]
    assert category_steps(cfg, cfg.stage(2), range(6)) == [True] * 4 + [False] * 2
    assert category_steps(cfg, cfg.stage(1), range(6)) == [True] * 6
    assert category_steps(cfg, cfg.stage(3), range(6)) == [False] * 6


def test_another_mix_shows_the_same_samples(cfg):
    """Catches samples that depend on the other tasks of the step."""
    seen = []
    for ratio, batch in (((2, 3, 5), 10), ((0, 0, 1), 3), ((1, 4, 1), 7)):
        source = MicroSource()
        stage = replace(cfg.stage(2), ratio=ratio, batch=batch, steps=12)
        for step in range(8):
            records_of_step(stage, source, step)
        seen.append([asked for asked in source.asked if asked[0] == "generation"])
    shortest = min(map(len, seen))
    assert shortest >= 9
    assert all(asked[:shortest] == seen[0][:shortest] for asked in seen)


@pytest.mark.parametrize("number", [1, 2, 3])
@torch.no_grad()
def test_a_step_is_its_samples_one_by_one(number, cfg, janus, tokenizer, tmp_path):
    """Catches pictures that reach another sample's place, or the other eye's pixels."""
    stage, source = cfg.stage(number), MicroSource()
    # Codes that tell squares apart, or one picture would do for another.
    shown = [source.record("generation", i, number).images[0] for i in range(8)]
    pixels = torch.stack([generation_pixels(image, 32) for image in shown])
    generator = torch.Generator().manual_seed(0)
    janus.gen.encoder.restart_dead_codes(torch.zeros(cfg.n_codes), pixels, generator)
    caches = {
        name: PictureCache(tmp_path / f"{name}.safetensors", pathway, {})
        for name, pathway in janus.pathways.items()
    }
    step = 4  # captions in stage II
    lengths = janus.lengths()
    samples = prepare_step(cfg, stage, MicroSource(), tokenizer, lengths, step)
    losses = stage_loss(stage, janus, caches, *samples)
    total, targets = 0.0, 0
    for index, record in records_of_step(stage, MicroSource(), step):
        sequence = lay_out(cfg, stage, tokenizer, janus.lengths(), index, record)
        pictures = {}
        if record.kind == "understanding":
            pixels = torch.stack([understanding_pixels(i, 32) for i in record.images])
            features = janus.und.encode(pixels)
            # Frozen features come out of a cache of half precision.
            pictures["und"] = features if number == 3 else features.half().float()
        if record.kind == "generation":
            pixels = generation_pixels(record.images[0], 32)
            pictures["gen"] = janus.gen.encode(pixels[None])
            assert len(pictures["gen"].unique()) >= 4, "the codes tell nothing apart"
        n = sum(sequence.scored) or janus.gen.n_tokens
        alone = janus.loss(pack([sequence], 1, cfg.max_positions), pictures)
        total, targets = total + n * float(alone["loss"]), targets + n
    assert float(losses["loss"]) == pytest.approx(total / targets, rel=1e-5)


def run_to_the_end(cfg, stage: Stage, new_janus, tokenizer, folder: Path, deadline: float):
    """Train a stage, again and again if it stops, each time as a new process would."""
    asked = []
    for _ in range(stage.steps):
        janus, source = new_janus(cfg), MicroSource()
        try:
            train_stage(cfg, stage, janus, tokenizer, source, folder, deadline)
            return janus, asked + source.asked
        except UserError:
            asked += source.asked
    raise AssertionError("the stage never ended")


def rows_of(path: Path) -> list[list[str]]:
    """The CSV without its column of seconds."""
    with path.open(newline="") as file:
        return [[row[0], *row[2:]] for row in csv.reader(file)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stage_stopped_after_each_step_ends_the_same(
    number, cfg, new_janus, tokenizer, tmp_path
):
    """Catches samples, cached pictures, weights or optimiser that differ after a stop."""
    stage = replace(cfg.stage(number), steps=4)
    ends, folders = [], []
    for name, deadline in (("straight", math.inf), ("stopped", 0.0)):
        folders.append(tmp_path / name)
        ends.append(run_to_the_end(cfg, stage, new_janus, tokenizer, folders[-1], deadline))
    (straight, asked), (stopped, asked_again) = ends
    assert asked == asked_again
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, stopped.state_dict()[name]), name
    logs = [rows_of(folder / f"stage{number}.csv") for folder in folders]
    assert logs[0] == logs[1] and len(logs[0]) == 2
    files = [checkpoint.load(folder / f"stage{number}.safetensors") for folder in folders]
    assert files[0][1]["metrics"] == files[1][1]["metrics"]
