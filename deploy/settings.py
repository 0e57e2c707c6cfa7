"""What a deployment of the service can be told: the `args` of `deploy/serve.yaml`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kintsugi.images import ImageLimits


class AppArgs(BaseModel):
    """Settings of the whole application; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: str = Field(
        description="Folder of a release: a path, taken from the repository's root when it is"
        " relative, or a URI such as s3://releases/street"
    )
    max_bytes: int = Field(default=100_000_000, gt=0, description="Largest body of a request")
    max_pixels: int = Field(default=32_000_000, gt=0, description="Largest image, height x width")
    max_stylize_pixels: int = Field(
        default=4_200_000,
        gt=0,
        description="Largest content of a style transfer, height x width: all of it is computed,"
        " not only a hole, in time that grows with it",
    )
    deadline_seconds: float = Field(
        default=120,
        gt=0,
        description="A request that is not answered by then gets 504; below Serve's"
        " request_timeout_s, which would cut it off without a problem document",
    )
    threads: int = Field(default=1, gt=0, description="CPU threads of one replica of a node")
    device: str = Field(default="cpu", description='Where the networks run: "cpu" or "cuda"')

    # Its names are `models.precision`'s, which would bring PyTorch to the ingress.
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="In what the networks compute: float32, bfloat16 (several times as fast on"
        " GPUs and on CPUs with AMX) or float16 (GPUs)",
    )

    @property
    def limits(self) -> ImageLimits:
        """What images are accepted."""
        return ImageLimits(max_bytes=self.max_bytes, max_pixels=self.max_pixels)
