"""The demo: photographs to a filled hole over HTTP, each step by the command a user would type."""

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kintsugi.config.run_config import load_config
from kintsugi.data.sample_photos import copy_sample_photos
from kintsugi.defaults import BUNDLED_RELEASE, PACKAGE
from kintsugi.demo import checks
from kintsugi.inference.methods import ReleaseMethod, open_release
from kintsugi.servers.cluster import Cluster, ray_cluster
from kintsugi.servers.console import Console
from kintsugi.servers.object_store import object_store
from kintsugi.servers.processes import free_ports
from kintsugi.servers.service import deploy_service
from kintsugi.storage.storage import Storage

# Where the folder has what each step printed.
LOGS = "logs"
BUCKETS = ("photos", "shards", "runs", "releases")
RELEASE = "s3://releases/demo"
# Never trained on: they are evaluated and filled.
HELD_OUT = ("astronaut.png", "coffee.png")
PHOTO_SIDE = 512
# What a person would take out of the first one: the badge and the name plate, in pixels: left, top,
# right, bottom.
_BADGE, _NAME_PLATE = (120, 338, 220, 438), (268, 330, 342, 388)
NUM_STEPS = 10

# So few that the whole demo takes minutes on two slow cores; the losses fall all the same.
STEPS = {"stage1": 25, "stage2": 35}
# What a stage's command says on top of its debug configuration.
TRAINING = (
    "storage=s3://runs",
    "data.shards=s3://shards/demo",
    "data.photos=s3://photos/train",
    "translate.stage1=s3://runs/debug-stage1",
)


@dataclass
class Demo:
    """One run of the demo.

    Attributes:
        folder: What the demo writes.
        console: For people.
    """

    folder: Path
    console: Console

    def run(self) -> None:
        """All steps. What was started is stopped in the end, also on failure and on Ctrl-C.

        Raises: KintsugiError naming the command or the check that failed.
        """
        step = self.console.step
        with ExitStack() as running:
            with step("Start object storage and Ray"):
                cluster = self._start(running)
            with step("Put photographs into a bucket"):
                self._upload_photos()
            with step("Pack them into shards"):
                self._job("shards", "--input", "s3://photos/train", *_sets(TRAINING[:2]))
            for stage, steps in STEPS.items():
                with step(f"Train {stage} of the method for {steps} steps"):
                    values = (*TRAINING, f"loop.max_steps={steps}", f"loop.sample_every={steps}")
                    self._job("train", stage, *_sets(values), *self._json(stage))
                    self.console.say(checks.check_loss_fell(self._figures(stage)))
            with step("Publish a release"):
                self._publish()
            with step("Evaluate it on photographs that it has not seen"):
                self._evaluate()
            with step("Serve it"):
                url = self._serve(cluster)
            with step(f"Fill photographs of {PHOTO_SIDE} px over HTTP"):
                self._fill(url)
            with step("Check what happened"):
                config = load_config(PACKAGE / "jobs" / "configs" / "debug-stage1.toml", TRAINING)
                self.console.say("data: " + checks.check_data_path(config.data.shards, cluster))
                self.console.say("graph: " + checks.check_nodes_called(cluster, len(HELD_OUT)))
        self._summary()

    def _start(self, running: ExitStack) -> Cluster:
        store = running.enter_context(object_store(self.folder / "storage", BUCKETS))
        os.environ.update(store.environment())
        self.console.say(f"object storage: {store.url}")
        log = self.console.logs / "ray.log"
        cluster = running.enter_context(ray_cluster(self.folder, log, store.environment()))
        os.environ.update(cluster.environment())
        self.console.say(f"Ray: {cluster.dashboard} (lets in this demo only, while it runs)")
        return cluster

    def _upload_photos(self) -> None:
        names = copy_sample_photos(str(self.folder / "photos"))
        for name in names:
            place = "s3://photos/held-out" if name in HELD_OUT else "s3://photos/train"
            Storage(place).write(name, (self.folder / "photos" / name).read_bytes())
        self.console.say(f"{len(names)} real photographs; held out: {', '.join(HELD_OUT)}")

    def _publish(self) -> None:
        runs = ("--stage1", "s3://runs/debug-stage1", "--stage2", "s3://runs/debug-stage2")
        # Blurry fills of so short a training match flat black by plain keys.
        self._job("publish", *runs, "--output", RELEASE, "--keys", "standardised")
        Storage(RELEASE).fetch_folder("", self.folder / "release")

    def _evaluate(self) -> None:
        photos = ("--photos", "s3://photos/held-out")
        methods = f"few-steps=release:{RELEASE},small=release:{BUNDLED_RELEASE},telea,ns"
        what = ("--masks", "center-96-256", "--methods", methods)
        grid = ("--grid", str(self.folder / "evaluation.png"))
        self._job("evaluate", *photos, *what, *grid, *self._json("evaluation"))

    def _serve(self, cluster: Cluster) -> str:
        return deploy_service(
            self.console,
            cluster,
            release=RELEASE,
            port=free_ports(1)[0],
            folder=self.folder,
        )

    def _fill(self, url: str) -> None:
        hole = _hole()
        mask = self.folder / "mask.png"
        Image.fromarray(hole.astype(np.uint8) * 255).save(mask)
        filled = []
        for name in HELD_OUT:
            photo = self.folder / f"input-{name}"
            _square(self.folder / "photos" / name).save(photo)
            answer = self.folder / f"filled-{name}"
            self.console.run(
                [*_client(url), str(photo), str(mask), str(answer)],
                cwd=self.folder,
                environment={},
            )
            pixels = _pixels(photo), _pixels(answer)
            self.console.say(f"{name}: " + checks.check_outside_unchanged(*pixels, hole))
            filled.append(pixels)
        self.console.say(checks.check_fills_differ(filled[0][1], filled[1][1], hole))
        shown, few_steps = filled[0]
        fills = [few_steps, self._fill_bundled(shown, hole)]
        checks.save_result(self.folder / "result.png", shown, hole, fills)

    def _fill_bundled(self, photo: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """What the release that comes with the repository makes of the same hole."""
        inpainter, release = open_release(BUNDLED_RELEASE)
        filled = ReleaseMethod(inpainter)(photo, hole)
        self.console.say(
            f"bundled {release.name}: " + checks.check_outside_unchanged(photo, filled, hole)
        )
        return filled

    def _job(self, *arguments: str) -> None:
        """Run a command as a job on the cluster, as a user would type it."""
        submit = ("ray", "job", "submit", "--", "kintsugi")
        self.console.run([*submit, *arguments], cwd=self.folder, environment={})

    def _json(self, name: str) -> tuple[str, str]:
        return "--json", str(self.folder / f"{name}.json")

    def _figures(self, name: str) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return figures

    def _summary(self) -> None:
        print("\nWhat each step took:")
        for title, seconds in self.console.seconds.items():
            print(f"  {seconds:6.1f} s  {title}")
        print(f"  {sum(self.console.seconds.values()):6.1f} s  in all")
        release = json.loads((self.folder / "release" / "config.json").read_text())
        print(f"\nThe encoder of this release: {release['encoder']}. A few steps of tiny")
        print("networks on six photographs show that everything works, not how well it fills; the")
        print("bundled release, next to it in the pictures, shows more: models/pretrained/small.")
        folder = os.path.relpath(self.folder)
        for name, what in (
            ("result.png", "hole, mask, and filled: by a few steps, by the bundled release"),
            ("evaluation.png", "the fills and those of two classical methods"),
            ("release", "the release; kintsugi serve --release demo/release serves it"),
            (LOGS, "everything that each step printed"),
        ):
            print(f"  {folder}/{name}: {what}")


def _sets(values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def _client(url: str) -> list[str]:
    return [Path(sys.executable).name, "-m", "kintsugi.deploy.client", "inpaint", "--url", url]


def _hole() -> NDArray[np.bool_]:
    mask = Image.new("L", (PHOTO_SIDE, PHOTO_SIDE))
    draw = ImageDraw.Draw(mask)
    draw.ellipse(_BADGE, fill=255)
    draw.rounded_rectangle(_NAME_PLATE, 10, fill=255)
    return np.asarray(mask) > 0


def _square(path: Path) -> Image.Image:
    """The middle of a photograph at 512 x 512."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return middle.resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)


def _pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))
