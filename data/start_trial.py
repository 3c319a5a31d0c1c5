"""Do the first weights of the language model decide what it can learn in a few minutes?

python data/start_trial.py told [--narrow] [--rate 2e-3] [--steps 300]
python data/start_trial.py drawn [--narrow] [--rate 2e-3] [--steps 300]
python data/start_trial.py shipped

"told" trains the LLM from nothing on scenes told in words, with questions, and says how
often it answers about other scenes; "drawn" trains it to draw from captions and says the
loss of a code; "shipped" says that loss for the shipped model, on scenes it has trained on
and on others. --narrow starts matrices, words and both heads at 0.02, as the recipe did
before, which suits a width of 2,048. See "The first weights" in experiments.md; the
questions are those of the present recipe, so "told" no longer repeats its rows.
"""

import argparse
from random import Random

import torch
from torch import Tensor, nn

from minijanus.config import TINY
from minijanus.folders import TINY_FOLDER
from minijanus.images import generation_pixels
from minijanus.janus import Janus
from minijanus.language import description
from minijanus.limits import code_losses
from minijanus.load import load_janus
from minijanus.pretrain import PLAIN_TEXT
from minijanus.questions import ask, several
from minijanus.records import Record, turns
from minijanus.scenes import DRAWN
from minijanus.sequence import Batch, pack, to_sequence
from minijanus.text import Tokenizer
from minijanus.world import World

BATCH, WARMUP, SHOW = {"told": 20, "drawn": 15}, 20, 50
QUESTIONS = 8  # to a scene that is told
ASKED, SCENES = 200, 300  # of each kind of question; drawn scenes
KINDS = ("existence", "count", "colour", "position")
Samples = tuple[Batch, dict[str, Tensor]]


def start_narrow(janus: Janus) -> None:
    """Matrices, words and heads at 0.02, the codes' adaptor as torch begins it."""
    for part in (janus.llm, janus.text_head, janus.image_head):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
    for layer in (janus.gen.adaptor.layers[0], janus.gen.adaptor.layers[2]):
        layer.reset_parameters()


def told(tokenizer: Tokenizer, world: World, janus: Janus, indices: range) -> Samples:
    """Scenes in words, each with its questions and answers; every token is scored."""
    rows = []
    for index in indices:
        scene, rng = world.scene("text", index), world.rng("trial", index)
        pairs = several(scene, rng, world.concepts, QUESTIONS)
        lines = [description(scene, rng), *(f"{q} {answer}" for q, answer in pairs)]
        record = Record("text", [], turns("", "\n".join(lines))[1:])
        rows.append(to_sequence(record, PLAIN_TEXT, tokenizer, janus.lengths()))
    return pack(rows, TINY.pack_length, TINY.max_positions), {}


def drawn(tokenizer: Tokenizer, world: World, janus: Janus, indices: range) -> Samples:
    """Captions and the codes of their pictures."""
    records = [world.record("generation", index, stage=3) for index in indices]
    stage, lengths = TINY.stage(3), janus.lengths()
    rows = [to_sequence(record, stage, tokenizer, lengths) for record in records]
    pixels = [generation_pixels(r.images[0], TINY.image_size) for r in records]
    codes = janus.gen.encode(torch.stack(pixels))
    return pack(rows, TINY.pack_length, TINY.max_positions), {"gen": codes}


@torch.no_grad()
def shares_right(tokenizer: Tokenizer, world: World, janus: Janus) -> dict[str, float]:
    """How often the likeliest next token begins the true answer about a told scene."""
    found = {}
    for kind in KINDS:
        right = []
        for index in range(ASKED):
            scene, rng = world.scene("text", index), Random(index)
            if turn := ask(scene, rng, world.concepts, kind):
                text = f"{description(scene, rng)}\n{turn[0]}"
                ids = torch.tensor([[tokenizer.bos, *tokenizer.encode(text)]])
                hidden = janus.llm(
                    janus.llm.embed_tokens(ids), torch.arange(ids.shape[1])[None]
                )
                said = tokenizer.decode([int(janus.text_head(hidden[0, -1]).argmax())])
                right.append(said.strip() == turn[1].split()[0])
        found[kind] = sum(right) / len(right)
    return found


def losses_by_kind(tokenizer: Tokenizer, world: World, janus: Janus) -> dict[str, float]:
    """The loss of a code, in nats, for each kind of drawing scene and for all."""
    losses = code_losses((janus, tokenizer, 3), world, SCENES)
    kinds = [world.scene("caption", index).kind for index in range(SCENES)]
    found = {kind: losses[[k == kind for k in kinds]] for kind in DRAWN} | {"all": losses}
    return {kind: float(some.mean()) for kind, some in found.items()}


def show(before: str, numbers: dict[str, float]) -> None:
    """Print one line."""
    print(before, ", ".join(f"{n} {x:.3f}" for n, x in numbers.items()), flush=True)


def train(task: str, narrow: bool, rate: float, steps: int) -> None:
    """Train from nothing at a constant rate and print what held-out scenes say."""
    # The shipped encoders; what no phase up to "vq" trains is new, by the config's seed.
    janus, tokenizer, _ = load_janus(TINY_FOLDER, "vq")
    janus.requires_grad_(False)
    if narrow:
        start_narrow(janus)
    names = ("llm", "text_head") if task == "told" else ("llm", "gen_adaptor", "image_head")
    for name in names:
        janus.parts()[name].requires_grad_(True)
    learning = [p for p in janus.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, rate, betas=(0.9, 0.95), weight_decay=0)
    make, measure = (told, shares_right) if task == "told" else (drawn, losses_by_kind)
    world, other = World(TINY), World(TINY, "heldout")
    for step in range(steps):
        indices = range(step * BATCH[task], (step + 1) * BATCH[task])
        samples = make(tokenizer, world, janus, indices)
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / WARMUP)
        optimizer.zero_grad()
        janus.loss(*samples)["loss"].backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        if (step + 1) % SHOW == 0 or step + 1 == steps:
            show(f"{step + 1}:", measure(tokenizer, other, janus))


def main() -> None:
    """Train, or measure the shipped model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=("told", "drawn", "shipped"))
    parser.add_argument("--narrow", action="store_true", help="start at 0.02")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    if args.task == "shipped" and args.narrow:
        parser.error("--narrow starts anew; leave it out with shipped")
    if args.task != "shipped":
        train(args.task, args.narrow, args.rate, args.steps)
        return
    janus, tokenizer, _ = load_janus(TINY_FOLDER)
    for split in ("train", "heldout"):
        show(f"{split}:", losses_by_kind(tokenizer, World(TINY, split), janus))


if __name__ == "__main__":
    main()
