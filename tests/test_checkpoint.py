"""Checkpoints: whole or not at all, and refused in one sentence where they do not fit."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from minijanus import checkpoint
from minijanus.lab import UserError

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "step": torch.tensor(3.0),
    "half": torch.randn(4, generator=torch.Generator().manual_seed(0)).half(),
    "ids": torch.tensor([[1, 2], [3, 4]]),
}


@pytest.fixture
def path(tmp_path) -> Path:
    """A saved checkpoint."""
    path = tmp_path / "run" / "stage1.safetensors"
    checkpoint.save(path, TENSORS, {"step": 7, "metrics": {"loss": 0.5}})
    return path


def one_sentence(error) -> str:
    """The message, which must be one sentence that ends with a full stop."""
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_what_was_saved_comes_back(path):
    """Catches another number type, a lost manifest, a file that is not safetensors."""
    tensors, manifest = checkpoint.load(path)
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert manifest == {"step": 7, "metrics": {"loss": 0.5}}
    beside = json.loads(path.with_suffix(".json").read_text())
    assert beside == {**manifest, "sha256": checkpoint.sha256(path)}
    assert len(beside["sha256"]) == 64
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "stage1.json", "stage1.safetensors",
    ]  # fmt: skip


def test_sha256_of_a_known_text(tmp_path):
    """Catches a digest of something else than the bytes (the digest is FIPS 180's)."""
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checkpoint.sha256(tmp_path / "abc") == known


def test_a_changed_byte_is_noticed(path):
    """Catches a damaged file that is loaded in silence."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="sha256 differs") as error:
        checkpoint.load(path)
    assert "restore it" in one_sentence(error)


@pytest.mark.parametrize("name", ["stage1.safetensors", "stage1.json"])
def test_a_missing_file_is_named(path, name):
    """Catches a traceback where half of a checkpoint is missing."""
    (path.parent / name).unlink()
    with pytest.raises(UserError, match=name) as error:
        checkpoint.load(path)
    one_sentence(error)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 100, None])
def test_a_file_that_is_no_checkpoint_is_refused(path, content):
    """Catches a cut-off file, as a download leaves it, that ends in a traceback."""
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    with pytest.raises(UserError, match="is not a whole safetensors file") as error:
        checkpoint.read(path)
    one_sentence(error)


class Failing:
    """`save_file`, but the disk is full, or Ctrl-C comes, when half is written."""

    def __init__(self, error: BaseException):
        self.error = error

    def __call__(self, tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=str
)
def test_a_save_that_fails_leaves_the_old_file(path, monkeypatch, error):
    """Catches a full disk or Ctrl-C that loses the checkpoint written before."""
    monkeypatch.setattr(checkpoint, "save_file", Failing(error))
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        checkpoint.save(path, {"a": torch.zeros(1)}, {})
    if expected is UserError:
        assert "free some disk space" in one_sentence(raised)
    monkeypatch.undo()
    tensors, manifest = checkpoint.load(path)
    assert torch.equal(tensors["a"], TENSORS["a"]) and manifest["step"] == 7
    assert len(list(path.parent.iterdir())) == 2, "the half file was left behind"


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """Catches a log that a full disk empties."""
    log = tmp_path / "log.csv"
    checkpoint.write_text(log, "before é\n")

    def full(self, *given, **named):
        self.write_bytes(b"ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="log.csv could not be written"):
        checkpoint.write_text(log, "after\n")
    assert log.read_text(encoding="utf-8") == "before é\n"
    assert list(tmp_path.iterdir()) == [log]


def test_tensors_that_do_not_fit_are_named():
    """Catches a wrong shape or an unknown name, skipped or told by a traceback."""
    model = nn.Linear(3, 2)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    shapes = r"x\.safetensors: weight .*\(3, 2\).*\(2, 3\)"
    with pytest.raises(UserError, match=shapes) as e:
        checkpoint.load_into(model, {"weight": torch.zeros(3, 2)}, "x.safetensors")
    assert "use the preset" in one_sentence(e)
    given = {"bias": torch.zeros(2), "scale": torch.zeros(1)}
    with pytest.raises(UserError, match=r"x\.safetensors holds scale") as e:
        checkpoint.load_into(model, given, "x.safetensors")
    one_sentence(e)
    for name, tensor in before.items():
        assert torch.equal(model.state_dict()[name], tensor), "half of it was loaded"
    checkpoint.load_into(model, {"bias": torch.ones(2)}, "x.safetensors")
    assert torch.equal(model.bias, torch.ones(2))
    assert torch.equal(model.weight, before["weight"])
