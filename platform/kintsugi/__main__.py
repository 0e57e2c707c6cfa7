"""`python -m kintsugi`: the same as the command."""

from kintsugi.cli.program import main

if __name__ == "__main__":
    main()
