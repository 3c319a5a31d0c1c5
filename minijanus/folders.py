"""Where data lies and results go in a clone of the repository; nothing else is imported."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
DATA = REPO / "data"
RESULTS = DATA / "results"
RUNS = DATA / "runs"  # ignored by git
SHIPPED = DATA / "checkpoints"  # a folder for each preset that came with the clone
TINY_FOLDER = SHIPPED / "tiny"
