"""What a connection is made of: read from URLs, clients and the environment, without any I/O."""

from __future__ import annotations

import inspect
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import ExponentialBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry
from redis.sentinel import Sentinel

from bullrush.connection.address import Address
from bullrush.errors import InvalidOption, InvalidOptionType, NotConfigured

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", Address("tcp", "localhost", 6379)),
        ("redis://example.org", Address("tcp", "example.org", 6379)),
        ("redis://example.org:7000/5", Address("tcp", "example.org", 7000, db=5)),
        ("redis://example.org?db=5", Address("tcp", "example.org", 6379, db=5)),
        ("redis://[::1]:7000", Address("tcp", "::1", 7000)),
        ("redis://me:pw@h", Address("tcp", "h", 6379, username="me", password="pw")),
        ("redis://:pw@h", Address("tcp", "h", 6379, password="pw")),
        ("redis://h?client_name=me", Address("tcp", "h", 6379, client_name="me")),
        ("rediss://h", Address("tls", "h", 6379)),
        ("rediss://h?ssl_cert_reqs=none", Address("tls", "h", 6379, tls=(("ssl_cert_reqs", "none"),))),
        ("unix:///run/redis.sock?db=2", Address("unix", path="/run/redis.sock", db=2)),
        ("unix://me:pw@/run/s", Address("unix", path="/run/s", username="me", password="pw")),
        ("embedded://", Address("embedded")),
        ("embedded:///var/lib/jobs", Address("embedded", path="/var/lib/jobs")),
        ("embedded:///a%3Fb%20c", Address("embedded", path="/a?b c")),
    ],
)
def test_urls(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


def test_an_address_is_read_as_itself() -> None:
    address = Address.parse("redis://h")
    assert Address.parse(address) is address


def test_an_embedded_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert Address.parse("embedded://data/jobs").path == str(tmp_path / "data/jobs")
    assert Address.parse("embedded://~/jobs").path == "/home/me/jobs"
    assert not any(tmp_path.iterdir())  # parsing makes nothing


@pytest.mark.parametrize(
    "query", ["socket_timeout=3", "protocol=3", "decode_responses=true", "max_connections=9"]
)
def test_settings_for_pools_and_answers_are_left_behind(query: str) -> None:
    assert Address.parse(f"redis://h?{query}") == Address.parse("redis://h")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:6379", "scheme"),
        ("http://h", "scheme 'http'"),
        ("embedded:/path", "scheme"),
        ("redis+sentinel://h/main", "not available in this version"),
        ("redis+cluster://h", "not available in this version"),
        ("redis://h/jobs", "database 'jobs'"),
        ("redis://h/-1", "database '-1'"),
        ("redis://h?db=x", "db"),
        ("redis://h?db=-1", "database '-1'"),
        ("redis://h:99999", "not a URL"),
        ("redis://h:port", "not a URL"),
        ("redis://[::1", "not a URL"),
        ("redis://h?sll_cert_reqs=none", "unknown setting 'sll_cert_reqs'"),
        ("rediss://h?ssl_cert_req=none", "unknown setting 'ssl_cert_req'"),
        ("redis://h?ssl_cert_reqs=none", "use rediss://"),
        ("unix://relative/path", "absolute path"),
        ("unix://", "absolute path"),
        ("embedded:///path?db=1", "takes a path and nothing else"),
        ("embedded:///path#1", "takes a path and nothing else"),
        ("embedded:///a%00b", "takes a path and nothing else"),
    ],
)
def test_urls_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(InvalidOption, match=message) as caught:
        Address.parse(url)
    assert "connection" in str(caught.value)


@pytest.mark.parametrize("given", [6379, b"redis://h", ["redis://h"], redis.ConnectionPool()])
def test_other_types_are_refused(given: object) -> None:
    with pytest.raises(InvalidOptionType, match=type(given).__name__):
        Address.parse(given)  # type: ignore[arg-type]


def test_the_environment_is_asked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://second")
    monkeypatch.setenv("BULLRUSH_URL", "")
    assert Address.parse().host == "second"
    monkeypatch.setenv("BULLRUSH_URL", "redis://first")
    assert Address.parse(None).host == "first"
    monkeypatch.setenv("BULLRUSH_URL", "redis://:geheim@h/nonsense")
    with pytest.raises(InvalidOption, match="BULLRUSH_URL names the database") as caught:
        Address.parse()
    assert "geheim" not in str(caught.value)


def test_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("BULLRUSH_URL", raising=False)
    with pytest.raises(NotConfigured, match=r"(?s)pass a connection.*BULLRUSH_URL.*REDIS_URL"):
        Address.parse()


@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
class TestClients:
    def test_tcp(self, kind: type[redis.Redis]) -> None:
        client = kind(
            host="h", port=7000, db=5, password="pw", username="me", client_name="name", decode_responses=True
        )
        expected = Address("tcp", "h", 7000, db=5, username="me", password="pw", client_name="name")
        assert Address.parse(client) == expected

    def test_tls(self, kind: type[redis.Redis]) -> None:
        client = kind(
            host="h", ssl=True, ssl_ca_certs="ca.pem", ssl_check_hostname=False, ssl_cert_reqs="required"
        )
        address = Address.parse(client)
        assert address.transport == "tls"
        wanted = {"ssl_ca_certs": "ca.pem", "ssl_check_hostname": False, "ssl_cert_reqs": "required"}
        assert wanted.items() <= dict(address.tls).items()
        for made in (address.sync_connection(), address.async_connection()):
            context = getattr(made, "ssl_context", made)
            assert context.ca_certs == "ca.pem"
            assert context.check_hostname is False

    def test_unix(self, kind: type[redis.Redis]) -> None:
        assert Address.parse(kind(unix_socket_path="/run/s", db=1)) == Address("unix", path="/run/s", db=1)

    def test_from_url(self, kind: type[redis.Redis]) -> None:
        for url in (
            "redis://me:p%40w@h:7000/5",
            "rediss://h?ssl_ca_certs=x",
            "unix:///run/s?db=1",
            "redis://",
        ):
            assert Address.parse(kind.from_url(url)) == Address.parse(url)

    def test_credential_provider_is_used_and_not_read(self, kind: type[redis.Redis]) -> None:
        provider = UsernamePasswordCredentialProvider("me", "pw")
        address = Address.parse(kind(host="h", credential_provider=provider))
        assert address.credential_provider is provider
        assert address.sync_connection().credential_provider is provider
        other = UsernamePasswordCredentialProvider("me", "pw")
        assert address != Address.parse(kind(host="h", credential_provider=other))


def test_clients_that_cannot_be_copied() -> None:
    with pytest.raises(InvalidOption, match="SentinelManagedConnection"):
        Address.parse(Sentinel([("h", 1)]).master_for("main"))
    pool = redis.ConnectionPool(redis_connect_func=print)
    with pytest.raises(InvalidOption, match="use credential_provider"):
        Address.parse(redis.Redis(connection_pool=pool))


def test_tls_settings_a_connection_does_not_know_are_refused_when_they_matter() -> None:
    address = Address.parse("rediss://h?ssl_validate_ocsp=true")
    address.sync_connection()
    with pytest.raises(InvalidOption, match="ssl_validate_ocsp"):
        address.async_connection()
    client = redis.Redis("h", ssl=True, ssl_validate_ocsp=False)
    Address.parse(client).async_connection()


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "unix:///run/s"])
def test_connections_leave_retries_and_time_limits_to_us(url: str) -> None:
    address = Address.parse(url)
    for made in (address.sync_connection(), address.async_connection()):
        assert made.protocol == 2
        assert (
            made.retry.get_retries() == 0 if hasattr(made.retry, "get_retries") else made.retry._retries == 0
        )
        assert made.socket_timeout is None
        assert made.socket_connect_timeout == 5
        assert made.health_check_interval == 0
        config = getattr(made, "maint_notifications_config", None)
        assert config is None or config.enabled is False
        info = getattr(made, "driver_info", None)
        assert "bullrush_v" in (info.formatted_name if info else made.lib_name)


def test_a_client_keeps_its_pool_and_retries_to_itself() -> None:
    client = redis.Redis("h", retry=Retry(ExponentialBackoff(), 9), socket_timeout=1)
    made = Address.parse(client).sync_connection()
    assert made.socket_timeout is None
    assert made.retry is not client.connection_pool.connection_kwargs["retry"]


def test_overrides_are_arguments_of_redis_py() -> None:
    made = Address.parse("redis://h").sync_connection(socket_timeout=3, client_name="x")
    assert made.socket_timeout == 3
    assert made.client_name == "x"


def test_an_embedded_address_has_to_be_resolved_first() -> None:
    address = Address.parse("embedded:///nowhere")
    for make in (address.sync_connection, address.async_connection):
        with pytest.raises(ValueError, match="embedded:///nowhere has to be resolved"):
            make()


def test_other_addresses_resolve_to_themselves() -> None:
    address = Address.parse("redis://h")
    assert address.resolve() is address


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("redis://me:pw@h:7000/5", "h:7000"),
        ("redis://[::1]", "[::1]:6379"),
        ("unix://:pw@/run/s", "/run/s"),
        ("embedded:///data", "embedded:///data"),
    ],
)
def test_labels(url: str, label: str) -> None:
    assert Address.parse(url).label == label


@given(username=TEXT, password=TEXT, db=st.integers(0, 1000), port=st.integers(1, 65535))
def test_what_is_written_into_a_url_is_read_back(username: str, password: str, db: int, port: int) -> None:
    login = f"{quote(username, safe='')}:{quote(password, safe='')}"
    address = Address.parse(f"redis://{login}@h:{port}/{db}")
    assert address == Address("tcp", "h", port, db=db, username=username, password=password)


@given(password=st.text("abcdefgh", min_size=9))
def test_secrets_are_never_shown(password: str) -> None:
    address = Address.parse(f"rediss://me:{password}@h?ssl_password={password}")
    for shown in (repr(address), str(address), address.label, repr(address.key)):
        assert password not in shown


FIELDS = ("transport", "host", "port", "path", "db", "username", "password", "client_name", "tls")
ADDRESSES = st.builds(
    Address,
    st.sampled_from(["tcp", "tls"]),
    st.sampled_from(["a", "b"]),
    st.integers(1, 2),
    db=st.integers(0, 1),
    username=st.sampled_from([None, "", "me"]),
    password=st.sampled_from([None, "", "pw"]),
    client_name=st.sampled_from([None, "name"]),
    tls=st.sampled_from([(), (("ssl_ciphers", "x"),), (("ssl_ciphers", "y"),)]),
)


@given(ADDRESSES, ADDRESSES)
def test_addresses_are_equal_exactly_when_all_of_it_is(one: Address, two: Address) -> None:
    same = all(getattr(one, name) == getattr(two, name) for name in FIELDS)
    assert (one == two) is same
    assert (one.key == two.key) is same
    if same:
        assert hash(one) == hash(two)


def test_every_field_is_in_the_equality_rule() -> None:
    assert {*FIELDS, "credential_provider"} == set(inspect.signature(Address).parameters)
