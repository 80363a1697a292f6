"""Routes for API keys and the principals that they belong to, for administrators only, in any environment."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from streamb.api.auth import NEEDS_KEY, KnownCaller
from streamb.api.console import Console, ConsoleDep
from streamb.api.idempotency import ChangeDep
from streamb.api.shapes import Answer, Cursor, Limit, PageAnswer, page_of
from streamb.errors import Forbidden
from streamb.options import Strict, spoken
from streamb.security.directory import NAME, NOT_A_NAME, Directory
from streamb.security.key_records import DAY_S, MODEL_PATTERN, NOT_A_MODEL_PATTERN, KeyRecord
from streamb.security.keys import LONGEST_GRACE_S, MOST_MODELS, ROTATION_GRACE_S, KeyRing
from streamb.security.permissions import Permission, Role
from streamb.store import Page

LONGEST_LIFE_S: Final = 3_650 * DAY_S


def _of_every_model(caller: KnownCaller) -> None:
    """Refuse a caller whose key is good for some models only: with it, a key for all of them could be made."""
    if not caller.every_model:
        raise Forbidden(f"the key of {caller.name} is good for {', '.join(caller.models)} only, so it manages no keys")


router = APIRouter(prefix="/api", tags=["keys"], dependencies=[Depends(_of_every_model)])

_SECURED: Final[dict[str, Any]] = {"security": NEEDS_KEY}
_PRINCIPAL: Final = spoken(rf"^{NAME}$", NOT_A_NAME)
PrincipalName = Annotated[str, Field(pattern=_PRINCIPAL, description="A unique name, or an email address.")]
PrincipalInPath = Annotated[str, Path(pattern=_PRINCIPAL, description="The principal.")]
KeyId = Annotated[
    str,
    Path(pattern=spoken(r"^[0-9a-f]{12}$", "is no id of a key: the 12 characters after sb_"), description="The key."),
]
ModelPattern = Annotated[str, Field(pattern=spoken(rf"^{MODEL_PATTERN}$", NOT_A_MODEL_PATTERN))]
Scope = Annotated[Permission, Field(strict=False)]  # JSON has texts
Roles = Annotated[
    list[Annotated[Role, Field(strict=False)]], Field(max_length=len(Role), description="None: it may do nothing.")
]


class PrincipalBody(Strict):
    """A person or a service to add."""

    name: PrincipalName
    kind: Literal["person", "service"]
    roles: Roles = Field(default_factory=list)


class RolesBody(Strict):
    """The roles of a principal, in place of those that it has."""

    roles: Roles


class KeyBody(Strict):
    """A key to create."""

    principal: PrincipalName
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Permission))] | None = Field(
        default=None, description="What it allows at most; by default whatever its principal may do."
    )
    models: list[ModelPattern] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        max_length=MOST_MODELS,
        description="The models it is good for: ids, or patterns such as `energy-*`.",
    )
    expires_in_s: Annotated[float, Field(gt=0, le=LONGEST_LIFE_S, allow_inf_nan=False)] | None = Field(
        default=None, description="It is refused after so many seconds; by default it does not expire."
    )


class RotationBody(Strict):
    """How long the present secret of a key remains valid beside the new one."""

    grace_s: float = Field(
        default=ROTATION_GRACE_S,
        ge=0,
        le=LONGEST_GRACE_S,
        allow_inf_nan=False,
        description="For so many seconds both secrets are valid; 0: the present one is refused at once.",
    )


class PrincipalAnswer(Answer):
    """A person, a service, or a job."""

    name: str
    kind: str
    roles: list[str]
    created_at: float


class RemovedAnswer(Answer):
    """A principal that was removed."""

    name: str
    removed: bool = True


class KeyAnswer(Answer):
    """What is known of a key, which does not include the key."""

    id: str = Field(description="The id in the key.")
    principal: str
    scopes: list[str] | None = Field(description="Null: whatever its principal may do.")
    models: list[str]
    created_at: float
    expires_at: float | None
    rotated_at: float = Field(description="When its newest secret was made.")
    old_secret_until: float | None = Field(description="Until when the secret before that is valid; null: it is not.")
    used_at: float | None = Field(
        description="When it was last used, to within a minute; null: never, as far as known."
    )
    due: bool = Field(description="Whether it is due for rotation (ML_KEY_ROTATION_DAYS).")


class NewKeyAnswer(KeyAnswer):
    """A key with its plain text."""

    key: str = Field(description="Shown once, and stored nowhere; empty if this answer is a repetition.")


class RevokedAnswer(Answer):
    """A key that was revoked."""

    id: str
    revoked: bool = True


# --- keys -------------------------------------------------------------------------------------------------------------


@router.get("/keys", openapi_extra=_SECURED)
async def list_keys(console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None) -> PageAnswer[KeyAnswer]:
    """List the keys, by id. No answer has a key itself."""
    page = await console.ask(KeyRing.page, limit, cursor)
    return page_of(KeyAnswer, Page(tuple(_facts(console, one) for one in page.items), page.next_cursor))


@router.post("/keys", status_code=201, response_model=NewKeyAnswer, openapi_extra=_SECURED)
async def create_key(body: KeyBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Create a key. The answer has it once; nobody can find it out later."""

    async def act() -> dict[str, Any]:
        expires_at = None if body.expires_in_s is None else console.clock.now() + body.expires_in_s
        return _new(console, await console.ask(KeyRing.create, body.principal, body.scopes, body.models, expires_at))

    return await change.make(NewKeyAnswer, body, act, status=201, location="/api/keys/{id}", shown_once=("key",))


@router.get("/keys/{key_id}", openapi_extra=_SECURED)
async def get_key(key_id: KeyId, console: ConsoleDep) -> KeyAnswer:
    """Return what is known of a key."""
    return KeyAnswer.model_validate(_facts(console, await console.ask(KeyRing.get, key_id)))


@router.delete("/keys/{key_id}", response_model=RevokedAnswer, openapi_extra=_SECURED)
async def revoke_key(key_id: KeyId, console: ConsoleDep, change: ChangeDep) -> Any:
    """Revoke a key: within a second it is refused everywhere."""

    async def act() -> dict[str, Any]:
        await console.ask(KeyRing.revoke, key_id)
        return {"id": key_id}

    return await change.make(RevokedAnswer, None, act)


@router.post("/keys/{key_id}/rotate", response_model=NewKeyAnswer, openapi_extra=_SECURED)
async def rotate_key(body: RotationBody, key_id: KeyId, console: ConsoleDep, change: ChangeDep) -> Any:
    """Give a key a new secret; the present one remains valid for a while, so that its holders can change over."""

    async def act() -> dict[str, Any]:
        return _new(console, await console.ask(KeyRing.rotate, key_id, body.grace_s))

    return await change.make(NewKeyAnswer, body, act, shown_once=("key",))


# --- principals -------------------------------------------------------------------------------------------------------


@router.get("/principals", openapi_extra=_SECURED)
async def list_principals(
    console: ConsoleDep, limit: Limit = 100, cursor: Cursor = None
) -> PageAnswer[PrincipalAnswer]:
    """List people, services and jobs that keys belong to, by name."""
    return page_of(PrincipalAnswer, await console.ask(Directory.page, limit, cursor))


@router.post("/principals", status_code=201, response_model=PrincipalAnswer, openapi_extra=_SECURED)
async def create_principal(body: PrincipalBody, console: ConsoleDep, change: ChangeDep) -> Any:
    """Add a person or a service."""
    return await change.make(
        PrincipalAnswer,
        body,
        lambda: console.ask(Directory.create, body.name, body.kind, body.roles),
        status=201,
        location="/api/principals/{name}",
    )


@router.get("/principals/{name}", openapi_extra=_SECURED)
async def get_principal(name: PrincipalInPath, console: ConsoleDep) -> PrincipalAnswer:
    """Return one principal."""
    return PrincipalAnswer.model_validate(await console.ask(Directory.get, name))


@router.put("/principals/{name}/roles", response_model=PrincipalAnswer, openapi_extra=_SECURED)
async def set_roles(body: RolesBody, name: PrincipalInPath, console: ConsoleDep, change: ChangeDep) -> Any:
    """Change the roles of a principal, for all its keys."""
    return await change.make(PrincipalAnswer, body, lambda: console.ask(Directory.set_roles, name, body.roles))


@router.delete("/principals/{name}", response_model=RemovedAnswer, openapi_extra=_SECURED)
async def remove_principal(name: PrincipalInPath, console: ConsoleDep, change: ChangeDep) -> Any:
    """Remove a principal and all its keys."""

    async def act() -> dict[str, Any]:
        await console.ask(Directory.remove, name)
        return {"name": name}

    return await change.make(RemovedAnswer, None, act)


def _new(console: Console, made: tuple[str, KeyRecord]) -> dict[str, Any]:
    plaintext, record = made
    return {**_facts(console, record), "key": plaintext}


def _facts(console: Console, record: KeyRecord) -> dict[str, Any]:
    now = console.clock.now()
    valid = record.valid_secrets(now)
    return {
        "id": record.key_id,
        "principal": record.principal,
        "scopes": None if record.scopes is None else list(record.scopes),
        "models": list(record.models),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "rotated_at": record.made_at,
        "old_secret_until": valid[1].until if len(valid) > 1 else None,
        "used_at": record.used_at,
        "due": bool(valid) and record.due_for_rotation(now, console.settings.key_rotation_days),
    }
