"""What --help of the jobs says they take; imports nothing, as it must answer at once."""

# What jobs/publish.py writes, and the other jobs use.
DEFAULT_RELEASE = "~/.kintsugi/releases/debug"

# Mask sets and methods of jobs/evaluate.py, for people.
SETS = "center-N, rectangle, strokes, thin, medium, thick, border, random; each -SIDE; or URIs"
METHODS = "ours, telea, ns, biharmonic, patchmatch, patch-synthesis, [LABEL=]release: or folder:URI"
