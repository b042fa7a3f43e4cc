"""What mkdocs does besides: draws the losses and the evidence, sets formulas, and leaves out links
that lead nowhere on the site."""

import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath
from tempfile import TemporaryDirectory

from latex2mathml.converter import convert
from mkdocs.structure.files import File

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
import draw  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.report import components, plots  # noqa: E402

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config):
    """Blocks of ```math are formulas: MathML, which browsers set without a script."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": _formula}]
    return config


def on_files(files, config):
    """Pictures are made anew for each build, and are no files of the repository."""
    for name, make in draw.PICTURES.items():
        files.append(File.generated(config, f"losses/{name}.svg", content=make()))
    files.append(File.generated(config, "components.png", content=_evidence()))
    return files


def on_page_markdown(markdown, page, config, files):
    """A link to a file of the repository is its name in the text: the site does not have it."""

    def without(match):
        text, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        path = normpath(str(PurePosixPath(page.file.src_uri).parent / target))
        return text if path.startswith("../") else match[0]

    return LINK.sub(without, markdown)


def _evidence():
    """The picture of the evidence, from benchmarks/results."""
    groups = components.grouped(results.read(sorted(results.FOLDER.glob("*.jsonl"))))
    with TemporaryDirectory() as folder:
        return plots.picture(groups, Path(folder) / "components.png").read_bytes()


def _formula(source, language, css_class, options, md, **kwargs):
    return "".join(
        f'<div class="formula">{convert(line, display="block")}</div>'
        for line in source.strip().split("\n\n")
    )
