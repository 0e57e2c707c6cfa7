"""What a job computes: files that were kept to an image, or why not; knows no storage."""

from collections.abc import Awaitable, Callable

from kintsugi.deploy.http.access_log import AccessRecord
from kintsugi.deploy.http.image_service import ImageAnswer, ImageService
from kintsugi.deploy.http.request_kinds import InpaintForm, StylizeForm
from kintsugi.models.progress import Progress, Step


class JobWork:
    """Checks what is sent when a job is made, and computes it later."""

    def __init__(self, work: ImageService) -> None:
        self._work = work

    async def check(self, form: InpaintForm | StylizeForm) -> None:
        """Refuse at once what would be refused later. Raises: InputError; Problem 504."""
        await self._work.check(form)

    async def make(
        self,
        form: InpaintForm | StylizeForm,
        key_name: str,
        progress: Progress,
        begin: Callable[[], Awaitable[None]],
    ) -> ImageAnswer:
        """Compute a job's image when its turn comes; as `ImageService.run_job`."""
        # The log and its lines are for requests; a job only has a turn, that of its key.
        unlogged = AccessRecord(key_name=key_name)
        return await self._work.run_job(form, unlogged, progress=progress, begin=begin)


class Reports:
    """The newest step, from whatever thread computes; news once."""

    def __init__(self) -> None:
        """No step has ended."""
        self._step: Step | None = None
        self._reported: Step | None = None

    def on_progress(self, step: Step) -> None:
        """A step has ended."""
        self._step = step

    def news(self) -> Step | None:
        """The newest step; None where it was given before."""
        step = self._step
        if step == self._reported:
            return None
        self._reported = step
        return step
