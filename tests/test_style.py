"""The style of the package, where a test can hold it: size, plain idioms, references."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
FILES = sorted((REPO / "minijanus").glob("*.py"))
ids = [file.name for file in FILES]
every_file = pytest.mark.parametrize("file", FILES, ids=ids)

FORBIDDEN = {
    r"\.cuda\(": "tensors are made on lab.device()",
    r"\.(view|permute|transpose)\(": "axes move with einops' rearrange",
    r"import \*": "a reader must see where a name comes from",
    r"\b(TODO|FIXME|XXX|NotImplementedError)\b": "what is here works",
    r"weights_only=False|\bimport (pickle|dill)\b": "no file may run code when it is read",
    r"\bos\.(environ|getenv)\b": "only lab.py reads the environment",
    r"self\.\w+ = lambda": "a lambda on a module cannot be pickled or shown",
    r"def .*\*\*\w+": "an argument passed through is an argument nobody reads",
}
EXEMPT = {("lab.py", r"\bos\.(environ|getenv)\b")}

# What the paper has: sections, figures, tables, footnotes, appendices and one equation.
SECTIONS = {"1", "2", "2.1", "2.2", "2.3", "3", "4", "5"}
SECTIONS |= {f"3.{i}" for i in range(1, 6)} | {f"4.{i}" for i in range(1, 7)}
EXISTING = {f"§{section}" for section in SECTIONS} | {"Eq. 1"}
EXISTING |= {f"Fig. {i}" for i in range(1, 10)} | {f"Table {i}" for i in range(1, 6)}
EXISTING |= {f"fn. {i}" for i in range(1, 4)} | {f"ref. [{i}]" for i in range(1, 97)}
EXISTING |= {f"Appendix {part}" for part in ("A", "A.1", "A.2", "A.3", "B")}
EXISTING |= {"stage I", "stage II", "stage III"}  # the paragraphs of §4.2


def source(file: Path) -> str:
    """The file's text."""
    return file.read_text(encoding="utf-8")


def functions(file: Path) -> list[ast.FunctionDef]:
    """Every function and method of the file."""
    return [n for n in ast.walk(ast.parse(source(file))) if isinstance(n, ast.FunctionDef)]


def unknown_references(text: str) -> list[str]:
    """The parts of "(paper ...)" that name nothing in the paper."""
    found = re.findall(r"\(paper ([^()]*)\)", re.sub(r"\s*\n\s*(# )?", " ", text))
    parts = [part for reference in found for part in re.split(r", | and |; ", reference)]
    return [part for part in parts if part not in EXISTING]


@every_file
def test_a_file_can_be_held_in_the_head(file: Path):
    """A file of a thousand lines is one that nobody reads from start to end."""
    assert len(source(file).splitlines()) <= 250


@every_file
def test_a_function_fits_on_a_projector(file: Path):
    """A function that scrolls cannot be followed in a notebook."""
    long = [f.name for f in functions(file) if f.end_lineno - f.lineno >= 60]
    assert not long


@every_file
@pytest.mark.parametrize("pattern", FORBIDDEN, ids=FORBIDDEN.get)
def test_nothing_forbidden_is_used(file: Path, pattern: str):
    """Each of these idioms hides shapes, devices, state or danger from the reader."""
    if (file.name, pattern) not in EXEMPT:
        lines = source(file).splitlines()
        assert not [line for line in lines if re.search(pattern, line)], FORBIDDEN[pattern]


@every_file
def test_torch_load_cannot_run_code(file: Path):
    """A checkpoint from a stranger is data, not a program."""
    for call in re.findall(r"torch\.load\([^\n]*", source(file)):
        assert "weights_only=True" in call


@every_file
def test_what_is_public_has_a_sentence(file: Path):
    """A name alone does not say shapes, units or what is refused; forward's class does."""
    tree = ast.parse(source(file))
    if not tree.body:
        return  # __init__.py is empty
    owners = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]
    public = [tree] + [
        node
        for owner in owners
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and node.name != "forward"
    ]
    for node in public:
        first = (ast.get_docstring(node) or "").split("\n\n")[0]
        assert first.endswith((".", "?", ":")), getattr(node, "name", file.name)


@every_file
def test_references_name_what_the_paper_has(file: Path):
    """A reference to a §3.7 or an Eq. 4 that does not exist sends a reader astray."""
    assert not unknown_references(source(file))


@every_file
def test_a_difference_gives_its_reason_in_a_sentence(file: Path):
    """README's table of differences is made of these lines."""
    comments = re.sub(r"\n\s*# (?!Differs:)", " ", source(file))
    for told in re.findall(r"^\s*# Differs:(.*)", comments, flags=re.MULTILINE):
        assert re.fullmatch(r" \S.*\.", told) and len(told.split()) >= 6, told


def test_the_package_file_is_empty():
    """Importing one idea must not import them all."""
    assert source(REPO / "minijanus" / "__init__.py") == ""


def test_the_reference_check_sees_what_is_wrong():
    """A pattern that matches nothing would pass everything."""
    good = "Loss (paper §3.3, Eq. 1), guidance (paper fn. 2), both (paper\n    Fig. 3)."
    assert unknown_references(good) == []
    bad = "(paper §3.7) (paper Eq. 4, §4.1) # (paper\n    # section 3) (paper Fig. 10)"
    assert unknown_references(bad) == ["§3.7", "Eq. 4", "section 3", "Fig. 10"]
