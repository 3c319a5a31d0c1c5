"""Scores: intervals against closed forms, suites with models whose answers are known."""

import math
from collections import Counter

import pytest
import torch
from PIL import Image

from minijanus import answers_mini, evaluate, geneval_mini, samples
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


def test_where_nothing_varies_the_interval_is_exact():
    """Catches [0, 0] for no false accept in 1,000: up to 3.7 in 1,000 would often do so."""
    low, high = bootstrap([torch.zeros(400), torch.zeros(600)])
    assert low == 0 and (1 - high) ** 1000 == pytest.approx(0.025)
    low, high = bootstrap([torch.ones(50)])
    assert high == 1 and low**50 == pytest.approx(0.025)


def test_prompts_are_of_their_kind_and_apart(world: World):
    """Catches guidance chosen on the prompts that count, or a kind that is another."""
    for kind in DRAWN:
        asked = geneval_mini.prompts(world, kind, 5)
        others = geneval_mini.prompts(World(TINY, "test"), kind, 5)
        assert {scene.kind for _, scene in asked} == {kind}
        if len(asked[0][1].objects) > 1:  # one thing alone stands in few ways
            assert not {s.objects for _, s in asked} & {s.objects for _, s in others}
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


def test_guidance_is_chosen_by_the_most_right_drawings(world: World, monkeypatch):
    """Catches the smallest share taken, or shares that stand under another guidance."""
    trials = geneval_mini.TRIALS
    asked = [p for kind in DRAWN for p in geneval_mini.prompts(world, kind, trials)]
    judge = TrueJudge(world, [scene for _, scene in asked])
    good = {1.0: 40, 1.5: 160, 2.0: 360, 3.0: 240}  # of 600 prompts

    def drawn(model, given, n, guidance, seed):
        scenes = [s for _, s in given[: good[guidance]] for _ in range(n)]
        wrong = next(s for _, s in given if s.kind == "attribution")
        scenes += [wrong] * (n * len(given) - len(scenes))
        return [world.render(scene) for scene in scenes]

    monkeypatch.setattr(geneval_mini, "drawn", drawn)
    best, shares = geneval_mini.choose_guidance((None, None, 3), judge, world)
    assert best == 2.0 and list(shares) == list(good)
    # A repeated scene may be right.
    assert shares[2.0] == pytest.approx(360 / 600, abs=0.05)


def test_every_drawing_has_its_own_seed(world: World, monkeypatch):
    """Catches a prompt that comes twice and draws the same pictures, counted twice."""
    used = []

    def draw(janus, tokenizer, stage, prompts, n, guidance, seeds) -> list[None]:
        used.extend(seeds)
        return [None] * (n * len(prompts))

    monkeypatch.setattr(geneval_mini, "draw", draw)
    asked = geneval_mini.prompts(world, "single", 20)
    assert len(geneval_mini.drawn((None, None, 3), asked, 4, 2.0)) == 80
    assert len(used) == len(set(used)) == 80


class Weights(torch.nn.Linear):
    """What `evaluate` takes for a model and a judge: weights, and a config."""

    cfg = TINY


@pytest.fixture
def parts(monkeypatch) -> list[tuple[str, str]]:
    """`evaluate` with parts that only note their name and the world's split."""
    called: list[tuple[str, str]] = []

    def part(name: str):
        def measure(*given) -> dict:
            [world] = [one for one in given if isinstance(one, World)]
            called.append((name, world.split))
            return {f"{name}.share": {"value": len(called)}}

        return measure

    for name in ("judge", "limit", "answer", "drawing", "strange"):
        monkeypatch.setattr(evaluate, f"{name}_scores", part(name))
    torch.manual_seed(0)
    monkeypatch.setattr(evaluate, "load_judge", lambda *given: Weights(1, 1))
    monkeypatch.setattr(evaluate, "load_janus", lambda *given, device: MODELS[given[0]])
    return called


MODELS = {name: (Weights(2, 2), None, 3) for name in ("one", "other")}


def test_scores_are_of_the_split_that_nothing_was_chosen_by(parts, tmp_path):
    """Catches scores of scenes at which the recipe was looked at while it was made."""
    evaluate.evaluate("one", tmp_path, tmp_path / "scores.json")
    assert {split for _, split in parts} == {"test"} and len(parts) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_an_evaluation_goes_on_where_it_stopped(parts, tmp_path, monkeypatch):
    """Catches an hour measured twice, half of the scores as all, another model's taken."""
    judge = torch.nn.Linear(1, 1)
    monkeypatch.setattr(evaluate, "load_judge", lambda *given: judge)
    whole, out = evaluate.drawing_scores, tmp_path / "scores.json"

    def stop(*given) -> dict:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "drawing_scores", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate("one", tmp_path, out)
    assert [name for name, _ in parts] == ["judge", "limit", "answer"] and not out.exists()
    monkeypatch.setattr(evaluate, "drawing_scores", whole)
    found = evaluate.evaluate("one", tmp_path, out)
    assert [name for name, _ in parts[3:]] == ["drawing", "strange"]
    assert [one["value"] for one in found.values()] == [1, 2, 3, 4, 5]
    monkeypatch.setattr(evaluate, "drawing_scores", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate("one", tmp_path, out)
    monkeypatch.setattr(evaluate, "drawing_scores", whole)
    evaluate.evaluate("other", tmp_path, out)
    assert [name for name, _ in parts[8:]] == [
        "judge",
        "limit",
        "answer",
        "drawing",
        "strange",
    ]


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
