"""What notebooks and the command line share: device, seed, show, picture, grid, ok."""

import io

import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot
from PIL import Image

from minijanus import heads, lab


def test_the_environment_variable_chooses_the_device(monkeypatch):
    """An override that is ignored would send a class's laptops to a broken GPU driver."""
    monkeypatch.setenv("MINIJANUS_DEVICE", "cpu")
    assert lab.device() == torch.device("cpu")
    monkeypatch.delenv("MINIJANUS_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert lab.device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert lab.device() == torch.device("mps")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "gpu", "tpu"])
def test_a_device_that_is_not_here_is_refused(monkeypatch, wanted: str):
    """torch's own error comes later and names a driver instead of the variable."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("MINIJANUS_DEVICE", wanted)
    with pytest.raises(lab.UserError, match=f"^MINIJANUS_DEVICE={wanted} .*: use cpu.$"):
        lab.device()


def test_a_device_with_a_number_that_is_none_is_refused(monkeypatch):
    """Catches torch's traceback for cuda:9 on a computer that has two."""
    monkeypatch.setenv("MINIJANUS_DEVICE", "cpu:x")
    with pytest.raises(lab.UserError, match="^MINIJANUS_DEVICE=cpu:x .* and number.$"):
        lab.device()


def test_seed_fixes_both_torch_and_its_generator():
    """A generator left unseeded would give every run other data."""
    first, second = lab.seed(3), torch.rand(4)
    again, same = lab.seed(3), torch.rand(4)
    assert torch.equal(second, same)
    drawn = torch.rand(5, generator=first)
    assert torch.equal(drawn, torch.rand(5, generator=again))
    assert not torch.equal(drawn, torch.rand(5, generator=lab.seed(4)))


@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    """Collects what is displayed, as a notebook would store it."""
    outputs = []

    def display(thing: object) -> None:
        data, metadata = DisplayFormatter().format(thing)
        outputs.append({"metadata": metadata, **data})

    monkeypatch.setattr("IPython.display.display", display)
    return outputs


def test_show_displays_the_real_source_and_where_it_stands(displayed):
    """A pasted copy, or a line number that is off by one, would mislead a reader."""
    lab.show(heads.guide)
    (output,) = displayed
    place, source = output["text/markdown"].split("\n\n", 1)
    line = heads.guide.__code__.co_firstlineno
    assert place == f"`minijanus/heads.py:{line}`"
    assert source.startswith("```python\ndef guide(")
    assert "l_c - l_u" in source
    lab.show(lab)
    assert displayed[1]["text/markdown"].startswith("`minijanus/lab.py:1`")


def test_show_takes_a_method_and_refuses_a_number(displayed):
    """A method's source is indented, which Markdown's fence must not be."""
    lab.show(heads.ImageHead.forward)
    (output,) = displayed
    assert "\n```python\ndef forward(" in output["text/markdown"]
    with pytest.raises(lab.UserError, match="give a function, class or module"):
        lab.show(3)


def test_picture_displays_with_alt_text_and_closes_the_figure(displayed):
    """A figure left open is shown a second time, without its description."""
    alt = "a red square on white paper"
    figure = pyplot.figure()
    lab.picture(figure, alt=alt)
    assert not pyplot.fignum_exists(figure.number)
    image = Image.new("RGB", (7, 5), "red")
    lab.picture(image, alt=alt)
    assert [output["metadata"]["image/png"]["alt"] for output in displayed] == [alt] * 2
    with pytest.raises(ValueError, match="5 words or more"):
        lab.picture(image, alt="a square")


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_grid_shows_every_picture_once(count: int):
    """The last row of an uneven grid is where pictures get lost."""
    images = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(count)]
    figure = lab.grid(images, titles=[str(i) for i in range(count)])
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.images[0].get_array()[0, 0, 0] for axis in shown] == list(range(count))
    assert [axis.get_title() for axis in shown] == [str(i) for i in range(count)]
    figure.savefig(io.BytesIO(), format="png")


def test_ok_prints_or_raises(capsys):
    """A check that only prints would let a broken notebook pass."""
    lab.ok(torch.tensor(True), "the row sums to 1")
    assert capsys.readouterr().out == "ok: the row sums to 1\n"
    with pytest.raises(AssertionError, match="the row sums to 1"):
        lab.ok(1 + 1 == 3, "the row sums to 1")
