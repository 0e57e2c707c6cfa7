"""What --help of the commands says they take; imports nothing, as it must answer at once."""

from pathlib import Path

# The folder that `import kintsugi` finds: in a clone `platform/kintsugi`, else an installed one.
PACKAGE = Path(__file__).absolute().parent
# Comes with the package: what is used where no release is named. A job that was submitted with the
# repository as its working_dir finds it at the root alone (.rayignore): through the link it would
# travel twice.
_FOLDERS = (PACKAGE, PACKAGE.resolve().parents[1])
BUNDLED_RELEASE = str(
    next(
        (found for root in _FOLDERS if (found := root / "models/pretrained/small").is_dir()),
        _FOLDERS[0] / "models/pretrained/small",
    ).resolve()
)
# The service on one laptop.
SERVE_CONFIG = PACKAGE / "deploy" / "serve.yaml"
# What the commands keep for a user: jobs of the service, logs, shards, runs, releases.
HOME = "~/.kintsugi"
# Where `kintsugi publish` writes.
PUBLISHED_RELEASE = "~/.kintsugi/releases/debug"
# Set for every process that may compute: a thread that waits for another spins for about a tenth
# of a millisecond, the gap between two operations, and then gives its core away. PyTorch's spin for
# a hundred times as long by default; with other work on the machine each then waits for the others.
THREADS = {"GOMP_SPINCOUNT": "3000"}

# Written where a URI of photographs is asked for, it means the sample photographs.
SAMPLES = "samples"

# Mask sets and methods of `kintsugi evaluate`, for people.
SETS = (
    "center-N, rectangle, strokes, thin, medium, thick, object, border, random; each -SIDE; or URIs"
)
METHODS = (
    "ours, coarse (its G1 alone), telea, ns, biharmonic, patchmatch, smooth, gmic-matchpatch,"
    " gmic-patch, resynthesizer (packages gmic and resynthesizer), patch-synthesis,"
    " [LABEL=]release:, coarse:, context-encoder: or folder:URI"
)
