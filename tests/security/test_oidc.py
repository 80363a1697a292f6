"""Tokens of an issuer: who is let in, and everything that must not let anybody in."""

from __future__ import annotations

import asyncio
import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.errors import InvalidInput, StreambError, Unauthorized, Unavailable
from streamb.security import oidc
from streamb.security.directory import Directory
from streamb.security.oidc import Issuer, Person, looks_like_token
from streamb.security.permissions import ROLES, Role
from streamb.security.principals import Kind
from tests.security.issuer import EC_KEY, ED_KEY, OTHER_KEY, RSA_KEY, LocalIssuer, jwk_of
from tests.store.memory import memory_database

NOW = 1_700_000_000.0
GROUPS = {"ml-team": frozenset({"operator"}), "leads": frozenset({"approver", "viewer"})}


@pytest.fixture
def local():
    issuer = LocalIssuer()
    yield issuer
    issuer.close()


@pytest.fixture
def clock():
    return ManualClock(start=NOW)


@pytest.fixture
def people(local, clock):
    return Issuer(local.url, "streamb", "groups", GROUPS, clock)


async def test_a_person_is_who_the_issuer_says(people, local):
    person = await people.check(local.token(NOW, groups=["leads", "ml-team", "leads", 3, None]))
    assert person == Person("ada@example.com", ("leads", "ml-team"), local.url)
    principal = people.principal(person)
    assert (principal.name, principal.kind, principal.key_id) == ("ada@example.com", Kind.PERSON, "")
    assert principal.permissions == ROLES[Role.OPERATOR] | ROLES[Role.APPROVER]
    for _ in range(20):
        await people.check(local.token(NOW))
    assert local.fetched == 1


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        *((RSA_KEY, "RS256"), (RSA_KEY, "RS512"), (RSA_KEY, "PS256"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA")),
    ],
)
async def test_algorithms(people, local, key, alg):
    local.keys = [jwk_of(OTHER_KEY, "k0"), jwk_of(key), {"kty": "oct", "k": "AAAA", "kid": "k1"}, "no key", None]
    assert (await people.check(local.token(NOW, key, alg))).name == "ada@example.com"


@pytest.mark.parametrize(
    ("groups", "known"),
    [
        *(("ml-team", ("ml-team",)), (None, ()), ([], ()), ({"ml-team": True}, ()), (7, ()), (True, ())),
        *((["ML-TEAM", "ml-team "], ()), ("ml-team,leads", ()), ([["ml-team"]], ())),
    ],
)
async def test_groups_that_have_no_role_give_none(people, local, groups, known):
    person = await people.check(local.token(NOW, groups=groups))
    assert person.groups == known
    assert bool(people.principal(person).permissions) is bool(known)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email_verified": False}, "oidc:248289761001"),
        ({"email_verified": None}, "oidc:248289761001"),
        ({"email_verified": "true"}, "oidc:248289761001"),
        ({"email_verified": 1}, "oidc:248289761001"),
        ({"email": None}, "oidc:248289761001"),
        ({"email": "operator"}, "oidc:248289761001"),
        ({"email": "a b@example.com"}, "oidc:248289761001"),
        ({"email": "ada@example.com\x1b[31m"}, "oidc:248289761001"),
        ({"email": "\u0430da@example.com"}, "oidc:248289761001"),  # a Cyrillic letter
        ({"email": ["ada@example.com"]}, "oidc:248289761001"),
        ({"email": "a" * 200 + "@example.com"}, "oidc:248289761001"),
        ({"email": None, "sub": "operator"}, "oidc:operator"),
        ({"email": None, "sub": "anonymous"}, "oidc:anonymous"),
        ({"email": None, "sub": "auth0|7@x"}, "oidc:auth0|7@x"),
    ],
)
async def test_no_token_takes_the_name_of_somebody_else(people, local, claims, name):
    assert (await people.check(local.token(NOW, **claims))).name == name


WRONG = {
    "expired": {"exp": NOW},
    "expired long ago": {"exp": NOW - 1e6},
    "no end": {"exp": None},
    "the end is text": {"exp": str(NOW + 300)},
    "the end is true": {"exp": True},
    "the end is no number": {"exp": float("nan")},
    "the end is never": {"exp": float("inf")},
    "the end is a list": {"exp": [NOW + 300]},
    "not yet": {"nbf": NOW + 3600},
    "from the future": {"iat": NOW + 3600},
    "begins with text": {"nbf": "now"},
    "another audience": {"aud": "another"},
    "a longer audience": {"aud": "streamb-admin"},
    "other audiences": {"aud": ["a", "b"]},
    "no audience": {"aud": None},
    "an empty audience": {"aud": []},
    "audience of objects": {"aud": [{"streamb": 1}]},
    "another issuer": {"iss": "https://evil.example"},
    "issuer with a slash": {"iss": "http://127.0.0.1/"},
    "no issuer": {"iss": None},
    "issuers": {"iss": ["http://127.0.0.1"]},
    "no subject": {"sub": None, "email": None},
    "empty subject": {"sub": "", "email": None},
    "subject with ESC": {"sub": "\x1b[31m", "email": None},
    "subject turned": {"sub": "\u202eadmin", "email": None},
    "subject of 300": {"sub": "x" * 300, "email": None},
    "subject is a number": {"sub": 5},
}


@pytest.mark.parametrize("what", WRONG)
async def test_wrong_claims_let_nobody_in(people, local, what):
    with pytest.raises(Unauthorized):
        await people.check(local.token(NOW, **WRONG[what]))


async def test_a_clock_that_is_a_little_ahead_is_forgiven_and_an_end_is_not(people, local, clock):
    await people.check(local.token(NOW, iat=NOW + 30, nbf=NOW + 30))
    token = local.token(NOW, exp=NOW + 10)
    await people.check(token)
    clock.advance(10)
    with pytest.raises(Unauthorized, match="expired"):
        await people.check(token)


def _part(value) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _forged(local):
    good = local.token(NOW)
    head, body, signature = good.split(".")
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{body}"
    as_secret = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed.encode(), public)
    admin = _part({"iss": local.url, "aud": "streamb", "sub": "1", "exp": NOW + 300, "groups": ["leads"]})
    yield "none", f"{_part({'alg': 'none', 'typ': 'JWT'})}.{body}."
    yield "None", f"{_part({'alg': 'None'})}.{body}.{signature}"
    yield "nOnE", f"{_part({'alg': 'nOnE', 'kid': 'k1'})}.{body}.AAAA"
    yield "no algorithm", f"{_part({'typ': 'JWT'})}.{body}.{signature}"
    yield "algorithms", f"{_part({'alg': ['RS256']})}.{body}.{signature}"
    yield "public key as secret", f"{signed}.{base64.urlsafe_b64encode(as_secret).rstrip(b'=').decode()}"
    yield "other claims", f"{head}.{admin}.{signature}"
    yield "without signature", f"{head}.{body}."
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{good}.{signature}"
    yield "five parts", f"{good}.a.b"
    yield "junk", "a.b.c"
    yield "nested", f"{_part([[]])}.{body}.{signature}"
    yield "deep", f"{base64.urlsafe_b64encode(b'[' * 6000).decode()}.{body}.{signature}"
    yield "long", f"{head}.{body}{'A' * 20_000}.{signature}"
    yield "own key", local.token(NOW, OTHER_KEY, head={"jwk": jwk_of(OTHER_KEY)})
    yield "own address of keys", local.token(NOW, OTHER_KEY, head={"jku": f"{local.url}/keys", "x5u": local.url})
    yield "another key", local.token(NOW, OTHER_KEY)
    yield "unknown key", local.token(NOW, head={"kid": "../../etc/passwd"})
    yield "critical", local.token(NOW, head={"crit": ["exp"], "exp": 1})
    yield "logout token", local.token(NOW, head={"typ": "logout+jwt"})
    yield "type is a list", local.token(NOW, head={"typ": ["JWT"]})
    yield "unencoded", f"{_part({'alg': 'RS256', 'b64': False, 'crit': ['b64'], 'kid': 'k1'})}..{signature}"
    yield "white space", f" {good}"
    yield "end of line", f"{good}\n"
    yield "padded", f"{head}=.{body}.{signature}"


async def test_forged_tokens_let_nobody_in(people, local):
    tried = 0
    for what, token in _forged(local):
        with pytest.raises(Unauthorized) as refusal:
            await people.check(token)
        assert token[:20] not in refusal.value.message, what
        tried += 1
    assert tried > 20


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_refused_and_never_fail(head, body, signature):
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (head, body, signature))
    people = Issuer("http://127.0.0.1:1", "streamb", "groups", GROUPS, ManualClock())
    with pytest.raises(StreambError):
        asyncio.run(people.check(token))


def test_keys_of_the_platform_are_no_tokens():
    assert not looks_like_token("sb_000000000000_" + "0" * 72)
    assert looks_like_token("a.b.c")


async def test_weak_and_foreign_keys_of_the_issuer_are_not_used(people, local):
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    wrong = [jwk_of(weak), jwk_of(RSA_KEY, use="enc"), jwk_of(RSA_KEY, alg="RS512"), jwk_of(EC_KEY)]
    wrong += [jwk_of(RSA_KEY, key_ops=["encrypt"]), {"kty": "RSA", "kid": "k1"}, {"kty": "RSA", "kid": "k1", "n": 5}]
    local.keys = wrong
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        tokens = [local.token(NOW), local.token(NOW, weak)]
    for token in tokens:
        with pytest.raises(Unauthorized):
            await people.check(token)


# --- the issuer's keys ------------------------------------------------------------------------------------------------


async def test_keys_may_be_rotated_at_any_time(people, local, clock):
    old = local.token(NOW)
    await people.check(old)
    local.keys = [jwk_of(RSA_KEY), jwk_of(OTHER_KEY, "k2")]
    new = local.token(NOW, OTHER_KEY, head={"kid": "k2"}, exp=NOW + 9e5)
    assert (await people.check(new)).name == "ada@example.com"
    local.keys = [jwk_of(OTHER_KEY, "k2")]
    clock.advance(601)
    await people.check(new)
    with pytest.raises(Unauthorized):
        await people.check(local.token(NOW, exp=NOW + 9e5))


async def test_a_key_without_a_name_is_found_by_trying(people, local):
    local.keys = [jwk_of(OTHER_KEY, None), jwk_of(RSA_KEY, None)]
    await people.check(local.token(NOW, head={"kid": None}))
    with pytest.raises(Unauthorized):
        await people.check(local.token(NOW, head={"kid": "k9"}))


async def test_tokens_with_unknown_keys_do_not_flood_the_issuer(people, local, clock):
    token = local.token(NOW, OTHER_KEY, head={"kid": "unknown"}, exp=NOW + 9e5)
    for _ in range(100):
        with pytest.raises(Unauthorized):
            await people.check(token)
    assert local.fetched <= 6
    clock.advance(61)
    await people.check(local.token(NOW, exp=NOW + 9e5))


async def test_many_at_once_ask_once(people, local):
    assert len(await asyncio.gather(*(people.check(local.token(NOW)) for _ in range(50)))) == 50
    assert local.fetched == 1


DESCRIPTION, KEYS = "/.well-known/openid-configuration", "/keys"
BROKEN = {
    "no description": (DESCRIPTION, (404, {}, b"{}")),
    "an error": (DESCRIPTION, (500, {}, b"{}")),
    "moved": (DESCRIPTION, (302, {"Location": "http://127.0.0.1:1/"}, b"")),
    "no JSON": (DESCRIPTION, (200, {}, b"<html>")),
    "a list": (DESCRIPTION, (200, {}, b"[]")),
    "deep": (KEYS, (200, {}, b"[" * 100_000)),
    "another issuer": (
        DESCRIPTION,
        (200, {}, b'{"issuer": "https://evil.example", "jwks_uri": "https://evil.example"}'),
    ),
    "keys missing": (KEYS, (404, {}, b"")),
    "keys are no list": (KEYS, (200, {}, b'{"keys": {}}')),
    "too long": (KEYS, (200, {}, b" " * 600_000)),
    "compressed": (KEYS, (200, {"Content-Encoding": "gzip"}, b"")),
    "bytes": (KEYS, (200, {}, b"\xff\xfe")),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_an_issuer_that_answers_nonsense_is_unavailable(people, local, what):
    path, answer = BROKEN[what]
    local.behave[path] = answer
    with pytest.raises(Unavailable, match="tokens cannot be checked") as refusal:
        await people.check(local.token(NOW))
    assert local.url in refusal.value.message
    assert refusal.value.details["retry_after_s"] > 0


@pytest.mark.parametrize("where", ["http://keys.example.com/", "file:///etc/passwd", "ftp://x", 5, "", "//x", "https"])
async def test_keys_are_fetched_over_https_only(people, local, where):
    local.behave[DESCRIPTION] = (200, {}, json.dumps({"issuer": local.url, "jwks_uri": where}).encode())
    with pytest.raises(Unavailable):
        await people.check(local.token(NOW))


async def test_a_silent_issuer_is_given_up_and_asked_again_later(people, local, clock, monkeypatch):
    monkeypatch.setattr(oidc, "FETCH_S", 0.2)
    local.behave[KEYS] = 1.0
    for _ in range(5):
        with pytest.raises(Unavailable, match=r"no answer|does not tell"):
            await people.check(local.token(NOW))
    assert local.fetched == 1, "after a failure it is left alone for a moment"
    local.behave.clear()
    monkeypatch.setattr(oidc, "FETCH_S", 30)
    clock.advance(6)
    await people.check(local.token(NOW))


async def test_an_issuer_that_is_away_for_a_while_is_not_missed_and_for_long_it_is(people, local, clock):
    token = local.token(NOW, exp=NOW + 9e5)
    await people.check(token)
    local.close()
    clock.advance(1800)
    await people.check(token)
    with pytest.raises(Unavailable, match="does not tell its keys"):
        await people.check(local.token(NOW, OTHER_KEY, head={"kid": "new"}, exp=NOW + 9e5))
    clock.advance(1801)
    with pytest.raises(Unavailable, match="use an API key"):
        await people.check(token)


def test_keys_of_a_person_carry_the_name_that_its_tokens_carry():
    database = memory_database(clock := ManualClock(start=NOW))
    directory = Directory(database.records, clock)
    with pytest.raises(InvalidInput, match=r"ada@example\.com"):
        directory.create("Ada@Example.com", "person", [])
    assert directory.create("ada@example.com", "person", []).name == "ada@example.com"
