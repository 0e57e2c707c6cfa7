"""What a photograph and a hole are in memory, outside PyTorch."""

import numpy as np
import numpy.typing as npt

# H W 3 or H W, RGB or grey, 0-255.
Pixels = npt.NDArray[np.uint8]
# H W 3, RGB, 0-255 or 0-65535; H W 4 where some cannot be seen: 0 in the fourth channel.
AnyPixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
# H W, True = hole.
Mask = npt.NDArray[np.bool_]
