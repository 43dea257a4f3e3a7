"""Write the generated pages: `python -m docs.generate`."""

from __future__ import annotations

import sys

from docs.generate import FOLDER, PAGES


def main() -> None:
    """Write each page that is not what the code says now, and name it."""
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote docs/{name}\n")


if __name__ == "__main__":
    main()
