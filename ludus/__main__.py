"""`python -m ludus`: for launchers that start modules."""

from __future__ import annotations

from ludus.cli import main

if __name__ == "__main__":
    main()
