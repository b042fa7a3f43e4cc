"""What mkdocs does in addition: sets formulas and pictures in both themes, includes files of the
repository and links to them, and makes notebooks of tutorials."""

import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from latex2mathml.converter import convert
from mkdocs.structure.files import File

sys.path[:0] = [str(Path(__file__).resolve().parent)]
from convert import notebook  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
INCLUDED = re.compile(r"<!-- include ([^:\s]+)(?::(\w+))? -->\n.*$", re.MULTILINE)
PICTURE = re.compile(
    r'(?:<picture>(?s:.*?))?<img alt="([^"]*)" src="([^"]*pictures/[\w-]+)\.svg" ?/?>'
)
NUMBER = re.compile(r"<td>((?:<strong>)?[-+]?\d[\d.,±→% ()/x+-]*(?:</strong>)?)</td>")
TUTORIALS = ("tutorial-spans", "tutorial-texts")
NOT_FOUND = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Page not found</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto; }}
</style>
</head>
<body><h1>Page not found</h1><p>There is no such page. <a href="{home}">Start</a> has links to all
others, and a search.</p></body>
</html>
"""


def on_config(config):
    """Blocks of ```math are formulas: MathML, which browsers set without a script."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": _formula}]
    return config


def on_files(files, config):
    """Notebooks are made of the pages, and are no files of the repository."""
    for name in TUTORIALS:
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf8")
        files.append(File.generated(config, f"{name}.ipynb", content=notebook(text)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Files are included where GitHub shows a link to them. A link to a file of the repository,
    which the site does not have, leads to the repository, or is its name in the text where the
    repository has no address."""
    here = PurePosixPath(page.file.src_uri).parent

    def include(match):
        text = (ROOT / match[1]).read_text(encoding="utf8")
        if match[2]:
            text = text.partition(f"<!-- {match[2]} -->")[2].partition(f"<!-- /{match[2]} -->")[0]
        return LINK.sub(lambda m: f"[{m[1]}]({moved(m[2])})", text.strip())

    def moved(target):
        """A link of a file at the root, as of this page."""
        return target if re.match(r"\w+:|#", target) else relpath(target, f"docs/{here}")

    def resolved(match):
        text, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        path = normpath(f"docs/{here}/{target}")
        if path.startswith("docs/"):
            return match[0]
        url = (config.repo_url or "").rstrip("/")
        return f"[{text}]({url}/blob/main/{path})" if url else text

    markdown = LINK.sub(resolved, INCLUDED.sub(include, markdown))
    if page.file.src_uri.removesuffix(".md") in TUTORIALS:
        name = page.file.src_uri.replace(".md", ".ipynb")
        markdown = markdown.replace("\n## ", f"\n[Download as a notebook]({name})\n\n## ", 1)
    return markdown


def on_page_content(html, page, config, files):
    """Without comments; a picture in both themes, by the switch of the page; numbers that do not
    wrap."""

    def both(match):
        alt, source = match.groups()
        shown = f'<img alt="{alt}" src="{source}.svg#only-light" loading="lazy">'
        shown += f'<img alt="{alt}" src="{source}-dark.svg#only-dark" loading="lazy">'
        return f'<span class="picture">{shown}</span>'

    html = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
    html = PICTURE.sub(both, html).replace("</picture>", "")
    return NUMBER.sub(r'<td class="number">\1</td>', html)


def on_post_template(output, template_name, config):
    """A page for what is not found, with its own style: a server shows it at any depth."""
    home = config.site_url or "/"
    return NOT_FOUND.format(home=home) if template_name == "404.html" else output


def _formula(source, language, css_class, options, md, **kwargs):
    return "".join(
        f'<div class="formula">{convert(line, display="block")}</div>'
        for line in source.strip().split("\n\n")
    )
