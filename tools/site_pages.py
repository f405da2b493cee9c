"""A hook of MkDocs (mkdocs.yml): brings pages and files that stand outside of docs/ into the site.

The README is the site's first page, and a link to a source file leads to a copy of that file. So each page
has one source, and its links are right in the checkout, too. Knows nothing of what the pages say."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
}
# `[text](target)` and `![text](target)`, with the target up to its anchor
LINK = re.compile(r"(\]\()([^)\s#]+)")


def place_of(path: str) -> str:
    """The address in the site of a file that is named by its path in the checkout."""
    return PAGES.get(path) or path.removeprefix("docs/")


def target_of(path: str, link: str) -> str:
    """The target of a link on that page, as a path from the checkout's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def linked_files(path: str, text: str) -> set[str]:
    """The files of the checkout that a page links to."""
    targets = {target_of(path, link[2]) for link in LINK.finditer(text)}
    return {target for target in targets if (ROOT / target).is_file()}


def for_site(path: str, text: str) -> str:
    """A page's text, with links that are right at the page's place in the site."""
    folder = posixpath.dirname(place_of(path))

    def replaced(link: re.Match[str]) -> str:
        target = target_of(path, link[2])
        if not (ROOT / target).is_file():
            return link[0]
        return link[1] + posixpath.relpath(place_of(target), folder or ".")

    return LINK.sub(replaced, text)


def on_files(files: Any, config: Any) -> Any:
    """MkDocs calls it with the files below docs/."""
    from mkdocs.structure.files import File

    sources = {**PAGES, **{f"docs/{file.src_uri}": file.src_uri for file in files.documentation_pages()}}
    linked: set[str] = set()
    for source, place in sources.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        linked |= linked_files(source, text)
        if source in PAGES:
            files.append(File.generated(config, place, content=for_site(source, text)))
    for path in sorted(linked):
        if not path.startswith("docs/") and path not in PAGES:
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs calls it with the text of each page."""
    if page.file.src_uri in PAGES.values():
        return markdown
    return for_site(f"docs/{page.file.src_uri}", markdown)
