"""The registry: stores models and versions with their names, tags, aliases and stages.

Versions never change once registered. Every change is written together with an entry in the journal's stream
`registry`. The registry holds facts about artifacts; `ArtifactStore` holds their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from numbers import Real
from typing import Any, Final, TypeVar

from streamb.asking import change, verb
from streamb.clock import Clock
from streamb.errors import Conflict, InvalidInput, NotFound, StaleRevision
from streamb.registry.model import LATEST, MOST_ALIASES, RegisteredModel, check_alias, check_model_id, check_tags
from streamb.registry.removal import DELETED, Contents, check_unused, remains
from streamb.registry.removal import VERSIONS as _VERSIONS
from streamb.registry.selection import metric_condition, selected, tag_condition
from streamb.registry.semver import Semver
from streamb.registry.trial import TrialState
from streamb.registry.version import STAGES, Artifact, Lineage, ModelVersion, Stage
from streamb.store import BlobStore, Journal, Page, Record, RecordStore, every_record, keep
from streamb.store.plain import from_plain, to_plain

R = TypeVar("R")

STREAM: Final = "registry"
"""The journal stream that records every change."""

_MODELS: Final = "models"
_ATTEMPTS: Final = 100


class Registry:
    """Models and their versions. Safe to use from many threads and processes.

    Args:
        records: the store of models and versions.
        journal: the journal of the same database, so that a change and its entry are written together.
        clock: the source of time stamps.
        blobs: holds the bytes of the artifacts; those of deleted versions are removed. None: they are left alone.

    Attributes:
        on_names: called with a model's id when its aliases or "latest" may name other versions; must return at once.
    """

    def __init__(self, records: RecordStore, journal: Journal, clock: Clock, *, blobs: BlobStore | None = None) -> None:
        self.on_names: Callable[[str], None] = _tell_nobody
        self._records = records
        self._contents = Contents(records, blobs)
        self._journal = journal
        self._clock = clock

    # --- models ---------------------------------------------------------------------------------------------------

    @change
    def create_model(
        self,
        model_id: str,
        *,
        name: str = "",
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredModel:
        """Create the model, or update it: values that are not empty replace the existing ones, tags are added.

        Args:
            model_id: the id, 1 to 100 characters; it never changes.
            name: a name for people; by default the id.
            description, owner: free text.
            tags: tags to add or replace, by name.

        Raises:
            InvalidInput: the id or a tag is not valid.
        """
        check_model_id(model_id)
        new_tags = check_tags(tags or {})

        def act() -> RegisteredModel:
            record = self._records.get(_MODELS, model_id)
            if record is None:
                now = self._clock.now()
                model = RegisteredModel(model_id, name or model_id, description, owner, now, now, new_tags)
                return self._save_model(model, 0, "model.created", owner=owner)
            old = _model(record)
            new = replace(
                old,
                name=name or old.name,
                description=description or old.description,
                owner=owner or old.owner,
                tags=check_tags({**old.tags, **new_tags}),
            )
            return old if new == old else self._save_model(new, record.revision, "model.updated")

        return self._atomically(act)

    @verb
    def get_model(self, model_id: str) -> RegisteredModel:
        """Return the model; raises NotFound if there is none."""
        return _model(self._model_record(model_id))

    @verb
    def list_models(
        self, limit: int = 100, cursor: str | None = None, *, owner: str | None = None
    ) -> Page[RegisteredModel]:
        """Return at most `limit` models from `cursor` on, by id; `owner` selects the models of one owner."""
        page = selected(self._records, lambda record: owner in (None, record.body["owner"]), _MODELS, "", limit, cursor)
        return Page(tuple(map(_model, page.items)), page.next_cursor)

    @change
    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> RegisteredModel:
        """Replace all tags of a model."""
        checked = check_tags(tags)
        return self._change_model(model_id, lambda old: replace(old, tags=checked), "model.tagged", tags=checked)

    @change
    def set_alias(self, model_id: str, alias: str, version: str) -> RegisteredModel:
        """Make `alias` refer to a version of the model, given as for `resolve`.

        Raises:
            InvalidInput: the alias is not valid.
            NotFound: there is no such model or version.
        """
        check_alias(alias)

        def act() -> RegisteredModel:
            record = self._model_record(model_id)
            old, target = _model(record), self.resolve(model_id, version).version
            new = replace(old, aliases={**old.aliases, alias: target})
            if len(new.aliases) > max(MOST_ALIASES, len(old.aliases)):
                raise InvalidInput(f"model {model_id!r} has {MOST_ALIASES} aliases, the most it may have: delete one")
            facts = {"alias": alias, "version": target}
            return old if new == old else self._save_model(new, record.revision, "alias.set", **facts)

        return self._renamed(self._atomically(act))

    @change
    def delete_alias(self, model_id: str, alias: str) -> RegisteredModel:
        """Delete an alias; raises NotFound if the model has no such alias."""

        def without(old: RegisteredModel) -> RegisteredModel:
            if alias not in old.aliases:
                raise NotFound(f"model {model_id!r} has no alias {alias!r}", model_id=model_id, alias=alias)
            return replace(old, aliases={name: version for name, version in old.aliases.items() if name != alias})

        return self._renamed(self._change_model(model_id, without, "alias.deleted", alias=alias))

    # --- versions -------------------------------------------------------------------------------------------------

    @change
    def register_version(
        self,
        model_id: str,
        version: str,
        artifact: Artifact,
        *,
        owner: str = "",
        metadata: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        lineage: Lineage | None = None,
        tags: Mapping[str, str] | None = None,
        registered_by: str = "",
    ) -> tuple[ModelVersion, bool]:
        """Register content under a version number, which it keeps for ever.

        Args:
            model_id: the model.
            version: a semantic version.
            artifact: the stored content.
            owner, tags, lineage: who owns it, its tags by name, and where it comes from.
            registered_by: the principal that registers it, for the record.
            metadata: its keys `metrics` and `hyperparameters` are moved into those arguments, which win if both have
                the same key.

        Returns:
            The version, and True if it is new. If the version exists with the same content, it is returned as it was
            registered; the other arguments are ignored.

        Raises:
            Conflict: the version exists with other content, or had other content before it was deleted.
            InvalidInput: `version` is not a semantic version, or a metric is not a finite number.
            NotFound: there is no such model.
            Unavailable: the artifact's bytes were removed since they were stored: store them again.
        """
        Semver.parse(version)
        rest = dict(metadata or {})
        candidate = ModelVersion(
            model_id=model_id,
            version=version,
            **{one.name: getattr(artifact, one.name) for one in fields(artifact)},
            stage=Stage.DEVELOPMENT,
            owner=owner,
            created_at=self._clock.now(),
            metrics=_numbers(_lifted(rest, "metrics", metrics)),
            hyperparameters=_lifted(rest, "hyperparameters", hyperparameters),
            metadata=rest,
            lineage=lineage or Lineage(),
            tags=check_tags(tags or {}),
            registered_by=registered_by,
        )
        with self._contents.lock:
            known = self.known(model_id, version)
            if known is None or known.digest == candidate.digest:
                self._contents.check_stored(candidate.blob)
            registered = self._atomically(lambda: self._register(candidate))
        self.on_names(model_id)
        return registered

    def _register(self, candidate: ModelVersion) -> tuple[ModelVersion, bool]:
        model_record = self._model_record(candidate.model_id)
        key = _version_key(candidate.model_id, Semver.parse(candidate.version))
        record = self._records.get(_VERSIONS, key)
        if record is not None:
            return _same(from_plain(ModelVersion, record.body), candidate), False
        if (gone := self._records.get(DELETED, key)) is not None:
            _same(from_plain(ModelVersion, gone.body), candidate, deleted=True)
            self._records.delete(DELETED, key)
        # Not `to_plain`: it would turn a set in the metadata into a list; the store must refuse what is not JSON.
        written = self._records.put(_VERSIONS, key, asdict(candidate), expected=0)
        self._note(
            "version.registered",
            candidate.model_id,
            version=candidate.version,
            digest=candidate.digest,
            owner=candidate.owner,
        )
        model = _model(model_record)
        if model.latest_version is None or _rank(candidate.version) > _rank(model.latest_version):
            newer = replace(model, latest_version=candidate.version)
            self._records.put(_MODELS, model.model_id, to_plain(newer), expected=model_record.revision)
        return from_plain(ModelVersion, written.body), True

    def get_version(self, model_id: str, version: str) -> ModelVersion:
        """Return a version by its number; raises NotFound if there is none."""
        return from_plain(ModelVersion, self._version_record(model_id, version).body)

    @verb
    def list_versions(
        self,
        model_id: str,
        limit: int = 100,
        cursor: str | None = None,
        *,
        owner: str | None = None,
        tags: Sequence[str] = (),
        metrics: Sequence[str] = (),
    ) -> Page[ModelVersion]:
        """Return a page of a model's versions in the order of semantic versioning, the highest first.

        Args:
            model_id: the model.
            limit: the most versions in the page.
            cursor: `next_cursor` of the previous page; use it with the same filters.
            owner: only versions of exactly this owner.
            tags: only versions with all of these: `key`, or `key=value`.
            metrics: only versions for which all of these hold, such as `accuracy>=0.9`; the operators are
                `>=`, `<=`, `>`, `<` and `=`. A version without the metric is left out.

        Raises:
            InvalidInput: a condition on a tag or metric cannot be parsed.
            NotFound: there is no such model.
        """
        self._model_record(model_id)
        conditions = [*map(tag_condition, tags), *map(metric_condition, metrics)]

        def keep(record: Record) -> bool:
            return owner in (None, record.body["owner"]) and all(holds(record.body) for holds in conditions)

        page = selected(self._records, keep, _VERSIONS, f"{model_id}/", limit, cursor, reverse=True)
        return Page(tuple(from_plain(ModelVersion, record.body) for record in page.items), page.next_cursor)

    @verb
    def resolve(self, model_id: str, ref: str) -> ModelVersion:
        """Return the version that `ref` refers to: a version number, an alias, or `latest`.

        Raises:
            NotFound: there is no such model, version or alias.
        """
        model = self.get_model(model_id)
        version = model.latest_version if ref == LATEST else model.aliases.get(ref, ref)
        if version is None:
            raise NotFound(f"model {model_id!r} has no versions yet: register one", model_id=model_id)
        return self.get_version(model_id, version)

    @verb
    def set_trial(self, model_id: str, version: str, artifact: Artifact) -> ModelVersion:
        """Record the trial of a version that was registered without one. A version that was tried stays as it is.

        Args:
            model_id, version: the version.
            artifact: its content with what the trial found; the model itself is the same.

        Raises:
            Conflict: the artifact is of another model.
            NotFound: there is no such version.
        """

        def act() -> ModelVersion:
            record = self._version_record(model_id, version)
            old = from_plain(ModelVersion, record.body)
            new = replace(old, **{one.name: getattr(artifact, one.name) for one in fields(Artifact)})
            if _same(old, new).trial.state is not TrialState.UNTRIED or new == old:
                return old
            self._records.put(_VERSIONS, record.key, asdict(new), expected=record.revision)
            self._note("version.tried", model_id, version=version, state=str(new.trial.state))
            return new

        return self._atomically(act)

    @change
    def set_stage(self, model_id: str, version: str, stage: Stage) -> ModelVersion:
        """Move a version to another stage; if it is there already, nothing changes.

        Raises:
            InvalidTransition: a version cannot move from its stage to this one.
            NotFound: there is no such version.
        """

        def act() -> ModelVersion:
            record = self._version_record(model_id, version)
            old = from_plain(ModelVersion, record.body)
            if old.stage == stage:
                return old
            new = replace(old, stage=STAGES.check(old.stage, stage))
            self._records.put(_VERSIONS, record.key, to_plain(new), expected=record.revision)
            self._note("stage.set", model_id, version=version, before=old.stage, stage=stage)
            return new

        return self._atomically(act)

    @verb
    def known(self, model_id: str, version: str) -> ModelVersion | None:
        """Return the version with this number, or what is kept of it if it was deleted; None if there never was one."""
        key = _version_key(model_id, Semver.parse(version))
        record = self._records.get(_VERSIONS, key) or self._records.get(DELETED, key)
        return None if record is None else from_plain(ModelVersion, record.body)

    def delete_version(self, model_id: str, version: str, *, by: str = "", used: Sequence[str] = ()) -> ModelVersion:
        """Delete a version to which nothing refers. Its number stays taken: only the same content may get it again.

        Its bytes are removed by `sweep`, unless another version has the same.

        Args:
            model_id: the model.
            version: the number of the version; no alias, and not "latest".
            by: who deletes it, for the journal.
            used: what needs the version outside of the registry, each as a clause such as "it serves"; then it is not
                deleted.

        Returns:
            The version as it was.

        Raises:
            Conflict: something refers to it: a part of `used`, an alias, or another version as its parent; names each.
            InvalidInput: `version` is not a semantic version.
            NotFound: there is no such model or version.
        """
        Semver.parse(version)

        def act() -> ModelVersion:
            model_record, record = self._model_record(model_id), self._version_record(model_id, version)
            model, old = _model(model_record), from_plain(ModelVersion, record.body)
            siblings = every_record(self._records, _VERSIONS, prefix=f"{model_id}/")
            others = [from_plain(ModelVersion, one.body) for one in siblings if one.key != record.key]
            check_unused(model, version, others, used)
            self._records.delete(_VERSIONS, record.key)
            self._records.put(DELETED, record.key, to_plain(remains(old)))
            self._contents.mark(old.blob)
            newer = replace(model, latest_version=max((one.version for one in others), key=_rank, default=None))
            facts = {"version": version, "digest": old.digest, "by": by}
            self._save_model(newer, model_record.revision, "version.deleted", **facts)
            return old

        with self._contents.lock:
            deleted = self._atomically(act)
        self.on_names(model_id)
        return deleted

    def sweep(self) -> None:
        """Remove the bytes of deleted versions that no version uses; those that cannot be removed now stay marked."""
        self._contents.sweep()

    # --- within ---------------------------------------------------------------------------------------------------

    def _atomically(self, act: Callable[[], R]) -> R:
        """Run `act` in a batch, which keeps its result; run it again from the start if another writer was faster."""
        for _ in range(_ATTEMPTS - 1):
            try:
                with self._records.batch():
                    return keep(act())
            except StaleRevision:
                continue
        with self._records.batch():
            return keep(act())

    def _renamed(self, model: RegisteredModel) -> RegisteredModel:
        self.on_names(model.model_id)
        return model

    def _change_model(
        self, model_id: str, change: Callable[[RegisteredModel], RegisteredModel], action: str, **facts: Any
    ) -> RegisteredModel:
        def act() -> RegisteredModel:
            record = self._model_record(model_id)
            old = _model(record)
            new = change(old)
            return old if new == old else self._save_model(new, record.revision, action, **facts)

        return self._atomically(act)

    def _save_model(self, model: RegisteredModel, expected: int, action: str, **facts: Any) -> RegisteredModel:
        record = self._records.put(_MODELS, model.model_id, to_plain(model), expected=expected)
        self._note(action, model.model_id, **facts)
        return _model(record)

    def _note(self, action: str, model_id: str, **facts: Any) -> None:
        self._journal.append(STREAM, {"action": action, "model_id": model_id, **facts})

    def _model_record(self, model_id: str) -> Record:
        record = self._records.get(_MODELS, model_id)
        if record is None:
            raise NotFound(f"no model {model_id!r} is registered", model_id=model_id)
        return record

    def _version_record(self, model_id: str, version: str) -> Record:
        try:
            record = self._records.get(_VERSIONS, _version_key(model_id, Semver.parse(version)))
        except InvalidInput:
            record = None
        if record is None:
            self._model_record(model_id)
            raise NotFound(
                f"model {model_id!r} has no version or alias {version!r}", model_id=model_id, version=version
            )
        return record


def _tell_nobody(_model_id: str) -> None:
    """Do nothing: the default when nobody asks for names that have changed."""


def _version_key(model_id: str, version: Semver) -> str:
    return f"{model_id}/{version.sort_key}"  # no model id contains a slash


def _rank(version: str) -> tuple[bool, str]:
    """Return a sort key that ranks releases above pre-releases, then by number."""
    parsed = Semver.parse(version)
    return parsed.is_release, parsed.sort_key


def _same(existing: ModelVersion, candidate: ModelVersion, *, deleted: bool = False) -> ModelVersion:
    state = "was deleted and had" if deleted else "is registered with"
    for what, registered, given in (
        ("another environment", existing.environment, candidate.environment),
        ("other content", existing.digest, candidate.digest),
    ):
        if registered != given:
            raise Conflict(
                f"version {existing.version} of model {existing.model_id!r} {state} {what}, and versions never change: "
                "register this one under a new version",
                registered=registered,
                given=given,
            )
    return existing


def _model(record: Record) -> RegisteredModel:
    own = {"model_id": record.key, "created_at": record.created_at, "updated_at": record.updated_at}
    return from_plain(RegisteredModel, {**record.body, **own})


def _lifted(metadata: dict[str, Any], key: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Remove `key` from the metadata and merge its value with `given`, which wins."""
    found = metadata.pop(key, None)
    if found is None:
        found = {}
    if not isinstance(found, Mapping):
        raise InvalidInput(f"metadata[{key!r}] must hold values by name, not {type(found).__name__}")
    return {**found, **(given or {})}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    for name, value in metrics.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise InvalidInput(f"the metric {name!r} must be a finite number, not {value!r}")
    return {name: float(value) for name, value in metrics.items()}
