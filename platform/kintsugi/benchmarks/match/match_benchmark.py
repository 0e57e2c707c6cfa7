"""Sizes x holes x methods -> seconds, memory and agreement of the match; draws nothing.

Every figure of memory comes from a fresh process, every ratio of times from rounds in
which the methods take turns. What does not fit here is found by arithmetic and not tried.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kintsugi.benchmarks.match.inputs import (
    FEATURES_NAME,
    SAMPLE,
    MatchCase,
    read_array,
    read_photo,
    write_features,
    write_picture,
)
from kintsugi.benchmarks.match.needs import GIB, MIB, Needs, available_bytes, match_needs
from kintsugi.benchmarks.match.quality import compare_matches
from kintsugi.benchmarks.match.trial import FILLS, MATCHES, OURS, Task, Trial, run_trial
from kintsugi.errors import ConfigError
from kintsugi.inference.methods import open_release
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import mask_to_tensor
from kintsugi.runs.run import open_encoder

HALF, RANDOM = "half", "random"
# A hole leaves at least this much of the photograph's side: known windows are needed.
KNOWN_PX = 32
# Beyond it PatchMatch takes minutes: our own fills only, of holes of at most the second.
LARGEST_PATCHMATCH_PX, LARGEST_FILL_HOLE_PX = 2048, 1024

# Called with what comes out, a line at a time.
Report = Callable[[str], None]


@dataclass(frozen=True)
class MatchPlan:
    """What is measured.

    Attributes:
        sizes: Sides of the photograph in pixels.
        holes: Sides of centre holes: pixels, or "half" of the photograph's. Where one
            leaves less than 32 px of the photograph's side it is left out.
        methods: Names in ``MATCHES``.
        rounds: How often the methods take turns; fewer where that exceeds the time limit.
        fill: Also time whole fills, of holes of half the side but at most 1024 px; up to
            2048 px against PatchMatch.
        photo: URI of one photograph, or samples/NAME.
        encoder: As a configuration names it; "": the release's, without one "random".
        release: URI of the release that fills; "": seeded weights of size "small".
        max_memory: Bytes that a method may need; 0: what is available.
        time_limit: Seconds that one call of a method may take.
        threads: The threads of PyTorch; 0 leaves its own choice.
    """

    sizes: Sequence[int] = (256, 512, 1024, 2048, 4096)
    holes: Sequence[str] = (HALF, "224")
    methods: Sequence[str] = MATCHES
    rounds: int = 5
    fill: bool = False
    photo: str = SAMPLE
    encoder: str = ""
    release: str = ""
    max_memory: int = 0
    time_limit: float = 300.0
    threads: int = 0

    def cases(self) -> list[MatchCase]:
        """Everything that is matched, from small to large. Raises: ConfigError."""
        cases = [
            MatchCase(side, side // 2 if hole == HALF else _pixels(hole))
            for side in sorted(self.sizes)
            for hole in self.holes
        ]
        return [case for case in cases if case.hole_px <= case.side_px - KNOWN_PX]


def run_benchmark(plan: MatchPlan, report: Report = lambda line: None) -> dict[str, Any]:
    """Measure everything.

    Returns: raw values, as JSON takes them: what was measured, ``matches`` and ``fills``.

    Raises:
        ConfigError: a name, size or number in the plan cannot be used.
        StorageError, InputError: photograph, release or encoder cannot be read.
    """
    for name in plan.methods:
        if name not in MATCHES:
            raise ConfigError(f"method {name!r} is not known: use some of {', '.join(MATCHES)}")
    if plan.rounds < 1:
        raise ConfigError(f"{plan.rounds} pairs: at least 1")
    cases = plan.cases()
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads or threads)
    try:
        bench = _Bench(plan, report)
        matches = [bench.match(case) for case in cases]
        fills = [bench.fill(side) for side in sorted(plan.sizes) if plan.fill]
    finally:
        torch.set_num_threads(threads)
    return {
        "photo": plan.photo,
        "encoder": _describe_encoder(plan),
        "release": plan.release,
        "threads": plan.threads or threads,
        "torch": torch.__version__,
        "max_memory_bytes": bench.memory,
        "matches": matches,
        "fills": fills,
    }


class _Bench:
    """What the measurements of one run share; foretells from small cases what large ones take."""

    def __init__(self, plan: MatchPlan, report: Report) -> None:
        self.plan, self.report = plan, report
        self.photo = read_photo(plan.photo)
        self.encoder = _open_encoder(plan)
        self.memory = plan.max_memory or available_bytes()
        # method -> work and seconds of the largest case that it has run.
        self.largest: dict[str, tuple[int, float]] = {}

    def match(self, case: MatchCase) -> dict[str, Any]:
        """All methods on one case."""
        with tempfile.TemporaryDirectory(prefix="kintsugi-match-") as name:
            folder = Path(name)
            picture = write_features(folder, self.encoder, self.photo, case)
            needs = {method: match_needs(method, case) for method in self.plan.methods}
            figures = self._measure(case, Task(name, keep=True), needs)
            sampled = self._add_agreement(folder, case, figures)
        queries, candidates = (int(windows.sum()) for windows in case.windows())
        return {
            **asdict(case),
            "picture": picture,
            "queries": queries,
            "candidates": candidates,
            "sampled_queries": sampled,
            "methods": figures,
        }

    def fill(self, side_px: int) -> dict[str, Any]:
        """A whole fill, up to 2048 px against PatchMatch."""
        case = MatchCase(side_px, min(side_px // 2, LARGEST_FILL_HOLE_PX))
        methods = FILLS if side_px <= LARGEST_PATCHMATCH_PX else OURS
        with tempfile.TemporaryDirectory(prefix="kintsugi-fill-") as name:
            picture = write_picture(Path(name), self.photo, case)
            # Not the photograph's size: what is worked on is the hole and as much around it.
            needs = {method: Needs(0, case.hole_px**2) for method in methods}
            task = Task(name, release=self.plan.release, encoder=self.plan.encoder or RANDOM)
            figures = self._measure(case, task, needs)
        return {**asdict(case), "picture": picture, "methods": figures}

    def _measure(
        self, case: MatchCase, task: Task, needs: Mapping[str, Needs]
    ) -> dict[str, dict[str, Any]]:
        """Memory of each method in a process of its own, then times of all of them in turn."""
        task = replace(task, threads=self.plan.threads)
        figures = {
            name: self._first(case, replace(task, methods=[name]), need)
            for name, need in needs.items()
        }
        once = {name: row["seconds"][0] for name, row in figures.items() if row["seconds"]}
        total = sum(once.values())
        rounds = min(self.plan.rounds, max(1, int(self.plan.time_limit / max(total, 1e-9))))
        if len(once) < 2 and rounds == 1:
            return figures
        # One round more is to warm up; processes differ by less than twice.
        trial = run_trial(
            replace(task, methods=list(once), rounds=rounds, keep=False),
            time_limit=2 * (rounds + 1) * total,
        )
        if trial.failure:
            self.report(f"{_name(case)}: not timed in turn: {trial.failure}")
        for name, seconds in trial.seconds.items():
            figures[name] |= {"seconds": list(seconds), "in_turn": True}
            self.report(f"{_name(case)}: {name}: {median(seconds):.3g} s, median of {rounds}")
        return figures

    def _first(self, case: MatchCase, task: Task, need: Needs) -> dict[str, Any]:
        """One call in a fresh process, unless arithmetic speaks against it."""
        name = task.methods[0]
        refusal = self._refusal(name, need)
        trial = (
            Trial({}, failure=refusal)
            if refusal
            else run_trial(task, time_limit=self.plan.time_limit)
        )
        seconds = list(trial.seconds.get(name, ()))
        if seconds and need.work >= self.largest.get(name, (0, 0.0))[0]:
            self.largest[name] = (need.work, seconds[0])
        said = trial.failure or f"{seconds[0]:.3g} s, {trial.peak_bytes / MIB:.0f} MiB"
        self.report(f"{_name(case)}: {name}: {'not run: ' * bool(trial.failure)}{said}")
        return {
            "not_run": trial.failure,
            "needs_bytes": need.bytes,
            "peak_bytes": trial.peak_bytes,
            "process_bytes": trial.process_bytes,
            "seconds": seconds,
            # Until the methods have taken turns, a first call: what it warms up counts.
            "in_turn": False,
        }

    def _refusal(self, method: str, need: Needs) -> str:
        """Why a method is not run, or ""."""
        if need.bytes > self.memory:
            size = (
                f"{need.bytes / GIB:.1f} GiB"
                if need.bytes >= GIB
                else f"{need.bytes / MIB:.0f} MiB"
            )
            return f"needs {size}"
        work, seconds = self.largest.get(method, (1, 0.0))
        foretold = seconds * need.work / work
        return f"takes about {foretold:.0f} s" if foretold > self.plan.time_limit else ""

    def _add_agreement(
        self, folder: Path, case: MatchCase, figures: dict[str, dict[str, Any]]
    ) -> int:
        """Add to the figures how good the matches are; gives the number of queries compared."""
        matches = {
            name: torch.from_numpy(read_array(folder / f"{name}.npy"))
            for name, row in figures.items()
            if row["seconds"]
        }
        if not matches:
            return 0
        features = torch.from_numpy(read_array(folder / FEATURES_NAME))
        agreements, sampled = compare_matches(features, mask_to_tensor(case.mask()), matches)
        for name, agreement in agreements.items():
            figures[name] |= asdict(agreement)
        return sampled


def _open_encoder(plan: MatchPlan) -> Vgg19Relu3:
    if plan.encoder or not plan.release:
        return open_encoder(plan.encoder or RANDOM, 0)
    inpainter, _ = open_release(plan.release)
    return inpainter.image2feature.encoder


def _describe_encoder(plan: MatchPlan) -> str:
    if plan.release and not plan.encoder:
        return f"of {plan.release}"
    return plan.encoder if plan.encoder not in ("", RANDOM) else f"{RANDOM} (seed 0)"


def _name(case: MatchCase) -> str:
    return f"{case.side_px}/{case.hole_px}"


def _pixels(hole: str) -> int:
    if not hole.isdecimal() or int(hole) < 1:
        raise ConfigError(
            f"hole {hole!r}: a number of pixels, or {HALF!r} of the photograph's side"
        )
    return int(hole)
