"""The command line: what a person types after `python -m minijanus`.

What a person did wrong ends in one line and exit code 2, never in a traceback.
"""

import argparse
import math
import sys
from pathlib import Path

from minijanus.commands import ask, chat, doctor, draw, ship, train
from minijanus.commands_measure import evaluate, judge, parity, report, tables
from minijanus.config import PRESETS
from minijanus.folders import RUNS, TINY_FOLDER
from minijanus.memory import ran_out

PROBLEM, STOPPED = 2, 130  # exit codes; 130 is what shells expect after Ctrl-C


class Version(argparse.Action):
    """Print the version that is installed; importing its reader takes time."""

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib import metadata

        try:
            version = metadata.version("minijanus")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print("minijanus", version)
        parser.exit()


def positive(text: str) -> float:
    """A number above zero, for argparse."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def steps(text: str) -> int:
    """A whole number above zero, for argparse."""
    positive(text)
    return int(text)


def command(commands, run) -> argparse.ArgumentParser:
    """Add a command that is named and described as its function."""
    parser = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(command=run)
    return parser


def add_checkpoint(new: argparse.ArgumentParser) -> None:
    """The option that says where a trained model lies."""
    where = "checkpoints (data/checkpoints/tiny)"
    add = new.add_argument
    add("--checkpoint", type=Path, default=TINY_FOLDER, metavar="FOLDER", help=where)


def add_model(new: argparse.ArgumentParser) -> None:
    """The options that say which trained model to use, and after which phase."""
    add_checkpoint(new)
    what = "the model as it was after this phase (stage3)"
    new.add_argument("--phase", default="stage3", help=what)


def add_released(new: argparse.ArgumentParser) -> None:
    """The option that takes a released model, or any other in a folder of its own."""
    what = "such as deepseek-ai/Janus-1.3B, in place of --checkpoint"
    new.add_argument("--model", metavar="NAME_OR_FOLDER", help=what)


def add_use(commands) -> None:
    """The commands that use a model: draw, ask, chat."""
    new = command(commands, draw)
    add = new.add_argument
    add("prompt", help='what to draw, such as "a red car left of a dog"')
    add("--n", type=int, default=4, help="how many pictures (4)")
    add("--guidance", type=float, default=5.0, metavar="S", help="s of paper §3.4 (5)")
    add("--temperature", type=float, default=1.0, metavar="T", help="0: no chance (1)")
    add("--seed", type=int, default=0, help="the same seed draws the same pictures (0)")
    add("--out", type=Path, default="grid.png", metavar="PNG", help="file (grid.png)")
    add("--watch", action="store_true", help="write the file anew after each row of codes")
    add_model(new)
    add_released(new)

    new = command(commands, ask)
    new.add_argument("picture", type=Path, help="a picture file")
    new.add_argument("question", help='such as "How many dogs are there?"')
    add_model(new)
    add_released(new)

    new = command(commands, chat)
    add = new.add_argument
    add("pictures", type=Path, nargs="*", help="picture files, before the first question")
    add("--max-tokens", type=steps, metavar="N", help="of an answer (512, or what room is)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0: no chance (0)")
    add("--seed", type=int, default=0, help="the same seed gives the same answers (0)")
    add_model(new)
    add_released(new)


def add_train(commands) -> None:
    """The command that trains a preset, or fine-tunes a model."""
    presets = [name for name in PRESETS if name != "paper"]  # not to be trained here
    add = command(commands, train).add_argument
    add("--preset", choices=presets, default="tiny", help="model and recipe (tiny)")
    add("--out", type=Path, metavar="FOLDER", help="folder (data/runs/PRESET)")
    add("--minutes", type=positive, default=math.inf, metavar="M", help="at most (no end)")
    add("--steps", type=steps, metavar="N", help="at most N a phase; with --model 200")
    data = "a `datasets` folder or hub name (the world); with --model a folder of pictures"
    add("--data", metavar="NAME", help=data)
    tuned = "fine-tune this model in place of a preset, on the pictures in --data"
    add("--model", metavar="NAME_OR_FOLDER", help=tuned)
    add("--only-adaptors", action="store_true", help="with --model: leave the LLM alone")
    add("--lora", type=steps, default=0, metavar="RANK", help="with --model: for the LLM")
    add("--batch", type=steps, default=8, metavar="N", help="with --model: samples (8)")
    add("--rate", type=positive, default=2e-5, metavar="R", help="with --model: (2e-5)")


def add_measures(commands) -> None:
    """The commands that measure: judge, evaluate, parity, tables."""
    add = command(commands, judge).add_argument
    presets = [name for name in PRESETS if name != "paper"]
    add("--preset", choices=presets, default="tiny", help="whose world (tiny)")
    add("--out", type=Path, default=RUNS / "tiny", help="folder (data/runs/tiny)")

    new = command(commands, evaluate)
    add = new.add_argument
    add("--json", type=Path, help="(data/results/scores.json, with --suite mini.json)")
    add("--judge", type=Path, default=TINY_FOLDER, help="its folder (the shipped)")
    add("--suite", metavar="NAME", help="a benchmark in miniature, or mini: all of them")
    add("--shard", metavar="I/N", help="with --suite: the I-th of N parts (1/1)")
    add("--units", type=steps, metavar="N", help="with --suite: only N a part (all)")
    add("--guidance", type=float, metavar="S", help="with --suite: (1.5)")
    add_model(new)
    add_released(new)

    add = command(commands, parity).add_argument
    add(
        "--json", type=Path, help="(data/results/parity.json, with --full parity_full.json)"
    )
    add("--full", action="store_true", help="at the size of Janus 1.3B, in about 20 GB")

    add = command(commands, tables).add_argument
    add("--json", type=Path, help="scores of the suites (data/results/mini.json)")


def make_parser() -> argparse.ArgumentParser:
    """The whole command line; help texts end with the default in brackets."""
    first_line = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser("python -m minijanus", description=first_line)
    parser.add_argument("--version", action=Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_use(commands)
    add_train(commands)

    add = command(commands, ship).add_argument
    add("--run", type=Path, default=RUNS / "tiny", help="folder (data/runs/tiny)")

    add_measures(commands)

    new = command(commands, report)
    new.add_argument("--only", help="one of tables, sheet, answers, curves (all)")
    new.add_argument("--guidance", type=float, default=5.0, metavar="S", help="(5)")
    add_checkpoint(new)
    command(commands, doctor)
    return parser


def guarded(args: argparse.Namespace) -> int:
    """Run a command; tell in one line what a person or the machine did wrong."""
    try:
        from minijanus.lab import UserError
    except ImportError as error:
        if args.command is doctor:
            return doctor(args)  # it says which packages are missing
        print(f"{error}: type `python -m minijanus doctor`.", file=sys.stderr)
        return PROBLEM
    try:
        return args.command(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, RuntimeError, MemoryError) as error:
        if ran_out(error):
            less = "close other programs, or ask for less at once with --n or --batch"
            print(f"the memory that is free does not suffice: {less}.", file=sys.stderr)
        elif isinstance(error, OSError):
            again = "put that right and run the same command again"
            print(f"{error}: {again}.", file=sys.stderr)
        else:
            raise
    return PROBLEM


def main(argv: list[str] | None = None) -> int:
    """The exit code of a command line: 0 done, 1 or 2 a problem, 130 stopped by Ctrl-C."""
    args = make_parser().parse_args(argv)
    try:
        return guarded(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # a console that lacks a character shows ?
    sys.exit(main())
