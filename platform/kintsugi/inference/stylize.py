"""Give photographs the look of one picture; `folder.py` walks through a folder of them."""

from dataclasses import dataclass

from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.imaging.arrays import AnyPixels, Pixels
from kintsugi.imaging.codec import decode_image
from kintsugi.imaging.photo_options import OutputOptions
from kintsugi.imaging.photograph import open_photograph, seen_style
from kintsugi.imaging.saving import Saved, save_photograph
from kintsugi.inference.folder import (
    FolderRun,
    Item,
    OutputFile,
    check_any,
    check_apart,
    plan_outputs,
    read_input,
    work_folder,
)
from kintsugi.inference.folder_report import Summary
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.pixels import image_to_tensor, tensor_to_image
from kintsugi.models.plan.style_plan import check_style
from kintsugi.models.progress import Progress, no_progress
from kintsugi.models.stylize import check_strength
from kintsugi.storage.storage import Storage


@dataclass(frozen=True)
class Stylist:
    """Gives pictures one look.

    Attributes:
        inpainter: The networks.
        style: The picture that has the look, uint8 H W 3, RGB.
        strength: How much of it is taken, 0-1.
        seed: Decides every random choice.
        progress: Called as every tile begins.

    Raises:
        ConfigError: strength outside 0-1.
        InvalidInput `style_too_small`.
    """

    inpainter: Inpainter
    style: Pixels
    strength: float = 1.0
    seed: int = 0
    progress: Progress = no_progress

    def __post_init__(self) -> None:
        try:
            check_strength(self.strength)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        try:
            check_style(*self.style.shape[:2])
        except ValueError as error:
            raise InvalidInput(str(error), code="style_too_small") from error

    def __call__(self, pixels: AnyPixels) -> AnyPixels:
        """H W 3, RGB, of 8 or 16 bits, in and out."""
        answer: AnyPixels = tensor_to_image(
            self.inpainter.stylize(
                image_to_tensor(pixels),
                image_to_tensor(self.style),
                strength=self.strength,
                seed=self.seed,
                progress=self.progress,
            ),
            pixels.dtype,
        )
        return answer


def read_style(uri: str) -> tuple[Pixels, tuple[str, ...]]:
    """Read the one picture at a URI.

    Returns: Its colours as they are seen, uint8 H W 3, and notes on pixels that are not seen.

    Raises:
        StorageError: it cannot be read.
        InputError: it is no image that is read here, or it is too small.
    """
    return seen_style(decode_image(Storage(uri).read(""), name="style"))


def stylize_photo(content: bytes, stylist: Stylist, output: OutputOptions) -> Saved:
    """Decode a photograph, restyle it, and encode it as it was.

    Args:
        content: Its file.
        stylist: What it is restyled by.
        output: The file that is written.

    Raises: InputError: it cannot be used, or not be written so.
    """
    photo = open_photograph(content, name="content")
    return save_photograph(photo, stylist(photo.seen), output)


def stylize_folder(
    content: Storage,
    output: Storage,
    *,
    stylist: Stylist,
    file: OutputOptions = OutputOptions(),
    run: FolderRun = FolderRun(),
) -> Summary:
    """Restyle every photograph that has no output yet, in Ray tasks where Ray is initialised.

    What is in the output already stays, whatever its style was, unless it is to be overwritten.

    Raises:
        ConfigError: there are no photographs, or the output lies among them.
        StorageError: a place cannot be read or written at all.
    """
    check_apart(output, {"content": content})
    plan = plan_outputs(content.survey(), file.format)
    check_any(plan, content)
    return work_folder(plan, _Restyling(content, stylist, file), output, run)


@dataclass(frozen=True)
class _Restyling:
    """Reads, restyles and encodes one photograph."""

    content: Storage
    stylist: Stylist
    file: OutputOptions

    def __call__(self, item: Item) -> OutputFile:
        """Raises: InputError: the photograph cannot be used."""
        data = read_input(self.content, item.id, "content")
        saved = stylize_photo(data, self.stylist, self.file)
        return OutputFile(saved.body, saved.notes)
