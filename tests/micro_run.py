"""A finished run of the micro config in a folder, and the command line as a function."""

from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import MICRO

from minijanus import checkpoint, config
from minijanus.__main__ import main
from minijanus.janus import Janus
from minijanus.load import PHASES, build
from minijanus.text import Tokenizer

# What each phase's file holds: the parts that train in it (paper Fig. 3).
HOLDS = {
    "siglip": ("und.encoder.",),
    "vq": ("gen.encoder.",),
    "llm": ("llm.", "text_head."),
    "stage1": ("und.adaptor.", "gen.embedding.", "gen.adaptor.", "image_head."),
}
HOLDS["stage2"] = (*HOLDS["llm"], *HOLDS["stage1"])
HOLDS["stage3"] = (*HOLDS["siglip"], *HOLDS["stage2"])
LOG = "step,seconds,loss,understanding,text,generation\n1,0.1,2.0,2.0,2.0,2.0\n"


def part_of(janus: Janus, phase: str) -> dict:
    """The tensors that this phase's file holds."""
    return {n: t for n, t in janus.state_dict().items() if n.startswith(HOLDS[phase])}


def save_run(folder: Path, tokenizer: Tokenizer, janus: Janus | None = None) -> Path:
    """Write a run as training leaves it behind; return the folder."""
    janus = janus or build(MICRO)
    for phase in PHASES:
        path = folder / f"{phase}.safetensors"
        manifest = {"preset": janus.cfg.name, "phase": phase, "config": asdict(janus.cfg)}
        checkpoint.save(path, part_of(janus, phase), manifest)
        checkpoint.write_text(path.with_suffix(".csv"), LOG)
    tokenizer.save(folder / "tokenizer.json")
    return folder


class CommandLine:
    """`python -m minijanus` in this process, where a micro preset exists."""

    def __init__(self, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(config.PRESETS, MICRO.name, MICRO)
        self.capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command."""
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *self.capsys.readouterr()

    def refusal(self, *arguments: object) -> str:
        """The one sentence on stderr of a command that must fail."""
        code, out, error = self(*arguments)
        assert (code, out) == (2, ""), f"exit code {code}, stdout {out!r}"
        assert error.count("\n") == 1 and error.endswith(".\n"), error
        assert "Traceback" not in error
        return error
