"""README.md for a package index, and pages as notebooks.

    python docs/convert.py URL > out/README.md

writes README.md with links and pictures that lead to the repository at URL.
"""

import json
import re
import sys
from pathlib import Path

CODE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def absolute(readme: str, url: str) -> str:
    """A README whose relative links and pictures lead to the repository at a URL."""

    def lead(kind: str):
        def replaced(match):
            before, target, after = match.groups()
            is_whole = re.match(r"\w+:|#", target)
            return match[0] if is_whole else f"{before}{url}/{kind}/main/{target}{after}"

        return replaced

    readme = re.sub(r"(\]\()([^)\s]+)(\))", lead("blob"), readme)
    return re.sub(r'((?:src|srcset)=")([^"]+)(")', lead("raw"), readme)


def notebook(markdown: str) -> str:
    """A page as a notebook: blocks of Python are cells of code, all else is text."""
    text = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    cells = []
    for number, part in enumerate(CODE.split(text)):
        cell = {"cell_type": "code" if number % 2 else "markdown", "metadata": {}}
        cell.update(id=f"cell-{number}", source=part.strip().splitlines(keepends=True))
        if number % 2:
            cell.update(execution_count=None, outputs=[])
        if part.strip():
            cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    page = Path(__file__).resolve().parent.parent / "README.md"
    print(absolute(page.read_text(encoding="utf8"), sys.argv[1].rstrip("/")), end="")
