"""What the sections of a configuration share."""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def check_at_least(section: object, least: int, *names: str) -> None:
    """Raises: ValueError naming the first of a section's numbers that is less."""
    for name in names:
        value = getattr(section, name)
        if value < least:
            raise ValueError(f"{name}={value}: at least {least}")
