"""What the commands that measure do: evaluate, judge, parity, report, tables.

Each imports what it needs when it runs, so that --help answers at once.
"""

import argparse

from minijanus.commands import model_of
from minijanus.config import PRESETS
from minijanus.folders import RESULTS

GUIDANCE = 1.5  # of suites of drawings, what `evaluate` chooses for `tiny`


def report(args: argparse.Namespace) -> int:
    """Make the README's pictures and tables anew."""
    from minijanus.report import main_report

    main_report(args.checkpoint, args.only, args.guidance)
    return 0


def judge(args: argparse.Namespace) -> int:
    """Train the judge of drawings of a preset's world, or go on where that stopped."""
    from minijanus.judge_training import train_judge
    from minijanus.lab import device

    train_judge(PRESETS[args.preset], args.out, device())
    print(f"{args.out} holds the judge")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Measure a model's drawings and answers and write the scores as JSON."""
    from minijanus.evaluate import evaluate as measure
    from minijanus.lab import UserError

    if args.suite:
        found = suites(args)
    elif args.shard or args.units or args.guidance is not None:
        raise UserError("--shard, --units and --guidance are for suites: add --suite mini.")
    elif args.model or args.phase != "stage3":
        raise UserError("--model and --phase are measured by suites: add --suite mini.")
    else:
        out = args.json or RESULTS / "scores.json"
        found = measure(args.checkpoint, args.judge, out)
    for name, one in found.items():
        low, high = one["low"], one["high"]
        print(f"{name:28} {one['value']:.3f}  [{low:.3f}, {high:.3f}]  n {one['n']}")
    return 0


def suites(args: argparse.Namespace) -> dict[str, dict]:
    """Run the benchmarks in miniature that --suite names, or what is left of them."""
    from minijanus.lab import UserError
    from minijanus.suites import run_suites, shard_of

    if args.model is None and not args.phase.startswith("stage"):
        raise UserError(
            f"the model after {args.phase} neither sees nor draws: choose --phase stage1, "
            "stage2 or stage3."
        )
    if args.units and args.json is None:
        raise UserError("--units only tries a suite: name a file for it with --json.")
    shard = shard_of(args.shard or "1/1")
    guidance = GUIDANCE if args.guidance is None else args.guidance
    out = args.json or RESULTS / "mini.json"
    how = (args.judge, guidance, out, shard, args.units)
    return run_suites(args.suite, model_of(args), *how)


def parity(args: argparse.Namespace) -> int:
    """Compare every part with transformers' port of Janus, on random weights."""
    import json

    from minijanus.checkpoint import write_text
    from minijanus.parity import parity as compare

    found = compare(args.full)
    name = "parity_full.json" if args.full else "parity.json"
    out = args.json or RESULTS / name
    write_text(out, json.dumps(found, indent=1) + "\n")
    for row in found["rows"]:
        held = "holds" if row["holds"] else "FAILS"
        told = f"{row['error']:.1e} (at most {row['bound']:.0e})"
        print(f"{held}  {row['part']:36} {told}  against: {row['against']}")
    return 0 if all(row["holds"] for row in found["rows"]) else 1


def tables(args: argparse.Namespace) -> int:
    """Print Tables 2 to 5 of the paper with our own rows, and draw Figure 1's radar."""
    from minijanus.paper_tables import NOTES, measured, numbered_table
    from minijanus.radar import radar

    path = args.json or RESULTS / "mini.json"
    scores = measured(path)
    if not path.exists():
        print(f"{path} is not there: `python -m minijanus evaluate` makes it.\n")
    for number in NOTES:
        print(f"Table {number}\n\n{numbered_table(number, scores)}\n")
    radar(scores, path.with_name("radar.png"))  # beside the scores that it shows
    print(path.with_name("radar.png"))
    return 0
