"""A hook of mkdocs that turns notebooks into pages, with the outputs that the files have."""

from pathlib import PurePosixPath
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


class Notebook(File):
    """A notebook, which mkdocs would otherwise copy as a file without a page."""

    def is_documentation_page(self) -> bool:
        """Return True: the content of the file is Markdown."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each notebook by a page of the same name, and add its figures as files."""
    exporter = MarkdownExporter()
    for file in list(files):
        path = PurePosixPath(file.src_uri)
        if path.suffix != ".ipynb" or file.abs_src_path is None:
            continue
        notebook = nbformat.read(file.abs_src_path, as_version=4)
        embed_animations(notebook)
        names = {"unique_key": path.stem, "output_files_dir": "figures"}
        text, resources = exporter.from_notebook_node(notebook, resources=names)
        files.remove(file)
        files.append(Notebook.generated(config, file.src_uri, content=text))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, str(path.parent / name), content=content))
    return files


def embed_animations(notebook: Any) -> None:
    """Show GIFs as HTML: nbconvert would print their description instead."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if gif := output.get("data", {}).get("image/gif"):
                source = f"data:image/gif;base64,{''.join(gif.split())}"
                output.data = {"text/html": f'<img alt="an animation" src="{source}">'}
