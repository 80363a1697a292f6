"""A platform of a user who is not root, as far as isolation goes; run by `test_isolation` as such a user."""

import os
import sys
from pathlib import Path

from streamb.security.isolation import Cage, IsolatedProcess, check_isolation, own_folder

CODE = """
import os
print(os.getuid())
for path in ({secret!r}, "/proc/{pid}/environ"):
    try:
        print("read", len(open(path).read()))
    except OSError as error:
        print(type(error).__name__)
"""


def main():
    secret = Path(os.environ["HOME"], "secret")
    secret.write_text("of the platform")
    home = own_folder("inner") / "home"
    home.mkdir()
    command = [sys.executable, "-c", CODE.format(secret=str(secret), pid=os.getpid())]
    inner = IsolatedProcess(command, Cage(write=(str(home),)))
    said = inner.process.communicate(timeout=100)[0].decode().split()
    print(check_isolation(), os.getuid(), said, flush=True)


if __name__ == "__main__":
    main()
