"""Entry point of `python -m azc`."""

from azc.cli.main import main

if __name__ == "__main__":
    main()
