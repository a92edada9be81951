"""What the documentation says can be followed: its links, its make targets, its configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from app.settings import load_configuration
from tests.conventions.test_dockerfile import has_make_target, make_targets_in

PROJECT = Path(__file__).parents[2]
PAGES = sorted([PROJECT / "README.md", PROJECT / "CHANGELOG.md", *PROJECT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
CODE = re.compile(r"```sh\n(.*?)```|`([^`\n]+)`", re.DOTALL)
YAML_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_on_the_contents_page() -> None:
    contents = PROJECT / "docs" / "README.md"
    linked = {(contents.parent / link).resolve() for link in LINK.findall(contents.read_text(encoding="utf-8"))}
    pages = [page for page in PROJECT.glob("docs/*/*.md") if not linked & {page, page.parent}]
    assert [str(page.relative_to(PROJECT)) for page in pages] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    code = "\n".join("".join(groups) for groups in CODE.findall(page.read_text(encoding="utf-8")))
    assert [target for target in sorted(make_targets_in(code)) if not has_make_target(target)] == []


def test_the_readme_gives_the_test_command_that_continuous_integration_runs() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    runner = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    check = re.search(r"^check: (.*?) ##", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(r"^make test\b", readme, re.MULTILINE)
    assert "make check" in runner
    assert check is not None
    assert "test" in check.group(1).split()


def test_the_ten_lines_of_the_readme_are_a_working_route(tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    routes = YAML_BLOCK.findall(readme)[0]
    assert len(routes.splitlines()) <= 10
    assert yaml.safe_load(routes)
    (tmp_path / "routes.yaml").write_text(routes, encoding="utf-8")
    (tmp_path / "settings.yaml").write_text(
        "environment: development\n"
        "server: {public_url: 'http://localhost:8000'}\n"
        "oidc: {issuer: 'http://127.0.0.1:9400', client_id: bff, client_auth: client_secret_basic,"
        " client_secret: a-secret-of-more-than-thirty-two-characters}\n"
        f"session: {{directory: {tmp_path / 'state'}}}\n",
        encoding="utf-8",
    )
    configuration = load_configuration(tmp_path, environ={})
    match = configuration.route_table.match("/api/orders/17")
    assert match is not None
    assert match.route.service.name == "orders_service"


def test_what_to_try_on_the_demo_works_with_its_configuration_and_no_variables(tmp_path: Path) -> None:
    demo = PROJECT / "demo" / "config"
    page = (PROJECT / "docs" / "how-to" / "add-an-api.md").read_text(encoding="utf-8")
    quoted = "\n".join(re.sub("^> ?", "", line) for line in page.splitlines() if line.startswith(">"))
    added = yaml.safe_load(YAML_BLOCK.findall(quoted)[0])
    routes = yaml.safe_load((demo / "routes.yaml").read_text(encoding="utf-8"))
    routes["services"] |= added["services"]
    routes["routes"] += added["routes"]
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(routes), encoding="utf-8")
    for name in ("settings.yaml", "pdp.yaml"):
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    match = load_configuration(tmp_path, environ={}).route_table.match("/api/orders")
    assert match is not None
    assert match.route.service.name == "orders_service"


def test_no_lock_file_names_a_package_registry() -> None:
    locks = [*PROJECT.glob("requirements/*.txt"), *PROJECT.glob("demo/*/package-lock.json")]
    assert len(locks) >= 6
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert not re.search(r"--(extra-)?index-url|--find-links| @ https?:|pythonhosted|registry\.npmjs", text), (
            lock.name
        )


def test_every_pinned_python_package_has_a_hash() -> None:
    for lock in PROJECT.glob("requirements/*.txt"):
        entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))
        pinned = [entry for entry in entries if "==" in entry.partition("\n")[0]]
        assert pinned
        assert [entry.partition("\n")[0] for entry in pinned if "--hash=sha256:" not in entry] == []
