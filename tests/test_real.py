"""What notebook 12 begins with: which model is found, and what the stand-in is good for."""

import json
from pathlib import Path

import pytest
import torch

from minijanus.images import generation_pixels, open_picture
from minijanus.janus import Janus
from minijanus.real import captioned, find_janus


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """The one file that the hub's cache is said to hold."""
    path = tmp_path / "snapshots" / "config.json"
    path.parent.mkdir()
    path.write_text("{}")
    monkeypatch.delenv("MINIJANUS_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(path))
    return path


def test_the_released_model_is_taken_only_if_all_of_it_is_there(cached):
    """Catches a download nobody asked for, and a stop where a stand-in was promised."""
    assert not find_janus().released  # config.json alone
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (cached.parent / "model.safetensors.index.json").write_text(json.dumps(shards))
    (cached.parent / "model-1.safetensors").touch()
    assert not find_janus().released  # one of two shards
    (cached.parent / "model-2.safetensors").touch()
    found = find_janus()
    assert found.released and Path(found.source) == cached.parent


def test_the_model_that_is_named_goes_first(cached, monkeypatch):
    """Catches a cached model in the place of the one that was asked for."""
    monkeypatch.setenv("MINIJANUS_MODEL", "deepseek-ai/Janus-Pro-1B")
    found = find_janus()
    assert found.released and found.source == "deepseek-ai/Janus-Pro-1B"


def test_pictures_of_the_stand_in_have_many_codes(tmp_path, monkeypatch):
    """Catches an encoder whose pictures are one code, so that nothing can be learned."""
    monkeypatch.delenv("MINIJANUS_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    janus = Janus.from_pretrained(find_janus().source)
    mine = sorted(captioned(tmp_path / "mine", 10).glob("*.png"))
    images = [generation_pixels(open_picture(path), 16) for path in mine]
    counts = janus.gen.encode(torch.stack(images)).flatten().bincount(minlength=40)
    assert (counts > 0).sum() > 30 and counts.max() < 0.2 * counts.sum()
    assert (
        len(sorted(captioned(tmp_path / "mine", 10).glob("*.txt"))) == 10
    )  # a second time
