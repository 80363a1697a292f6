"""Names and pages that may call the platform: every Host with every Origin."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.config import load_settings
from streamb.errors import BadRequest, Forbidden, StreambError
from streamb.serving.http.origins import Origins, check_single, origins_of

OWN = ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "127.8.0.1", "[::1]:8000", "app.localhost:8000", "127.0.0.1:80"]
FOREIGN = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "xlocalhost", "0.0.0.0"),
    *("8.8.8.8", "169.254.169.254:8000", "10.0.0.1:8000", "2130706433", "127.1", "0x7f000001", "0177.0.0.1", "[::]"),
    *(
        "[2001:db8::1]",
        "localhost.",
        "127.0.0.1.",
        "evil.example#localhost",
        "evil@127.0.0.1",
        "evil.example,localhost",
    ),
    *("127.0.0.1 evil", "", " ", ":8000", "[::1", "127.0.0.1:80:80", "127.0.0.1:x", "127.0.0.1/evil", "l\u043ecalhost"),
]
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "BREW"]


def passes(rules: Origins, method: str, **headers: str) -> bool:
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    try:
        rules.check(method, raw)
    except (BadRequest, Forbidden):
        return False
    return True


@pytest.mark.parametrize("method", METHODS)
def test_a_foreign_name_is_refused_whatever_the_method_and_the_page(method):
    rules = Origins(sites=("*",))
    for host in FOREIGN:
        for origin in (None, f"http://{host}", "http://127.0.0.1:8000", "null"):
            headers = {"host": host} if origin is None else {"host": host, "origin": origin}
            assert not passes(rules, method, **headers), (host, origin)
    assert all(passes(rules, method, host=host) for host in OWN)


@pytest.mark.parametrize("host", OWN)
def test_changes_come_from_own_pages_and_programs_only(host):
    rules = Origins()
    assert passes(rules, "POST", host=host)
    assert passes(rules, "POST", host=host, origin=f"http://{host.lower()}")
    assert passes(rules, "POST", host=host, origin=f"https://{host.lower()}"), "a proxy in front may end TLS"
    assert passes(rules, "POST", host=host, origin=f"http://{host.lower()}", sec_fetch_site="same-origin")
    pages = [*(f"http://{other}" for other in FOREIGN), "null", "", "file://", f"ftp://{host}", host, f"http://{host}/"]
    for origin in [*pages, "http://127.0.0.1:9999", f"http://user@{host}", "chrome-extension://abcdef"]:
        assert not passes(rules, "POST", host=host, origin=origin), origin
        assert passes(rules, "GET", host=host, origin=origin), "the browser keeps the answer from the page"
    for site in ("cross-site", "same-site", "CROSS-SITE", "", "nonsense"):
        assert not passes(rules, "POST", host=host, sec_fetch_site=site)
        assert not passes(rules, "POST", host=host, origin=f"http://{host}", sec_fetch_site=site)
    assert passes(rules, "POST", host=host, sec_fetch_site="none"), "typed by a person"


def test_a_page_needs_a_host_to_be_the_same_as():
    assert passes(Origins(), "POST")
    assert not passes(Origins(), "POST", origin="http://127.0.0.1")


def test_named_sites_may_call_and_any_site_only_where_all_are_named():
    named = Origins(sites=("https://app.example.com",))
    for site in ("cross-site", "same-site"):
        assert passes(named, "POST", host="localhost", origin="https://app.example.com", sec_fetch_site=site)
    others = ["http://app.example.com", "https://app.example.com:8443", "https://app.example.com.evil", "null"]
    for other in others:
        assert not passes(named, "POST", host="localhost", origin=other)
        assert passes(Origins(sites=("*",)), "POST", host="localhost", origin=other)
    assert not passes(named, "POST", host="localhost", sec_fetch_site="cross-site")
    assert passes(Origins(sites=("*",)), "POST", host="localhost", sec_fetch_site="cross-site")


def test_an_address_of_the_platform_is_its_name():
    rules = Origins("10.1.2.3", frozenset({"ml.example.com", "[2001:db8::7]"}))
    for host in ("10.1.2.3:8000", "ML.example.com", "[2001:DB8:0::7]:1", *OWN):
        assert passes(rules, "GET", host=host)
    for host in ("10.1.2.4", "x.ml.example.com", "example.com", "[2001:db8::8]"):
        assert not passes(rules, "GET", host=host)


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", "[::]"])
def test_on_all_addresses_any_address_is_accepted_and_no_name(bound):
    rules = Origins(bound)
    assert all(passes(rules, "GET", host=host) for host in ("10.0.0.1:8000", "[2001:db8::1]", "127.0.0.1", "0.0.0.0"))
    assert not any(passes(rules, "GET", host=host) for host in ("evil.example", "2130706433", "127.1"))


def test_default_ports_are_the_same_address_and_under_tls_own_pages_are_https():
    tls = Origins(tls=True)
    assert passes(Origins(), "POST", host="localhost:80", origin="http://localhost")
    assert passes(Origins(), "POST", host="localhost", origin="https://localhost:443")
    assert not passes(Origins(), "POST", host="localhost:443", origin="http://localhost")
    assert passes(tls, "POST", host="localhost", origin="https://localhost")
    assert not passes(tls, "POST", host="localhost", origin="http://localhost"), (
        "a page that anyone on the way can write"
    )


@given(st.binary(max_size=40), st.none() | st.binary(max_size=40), st.sampled_from(METHODS))
def test_any_bytes_are_passed_or_refused_and_never_fail(host, origin, method):
    headers = {b"host": host} | ({} if origin is None else {b"origin": origin})
    try:
        Origins().check(method, headers)
    except StreambError:
        return
    assert host.decode().lower().rsplit(":", 1)[0].endswith(("localhost", "]")) or host.startswith(b"127.")


def test_what_it_remembers_is_bounded():
    rules = Origins("0.0.0.0")
    for one, two in product(range(256), range(8)):
        rules.check("GET", {b"host": b"10.0.%d.%d" % (two, one)})
        assert not passes(rules, "GET", host=f"evil{one}-{two}.example")
    assert len(rules._known) <= 256


@pytest.mark.parametrize("name", [b"host", b"origin"])
def test_two_of_a_kind_are_refused(name):
    check_single([(name, b"a"), (b"x", b"a"), (b"x", b"b")])
    with pytest.raises(BadRequest, match="send one"):
        check_single([(name, b"127.0.0.1"), (b"x", b"a"), (name, b"127.0.0.1")])


def test_the_settings_make_the_rules():
    settings = load_settings(allowed_hosts="ml.example.com", cors_origins="https://app.example.com")
    data, console = origins_of(settings, data_plane=True), origins_of(settings, data_plane=False)
    assert all(passes(rules, "POST", host="ml.example.com:8000") for rules in (data, console))
    page = {"host": "ml.example.com", "origin": "https://app.example.com"}
    assert passes(data, "POST", **page)
    assert not passes(console, "POST", **page), "the Console has no pages elsewhere"
