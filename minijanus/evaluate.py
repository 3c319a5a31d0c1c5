"""Every score of a trained model, each with its interval, floor and ceiling (paper §4.3).

Nothing here was tuned on what it measures: guidance is chosen on prompts of their own,
and held-out combinations and the held-out style are only reported.
"""

import json
from pathlib import Path

from minijanus import answers_mini as answers
from minijanus import geneval_mini as geneval
from minijanus.checkpoint import write_text
from minijanus.concepts import HELD_OUT_STYLE
from minijanus.geneval_mini import Model
from minijanus.judge import Judge, load_judge
from minijanus.lab import device
from minijanus.limits import judge_scores, probe, text_losses
from minijanus.load import load_janus
from minijanus.samples import save_samples
from minijanus.scenes import DRAWN
from minijanus.scores import mean, score
from minijanus.world import World

UNSEEN_KINDS = ("two", "colours", "position", "attribution")  # can show a combination
SEEN = "held-out scenes, seen combinations"


def drawing_scores(judge: Judge, model: Model, world: World, samples: Path) -> dict:
    """GenEval-mini at the guidance chosen on other prompts, and at the paper's 5.

    Drawings at the chosen one, picked by rule, are shown on a page in the folder `samples`.
    """
    guidance, tried = geneval.choose_guidance(model, judge, world)
    asked = {kind: geneval.prompts(world, kind, geneval.PROMPTS) for kind in DRAWN}
    every = [pair for some in asked.values() for pair in some]
    other = [pair for some in geneval.shuffled_prompts(asked).values() for pair in some]
    redrawn = geneval.redrawn(model, world, every)
    best = geneval.by_kind(asked, geneval.right_by_prompt(judge, redrawn, every, 1))
    n, result = geneval.DRAWINGS, {}
    conditions = f"{SEEN}; {n} drawings a prompt, temperature 1, no top-k, guidance "
    for name, s in (("geneval_mini", guidance), ("geneval_mini_s5", 5.0)):
        pictures = geneval.drawn(model, every, n, s)
        right = geneval.by_kind(asked, geneval.right_by_prompt(judge, pictures, every, n))
        luck = geneval.by_kind(asked, geneval.right_by_prompt(judge, pictures, other, n))
        how = f"{conditions}{s:g}"
        if s == guidance:
            save_samples(samples, asked, pictures, right, f"Guidance {s:g}.")
            how += f", the best of {tried}"
        for kind in (*DRAWN, "overall"):
            kinds = list(DRAWN) if kind == "overall" else [kind]
            groups, lucky, top = ([part[k] for k in kinds] for part in (right, luck, best))
            result[f"{name}.{kind}"] = score(groups, mean(lucky), mean(top), how)
    unseen = World(world.cfg, "heldout", combinations="unseen")
    strange = [
        pair
        for kind in UNSEEN_KINDS
        for pair in geneval.prompts(unseen, kind, geneval.PROMPTS // 2)
    ]
    pictures = geneval.drawn(model, strange, n, guidance)
    right = geneval.right_by_prompt(judge, pictures, strange, n)
    how = f"held-out combinations of {', '.join(UNSEEN_KINDS)}; guidance {guidance:g}"
    result["geneval_mini.unseen"] = score([right], None, None, how)
    return result


def answer_scores(model: Model, world: World, where: str) -> dict:
    """POPE-mini and VQA-mini on one world; the floor answers without the picture."""
    result = {}
    for suite, kinds, make in (
        ("pope_mini", answers.SPLITS, answers.pope),
        ("vqa_mini", answers.KINDS, answers.vqa),
    ):
        asked = {kind: make(world, kind) for kind in kinds}
        right = {k: answers.answered(model, world, some) for k, some in asked.items()}
        blind = {k: answers.answered(model, world, some, True) for k, some in asked.items()}
        for kind in (*kinds, "accuracy"):
            some = list(kinds) if kind == "accuracy" else [kind]
            groups, without = ([part[k] for k in some] for part in (right, blind))
            result[f"{suite}.{kind}"] = score(groups, mean(without), 1.0, where)
    return result


def evaluate(folder: Path, judges: Path, out: Path) -> dict:
    """Measure the model in `folder` with the judge in `judges`; write the JSON `out`.

    It is written anew after each part, so that what was measured stays if the rest is not.
    """
    model = load_janus(folder, device=device())
    world = World(model[0].cfg, "heldout")
    judge = load_judge(model[0].cfg, judges, device())
    scores: dict[str, dict] = {}
    for measure in (
        lambda: judge_scores(judge, model, world),
        lambda: limit_scores(folder, model, world),
        lambda: answer_scores(model, world, SEEN),
        lambda: drawing_scores(judge, model, world, out.parent / "samples"),
        lambda: strange_scores(model, world),
    ):
        scores |= measure()
        write_text(out, json.dumps(scores, indent=1) + "\n")
    return scores


def limit_scores(folder: Path, model: Model, world: World) -> dict:
    """What the encoder knows, and what the three stages left of the LLM's text."""
    before = text_losses(*load_janus(folder, "llm", device())[:2], world)
    after = text_losses(*model[:2], world)
    kept = f"after stage III over before stage I ({float(before.mean()):.2f} nats a token)"
    known = "exact set of things, linear map of the mean feature"
    return {
        "text.loss_ratio": score([after / before], None, None, kept),
        "probe.things": score([probe(model, world)], None, 1.0, known),
    }


def strange_scores(model: Model, world: World) -> dict:
    """Answers about held-out combinations and the held-out style: reported, no bar."""
    unseen = World(world.cfg, "heldout", combinations="unseen")
    strange = World(world.cfg, "heldout", style=HELD_OUT_STYLE)
    result = {}
    for other, name in ((unseen, "unseen"), (strange, "style")):
        found = answer_scores(model, other, f"held-out {name}")
        for suite in ("pope_mini", "vqa_mini"):
            result[f"{suite}.{name}"] = found[f"{suite}.accuracy"]
    return result
