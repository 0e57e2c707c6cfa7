"""What is done to the image of a fill after Feature2Image: its shades and its detail; no weights.

Beyond the paper. Feature2Image's image has the texture of what was copied, but neither its
shades, which come from elsewhere in the picture, nor all of its fine detail, which is lost
where copies overlap. The fill that was matched has the better shades, being drawn for this
very place: the two are averaged, as two guesses that err independently.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from models.keys import gaussian_blur
from models.vgg import FEATURE_STRIDE

# Standard deviation in pixels of the blur, against which detail is what is finer.
_DETAIL_PIXELS = 0.7
MOST_DETAIL = 4.0


@dataclass(frozen=True)
class FinishConfig:
    """What a release does to each scale's image; the defaults, nothing, are the paper's.

    Above 0 either needs maps with pixels (`models.cells`).

    Attributes:
        shade: Of each cell's mean colour, the part that is that of the fill which was matched:
            0-1.
        detail: By how much of itself the finest detail is raised: 0-4.
    """

    shade: float = 0.0
    detail: float = 0.0

    def __post_init__(self) -> None:
        for name, value, most in (("shade", self.shade, 1), ("detail", self.detail, MOST_DETAIL)):
            if not 0 <= value <= most:
                raise ValueError(f"{name}={value}: 0 to {most:g}")


def finish(
    config: FinishConfig,
    image: Float[Tensor, "B 3 H W"],
    shades: Float[Tensor, "B 3 H/4 W/4"],
) -> Float[Tensor, "B 3 H W"]:
    """The image of one scale as a release wants it.

    Args:
        config: The release's preferences.
        image: Feature2Image's, 0-1.
        shades: The mean colour of each cell before the match, 0-1: `models.cells.shades_of`.
    """
    if config.shade:
        apart = shades - F.avg_pool2d(image, FEATURE_STRIDE)
        image = image + config.shade * F.interpolate(
            apart, scale_factor=FEATURE_STRIDE, mode="bilinear", align_corners=False
        )
    if config.detail:
        image = image + config.detail * (image - gaussian_blur(image, _DETAIL_PIXELS))
    return image.clamp(0, 1) if config.shade or config.detail else image
