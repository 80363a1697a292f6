"""`streamb keys`: API keys, and the people and services that they belong to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from streamb.cli.command import command
from streamb.cli.options import Limit, read_duration
from streamb.cli.output import Answer, Columns, Facts, Table, at, listing, when
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Create, list, rotate and revoke API keys.")
principals = typer.Typer(no_args_is_help=True, help="Add and change the people and services that keys belong to.")
commands.add_typer(principals, name="principals")

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the key: the 12 characters after sb_.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the principal.")]
Roles = Annotated[
    list[str] | None, typer.Option("--role", help="viewer, operator, approver or admin; repeatable. None: no rights.")
]


@command(commands, "create")
def create(
    client: HttpClient,
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="Who the key is for.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="A permission that the key allows at most; repeatable.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model it is good for, or a pattern: energy-*; repeatable.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="It ends after this time: 12h, 90d.")] = None,
) -> Answer:
    """Create a key and print it; it cannot be shown again."""
    expires_in_s = None if expires is None else read_duration(expires, "--expires")
    body = {"principal": principal, "scopes": scopes or None, "models": models or None, "expires_in_s": expires_in_s}
    made = client.change("POST", "/api/keys", {name: value for name, value in body.items() if value is not None})
    return Answer(made, made["key"])


@command(commands, "list")
def list_keys(client: HttpClient, limit: Limit = 100) -> Answer:
    """List the keys; those that should be rotated are marked."""
    columns: Columns = {
        "key": "id",
        "of": "principal",
        "scopes": lambda key: "all of its principal" if key["scopes"] is None else ", ".join(key["scopes"]),
        "models": lambda key: ", ".join(key["models"]),
        "expires": at("expires_at"),
        "rotated": lambda key: when(key["rotated_at"]) + (", due" if key["due"] else ""),
        "last used": at("used_at"),
    }
    found = list(client.pages("/api/keys", limit=limit))
    table = Table(columns, found, empty="there are no keys")
    due = sum(key["due"] for key in found)
    return Answer(found, table, f"{due} should be rotated: streamb keys rotate ID") if due else Answer(found, table)


@command(commands, "rotate")
def rotate(
    client: HttpClient,
    key_id: KeyId,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="So long the present secret is valid as well; 0s: not any more.")
    ] = "7d",
) -> Answer:
    """Give a key a new secret and print the new key; it cannot be shown again."""
    body = {"grace_s": read_duration(grace, "--grace")}
    made = client.change("POST", f"/api/keys/{key_id}/rotate", body)
    return Answer(made, made["key"])


@command(commands, "revoke")
def revoke(client: HttpClient, key_id: KeyId) -> Answer:
    """Revoke a key: within a second it is refused everywhere."""
    gone = client.change("DELETE", f"/api/keys/{key_id}")
    return Answer(gone, f"{gone['id']}: revoked")


@command(principals, "list")
def list_principals(client: HttpClient, limit: Limit = 100) -> Answer:
    """List people, services and jobs, and their roles."""
    columns: Columns = {"name": "name", "kind": "kind", "roles": lambda one: ", ".join(one["roles"])}
    return listing(list(client.pages("/api/principals", limit=limit)), columns, empty="there are no principals")


@command(principals, "create")
def create_principal(
    client: HttpClient,
    name: Name,
    kind: Annotated[Literal["person", "service"], typer.Option(help="What it is.")] = "person",
    roles: Roles = None,
) -> Answer:
    """Add a person or a service. It needs a key, too: `streamb keys create NAME`."""
    made = client.change("POST", "/api/principals", {"name": name, "kind": kind, "roles": roles or []})
    return Answer(made, _facts(made))


@command(principals, "roles")
def set_roles(client: HttpClient, name: Name, roles: Roles = None) -> Answer:
    """Give a principal these roles in place of those that it has."""
    changed = client.change("PUT", f"/api/principals/{name}/roles", {"roles": roles or []})
    return Answer(changed, _facts(changed))


@command(principals, "remove")
def remove(client: HttpClient, name: Name) -> Answer:
    """Remove a principal and all its keys."""
    gone = client.change("DELETE", f"/api/principals/{name}")
    return Answer(gone, f"{gone['name']}: removed, with its keys")


def _facts(principal: dict[str, Any]) -> Facts:
    return Facts({**principal, "roles": ", ".join(principal["roles"]), "created_at": when(principal["created_at"])})
