"""The methods of `ProductionMLManager` that list and delete what is registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamb.sdk.http import HttpClient
from streamb.store.plain import from_plain

if TYPE_CHECKING:
    from streamb.registry import ModelVersion, RegisteredModel


class RegistryMethods:
    """Lists models and versions, and deletes versions. `ProductionMLManager` has these methods."""

    _client: HttpClient

    def list_models(self, *, owner: str | None = None) -> list[RegisteredModel]:
        """Return all registered models, ordered by id, or those of exactly one owner."""
        from streamb.registry import RegisteredModel

        return [from_plain(RegisteredModel, one) for one in self._client.pages("/api/models", owner=owner)]

    def list_versions(
        self, model_id: str, *, owner: str | None = None, tags: Sequence[str] = (), metrics: Sequence[str] = ()
    ) -> list[ModelVersion]:
        """Return the versions of a model that match all filters, newest first; an empty list if there is none.

        Args:
            model_id: the id of the model.
            owner: only versions of exactly this owner; None: of any owner.
            tags: only versions that have all these tags, each "key" or "key=value".
            metrics: only versions that meet all these conditions, such as "accuracy>=0.9" (also `<=`, `>`, `<`, `=`).

        Raises:
            InvalidInput: a tag or a condition is not well formed.
            NotFound: there is no such model.
        """
        path = f"/api/models/{model_id}/versions"
        found = self._client.pages(path, owner=owner, tag=list(tags), metric=list(metrics))
        return [version_of(one) for one in found]

    def delete_version(self, model_id: str, version: str) -> None:
        """Delete a version and its bytes. Its number stays taken: only the same content may be registered under it.

        Args:
            model_id: the id of the model.
            version: the number of the version; no alias, and not "latest".

        Raises:
            NotFound: there is no such model or version.
            Conflict: the version serves, is kept warm or is being deployed, or an alias or another version names it;
                the message says what refers to it.
        """
        self._client.change("DELETE", f"/api/models/{model_id}/versions/{version}")


def version_of(answer: Mapping[str, Any]) -> ModelVersion:
    """Read the JSON of a platform; unknown fields, which a newer platform may add, are ignored."""
    from streamb.registry import ModelVersion  # imported late: most programs need no version

    return from_plain(ModelVersion, answer)
