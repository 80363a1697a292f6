"""The types of settings that are addresses, names and paths, with the checks of their values.

Each check returns the value in its usual form, or raises ValueError with what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

_ORIGIN: Final = r"\*|https?://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
_HOST: Final = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]"
ROLE_NAMES: Final = ("viewer", "operator", "approver", "admin")
"""The values of `security.permissions.Role`, which is in a layer above; a test compares them."""
_GROUP_ROLE: Final = rf"[^=,]+=({'|'.join(ROLE_NAMES)})"


def is_loopback(host: str) -> bool:
    """Return whether an address or name refers to the machine itself.

    >>> is_loopback("127.0.0.2"), is_loopback("[::1]"), is_loopback("localhost"), is_loopback("10.0.0.1")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _absolute(path: Path) -> Path:
    """Return the absolute path: workers on the cluster have another working directory."""
    return path.expanduser().absolute()


def _database_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return f"sqlite:///{_absolute(Path(rest[1:]))}"
    if scheme == "postgresql+psycopg" and rest:
        return url
    raise ValueError("allowed: postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE")


def _artifact_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"file://{_absolute(Path(url))}"
    if scheme == "file":
        return f"file://{_absolute(Path(rest))}"
    if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) is None or scheme == "memory" or not rest:
        raise ValueError("allowed: a folder, or file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX")
    return url


def _hosts(text: str) -> str:
    names = [name.strip().lower() for name in text.split(",")]
    if names != ["none"] and not all(re.fullmatch(_HOST, name) for name in names):
        raise ValueError("allowed: none, or names such as ml.example.com with commas between, without port")
    return ",".join(names)


def _issuer(address: str) -> str:
    parts = urlsplit(address)
    if not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))):
        raise ValueError("allowed: an https:// address (http:// only for this machine)")
    return address


def _group_roles(text: str) -> str:
    pairs = [pair.strip() for pair in text.split(",")]
    if pairs != ["none"] and not all(re.fullmatch(_GROUP_ROLE, pair) for pair in pairs):
        raise ValueError(f"allowed: none, or GROUP=ROLE with commas between; roles: {', '.join(ROLE_NAMES)}")
    return ",".join(pairs)


def _origins(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    if names != ["none"] and not all(re.fullmatch(_ORIGIN, name) for name in names):
        raise ValueError("allowed: none, *, or origins such as https://app.example.com with commas between")
    return ",".join(names)


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
ArtifactUrl = Annotated[str, AfterValidator(_artifact_url)]
Hosts = Annotated[str, AfterValidator(_hosts)]
Issuer = Annotated[str, AfterValidator(_issuer)]
GroupRoles = Annotated[str, AfterValidator(_group_roles)]
Origins = Annotated[str, AfterValidator(_origins)]
