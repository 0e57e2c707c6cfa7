"""The settings of a deployment of the service: the `args` of `deploy/serve.yaml`."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kintsugi.imaging.codec import ImageLimits

# Slots of an Ingress whose Refiners refuse nothing themselves.
_SLOTS = 16


class AppArgs(BaseModel):
    """Settings of the whole application; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: str = Field(
        description="Folder of a release: a path, taken from the repository's root when it is"
        " relative, or a URI such as s3://releases/street"
    )
    more_releases: list[str] = Field(
        default=[],
        description="Further releases, as `release`; a request names the one that shall answer by"
        " its field `model`. Every node holds all of them",
    )
    max_bytes: int = Field(default=100_000_000, gt=0, description="Largest body of a request")
    max_json_bytes: int = Field(
        default=40_000_000,
        gt=0,
        description="Largest body in JSON: it is held several times while it is read",
    )
    max_pixels: int = Field(
        default=128_000_000,
        gt=0,
        description="Largest image, height x width: its file is opened whole, and only what lies"
        " around the hole is computed",
    )
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
    max_in_progress: int = Field(
        default=0,
        ge=0,
        description="Requests that are computed at one time, of each replica of the Ingress and"
        " of each Refiner; others wait for their turn at the Ingress. 0: 16, and as many at a"
        " Refiner as its queue lets in",
    )
    max_waiting: int = Field(
        default=64,
        gt=0,
        description="Requests that wait for their turn at each replica of the Ingress. A key, by"
        " its name, may fill as many of the places as are left free; one more gets 503 with a"
        " Retry-After, before its body is read",
    )
    max_waiting_bytes: int = Field(
        default=400_000_000,
        gt=0,
        description="Bodies of all requests that are at a replica of the Ingress, shared out in"
        " the same way; at least max_bytes",
    )
    max_large_megapixels: float = Field(
        default=40,
        gt=0,
        description="Megapixels of all pictures over 2048x2048 that each replica of the Ingress"
        " has open at one time, and as many again of previews, saves and checks of jobs. A pixel"
        " takes about 14 bytes; one of 16 bits or with transparency counts as up to five. One"
        " picture alone may have more",
    )
    hosts: list[str] = Field(
        default=[],
        description="Names and addresses under which the service is asked for, without a port;"
        " under others it answers 421. A page of elsewhere whose name was pointed at this machine"
        " is sent away by that. Empty: any. A list of this machine's own names alone means nothing"
        " where there are `api_keys`, which let others in",
    )
    codec_processes: int = Field(
        default=2,
        gt=0,
        description="Files that each replica of the Ingress opens or writes at one time, each in"
        " a process of its own with limits of processor time and memory",
    )
    api_keys: str = Field(
        default="",
        description="File of API keys, one a line (`name: key`, and after it weight=2 or"
        " expires=2027-01-31 where wanted; # starts a comment); a relative path starts at the"
        " repository's root. It is read again when it changes."
        " Empty: every client that reaches the service may use it, so http_options.host must be"
        " loopback",
    )
    requests_per_minute: float = Field(
        default=0,
        ge=0,
        description="How many requests for work (POST) a minute each key, by its name, has at"
        " each replica of the Ingress; more get 429. A batch counts as many as it has"
        " photographs: it is taken whole, and the next request waits until they are paid off. What"
        " is answered with 503 does not count. 0: as many as it likes",
    )
    burst: int = Field(
        default=10, gt=0, description="How many of them may come at once after a pause"
    )
    jobs: str = Field(
        default="",
        description="Where jobs and their images are kept: a path, from the repository's root"
        " when it is relative, or a URI such as s3://service/jobs; all replicas of the Ingress"
        " must reach it. Empty: /v1/jobs answers 501",
    )
    jobs_ttl_seconds: float = Field(
        default=86_400, gt=0, description="How long a job's image is kept after it has ended"
    )
    jobs_deadline_seconds: float = Field(
        default=1800, gt=0, description="A job that takes longer, once it runs, has failed"
    )
    webhook_hosts: str = Field(
        default="",
        description="Hosts, with spaces between them, of webhooks to call when a job has ended, as"
        " `hooks.example.org` or `name:port`: by https, and by http only at 127.0.0.1. Empty: a job"
        " with a webhook is refused",
    )
    webhook_secret: str = Field(
        default="",
        description="File with the secret by which what they are sent is signed; a relative path"
        " starts at the repository's root. Needed with webhook_hosts",
    )
    jobs_running: int = Field(
        default=1, gt=0, description="Jobs that each replica of the Ingress runs at one time"
    )
    jobs_waiting: int = Field(
        default=400,
        gt=0,
        description="Jobs that wait at each replica; more get 503. A key, by its name, may fill as"
        " many of the places as are left free: half of them, if no other waits, which is the most"
        " that it may send as one batch",
    )
    jobs_lease_seconds: float = Field(
        default=30,
        gt=0,
        description="A replica that shows no sign of life for so long has died: others run its"
        " jobs again",
    )
    threads: int = Field(default=1, gt=0, description="CPU threads of one replica of a node")
    share_threads: bool = Field(
        default=False,
        description="Requests that are in progress at one time divide a node's threads among"
        " them and are computed side by side, each with its memory. More images a second on the"
        " few cores of one machine, with one replica of each node; a fill may then be rounded"
        " otherwise than one that was made alone",
    )
    device: str = Field(default="cpu", description='Where the networks run: "cpu" or "cuda"')
    batch_pixels: int = Field(
        default=0,
        ge=0,
        description="Most pixels of waiting requests of one shape that a network computes at"
        " once, for GPUs; 0: each by itself, as a CPU is no faster with more",
    )

    # Its names are `kintsugi.models.precision`'s, which would bring PyTorch to the ingress.
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="In what the networks compute: float32, bfloat16 (several times as fast on"
        " GPUs and on CPUs with AMX) or float16 (GPUs)",
    )

    @model_validator(mode="after")
    def _threads_are_shared_on_cpus(self) -> Self:
        if self.share_threads and (self.batch_pixels or self.device != "cpu"):
            raise ValueError(
                f"share_threads computes side by side on CPUs what batch_pixels={self.batch_pixels}"
                f" on device={self.device} would compute together: choose one of them"
            )
        return self

    @model_validator(mode="after")
    def _a_body_fits(self) -> Self:
        if self.max_waiting_bytes < self.max_bytes:
            raise ValueError(
                f"max_waiting_bytes={self.max_waiting_bytes} holds no body of"
                f" max_bytes={self.max_bytes}: raise the one or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _hooks_are_signed(self) -> Self:
        if self.webhook_hosts and not self.webhook_secret:
            raise ValueError("webhook_hosts needs webhook_secret: a receiver must know who calls")
        return self

    @model_validator(mode="after")
    def _rates_are_of_keys(self) -> Self:
        if self.requests_per_minute and not self.api_keys:
            raise ValueError(
                f"requests_per_minute={self.requests_per_minute:g} is for each API key: set"
                " api_keys, or leave it out"
            )
        return self

    @property
    def slots(self) -> int:
        """Requests that each replica of the Ingress has computed at one time."""
        return self.max_in_progress or _SLOTS

    @property
    def limits(self) -> ImageLimits:
        """What images are accepted."""
        return ImageLimits(max_bytes=self.max_bytes, max_pixels=self.max_pixels)


class IngressState(BaseModel):
    """What may change of an Ingress while it runs: its `user_config`."""

    model_config = ConfigDict(extra="forbid")

    stopping: bool = Field(
        default=False, description="Answer what has begun, and refuse what comes with 503"
    )


class RefinerState(BaseModel):
    """What may change of a Refiner while it runs: its `user_config`."""

    model_config = ConfigDict(extra="forbid")

    release: str = Field(
        default="",
        description="Answers new requests in place of the `release` of the `args`, with which each"
        " replica starts; the other nodes load it when they are asked for it. Empty: that one",
    )
