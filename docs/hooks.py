"""What the manual needs beside its pages: the files of the repository that they link to, and a look at what was built.

Pages link to files outside of ``docs`` as readers of the sources follow them. The site takes these files along, under ``files``. A page
that would ask another host for a script, a style, a font or an image fails the build.
"""

from __future__ import annotations

import os
import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

DOCS = pathlib.Path(__file__).resolve().parent
ROOT = DOCS.parent
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")
# What a browser fetches by itself, from anywhere but the site.
FETCHED = re.compile(r"""<(?:script|img|iframe|source|link(?![^>]*rel="?canonical))\b[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")
FETCHED_BY_STYLES = re.compile(r"""(?:url\(|@import\s)["'\s]*(?:https?:)?//[^)\s]*""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to, and those that these link to."""
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for _, link, _ in LINK.findall(page.content_string):
            target = target_of(page, link)
            name = site_name(target)
            if target.is_file() and name.startswith("files/") and files.get_file_from_path(name) is None:
                added = File.generated(config, name, abs_src_path=str(target), inclusion=InclusionLevel.NOT_IN_NAV)
                files.append(added)
                if added.is_documentation_page():
                    waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where the site has what they name."""
    folder = os.path.dirname(page.file.src_uri)

    def lead(link: re.Match[str]) -> str:
        name = site_name(target_of(page.file, link[2]))
        known = files.get_file_from_path(name) is not None
        return f"{link[1]}{os.path.relpath(name, folder or '.')}{link[3]}" if known else link[0]

    return LINK.sub(lead, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a page would ask another host for anything."""
    site = pathlib.Path(config.site_dir)
    found = [f"{path.relative_to(site)}: {hit}" for path in site.rglob("*.html") for hit in FETCHED.findall(path.read_text("utf-8"))]
    found += [
        f"{path.relative_to(site)}: {hit}" for path in site.rglob("*.css") for hit in FETCHED_BY_STYLES.findall(path.read_text("utf-8"))
    ]
    if found:
        raise PluginError("the manual must need no other host, but it would fetch:\n" + "\n".join(found))


def target_of(file: File, link: str) -> pathlib.Path:
    """The file of the repository that a link of a page names."""
    source = ROOT / file.src_uri.removeprefix("files/") if file.src_uri.startswith("files/") else DOCS / file.src_uri
    return pathlib.Path(os.path.normpath(source.parent / link))


def site_name(target: pathlib.Path) -> str:
    """What the site calls a file of the repository; files outside of it keep their path and are not found."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return f"files/{target.relative_to(ROOT).as_posix()}" if target.is_relative_to(ROOT) else target.as_posix()
