"""
MkDocs hook: the site is built from the files where they are in the repository.

Every page and every picture has its path from the repository's root, so a relative link works in the site as it does in
a checkout, and no file is copied into ``docs/``.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PUBLISHED = (
    "*.md", "LICENSE", "docs/*.md", "docs/assets/*", "bundle/docs/*", "bundle/configs/*.yaml", "bundle/tasks/*/*.md",
    "bundle/tasks/*/*.jpg",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of ``docs/`` by those that the site publishes, with paths from the repository's root."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    root = Path(config.config_file_path).parent
    for path in sorted(path for pattern in PUBLISHED for path in root.glob(pattern)):
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files
