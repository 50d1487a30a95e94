"""``gateway dev --https``: who makes the certificate, for what, and how long it is kept."""

from __future__ import annotations

import json
import os
import ssl
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tls.authority import shake_hands, trustme

from gateway.cli import main
from gateway.cli.dev_certificate import DevelopmentCertificates
from gateway.errors import ConfigError
from gateway.tls.certificate import Certificate
from gateway.tls.options import KeyPair, TlsOptions

# What the real one does as far as the gateway sees it: its options, its files, its words.
MKCERT = f"""#!{sys.executable}
import json, sys, trustme
from pathlib import Path
here = Path(__file__).parent
with (here / "calls").open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if (here / "broken").exists():
    sys.exit('ERROR: failed to save CA key: permission denied')
_, certfile, _, keyfile, *names = sys.argv[1:]
issued = trustme.CA().issue_cert(*names)
issued.cert_chain_pems[0].write_to_path(certfile)
issued.private_key_pem.write_to_path(keyfile)
if not (here / "installed").exists():
    print('Note: the local CA is not installed in the system trust store.')
    print('Run "mkcert -install" for certificates to be trusted automatically')
"""


@pytest.fixture
def programs(tmp_path):
    """What is on the PATH: nothing, at first."""
    path = tmp_path / "bin"
    path.mkdir()
    return path


@pytest.fixture
def mkcert(programs):
    program = programs / "mkcert"
    program.write_text(MKCERT)
    program.chmod(0o755)
    return program


@pytest.fixture
def environ(tmp_path, programs):
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": str(programs)}


@pytest.fixture
def certificates(environ):
    return DevelopmentCertificates.of_user(environ)


def calls(mkcert):
    path = mkcert.with_name("calls")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def loaded(path):
    pair = KeyPair(certfile=str(path))
    return Certificate.load(pair, TlsOptions(pairs=(pair,)))


def facts(path):
    """What a client that believes the authority sees of the certificate."""
    client = ssl.create_default_context(cafile=path.with_suffix(".ca.pem"))
    return shake_hands(loaded(path).context, client, "localhost").getpeercert()


def names(path):
    """DNS names and addresses."""
    return [value for _, value in facts(path)["subjectAltName"]]


# --- trustme --------------------------------------------------------------------------------------


def test_a_certificate_is_for_this_machine(certificates):
    assert names(certificates.get()) == ["localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"]


def test_it_is_for_no_longer_than_browsers_take(certificates):
    found = facts(certificates.get())

    begin, end = (ssl.cert_time_to_seconds(found[each]) for each in ("notBefore", "notAfter"))
    assert end - begin <= 398 * 86400


def test_it_is_for_other_names_too_each_once(certificates):
    path = certificates.get(["127.0.0.1", "192.0.2.1", "*.example.com"])

    assert names(path)[3:] == ["192.0.2.1", "*.example.com"]


def test_it_is_announced_with_what_is_still_to_do(certificates, capsys):
    path = certificates.get()

    assert capsys.readouterr().err == (
        "trustme made a certificate for localhost, 127.0.0.1, ::1; browsers warn of it, "
        f"not of mkcert's (curl --cacert {path.with_suffix('.ca.pem')})\n"
    )


def test_only_the_user_may_read_it(certificates):
    path = certificates.get()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_directory_that_others_may_read_is_closed(certificates):
    certificates.directory.mkdir(parents=True)
    certificates.directory.chmod(0o755)

    assert stat.S_IMODE(certificates.get().parent.stat().st_mode) == 0o700


def test_no_key_of_an_authority_is_left(certificates):
    path = certificates.get()

    assert set(path.parent.iterdir()) == {path, path.with_suffix(".ca.pem")}
    assert "KEY" not in path.with_suffix(".ca.pem").read_text()
    assert path.read_text().count("PRIVATE KEY") == 2  # begin and end: its own


def test_it_is_kept(certificates, capsys):
    path = certificates.get(["a.example.com"])
    content = path.read_bytes()
    capsys.readouterr()

    assert certificates.get(["a.example.com"]) == path
    assert path.read_bytes() == content
    assert capsys.readouterr().err == ""


def test_other_names_have_another_one(certificates):
    assert certificates.get(["a.example.com"]) != certificates.get(["b.example.com"])


@pytest.mark.parametrize(("days", "kept"), [(31, True), (29, False), (-1, False)])
def test_it_is_made_anew_before_it_ends(certificates, days, kept):
    path = certificates.get()
    now = datetime.now(UTC)
    issued = trustme.CA().issue_cert(
        "localhost", not_before=now - timedelta(days=100), not_after=now + timedelta(days=days)
    )
    path.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    before = path.read_bytes()

    assert (certificates.get().read_bytes() == before) is kept


def test_it_ends_within_a_year(certificates):
    left = loaded(certificates.get()).expires - datetime.now(UTC).timestamp()

    assert 364 * 86400 < left <= 365 * 86400


def test_what_is_broken_is_made_anew(certificates):
    path = certificates.get()
    path.write_text("nonsense")

    certificates.get()

    assert loaded(path).names == ("localhost",)


# --- mkcert ---------------------------------------------------------------------------------------


def test_mkcert_is_asked_where_it_is_found(mkcert, certificates, capsys):
    (mkcert.parent / "installed").touch()
    path = certificates.get(["example.com"])

    (call,) = calls(mkcert)
    assert call[4:] == ["localhost", "127.0.0.1", "::1", "example.com"]
    assert loaded(path).names == ("localhost", "example.com")
    assert [path] == list(path.parent.iterdir())
    assert capsys.readouterr().err == (
        "mkcert made a certificate for localhost, 127.0.0.1, ::1, example.com\n"
    )


def test_mkcerts_certificate_is_kept(mkcert, certificates):
    assert certificates.get() == certificates.get()
    assert len(calls(mkcert)) == 1


def test_an_authority_that_browsers_do_not_know_yet_is_told(mkcert, certificates, capsys):
    certificates.get()

    assert capsys.readouterr().err.endswith("; browsers believe it after: mkcert -install\n")


def test_mkcert_takes_over_from_trustme(environ, request):
    trustmes = DevelopmentCertificates.of_user(environ).get()
    request.getfixturevalue("mkcert")

    mkcerts = DevelopmentCertificates.of_user(environ).get()

    assert (trustmes.name.partition("-")[0], mkcerts.name.partition("-")[0]) == (
        "trustme",
        "mkcert",
    )


def test_what_mkcert_complains_of_is_told(mkcert, certificates):
    (mkcert.parent / "broken").touch()

    with pytest.raises(ConfigError, match="mkcert failed: ERROR: failed to save CA key"):
        certificates.get()
    assert list(certificates.directory.iterdir()) == []


# --- neither --------------------------------------------------------------------------------------


def test_without_both_it_is_said_how_to_get_one(certificates, monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(ConfigError) as caught:
        certificates.get()
    assert "install mkcert" in str(caught.value)
    assert "pip install 'gateway[https]'" in str(caught.value)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "cache").touch()
    certificates = DevelopmentCertificates.of_user({"XDG_CACHE_HOME": str(tmp_path / "cache")})

    with pytest.raises(ConfigError, match="cache"):
        certificates.get()


@pytest.mark.parametrize("cache", [{}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}])
def test_the_usual_place_is_below_home(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    found = DevelopmentCertificates.of_user(cache).directory

    assert found == tmp_path / ".cache/gateway/certificates"


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch, tmp_path, environ):
    """Run a command line; gives the settings that reach the server."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("GATEWAY_") or name == "PORT":
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def served(*argv):
        reached = []
        assert main(argv, serve=lambda loaded: reached.append(loaded) or 0) == 0
        return reached[0]

    return served


def test_the_server_gets_the_certificate(served):
    loaded = served("dev", "main:app", "--https", "--port", "0")

    settings = loaded.settings
    assert [settings.encrypts(bind) for bind in settings.addresses] == [True]
    assert names(Path(settings.ssl_certfile))[0] == "localhost"
    assert settings.reload
    assert loaded.again().settings.ssl_certfile == settings.ssl_certfile


def test_hosts_and_addresses_are_among_the_names(served):
    settings = served(
        *("dev", "--https", "--bind", "192.0.2.1:0", "--bind", "0.0.0.0:0", "--bind", "[::]:0"),
        *("--bind", "unix:/tmp/s", "--mount", "admin.localhost/=admin:app"),
        *("--mount", "/=main:app"),
    ).settings

    assert names(Path(settings.ssl_certfile))[3:] == ["192.0.2.1", "admin.localhost"]


def test_a_certificate_that_is_configured_is_taken(served, tmp_path):
    (tmp_path / "own.pem").touch()
    (tmp_path / "gateway.toml").write_text("[dev]\nssl-certfile = 'own.pem'\n")
    settings = served("dev", "main:app", "--https", "--port", "0").settings

    assert settings.ssl_certfile == "own.pem"
    assert not (tmp_path / "cache").exists()


def test_without_it_nothing_is_made(served, tmp_path):
    assert served("dev", "main:app", "--port", "0").settings.tls is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("words", [["main:app"], ["check", "main:app"], ["config"]])
def test_it_is_for_development_alone(words, capsys):
    assert main([*words, "--https"], serve=lambda loaded: pytest.fail("it serves")) == 2
    assert "--https is for gateway dev" in capsys.readouterr().err
