"""What jobs take when a flag is not given; imports nothing, as --help must answer at once."""

# What jobs/publish.py writes, and the other jobs use.
DEFAULT_RELEASE = "~/.kintsugi/releases/debug"
