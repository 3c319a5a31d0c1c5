"""What a lent GPU trains must come home whole, in few small files, and go on elsewhere."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import DATA
from conftest import script as data_script
from test_small import few_steps

from minijanus import checkpoint, judge_training, limits, pretrain
from minijanus.__main__ import make_parser
from minijanus.commands_measure import evaluate
from minijanus.config import PRESETS, SMALL, TINY
from minijanus.janus import Janus
from minijanus.judge import Found, Judge
from minijanus.lab import UserError
from minijanus.load import load_janus
from minijanus.pretrain import VQTraining
from minijanus.siglip import SigLIP
from minijanus.train import PREFIXES
from minijanus.world import World


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """data/gpu_session.py with a run of its own, in which `small` takes seconds."""
    module = data_script("gpu_session")
    monkeypatch.setattr(module, "RUN", tmp_path / "there")
    monkeypatch.setitem(PRESETS, "small", few_steps())
    monkeypatch.setattr(pretrain, "BPE_LINES", 200)
    short = replace(judge_training.PHASE, steps=2, batch=2)
    monkeypatch.setattr(judge_training, "PHASE", short)
    return module


def test_shards_are_small_and_hold_everything_once(session: ModuleType):
    """Catches a shard above the limit, and a tensor that is lost between two shards."""
    tensors = {f"t{i}": torch.full((i % 7 + 1, 50), float(i)) for i in range(40)}
    parts = session.shards(tensors, 3000)
    assert max(sum(t.nbytes + 100 for t in part.values()) for part in parts) <= 3000
    assert [name for part in parts for name in part] == list(tensors)
    assert len(parts) > 5
    assert len(session.shards({"big": torch.zeros(9999)}, 10)) == 1


def files_of_small() -> dict[str, dict[str, torch.Tensor]]:
    """Every file of a run of `small`, finished phases and states, with shapes alone."""
    with torch.device("meta"):
        janus, siglip, vq = Janus(SMALL), SigLIP(SMALL, SMALL.vocabulary), VQTraining(SMALL)
    parts = {"llm": ("llm", "text_head")}
    parts["stage1"] = ("und_adaptor", "gen_adaptor", "image_head")
    parts["stage2"] = (*parts["llm"], *parts["stage1"])
    parts["stage3"] = (*parts["stage2"], "und_encoder")
    files = {"siglip": siglip.state_dict(), "judge": Judge(SMALL).state_dict()}
    for name, some in parts.items():
        begins = tuple(prefix for part in some for prefix in PREFIXES[part])
        files[name] = {n: t for n, t in janus.state_dict().items() if n.startswith(begins)}
    trained = files | {"vq": vq.state_dict()}
    states = {
        f"{name}.resume": {f"{k}/{n}": t for k in kinds for n, t in weights.items()}
        for name, weights in trained.items()
        for kinds in [("model", "exp_avg", "exp_avg_sq")]
    }
    return files | {"vq": janus.gen.encoder.state_dict()} | states


def test_small_fits_into_what_comes_back(session: ModuleType):
    """Catches shapes of `small` that cannot be fetched, be it finished or stopped."""
    sizes = {
        name: sum(t.nbytes for t in session.rounded(name, tensors).values()) / 1e6
        for name, tensors in files_of_small().items()
    }
    needed = [sizes[name] for name in session.NEEDED]
    assert sum(needed) <= 59.8  # a little is for headers
    assert sum(int(size / 14.5) + 1 for size in needed) <= 7
    # Two thousand steps, which a fresh machine can do anew.
    assert {name for name, size in sizes.items() if size > 59.5} == {"stage3.resume"}


def fetched(session: ModuleType, out: Path, home: Path) -> list[str]:
    """Join what a piece left, after a look at its size."""
    files = list(out.iterdir())
    assert len(files) <= 8 and all(path.stat().st_size <= session.SHARD for path in files)
    assert {path.suffix for path in files} <= {".safetensors", ".zip"}
    return session.join(out, home)


def test_stopped_pieces_go_on_elsewhere_and_what_is_measured_is_shipped(
    session: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a trained phase that stays behind, a state that does not come home, weights
    scored that are not those shipped, and half an evaluation taken for a whole one.
    """
    home, at_home, outs = tmp_path / "home", set(), []
    monkeypatch.setattr(session, "SHARD", 4_400_000)  # a bit above the largest tensor
    for phase in ("siglip", "vq", "llm", "stage1", "stage2"):
        outs.append(tmp_path / f"out-{phase}")
        session.piece(0.0, outs[-1], sorted(at_home), workers=0)  # one step of this phase
        names = fetched(session, outs[-1], home)
        assert names[0] == f"{phase}.resume" and not at_home & set(names)
        at_home |= set(names[1:])
    assert at_home == {"siglip", "vq", "llm", "stage1"}
    assert len(list(outs[1].glob("vq.resume-*"))) > 2

    left, _ = checkpoint.read(session.RUN / "stage2.resume.safetensors")
    came, manifest = checkpoint.read(home / "stage2.resume.safetensors")
    assert set(came) == set(left) and manifest["step"] == 1
    for name, tensor in left.items():
        kind, wide = name.partition("/")[0], tensor.ndim > 1
        narrow = {"model": torch.float16, "exp_avg_sq": torch.bfloat16}
        expected = tensor.to(narrow[kind]).float() if wide and kind in narrow else tensor
        expected = 0 * expected if kind == "exp_avg" else expected
        assert torch.equal(came[name], expected) and came[name].dtype == tensor.dtype, name

    monkeypatch.setattr(session, "RUN", tmp_path / "elsewhere")
    for out in outs:
        session.join(out, session.RUN)
    states = [path.name for path in session.RUN.glob("*.resume.safetensors")]
    assert states == ["stage2.resume.safetensors"]
    measured = []

    def measure(shipped: Path, seconds: float) -> None:
        assert 0 < seconds <= 600
        measured.append(shipped)
        if len(measured) == 1:  # time is up
            (session.RUN / "scores.partial.json").write_text("{}")
        else:
            (session.RUN / "scores.json").write_text('{"a": 1}')
            (session.RUN / "samples").mkdir()
            (session.RUN / "samples" / "README.md").write_text("drawn")

    monkeypatch.setattr(session, "measure", measure)
    last = tmp_path / "last"
    for _ in range(2):
        session.piece(time.monotonic() + 600, last, sorted(at_home), workers=0)
    assert set(fetched(session, last, home)) == {"stage3", "judge"}
    session.piece(time.monotonic() + 600, last, sorted(at_home), workers=0)
    assert len(measured) == 2
    session.ship(home, tmp_path / "shipped", tmp_path / "results")
    for phase in session.NEEDED:
        scored, _ = checkpoint.load(measured[0] / f"{phase}.safetensors")
        shipped, about = checkpoint.load(tmp_path / "shipped" / f"{phase}.safetensors")
        assert set(scored) == set(shipped) and about["dtype"] == "float16"
        assert all(torch.equal(shipped[name], scored[name]) for name in scored), phase
    model, number = load_janus(tmp_path / "shipped")[::2]
    assert number == 3 and model.cfg.image_size == 128
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "scores.json",
        "samples",
    }


def run_of(folder: Path, **sizes: int) -> Path:
    """A folder with a file of so many numbers for each name."""
    for name, size in sizes.items():
        tensors = {f"{i}": torch.zeros(size // 4) for i in range(4)}
        checkpoint.save(folder / f"{name}.safetensors", tensors, {})
    return folder


def test_what_has_no_room_is_told_and_the_rest_comes(
    session: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches more bytes or files than come back, of which then nothing would."""
    run = run_of(tmp_path / "run", vq=400_000, llm=90_000, judge=100_000)
    monkeypatch.setattr(session, "TOTAL", 500_000)
    names = ["vq", "llm", "judge"]
    assert session.pack(run, tmp_path / "a", names) == ["vq"]
    assert session.pack(run, tmp_path / "b", ["llm"]) == []
    monkeypatch.setattr(session, "FILES", 2)  # one of them the texts
    assert session.pack(run, tmp_path / "c", names) == ["vq", "judge"]
    monkeypatch.setattr(session, "SHARD", 40_000)
    with pytest.raises(UserError, match="llm has a tensor above 40,000 bytes"):
        session.pack(run, tmp_path / "d", ["llm"])


def test_a_lost_shard_is_found_out(session: ModuleType, tmp_path: Path, monkeypatch):
    """Catches a model joined without some of its tensors."""
    run = run_of(tmp_path / "run", vq=400_000)
    monkeypatch.setattr(session, "SHARD", 250_000)
    session.pack(run, tmp_path / "out", ["vq"])
    first, *others = sorted((tmp_path / "out").iterdir())
    assert len(others) == 3
    first.unlink()
    with pytest.raises(UserError, match="does not hold all shards of vq"):
        session.join(tmp_path / "out", tmp_path / "home")


def test_the_evaluation_is_the_command_and_ends_in_time(
    session: ModuleType, tmp_path: Path, monkeypatch, capsys
):
    """Catches options that the command line does not know, and an error when time is up."""

    def run(command: list[str], cwd: Path, timeout: float, check: bool) -> None:
        args = make_parser().parse_args(command[3:])
        assert args.command is evaluate and args.checkpoint == args.judge == tmp_path
        assert command[:3] == [sys.executable, "-m", "minijanus"] and cwd == DATA.parent
        assert args.json == session.RUN / "scores.json" and timeout == 90
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(session.subprocess, "run", run)
    session.measure(tmp_path, 90)
    assert "the evaluation is not finished" in capsys.readouterr().out


def test_it_runs_where_nothing_is_installed_and_datasets_is_missing(tmp_path: Path):
    """Catches an import that finds the package, or `datasets`, on this machine alone."""
    # Folders of packages, without what `pip install -e` put beside them.
    packages = [path for path in sys.path if Path(path).name.endswith("-packages")]
    lines = [
        f"import runpy, sys; sys.path += {packages!r}; sys.modules['datasets'] = None",
        f"runpy.run_path({str(DATA / 'gpu_session.py')!r})",
        "from minijanus.config import SMALL; from minijanus.world import World",
        "print(World(SMALL).record('generation', 0, 2).images[0].size)",
    ]
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert done.stdout == "(128, 128)\n", done.stderr


class JudgeElsewhere:
    """A judge whose weights are on another device than the CPU; it sees nothing."""

    def parameters(self):
        """A judge's parameters tell its device."""
        yield torch.zeros(1, device="meta")

    def look(self, pixels: torch.Tensor) -> list[list[Found]]:
        """Nothing in any picture, if they are where the judge is."""
        assert pixels.device.type == "meta", "pixels and judge are on different devices"
        return [[] for _ in pixels]


def test_the_judge_is_measured_where_it_is(monkeypatch: pytest.MonkeyPatch):
    """Catches noise and plain pictures that stay on the CPU while the judge is not."""
    monkeypatch.setattr(limits, "SCENES", 2)
    monkeypatch.setattr(limits, "PROMPTS", 1)
    monkeypatch.setattr(
        limits, "redrawn", lambda model, world, asked: [world.render(s) for _, s in asked]
    )
    found = limits.judge_scores(JudgeElsewhere(), None, World(TINY, "heldout"))
    assert found["judge.real"]["value"] == found["judge.false_accepts"]["value"] == 0
