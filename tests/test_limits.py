"""What limits a score: the judge's table, losses and probes, where the truth is known."""

import pytest
import torch
from conftest import MICRO
from torch.nn import functional as F

from minijanus import limits, probes
from minijanus.config import TINY
from minijanus.judge import Found
from minijanus.limits import code_losses, judge_scores, text_losses, truth
from minijanus.pretrain import PLAIN_TEXT
from minijanus.records import Record, turns
from minijanus.sequence import to_sequence
from minijanus.world import World


@pytest.fixture(scope="module")
def world() -> World:
    """The held-out tiny world."""
    return World(TINY, "heldout")


class Seeing:
    """A judge that knows every scene by its pixels, and finds nothing in all else."""

    def __init__(self, world: World, found):
        streams = [(s, i) for s in ("caption", "scene") for i in range(limits.SCENES)]
        scenes = [world.scene(*one) for one in streams]
        for kind in limits.DRAWN:
            scenes += [scene for _, scene in limits.prompts(world, kind, limits.PROMPTS)]
        self.known = {world.render(s).tobytes(): found(s) for s in scenes}

    def parameters(self):
        """A judge's parameters tell its device."""
        yield torch.zeros(1)

    def look(self, pixels: torch.Tensor) -> list[list[Found]]:
        """What the scenes with these pixels show."""
        rows = (255 * pixels).round().to(torch.uint8).movedim(1, 3)
        return [self.known.get(row.numpy().tobytes(), []) for row in rows]


def test_the_judges_table_of_a_perfect_and_of_a_lazy_judge(world, monkeypatch):
    """Catches a table that praises a judge who finds nothing, or blames one for the VQ."""
    monkeypatch.setattr(limits, "SCENES", 20)
    monkeypatch.setattr(limits, "PROMPTS", 4)
    rendered = lambda model, world, asked: [world.render(s) for _, s in asked]  # noqa: E731
    monkeypatch.setattr(limits, "redrawn", rendered)
    scores = judge_scores(Seeing(world, truth), None, world)
    assert {name: one["value"] for name, one in scores.items()} == {
        "judge.real": 1, "judge.reconstructions": 1, "judge.false_accepts": 0
    }  # fmt: skip
    lazy = judge_scores(Seeing(world, lambda scene: []), None, world)
    assert lazy["judge.real"]["value"] == lazy["judge.reconstructions"]["value"] == 0
    torn = lambda model, world, asked: [world.render(asked[0][1])] * len(asked)  # noqa: E731
    monkeypatch.setattr(limits, "redrawn", torn)
    scores = judge_scores(Seeing(world, truth), None, world)
    assert scores["judge.real"]["value"] == 1
    assert scores["judge.reconstructions"]["value"] < 0.2


def test_a_judge_that_says_what_is_asked_for_is_found_out(world, monkeypatch):
    """Catches false accepts that are not counted: every scene taken for the one before."""
    monkeypatch.setattr(limits, "SCENES", 2)
    monkeypatch.setattr(limits, "PROMPTS", 4)
    rendered = lambda model, world, asked: [world.render(s) for _, s in asked]  # noqa: E731
    monkeypatch.setattr(limits, "redrawn", rendered)
    asked = [p for kind in limits.DRAWN for p in limits.prompts(world, kind, 4)]
    scenes = [scene for _, scene in asked]
    judge = Seeing(world, truth)
    for scene, other in zip(scenes, [*scenes[1:], scenes[0]], strict=True):
        judge.known[world.render(scene).tobytes()] = truth(other)
    assert judge_scores(judge, None, world)["judge.false_accepts"]["value"] > 0.3


@torch.no_grad()
def test_the_loss_of_a_code_is_that_of_eq_1(janus, tokenizer, source, monkeypatch):
    """Catches the first code left out, or codes predicted from their own place."""
    monkeypatch.setattr(limits, "IN_ONE", 3)
    found = code_losses((janus, tokenizer, 3), source, 6)
    assert found.shape == (6,)
    for index in (0, 4):
        record = source.record("generation", index, 3)
        row = to_sequence(record, MICRO.stage(3), tokenizer, janus.lengths())
        start = row.spans[0].start
        pixels = limits.generation_pixels(record.images[0], MICRO.image_size)[None]
        codes = janus.gen.encode(pixels)
        ids = torch.tensor([row.ids])
        embedded = janus.llm.embed_tokens(ids)
        embedded[:, start : start + 16] = janus.gen.embed(codes)
        places = torch.arange(ids.shape[1])[None]
        mask = torch.ones(1, 1, ids.shape[1], ids.shape[1]).tril().bool()
        hidden = janus.llm(embedded, places, mask)[:, start - 1 : start + 15]
        alone = F.cross_entropy(janus.image_head(hidden)[0], codes[0])
        assert float(found[index]) == pytest.approx(float(alone), abs=1e-4)


@torch.no_grad()
def test_the_loss_of_text_is_the_mean_over_its_tokens(janus, tokenizer, source):
    """Catches a mean of documents' means, by which a short one weighs as much as a long."""
    found = text_losses(janus, tokenizer, source)
    assert found.shape == (limits.TEXTS,)
    total, count = 0.0, 0
    for index in range(limits.IN_ONE):
        record = Record("text", [], turns("", source.text(index))[1:])
        ids = to_sequence(record, PLAIN_TEXT, tokenizer, janus.lengths()).ids
        places = torch.arange(len(ids))[None]
        mask = torch.ones(1, 1, len(ids), len(ids)).tril().bool()
        hidden = janus.llm(janus.llm.embed_tokens(torch.tensor([ids])), places, mask)
        logits = janus.text_head(hidden)[0, :-1]
        total += float(F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
        count += len(ids) - 1
    assert float(found[0]) == pytest.approx(total / count, abs=1e-4)


@pytest.mark.parametrize("knows", [True, False])
def test_probes_find_what_is_in_the_features_and_no_more(world, monkeypatch, knows):
    """Catches a probe tested on what it learned from, or features of other scenes."""
    monkeypatch.setattr(probes, "PROBED", (120, 60))
    monkeypatch.setattr(probes, "SINGLE", (80, 40))
    names = [concept.name for concept in world.concepts]
    noise = torch.Generator().manual_seed(0)

    def features(janus, part: World, count: int) -> torch.Tensor:
        grid = 0.1 * torch.randn(count, 64, len(names), generator=noise)
        scenes = [part.scene("scene", index) for index in range(count)]
        if knows:
            for scene, token, name in probes.middles(scenes, 8):
                grid[scene, token, names.index(name)] += 9
        return grid

    monkeypatch.setattr(probes, "features", features)
    model = type("Model", (), {"cfg": TINY})
    right, chances, scenes = probes.names_single(model, world)
    all_named = probes.names_all(model, world)
    assert len(right) == sum(len(scene.objects) for scene in scenes)
    assert chances.shape == (40, 64, len(names)) and len(all_named) == 60
    if knows:
        assert right.mean() > 0.95 and all_named.mean() > 0.5
    else:
        assert right.mean() < 0.25 and all_named.mean() < 0.1
