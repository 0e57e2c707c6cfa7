"""What a photograph and a hole are in memory, outside PyTorch."""

import numpy as np
import numpy.typing as npt

# H W 3 or H W, RGB or grey, 0-255.
Pixels = npt.NDArray[np.uint8]
# H W, True = hole.
Mask = npt.NDArray[np.bool_]
