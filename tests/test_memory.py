"""Too little memory: known before anything is loaded, or one sentence where it runs out."""

import errno
import os
from pathlib import Path

import pytest
import torch
from micro_run import CommandLine, save_run
from released_folder import official_folder
from safetensors.torch import load_file

from minijanus import memory, studio, weights
from minijanus.janus import Janus
from minijanus.lab import UserError

SPENT = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in `cublasCreate(handle)`")
ON_A_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture(scope="module")
def released(tmp_path_factory, tokenizer) -> Path:
    """A small folder in the official layout, in bfloat16."""
    folder = tmp_path_factory.mktemp("released") / "Small"
    return official_folder(folder, tokenizer, dtype=torch.bfloat16)


def failure(action) -> BaseException:
    """What an action really raises."""
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        action()
    return caught.value


def test_free_memory_is_what_the_system_says(tmp_path, monkeypatch):
    """Catches kB taken for bytes, and a machine without the table that may load nothing."""
    free = memory.free_bytes()
    if memory.TABLE.exists():
        assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:     900 kB\nMemFree:       5 kB\nMemAvailable:     70 kB\n")
    monkeypatch.setattr(memory, "TABLE", table)
    assert memory.free_bytes() == memory.free_bytes(torch.device("cpu")) == 71_680
    assert memory.free_bytes("mps") is None
    table.unlink()
    assert memory.free_bytes() is None
    memory.need("a model", 10**18, "cpu")  # nothing is known, so nothing is refused


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="not on Linux")
def test_what_was_freed_goes_back_though_a_block_behind_it_stays():
    """Catches a training that takes 8 GB because of the holes that its steps leave."""

    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    blocks = [bytearray(b"x" * 60_000) for _ in range(4_000)]  # too small to be mapped
    full, kept = resident(), blocks[-1]
    del blocks
    memory.give_back()
    assert full - resident() > 100_000_000 and len(kept) == 60_000


def test_a_gpu_is_asked_for_its_own_memory(monkeypatch):
    """Catches the computer's memory taken for the GPU's, and a reload that is refused."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 900))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert memory.free_bytes(torch.device("cuda", 1)) == 120


def test_weights_that_do_not_fit_are_refused_before_they_are_read(released, monkeypatch):
    """Catches bytes counted in the file's dtype where another is wanted."""
    held = load_file(released / "model.safetensors")
    whole = sum(tensor.numel() for tensor in held.values())
    for dtype, n_bytes in ((None, 2 * whole), (torch.float32, 4 * whole)):
        monkeypatch.setattr(memory, "free_bytes", lambda device, n=n_bytes: n)
        Janus.from_pretrained(released, dtype=dtype)
        monkeypatch.setattr(memory, "free_bytes", lambda device, n=n_bytes: n - 1)
        with pytest.raises(UserError, match=r"needs [\d.]+ GB .* free on cpu") as caught:
            Janus.from_pretrained(released, dtype=dtype)
        told = str(caught.value)
        assert told.startswith(str(released)) and f"{n_bytes / 1e9:.3g} GB" in told
        assert ("bfloat16" in told) == (dtype == torch.float32)


@pytest.mark.parametrize("error", [ON_A_GPU, CUBLAS, MemoryError()], ids=repr)
def test_memory_that_runs_out_while_loading(released, monkeypatch, error):
    """Catches a traceback where other programs took what was free a moment ago."""

    def read(*_) -> None:
        raise error

    monkeypatch.setattr(weights.Shards, "read", read)
    with pytest.raises(UserError) as caught:
        Janus.from_pretrained(released)
    told = str(caught.value)
    assert told.startswith(f"{released} does not fit into the memory") and ". " not in told


@pytest.mark.parametrize("error", [MemoryError(), SPENT], ids=repr)
def test_a_file_is_not_called_damaged_for_lack_of_memory(tmp_path, monkeypatch, error):
    """Catches a person who downloads 4 GB again because the memory was full."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(1)}, path)

    def load(*_, **__) -> None:
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(UserError, match="does not fit into the memory") as caught:
        weights.open_bin(path)
    assert str(path) in str(caught.value) and "damaged" not in str(caught.value)
    weights.write_shards(tmp_path, {"a": torch.zeros(1)}, 100)
    monkeypatch.setattr(weights, "safe_open", load)
    with pytest.raises(UserError, match="does not fit into the memory"):
        weights.Shards(tmp_path)


def test_what_means_that_memory_ran_out():
    """Catches the words of torch's own errors, RuntimeErrors like a wrong shape."""
    real = (failure(lambda: torch.empty(10**15)), failure(lambda: bytearray(2**60)))
    assert all(map(memory.ran_out, (*real, ON_A_GPU, SPENT)))
    wrong = failure(lambda: torch.ones(2) @ torch.ones(3))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not any(map(memory.ran_out, (wrong, full, KeyError("a"))))


def test_a_command_that_runs_out_says_so_in_a_sentence(
    capsys, monkeypatch, tokenizer, tmp_path
):
    """Catches thirty lines of traceback that end in a number of gibibytes."""
    command, errors = CommandLine(capsys, monkeypatch), [ON_A_GPU, SPENT, MemoryError()]
    run = save_run(tmp_path / "run", tokenizer)

    def draw(*_) -> None:
        raise errors.pop()

    monkeypatch.setattr(studio, "draw_pictures", draw)
    options = ("--checkpoint", run, "--out", tmp_path / "grid.png")
    while errors:
        told = command.refusal("draw", "a dog", *options)
        assert "memory that is free does not suffice" in told and ". " not in told
    errors.append(RuntimeError("a fault of ours"))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        command("draw", "a dog", *options)
