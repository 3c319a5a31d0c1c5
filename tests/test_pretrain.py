"""Pre-training: each phase trains its own part, and goes on exactly after a stop (§4.1)."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import MICRO, MicroSource
from torch import Tensor

from minijanus import checkpoint, loop, pretrain
from minijanus.concepts import BACKGROUNDS
from minijanus.config import TINY, Config
from minijanus.folders import TINY_FOLDER
from minijanus.images import understanding_pixels
from minijanus.lab import UserError
from minijanus.load import build
from minijanus.sequence import to_sequence
from minijanus.siglip import SigLIP
from minijanus.text import Tokenizer
from minijanus.vq_tokenizer import VQTokenizer
from minijanus.world import World

# A phase's file holds one part of Janus and nothing that another phase trains.
HOLDS = {
    "siglip": ("und.encoder.", "siglip."),
    "vq": ("gen.encoder.",),
    "llm": ("llm.", "text_head."),
}
STEPS = 6
# All of the VQ's losses, and codes restarted at step 2 and 4.
EVERYTHING = replace(
    MICRO,
    vq_perceptual=True,
    vq_adversarial_from=3,
    siglip=replace(MICRO.siglip, steps=STEPS, warmup=2, schedule="cosine"),
    vq=replace(MICRO.vq, steps=STEPS, warmup=2),
    llm=replace(MICRO.llm, steps=STEPS, weight_decay=0.1),
)


def train(phase: str, cfg: Config, tokenizer, folder: Path, deadline: float) -> None:
    """One phase as a new process would start it."""
    source, janus, device = MicroSource(), build(cfg), torch.device("cpu")
    if phase == "siglip":
        pretrain.train_siglip(cfg, source, tokenizer, folder, device, deadline)
    elif phase == "vq":
        pretrain.train_vq(cfg, source, janus.und.encoder, folder, device, deadline)
    else:
        pretrain.train_llm(cfg, source, janus, tokenizer, folder, deadline)


def rows_of(path: Path) -> list[list[str]]:
    """The CSV without its column of seconds."""
    with path.open(newline="") as file:
        return [[row[0], *row[2:]] for row in csv.reader(file)]


@pytest.mark.parametrize("phase", HOLDS)
def test_a_phase_stopped_after_each_step_ends_the_same(
    phase, tokenizer, tmp_path, monkeypatch
):
    """Catches what a stop forgets: the discriminator, or which codes were used."""
    monkeypatch.setattr(pretrain, "RESTART_EVERY", 2)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train(phase, EVERYTHING, tokenizer, straight, math.inf)
    for _ in range(STEPS - 1):
        with pytest.raises(UserError, match=f"{phase} stopped after step"):
            train(phase, EVERYTHING, tokenizer, stopped, 0.0)
    train(phase, EVERYTHING, tokenizer, stopped, 0.0)
    expected, _ = checkpoint.load(straight / f"{phase}.safetensors")
    tensors, _ = checkpoint.load(stopped / f"{phase}.safetensors")
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name
    logs = [rows_of(folder / f"{phase}.csv") for folder in (straight, stopped)]
    assert logs[0] == logs[1] and len(logs[0]) == 2


def nearly_equal(n: int) -> Tensor:
    """Unit vectors n 2, of which half precision finds some equally close to a third."""
    angles = 0.02 * torch.arange(n)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_pictures_are_matched_in_full_precision(tokenizer, tmp_path, monkeypatch):
    """Catches the share of matched captions counted in bfloat16, which sees them equal."""

    class Sure(SigLIP):
        """Gives the k-th picture and the k-th caption the same vector."""

        def parts_embedding(self, pixels, picture, inside):
            return nearly_equal(len(pixels) + len(picture)) + 0 * self.bias

        def text_embedding(self, ids, mask):
            return nearly_equal(len(ids)) + 0 * self.bias

    monkeypatch.setattr(loop, "BF16_ON", ("cpu",))
    monkeypatch.setattr(pretrain, "SigLIP", Sure)
    cfg = replace(MICRO, siglip=replace(MICRO.siglip, steps=1, batch=8))
    captions = {
        MicroSource().record("understanding", i, 0).messages[-1]["content"]
        for i in range(8)
    }
    assert len(captions) > 4
    train("siglip", cfg, tokenizer, tmp_path, math.inf)
    [_, row] = rows_of(tmp_path / "siglip.csv")
    assert float(row[-1]) == 1


def test_codes_are_restarted_in_full_precision(tokenizer, tmp_path, monkeypatch):
    """Catches a codebook of rounded latents, and weights that autocast keeps as cast."""
    monkeypatch.setattr(loop, "BF16_ON", ("cpu",))
    monkeypatch.setattr(pretrain, "RESTART_EVERY", 2)
    restart, forward, seen = VQTokenizer.restart_dead_codes, VQTokenizer.forward, []

    def noted(whole, name: str):
        def method(self, *given):
            seen.append((name, torch.is_autocast_enabled("cpu")))
            return whole(self, *given)

        return method

    monkeypatch.setattr(VQTokenizer, "restart_dead_codes", noted(restart, "restart"))
    monkeypatch.setattr(VQTokenizer, "forward", noted(forward, "forward"))
    train("vq", EVERYTHING, tokenizer, tmp_path, math.inf)
    assert seen.count(("restart", False)) == 1 and seen.count(("forward", True)) == STEPS
    assert len(seen) == STEPS + 1


@pytest.mark.parametrize("phase", HOLDS)
def test_a_phase_trains_all_of_its_part_and_only_that(phase, cfg, tokenizer, tmp_path):
    """Catches a part that stays random, and a file that would overwrite another's part."""
    train(phase, cfg, tokenizer, tmp_path, math.inf)
    tensors, _ = checkpoint.load(tmp_path / f"{phase}.safetensors")
    ours = {n: t for n, t in tensors.items() if not n.startswith("siglip.")}
    state = build(cfg).state_dict()
    own = {name for name in state if name.startswith(HOLDS[phase])}
    assert set(ours) == own
    assert all(name.startswith(HOLDS[phase]) for name in tensors)
    for name, tensor in ours.items():
        assert tensor.shape == state[name].shape and torch.isfinite(tensor).all(), name
        # SigLIP and the VQ start from weights of their own.
        assert phase != "llm" or not torch.equal(tensor, state[name]), name


def test_the_llm_learns_every_token_of_its_text_and_the_end(cfg, tokenizer):
    """Catches text without its end, or with the chat template: by hand, token by token."""
    source = MicroSource()
    batch = pretrain.documents(cfg, source, tokenizer, build(cfg).lengths(), step=2)
    first, count = cfg.llm.batch, cfg.llm.batch
    for number in range(count):
        [message] = source.record("text", first + number, stage=2).messages
        words = tokenizer.encode(" " + message["content"])
        mine = batch.documents == number
        assert batch.ids[mine].tolist() == [tokenizer.bos, *words, tokenizer.eos]
        assert batch.scored[mine].tolist() == [False] + [True] * (len(words) + 1)
    assert int(batch.documents.max()) == count - 1


def test_every_other_step_the_llm_learns_the_answers_alone(cfg, tokenizer):
    """Catches told scenes that are scored too, and dialogues that are left out: by hand."""
    source, number = MicroSource(), cfg.llm.batch
    batch = pretrain.documents(cfg, source, tokenizer, build(cfg).lengths(), step=3)
    assert int(batch.documents.max()) == number - 1
    for place in range(number):
        mine = batch.documents == place
        question, answer = (m["content"] for m in source.told(number + place).messages)
        ids, scored = batch.ids[mine].tolist(), batch.scored[mine].tolist()
        said = tokenizer.encode(f" {answer}")
        assert [i for i, s in zip(ids, scored, strict=True) if s] == [*said, tokenizer.eos]
        assert question in tokenizer.decode(ids) and scored[-1]


def test_the_llm_reads_text_as_stage_2_does(cfg, tokenizer):
    """Catches a pre-training format that stage II would have to unlearn."""
    lengths = build(cfg).lengths()
    record = MicroSource().record("text", 0, stage=2)
    before = to_sequence(record, pretrain.PLAIN_TEXT, tokenizer, lengths)
    assert before == to_sequence(record, cfg.stage(2), tokenizer, lengths)


def test_parts_are_the_things_of_their_own_pictures():
    """Catches boxes or names of another picture, and a bare square that a thing touches."""
    cfg = replace(TINY, siglip=replace(TINY.siglip, batch=6))
    world, tokenizer = World(cfg), Tokenizer.load(TINY_FOLDER / "tokenizer.json")
    pixels, picture, inside, ids, mask = pretrain.caption_pairs(cfg, world, tokenizer, 2)
    scenes = [world.scene("scene", index) for index in range(12, 18)]
    bare = {0: (None,), 4: (None,)}  # scenes 12 and 16: every fourth has a bare square
    parts = [(n, p) for n, s in enumerate(scenes) for p in (*s.objects, *bare.get(n, ()))]
    assert picture.tolist() == [n for n, _ in parts]
    words = [
        tokenizer.decode(row[real].tolist()) for row, real in zip(ids, mask, strict=True)
    ]
    assert len(pixels) == 6 and len(words) == 6 + len(parts)
    for n, (scene, caption) in enumerate(zip(scenes, words[:6], strict=True)):
        assert all(thing.concept[:3] in caption for thing in scene.objects), n
        assert "background" not in caption and caption[-1] != ".", n
        assert torch.equal(pixels[n], understanding_pixels(world.render(scene), 64))
    for (n, thing), name, where in zip(parts, words[6:], inside, strict=True):
        row, column = divmod(int(where.nonzero()[0]), 8)
        if thing is None:  # where nothing stands, so every pixel there is the background's
            colour = BACKGROUNDS[name.removeprefix("the background is ")]
            square = pixels[n][:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            shade = torch.tensor(colour)[:, None, None] / 255 * 2 - 1
            assert where.sum() == 1 and (square - shade).abs().max() < 0.01, (n, name)
            continue
        assert name.split()[1:] == f"{thing.colour or ''} {thing.concept}".split()
        x, y, w, h = thing.box
        assert x <= (column + 0.5) / 8 <= x + w and y <= (row + 0.5) / 8 <= y + h
