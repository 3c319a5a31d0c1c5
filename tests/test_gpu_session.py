"""What a lent GPU trained must come home whole, in few small files."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import MICRO
from conftest import script as data_script
from micro_run import save_run

from minijanus import checkpoint, load
from minijanus.load import load_janus


@pytest.fixture
def session() -> ModuleType:
    """data/gpu_session.py, which is no part of a package."""
    return data_script("gpu_session")


def test_shards_are_small_and_hold_everything_once(session: ModuleType):
    """Catches a shard above the limit, and a tensor that is lost between two shards."""
    tensors = {f"t{i}": torch.full((i % 7 + 1, 50), float(i)) for i in range(40)}
    parts = session.shards(tensors, 3000)
    assert all(sum(t.nbytes for t in part.values()) <= 3000 for part in parts)
    assert [name for part in parts for name in part] == list(tensors)
    assert len(parts) > 5
    assert len(session.shards({"big": torch.zeros(9999)}, 10)) == 1


def test_what_comes_home_is_the_trained_model(
    session: ModuleType, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a model that needs more phases than are brought back, or another model."""
    run, out, home = (tmp_path / name for name in ("run", "out", "home"))
    monkeypatch.setitem(load.PRESETS, MICRO.name, MICRO)
    save_run(run, tokenizer)
    checkpoint.save(run / "judge.safetensors", {"heads.bias": torch.ones(3)}, {})
    (run / "scores.json").write_text("{}")
    monkeypatch.setattr(session, "SHARD", 20_000)
    session.pack(run, out)
    names = sorted(path.name for path in out.iterdir())
    assert names[-1] == "texts.zip" and len(names) > 3
    assert all(path.stat().st_size < 40_000 for path in out.glob("*.safetensors"))
    session.join(out, home)
    before, after = (load_janus(folder)[0].state_dict() for folder in (run, home))
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor.half().float()), name
    assert (home / "scores.json").exists() and (home / "judge.safetensors").exists()
    (out / names[0]).unlink()
    with pytest.raises(SystemExit, match="not hold all shards"):
        session.join(out, home)
