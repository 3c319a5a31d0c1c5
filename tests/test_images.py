"""Pictures: both preprocessings of §4.1, and every odd file a person may give."""

import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from minijanus.images import (
    generation_pixels,
    open_picture,
    to_picture,
    to_rgb,
    understanding_pixels,
)
from minijanus.lab import UserError

GREY = (127 / 255 - 0.5) / 0.5
# (width, height) of a picture -> of the same picture in a square of 384, worked by hand.
SIZES = {
    (500, 333): (384, 255),  # 255.744, which rounding would make 256
    (777, 333): (384, 164),  # 164.571, which rounding would make 165
    (333, 777): (164, 384),
    (640, 427): (384, 256),  # 256.2
    (1000, 667): (384, 256),  # 256.128
    (1024, 683): (384, 256),  # 256.125
    (1920, 1080): (384, 216),  # exactly 216
    (300, 200): (384, 256),  # exactly 256
    (3, 2): (384, 256),
    (385, 384): (384, 383),  # 383.003
    (200, 200): (384, 384),
    (384, 384): (384, 384),
    (1000, 7): (384, 14),  # 2.688, but never below 14
    (900, 1): (384, 14),
    (1, 900): (14, 384),
    (10_000, 1): (384, 14),
    (1, 10_000): (14, 384),
}
# Of transformers' port, which rounds: 255.744, 164.571 and 164.571.
ROUNDED = {(500, 333): (384, 256), (777, 333): (384, 165), (333, 777): (165, 384)}


def noise(width: int, height: int) -> Image.Image:
    """A picture of random colours, the same every time."""
    generator = torch.Generator().manual_seed(width * height)
    levels = torch.randint(0, 256, (height, width, 3), generator=generator)
    return Image.fromarray(levels.to(torch.uint8).numpy())


def saved(image: Image.Image, path: Path, **options) -> Path:
    """Write the picture and return its path."""
    image.save(path, **options)
    return path


@pytest.mark.parametrize(("size", "inside"), SIZES.items(), ids=str)
def test_understanding_keeps_all_of_the_picture_in_the_centre(size, inside):
    """Rounding instead of truncating, or bars on one side only, moves every patch."""
    pixels = understanding_pixels(Image.new("RGB", size, "white"), 384)
    assert pixels.shape == (3, 384, 384)
    (width, height), white = inside, (pixels == 1).all(dim=0)
    left, top = (384 - width) // 2, (384 - height) // 2
    expected = torch.zeros(384, 384, dtype=torch.bool)
    expected[top : top + height, left : left + width] = True
    assert torch.equal(white, expected)
    torch.testing.assert_close(
        pixels[:, ~expected], torch.full_like(pixels[:, ~expected], GREY)
    )


def in_a_square(image: Image.Image, inside: tuple[int, int]) -> torch.Tensor:
    """An RGB picture resized to this size in a grey square of 384, by torchvision."""
    (width, height), bicubic = inside, InterpolationMode.BICUBIC
    resized = TF.resize(image, [height, width], bicubic, antialias=True)
    left, top = (384 - width) // 2, (384 - height) // 2
    sides = [left, top, 384 - width - left, 384 - height - top]
    return TF.normalize(TF.to_tensor(TF.pad(resized, sides, fill=127)), [0.5], [0.5])


@pytest.mark.parametrize(("size", "inside"), SIZES.items(), ids=str)
def test_understanding_equals_torchvision(size, inside):
    """Bilinear, or bicubic without antialiasing, would give other values."""
    image = noise(*size)
    assert torch.equal(understanding_pixels(image, 384), in_a_square(image, inside))


# Modes, the numbers that a pixel has in them, and of what kind.
RAW = {
    "1": (1, bool), "L": (1, np.uint8), "P": (1, np.uint8), "RGB": (3, np.uint8),
    "LA": (2, np.uint8), "RGBA": (4, np.uint8), "CMYK": (4, np.uint8),
    "I;16": (1, np.uint16), "I": (1, np.int32), "F": (1, np.float32),
}  # fmt: skip


def of_mode(mode: str) -> tuple[Image.Image, np.ndarray]:
    """A random picture of 500 x 333, and its levels h w c worked out by hand, unrounded."""
    (channels, kind), random = RAW[mode], np.random.default_rng(5)
    shape, top = (333, 500, channels), {"1": 2, "I;16": 65_536, "I": 65_536}.get(mode, 256)
    numbers = random.integers(0, top, shape).astype(kind)
    if mode == "F":
        numbers = random.random(shape).astype(kind)
    if mode == "1":  # eight pixels a byte: not to be made from bytes here
        return Image.fromarray(numbers[..., 0]), 255.0 * numbers
    image = Image.frombytes(mode, (500, 333), numbers.tobytes())
    if mode == "P":
        colours = random.integers(0, 256, (256, 3)).astype(np.uint8)
        image.putpalette(colours.tobytes())
        return image, colours[numbers[..., 0]]
    *colours, last = (numbers[..., i : i + 1].astype(float) for i in range(channels))
    if mode in ("LA", "RGBA"):  # before white
        return image, np.concatenate([c * last / 255 + 255 - last for c in colours], -1)
    if mode == "CMYK":
        return image, np.concatenate([(255 - c) * (255 - last) / 255 for c in colours], -1)
    return image, numbers * {"I;16": 1 / 257, "I": 1 / 257, "F": 255.0}.get(mode, 1)


@pytest.mark.parametrize("mode", RAW)
def test_understanding_of_every_mode(mode):
    """Each level worked out by hand: a dropped alpha or a clipped scan would differ."""
    image, levels = of_mode(mode)
    assert image.mode == mode
    rounded = np.floor(levels + 0.5).astype("uint8")
    expected = Image.fromarray(np.broadcast_to(rounded, (333, 500, 3)).copy())
    found = understanding_pixels(image, 384)
    assert torch.equal(found, in_a_square(expected, (384, 255)))


def ported(image: Image.Image, kind: str) -> torch.Tensor:
    """The pixels that one of transformers' two processors of Janus makes of a picture."""
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, f"JanusImageProcessor{kind}")
    # Deviation 5 of the port: not told what our preprocessor_config.json says, it takes
    # CLIP's numbers.
    half = [0.5, 0.5, 0.5]
    assert list(processor().image_mean) != half
    found = processor(image_mean=half, image_std=half)(image, return_tensors="pt")
    return torch.as_tensor(found["pixel_values"][0])


@pytest.mark.parametrize("size", sorted(SIZES.keys() - ROUNDED.keys()), ids=str)
def test_understanding_equals_transformers_where_sizes_agree(size):
    """Of its two processors one resizes as we do, the other a few pixels by some levels."""
    image = noise(*size)
    ours = understanding_pixels(image, 384)
    assert torch.equal(ours, ported(image, "Pil"))
    apart = (ours - ported(image, "")).abs()
    assert apart.max() < 6 / 127.5 and apart.mean() < 0.1 / 127.5


@pytest.mark.parametrize(("size", "theirs"), ROUNDED.items(), ids=str)
def test_where_transformers_rounds_it_differs(size, theirs):
    """Deviation 4 of the port, held so that a repaired port is noticed."""
    image = noise(*size)
    expected = in_a_square(image, theirs)
    assert torch.equal(ported(image, "Pil"), expected)
    ours = understanding_pixels(image, 384)
    assert all((ours - ported(image, kind)).abs().max() > 1 for kind in ("Pil", ""))


def test_pictures_smaller_than_the_released_minimum():
    """A square below 14 pixels cannot hold a side of 14."""
    pixels = understanding_pixels(Image.new("RGB", (100, 1), "white"), 8)
    assert (pixels == 1).all()
    pixels = understanding_pixels(Image.new("RGB", (100, 1), "white"), 64)
    assert (pixels == 1).all(dim=0).sum() == 64 * 14


@pytest.mark.parametrize("size", [(96, 48), (48, 96), (40, 40), (128, 64)], ids=str)
def test_generation_equals_resizing_all_then_cropping(size):
    """Padding a drawing target, or cropping before the filter looks, would differ."""
    # Half the contrast, or what is clipped between the filter's two passes would depend on
    # which side comes first; what is rounded there may differ by a level or two.
    image, short = noise(*size).point([64 + i // 2 for i in range(256)] * 3), min(size)
    width, height = (side * 32 // short for side in size)
    resized = TF.resize(image, [height, width], InterpolationMode.BICUBIC, antialias=True)
    expected = TF.normalize(TF.to_tensor(TF.center_crop(resized, [32, 32])), [0.5], [0.5])
    torch.testing.assert_close(generation_pixels(image, 32), expected, atol=2 / 127, rtol=0)


@pytest.mark.parametrize("turned", [False, True])
def test_generation_keeps_the_middle(turned: bool):
    """A crop at the edge would cut the main object off; a squeeze would show the edges."""
    stripes = Image.new("RGB", (300, 100), "red")
    stripes.paste("lime", (80, 0, 220, 100))
    image = stripes.transpose(Image.Transpose.ROTATE_90) if turned else stripes
    lime = torch.tensor([-1.0, 1.0, -1.0])[:, None, None].expand(3, 64, 64)
    assert torch.equal(generation_pixels(image, 64), lime)


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000), (1, 1), (10_000, 3)], ids=str)
def test_extreme_shapes_stay_small(size):
    """Resizing the short side of 1 x 10,000 to 384 first would take gigabytes."""
    image = Image.new("RGB", size, "blue")
    for pixels in (generation_pixels(image, 384), understanding_pixels(image, 384)):
        assert pixels.shape == (3, 384, 384)
        assert pixels[:, 192, 192].tolist() == [-1, -1, 1]


def test_every_level_survives_both_ways():
    """Truncating instead of rounding on the way back would darken each round trip."""
    levels = torch.arange(256).repeat(3, 256, 1).to(torch.uint8)
    image = to_picture(levels / 127.5 - 1)
    for pixels in (generation_pixels(image, 256), understanding_pixels(image, 256)):
        assert pixels.dtype == torch.float32
        assert (pixels.min(), pixels.max()) == (-1, 1)
        assert to_picture(pixels).tobytes() == image.tobytes()
    assert image.getpixel((200, 0)) == (200, 200, 200)


def test_to_picture_clips():
    """A decoder's 1.01 must not wrap round to black."""
    picture = to_picture(torch.tensor([1.5, -1.5, 0.0])[:, None, None].expand(3, 2, 5))
    assert picture.size == (5, 2)
    assert picture.getpixel((0, 0)) == (255, 0, 128)


def test_the_argument_is_left_alone():
    """A picture is used by both eyes; the first must not change it for the second."""
    image = noise(30, 20)
    before = image.tobytes()
    understanding_pixels(image, 64)
    generation_pixels(image, 64)
    assert (image.tobytes(), image.size, image.mode) == (before, (30, 20), "RGB")


MODES = ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"]


@pytest.mark.parametrize("mode", [*MODES, "LAB", "I", "F", "I;16", "I;16B"])
def test_any_mode_is_accepted(mode: str):
    """Each mode has its own number of channels; a reader that assumes 3 crashes."""
    image = Image.new(mode, (40, 30))
    for pixels in (understanding_pixels(image, 64), generation_pixels(image, 64)):
        assert pixels.shape == (3, 64, 64)
        assert pixels.isfinite().all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa"])
def test_transparent_becomes_white(mode: str):
    """Dropping the alpha channel shows the black that hides under a cut-out's edge."""
    assert to_rgb(Image.new(mode, (8, 8), 0)).getcolors() == [(64, (255, 255, 255))]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_becomes_white(mode: str, tmp_path: Path):
    """A PNG may name one colour as transparent instead of having an alpha channel."""
    image = Image.new(mode, (8, 8), 0)
    clear = (0, 0, 0) if mode == "RGB" else 0
    path = saved(image, tmp_path / "clear.png", transparency=clear)
    assert open_picture(path).getcolors() == [(64, (255, 255, 255))]


def test_half_transparent_is_mixed_with_white():
    """A mask used as on/off would leave hard edges round every sprite."""
    image = Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    assert to_rgb(image).getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("level", [0, 257, 30_000, 65_535])
def test_sixteen_bits_become_eight(level: int, tmp_path: Path):
    """Pillow's own conversion clips: a 16-bit scan would be all white."""
    path = saved(Image.new("I;16", (4, 4), level), tmp_path / "scan.png")
    assert open_picture(path).getpixel((0, 0)) == (round(level / 257),) * 3


def test_a_transparent_level_of_sixteen_bits_is_forgotten():
    """Catches dark spots that turn white when the picture is read a second time."""
    scan = Image.new("I;16", (4, 4), 20 * 257)
    scan.info["transparency"] = 20
    assert to_rgb(to_rgb(scan)).getpixel((0, 0)) == (20, 20, 20)


@pytest.mark.parametrize(("level", "expected"), [(0.5, 128), (100.0, 100), (65_535.0, 255)])
def test_float_grey_is_scaled_by_its_range(level: float, expected: int, tmp_path: Path):
    """A float picture of 0..1 would come out all black."""
    path = saved(Image.new("F", (4, 4), level), tmp_path / "float.tiff")
    assert open_picture(path).getpixel((0, 0)) == (expected,) * 3


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_an_animation_gives_its_first_frame(kind: str, tmp_path: Path):
    """The last frame, or an error about many frames, would surprise."""
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"moving.{kind}"
    lossless = {"lossless": True} if kind == "webp" else {}
    saved(frames[0], path, save_all=True, append_images=frames[1:], **lossless)
    assert open_picture(path).getpixel((4, 4)) == (255, 0, 0)


def test_a_photo_is_turned_upright(tmp_path: Path):
    """Telephones store a turned picture and a note; a question about "left" would fail."""
    image = Image.new("RGB", (20, 10), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn by a quarter to see it upright
    path = saved(image, tmp_path / "photo.jpg", exif=exif)
    assert open_picture(path).size == (10, 20)


@pytest.mark.parametrize("size", [(1, 300), (10_000, 2), (1, 1)], ids=str)
def test_extreme_files_open(size, tmp_path: Path):
    """One pixel wide and ten thousand wide are pictures like any other."""
    path = saved(Image.new("L", size, 200), tmp_path / "thin.png")
    assert open_picture(path).size == size


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "tiff", "ppm"])
def test_every_format_opens_whole_and_is_refused_when_cut(kind: str, tmp_path: Path):
    """A half-read picture would be answered as if its grey lower half were real."""
    path = saved(noise(120, 90), tmp_path / f"picture.{kind}")
    assert open_picture(path).size == (120, 90)
    content = path.read_bytes()
    for length in (len(content) // 2, 200, 60):
        path.write_bytes(content[:length])
        assert_refused(path, "(damaged or cut off|not a picture)")


def test_what_is_no_picture_is_refused(tmp_path: Path):
    """Each of these once reached a person as a traceback."""
    assert_refused(tmp_path / "absent.png", "does not exist: give the path of a picture")
    assert_refused(tmp_path, "is a folder: give the path of a picture")
    for name, content in {
        "text.png": b"hello",
        "empty.jpg": b"",
        "zip.png": b"PK\3\4",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name, "is not a picture: give one of PNG, JPEG")


def test_a_format_that_starts_a_program_is_refused(tmp_path: Path):
    """Pillow reads EPS by running Ghostscript on it: not for a file from a stranger."""
    buffer = io.BytesIO()
    noise(20, 20).save(buffer, format="EPS")
    path = tmp_path / "drawing.png"
    path.write_bytes(buffer.getvalue())
    assert_refused(path, "is not a picture")


def test_too_many_pixels_are_refused(tmp_path: Path):
    """A file of a few kilobytes can unpack to gigabytes."""
    path = saved(Image.new("1", (12_000, 12_000)), tmp_path / "bomb.png")
    assert_refused(path, "has too many pixels: give a smaller copy")


def test_random_damage_never_raises_anything_else(tmp_path: Path):
    """Pillow raises many kinds of errors on a damaged header."""
    path = saved(noise(30, 20), tmp_path / "picture.png")
    content = path.read_bytes()
    for place in range(0, 120):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert open_picture(path).mode == "RGB"
        except UserError as error:
            assert_one_sentence(error)


def test_opening_warns_about_nothing(tmp_path: Path):
    """A warning on the command line or in a checked cell is noise to a learner."""
    image = Image.new("P", (8, 8))
    path = saved(image, tmp_path / "palette.png", transparency=bytes(256))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        understanding_pixels(open_picture(path), 64)


def assert_refused(path: Path, reason: str) -> None:
    """Opening must raise UserError with one sentence that matches."""
    with pytest.raises(UserError, match=reason) as caught:
        open_picture(path)
    assert_one_sentence(caught.value)


def assert_one_sentence(error: Exception) -> None:
    """One line that ends in a full stop, has no other, and says what to do."""
    assert re.fullmatch(r"[^\n]+: [^\n]+\.", str(error))
    assert ". " not in str(error)
