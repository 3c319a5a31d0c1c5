"""What notebook 12 begins with: which model is found, and what the stand-in is good for."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from minijanus.given import loaded
from minijanus.images import generation_pixels, open_picture
from minijanus.janus import Janus
from minijanus.real import (
    FIGURE_4,
    NAME,
    captioned,
    find_janus,
    paper_questions,
    peak_memory,
    without_unit_rows,
)
from minijanus.studio import checked_prompt

CPU = torch.device("cpu")


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """What the hub was asked to fetch: nothing is to be had there, nor in its cache."""
    names = []

    def refuse(name: str, **_):
        names.append(name)
        raise OSError("no network")

    monkeypatch.delenv("MINIJANUS_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    return names


@pytest.fixture
def quick(monkeypatch) -> None:
    """Only the name of a stand-in's folder is made, which takes no time."""
    monkeypatch.setattr("minijanus.real.random_folder", lambda folder: folder)


@pytest.fixture
def cached(tmp_path, monkeypatch, asked, quick) -> Path:
    """The one file that the hub's cache is said to hold."""
    path = tmp_path / "snapshots" / "config.json"
    path.parent.mkdir()
    path.write_text("{}")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(path))
    return path


def test_the_released_model_is_taken_only_if_all_of_it_is_there(cached, asked):
    """Catches a download nobody asked for, and a stop where a stand-in was promised."""
    assert not find_janus().released  # config.json alone
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (cached.parent / "model.safetensors.index.json").write_text(json.dumps(shards))
    (cached.parent / "model-1.safetensors").touch()
    found = find_janus()  # one of two shards
    assert not found.released and f"MINIJANUS_MODEL={NAME}" in found.name
    (cached.parent / "model-2.safetensors").touch()
    found = find_janus()
    assert found.released and Path(found.source) == cached.parent
    assert NAME in found.name and not asked


def test_the_model_that_is_named_goes_first(cached, monkeypatch):
    """Catches a cached model, or one fetched from elsewhere, in place of the one asked."""
    fetched = cached.parents[1] / "fetched"
    fetched.mkdir()
    (fetched / "model.safetensors").touch()

    def fetch(name: str, **_) -> str:
        return str(fetched) if name == "deepseek-ai/Janus-Pro-1B" else ""

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.setenv("MINIJANUS_MODEL", "deepseek-ai/Janus-Pro-1B")
    found = find_janus()
    assert found.released and found.name == "deepseek-ai/Janus-Pro-1B"
    assert Path(found.source) == fetched
    monkeypatch.setenv("MINIJANUS_MODEL", str(cached.parent))
    assert find_janus().source == str(cached.parent)


@pytest.mark.parametrize("wanted", ["deepseek-ai/Janus-Pro-1B", "no such folder"])
def test_what_cannot_be_had_is_told(wanted, asked, quick, monkeypatch):
    """Catches a stand-in that passes for the model that was asked for."""
    monkeypatch.setenv("MINIJANUS_MODEL", wanted)
    found = find_janus()
    assert not found.released and found.name.startswith("a random stand-in")
    assert wanted in found.name
    assert set(asked) == {name for name in [wanted] if "/" in name}


def test_the_stand_in_can_do_what_the_notebook_asks(tmp_path, asked):
    """Catches an encoder whose pictures are one code, so that nothing can be learned.

    And a context that ends inside the paper's longest prompt.
    """
    janus = Janus.from_pretrained(find_janus().source)
    mine = sorted(captioned(tmp_path / "mine", 10).glob("*.png"))
    images = [generation_pixels(open_picture(path), 16) for path in mine]
    counts = janus.gen.encode(torch.stack(images)).flatten().bincount(minlength=40)
    assert (counts > 0).sum() > 30 and counts.max() < 0.2 * counts.sum()
    captions = sorted(captioned(tmp_path / "mine", 10).glob("*.txt"))  # a second time
    assert len(captions) == 10
    lengths = [len(checked_prompt(p, *loaded(janus))) for p in FIGURE_4.values()]
    assert max(lengths) > 200  # "Janus" has 112 words


def test_codes_of_another_distance_also_in_bfloat16(asked):
    """Catches a distance that torch lacks in the number format of the released file."""
    janus = Janus.from_pretrained(find_janus().source, dtype=torch.bfloat16)
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels, tokenizer = pixels.bfloat16(), janus.gen.encoder
    with torch.no_grad():
        z = tokenizer.quant_conv(tokenizer.encoder(pixels))[0].flatten(1).T.float()
    table = tokenizer.quantize.embedding.weight.detach().float()
    nearest = [int(((table - one) ** 2).sum(dim=1).argmin()) for one in z]
    assert without_unit_rows(janus, pixels)[0].tolist() == nearest


def test_each_question_has_its_own_picture():
    """Catches the plot where the formula is asked for, and shares that are not so."""
    painting = Image.new("RGB", (16, 16), "red")
    asked = paper_questions(painting)
    words = ("panel", "meme", "latex", "plot", "algorithm", "painting")
    assert all(word in text for word, (text, _) in zip(words, asked, strict=True))
    panels, pair, formula, plot, _, last = [image for _, image in asked]
    assert last is painting
    assert panels.height > panels.width and pair.width > pair.height
    assert formula.width > 3 * formula.height
    levels = np.asarray(plot, dtype=int)
    tab = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)]  # in this order
    count = [(abs(levels - colour).sum(axis=2) < 40).sum() for colour in tab]
    assert np.allclose(np.array(count) / sum(count), [0.15, 0.3, 0.45, 0.1], atol=0.02)


def test_peak_memory_in_its_units(monkeypatch):
    """Catches KiB taken for bytes, on one of two systems, and the wrong memory on cuda."""
    used = SimpleNamespace(ru_maxrss=2_000_000)
    told = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: used)
    monkeypatch.setitem(sys.modules, "resource", told)
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory(CPU) == pytest.approx(2.048)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory(CPU) == pytest.approx(0.002)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3_000_000_000)
    assert peak_memory(torch.device("cuda")) == 3.0
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_memory(CPU) != peak_memory(CPU)  # nan


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own count is in /proc")
def test_peak_memory_is_a_peak():
    """Catches what is used now in the place of the most that was used."""
    held = torch.ones(100_000_000)  # 0.4 GB
    del held
    lines = Path("/proc/self/status").read_text().splitlines()
    known = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    # Linux hands on the peak of the program that started this one, if that was larger.
    assert 0.99 < peak_memory(CPU) / (known * 1024 / 1e9) < 2
