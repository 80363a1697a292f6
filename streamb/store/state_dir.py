"""The state directory of a platform: closed to other users before anything is written there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streamb.errors import StorageFailed
from streamb.store.files import close_to_others, private_folder

KEYS: Final = "keys"
"""The folder, in the state directory, of the keys that the platform's processes share."""
PLATFORM_FILE: Final = "platform.json"
"""The file, in the state directory, that says what runs there while it runs."""
LOGS: Final = "logs"
"""The folder, in the state directory, of the logs that are kept of a platform that did not start."""
_WITH_SECRETS: Final = ("", KEYS, "edge")
"""The folders whose files may hold secrets; "" is the state directory itself."""


def claim_state_dir(state_dir: Path, *, strict: bool = False) -> None:
    """Create the state directory, or make an existing one readable for its owner only.

    The directory gets the mode 0700, whatever the umask, and files in it that hold secrets lose the permissions of
    other users, as those of an earlier release.

    Args:
        state_dir: the state directory; missing parents are created with the usual permissions.
        strict: whether to refuse a directory that cannot be closed to other users, because it belongs to one of them
            or its file system has no permissions.

    Raises:
        StorageFailed: it cannot be created, or, if `strict`, others can read it.
    """
    try:
        closed = private_folder(state_dir)
        for name in _WITH_SECRETS:
            close_to_others(state_dir / name)
    except OSError as error:
        raise StorageFailed(
            f"the state directory {state_dir} cannot be written ({error.strerror}); choose another with "
            "--state-dir or ML_STATE_DIR"
        ) from error
    if strict and not closed:
        raise StorageFailed(
            f"other users can read the state directory {state_dir}, and its permissions cannot be changed: it belongs "
            "to another user, or its file system has no permissions; choose a folder inside it with ML_STATE_DIR"
        )
