"""The README's tables: what they say of the source is true."""

import json
from pathlib import Path

from minijanus import tables
from minijanus.config import TRAINS_IN
from minijanus.folders import REPO
from minijanus.janus import Janus
from minijanus.report import filled
from minijanus.tables import NAMES, READING_ORDER


def test_every_module_has_its_place_in_the_reading_order():
    """A new file would stand under "Other", where nobody looks for it."""
    named = [name for names in READING_ORDER.values() for name in names.split()]
    there = {p.stem for p in (REPO / "minijanus").glob("*.py")} - {"__init__"}
    assert set(named) == there, "name the file in tables.READING_ORDER"
    assert len(named) == len(set(named))


def test_names_are_those_of_the_model(janus: Janus):
    """A prefix under the wrong part would say that it trains when it does not."""
    parts = janus.parts()
    assert {part for part, _ in NAMES.values()} == set(parts) == set(TRAINS_IN)
    for name, parameter in janus.named_parameters():
        [part] = [part for prefix, (part, _) in NAMES.items() if name.startswith(prefix)]
        assert any(parameter is own for own in parts[part].parameters()), name


def test_differences_are_joined_from_their_lines(tmp_path: Path):
    """Half a sentence, or the next comment glued to it."""
    path = tmp_path / "some.py"
    path.write_text(
        '"""A docstring with `# Differs:` in it."""\n'
        "# Differs: one, because\n# of two.\nx = 1\n"
        "# why\n    # Differs: three.\n\n    # another\n"
        'y = "# Differs: no comment"  # Differs: not a line of its own\n'
    )
    assert tables.differences(path) == ["one, because of two.", "three."]


def test_the_files_table_says_what_is_in_the_file(tmp_path: Path):
    """A first sentence cut in two, or lines counted wrong."""
    path = tmp_path / "some.py"
    path.write_text('"""Two lines make\none (paper §3.1).\n\nAnd more.\n"""\n')
    assert tables.summary(path) == "Two lines make one (paper §3.1)."
    source = (REPO / "minijanus" / "heads.py").read_text(encoding="utf-8")
    [row] = [r for r in tables.files_table().splitlines() if "`heads.py`" in r]
    assert row.endswith(f"| {source.count(chr(10))} |")


def test_losses_are_read_from_the_manifests(tmp_path: Path, monkeypatch):
    """A column of another task, or ln(codebook size) beside a phase without pictures."""
    assert tables.losses(tmp_path) == []
    monkeypatch.setattr(tables, "TINY_FOLDER", tmp_path)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "make train" in tables.losses_table()
    manifest = {"preset": "micro", "step": 7, "seconds": 90.0, "config": {"n_codes": 1024}}
    stage = {"loss": 3.5, "understanding": 1.25, "text": 2.5, "generation": 4.5}
    for phase, metrics in {
        "vq": {"loss": 0.5, "codes_in_use": 0.75},
        "stage2": stage,
    }.items():
        text = json.dumps({**manifest, "metrics": metrics})
        (tmp_path / f"{phase}.json").write_text(text)
    _, _, vq, stage2, total = tables.losses_table().splitlines()
    assert vq == "| `vq` | 7 | 1.5 | 0.500 |  |  |  |  | codes in use 0.750 |"
    assert stage2 == "| `stage2` | 7 | 1.5 | 3.500 | 1.250 | 2.500 | 4.500 | 6.931 |  |"
    assert "| 3.0 |" in total
    again = [{"phase": "vq", "minutes": 2.0}, {"phase": "stage2", "minutes": 2.5}]
    (tmp_path / "rerun").mkdir()
    (tmp_path / "rerun" / "losses.json").write_text(json.dumps(again))
    _, _, vq, stage2, total = tables.losses_table().splitlines()
    assert vq.startswith("| `vq` | 7 | 1.5 | 2.0 | 0.500 |")
    assert stage2.startswith("| `stage2` | 7 | 1.5 | 2.5 | 3.500 |")
    assert total.startswith("| in all |  | 3.0 | 4.5 |")


def test_cells_show_what_they_hold():
    """`<image>` taken for HTML disappears; a bar splits the row."""
    assert tables.cell("<image> a|b & c") == "&lt;image> a\\|b &amp; c"
    made = tables.table(["a", "b"], [["x", "1.5"], ["y", ""]])
    assert made == "| a | b |\n| --- | ---: |\n| x | 1.5 |\n| y |  |"


def test_only_what_is_between_the_marks_changes():
    """A greedy pattern would swallow the prose between two tables."""
    readme = (
        "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n"
        "<!-- generated: y -->\n<!-- end -->\n"
    )
    made = filled(readme, {"x": "new \\1", "y": "|"})
    assert made == (
        "a\n<!-- generated: x -->\n\nnew \\1\n\n<!-- end -->\nb\n"
        "<!-- generated: y -->\n\n|\n\n<!-- end -->\n"
    )
    assert filled(made, {"x": "new \\1", "y": "|"}) == made
