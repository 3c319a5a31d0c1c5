"""Every score of a trained model, each with its interval, floor and ceiling (paper §4.3).

All of it is measured on the split "test", by whose scores nothing was chosen: guidance is
chosen on the split "heldout", at which the recipe was looked at too. Held-out combinations
and the held-out style are only reported.
"""

import json
import math
from pathlib import Path

from minijanus import answers_mini as answers
from minijanus import geneval_mini as geneval
from minijanus.checkpoint import fingerprint, write_text
from minijanus.concepts import HELD_OUT_STYLE
from minijanus.geneval_mini import Model
from minijanus.judge import Judge, load_judge
from minijanus.lab import device
from minijanus.limits import code_losses, judge_scores, text_losses
from minijanus.load import build, load_janus, load_phases
from minijanus.paper_tables import measured
from minijanus.probes import names_all, names_single
from minijanus.samples import save_samples
from minijanus.scenes import DRAWN
from minijanus.scores import mean, score
from minijanus.world import World

UNSEEN_KINDS = ("two", "colours", "position", "attribution")  # can show a combination
SEEN = "test scenes, seen combinations"


def drawing_scores(judge: Judge, model: Model, world: World, samples: Path) -> dict:
    """GenEval-mini at the guidance chosen on other prompts, and at the paper's 5.

    Drawings at the chosen one, picked by rule, are shown on a page in the folder `samples`.
    """
    guidance, tried = geneval.choose_guidance(model, judge, World(world.cfg, "heldout"))
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
    unseen = World(world.cfg, world.split, combinations="unseen")
    strange = [
        pair
        for kind in UNSEEN_KINDS
        for pair in geneval.prompts(unseen, kind, geneval.PROMPTS // 2)
    ]
    pictures = geneval.drawn(model, strange, n, guidance)
    right, luck = (
        geneval.right_by_prompt(judge, pictures, some, n)
        for some in (strange, [*strange[1:], strange[0]])
    )
    how = f"held-out combinations of {', '.join(UNSEEN_KINDS)}; guidance {guidance:g}"
    result["geneval_mini.unseen"] = score([right], mean([luck]), None, how)
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

    What was measured when a run stopped lies beside it, and the same call goes on after it.
    """
    model = load_janus(folder, device=device())
    world = World(model[0].cfg, "test")
    judge = load_judge(model[0].cfg, judges, device())
    parts = {
        "judge": lambda: judge_scores(judge, model, world),
        "limits": lambda: limit_scores(folder, model, world),
        "answers": lambda: answer_scores(model, world, SEEN),
        "drawings": lambda: drawing_scores(judge, model, world, out.parent / "samples"),
        "strange": lambda: strange_scores(model, world),
    }
    beside = out.with_suffix(".partial.json")
    whose = {"model": fingerprint(model[0]), "judge": fingerprint(judge)}
    found = measured(beside)
    if {name: found.get(name) for name in whose} != whose:  # another model's: begin anew
        found = whose | {"parts": {}}
    for name, measure in parts.items():
        if name not in found["parts"]:
            found["parts"][name] = measure()
            write_text(beside, json.dumps(found, indent=1) + "\n")
    scores = {name: one for part in parts for name, one in found["parts"][part].items()}
    write_text(out, json.dumps(scores, indent=1) + "\n")
    beside.unlink()
    return scores


def limit_scores(folder: Path, model: Model, world: World) -> dict:
    """What the encoder knows, and what the three stages left of the LLM's text."""
    janus, tokenizer, _ = model
    first = build(janus.cfg)
    load_phases(first, folder, ("llm",))  # no picture is asked for
    before = text_losses(first.to(janus.device).eval(), tokenizer, world)
    after = text_losses(janus, tokenizer, world)
    kept = f"after stage III over before stage I ({float(before.mean()):.2f} nats a token)"
    known = "exact set of things, linear map of the mean feature"
    single = "name of the thing on which a feature stands, linear map of it"
    codes = "nats a code of test pictures; the floor is what a guess has"
    guess = math.log(janus.cfg.n_codes)
    right, *_ = names_single(janus, world)
    return {
        "text.loss_ratio": score([after / before], None, None, kept),
        "image.loss": score([code_losses(model, world)], round(guess, 4), None, codes),
        "probe.things": score([names_all(janus, world)], None, 1.0, known),
        "probe.single": score([right], None, 1.0, single),
    }


def strange_scores(model: Model, world: World) -> dict:
    """Answers about held-out combinations and the held-out style: reported, no bar."""
    unseen = World(world.cfg, world.split, combinations="unseen")
    strange = World(world.cfg, world.split, style=HELD_OUT_STYLE)
    result = {}
    for other, name in ((unseen, "unseen"), (strange, "style")):
        found = answer_scores(model, other, f"held-out {name}")
        for suite in ("pope_mini", "vqa_mini"):
            result[f"{suite}.{name}"] = found[f"{suite}.accuracy"]
    return result
