"""`python -m loop`: the `ratchet` command line."""

from loop.commands.main import main

if __name__ == "__main__":
    main()
