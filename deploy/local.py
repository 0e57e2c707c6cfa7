"""An engine in this process: tests and small installations without Ray."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from deploy.engine import Filled, ModelInfo
from deploy.filling import fill_options, plan_inpainting, plan_transfer
from deploy.options import InpaintOptions, StylizeOptions
from models.inpainter import Inpainter
from models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image


class LocalEngine:
    """Runs an Inpainter on the CPU, one request at a time."""

    def __init__(self, inpainter: Inpainter, model: ModelInfo) -> None:
        self._inpainter = inpainter
        self._model = model
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inpaint")

    async def inpaint(
        self,
        pixels: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
    ) -> Filled:
        """See Engine."""
        filled = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._fill, pixels, mask, options
        )
        return Filled(filled, self._model)

    async def stylize(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
    ) -> Filled:
        """See Engine."""
        stylized = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._transfer, content, style, options
        )
        return Filled(stylized, self._model)

    async def model(self) -> ModelInfo:
        """See Engine."""
        return self._model

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        return {"Inpainter": True}

    def _fill(
        self,
        pixels: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
    ) -> npt.NDArray[np.uint8]:
        # Planned beforehand: what does not fit is the caller's error, the rest would be a bug.
        plan_inpainting(pixels, mask, options)
        answer: npt.NDArray[np.uint8] = tensor_to_image(
            self._inpainter.inpaint(
                image_to_tensor(pixels), mask_to_tensor(mask), fill_options(options)
            )
        )
        return answer

    def _transfer(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
    ) -> npt.NDArray[np.uint8]:
        # As above.
        plan_transfer(content, style, options)
        answer: npt.NDArray[np.uint8] = tensor_to_image(
            self._inpainter.stylize(
                image_to_tensor(content),
                image_to_tensor(style),
                strength=options.strength,
                seed=options.seed,
            )
        )
        return answer
