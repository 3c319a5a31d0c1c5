"""A `datasets` table takes the world's place behind the same interface."""

import io
from pathlib import Path

import datasets
import pytest
from PIL import Image

from minijanus.lab import UserError
from minijanus.records import IMAGE, DatasetSource, as_picture, turns


def png(colour: str) -> bytes:
    """A small picture in one colour."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "png")
    return out.getvalue()


def table(rows: int = 6) -> datasets.Dataset:
    """Understanding, text and generation rows in turn."""
    kinds = ("understanding", "text", "generation")
    said = (turns(IMAGE, "red"), turns("hello", "hi"), turns("red", IMAGE))
    picture = {"bytes": png("red"), "path": None}
    return datasets.Dataset.from_dict(
        {
            "kind": [kinds[i % 3] for i in range(rows)],
            "images": [[] if i % 3 == 1 else [picture] for i in range(rows)],
            "messages": [said[i % 3] for i in range(rows)],
        }
    )


@pytest.mark.parametrize("saved_as", ["arrow", "parquet", "pictures"])
def test_a_folder_is_a_source(tmp_path: Path, saved_as: str) -> None:
    """Pictures left undecoded, roles lost, or rows of another task handed out."""
    rows = table()
    if saved_as == "pictures":
        rows = rows.cast_column("images", datasets.List(datasets.Image()))
    if saved_as == "parquet":
        rows.to_parquet(str(tmp_path / "rows.parquet"))
    else:
        rows.save_to_disk(str(tmp_path))
    source = DatasetSource(str(tmp_path))
    for task, pictures in (("understanding", 1), ("text", 0), ("generation", 1)):
        records = [source.record(task, index, stage=2) for index in range(4)]
        assert {record.kind for record in records} == {task}
        assert len({record.key for record in records[:2]}) == 2
        for record in records:
            assert [i.getpixel((0, 0)) for i in record.images] == [(255, 0, 0)] * pictures
            said = "".join(message["content"] for message in record.messages)
            assert said.count(IMAGE) == pictures
            assert [m["role"] for m in record.messages] == ["user", "assistant"]
    assert source.text(0) == "hello\nhi"
    assert source.told(0).messages == turns("hello", "hi")


def test_every_pass_covers_all_rows_in_its_own_order(tmp_path: Path) -> None:
    """Drawing with replacement would leave rows out; one order would repeat batches."""
    table(60).save_to_disk(str(tmp_path))
    source = DatasetSource(str(tmp_path), seed=3)
    passes = [
        [source.record("text", 20 * epoch + i, 2).key for i in range(20)]
        for epoch in (0, 1)
    ]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1])
    assert len(set(passes[0])) == 20
    again = DatasetSource(str(tmp_path), seed=3)
    assert again.record("text", 25, 2).key == passes[1][5]


def test_a_table_that_does_not_fit_is_told_in_one_sentence(tmp_path: Path) -> None:
    """A KeyError out of `datasets` tells nobody what to do."""
    table().remove_columns("images").save_to_disk(str(tmp_path / "a"))
    with pytest.raises(ValueError, match="has no column images; give it"):
        DatasetSource(str(tmp_path / "a"))
    table(2).save_to_disk(str(tmp_path / "b"))
    with pytest.raises(ValueError, match="'generation'; add some"):
        DatasetSource(str(tmp_path / "b")).record("generation", 0, 2)


def test_a_picture_of_a_table_is_upright_however_it_is_kept(tmp_path: Path) -> None:
    """Catches a phone's photo on its side: its turn is written in EXIF, not in pixels."""
    lying = Image.new("RGB", (8, 4), "red")
    turn = Image.Exif()
    turn[0x0112] = 6  # to be turned by a quarter
    lying.save(tmp_path / "photo.png", exif=turn)
    data = (tmp_path / "photo.png").read_bytes()
    kept = [str(tmp_path / "photo.png"), {"bytes": data, "path": None}]
    kept += [{"bytes": None, "path": str(tmp_path / "photo.png")}]
    kept += [Image.open(tmp_path / "photo.png")]
    assert [as_picture(value).size for value in kept] == [(4, 8)] * 4


def test_a_table_that_changed_has_another_name(tmp_path: Path) -> None:
    """Catches codes of the old pictures, which a cache hands out under the same keys."""
    names = []
    for rows in (6, 6, 9):
        table(rows).to_parquet(str(tmp_path / "rows.parquet"))
        names.append([DatasetSource(str(tmp_path)).name for _ in range(2)])
    assert all(first == again for first, again in names)
    assert len({first for first, _ in names[1:]}) == 2


def test_a_picture_that_a_table_decodes_itself_is_refused_alike(tmp_path: Path) -> None:
    """Catches `datasets` opening what `open_picture` would not, such as EPS."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    rows = table().map(lambda row: {"images": [{"bytes": eps, "path": None}]})
    rows = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    rows.cast_column("images", datasets.List(datasets.Image())).save_to_disk(str(tmp_path))
    with pytest.raises(UserError, match="a picture of the table is not a picture"):
        DatasetSource(str(tmp_path)).record("generation", 0, 2)


def test_bytes_that_would_start_a_program_are_refused() -> None:
    """Catches EPS, which Pillow hands to Ghostscript."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    with pytest.raises(UserError, match="a picture of the table is not a picture"):
        as_picture({"bytes": eps, "path": None})
