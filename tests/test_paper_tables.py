"""Tables 2 to 5 and the radar: the paper's numbers are the paper's, ours are marked."""

import csv
import json
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from minijanus import paper_tables
from minijanus import radar as radar_module
from minijanus.__main__ import main
from minijanus.lab import UserError
from minijanus.paper_tables import MEASURES, measured, numbered_table, ours, paper_rows
from minijanus.radar import AXES, LINES, OUR_LINE, radar, radar_lines

REPO = Path(__file__).parents[1]
OURS = "minijanus tiny (mini)"
PAPER = REPO.parent / "shared" / "reference" / "paper.txt"
# Typed by hand from the paper: what stands in Janus' rows, and all of Table 5.
JANUS = {
    2: "POPE 87.0, MME-P 1338.0, MMB 69.4, SEED 63.7, VQAv2 77.3, GQA 59.1, MMMU 30.5, "
    "MM-Vet 34.3",
    3: "Single Obj. 0.97, Two Obj. 0.68, Counting 0.30, Colors 0.84, Position 0.46, "
    "Color Attri. 0.42, Overall 0.61",
    4: "COCO-30K 8.53, MJHQ-30K 10.10",
}
TABLE_5 = """
| A | VQ Tokenizer | Und. + Gen. | 60.1 | 35.0 | 34.9 | 24.7 | 8.72 |
| B | SE. Tokenizer | Und. + Gen. | 82.4 | 52.7 | 54.9 | 26.6 | 7.11 |
| C | SE. Tokenizer | Und. | 83.9 | 62.1 | 60.8 | 27.5 | - |
| D | SigLIP + VQ (Ours) | Und. + Gen. | 87.0 | 69.4 | 63.7 | 30.5 | 8.53 |
| E | SigLIP | Und. | 85.9 | 70.6 | 64.8 | 28.8 | - |
| F | VQ Tokenizer | Gen. | - | - | - | - | 8.92 |
"""


def score(value: float, ceiling: float = 1.0) -> dict:
    """A score as scores.json has it, its interval 0.125 to each side."""
    found = {"value": value, "low": value - 0.125, "high": value + 0.125, "floor": 0.0}
    return {**found, "ceiling": ceiling, "n": 8, "conditions": "none"}


# Every measure has a value of its own, so that a swap of two columns is seen.
ALL = [name for measures in MEASURES.values() for name in measures.values()]
SCORES = {name: score(0.25 + 0.01 * place) for place, name in enumerate(ALL)}
SCORES["mme_mini.points"] = score(612.5, 1000.0)


def printed(table: str, measure: str, model: str, size: str = "1.3B") -> float:
    """A number of the CSV, read without the module under test."""
    with (REPO / "data" / "paper_tables.csv").open(encoding="utf-8", newline="") as file:
        wanted = (table, measure, model, size)
        keys = ("table", "measure", "model", "parameters")
        [value] = [
            row["value"]
            for row in csv.DictReader(file)
            if tuple(row[k] for k in keys) == wanted
        ]
    return float(value)


def cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table."""
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def read(made: str) -> tuple[list[str], list[list[str]]]:
    """The head of a Markdown table, and its rows."""
    head, _, *rows = [cells(line) for line in made.splitlines() if line.startswith("|")]
    return head, rows


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not beside the repo")
def test_every_row_is_a_line_of_the_paper():
    """A digit typed wrong, a value under the next column, two models swapped."""
    text = PAPER.read_text(encoding="utf-8").replace(
        "\N{MATHEMATICAL ITALIC SMALL ALPHA}", "α"
    )
    plain = [re.sub(r"\[\d+\]", "", line).replace(" ", "") for line in text.splitlines()]
    models: dict[tuple[str, str, str], list[str]] = {}
    for row in paper_rows():
        key = row["table"], row["model"], row["parameters"]
        models.setdefault(key, []).append(row["value"] or "-")
    places = []
    for (table, model, size), values in models.items():
        name = model.replace(" ", "").replace(":", "")  # Table 5: "A: VQ Tokenizer"
        task = r"Und\.(\+Gen\.)?|Gen\." if table == "5" else ""
        end = re.escape("".join(values))
        pattern = (
            rf"(Und\.Only|Gen\.Only|Und\.andGen\.)?{re.escape(name)}({task}){size}{end}"
        )
        found = [i for i, line in enumerate(plain) if re.fullmatch(pattern, line)]
        assert len(found) == 1, (table, model, size, values)
        places += found
    assert places == sorted(places), "the rows do not stand in the paper's order"


def test_no_row_is_missing_or_twice():
    """A model left out where the paper's text is not there to compare with."""
    counts = {number: len(read(numbered_table(number, {}))[1]) for number in (2, 3, 4)}
    assert counts == {2: 23 + 1, 3: 13 + 1, 4: 17 + 1}
    assert len(read(numbered_table(5, {}))[1]) == 6 + 6
    keys = [tuple(row.values())[:5] for row in paper_rows()]
    assert len(keys) == len(set(keys)) == 23 * 8 + 13 * 7 + 17 * 2 + 6 * 5


@pytest.mark.parametrize("number", JANUS)
def test_janus_has_the_numbers_of_the_paper(number: int):
    """Columns in another order than their heads: the most read row would tell wrongly."""
    head, rows = read(numbered_table(number, {}))
    [row] = [row for row in rows if row[1] == "Janus (Ours)"]
    told = {name.rstrip(" ↑↓"): text for name, text in zip(head, row, strict=True)}
    assert told["# LLM Params" if number == 2 else "# Params"] == "1.3B"
    for pair in JANUS[number].split(", "):
        measure, value = pair.rsplit(" ", 1)
        assert told[measure] == value


def test_groups_begin_where_the_papers_do():
    """A model under the wrong heading would pass for one that also draws, or only draws."""
    first = {2: ("Und. Only", "LLaVA-v1.5-Phi-1.5", "Und. and Gen.", "DreamLLM †")}
    first[3] = ("Gen. Only", "LlamaGen", "Und. and Gen.", "SEED-X †")
    first[4] = ("Gen. Only", "DALL·E", "Und. and Gen.", "Emu †")
    for number, names in first.items():
        _, rows = read(numbered_table(number, {}))
        found = [text for row in rows if row[0] for text in row[:2]]
        assert tuple(found) == (*names, "not comparable", f"**{OURS}**")


def test_table_5_is_the_papers_then_ours_not_run():
    """Ours filled with the paper's numbers, or a promise where nothing can be measured."""
    head, rows = read(numbered_table(5, {}))
    assert rows[:6] == [cells(line) for line in TABLE_5.strip().splitlines()]
    assert head[3:] == ["POPE ↑", "MMB ↑", "SEED ↑", "MMMU ↑", "COCO-FID ↓"]
    for paper, own in zip(rows[:6], rows[6:], strict=True):
        assert own[0] == f"{paper[0]} (mini)" and OURS in own[1] and "Ours" not in own[1]
        assert own[2] == paper[2]
        assert own[3:] == ["-" if text == "-" else "not yet run" for text in paper[3:]]


def test_the_papers_claims_follow_from_its_tables_or_do_not():
    """The "30 %" on GQA repeated as a fact: by the paper's own numbers it is 21 %."""

    def gain(measure: str) -> int:
        """Percent by which Janus is above Show-o."""
        ratio = printed("2", measure, "Janus (Ours)") / printed("2", measure, "Show-o")
        return round(100 * (ratio - 1))

    assert gain("MME-P") == 41 == round(100 * (1338 / 949 - 1))
    assert gain("GQA") == 21 == round(100 * (59.1 / 48.7 - 1))  # paper §4.4 says 30
    assert printed("2", "MME-P", "Show-o") == 948.4  # which the text calls 949
    for measure in ("POPE", "MMB", "SEED", "MM-Vet"):
        seven = printed("2", measure, "LLaVA-v1.5", "7B")
        assert printed("2", measure, "Janus (Ours)") > seven
    for model, size in {"Show-o": "1.3B", "SDXL": "2.6B", "DALL-E 2": "6.5B"}.items():
        assert printed("3", "Overall", model, size) < 0.61


def test_exp_d_is_the_model_of_the_other_tables():
    """Table 5's D is Janus: a digit that differs between two tables is a slip."""
    same = {"POPE": "2", "MMB": "2", "SEED": "2", "MMMU": "2", "COCO-30K": "4"}
    for measure, table in same.items():
        name = "COCO-FID" if table == "4" else measure
        d = printed("5", name, "D: SigLIP + VQ (Ours)", "")
        assert d == printed(table, measure, "Janus (Ours)"), measure


def test_our_scores_stand_in_their_columns_and_units(monkeypatch):
    """A score under its neighbour's head, a share where the column is in percent."""
    monkeypatch.setattr(paper_tables, "our_size", lambda preset: "3.0M")  # counted once
    expected = {
        2: "37.5 [25.0, 50.0]",
        3: "0.38 [0.25, 0.50]",
        4: "0.38 [0.25, 0.50] (real: 1.00)",
    }
    for number, measures in MEASURES.items():
        for column, name in measures.items():
            head, rows = read(numbered_table(number, {name: score(0.375)}))
            there = [h for h, v in zip(head, rows[-1], strict=True) if "[" in v]
            if column == "MME-P":
                assert there == ["MME-P ↑"]
                continue
            [shown] = [v for v in rows[-1] if "[" in v]
            assert shown == expected[number], name
            kind = {"COCO-30K": "captions", "MJHQ-30K": "categories"}.get(column)
            told = f"FD-mini, {kind} (not FID) ↓" if kind else f"{column} ↑"
            assert there == [told]
            assert rows[-1].count("not measured") == len(measures) - 1
    head, rows = read(numbered_table(2, SCORES))
    assert rows[-1][head.index("MME-P ↑")] == "612.5 of 1000 [612.4, 612.6]"


def test_our_distance_is_never_under_fid():
    """Ours beside 8.53 in one column would be read as FID."""
    head, rows = read(numbered_table(4, SCORES))
    assert head[3:5] == ["COCO-30K ↓", "MJHQ-30K ↓"] and rows[-1][3:5] == ["-", "-"]
    assert all("not FID" in name for name in head[5:])
    assert all(row[5:] == ["-", "-"] for row in rows[:-1])


def test_the_scores_say_whose_they_are():
    """Catches the scores of `small` under the name and the size of `tiny`."""
    small = {name: {**one, "preset": "small"} for name, one in SCORES.items()}
    assert ours(small) == "minijanus small (mini)" and ours(SCORES) == ours({}) == OURS
    (*_, by_tiny), (*_, by_small) = (read(numbered_table(2, s))[1] for s in (SCORES, small))
    assert by_small[1] == "**minijanus small (mini)**" and by_small[2] != by_tiny[2]
    assert by_small[3:] == by_tiny[3:]
    assert "minijanus small (mini)" in radar_lines(small)


def test_a_score_without_interval_is_shown_without():
    """A crash, or "[None, None]", for a measure that has no interval."""
    alone = {"fd_mini.captions": {**score(31.25), "low": None, "high": None}}
    shown = read(numbered_table(4, alone))[1][-1][5:]
    assert shown == ["31.25 (real: 1.00)", "not measured"]


@pytest.mark.parametrize("number", (2, 3, 4, 5))
def test_every_table_says_that_ours_is_not_comparable(number: int):
    """A table that is copied alone must carry the sentence with it."""
    for scores in ({}, SCORES):
        made = numbered_table(number, scores)
        assert "(mini)" in made.splitlines()[-3]
        assert "**not comparable**" in made.splitlines()[-1]


def test_what_cannot_be_used_is_told_in_words(tmp_path: Path):
    """A traceback instead of what to do; a missing file is no error."""
    assert measured(tmp_path / "scores.json") == {}
    (tmp_path / "scores.json").write_text('{"half": ')
    with pytest.raises(UserError, match="no file of scores"):
        measured(tmp_path / "scores.json")
    with pytest.raises(UserError, match="no table 1"):
        numbered_table(1, {})


def test_the_lines_of_the_radar_are_the_papers():
    """A value on the wrong axis; a 0 where a model has none, which draws it as bad."""
    lines = dict(radar_lines(SCORES))
    found = lines.pop(OURS)
    assert len(lines) == 5 and len(AXES) == 9
    nan = math.nan
    expected = {
        "Janus (1.3B)": [87.0, 1338.0, 69.4, 34.3, 63.7, 59.1, 30.5, 0.61, 77.3],
        "Show-o (1.3B)": [73.8, 948.4, nan, nan, nan, 48.7, 25.1, 0.53, 59.3],
        "InstructBLIP (7B)": [nan, nan, 36.0, 26.2, 53.4, 49.2, nan, nan, nan],
    }
    for name, values in expected.items():
        assert lines[name] == pytest.approx(values, nan_ok=True), name
    assert found[0] == pytest.approx(100 * SCORES["pope_mini.random"]["value"])
    assert found[1] == 2 * 612.5  # of 1,000 points, where MME has 2,000
    assert found[7] == SCORES["geneval_mini.overall"]["value"]
    assert all(math.isnan(value) for value in radar_lines({})[OURS])


def test_lines_differ_without_their_colours():
    """Two lines that only a colour tells apart are one line to some in the room."""
    colours, dashes, markers, _ = zip(*LINES.values(), OUR_LINE, strict=True)
    assert len(set(colours)) == len(set(markers)) == 6
    assert dashes.count("--") == 1 and OUR_LINE[1] == "--"


def test_the_radar_is_a_picture_with_and_without_scores(tmp_path: Path, monkeypatch):
    """A crash before anything is measured; our line not drawn; half a file left behind."""
    radar({}, tmp_path / "new" / "none.png")
    radar(SCORES, tmp_path / "new" / "all.png")
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["all.png", "none.png"]
    pictures = []
    for file in files:
        with Image.open(file) as picture:
            assert picture.format == "PNG" and min(picture.size) >= 700
            pictures.append(picture.convert("RGB").tobytes())
    assert pictures[0] != pictures[1]

    class Torn:
        """A picture whose writing stops halfway."""

        def save(self, path: Path, format: str, optimize: bool) -> None:
            path.write_bytes(b"half")
            raise OSError("disk full")

    before = files[0].read_bytes()
    monkeypatch.setattr(radar_module, "small_picture", lambda *given: Torn())
    with pytest.raises(UserError):
        radar(SCORES, files[0])
    assert files[0].read_bytes() == before and len(list(files[0].parent.iterdir())) == 2


def test_the_command_prints_all_four_and_says_where(tmp_path: Path, capsys, monkeypatch):
    """A table left out, a file that nobody finds, no word that nothing is measured."""
    drawn = []
    monkeypatch.setattr(radar_module, "radar", lambda *given: drawn.append(given))
    command = ["tables", "--json", str(tmp_path / "scores.json")]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "python -m minijanus evaluate" in told and "not measured" in told
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    assert main(command) == 0
    told = capsys.readouterr().out
    assert all(f"Table {number}\n" in told for number in (2, 3, 4, 5))
    assert "not measured" not in told and "evaluate" not in told
    assert told.rstrip().endswith(str(tmp_path / "radar.png"))
    assert drawn == [({}, tmp_path / "radar.png"), (SCORES, tmp_path / "radar.png")]
