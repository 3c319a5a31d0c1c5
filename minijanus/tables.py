"""The README's tables, made from the repository itself: files, names, losses, differences.

A test compares the README with what is made here, so that no number in it grows old.
"""

import ast
import csv
import json
import math
import re
from pathlib import Path

from minijanus.config import PRESETS, TRAINS_IN
from minijanus.folders import DATA, REPO, RESULTS, TINY_FOLDER

PAPER_MAP = DATA / "paper_map.csv"
UNTRAINED = "Not trained yet: `make train`, then `python -m minijanus ship` and `report`."

# The order in which a stranger reads.
READING_ORDER = {
    "The model": "config text images siglip vq_network vq_tokenizer adaptors llm heads "
    "janus",
    "From data to a gradient": "records sequence mixing picture_cache loop progress "
    "pretrain vq_losses train",
    "From a prompt to a picture": "sampling cfg_sampler text_sampler given studio",
    "How good is it": "judge judge_training scores geneval_mini answers_mini limits "
    "probes samples evaluate",
    "Every benchmark in miniature": "benchmark reading rows_mini choices_mini suites_mini "
    "drawn_mini frechet languages_mini suites paper_tables radar",
    "The world": "concepts sprites layout scenes language options questions charts corpus "
    "world",
    "The notebooks": "lab figures lessons real check_start check check_stages",
    "Files and tools": "folders checkpoint load doctor memory tables measured sheets "
    "curves report commands commands_measure __main__",
    "The released weights": "names weights released releasing template conversion hub "
    "parts parity finetune",
}
COLUMNS = ("loss", "understanding", "text", "generation")  # of a phase's metrics
# Our tensors: the part of TRAINS_IN they belong to, and the paper's words for them.
NAMES = {
    "und.encoder.": ("und_encoder", "Und. Encoder (Fig. 3); SigLIP (§3.1)"),
    "und.adaptor.": ("und_adaptor", "Und. Adaptor; understanding adaptor"),
    "gen.encoder.": ("gen_encoder", "Gen. Encoder; VQ tokenizer"),
    "gen.embedding.": ("gen_adaptor", "codebook embeddings (§3.1); not in Fig. 3"),
    "gen.adaptor.": ("gen_adaptor", "Gen. Adaptor; generation adaptor"),
    "llm.": ("llm", "LLM; autoregressive transformer"),
    "text_head.": ("text_head", "Text Head; built-in prediction head"),
    "image_head.": ("image_head", "Image Head; randomly initialized prediction head"),
}


def cell(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers stand on the right."""
    columns = zip(*rows, strict=True)
    numbers = [all(re.fullmatch(r"[\d.,]*", v) for v in column) for column in columns]
    rule = ["---:" if number else "---" for number in numbers]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def summary(path: Path) -> str:
    """The first paragraph of a module's docstring: what the file is for."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def files_table() -> str:
    """Every module with its purpose and length, in reading order."""
    named = {m: group for group, names in READING_ORDER.items() for m in names.split()}
    there = [path.stem for path in (REPO / "minijanus").glob("*.py") if path.stat().st_size]
    order = [*named, *sorted(set(there) - set(named))]
    rows, total, last = [], 0, ""
    for path in [REPO / "minijanus" / f"{m}.py" for m in order if m in there]:
        group = named.get(path.stem, "Other")
        lines = len(path.read_text(encoding="utf-8").splitlines())
        name = f"[`{path.name}`]({path.relative_to(REPO).as_posix()})"
        rows.append([group if group != last else "", name, cell(summary(path)), f"{lines}"])
        total, last = total + lines, group
    rows.append(["", "in all", "", f"{total}"])
    return table(["", "File", "What it holds", "Lines"], rows)


def differences(path: Path) -> list[str]:
    """The file's `# Differs:` comments, each joined from its lines."""
    found, open_comment = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        start, mark, rest = line.strip().partition("# Differs:")
        if mark and not start:
            found.append(rest.strip())
        elif open_comment and line.strip().startswith("# "):
            found[-1] += " " + line.strip()[2:]
        open_comment = line.strip().startswith("#") and (open_comment or bool(mark))
    return found


def differs_table() -> str:
    """Every departure from the paper that the source confesses."""
    paths = sorted((REPO / "minijanus").glob("*.py"))
    rows = [[f"`{p.name}`", cell(told)] for p in paths for told in differences(p)]
    return table(["File", "What differs from the paper, and why"], rows)


def names_table() -> str:
    """Each part by the paper's name, ours and the released one, and when it trains."""
    from minijanus.names import RELEASED_NAMES

    rows = []
    for ours, released in RELEASED_NAMES:
        part, words = NAMES[ours]
        stages = ", ".join("I" * number for number in TRAINS_IN[part]) or "never"
        rows.append([words, f"`{part}`", f"`{ours}*`", f"`{released}*`", stages])
    head = ["In the paper", "Part, here", "Tensors, here", "Tensors, released", "Trains in"]
    return table(head, rows)


def presets_table() -> str:
    """What the presets are made of; parameters counted without their memory."""
    import torch

    from minijanus.janus import Janus

    rows = []
    for name, cfg in PRESETS.items():
        with torch.device("meta"):
            janus = Janus(cfg)
        millions = sum(p.numel() for p in janus.parameters()) / 1e6
        llm = f"{cfg.llm_depth} x {cfg.llm_width}"
        numbers = [cfg.image_size, janus.und.n_tokens, janus.gen.n_tokens, cfg.n_codes]
        rows.append([f"`{name}`", *map(str, numbers), llm, str(cfg.vocabulary)])
        rows[-1].append(f"{millions:,.1f}")
    head = ["Preset", "Picture, px", "Tokens to see it", "Tokens to draw it", "Codes"]
    return table([*head, "LLM, layers x width", "Vocabulary", "Million weights"], rows)


def data_table() -> str:
    """The shipped tables: rows, size, columns, licences."""
    from pyarrow import parquet

    rows = []
    for path in sorted(DATA.glob("*.parquet")):
        found = parquet.read_table(path)
        licences = sorted(set(found["license"].to_pylist()))
        size = f"{path.stat().st_size / 1e6:.1f}"
        columns = ", ".join(found.column_names)
        rows.append([f"`data/{path.name}`", f"{len(found)}", size, columns])
        rows[-1].append(", ".join(licences))
    return table(["File", "Rows", "MB", "Columns", "Licences of its rows"], rows)


def losses(folder: Path) -> list[dict]:
    """What each phase's manifest says of the end of that phase; [] before training."""
    from minijanus.load import PHASES

    rows = []
    for path in (folder / f"{phase}.json" for phase in PHASES):
        if path.exists():
            manifest = json.loads(path.read_text(encoding="utf-8"))
            found = {name: round(v, 4) for name, v in manifest["metrics"].items()}
            minutes = round(manifest["seconds"] / 60, 1)
            row = {"phase": path.stem, "preset": manifest["preset"]}
            row |= {"steps": manifest["step"], "minutes": minutes}
            uniform = round(math.log(manifest["config"]["n_codes"]), 4)
            rows.append({**row, "losses": found, "ln_codebook": uniform})
    return rows


def losses_table() -> str:
    """Losses per task at the end of each phase, the uniform guess beside the image's."""
    path = RESULTS / "rerun" / "losses.json"
    again = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    took = {row["phase"]: row["minutes"] for row in again}
    rows = []
    for row in losses(TINY_FOLDER):
        found = dict(row["losses"])
        tasks = [found.pop(name, None) for name in COLUMNS]
        shown = ["" if value is None else f"{value:.3f}" for value in tasks]
        uniform = f"{row['ln_codebook']:.3f}" if shown[-1] else ""
        others = ", ".join(f"{n.replace('_', ' ')} {v:.3f}" for n, v in found.items())
        start = [f"`{row['phase']}`", str(row["steps"]), str(row["minutes"])]
        start += [str(took.get(row["phase"], ""))] if took else []
        rows.append([*start, *shown, uniform, others])
    if not rows:
        return UNTRAINED
    minutes = sum(row["minutes"] for row in losses(TINY_FOLDER))
    once_more = [f"{sum(took.values()):.1f}"] if took else []
    rows.append(["in all", "", f"{minutes:.1f}", *once_more, "", "", "", "", "", ""])
    head = ["Phase", "Steps", "Minutes", *(["Minutes, rerun"] if took else [])]
    head += ["Loss", "Understanding", "Text", "Image tokens", "ln(codebook size)", "Also"]
    return table(head, rows)


def paper_map() -> list[dict[str, str]]:
    """The rows of data/paper_map.csv: section, sentence, where, test, note."""
    with PAPER_MAP.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def paper_table() -> str:
    """What the paper prescribes, where it is here, and which test holds it."""
    rows = []
    for row in paper_map():
        places, tests = (row[name].split() for name in ("where", "test"))
        here = "<br>".join([*(f"`{place}`" for place in places), cell(row["note"])])
        held = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in tests)
        section = row["section"].replace(" ", "&nbsp;")
        rows.append([section, cell(row["sentence"]), here.removesuffix("<br>"), held])
    return table(["Paper", "What it says", "Here", "Test"], rows)


def tables() -> dict[str, str]:
    """Every generated part of the README by its name."""
    from minijanus import measured, paper_tables  # a circle

    mini = paper_tables.measured(RESULTS / "mini.json")
    numbered = {f"table_{n}": paper_tables.numbered_table(n, mini) for n in range(2, 6)}
    return {
        "losses": losses_table(),
        "scores": measured.scores_table(),
        "suites": measured.suites_table(),
        "suite_times": measured.suite_times_table(),
        "languages": measured.languages_table(),
        **numbered,
        "files": files_table(),
        "names": names_table(),
        "presets": presets_table(),
        "differs": differs_table(),
        "data": data_table(),
        "notebooks": measured.notebooks_table(),
        "parity": measured.parity_table(),
        "full_size": measured.full_size_table(),
        "paper": paper_table(),
    }
