"""A hook of MkDocs: links that lead out of docs/ work on GitHub as they are written, and on the site too.

A link to a file or folder of the repository goes to the repository that pyproject.toml names, and becomes plain text
where it names none. A picture from outside docs/ is copied to the site. A target that does not exist is a warning,
and so fails the build.
"""

import logging
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
REPOSITORY = URLS.get("Source", "").rstrip("/")
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\(\.\./([^)#\s]*)(#[^)\s]*)?\)")
log = logging.getLogger("mkdocs.hooks.docs_links")


def on_config(config: Any) -> None:
    if REPOSITORY:  # not `repo_url`, for which the theme's script would ask GitHub how many stars there are
        config.edit_uri = f"{REPOSITORY}/edit/main/docs/"


def on_files(files: Any, config: Any) -> None:
    for page in files.documentation_pages():
        for picture, _, target, _ in LINK.findall(page.content_string):
            if picture and (ROOT / target).is_file() and files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    def replaced(found: re.Match[str]) -> str:
        picture, text, target, anchor = found.groups()
        if not (ROOT / target).exists():
            log.warning("%s links to ../%s, which the repository does not have", page.file.src_path, target)
        if picture:
            return f"![{text}]({target})"
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"[{text}]({REPOSITORY}/{kind}/main/{target}{anchor or ''})" if REPOSITORY else text

    return LINK.sub(replaced, markdown)
