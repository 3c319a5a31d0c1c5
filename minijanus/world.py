"""The world: a source of records for every task and stage (paper §4.2).

Pictures come from one pool per stream, which may be endless, and are drawn when they are
asked for. Each random choice depends only on (seed, split, stream, index); the wording has
a stream of its own, so that the same picture comes back with another question.
"""

from random import Random

from PIL import Image

from minijanus import corpus
from minijanus.charts import Chart, chart_turns, draw_chart, sample_chart
from minijanus.concepts import BACKGROUNDS, Concept, small_concepts, tiny_concepts
from minijanus.config import Config
from minijanus.language import (
    DESCRIBE,
    DESCRIBE_TOO,
    a,
    background,
    caption,
    coloured,
    description,
    long_caption,
    prompt,
)
from minijanus.layout import bare_box
from minijanus.questions import OF_PICTURES, SEVERAL, SEVERAL_SEEN, several
from minijanus.records import IMAGE, Record, about_pictures, turns
from minijanus.scenes import Sampler, Scene, weighted
from minijanus.sprites import compose, rows

# Differs: scenes of sprites with exact captions and questions stand for the paper's data
# sets, because no captioned photos could be had from packages.
DOCUMENT_EVERY = 5  # one in five understanding records of stages II and III
CHARTS = 0.6  # of the documents; the others have several pictures
PICTURES = {2: 60, 3: 25, 4: 15}  # of one interleaved document; shares in percent
MOST_PICTURES = max(PICTURES)
SPLITS = ("train", "heldout", "test")
BACKGROUND_EVERY = 4  # one in four scenes has a bare square among the regions for SigLIP


class World:
    """Scenes of one split, and records made of them; nothing here is downloaded.

    Training never shows a scene of "heldout" or "test"; what is chosen by looking at scores
    looks at "heldout", and "test" is for the scores that are reported (evaluate.py).
    `combinations="unseen"` gives scenes that each show a held-out combination; a `style`
    draws everything in that one style, the held-out one for instance; `foreign=False`
    leaves all languages but English out of its text, for the control model of Figure 8.
    """

    def __init__(
        self,
        cfg: Config,
        split: str = "train",
        combinations: str = "seen",
        style: str | None = None,
        foreign: bool = True,
    ):
        if split not in SPLITS or combinations not in ("seen", "unseen"):
            raise ValueError(
                f"A world's split is of {SPLITS}, its combinations seen or unseen."
            )
        if split == "train" and combinations == "unseen":
            raise ValueError("Unseen combinations are not for the split train.")
        self.cfg, self.split, self.unseen = cfg, split, combinations == "unseen"
        self.foreign, self.heldout = foreign, split != "train"
        styles = " ".join((style,) if style else cfg.styles)
        self.name = (
            f"{cfg.concepts} {split} {combinations} {styles} {cfg.image_size} {cfg.seed}"
            + ("" if foreign else " English only")
        )
        self.sampler = Sampler(concepts_of(cfg.concepts, (style,) if style else cfg.styles))
        self.concepts = self.sampler.concepts
        self.prefix = "" if split == "train" else f"{split}/{combinations}/"
        self.prefix += f"{style}/" if style else ""
        self.codes = {concept.name: concept.hexcode for concept in self.concepts}

    def rng(self, stream: str, index: int) -> Random:
        """The random numbers of one sample; no other sample has a part in them."""
        return Random(f"{self.cfg.seed}/{self.split}/{stream}/{index}")

    def scene(self, stream: str, index: int) -> Scene:
        """Scene `index` of a stream; the streams of pictures begin anew after n_scenes."""
        if stream != "text":
            index = self._place(index, MOST_PICTURES if stream == "document" else 1)
        how = (stream, index, self.heldout, self.unseen)
        return self.sampler.scene(self.rng(stream, index), *how)

    def render(self, scene: Scene, size: int | None = None) -> Image.Image:
        """The scene as an RGB picture of size x size pixels, by default image_size."""
        things = [(self.codes[t.concept], t.style, t.colour, t.box) for t in scene.objects]
        return compose(size or self.cfg.image_size, BACKGROUNDS[scene.background], things)

    def record(self, task: str, index: int, stage: int, category: bool = False) -> Record:
        """Sample `index` of a task in the form that this stage learns from; 0: SigLIP."""
        if task == "text":
            return self._text_record(index, stage)
        if task == "generation":
            return self._generation_record(index, category)
        if stage > 1 and index % DOCUMENT_EVERY == DOCUMENT_EVERY - 1:
            return self._document_record(index // DOCUMENT_EVERY, stage)
        # Scenes have a counter of their own: the index without the documents before it.
        before = index // DOCUMENT_EVERY if stage > 1 else 0
        return self._understanding_record(index - before, stage)

    def text(self, index: int) -> str:
        """One document of the LLM's pre-training, also the text share of stage II."""
        rng = self.rng("text words", index)
        kind = weighted(rng, corpus.shares(self.foreign))
        if kind == "wordnet":
            return corpus.wordnet_document(rng, self.heldout)
        if kind == "labels":
            return corpus.label_pairs(rng)
        scene = self.scene("text", index)
        if kind == "scene":
            return corpus.scene_with_questions(scene, rng, self.concepts)
        said = corpus.dialogue(scene, rng, self.concepts, self.heldout, self.foreign)
        return corpus.as_text(said)

    def told(self, index: int) -> Record:
        """A scene told in words, many questions about it, and the answers to learn."""
        scene, rng = self.scene("text", index), self.rng("told words", index)
        said = corpus.told(scene, rng, self.concepts, rng.randint(*SEVERAL))
        return Record("text", [], turns(*said))

    def _text_record(self, index: int, stage: int) -> Record:
        if stage < 3:
            said = {"role": "assistant", "content": self.text(index)}
            return Record("text", [], [said])
        rng = self.rng("dialogue words", index)
        scene = self.scene("text", index)
        said = corpus.dialogue(scene, rng, self.concepts, self.heldout, self.foreign)
        return Record("text", [], turns(*said))

    def _generation_record(self, index: int, category: bool) -> Record:
        stream = "category" if category else "caption"
        scene = self.scene(stream, index)
        rng = self.rng(f"{stream} words", index)
        if category:
            words = coloured(scene.objects[0].concept, scene.objects[0].colour)
        else:
            words = (prompt if rng.random() < 0.6 else description)(scene, rng)
        picture = self.render(scene)
        return Record("generation", [picture], turns(words, IMAGE), self._key(scene))

    def _understanding_record(self, index: int, stage: int) -> Record:
        scene = self.scene("scene", index)
        rng = self.rng(f"scene words {max(stage, 1)}", index)
        if stage < 2:
            words = long_caption(scene, rng)
            # SigLIP reads of things alone (pretrain.py), and no full stop: a caption that
            # was cut must equal one that was short.
            said = [IMAGE, words if stage else words.partition(". ")[0]]
        else:
            question, *rest = self._said(scene, rng, stage)
            said = [about_pictures(question, stage), *rest]
        regions = [(thing.box, a(thing.concept, thing.colour)) for thing in scene.objects]
        if index % BACKGROUND_EVERY == 0:
            bare = bare_box(rng, [thing.box for thing in scene.objects])
            regions += [(bare, background(scene))] if bare else []
        pictures, key = [self.render(scene)], self._key(scene)
        return Record("understanding", pictures, turns(*said), key, tuple(regions))

    def _said(self, scene: Scene, rng: Random, stage: int) -> list[str]:
        """A description, one question or several about a scene, with the answers."""
        shares = {"description": 40, "question": 15, "several": 45}
        if stage == 3:
            shares = {"description": 20, "question": 20, "several": 60}
        kind = weighted(rng, shares)
        if kind == "description":
            ask = DESCRIBE if stage == 2 else rng.choice(DESCRIBE_TOO)
            return [ask, description(scene, rng)]
        number = 1 if kind == "question" else rng.randint(*SEVERAL_SEEN)
        asked = several(scene, rng, self.concepts, number, OF_PICTURES)
        return [words for turn in asked for words in turn]

    def document(self, index: int) -> Chart | list[Scene]:
        """What document `index` shows: a chart, or two to four scenes."""
        number = self._place(index)
        rng = self.rng("document", number)
        if rng.random() < CHARTS:
            return sample_chart(rng)
        count = weighted(rng, PICTURES)
        return [self.scene("document", MOST_PICTURES * number + i) for i in range(count)]

    def _document_record(self, index: int, stage: int) -> Record:
        shown = self.document(index)
        rng = self.rng(f"document words {stage}", index)
        key = self._name("document", self._place(index))
        if isinstance(shown, Chart):
            said = [words for turn in chart_turns(shown, rng) for words in turn]
            picture = draw_chart(shown, self.cfg.image_size)
            said[0] = about_pictures(said[0], stage)
            return Record("understanding", [picture], turns(*said), key)
        pictures = [self.render(scene) for scene in shown]
        if stage == 3:
            question, answer = which_picture(shown, rng)
            said = [about_pictures(question, stage, len(shown)), answer]
            return Record("understanding", pictures, turns(*said), key)
        message = {"role": "assistant", "content": interleaved(shown, rng)}
        return Record("understanding", pictures, [message], key)

    def _place(self, index: int, pictures: int = 1) -> int:
        """The index within a pool of n_scenes samples of so many pictures each."""
        pool = self.cfg.n_scenes * pictures
        return index % pool if pool else index

    def _key(self, scene: Scene) -> str:
        return self._name(scene.stream, scene.index)

    def _name(self, stream: str, place: int) -> str:
        """A name of the pictures within this world; PictureCache keeps worlds apart.

        In a pool without end no picture comes back, so none has a name to be kept under.
        """
        return f"{self.prefix}{stream}/{place}" if self.cfg.n_scenes else ""


def concepts_of(name: str, styles: tuple[str, ...]) -> list[Concept]:
    """The concepts of a world by its name, tiny or small, as drawn in these styles."""
    if name == "tiny":
        return tiny_concepts(rows(), styles)
    if name == "small":
        return small_concepts(rows(), styles)
    raise ValueError(f"There is no world called {name!r}; its concepts are tiny or small.")


def interleaved(scenes: list[Scene], rng: Random) -> str:
    """Pictures with text between, all of it before its picture or all of it after."""
    words = [caption(scene, rng) for scene in scenes]
    if rng.random() < 0.5:
        return " ".join(f"{text[0].upper()}{text[1:]}:{IMAGE}" for text in words)
    return " ".join(f"{IMAGE} {text[0].upper()}{text[1:]}." for text in words)


def which_picture(scenes: list[Scene], rng: Random) -> list[str]:
    """Which picture shows a dog? Or all of them, where no concept is in only one."""
    order = ("first", "second", "third", "fourth")
    shown = [{group.concept for group in scene.groups} for scene in scenes]
    places = rng.sample(range(len(scenes)), len(scenes))
    for place in places:
        others = set().union(*shown[:place], *shown[place + 1 :])
        for name in sorted(shown[place] - others):
            return [f"Which picture shows {a(name)}?", f"the {order[place]}"]
    parts = (
        f"The {order[i]} picture shows {caption(s, rng)}." for i, s in enumerate(scenes)
    )
    return ["Describe the pictures.", " ".join(parts)]
