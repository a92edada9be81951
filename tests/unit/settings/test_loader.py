from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.settings import ConfigurationError, load_configuration
from app.settings.sources import DEFAULT_CONFIG_DIR
from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

EVERYTHING_WRONG_SETTINGS = """\
enviroment: production
server:
  public_url: http://app.example.com
  trusted_proxies: [10.0.0.1/8]
oidc:
  issuer: ${NOT_SET_ANYWHERE}
  client_id: ""
  client_auth: client_secret_basic
  client_secret: changeme
session:
  store: redis
  idle_timeout_seconds: soon
  idle_timeout_seconds: 5
tokens: {data_key_file: /nowhere/data.key}
"""
EVERYTHING_WRONG_ROUTES = """\
services:
  crud: {base_url: "crud:8080"}
  users: {base_url: "http://users", token: {mode: user}}
routes:
  - {path: /a/*, target_service: users, upstream_path: "/{path}"}
  - {path: /a/*, target_service: user, upstream_path: "/{path}", auth: session}
  - {path: /b/*, target_service: users, upstream_path: "/{id}", auth: none}
  - {path: /c/*, target_service: users, upstream_path: "/{path}", auth: session, authz: pdp}
  - just a word
"""
EVERY_FAULT = {
    ("settings.yaml", 1, "enviroment"),
    ("settings.yaml", 3, "server.public_url"),
    ("settings.yaml", 4, "server.trusted_proxies[0]"),
    ("settings.yaml", 6, "oidc.issuer"),
    ("settings.yaml", 7, "oidc.client_id"),
    ("settings.yaml", 9, "oidc.client_secret"),
    ("settings.yaml", 10, "session.redis_url"),
    ("settings.yaml", 12, "session.idle_timeout_seconds"),
    ("settings.yaml", 13, "session.idle_timeout_seconds"),
    ("settings.yaml", 14, "tokens.data_key_file"),
    ("routes.yaml", 2, "services.crud.base_url"),
    ("routes.yaml", 5, "routes[0].auth"),
    ("routes.yaml", 6, "routes[1].path"),
    ("routes.yaml", 6, "routes[1].target_service"),
    ("routes.yaml", 7, "routes[2].auth"),
    ("routes.yaml", 7, "routes[2].upstream_path"),
    ("routes.yaml", 8, "routes[3].authz_map"),
    ("routes.yaml", 9, "routes[4]"),
    ("pdp.yaml", 1, "connection.verify_ssl"),
    ("pdp.yaml", 1, "connection.base_url"),
    ("idps.yaml", 2, ""),
    ("BFF_KEYS__STORE", None, "keys.store"),
    ("BFF_COOKIE__NAME", None, ""),
    ("route.yaml", None, ""),
}


def test_everything_that_is_wrong_is_told_at_once(folder: ConfigFolder) -> None:
    """Attack row O6, with faults of every kind in every file and in the environment."""
    folder.texts = {
        "settings.yaml": EVERYTHING_WRONG_SETTINGS,
        "routes.yaml": EVERYTHING_WRONG_ROUTES,
        "pdp.yaml": "connection: {verify_ssl: 'no'}",
        "idps.yaml": "idps:\n- [unclosed",
        "route.yaml": "",
    }
    environ = {"BFF_KEYS__STORE": "memory", "BFF_COOKIE__NAME": "x", "BFF_PORT": "8000"}
    with pytest.raises(ConfigurationError) as caught:
        folder.load(environ)
    assert {(fault.file, fault.line, fault.key) for fault in caught.value.faults} == EVERY_FAULT
    lines = str(caught.value).splitlines()
    assert lines[0] == f"The configuration has {len(EVERY_FAULT)} faults:"
    assert len(lines) == 1 + len(EVERY_FAULT)
    assert "changeme" not in str(caught.value)


def test_a_fault_tells_place_key_found_and_wanted(folder: ConfigFolder) -> None:
    folder.texts["settings.yaml"] = "environment: test\n" + folder_text(folder)
    assert str(folder.find_fault()) == (
        "settings.yaml:1: environment: found 'test'; wanted one of 'production', 'development'"
    )


def folder_text(folder: ConfigFolder) -> str:
    return (folder.write() / "settings.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["settings.yaml", "routes.yaml"])
def test_a_missing_file_is_a_fault(folder: ConfigFolder, name: str) -> None:
    (folder.write() / name).unlink()
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder.path, {})
    assert [(fault.file, fault.found) for fault in caught.value.faults] == [(name, "no such file")]


def test_pdp_and_idps_may_be_left_out(folder: ConfigFolder) -> None:
    configuration = folder.load()
    assert configuration.pdp.subject_type == "user"
    assert configuration.idps == ()


def test_a_missing_folder_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(tmp_path / "nowhere", {})
    assert [fault.file for fault in caught.value.faults] == [str(tmp_path / "nowhere")]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(b"a: [1", 1, id="broken-yaml"),
        pytest.param(b"a: 1\nb: 'x", 2, id="broken-in-line-2"),
        pytest.param(b"- a\n- b\n", 1, id="a-list"),
        pytest.param(b"just text", 1, id="text"),
        pytest.param(b"\xff\xfe\x00", None, id="not-utf-8"),
        pytest.param(b"a: !!python/name:os.system\n", 1, id="python-tag"),
        pytest.param(b"[" * 10_000, 1, id="nested"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(folder: ConfigFolder, content: bytes, line: int | None) -> None:
    (folder.write() / "settings.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder.path, {})
    assert [(fault.file, fault.line) for fault in caught.value.faults] == [("settings.yaml", line)]


def test_a_folder_in_the_place_of_a_file_is_a_fault(folder: ConfigFolder) -> None:
    (folder.path / "pdp.yaml").mkdir()
    assert folder.find_fault().file == "pdp.yaml"


@pytest.mark.parametrize("name", ["setings.yaml", "routes.yml", "PDP.YAML", "other.yaml"])
def test_a_yaml_file_that_nothing_reads_is_a_fault(folder: ConfigFolder, name: str) -> None:
    folder.texts[name] = ""
    assert folder.find_fault().file == name


@pytest.mark.parametrize("name", ["README.md", "routes.yaml.bak", "..data"])
def test_other_files_do_not_matter(folder: ConfigFolder, name: str) -> None:
    folder.texts[name] = "[broken"
    assert folder.find_faults() == ()


def test_a_byte_order_mark_does_not_matter(folder: ConfigFolder) -> None:
    folder.texts["pdp.yaml"] = "\ufeffsubject_type: person\n"
    assert folder.load().pdp.subject_type == "person"


def test_a_section_without_keys_is_a_section_of_defaults(folder: ConfigFolder) -> None:
    folder.texts["pdp.yaml"] = "cache:\n  # ttl_allow: 5\nconnection:\n"
    folder.settings["session"] = None
    configuration = folder.load()
    assert configuration.pdp.cache.ttl_allow == 30
    assert configuration.settings.session.idle_timeout_seconds == 1800


def test_a_key_without_a_value_is_a_fault(folder: ConfigFolder) -> None:
    folder.settings["oidc"]["client_id"] = None
    assert (folder.find_fault().key, folder.find_fault().found) == ("oidc.client_id", "nothing")


def test_a_list_replaces_the_default_list(folder: ConfigFolder) -> None:
    folder.change("oidc.scopes", ["openid"])
    assert folder.load().settings.oidc.scopes == ("openid",)


def test_the_folder_comes_from_the_environment_or_is_the_shipped_one(folder: ConfigFolder) -> None:
    folder.change("oidc.client_id", "from-the-folder")
    configuration = load_configuration(environ={"BFF_CONFIG_DIR": str(folder.write())})
    assert configuration.settings.oidc.client_id == "from-the-folder"
    assert load_configuration(environ={}).settings.oidc.client_id == "bff-server"
    assert load_configuration(environ={"BFF_CONFIG_DIR": ""}).settings.oidc.client_id == "bff-server"
    assert DEFAULT_CONFIG_DIR.parts[-3:] == ("ServiceConfigs", "BFF", "config")


def test_without_an_environment_the_one_of_the_process_is_read(
    folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFF_OIDC__CLIENT_ID", "from-the-process")
    assert load_configuration(folder.write()).settings.oidc.client_id == "from-the-process"


def test_loading_twice_gives_the_same(folder: ConfigFolder) -> None:
    folder.load({"BFF_OIDC__SCOPES": "[openid]", "BFF_SESSION__COOKIE__NAME": "other"})
    settings = folder.load().settings
    assert settings.oidc.scopes == ("openid", "profile", "email", "offline_access")
    assert settings.session.cookie.name == "bff_session"


def test_settings_cannot_be_changed(folder: ConfigFolder) -> None:
    configuration = folder.load()
    with pytest.raises(ValidationError, match="frozen"):
        configuration.settings.oidc.client_id = "other"
    with pytest.raises(TypeError):
        configuration.services["other"] = configuration.services["crud"]  # type: ignore[index]


def test_the_settings_know_their_origin_and_provider(folder: ConfigFolder) -> None:
    folder.change("server.public_url", "https://App.example.com:443/")
    settings = folder.load().settings
    assert settings.server.origin == "https://app.example.com"
    assert settings.server.is_https
    assert settings.oidc.provider_alias == "idp.example.com"
    assert folder.load({"BFF_OIDC__PROVIDER": "corp"}).settings.oidc.provider_alias == "corp"


def test_development_may_use_http_on_loopback(folder: ConfigFolder) -> None:
    folder.change("environment", "development")
    folder.change("server.public_url", "http://localhost:8000")
    folder.change("oidc.issuer", "http://127.0.0.1:8080")
    folder.change("oidc.client_secret", "development-only-client-secret")
    assert not folder.load().settings.server.is_https


@pytest.mark.parametrize("domain", ["example.com", "app.example.com", "EXAMPLE.com"])
def test_a_cookie_domain_may_be_the_host_or_above_it(folder: ConfigFolder, domain: str) -> None:
    folder.change("session.cookie.domain", domain)
    assert folder.load().settings.session.cookie.domain == domain.lower()


def test_a_cookie_domain_over_plain_http_is_refused(folder: ConfigFolder) -> None:
    folder.change("environment", "development")
    folder.change("server.public_url", "http://app.localhost:8000")
    folder.change("session.cookie.domain", "app.localhost")
    assert "plain http" in folder.find_fault().wanted


def test_a_short_idle_timeout_shortens_the_touch_interval_nobody_chose(folder: ConfigFolder) -> None:
    folder.change("session.idle_timeout_seconds", 8)
    assert folder.load().settings.session.touch_interval_seconds == 2
    folder.change("session.touch_interval_seconds", 60)
    assert folder.find_fault().key == "session.touch_interval_seconds"


def test_one_fault_draws_no_others_behind_it(folder: ConfigFolder) -> None:
    """A broken section is one fault, not one for each key that is now missing in it."""
    folder.settings["oidc"] = "nothing useful"
    assert folder.find_fault().key == "oidc"


def test_an_empty_settings_file_names_what_is_required(folder: ConfigFolder) -> None:
    folder.texts["settings.yaml"] = ""
    keys = {fault.key for fault in folder.find_faults()}
    assert keys == {"server.public_url", "oidc.issuer", "oidc.client_id"}


SECRETS = [
    ("oidc.client_secret", "short-hunter2"),
    ("oidc.client_secret", 72727272),
    ("oidc.dcr.initial_access_token", ["hunter2"]),
    ("session.redis_url", {"url": "hunter2"}),
]


@pytest.mark.parametrize(("key", "value"), SECRETS)
def test_a_secret_is_never_in_a_fault(folder: ConfigFolder, key: str, value: object) -> None:
    folder.change(key, value)
    with pytest.raises(ConfigurationError) as caught:
        folder.load()
    shown = str(caught.value) + repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert key in shown
    assert "hunter2" not in shown
    assert "72727272" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "oidc: {client_secret: 'hunter2, issuer: x}",
        "oidc:\n  client_secret: *hunter2\n",
        "oidc:\n  client_secret: !hunter2 x\n",
        "oidc:\n  client_secret: @hunter2\n",
        "oidc:\n  client_secret: ${hunter2-\n",
        "oidc:\n  client_secret: hunter2: x\n",
        "oidc:\n  client_secret: 'hunter2-hunter2-hunter2'\n  client_secret: 'hunter2-hunter2-hunter2'\n",
        "hunter2-is-not-a-mapping",
    ],
)
def test_a_secret_in_a_broken_file_is_never_in_a_fault(folder: ConfigFolder, text: str) -> None:
    folder.texts["settings.yaml"] = text
    with pytest.raises(ConfigurationError) as caught:
        folder.load()
    shown = str(caught.value) + repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown


def test_a_weak_secret_in_the_environment_is_never_shown(folder: ConfigFolder) -> None:
    fault = folder.find_fault({"BFF_OIDC__CLIENT_SECRET": "hunter2"})
    assert fault.file == "BFF_OIDC__CLIENT_SECRET"
    assert "hunter2" not in str(fault)


def test_secrets_are_masked_wherever_settings_are_printed(folder: ConfigFolder) -> None:
    configuration = folder.load()
    assert isinstance(configuration.settings.oidc.client_secret, SecretStr)
    assert GOOD_SECRET not in repr(configuration) + str(configuration.settings)


def test_a_long_or_many_lined_value_is_shown_short(folder: ConfigFolder) -> None:
    folder.change("environment", "x\n" * 500)
    found = folder.find_fault().found
    assert len(found) < 200
    assert "\n" not in found
