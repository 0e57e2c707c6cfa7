"""Ways of other programs to fill a hole, which only evaluations use, each an optional package.

G'MIC (CeCILL) and Resynthesizer (GPL) are not part of this platform and nothing of it needs them.
Both may change pixels around the hole, where they blend: only the hole is taken from them.
"""

import numpy as np
from PIL import Image

from kintsugi.errors import ConfigError
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.inference.methods import Method

# As G'MIC's own filters call them: multi-scale with its defaults (nine pixels a patch, ten
# iterations a scale), and patch by patch with patches of 7 px looked up within 16 of them,
# blended over 1.2. The seed makes both the same every time.
GMIC_MATCHPATCH = "srand 0 inpaint_matchpatch[0] [1]"
GMIC_PATCH = "srand 0 inpaint[0] [1],7,112,0.1,1,8.4,0,0.05,10,1"


def gmic_matchpatch(pixels: Pixels, mask: Mask) -> Pixels:
    """Patches found by random search, coarse to fine; G'MIC's. Raises: ConfigError."""
    return _gmic(GMIC_MATCHPATCH, pixels, mask)


def gmic_patch(pixels: Pixels, mask: Mask) -> Pixels:
    """Patch after patch from the border inwards (Criminisi et al. 2004), blended; G'MIC's.

    Source: Daisy, Tschumperlé, Lézoray 2013. Raises: ConfigError.
    """
    return _gmic(GMIC_PATCH, pixels, mask)


def resynthesizer(pixels: Pixels, mask: Mask) -> Pixels:
    """Pixel after pixel from the best surroundings (Harrison 2001), as in GIMP's "heal selection".

    Raises: ConfigError.
    """
    try:
        from resynthesizer import resynthesize
    except ImportError as error:
        raise ConfigError(_missing("resynthesizer", "resynthesizer")) from error
    white = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    return _pasted(np.asarray(resynthesize(Image.fromarray(pixels), white)), pixels, mask)


# By their names on the command line.
PEERS: dict[str, Method] = {
    "gmic-matchpatch": gmic_matchpatch,
    "gmic-patch": gmic_patch,
    "resynthesizer": resynthesizer,
}
# The packages that decide what they answer.
PEER_PACKAGES = {
    "gmic-matchpatch": "gmic",
    "gmic-patch": "gmic",
    "resynthesizer": "resynthesizer",
}


def _gmic(command: str, pixels: Pixels, mask: Mask) -> Pixels:
    try:
        import gmic
    except ImportError as error:
        raise ConfigError(_missing("gmic-matchpatch and gmic-patch", "gmic")) from error
    image = gmic.Image.from_yxc(pixels.astype(np.float32))
    hole = gmic.Image.from_yxc(np.where(mask[..., None], np.float32(255), np.float32(0)))
    filled = gmic.run(command, gmic.ImageList([image, hole]))[0]
    # x y z c to y x c.
    found = filled.to_numpy()[:, :, 0].transpose(1, 0, 2)
    return _pasted(np.rint(found.clip(0, 255)).astype(np.uint8), pixels, mask)


def _pasted(filled: Pixels, pixels: Pixels, mask: Mask) -> Pixels:
    pasted: Pixels = np.where(mask[..., None], filled, pixels)
    return pasted


def _missing(methods: str, package: str) -> str:
    return (
        f"{methods} needs the package {package}, which is not installed:"
        f' pip install {package}, or "kintsugi-inpainting[peers]"'
    )
