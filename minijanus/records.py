"""One plain record for every source of data (paper §4.2), and `datasets` tables as one.

A source answers `record(task, index, stage, category)`, `told(index)` for the LLM's
pre-training and `text(index)` for the text tokenizer's: `World` draws its answers,
`DatasetSource` reads them from a table with columns kind, images, messages.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Protocol

from PIL import Image, ImageOps

from minijanus.layout import Box

IMAGE = "<image_placeholder>"  # stands in a message where a picture goes
KINDS = ("understanding", "text", "generation")


@dataclass(frozen=True)
class Record:
    """One sample: messages in order, where each IMAGE placeholder is the next picture."""

    kind: str  # one of KINDS
    images: list[Image.Image] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)  # role, content
    key: str = ""  # names the pictures, so that encoded ones can be cached; "": never
    regions: tuple[tuple[Box, str], ...] = ()  # (box, words) of its parts


def turns(*contents: str) -> list[dict[str, str]]:
    """Messages from contents that user and assistant say in turn, the user first."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


def about_pictures(question: str, stage: int, pictures: int = 1) -> str:
    """A question with its pictures before it, as this stage asks it.

    The chat of stage III has a line break between them, as the released code has.
    """
    return IMAGE * pictures + ("\n" if stage == 3 else "") + question


class Source(Protocol):
    """What samples come from: `World` draws them, `DatasetSource` reads them."""

    name: str  # tells this source's pictures from another one's

    def record(self, task: str, index: int, stage: int, category: bool = False) -> Record:
        """Sample `index` of a task, in the form that this stage reads; 0: SigLIP."""

    def text(self, index: int) -> str:
        """One document, as plain text for the text tokenizer."""

    def told(self, index: int) -> Record:
        """One dialogue of the LLM's pre-training, of which the answers are learned."""


@lru_cache(maxsize=8)  # the latest pass of each task
def _order(name: str, count: int) -> list[int]:
    order = list(range(count))
    Random(name).shuffle(order)
    return order


def shuffled_place(seed: int, name: str, task: str, index: int, count: int) -> int:
    """Where sample `index` stands among `count`, of which every pass has its own order."""
    epoch, place = divmod(index, count)
    return _order(f"{seed}/{name}/{task}/{epoch}", count)[place]


class DatasetSource:
    """A `datasets` folder or hub name with columns kind, images, messages, as a source."""

    def __init__(self, name: str, split: str = "train", seed: int = 0):
        import datasets  # here, because a command that draws should not wait for it

        folder = Path(name)
        if (folder / "state.json").exists():
            table = datasets.load_from_disk(name)
        else:
            table = datasets.load_dataset(name, split=split)
        missing = {"kind", "images", "messages"} - set(table.column_names)
        if missing:
            raise ValueError(
                f"{name} has no column {', '.join(sorted(missing))}; give it the columns "
                "kind, images, messages."
            )
        column = table.features["images"]
        if isinstance(getattr(column, "feature", None), datasets.Image):
            # Undecoded: `open_picture` says in one sentence what it does not open.
            pictures = type(column)(datasets.Image(decode=False))
            table = table.cast_column("images", pictures)
        # The fingerprint, because a table that was changed has other pictures.
        self.name, self.seed, self.table = f"{name}@{table._fingerprint}", seed, table
        kinds = table["kind"]
        self.rows = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in KINDS}
        if strange := set(kinds) - set(KINDS):
            raise ValueError(
                f"{name} has rows of the kind {strange.pop()!r}: name them one of "
                f"{', '.join(KINDS)}."
            )
        for kind, rows in self.rows.items():  # now, not after an hour of other phases
            if not rows:
                raise ValueError(f"{name} has no row whose kind is {kind!r}; add some.")

    def record(self, task: str, index: int, stage: int, category: bool = False) -> Record:
        """Sample `index` of a task; every pass over the rows has its own order.

        Stage and category change nothing: a table says what its messages say.
        """
        rows = self.rows[task]
        place = shuffled_place(self.seed, self.name, task, index, len(rows))
        return self._read(rows[place])

    def text(self, index: int) -> str:
        """One document for the text tokenizer: a text row, its messages in lines."""
        messages = self.record("text", index, stage=2).messages
        return "\n".join(message["content"] for message in messages)

    def told(self, index: int) -> Record:
        """The row of `text`, as it stands; ValueError if nothing in it is an answer."""
        record = self.record("text", index, stage=2)
        if all(message["role"] != "assistant" for message in record.messages):
            raise ValueError(f"{record.key} has no assistant's message; add one.")
        return record

    def _read(self, row: int) -> Record:
        found = self.table[row]
        images = [as_picture(image) for image in found["images"] or []]
        messages = [
            {"role": str(m["role"]), "content": str(m["content"])}
            for m in found["messages"]
        ]
        return Record(found["kind"], images, messages, key=f"{self.name}/{row}")


def as_picture(value) -> Image.Image:
    """A picture as a table has it (decoded, bytes, or a path), upright and in RGB."""
    from minijanus.images import open_picture, to_rgb

    if isinstance(value, Image.Image):
        return to_rgb(ImageOps.exif_transpose(value))
    if isinstance(value, str):
        return open_picture(value)
    return open_picture(BytesIO(value["bytes"]) if value.get("bytes") else value["path"])
