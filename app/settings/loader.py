"""Loads the configuration: the only reader of YAML files and of the environment.

    config/defaults.yaml → the files in BFF_CONFIG_DIR, `${VAR}` filled → BFF_<SECTION>__<KEY> → secret files
        → schema → checks → Configuration

Nothing stops at the first fault. Whatever can still be looked at is looked at, and one ConfigurationError tells all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

from app.settings.checks import CHECKS, WARNINGS
from app.settings.checks.draft import Draft
from app.settings.checks.times import fit_touch_interval
from app.settings.configuration import Configuration
from app.settings.conversion import build_forward_auth, build_route_table, build_services
from app.settings.environment import read_overrides
from app.settings.faults import ConfigurationError, Fault
from app.settings.findings import Finding, Findings
from app.settings.interpolation import UnfilledVariableError, fill_tree
from app.settings.layers import lay_over, lay_over_defaults
from app.settings.schema import IdpsFile, PdpFile, RoutesFile, Settings
from app.settings.schema.keys import tell_key
from app.settings.secret_files import SecretFileError, drop_overridden_twins, find_twins, load_secret, section_at
from app.settings.sources import (
    DEFAULT_CONFIG_DIR,
    DEFAULTS_FILE,
    IDPS,
    PDP,
    REQUIRED_FILES,
    ROUTES,
    SCHEMAS,
    SETTINGS,
    Source,
    UnusableFileError,
    find_stray_files,
    read_document,
    read_shipped_defaults,
)
from app.settings.validation import validate
from app.settings.yaml_document import KeyPath


def load_configuration(config_dir: Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Read, merge and check all settings; raises ConfigurationError with every fault.

    `config_dir` wins over `BFF_CONFIG_DIR`; `environ` is the process's environment unless given.
    """
    return load_with_origins(config_dir, environ)[0]


def load_with_origins(
    config_dir: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Configuration, Mapping[str, Source]]:
    """As `load_configuration`, and where each value comes from."""
    environ = os.environ if environ is None else environ
    sources = {name: Source(name, model) for name, model in SCHEMAS.items()}
    findings = Findings(sources)
    _read_files(find_config_dir(config_dir, environ), environ, findings)
    _lay_environment_over(environ, findings)
    _lay_over_shipped_defaults(findings)
    _read_secret_files(findings)
    configuration = _build_configuration(findings)
    if findings.faults or configuration is None:
        raise ConfigurationError(findings.sorted_faults())
    return configuration, sources


def find_config_dir(config_dir: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The folder that is read: the one given, else `BFF_CONFIG_DIR`, else the shipped one."""
    environ = os.environ if environ is None else environ
    return config_dir or Path(environ.get("BFF_CONFIG_DIR") or DEFAULT_CONFIG_DIR)


def _read_files(config_dir: Path, environ: Mapping[str, str], findings: Findings) -> None:
    if not config_dir.is_dir():
        wanted = "a folder with settings.yaml and routes.yaml"
        findings.faults.append(Fault(str(config_dir), None, "", "no such folder", wanted))
        for name in SCHEMAS:
            findings.mark(name, ())
        return
    for name, wanted in find_stray_files(config_dir).items():
        findings.faults.append(Fault(name, None, "", "a YAML file that nothing reads", wanted))
    for name, source in findings.sources.items():
        try:
            _read_file(config_dir / name, source, environ, findings)
        except UnusableFileError as error:
            findings.faults.append(Fault(name, error.line, "", error.found, error.wanted))
            findings.mark(name, ())


def _read_file(path: Path, source: Source, environ: Mapping[str, str], findings: Findings) -> None:
    if source.name not in REQUIRED_FILES and not path.exists():
        return
    document = read_document(path)
    source.lines = document.lines
    for key, line in document.repeated:
        _add_repeated_key(source, findings, key, line)
    problems: list[tuple[KeyPath, UnfilledVariableError]] = []
    source.tree = fill_tree(document.value or {}, environ, (), problems)
    source.unfilled = dict(problems)


def _add_repeated_key(source: Source, findings: Findings, key: KeyPath, line: int) -> None:
    wanted = f"the key once; it is already in line {source.lines.get(key)}"
    findings.faults.append(Fault(source.name, line, tell_key(key), "the key again", wanted))


def _lay_environment_over(environ: Mapping[str, str], findings: Findings) -> None:
    settings = findings.sources[SETTINGS]
    overrides = read_overrides(environ)
    findings.faults.extend(
        Fault(variable, None, key, found, wanted) for variable, key, found, wanted in overrides.problems
    )
    settings.variables = overrides.variables
    settings.tree = lay_over(drop_overridden_twins(settings.model, settings.tree, overrides.tree), overrides.tree)
    for source in findings.sources.values():
        for path, error in source.unfilled.items():
            if path not in source.variables:
                findings.add(Finding(source.name, path, error.found, error.wanted))


def _lay_over_shipped_defaults(findings: Findings) -> None:
    try:
        defaults = read_shipped_defaults(DEFAULTS_FILE)
    except UnusableFileError as error:
        findings.faults.append(Fault("config/defaults.yaml", error.line, "", error.found, error.wanted))
        return
    for source in findings.sources.values():
        source.tree = lay_over_defaults(source.name, source.tree, defaults)


def _read_secret_files(findings: Findings) -> None:
    for source in findings.sources.values():
        for path, secret in list(find_twins(source.model, source.tree)):
            section, twin = section_at(source.tree, path), str(path[-1])
            if section.get(secret):
                findings.add(Finding(source.name, path, "both", f"{secret} or {twin}, not both"))
                continue
            try:
                section[secret] = load_secret(Path(str(section[twin])))
            except SecretFileError as error:
                findings.add(Finding(source.name, path, findings.tell(source.name, path, section[twin]), str(error)))
                findings.mark(source.name, (*path[:-1], secret))


def _build_configuration(findings: Findings) -> Configuration | None:
    """The configuration; None when a file is too broken to go on. What is wrong is in `findings` either way."""
    models = {name: validate(source, findings) for name, source in findings.sources.items()}
    if None in models.values():
        return None
    settings = fit_touch_interval(
        cast("Settings", models[SETTINGS]),
        is_given=findings.sources[SETTINGS].is_given(("session", "touch_interval_seconds")),
    )
    routes, pdp, idps = cast("RoutesFile", models[ROUTES]), cast("PdpFile", models[PDP]), cast("IdpsFile", models[IDPS])
    draft = Draft(settings, routes, pdp, idps, findings)
    for check in CHECKS:
        findings.add_all(check(draft))
    services = build_services(draft)
    route_table, problems = build_route_table(draft, services)
    findings.add_all(problems)
    warnings = tuple(sentence for warn in WARNINGS for sentence in warn(draft))
    return Configuration(
        settings,
        MappingProxyType(services),
        route_table,
        pdp,
        idps.idps,
        warnings,
        build_forward_auth(draft),
    )
