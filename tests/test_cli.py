"""The command line: each command does what it says, and starts fast."""

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import DESCRIBE, MICRO, MicroSource
from micro_run import CommandLine, save_run
from PIL import Image
from safetensors.torch import load_file

from minijanus import (
    checkpoint,
    commands,
    doctor,
    load,
    pretrain,
    studio,
    text_sampler,
    train,
)
from minijanus.config import TINY, differing_fields
from minijanus.folders import REPO, RUNS, TINY_FOLDER
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.load import PHASES
from minijanus.text import Tokenizer

QUESTION = "what is this?"
SIDE = 3 * MICRO.image_size  # of a picture in the grid


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """The folder of a finished micro run; tests only read it."""
    return save_run(tmp_path_factory.mktemp("run"), tokenizer)


@pytest.fixture
def minijanus(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line."""
    return CommandLine(capsys, monkeypatch)


def process(*arguments: str) -> subprocess.CompletedProcess:
    """The real command line, or other Python code, in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPO, capture_output=True, text=True, timeout=60
    )


def test_help_and_version_do_not_wait_for_torch():
    """One import of lab.py at the top of __main__.py makes --help take seconds."""
    code = (
        "import sys; from minijanus.__main__ import main\n"
        "for flag in ('--help', '--version'):\n"
        "    try: main([flag])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'PIL', 'datasets'} & set(sys.modules)"
    )
    done = process("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(command in done.stdout for command in ("draw", "ask", "train", "doctor"))
    assert "minijanus 0." in done.stdout


def test_a_process_draws_without_importing_datasets(run: Path, tmp_path: Path):
    """`datasets`, matplotlib and torchvision cost seconds that drawing does not need."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from conftest import MICRO; from minijanus.config import PRESETS\n"
        "from minijanus.__main__ import main\n"
        "PRESETS['micro'] = MICRO\n"
        "code = main(sys.argv[1:])\n"
        "slow = {'datasets', 'torchvision', 'matplotlib'} & set(sys.modules)\n"
        "print(sorted(slow))\n"
        "sys.exit(code)"
    )
    out = tmp_path / "grid.png"
    done = process(
        "-c", code, "draw", "a red dog", "--checkpoint", str(run), "--out", str(out)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"
    assert Image.open(out).size == (4 * SIDE + 3 * studio.GAP, SIDE)


def test_the_shipped_model_is_what_the_recipe_makes():
    """Catches files of another config than TINY, a missing phase, or too many MB."""
    for phase in PHASES:
        manifest = checkpoint.read_manifest(TINY_FOLDER / f"{phase}.safetensors")
        assert differing_fields(TINY, manifest["config"]) == []
        newer = replace(TINY, rope_scaling=(2.0,))  # a field that some manifests lack
        assert differing_fields(newer, manifest["config"]) == ["rope_scaling"]
        assert (manifest["phase"], manifest["dtype"]) == (phase, "float16")
    steps = [stage.steps for stage in TINY.stages]
    for phase, number in zip(PHASES[3:], steps, strict=True):
        assert (
            len((TINY_FOLDER / f"{phase}.csv").read_text().splitlines()) == number // 10 + 1
        )
    size = sum(path.stat().st_size for path in TINY_FOLDER.iterdir())
    assert size <= 40_000_000


def test_the_shipped_model_draws_within_ten_seconds(tmp_path: Path):
    """Sampling without a cache, or a slow import, breaks the promise of the README."""
    start = time.monotonic()
    done = process(
        "-m", "minijanus", "draw", "a red car left of a dog", "--n", "4", "--guidance", "5",
        "--seed", "0", "--out", str(tmp_path / "grid.png"),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - start < 10


def test_the_same_seed_draws_the_same_picture(
    minijanus: CommandLine, run: Path, tmp_path: Path
):
    """A generator that is not seeded, or a file with a date in it, differs between runs."""
    files = []
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        out = tmp_path / f"{name}.png"
        code, said, complaint = minijanus(
            "draw", "a red dog", "--seed", seed, "--out", out, "--checkpoint", run
        )
        assert (code, complaint) == (0, "") and str(out) in said
        files.append(out.read_bytes())
    assert files[0] == files[1] != files[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.png", "three.png", "two.png",
    ]  # fmt: skip


def test_watching_shows_the_rows_so_far_of_the_same_picture(
    minijanus: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches another picture when watched, or codes shown before they are drawn."""
    seen, out = [], tmp_path / "watched.png"
    monkeypatch.setattr(
        checkpoint,
        "write_whole",
        lambda path, write: (write(path), seen.append(read(path))),
    )
    command = ["draw", "a red dog", "--n", 1, "--checkpoint", run, "--out"]
    assert minijanus(*command, out, "--watch")[0] == 0
    minijanus(*command, tmp_path / "plain.png")
    *watched, plain = seen
    assert len(watched) == 4 and torch.equal(watched[-1], plain)  # a row of codes each
    for number, picture in enumerate(watched, start=1):
        whole = number * len(plain) // 4
        assert (picture[whole:] == 128).all()  # grey
        assert whole == len(plain) or not torch.equal(picture, plain)


def read(path: Path) -> torch.Tensor:
    """The pixels of a drawn picture file, a row each, grid_picture's scale of 3."""
    return torch.tensor(list(Image.open(path).tobytes())).reshape(3 * MICRO.image_size, -1)


@pytest.mark.parametrize("phase", load.PHASES[2:])
def test_every_phase_draws_and_answers(
    minijanus: CommandLine, run: Path, tmp_path: Path, phase: str
):
    """A model before stage III has its own prompt format and lacks some files."""
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    options = ("--checkpoint", run, "--phase", phase)
    out = tmp_path / "grid.png"
    assert minijanus("draw", "a dog", "--n", 1, "--out", out, *options)[0] == 0
    assert Image.open(out).size == (SIDE, SIDE)
    code, said, complaint = minijanus("ask", tmp_path / "red.png", QUESTION, *options)
    assert (code, complaint) == (0, "") and said.strip()


def test_a_picture_depends_on_its_number_not_on_how_many(
    janus: Janus, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    """One generator for the whole batch would change picture 0 with --n."""
    model = (janus, tokenizer, 3)
    prompts = ["a red dog", "a blue car. it is below a red dog."]
    one = studio.draw_pictures(*model, prompts[:1], n=1, seed=3)
    many = studio.draw_pictures(*model, prompts, n=5, seed=3)
    monkeypatch.setattr(studio, "AT_ONCE", 2)  # batches end in the middle of a prompt
    cut = studio.draw_pictures(*model, prompts, n=5, seed=3)
    assert [p.tobytes() for p in cut] == [p.tobytes() for p in many]
    assert one[0].tobytes() == many[0].tobytes()
    assert len({p.tobytes() for p in many}) == 10


def test_guidance_and_temperature_reach_the_sampler(janus: Janus, tokenizer: Tokenizer):
    """An option that is not passed on changes nothing, which looks like a weak effect."""
    model = (janus, tokenizer, 3, ["a red dog"], 3, 0)
    sure = studio.draw_pictures(*model, temperature=0)
    assert len({p.tobytes() for p in sure}) == 1
    weak, strong = (studio.draw_pictures(*model, guidance=s) for s in (0, 5))
    assert all(a.tobytes() != b.tobytes() for a, b in zip(weak, strong, strict=True))


@pytest.mark.parametrize(
    "count, columns, shape",
    [(1, 0, (1, 1)), (4, 0, (4, 1)), (5, 0, (3, 2)), (9, 0, (3, 3)), (3, 2, (2, 2))],
)
def test_the_grid_shows_every_picture_in_reading_order(count, columns, shape):
    """Swapped rows and columns, or a last row that is dropped, misplace a picture."""
    colours = [(20 * k + 10, 0, 0) for k in range(count)]
    pictures = [Image.new("RGB", (4, 6), colour) for colour in colours]
    sheet = studio.grid_picture(pictures, columns, scale=2)
    wide, high = shape
    gap = studio.GAP
    assert sheet.size == (wide * (8 + gap) - gap, high * (12 + gap) - gap)
    centres = [
        (x * (8 + gap) + 4, y * (12 + gap) + 6) for y in range(high) for x in range(wide)
    ]
    seen = [sheet.getpixel(at) for at in centres]
    assert seen == colours + [(255, 255, 255)] * (wide * high - count)


def test_the_question_and_picture_reach_the_model(
    minijanus: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Answering about another picture, or in another format, looks like bad luck."""
    seen = []

    def answer(janus, tokenizer, picture, question, stage, max_tokens) -> str:
        seen.append((picture.size, picture.getpixel((0, 0)), question, stage))
        return ""

    monkeypatch.setattr(studio, "answer", answer)
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    options = ("--checkpoint", run, "--phase", "stage2")
    code, said, _ = minijanus("ask", tmp_path / "red.png", f" {QUESTION}\n", *options)
    assert (code, said) == (0, "(the model says nothing)\n")
    assert seen == [((50, 40), (255, 0, 0), QUESTION, 2)]
    assert studio.answer is not text_sampler.answer


def test_train_passes_its_options_on(minijanus: CommandLine, tmp_path: Path, monkeypatch):
    """A --steps or --minutes that is parsed and then forgotten trains for an hour."""
    calls = []

    def train_all(cfg, folder, source, device, deadline):
        calls.append((cfg, folder, source, deadline))

    monkeypatch.setattr(train, "train_all", train_all)
    monkeypatch.setattr(commands, "source_of", lambda cfg, data: data)
    now = time.monotonic()
    options = ("--out", tmp_path, "--minutes", "2", "--data", "here")
    assert minijanus("train", "--preset", "micro", *options)[0] == 0
    assert minijanus("train", "--preset", "small", "--steps", "3")[0] == 0
    (cfg, folder, source, deadline), (short, trial, world, never) = calls
    assert (cfg, folder, source) == (MICRO, tmp_path, "here")
    assert now + 120 <= deadline < time.monotonic() + 120
    assert [phase.steps for phase in (short.siglip, *short.stages)] == [3, 3, 3, 3]
    assert (world, never) == (None, math.inf)
    # In the folder of the full run its phases would pass for finished ones.
    assert trial.parent == RUNS and trial != RUNS / "small"


def micro_table(folder: Path, rows: int) -> Path:
    """A `datasets` folder with records of all three kinds."""
    import datasets

    source, table = MicroSource(), []
    for index in range(rows):
        for kind in ("understanding", "text", "generation"):
            record = source.record(kind, index, stage=1)
            table.append(
                {"kind": kind, "images": record.images, "messages": record.messages}
            )
    columns = datasets.Features(
        {
            "kind": datasets.Value("string"),
            "images": [datasets.Image()],
            "messages": [{n: datasets.Value("string") for n in ("role", "content")}],
        }
    )
    datasets.Dataset.from_list(table, features=columns).save_to_disk(str(folder))
    return folder


def test_train_from_a_table_then_draw(
    minijanus: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The whole chain at once: a phase that writes what the next one cannot read."""
    monkeypatch.setattr(pretrain, "BPE_LINES", 30)
    table, out = micro_table(tmp_path / "table", 12), tmp_path / "new"
    options = ("--data", table, "--steps", 1, "--out", out)
    code, said, _ = minijanus("train", "--preset", "micro", *options)
    assert code == 0 and str(out) in said
    assert {p.stem for p in out.glob("*.safetensors")} >= set(load.PHASES)
    before = {p: p.stat().st_mtime_ns for p in out.glob("*.safetensors")}
    assert minijanus("train", "--preset", "micro", *options)[0] == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}, "done phases ran again"
    other = ("--data", micro_table(tmp_path / "other", 13), *options[2:])
    code, _, said = minijanus("train", "--preset", "micro", *other)
    assert code == 2 and "began with another source of samples" in said
    grid = tmp_path / "grid.png"
    assert minijanus("draw", DESCRIBE, "--checkpoint", out, "--out", grid)[0] == 0


def test_what_is_shipped_draws(
    minijanus: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Shipped files in float32 take twice the room; rounded ones must still load."""
    monkeypatch.setattr(commands, "SHIPPED", tmp_path / "checkpoints")
    assert minijanus("ship", "--run", run)[0] == 0
    folder = tmp_path / "checkpoints" / MICRO.name
    for phase in load.PHASES:
        tensors = load_file(folder / f"{phase}.safetensors")
        assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in run.iterdir())
    out = tmp_path / "grid.png"
    assert minijanus("draw", "a dog", "--checkpoint", folder, "--out", out)[0] == 0


def healthy(folder: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder on which the doctor finds nothing; return its micro checkpoints."""
    monkeypatch.setattr(commands, "DATA", folder)
    monkeypatch.setattr(doctor, "MEMORY_GB", 0)
    monkeypatch.setattr(doctor, "DISK_GB", 0)
    for name in doctor.TABLES:
        (folder / name).touch()
    return save_run(folder / "checkpoints" / MICRO.name, tokenizer)


def test_the_doctor_finds_a_healthy_installation(
    minijanus: CommandLine, tokenizer: Tokenizer, tmp_path: Path, monkeypatch
):
    """A check that says nothing would pass for one that is ok."""
    healthy(tmp_path, tokenizer, monkeypatch)
    code, said, _ = minijanus("doctor")
    lines = said.splitlines()
    assert code == 0 and all(line.startswith("ok ") for line in lines), said
    for word in (
        "Python 3",
        f"torch {torch.__version__.split('+')[0]}",
        "device",
        "memory",
    ):
        assert any(word in line for line in lines), word
    assert sum("sha256" in line for line in lines) == len(load.PHASES)


def test_the_doctor_says_what_to_do(
    minijanus: CommandLine, tokenizer: Tokenizer, tmp_path: Path, monkeypatch
):
    """A doctor that stops at the first fault, or exits with 0, hides the others."""
    folder = healthy(tmp_path, tokenizer, monkeypatch)
    (folder / "vq.safetensors").write_bytes(b"damaged")
    (folder / "stage1.safetensors").unlink()
    (folder / "stage2.json").write_text("{")
    (folder / "tokenizer.json").write_text("{")
    (tmp_path / doctor.TABLES[0]).unlink()
    monkeypatch.setattr(doctor, "MEMORY_GB", 10**6)
    monkeypatch.setattr(doctor, "DISK_GB", 10**9)
    monkeypatch.setenv("MINIJANUS_DEVICE", "abacus")
    code, said, complaint = minijanus("doctor")
    faults = [line for line in said.splitlines() if not line.startswith("ok ")]
    words = (
        "abacus", "memory", "disk", doctor.TABLES[0], "vq.safetensors",
        "stage1.safetensors", "stage2", "tokenizer.json",
    )  # fmt: skip
    assert (code, complaint) == (1, "")
    for word, line in zip(words, faults, strict=True):
        assert word in line and line.endswith(".")


@pytest.mark.parametrize(
    "version, good",
    [("2.4", True), ("2.10.1+cpu", True), ("2.3.9", False), ("3.0.0", False)],
)
def test_versions_are_compared_as_numbers(version: str, good: bool):
    """Compared as text, 2.10 would be older than 2.4."""
    assert doctor.fits(version, "torch<3,>=2.4") == good


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left")])
def test_a_command_that_is_cut_off_ends_in_one_line(
    minijanus: CommandLine, monkeypatch: pytest.MonkeyPatch, error
):
    """Ctrl-C or a full disk in the middle of a command must not end in a traceback."""

    def source_of(*arguments):
        raise error

    monkeypatch.setattr(commands, "source_of", source_of)
    code, _, complaint = minijanus("train")
    assert code == (130 if error is KeyboardInterrupt else 2)
    assert complaint.count("\n") == 1


def test_a_bug_keeps_its_traceback(minijanus: CommandLine, monkeypatch: pytest.MonkeyPatch):
    """A command line that swallows every error makes bugs impossible to find."""

    def source_of(*arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(commands, "source_of", source_of)
    with pytest.raises(ValueError, match="a bug") as found:
        minijanus("train")
    assert not isinstance(found.value, UserError)
