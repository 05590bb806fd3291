"""Names that operating systems, file servers and Jupyter add to folders and archives."""

from pathlib import PurePath

# Compared without case. Hidden files and folders begin with a dot and need no entry.
SYSTEM_NAMES = {
    "__macosx",
    "icon\r",
    "network trash folder",
    "temporary items",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "@eadir",
    "@tmp",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "__pycache__",
}


def is_system_name(name: str | PurePath) -> bool:
    """Return whether a part of a relative path is hidden, or a name that a system adds."""
    return any(
        part.startswith(".") and part != ".." or part.casefold() in SYSTEM_NAMES
        for part in PurePath(name).parts
    )
