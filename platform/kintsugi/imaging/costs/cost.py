"""What the headers of one file say of its decoding."""

from dataclasses import dataclass

# More parts than any honest file has: what walks over them ends here.
MOST_PARTS = 65_536


@dataclass(frozen=True)
class DecodeCost:
    """What the headers of one file say.

    Attributes:
        size: (height, width) in pixels as stored; None where the header does not say.
        scans: How often all pixels are gone over; 1 for most files.
        segments: In how many segments a JPEG is, those without content among them.
        frames: Pictures in it, counted to 2.
        largest_tile: Pixels of its largest tile or strip; 0 where there is none.
        tiles: How many parts the picture is stored in.
        bits: Of a sample.
        has_alpha: Whether there may be transparency.
        profile_bytes: Size of its colour profile, as stored.
        problem: What no honest file has, as the end of a sentence; "" for nothing.
    """

    size: tuple[int, int] | None = None
    scans: int = 1
    segments: int = 0
    frames: int = 1
    largest_tile: int = 0
    tiles: int = 1
    bits: int = 8
    has_alpha: bool = False
    profile_bytes: int = 0
    problem: str = ""

    @property
    def pixels(self) -> int:
        """Height x width; 0 where the header does not say."""
        return 0 if self.size is None else self.size[0] * self.size[1]

    @property
    def scan_megapixels(self) -> float:
        """Pixels that decoding goes over, in millions."""
        return self.scans * self.pixels / 1e6
