"""Scores: intervals against closed forms, suites with models whose answers are known."""

import math
from collections import Counter

import pytest
import torch
from PIL import Image

from minijanus import answers_mini, geneval_mini, samples
from minijanus.config import TINY
from minijanus.limits import truth
from minijanus.scenes import DRAWN
from minijanus.scores import bootstrap, mean, score
from minijanus.world import World


@pytest.fixture(scope="module")
def world() -> World:
    """The held-out tiny world."""
    return World(TINY, "heldout")


def test_the_interval_is_that_of_a_share():
    """Catches a wrong quantile: for 0s and 1s it is p ± 1.96 sqrt(p (1 - p) / n)."""
    values = torch.tensor([1.0] * 120 + [0.0] * 280)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    low, high = bootstrap([values])
    assert low == pytest.approx(0.3 - half, abs=0.006)
    assert high == pytest.approx(0.3 + half, abs=0.006)


def test_groups_count_equally():
    """Catches a mean over all prompts where the mean of six kinds is meant."""
    groups = [torch.ones(10), torch.zeros(90)]
    assert mean(groups) == 0.5
    assert bootstrap(groups) == (0.5, 0.5)
    entry = score(groups, 0.1, 0.9, "by hand")
    assert entry == {
        "value": 0.5, "low": 0.5, "high": 0.5, "floor": 0.1, "ceiling": 0.9, "n": 100,
        "conditions": "by hand",
    }  # fmt: skip


def test_prompts_are_of_their_kind_and_apart(world: World):
    """Catches guidance chosen on the prompts that count, or a kind that is another."""
    for kind in DRAWN:
        asked = geneval_mini.prompts(world, kind, 5)
        others = geneval_mini.prompts(world, kind, 5, geneval_mini.TRIALS_FROM)
        assert {scene.kind for _, scene in asked} == {kind}
        assert not {s.index for _, s in asked} & {s.index for _, s in others}
        assert all(scene.held_out and not scene.shows_unseen() for _, scene in asked)
    words, scene = geneval_mini.prompts(world, "position", 1)[0]
    assert any(name in words for name in ("left", "right", "above", "below"))


class TrueJudge:
    """Finds in a picture what the scene with the same pixels shows."""

    def __init__(self, world: World, scenes: list):
        self.known = {world.render(s).tobytes(): truth(s) for s in scenes}

    def parameters(self):
        """A judge's parameters tell its device."""
        yield torch.zeros(1)

    def look(self, pixels: torch.Tensor) -> list:
        """What the scenes with these pixels show."""
        rows = (255 * pixels).round().to(torch.uint8).movedim(1, 3)
        return [self.known[row.numpy().tobytes()] for row in rows]


def test_drawings_are_counted_by_prompt(world: World):
    """Catches the drawings of one prompt judged by another's scene."""
    asked = geneval_mini.prompts(world, "two", 6)
    scenes = [scene for _, scene in asked]
    judge = TrueJudge(world, scenes)
    pictures = [world.render(scene) for scene in scenes for _ in range(2)]
    right = geneval_mini.right_by_prompt(judge, pictures, asked, 2)
    assert right.tolist() == [1] * 6
    pictures[3] = pictures[0]  # the second drawing of the second prompt
    right = geneval_mini.right_by_prompt(judge, pictures, asked, 2)
    assert right.tolist() == [1, 0.5, 1, 1, 1, 1]
    [(kind, others)] = geneval_mini.shuffled_prompts({"two": asked}).items()
    assert geneval_mini.right_by_prompt(judge, pictures, others, 2).mean() < 0.2


@pytest.mark.parametrize("split", answers_mini.SPLITS)
def test_pope_is_half_yes_and_true(world: World, split: str):
    """Catches a "no" about a thing that is there, and splits that do not differ."""
    asked = answers_mini.pope(world, split)
    assert Counter(said for _, _, said in asked) == {"yes": 150, "no": 150}
    names = [concept.name for concept in world.concepts]
    group = {concept.name: concept.group for concept in world.concepts}
    for scene, question, said in asked:
        shown = {g.concept for g in scene.groups}
        [name] = [n for n in names if question.split(" in the")[0].endswith(f" {n}")]
        assert (name in shown) == (said == "yes")
        if said == "no" and split == "popular":
            assert name in names[:8]
        if said == "no" and split == "adversarial":
            assert group[name] in {group[n] for n in shown}


def test_vqa_asks_its_kind_and_marks_exactly(world: World, monkeypatch):
    """Catches marks for half-right answers, and a blind run that sees the picture."""
    asked = answers_mini.vqa(world, "count")[:20]
    assert all(question.startswith("How many") for _, question, _ in asked)
    truths, seen = iter([said for _, _, said in asked]), []

    def answers(janus, tokenizer, asked, stage, most) -> list[str]:
        seen.extend(picture for picture, _ in asked)
        return [next(truths).upper() + "." for _ in asked]

    monkeypatch.setattr(answers_mini, "answers", answers)
    right = answers_mini.answered((None, None, 3), world, asked)
    assert right.tolist() == [1] * 20 and None not in seen
    monkeypatch.setattr(answers_mini, "answers", lambda *args: ["one two"] * len(args[2]))
    assert answers_mini.answered((None, None, 3), world, asked, blind=True).sum() == 0


def test_a_caption_asks_for_what_the_scene_shows(world: World):
    """Catches a prompt that leaves out a colour by which its drawings are judged."""
    for kind in DRAWN:
        for words, scene in geneval_mini.prompts(world, kind, 10):
            for group in scene.groups:
                assert group.concept.split()[-1][:4] in words
                assert group.colour is None or group.colour in words


def test_samples_are_chosen_by_rule(world: World, tmp_path):
    """Catches a page whose drawings belong to another prompt than the one above them."""
    assert samples.chosen(torch.tensor([0.5, 1.0, 0.0, 1.0, 0.25])) == {
        "best": 1, "median": 0, "worst": 2
    }  # fmt: skip
    asked = {k: geneval_mini.prompts(world, k, 3) for k in ("single", "two")}
    shades = [Image.new("RGB", (64, 64), (i * 8, 0, 0)) for i in range(24)]
    right = {"single": torch.tensor([0.0, 0.5, 1.0]), "two": torch.tensor([1.0, 0.5, 0.0])}
    shown = {}
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(
            samples,
            "contact_sheet",
            lambda groups, pictures, caption: (
                shown.update(groups=groups, at=pictures) or pictures[0]
            ),
        )
        samples.save_samples(tmp_path, asked, shades, right, "Guidance 2.")
    # Best, median, worst: prompts 2, 1, 0 of the first kind, 0, 1, 2 of the second.
    first = [picture.getpixel((0, 0))[0] // 8 for picture in shown["at"]]
    assert first[::4] == [8, 4, 0, 12, 16, 20]
    assert shown["groups"]["single"][0] == f"best: {asked['single'][2][0]} (4 of 4)"
    assert "Guidance 2." in (tmp_path / "README.md").read_text()
