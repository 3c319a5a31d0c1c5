"""Bad input through the command line: one clear sentence, and no file lost."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from conftest import MICRO
from micro_run import CommandLine, part_of, save_run
from PIL import Image

from minijanus import __main__ as cli
from minijanus import checkpoint, commands, given, load, studio
from minijanus.folders import REPO
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.text import Tokenizer

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
UNREADABLE = {  # what was typed: a word that the answer must contain
    "": "no words",
    " \n\t": "no words",
    "\u200b\u200d": "no words",
    "🐶?!": "no words",
    "dog " * 500: "shorten",
    "قطة حمراء": "Arabic",
    "a red סוס": "Hebrew",
    "κόκκινο": "Greek",
    "<image_placeholder> a dog": "remove",
    "a dog<｜end▁of▁sentence｜>": "remove",
    "a dog \udcff": "UTF-8",  # bytes that are no text, as Python hands them over
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """The folder of a finished micro run; tests only read it."""
    return save_run(tmp_path_factory.mktemp("run"), tokenizer)


@pytest.fixture
def own_run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A finished micro run that the test may damage."""
    return save_run(tmp_path / "run", tokenizer)


@pytest.fixture
def minijanus(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line."""
    return CommandLine(capsys, monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, to compare before with after."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("text, word", UNREADABLE.items(), ids=ascii)
def test_unreadable_text_is_refused(
    minijanus: CommandLine, run: Path, tmp_path: Path, text: str, word: str
):
    """An empty prompt draws noise; one past the context or with a mark of ours raises."""
    out, picture = tmp_path / "grid.png", tmp_path / "red.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    options = ("--checkpoint", run)
    assert word in minijanus.refusal("draw", text, "--out", out, *options)
    assert word in minijanus.refusal("ask", picture, text, *options)
    assert not out.exists()


def test_every_language_of_the_data_is_readable():
    """A script that was forgotten would refuse what the model learned to read."""
    labels = pyarrow.parquet.read_table(REPO / "data" / "labels.parquet", columns=["label"])
    for label in labels["label"].to_pylist():
        given.check_script(label)


def test_a_prompt_that_just_fits_is_drawn(run: Path, monkeypatch: pytest.MonkeyPatch):
    """A limit that is off by one refuses the longest prompt, or overruns the cache."""
    monkeypatch.setitem(load.PRESETS, MICRO.name, MICRO)
    janus, tokenizer, stage = load.load_janus(run)
    room = MICRO.max_positions - janus.gen.n_tokens
    lengths = {}
    for count in range(1, 260):
        prompt = "a" + " dog" * count
        lengths[len(studio.prompt_ids(prompt, janus, tokenizer, stage))] = prompt
    assert room in lengths and room + 1 in lengths
    model = (janus, tokenizer, stage)
    assert len(studio.draw_pictures(*model, [lengths[room]], n=1)) == 1
    with pytest.raises(UserError, match="shorten"):
        studio.draw_pictures(*model, [lengths[room + 1]], n=1)


@pytest.mark.parametrize(
    "option, value",
    [
        ("--n", 0), ("--n", -1), ("--n", 10**9), ("--guidance", "nan"),
        ("--guidance", "inf"), ("--guidance", -1), ("--temperature", -0.5),
        ("--temperature", "nan"), ("--out", "grid.jpg"), ("--out", REPO),
        ("--phase", "stage4"), ("--phase", "../stage3"), ("--phase", "vq"),
    ],
)  # fmt: skip
def test_numbers_and_names_out_of_range_are_refused(
    minijanus: CommandLine, run: Path, tmp_path: Path, option: str, value
):
    """NaN passes every naive comparison; n = 0 would write an empty picture."""
    options = ("--checkpoint", run, "--out", tmp_path / "grid.png", option, value)
    assert minijanus.refusal("draw", "a dog", *options)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["draw"], ["draw", "a dog", "--n", "four"], ["fly"], [], ["train", "--steps", "0"]],
)
def test_a_wrong_command_line_shows_how_to_use_it(arguments: list[str], capsys):
    """A missing argument or a word for a number must not reach the model."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: python -m minijanus" in capsys.readouterr().err


def test_an_impossible_place_for_the_picture(
    minijanus: CommandLine, run: Path, tmp_path: Path
):
    """A folder that cannot be made raises another error than a file that cannot."""
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "grid.png"
    said = minijanus.refusal("draw", "a dog", "--checkpoint", run, "--out", out)
    assert "grid.png could not be written" in said


def animation(path: Path) -> None:
    """Write a GIF of two frames."""
    frames = [Image.new("P", (20, 20), level) for level in (0, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)


def still(mode: str, size: tuple[int, int]) -> Callable[[Path], None]:
    """What writes one picture of this mode and size."""

    def write(path: Path) -> None:
        Image.new(mode, size).save(path)

    return write


USABLE = {
    "rgba.png": still("RGBA", (30, 20)),
    "grey.png": still("L", (30, 20)),
    "grey_alpha.png": still("LA", (30, 20)),
    "palette.png": still("P", (30, 20)),
    "black_white.png": still("1", (30, 20)),
    "cmyk.jpg": still("CMYK", (30, 20)),
    "narrow.png": still("RGB", (1, 50)),
    "one_pixel.png": still("RGB", (1, 1)),
    "wide.png": still("RGB", (10_000, 3)),
    "moving.gif": animation,
}


@pytest.mark.parametrize("name", USABLE)
def test_any_picture_is_answered(
    minijanus: CommandLine, run: Path, tmp_path: Path, name: str
):
    """Four channels, one channel, a side of 0 after scaling, or a second frame."""
    USABLE[name](tmp_path / name)
    code, said, complaint = minijanus(
        "ask", tmp_path / name, "what is this?", "--checkpoint", run
    )
    assert (code, complaint) == (0, "") and said.strip()


def truncated(path: Path) -> None:
    """Write the first half of a noisy PNG."""
    Image.effect_noise((64, 64), 100).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_picture(path: Path) -> None:
    """Write text."""
    path.write_text("a red car left of a dog")


UNUSABLE = {
    "truncated.png": truncated,
    "text.png": no_picture,
    "empty.png": Path.touch,
    "folder.png": Path.mkdir,
    "missing.png": str,
    "enormous.png": still("1", (10_000, 10_000)),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_no_picture_is_refused(
    minijanus: CommandLine, run: Path, tmp_path: Path, name: str
):
    """Pillow raises half a dozen kinds of errors, some only when pixels are read."""
    UNUSABLE[name](tmp_path / name)
    complaint = minijanus.refusal(
        "ask", tmp_path / name, "what is this?", "--checkpoint", run
    )
    assert name in complaint


@pytest.mark.parametrize("wrong", [-1, MICRO.n_codes])
def test_image_ids_outside_the_codebook(janus: Janus, wrong: int):
    """On a GPU such an id kills the process; id -1 would silently be the last code."""
    ids = torch.zeros(1, janus.gen.n_tokens, dtype=torch.long)
    ids[0, 3] = wrong
    for reader in (janus.gen.embed, janus.gen.encoder.decode):
        with pytest.raises(ValueError, match=f"0 to {MICRO.n_codes - 1}") as error:
            reader(ids)
        assert "\n" not in str(error.value)


def flip_a_byte(run: Path) -> None:
    """One bit rot."""
    path = run / "stage2.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(run: Path) -> None:
    """A download that stopped."""
    path = run / "vq.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def resave(run: Path, phase: str, change: Callable[[dict], None]) -> None:
    """Change a phase's tensors and write them with a manifest that fits the file."""
    path = run / f"{phase}.safetensors"
    tensors, manifest = checkpoint.load(path)
    change(tensors)
    checkpoint.save(path, tensors, manifest)


def wrong_shape(run: Path) -> None:
    """A head of another width."""

    def change(tensors: dict) -> None:
        tensors["image_head.vision_head.bias"] = torch.zeros(MICRO.n_codes + 1)

    resave(run, "stage1", change)


def unknown_tensor(run: Path) -> None:
    """A tensor that this code does not know."""

    def change(tensors: dict) -> None:
        tensors["llm.third_eye"] = torch.zeros(1)

    resave(run, "llm", change)


def too_little(run: Path) -> None:
    """No phase's file holds the final norm."""

    def change(tensors: dict) -> None:
        del tensors["llm.norm.weight"]

    for phase in ("llm", "stage2", "stage3"):
        resave(run, phase, change)


def rewrite_manifest(run: Path, **entries: object) -> None:
    """Change entries of the last manifest."""
    path = run / "stage3.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def garbage_with_manifest(run: Path) -> None:
    """A file that is what its manifest says, but holds no tensors."""
    path = run / "stage3.safetensors"
    path.write_bytes(b"garbage" * 100)
    rewrite_manifest(run, sha256=checkpoint.sha256(path))


def other_preset(run: Path) -> None:
    """A manifest from another version of the code."""
    rewrite_manifest(run, preset="huge")


def file_that_is(name: str, text: str | None) -> Callable[[Path], None]:
    """What replaces a file of the run by a text, or removes it."""

    def damage(run: Path) -> None:
        (run / name).unlink()
        if text is not None:
            (run / name).write_text(text)

    return damage


DAMAGED = {  # what happened to the run: a word that the answer must contain
    "flipped": (flip_a_byte, "sha256"),
    "cut": (cut, "sha256"),
    "shape": (wrong_shape, "image_head.vision_head.bias"),
    "unknown": (unknown_tensor, "llm.third_eye"),
    "lacking": (too_little, "llm.norm.weight"),
    "garbage": (garbage_with_manifest, "stage3.safetensors"),
    "preset": (other_preset, "huge"),
    "no tensors": (file_that_is("vq.safetensors", None), "vq.safetensors"),
    "no manifest": (file_that_is("stage1.json", None), "stage1.json"),
    "no last": (file_that_is("stage3.json", None), "stage3"),
    "bad manifest": (file_that_is("stage1.json", "{"), "stage1.json"),
    "bad last": (file_that_is("stage3.json", '{"preset"'), "stage3.json"),
    "poor manifest": (file_that_is("llm.json", "{}"), "llm.json"),
    "no tokenizer": (file_that_is("tokenizer.json", None), "tokenizer.json"),
    "bad tokenizer": (file_that_is("tokenizer.json", "{}"), "tokenizer.json"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_checkpoint_is_refused(
    minijanus: CommandLine, own_run: Path, tmp_path: Path, name: str
):
    """Weights that are loaded although they do not fit draw noise without a word."""
    damage, word = DAMAGED[name]
    damage(own_run)
    out = tmp_path / "grid.png"
    complaint = minijanus.refusal("draw", "a dog", "--checkpoint", own_run, "--out", out)
    assert word in complaint
    assert not out.exists()


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_checkpoints(minijanus: CommandLine, tmp_path: Path, folder: str):
    """What a newcomer sees who draws before anything is there."""
    where = tmp_path / folder
    assert "make train" in minijanus.refusal("draw", "a dog", "--checkpoint", where)
    assert minijanus.refusal("ship", "--run", where)


def test_a_run_that_is_not_finished_is_not_shipped(
    minijanus: CommandLine, own_run: Path, run: Path, tmp_path: Path, monkeypatch
):
    """Copying phase by phase would leave a mixture of the old and the new run."""
    monkeypatch.setattr(commands, "SHIPPED", tmp_path / "checkpoints")
    assert minijanus("ship", "--run", run)[0] == 0
    folder = tmp_path / "checkpoints" / MICRO.name
    before = contents(folder)
    resave(own_run, "siglip", dict.clear)
    (own_run / "stage2.safetensors").unlink()
    assert "stage2" in minijanus.refusal("ship", "--run", own_run)
    assert contents(folder) == before


@pytest.mark.parametrize("columns", [{}, {"kind": ["text"]}, {"wrong": ["text"]}])
def test_a_table_that_cannot_be_used(
    minijanus: CommandLine, tmp_path: Path, columns: dict[str, list[str]]
):
    """`datasets` answers with errors of several kinds and many lines."""
    import datasets

    table = tmp_path / "table"
    if columns:
        datasets.Dataset.from_dict(columns).save_to_disk(str(table))
    complaint = minijanus.refusal("train", "--data", table, "--out", tmp_path / "run")
    assert str(table) in complaint and "columns" in complaint
    assert not (tmp_path / "run").exists()


def half_then(error: BaseException) -> Callable:
    """A writer of tensors that stops half-way."""

    def save_file(tensors, path, metadata=None) -> None:
        Path(path).write_bytes(b"half a file")
        raise error

    return save_file


def cut_off(monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException) -> None:
    """Let the next save end with this error: in the tensors, the manifest, the renaming."""
    rename, write_text = os.replace, Path.write_text

    def replace(source, target) -> None:
        if where == "after renaming" and str(target).endswith(".safetensors"):
            rename(source, target)
            raise error
        if where == "renaming":
            raise error
        rename(source, target)

    def text(path: Path, *arguments, **options) -> int:
        if ".json" in path.name:
            write_text(path, "{")
            raise error
        return write_text(path, *arguments, **options)

    if where == "tensors":
        monkeypatch.setattr(checkpoint, "save_file", half_then(error))
    if where == "manifest":
        monkeypatch.setattr(Path, "write_text", text)
    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize(
    "where, error",
    [
        ("tensors", FULL),
        ("tensors", KeyboardInterrupt()),
        ("manifest", FULL),
        ("manifest", KeyboardInterrupt()),
        ("renaming", FULL),
        ("renaming", KeyboardInterrupt()),
        ("after renaming", KeyboardInterrupt()),
    ],
)
def test_a_save_that_is_cut_off_harms_nothing(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
):
    """Half a file, or new tensors beside the old manifest, lose the checkpoint before."""
    path = own_run / "stage3.safetensors"
    before = contents(own_run)
    old, manifest = checkpoint.load(path)
    new = {name: tensor + 1 for name, tensor in old.items()}
    with monkeypatch.context() as patch:
        cut_off(patch, where, error)
        expected = UserError if error is FULL else KeyboardInterrupt
        with pytest.raises(expected):
            checkpoint.save(path, new, manifest)
    assert set(contents(own_run)) == set(before), "a file was lost or left over"
    found, _ = checkpoint.load(path)  # whole: the manifest describes the tensors
    if where != "after renaming":
        assert contents(own_run) == before
    assert all(torch.equal(found[n], old[n]) for n in old) or all(
        torch.equal(found[n], new[n]) for n in new
    )


def test_a_disk_that_really_refuses(
    minijanus: CommandLine, own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """safetensors reports a full disk as an error of its own, which no OSError catches."""
    resource = pytest.importorskip("resource")  # not on Windows
    monkeypatch.setattr(commands, "SHIPPED", tmp_path / "checkpoints")
    assert minijanus("ship", "--run", own_run)[0] == 0
    folder = tmp_path / "checkpoints" / MICRO.name
    before = contents(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        complaint = minijanus.refusal("ship", "--run", own_run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "disk" in complaint
    assert contents(folder) == before


@pytest.mark.parametrize("error, code", [(FULL, 2), (KeyboardInterrupt(), 130)])
def test_a_drawing_that_cannot_be_saved(
    minijanus: CommandLine, run: Path, tmp_path: Path, monkeypatch, error, code: int
):
    """Opening the file for writing before the picture is whole empties the one there."""
    out = tmp_path / "grid.png"
    out.write_bytes(b"the picture before")

    def save(image, path, *arguments, **options) -> None:
        Path(path).write_bytes(b"half a picture")
        raise error

    monkeypatch.setattr(Image.Image, "save", save)
    found, _, complaint = minijanus("draw", "a dog", "--checkpoint", run, "--out", out)
    assert found == code and complaint.count("\n") == 1
    assert contents(tmp_path) == {"grid.png": b"the picture before"}


def test_what_a_phase_holds_is_all_of_janus(janus: Janus):
    """A part that no micro file holds would make these tests blind to it."""
    names = {name for phase in ("siglip", "vq", "stage2") for name in part_of(janus, phase)}
    assert names == set(janus.state_dict())
