"""Files that this process has open, as the kernel lists them."""

from pathlib import Path


def open_files_below(directory: Path) -> list[str]:
    """Return the paths of the open files and directories at or below a directory, sorted.

    Unlike the number of open descriptors, it does not depend on what earlier tests have left to
    the garbage collector.
    """
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            path = str(descriptor.readlink())
        except FileNotFoundError:  # closed since
            continue
        if path == str(directory) or path.startswith(f"{directory}/"):
            found.append(path)
    return sorted(found)
