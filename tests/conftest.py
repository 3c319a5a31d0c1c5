"""A Janus so small that a step takes milliseconds, and the words and pictures it reads."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
import torch
from PIL import Image, ImageDraw

from minijanus.config import TABLE_1, Config, Phase
from minijanus.janus import Janus
from minijanus.records import IMAGE, Record, turns
from minijanus.text import Tokenizer

DATA = Path(__file__).parents[1] / "data"
DESCRIBE = "Describe the image in detail."
SENTENCES = [
    "a red dog. it is left of a blue car.",
    "a blue car. it is below a red dog.",
    "dog. car. yes. no. one. two.",
    DESCRIBE,
    "User: what is this?\n\nAssistant: a red dog.",
    "User: is it red?\n\nAssistant: yes.",
    "what is this? is it red?",
]

MICRO = Config(
    name="micro",
    image_size=32,
    # A picture to be understood takes 4 positions, one to be drawn 16: whoever mistakes
    # one pathway's length for the other's is found out.
    und_patch=16,
    und_width=16,
    und_depth=1,
    und_heads=2,
    und_text_depth=1,
    n_codes=32,
    vq_channels=8,
    vq_multipliers=(1, 1, 1, 1),
    vq_res_blocks=1,
    vq_latent=8,
    vq_perceptual=False,
    vq_adversarial_from=None,
    vocabulary=400,
    llm_width=32,
    llm_depth=2,
    llm_heads=4,
    llm_ff=64,
    max_positions=256,
    pack_length=96,
    siglip=Phase("siglip", 1e-3, 2, 4),
    vq=Phase("vq", 1e-3, 2, 4),
    llm=Phase("llm", 1e-3, 2, 4),
    stages=(
        replace(TABLE_1[0], learning_rate=3e-3, steps=6, batch=4, warmup=2),
        replace(TABLE_1[1], learning_rate=2e-3, steps=6, batch=10, warmup=2),
        replace(TABLE_1[2], learning_rate=1e-3, steps=6, batch=20, system_prompt=False),
    ),
)


class MicroSource:
    """Records in every format of paper §4.2, each a pure function of (task, index)."""

    name = "micro"

    def __init__(self):
        self.asked: list[tuple[str, int, int, bool]] = []

    def record(self, task: str, index: int, stage: int, category: bool = False) -> Record:
        """Sample `index` of a task, in the form that this stage reads."""
        self.asked.append((task, index, stage, category))
        rng = Random(f"micro/{task}/{index}")
        thing, other = rng.sample(["a red dog", "a blue car", "a red car", "a blue dog"], 2)
        caption = f"{thing}. it is left of {other}."
        if task == "generation":
            prompt = thing.split()[-1] if category else caption
            messages, pictures = turns(prompt, IMAGE), 1
        elif task == "text":
            chat = turns("what is this?", f"{thing}.")
            messages, pictures = (chat if stage == 3 else turns(caption)), 0
        elif stage == 3:
            question = IMAGE + "\nwhat is this?"
            messages, pictures = turns(question, caption, "is it red?", "yes."), 1
        elif stage < 2:
            messages, pictures = turns(IMAGE, caption), 1
        elif index % 3 == 0:
            messages, pictures = turns(IMAGE + DESCRIBE, caption), 1
        elif index % 3 == 1:
            messages, pictures = turns(IMAGE + "what is this?", f"{thing}."), 1
        else:
            messages = turns(f"{thing}. {IMAGE} {other}. {IMAGE} yes.")
            pictures = 2
        images = [draw_something(rng) for _ in range(pictures)]
        return Record(task, images, messages, key=f"micro/{task}/{index}")

    def text(self, index: int) -> str:
        """One document of the LLM's pre-training."""
        return SENTENCES[index % len(SENTENCES)]

    def told(self, index: int) -> Record:
        """One dialogue of the LLM's pre-training."""
        thing = ("a red dog", "a blue car")[index % 2]
        return Record("text", [], turns(f"{thing}. what is this?", f"{thing}."))


def draw_something(rng: Random) -> Image.Image:
    """A rectangle of one colour on another, wide: each eye sees it its own way."""
    colours = [tuple(rng.randrange(256) for _ in range(3)) for _ in range(2)]
    image = Image.new("RGB", (40, 32), colours[0])
    x, y = rng.randrange(32), rng.randrange(24)
    ImageDraw.Draw(image).rectangle((x, y, x + 8, y + 8), fill=colours[1])
    return image


@pytest.fixture
def cfg() -> Config:
    """The micro config."""
    return MICRO


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer in which every word of SENTENCES is one token."""
    return Tokenizer.train(SENTENCES * 4, MICRO.vocabulary)


@pytest.fixture
def source() -> MicroSource:
    """A source of its own for each test, so that it can be asked what was asked."""
    return MicroSource()


@pytest.fixture
def new_janus() -> Callable[[Config], Janus]:
    """A function that makes the same micro Janus each time, as a new process would."""
    return lively_janus


@pytest.fixture
def janus(cfg: Config) -> Janus:
    """A fresh micro Janus; see `lively_janus`."""
    return lively_janus(cfg)


def lively_janus(cfg: Config) -> Janus:
    """A Janus whose weights are large.

    At the usual start all logits are nearly equal, so that a wrong mask, position or
    prompt would change next to nothing and stay unseen.
    """
    torch.manual_seed(0)
    janus = Janus(cfg)
    parts = (janus.llm, janus.text_head, janus.image_head, janus.gen.adaptor)
    for part in (*parts, janus.und.adaptor):
        for parameter in part.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return janus


def script(name: str) -> ModuleType:
    """One of the scripts in data/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DATA / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
