"""README.md and the paper map: what they name exists, what they show is up to date."""

import ast
import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from minijanus.__main__ import make_parser
from minijanus.folders import REPO, TINY_FOLDER
from minijanus.report import RESULTS, filled
from minijanus.tables import losses, paper_map, tables

README = (REPO / "README.md").read_text(encoding="utf-8")
WRITTEN = re.sub(
    r"(<!-- generated: \w+ -->).*?<!-- end -->", r"\1", README, flags=re.DOTALL
)
BLOCKS = re.findall(r"^```\w+\n(.*?)^```", WRITTEN, flags=re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```", "", WRITTEN, flags=re.MULTILINE | re.DOTALL)
LINES = [line.partition("   #")[0].strip() for b in BLOCKS for line in b.splitlines()]
SECTIONS = {"3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.3", "4.5"}
SECTIONS |= {"3.3, Eq. 1", "Fig. 3", "fn. 2", "Table 1", "4.2, I", "4.2, II", "4.2, III"}
AGAIN = "type `python -m minijanus report` (--only tables) and commit what it writes"


@cache
def names_in(path: Path) -> set[str]:
    """Functions, classes, methods and constants that a file defines, as Class.name too."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for owner, prefix in [(tree, ""), *((c, f"{c.name}.") for c in classes)]:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            found |= {prefix + t.id for t in targets if isinstance(t, ast.Name)}
    return found


def is_there(place: str) -> bool:
    """Whether `file.py:Name` exists; a file without a folder is one of minijanus/."""
    file, name = place.split(":")
    path = REPO / file if "/" in file else REPO / "minijanus" / file
    return path.exists() and name in names_in(path)


def test_the_tables_are_up_to_date():
    """A table that was made last month tells of files and lines that are gone."""
    assert filled(README, tables()) == README, AGAIN


def test_the_losses_are_those_of_the_shipped_model():
    """Losses of an earlier run beside the checkpoints of a later one."""
    path, found = RESULTS / "losses.json", losses(TINY_FOLDER)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    assert kept == found, AGAIN


def test_links_lead_somewhere():
    """A file that was renamed leaves a dead link, which a newcomer meets first."""
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 40
    missing = [link for link in links if "://" not in link and not (REPO / link).exists()]
    assert not missing, f"{missing}; pictures: {AGAIN.replace('(--only tables) ', '')}"


def test_files_in_the_prose_exist():
    """A path in backticks is as good as a link; capital letters stand for any name."""
    named = re.findall(r"`([\w./]+/[\w./]*)`", PROSE)
    real = [name for name in named if not re.search(r"\b(X|PRESET)\b", name)]
    assert "data/build.py" in real
    assert not [name for name in real if not (REPO / name).exists()]


def test_functions_in_the_prose_exist():
    """The two walks, to a gradient and to a picture, must not lead into the void."""
    places = re.findall(r"`(\w+\.py:[\w.]+)`", PROSE)
    assert len(places) > 20
    assert not [place for place in places if not is_there(place)]


def test_commands_are_understood():
    """An option that was renamed makes the first command a newcomer types fail."""
    lines = [line for line in LINES if line.startswith("python -m minijanus")]
    assert len(lines) >= 5
    for line in lines:
        make_parser().parse_args(shlex.split(line)[3:])  # else it exits
    mentioned = set(re.findall(r"python -m minijanus (\w+)", README))
    known = make_parser().format_help()
    assert not [name for name in mentioned if not re.search(rf"^ +{name}\b", known, re.M)]


def test_make_targets_exist():
    """`make trian` in a README is typed by everyone."""
    known = re.findall(r"^(\w+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE)
    typed = {line.split()[1] for line in LINES if line.startswith("make ")}
    typed |= set(re.findall(r"`make (\w+)[^`]*`", PROSE))
    assert {"lab", "test", "train"} <= typed <= set(known)


def test_pictures_have_alt_text():
    """A picture without a description says nothing to those who cannot see it."""
    alts = re.findall(r"!\[(.*?)\]\(", README)
    assert len(alts) == 4 and "<img" not in README
    assert all(len(alt.split()) >= 5 for alt in alts)


def test_pictures_load_fast():
    """A README of many megabytes is read by nobody on a train."""
    pictures = list(RESULTS.glob("*.png"))
    assert not [path.name for path in pictures if path.stat().st_size >= 1_000_000]


@pytest.mark.parametrize("row", paper_map(), ids=[r["sentence"][:40] for r in paper_map()])
def test_the_paper_map_leads_somewhere(row: dict[str, str]):
    """A function or test that was renamed, a sentence that nothing here answers to."""
    assert list(row) == ["section", "sentence", "where", "test", "note"]
    assert row["section"] in SECTIONS
    words = row["sentence"].split(" ")
    assert len(words) >= 4 and "" not in words, "two spaces, or hardly a sentence"
    assert max(len(part) for w in words for part in re.split(r"\W", w)) < 20, "glued words"
    assert not [place for place in row["where"].split() if not is_there(place)]
    for test in row["test"].split():
        file, name = test.split("::")
        assert name in names_in(REPO / file), test
    here = not row["note"].startswith("Not here: ")
    assert bool(row["where"]) == bool(row["test"]) and (row["where"] or not here)


def test_a_departure_gives_its_reason():
    """One told here but not in the source is missing in the list of differences."""
    silent = set()
    for row in paper_map():
        if note := row["note"]:
            assert re.fullmatch(r"(Differs: .* because|Not here:) \S.*\.", note), note
        if note.startswith("Differs: "):
            files = {place.split(":")[0] for place in row["where"].split()}
            sources = [(REPO / "minijanus" / f).read_text(encoding="utf-8") for f in files]
            if not any(re.search(r"^ *# Differs: ", text, re.M) for text in sources):
                silent.add(f"{row['sentence'][:60]} ({', '.join(sorted(files))})")
    assert not silent, "write a `# Differs:` line into one of these files"


def test_the_paper_map_covers_sections_3_and_4():
    """A section left out would be one nobody compared with."""
    told = {row["section"] for row in paper_map()}
    assert told == SECTIONS
    sentences = [row["sentence"] for row in paper_map()]
    assert len(set(sentences)) == len(sentences)
