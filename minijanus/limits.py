"""What limits a score: the judge, the VQ tokenizer, the language model; probes.py: the eye.

The judge is tested on real scenes and on nonsense, the VQ tokenizer by the judge of its
reconstructions, the LLM on held-out text and on the codes of held-out pictures.
"""

import torch
from torch import Tensor

from minijanus.geneval_mini import PROMPTS, Model, looked, prompts, redrawn
from minijanus.images import generation_pixels
from minijanus.janus import Janus
from minijanus.judge import Found, Judge, sees_all, shows
from minijanus.pretrain import PLAIN_TEXT
from minijanus.records import Record, turns
from minijanus.scenes import DRAWN, Scene
from minijanus.scores import score
from minijanus.sequence import pack, to_sequence
from minijanus.text import Tokenizer
from minijanus.world import World

SCENES = 500  # of each stream that the judge is tested on
TEXTS, IN_ONE = 40, 10  # batches of held-out text, and documents in one
CODED = 300  # scenes whose codes are predicted


def truth(scene: Scene) -> list[Found]:
    """What a perfect judge would find in the rendered scene."""
    return [Found(t.concept, t.colour, t.box) for t in scene.objects]


def ones(values) -> Tensor:
    """Truths as numbers."""
    return torch.tensor([float(v) for v in values])


def judge_scores(judge: Judge, model: Model, world: World) -> dict:
    """How far the judge itself can be trusted."""
    asked = [pair for kind in DRAWN for pair in prompts(world, kind, PROMPTS)]
    groups = []
    for stream in ("caption", "scene"):
        scenes = [world.scene(stream, index) for index in range(SCENES)]
        found = looked(judge, [world.render(scene) for scene in scenes])
        groups.append(ones(map(sees_all, found, scenes)))
    scenes = [scene for _, scene in asked]
    again = looked(judge, redrawn(model, world, asked))
    images = [world.render(scene) for scene in scenes]
    seen, others = looked(judge, images), [*scenes[1:], scenes[0]]
    wrong = [
        shows(found, other)
        for found, scene, other in zip(seen, scenes, others, strict=True)
        if not shows(truth(scene), other)
    ]
    size = world.cfg.image_size
    noise = torch.rand(
        len(scenes), 3, size, size, generator=torch.Generator().manual_seed(0)
    ).to(next(judge.parameters()).device)
    flat = noise[..., :1, :1].expand(noise.shape)
    false = [ones(map(shows, judge.look(fake), scenes)) for fake in (flat, noise)]
    return {
        "judge.real": score(groups, 0, 1, "things, colours and places right, all of them"),
        "judge.reconstructions": score(
            [ones(map(sees_all, again, scenes))], 0, 1, "the same, after the VQ tokenizer"
        ),
        "judge.false_accepts": score(
            [*false, ones(wrong)], 0, 1, "plain colour, noise, scenes of another prompt"
        ),
    }


def text_losses(janus: Janus, tokenizer: Tokenizer, world: World) -> Tensor:
    """The mean loss of a token, for each of TEXTS batches of held-out text."""
    found = []
    for batch in range(TEXTS):
        texts = [world.text(batch * IN_ONE + i) for i in range(IN_ONE)]
        records = [Record("text", [], turns("", text)[1:]) for text in texts]
        rows = [to_sequence(r, PLAIN_TEXT, tokenizer, janus.lengths()) for r in records]
        packed = pack(rows, janus.cfg.pack_length, janus.cfg.max_positions)
        with torch.no_grad():
            found.append(janus.loss(packed.to(janus.device), {})["text"])
    return torch.stack(found).cpu()


@torch.no_grad()
def code_losses(model: Model, world: World, count: int = CODED) -> Tensor:
    """The mean loss of a code, in nats, of each of so many scenes with their prompts.

    This is what stage III made small: how surely the LLM knows the next code of a picture.
    """
    janus, tokenizer, number = model
    cfg, stage, losses = janus.cfg, janus.cfg.stage(number), []
    for start in range(0, count, IN_ONE):
        records = [world.record("generation", start + i, number) for i in range(IN_ONE)]
        rows = [to_sequence(r, stage, tokenizer, janus.lengths()) for r in records]
        batch = pack(rows, cfg.pack_length, cfg.max_positions).to(janus.device)
        pixels = [generation_pixels(r.images[0], cfg.image_size) for r in records]
        ids = janus.gen.encode(torch.stack(pixels).to(janus.device))
        hidden = janus(batch, {"gen": ids})
        for span, codes in zip(batch.spans, ids, strict=True):
            before = hidden[span.row, span.start - 1 : span.start - 1 + span.length]
            losses.append(janus.image_head.loss(before, codes).mean())
    return torch.stack(losses).cpu()
