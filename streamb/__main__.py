"""`python -m streamb` is the command line."""

from streamb.cli import main

if __name__ == "__main__":
    main()
