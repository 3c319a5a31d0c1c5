"""`python -m minijanus report`: the README's pictures, losses and tables, all made anew."""

import json
import re
from pathlib import Path

from minijanus.checkpoint import write_text
from minijanus.folders import REPO, RESULTS, TINY_FOLDER
from minijanus.lab import UserError
from minijanus.tables import losses, tables

README = REPO / "README.md"
PARTS = ("tables", "sheet", "answers", "curves")
GENERATED = re.compile(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(readme: str, made: dict[str, str]) -> str:
    """The README with what stands between `<!-- generated: NAME -->` and end made anew.

    ValueError if a table has no place or a place no table.
    """
    if missing := made.keys() ^ set(GENERATED.findall(readme)):
        names = ", ".join(sorted(missing))
        raise ValueError(f"{names}: a table and its place in README.md need the same name.")

    def anew(found: re.Match) -> str:
        return f"<!-- generated: {found[1]} -->\n\n{made[found[1]]}\n\n<!-- end -->"

    return GENERATED.sub(anew, readme)


def write_tables() -> None:
    """Write losses.json, if there is a trained model, and the README with its tables."""
    if found := losses(TINY_FOLDER):
        write_text(RESULTS / "losses.json", json.dumps(found, indent=1) + "\n")
    made = tables()
    write_text(README, filled(README.read_text(encoding="utf-8"), made))
    print(f"{README.name}: {len(made)} tables")


def main_report(
    folder: Path = TINY_FOLDER,
    only: str | None = None,
    guidance: float = 5.0,
    out: Path = RESULTS,
) -> None:
    """Make the pictures from the model in `folder`, then the README's tables.

    `only` is one of PARTS; the tables always speak of the shipped model.
    """
    if only not in (None, *PARTS):
        raise UserError(f"there is no part {only}: choose one of {', '.join(PARTS)}.")
    from minijanus.curves import save_curves
    from minijanus.sheets import save_answers, save_contact_sheet

    if only in (None, "sheet"):
        print(save_contact_sheet(folder, out, guidance))
    if only in (None, "answers"):
        print(save_answers(folder, out))
    if only in (None, "curves"):
        print(save_curves(folder, out))
    if only in (None, "tables"):
        write_tables()
