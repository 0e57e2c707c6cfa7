"""What --help of the jobs says they take; imports nothing, as it must answer at once."""

from pathlib import Path

# Comes with the repository: what is used where no release is named.
# In a wheel the weights lie in the package. A job that was submitted with the repository as its
# working_dir finds them at the root alone (.rayignore): through the link they would travel twice.
_FOLDERS = (Path(__file__).resolve().parent, Path(__file__).resolve().parents[2])
BUNDLED_RELEASE = str(
    next(
        (found for root in _FOLDERS if (found := root / "models/pretrained/small").is_dir()),
        _FOLDERS[0] / "models/pretrained/small",
    )
)
# Where jobs/publish.py writes.
PUBLISHED_RELEASE = "~/.kintsugi/releases/debug"
# Written where a URI of photographs is asked for, it means the sample photographs.
SAMPLES = "samples"

# Mask sets and methods of jobs/evaluate.py, for people.
SETS = (
    "center-N, rectangle, strokes, thin, medium, thick, object, border, random; each -SIDE; or URIs"
)
METHODS = (
    "ours, coarse (its G1 alone), telea, ns, biharmonic, patchmatch, smooth, gmic-matchpatch,"
    " gmic-patch, resynthesizer (packages gmic and resynthesizer), patch-synthesis,"
    " [LABEL=]release:, coarse:, context-encoder: or folder:URI"
)
