"""Names of the stages; imports none of them."""

import pkgutil

from kintsugi import stages


def stage_names() -> tuple[str, ...]:
    """The names of all stages, sorted: each module of `kintsugi.stages` is one."""
    found = pkgutil.iter_modules(stages.__path__)
    return tuple(sorted(module.name for module in found if not module.ispkg))
