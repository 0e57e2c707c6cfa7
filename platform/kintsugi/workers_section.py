"""The section of a run's configuration that says on how many processes it runs, and where."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import ConfigDict

from kintsugi.section_checks import STRICT, check_at_least


@dataclass(frozen=True)
class WorkersSection:
    """Where it runs: one process per worker, joined by DDP; one GPU each, if any."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    count: int = 1
    # Processes; the most of an elastic run.
    min_count: int = 0
    # Fewest workers of an elastic run: it goes on with as many as find room when nodes are
    # lost, and takes more again as they come back. 0 = always `count`. A step of fewer
    # workers holds fewer photographs.
    cpus: float = 0.5
    # Logical CPUs that Ray sets aside per worker, beside those for reading (data.tasks).
    resources: dict[str, float] = field(default_factory=dict)
    # What else it sets aside per worker: memory in bytes or the cluster's own resources.
    use_gpu: bool = False
    # One GPU per worker, NCCL between them; else CPU and gloo.
    accelerator_type: str = ""
    # Kind of GPU, such as "A100"; "" = any.
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    # On few or many nodes; STRICT_ = all on one, or each on one of its own.
    threads: int = 2
    # PyTorch's threads per worker on the CPU.
    timeout_s: int = 300
    # Seconds that workers wait for one another, and so for one's data, before the step has
    # failed; longer than storage may be gone.
    max_failures: int = 3
    # Lost workers or nodes that a run survives by itself, from the last checkpoint. Nodes
    # that are taken away with notice do not count.
    autoscaling: bool = False
    # Nodes are added on demand: what the cluster lacks now is waited for, not refused.
    wait_s: int = 3600
    # Seconds that a run waits for missing nodes, all waits together.

    def __post_init__(self) -> None:
        check_at_least(self, 1, "count", "threads", "timeout_s", "wait_s")
        check_at_least(self, 0, "min_count", "max_failures")
        if self.min_count > self.count:
            raise ValueError(f"min_count={self.min_count} is more than count={self.count}")
        if self.cpus <= 0:
            raise ValueError(f"cpus={self.cpus}: more than 0, for example 0.5")
        for name, amount in self.resources.items():
            if name in ("CPU", "GPU") or amount <= 0:
                raise ValueError(
                    f"resources: {name}={amount:g}: more than 0; CPUs and GPUs are set by cpus"
                    " and use_gpu"
                )
        if self.accelerator_type and not self.use_gpu:
            raise ValueError(
                f"accelerator_type={self.accelerator_type!r} needs use_gpu=true: set it, or leave"
                " the type empty"
            )
