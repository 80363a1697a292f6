"""Stores what rollouts keep: deployments, routes, the routing table's epoch, and the history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streamb.errors import NotFound
from streamb.rollouts.deployment import Deployment, DeploymentEvent, DeploymentState
from streamb.rollouts.route import ServingRoute, Undeployment
from streamb.rollouts.runtime import DEFAULT_RUN, RunOptions
from streamb.store import Journal, Page, RecordStore, every_record, keep
from streamb.store.plain import from_plain, to_plain

DEPLOYMENTS: Final = "deployments"
ROUTES: Final = "routes"
UNDEPLOYMENTS: Final = "undeployments"
CONTROL: Final = "control"
EPOCH: Final = "epoch"
CREATED: Final = "created"
_PAGE: Final = 100
_NEVER_SERVED: Final = frozenset({DeploymentState.FAILED, DeploymentState.ABORTED})
PLATFORM_ACTOR: Final = "controller"
"""The actor of events that the platform caused by itself."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note for the history.

    Attributes:
        kind: what happened, in one word.
        detail: a sentence with the reason.
        actor: who caused it.
    """

    kind: str
    detail: str
    actor: str


class Ledger:
    """Reads and writes the stored state of rollouts, without any rules."""

    def __init__(self, records: RecordStore, journal: Journal) -> None:
        self._records = records
        self._journal = journal

    def routes(self) -> Iterator[ServingRoute]:
        """Return the serving route of each model."""
        return (from_plain(ServingRoute, record.body) for record in every_record(self._records, ROUTES))

    def undeployments(self) -> Iterator[Undeployment]:
        """Return the models that were undeployed and whose apps have not all stopped yet."""
        return (from_plain(Undeployment, record.body) for record in every_record(self._records, UNDEPLOYMENTS))

    def unfinished(self) -> Iterator[Deployment]:
        """Return the deployments that are under way, or still judged after completion."""
        every = (Deployment.from_body(record.body) for record in every_record(self._records, DEPLOYMENTS))
        return (deployment for deployment in every if deployment.active or deployment.baking)

    def epoch(self) -> int:
        """Return the epoch of the newest routing table; 0 if there was none yet."""
        record = self._records.get(CONTROL, EPOCH)
        return int(record.body["value"]) if record else 0

    def write(
        self,
        *,
        deployment: Deployment | None = None,
        note: Note | None = None,
        route: ServingRoute | None = None,
        epoch: int | None = None,
    ) -> None:
        """Write the given parts in one transaction.

        Args:
            deployment: the deployment to store.
            note: an event for its history.
            route: the serving route to store.
            epoch: the new epoch of the routing table.
        """
        with self._records.batch():
            if deployment is not None:
                self._records.put(DEPLOYMENTS, deployment.id, to_plain(keep(deployment)))
                if note is not None:
                    self._tell(deployment.model_id, note, deployment.id)
            if route is not None:
                self._records.put(ROUTES, route.model_id, to_plain(route))
            if epoch is not None:
                self._records.put(CONTROL, EPOCH, {"value": epoch})

    def undeploy(self, undeployment: Undeployment, note: Note, epoch: int) -> None:
        """Remove a model's route, in one transaction with the undeployment, its event and the table's new epoch."""
        with self._records.batch():
            self._records.delete(ROUTES, undeployment.model_id)
            self._records.put(UNDEPLOYMENTS, undeployment.model_id, to_plain(keep(undeployment)))
            self._tell(undeployment.model_id, note)
            self._records.put(CONTROL, EPOCH, {"value": epoch})

    def undeployed(self, undeployment: Undeployment, note: Note) -> None:
        """Forget an undeployment whose apps have stopped, and note it in the history."""
        with self._records.batch():
            self._records.delete(UNDEPLOYMENTS, undeployment.model_id)
            self._tell(undeployment.model_id, note)

    def get(self, deployment_id: str) -> Deployment:
        """Return one deployment; raises NotFound if there is none of this id."""
        record = self._records.get(DEPLOYMENTS, deployment_id)
        if record is None:
            raise NotFound(f"there is no deployment {deployment_id}; `streamb deployments list` lists all of them")
        return Deployment.from_body(record.body)

    def list(self, limit: int, cursor: str | None, model_id: str | None) -> Page[Deployment]:
        """Return at most `limit` deployments (of `model_id`, if given) from `cursor` on, newest first."""
        page = self._journal.read(_index_stream(model_id), limit=limit, cursor=cursor, newest_first=True)
        return Page(tuple(self.get(entry.body["deployment_id"]) for entry in page.items), page.next_cursor)

    def run_of(self, model_id: str, version: str) -> RunOptions:
        """Return how a version ran when it was deployed last; the default if it never was."""
        cursor = None
        while True:
            page = self.list(_PAGE, cursor, model_id)
            for one in page.items:
                if one.target_version == version and one.state not in _NEVER_SERVED:
                    return one.run
            if (cursor := page.next_cursor) is None:
                return DEFAULT_RUN

    def served(self, model_id: str) -> frozenset[str]:
        """Return the versions of a model whose deployment was completed, and not rolled back afterwards."""
        found, cursor = set[str](), None
        while True:
            page = self.list(_PAGE, cursor, model_id)
            found |= {one.target_version for one in page.items if one.state is DeploymentState.COMPLETED}
            if (cursor := page.next_cursor) is None:
                return frozenset(found)

    def history(self, limit: int, cursor: str | None, model_id: str | None) -> Page[DeploymentEvent]:
        """Return at most `limit` events of deployments (of `model_id`, if given) from `cursor` on, newest first."""
        page = self._journal.read(_history_stream(model_id), limit=limit, cursor=cursor, newest_first=True)
        return Page(
            tuple(DeploymentEvent(**e.body, at=e.at, sequence=e.sequence) for e in page.items), page.next_cursor
        )

    def _tell(self, model_id: str, note: Note, deployment_id: str = "") -> None:
        """Add an event to the history of the model and of all models."""
        event = {"deployment_id": deployment_id, "model_id": model_id, "kind": note.kind}
        event |= {"detail": note.detail, "actor": note.actor}
        for name in (None, model_id):
            if note.kind == CREATED:
                self._journal.append(_index_stream(name), {"deployment_id": deployment_id})
            self._journal.append(_history_stream(name), event)


def _index_stream(model_id: str | None) -> str:
    return "deployments" if model_id is None else f"deployments/{model_id}"


def _history_stream(model_id: str | None) -> str:
    return "deployment-history" if model_id is None else f"deployment-history/{model_id}"
