"""Run each notebook from a cold start and save it with its outputs, links and times.

python data/run_notebooks.py [NUMBER ...]
Writes data/results/notebook_times.json, which the README's table and the headers show.
"""

import argparse
import json
import math
import re
import time
from datetime import datetime
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from minijanus.checkpoint import write_text
from minijanus.folders import REPO, RESULTS

FOLDER = REPO / "notebooks"
TIMES = RESULTS / "notebook_times.json"
MOST = 60  # seconds a cell, as in `make test`
LINKS = re.compile(r"^(← )?\[\d\d · .*\Z", re.MULTILINE)
RUNS_IN = re.compile(r"\*runs in\* .*? on two CPU cores")


def title(path: Path) -> str:
    """A notebook's title without what follows the colon: "07 · Stage I"."""
    first = nbformat.read(path, 4).cells[0].source.splitlines()[0]
    return first.removeprefix("# ").split(":")[0]


def links(paths: list[Path], place: int) -> str:
    """The last line of a notebook: back, to the index, forward."""
    parts = []
    if place:
        before = paths[place - 1]
        parts += [f"← [{title(before)}]({before.name})"]
        parts += [f"[index]({paths[0].name}#The-map)"]
    if place + 1 < len(paths):
        after = paths[place + 1]
        parts += [f"[{title(after)}]({after.name}) →"]
    return " · ".join(parts)


def rounded(seconds: float) -> str:
    """A time as a header says it: up to the next five seconds, or minute."""
    if seconds <= 55:
        return f"{5 * math.ceil(seconds / 5)} s"
    return f"{math.ceil(seconds / 60)} min"


def took(cell: nbformat.NotebookNode) -> float:
    """Seconds a cell ran; the record of it is taken away."""
    times = cell.metadata.pop("execution")
    begin, end = times["iopub.status.busy"], times["iopub.status.idle"]
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def run(path: Path, last_line: str) -> dict[str, float]:
    """Run one notebook, save it, and return what its times were, in seconds."""
    notebook = nbformat.read(path, 4)
    last = notebook.cells[-1]
    last.source = LINKS.sub("", last.source).rstrip() + "\n\n" + last_line
    client = NotebookClient(
        notebook, timeout=MOST, resources={"metadata": {"path": FOLDER}}
    )
    start = time.perf_counter()
    client.execute()
    total = round(time.perf_counter() - start, 1)  # as the table will say it
    cells = [took(cell) for cell in notebook.cells if "execution" in cell.metadata]
    head = notebook.cells[0]
    head.source = RUNS_IN.sub(f"*runs in* {rounded(total)} on two CPU cores", head.source)
    write_text(path, nbformat.writes(notebook) + "\n")
    first = total - sum(cells[1:])  # the kernel's start and the setup cell
    return {"cells": len(cells), "start": first, "longest": max(cells), "total": total}


def main() -> None:
    """Run those named, or all; keep the times of the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("numbers", nargs="*", type=int, help="of notebooks; by default all")
    wanted = parser.parse_args().numbers
    paths = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    times = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
    for place, path in enumerate(paths):
        if wanted and place not in wanted:
            continue
        found = run(path, links(paths, place))
        times[path.name] = {name: round(value, 1) for name, value in found.items()}
        print(path.name, times[path.name])
        kept = {p.name: times[p.name] for p in paths if p.name in times}
        write_text(TIMES, json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
