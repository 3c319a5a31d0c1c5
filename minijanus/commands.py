"""What the commands do, one function each; __main__.py reads what was typed.

Each imports what it needs when it runs, so that --help answers at once.
"""

import argparse
import time
from functools import partial
from pathlib import Path

from minijanus.config import PRESETS, Config
from minijanus.folders import DATA, RUNS, SHIPPED

SILENCE = "(the model says nothing)"


def draw(args: argparse.Namespace) -> int:
    """Draw a prompt n times and save the pictures as one PNG."""
    from minijanus.checkpoint import write_whole
    from minijanus.given import check_range, check_text
    from minijanus.lab import UserError
    from minijanus.studio import AT_ONCE, draw_pictures, grid_picture

    if args.out.suffix.lower() != ".png" or args.out.is_dir():
        raise UserError(f"--out is {args.out}: give a file name that ends in .png.")
    check_text(args.prompt, "prompt")  # before the seconds of loading

    def write(pictures: list) -> None:
        write_whole(args.out, partial(grid_picture(pictures).save, format="png"))

    how = ([args.prompt], args.n, args.seed, args.guidance, args.temperature)
    if args.watch:
        check_range("n", args.n, 1, AT_ONCE)  # one batch: all pictures grow together
        draw_pictures(*model_of(args), *how, write)
    else:
        write(draw_pictures(*model_of(args), *how))
    print(f'{args.out}: "{args.prompt}", {args.n} drawn, seed {args.seed}')
    return 0


def ask(args: argparse.Namespace) -> int:
    """Answer a question about a picture."""
    from minijanus.given import check_text
    from minijanus.images import open_picture
    from minijanus.studio import ask_picture

    check_text(args.question, "question")
    picture = open_picture(args.picture)
    # A released model explains; the tiny one, where it does not end, only repeats itself.
    most = 64 if args.model is None else None
    said = ask_picture(*model_of(args), picture, args.question, most)
    print(said or SILENCE)
    return 0


def chat(args: argparse.Namespace) -> int:
    """Talk with a model, about pictures or without; an empty line ends it."""
    from minijanus.images import open_picture
    from minijanus.lab import UserError

    pictures = [open_picture(path) for path in args.pictures]
    model, messages = model_of(args), []
    for line in iter(lambda: input_line("User: "), ""):
        try:
            messages = said_in_turn(args, model, messages, pictures, line)
        except UserError as error:  # what was said before stays
            print(error)
    return 0


def said_in_turn(
    args: argparse.Namespace, model, messages: list, pictures: list, line: str
):
    """The conversation with one more question and its answer, printed as it comes.

    A question without an answer is forgotten.
    """
    from minijanus.given import check_for, conversation
    from minijanus.studio import reply

    words = check_for(model[0], line, "question")
    asked = [*messages, {"role": "user", "content": words}]
    how = (args.max_tokens, args.temperature, None, args.seed + len(messages))
    said = ""
    for piece in reply(*model, conversation(asked, pictures), *how):
        print(piece if said else f"Assistant: {piece}", end="", flush=True)
        said += piece
    if not said:
        print(SILENCE)
        return messages
    print()
    return [*asked, {"role": "assistant", "content": said}]


def input_line(prompt: str) -> str:
    """What a person types, on one line; nothing at the end of the input."""
    try:
        return input(prompt).strip()
    except EOFError:
        print()
        return ""


def model_of(args: argparse.Namespace):
    """The model that the options ask for, its tokenizer and its stage."""
    from minijanus.lab import UserError, device

    if args.model is None:
        from minijanus.load import PHASES, load_janus

        untrained = PHASES[: PHASES.index("llm")]
        if args.phase in untrained:
            raise UserError(
                f"the language model after {args.phase} is not trained yet: choose --phase "
                "llm or later."
            )
        return load_janus(args.checkpoint, args.phase, device())
    from minijanus.given import loaded
    from minijanus.janus import Janus

    return loaded(Janus.from_pretrained(args.model, device()))


def train(args: argparse.Namespace) -> int:
    """Train a preset from raw data to stage III, or go on where that stopped."""
    from minijanus.lab import UserError, device
    from minijanus.train import at_most, train_all

    if args.model is not None:
        return finetune(args)
    if args.only_adaptors or args.lora:
        raise UserError(
            "--only-adaptors and --lora fine-tune a model: give it with --model."
        )
    deadline = time.monotonic() + 60 * args.minutes
    cfg, name = PRESETS[args.preset], args.preset
    if args.steps:  # in a folder of its own, or its phases would pass for finished ones
        cfg, name = at_most(cfg, args.steps), f"{name}-trial"
    folder = args.out or RUNS / name
    try:
        train_all(cfg, folder, source_of(cfg, args.data), device(), deadline)
    except ValueError as error:
        if args.data is None or isinstance(error, UserError):
            raise
        raise UserError(f"--data {args.data}: {error}") from error
    print(f"{folder} holds the checkpoints; draw from them with --checkpoint {folder}")
    return 0


def finetune(args: argparse.Namespace) -> int:
    """Fine-tune the model after --model on the pictures in the folder after --data."""
    from minijanus import finetune as tuning
    from minijanus.lab import UserError, device

    if args.data is None:
        raise UserError("--model needs --data: give a folder of pictures with captions.")
    deadline = time.monotonic() + 60 * args.minutes
    source = tuning.PictureFolder(Path(args.data))
    janus = tuning.load_for_training(args.model, device())
    how = (args.only_adaptors, args.steps or 200, args.batch, args.rate)
    stage = tuning.stage_of(janus.cfg, *how)
    out = args.out or RUNS / "finetuned"
    folder = tuning.finetune(janus, source, stage, out, args.lora, deadline)
    option = "--checkpoint" if (folder / "stage3.json").exists() else "--model"
    print(f"{folder} holds the model; draw from it with {option} {folder}")
    return 0


def source_of(cfg: Config, data: str | None):
    """The world, or the `datasets` table that replaces it."""
    if data is None:
        from minijanus.world import World

        return World(cfg)
    from minijanus.lab import UserError
    from minijanus.records import DatasetSource

    try:
        return DatasetSource(data, seed=cfg.seed)
    except Exception as error:  # `datasets` raises many kinds, with texts of many lines
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--data {data} cannot be read ({first}): give a `datasets` folder or hub name "
            "with the columns kind, images, messages."
        ) from error


def ship(args: argparse.Namespace) -> int:
    """Copy a finished run into data/checkpoints, rounded to float16."""
    from minijanus import checkpoint, load

    _, manifest = checkpoint.load(args.run / f"{load.PHASES[-1]}.safetensors")
    folder = SHIPPED / manifest["preset"]
    load.ship(args.run, folder, manifest["preset"])
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {size:.1f} MB")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Check versions, device, memory, disk, data and checkpoints, one line each."""
    from minijanus.doctor import report

    return 0 if report(DATA) else 1
