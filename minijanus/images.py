"""Pictures in and out of tensors: one preprocessing per eye (paper §4.1).

Understanding keeps the whole picture (long side to size, grey bars); generation keeps the
whole canvas (short side to size, centre crop). Both give c h w in [-1, 1].
"""

import warnings
from io import BytesIO
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from minijanus.lab import UserError

PAD_GREY = (127, 127, 127)  # §4.1: "padding the short side ... with RGB values set to 127"
SMALLEST_SIDE = 14  # the released code never resizes a side below this
# Only formats that Pillow reads by itself: others, such as EPS, would start a program.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


def open_picture(source: str | Path | BytesIO) -> Image.Image:
    """Read a picture as RGB: first frame, upright, transparency on white.

    UserError, one sentence, if there is no such file or it cannot be read whole.
    """
    path = "a picture of the table" if isinstance(source, BytesIO) else Path(source)
    if isinstance(path, Path) and (path.is_dir() or not path.exists()):
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {kind}: give the path of a picture file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks about odd files are not for the user
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path} has too many pixels: give a smaller copy.") from error
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise UserError(f"{path} is not a picture: give one of {known}.") from error
    except PermissionError as error:
        raise UserError(f"{path} may not be read: change its permissions.") from error
    except UserError:
        raise
    except Exception as error:  # on a damaged file Pillow's readers raise many kinds
        raise UserError(f"{path} is damaged or cut off: copy it again.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode to RGB; what is transparent becomes white, 16 bits become 8."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_eight_bits(image).convert("RGB")
    try:
        if not image.has_transparency_data:
            return image.convert("RGB")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    except ValueError as error:
        raise UserError(
            f"a picture in the colour mode {image.mode} cannot be used: save it as PNG."
        ) from error


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit or float grey to 0..255; Pillow's own conversion would clip to white."""
    top = 65_535
    if image.mode == "F":  # floats carry no range: take the smallest usual one that fits
        largest = image.getextrema()[1]
        top = 1 if largest <= 1 else 255 if largest <= 255 else 65_535
    grey = image if image.mode == "F" else image.convert("I").convert("F")
    grey.info.pop("transparency", None)  # a level of 16 bits, of which 8 are left
    return grey.point(lambda value: value * (255 / top) + 0.5).convert("L")


def understanding_pixels(
    image: Image.Image, size: int, do_normalize: bool = True
) -> Tensor:
    """Long side to `size`, short side padded with 127 (paper §4.1); c h w in [-1, 1].

    Without do_normalize in [0, 1], for released weights that learned so.
    """
    image = to_rgb(image)
    longest = max(image.size)
    # Truncated, not rounded: the released code does so, and transformers' port does not.
    width, height = (
        max(int(side / longest * size), min(SMALLEST_SIDE, size)) for side in image.size
    )
    image = image.resize((width, height), Image.Resampling.BICUBIC)  # antialiased
    square = Image.new("RGB", (size, size), PAD_GREY)
    square.paste(image, ((size - width) // 2, (size - height) // 2))
    pixels = _to_pixels(square)
    return pixels if do_normalize else (pixels + 1) / 2


def generation_pixels(image: Image.Image, size: int) -> Tensor:
    """Short side to `size`, long side cropped (paper §4.1); c h w in [-1, 1].

    The crop is central; the paper does not say where it is.
    """
    image = to_rgb(image)
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    # Resizing only the central box equals resizing all and then cropping, and a picture
    # one pixel high does not grow to millions on the way.
    box = (left, top, left + short, top + short)
    return _to_pixels(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def to_picture(pixels: Tensor) -> Image.Image:
    """Pixels c h w in [-1, 1] to a PIL picture; what lies outside is clipped."""
    # Rounded, where the released code cuts off: so a picture that went through an eye comes
    # back level by level, and a drawing differs from the released one by a level at most.
    levels = ((pixels.detach().float().clamp(-1, 1) + 1) / 2 * 255).round()
    rows = rearrange(levels.to(torch.uint8), "c h w -> h w c")
    return Image.fromarray(rows.cpu().numpy())


def _to_pixels(image: Image.Image) -> Tensor:
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    levels = rearrange(flat, "(h w c) -> c h w", h=image.height, c=3)
    return (levels.float() / 255 - 0.5) / 0.5
