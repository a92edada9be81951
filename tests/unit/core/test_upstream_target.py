"""Forward: the client's bytes in the route's template. Back: only addresses that lead to that very place again."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.request_target import parse_request_target
from app.core.routes import Route, RouteMatch, RouteTable
from app.core.upstream_target import build_forwarded_prefix, build_upstream_target, map_location
from tests.unit.core.builders import build_route, build_service


def build_target(route: Route, raw_target: str, base_path: str = "") -> str:
    target = parse_request_target(raw_target)
    return build_upstream_target(require_match(RouteTable([route]), target.path), target, base_path)


def require_match(table: RouteTable, path: str) -> RouteMatch:
    match = table.match(path)
    assert match is not None
    return match


class TestUpstreamTarget:
    @pytest.mark.parametrize(
        ("path", "upstream_path", "base_path", "raw", "sent"),
        [
            pytest.param("/api/f/*", "/forms/{path}", "", "/api/f/1", "/forms/1", id="tail"),
            pytest.param("/api/f/*", "/forms/{path}", "", "/api/f/1/2/", "/forms/1/2/", id="tail-deep"),
            pytest.param("/api/f/*", "/forms/{path}", "", "/api/f", "/forms", id="tail-itself-has-no-slash"),
            pytest.param("/api/f/*", "/forms/{path}", "", "/api/f/", "/forms/", id="tail-slash"),
            pytest.param("/api/f/*", "/{path}", "", "/api/f", "/", id="nothing-left-is-the-root"),
            pytest.param("/api/f/*", "/{path}", "/v1", "/api/f", "/v1", id="nothing-left-is-the-base"),
            pytest.param("/api/f/*", "/{path}", "/v1", "/api/f/", "/v1/", id="slash-left"),
            pytest.param("/api/f/*", "/{path}/raw", "", "/api/f/7", "/7/raw", id="tail-in-the-middle"),
            pytest.param("/api/f/*", "/{path}/raw", "", "/api/f", "/raw", id="tail-in-the-middle-empty"),
            pytest.param("/*", "/{path}", "", "/", "/", id="everything-root"),
            pytest.param("/*", "/a/{path}", "", "/", "/a/", id="everything-root-below"),
            pytest.param("/api/f", "/forms", "/v1/", "/api/f", "/v1/forms", id="base-path-with-slash"),
            pytest.param("/api/f", "/", "", "/api/f", "/", id="root-template"),
            pytest.param("/t/{t}/f/{id}", "/{id}/of/{t}", "", "/t/a/f/b", "/b/of/a", id="named"),
            pytest.param("/t/{t}/f", "/{t}/{t}", "", "/t/a/f", "/a/a", id="named-twice"),
            pytest.param("/t/{t}/*", "/x-{t}/{path}", "", "/t/a/b", "/x-a/b", id="named-within-a-segment"),
            pytest.param("/t/{t}/*", "/f/{path}", "", "/t/a", "/f", id="named-and-empty-tail"),
            pytest.param("/s/*", "/s/{path}", "", "/s/a?b=c&d", "/s/a?b=c&d", id="query"),
            pytest.param("/s/*", "/s/{path}", "", "/s/a?", "/s/a?", id="empty-query"),
            pytest.param("/s/*", "/s/{path}", "", "/s?x=/../%2e%2e", "/s?x=/../%2e%2e", id="P3-query-untouched"),
            pytest.param("/s/*", "/s/{path}", "", "/s/secret%23/b", "/s/secret%23/b", id="P1-encoded-fragment"),
            pytest.param("/s/*", "/s/{path}", "", "/s/secret%3f/b", "/s/secret%3f/b", id="P2-encoded-question-mark"),
            pytest.param("/s/*", "/s/{path}", "", "/s/%252e%252e/b", "/s/%252e%252e/b", id="P7-double-encoding"),
            pytest.param("/s/*", "/{path}", "", "/s/@evil.example/x", "/@evil.example/x", id="P20-tail-stays-a-path"),
            pytest.param("/s/*", "/{path}", "", "/s/:80/x", "/:80/x", id="P20-port"),
            pytest.param("/s/*", "/{path}", "", "/s/{path}", "/{path}", id="values-are-not-templates"),
        ],
    )
    def test_the_clients_bytes_are_put_into_the_template(
        self, path: str, upstream_path: str, base_path: str, raw: str, sent: str
    ) -> None:
        assert build_target(build_route(path, upstream_path), raw, base_path) == sent

    @pytest.mark.parametrize(("base_path", "sent"), [("", "/api/f/1%20?q"), ("/v1", "/v1/api/f/1%20?q")])
    def test_a_preserved_path_is_sent_as_it_came(self, base_path: str, sent: str) -> None:
        assert build_target(build_route("/api/f/*", "", preserve_path=True), "/api/f/1%20?q", base_path) == sent

    @given(
        st.lists(st.sampled_from(["a", "%20", "%C3%A9", "@evil.example", ":80", "..a", "%25", "%2e"]), max_size=4),
        st.sampled_from(["/{path}", "/f/{path}", "/{path}/raw"]),
        st.sampled_from(["", "/", "/v1", "/v1/"]),
    )
    def test_a_target_never_names_a_host_and_never_leaves_its_base(
        self, segments: list[str], upstream_path: str, base_path: str
    ) -> None:
        """P20, P21."""
        assume("%2e" not in segments)
        sent = build_target(build_route("/s/*", upstream_path), "/".join(["/s", *segments]), base_path)
        assert sent.startswith(base_path.rstrip("/") + "/") or sent == base_path.rstrip("/")
        assert "//" not in sent


class TestForwardedPrefix:
    @pytest.mark.parametrize(
        ("path", "upstream_path", "base_path", "raw", "prefix"),
        [
            ("/api/crud/forms/*", "/forms/{path}", "", "/api/crud/forms/1", "/api/crud"),
            ("/api/crud/forms/*", "/forms/{path}", "", "/api/crud/forms", "/api/crud"),
            ("/api/crud/*", "/{path}", "", "/api/crud/x", "/api/crud"),
            ("/api/forms", "/forms", "", "/api/forms", "/api"),
            ("/api/{t}/forms/{id}", "/forms/{id}", "", "/api/a/forms/1", "/api/a"),
            ("/api/v1/forms/*", "/forms/{path}", "/v1", "/api/v1/forms/1", "/api"),
            ("/api/forms/*", "/forms/{path}", "/v1", "/api/forms/1", ""),
            ("/api/crud/*", "/records/{path}", "", "/api/crud/1", ""),
            ("/forms/*", "/forms/{path}", "", "/forms/1", ""),
        ],
    )
    def test_the_prefix_and_the_backends_path_make_the_clients_path(
        self, path: str, upstream_path: str, base_path: str, raw: str, prefix: str
    ) -> None:
        route = build_route(path, upstream_path)
        match = require_match(RouteTable([route]), raw)
        assert build_forwarded_prefix(match, base_path) == prefix
        if prefix:
            assert prefix + build_upstream_target(match, parse_request_target(raw), base_path) == raw or base_path

    def test_nothing_was_cut_off_a_preserved_path(self) -> None:
        table = RouteTable([build_route("/api/*", "", preserve_path=True)])
        assert build_forwarded_prefix(require_match(table, "/api/x"), "") == ""


class TestLocation:
    SERVICE = build_service("http://crud:8080/v1", "https://crud-b.internal")
    TABLE = RouteTable(
        [
            build_route("/api/crud/forms/*", "/forms/{path}", service=SERVICE),
            build_route("/api/crud/all", "/forms", service=SERVICE, id="all"),
            build_route("/api/t/{tenant}/jobs/*", "/jobs/{path}", service=SERVICE),
            build_route("/api/t/{tenant}/jobs/{id}/log", "/log-of/{id}", service=SERVICE),
            build_route("/raw/*", "", preserve_path=True, service=SERVICE),
            build_route("/api/double/{id}", "/double/{id}/{id}", service=SERVICE),
            build_route("/api/other/*", "/other/{path}", service=build_service("http://other", name="other")),
        ]
    )

    def map(self, location: str, client_path: str = "/api/crud/forms/1") -> str:
        return map_location(location, require_match(self.TABLE, client_path), self.TABLE)

    @pytest.mark.parametrize(
        ("location", "mapped"),
        [
            pytest.param("http://crud:8080/v1/forms/2", "/api/crud/forms/2", id="absolute"),
            pytest.param("HTTP://CRUD:8080/v1/forms/2", "/api/crud/forms/2", id="absolute-capitals"),
            pytest.param("https://crud-b.internal/forms/2", "/api/crud/forms/2", id="other-base-url"),
            pytest.param("https://crud-b.internal:443/forms/2", "/api/crud/forms/2", id="default-port"),
            pytest.param("//crud:8080/v1/forms/2", "/api/crud/forms/2", id="network-path"),
            pytest.param("/v1/forms/2", "/api/crud/forms/2", id="path"),
            pytest.param("/v1/forms/2?a=b#c", "/api/crud/forms/2?a=b#c", id="query-and-fragment"),
            pytest.param(
                "/v1/forms/2?next=http://crud:8080", "/api/crud/forms/2?next=http://crud:8080", id="url-query"
            ),
            pytest.param("/v1/forms", "/api/crud/forms", id="tail-itself"),
            pytest.param("/v1/forms/", "/api/crud/forms/", id="tail-slash"),
            pytest.param("/v1/forms/%C3%A9", "/api/crud/forms/%C3%A9", id="raw"),
            pytest.param("http://crud:8080/v1/double/7/7", "/api/double/7", id="other-route-of-the-service"),
            pytest.param("http://crud:8080/v1/raw/x", "/raw/x", id="preserved-path"),
        ],
    )
    def test_an_address_of_the_service_becomes_the_clients(self, location: str, mapped: str) -> None:
        assert self.map(location) == mapped

    def test_values_that_the_backends_path_does_not_tell_come_from_the_call(self) -> None:
        assert self.map("/v1/jobs/9", "/api/t/acme/jobs/8") == "/api/t/acme/jobs/9"
        assert self.map("/v1/log-of/9", "/api/t/acme/jobs/9") == "/api/t/acme/jobs/9/log"
        assert self.map("/v1/jobs/9") == "/v1/jobs/9"

    def test_the_matched_route_is_tried_first(self) -> None:
        assert self.map("/v1/forms", "/api/crud/all") == "/api/crud/all"

    @pytest.mark.parametrize(
        "location",
        [
            pytest.param("", id="empty"),
            pytest.param("2", id="relative"),
            pytest.param("../forms/2", id="relative-up"),
            pytest.param("?page=2", id="query-only"),
            pytest.param("#part", id="fragment-only"),
            pytest.param("https://login.example.com/x", id="elsewhere"),
            pytest.param("//evil.example/v1/forms/2", id="network-path-elsewhere"),
            pytest.param("https://crud:8080/v1/forms/2", id="other-scheme"),
            pytest.param("http://crud/v1/forms/2", id="other-port"),
            pytest.param("http://crud:8080.evil.example/v1/forms/2", id="longer-host"),
            pytest.param("http://crud:8080@evil.example/v1/forms/2", id="user-info"),
            pytest.param("http://user@crud:8080/v1/forms/2", id="user-info-ours"),
            pytest.param("http://crud:99999999/v1/forms/2", id="nonsense-port"),
            pytest.param("http://[crud/v1/forms/2", id="nonsense-host"),
            pytest.param("http://crud:8080/v2/forms/2", id="not-under-the-base"),
            pytest.param("http://crud:8080/v1x/forms/2", id="base-is-no-segment"),
            pytest.param("/v1xraw/2", id="base-is-no-segment-preserved"),
            pytest.param("http://crud:8080/v1/unknown", id="no-route-leads-there"),
            pytest.param("http://crud:8080/v1/other/2", id="route-of-another-service"),
            pytest.param("http://crud:8080", id="no-path"),
            pytest.param("/v1/double/7/8", id="template-does-not-fit"),
            pytest.param("mailto:forms@crud", id="no-hierarchy"),
            pytest.param("http:/v1/forms/2", id="scheme-without-host"),
        ],
    )
    def test_any_other_address_stays_as_the_backend_wrote_it(self, location: str) -> None:
        assert self.map(location) == location

    @pytest.mark.parametrize(
        "location", ["/v1//evil.example/x", "/v1/\\evil.example/x", "http://crud:8080/v1//evil.example"]
    )
    def test_no_mapping_makes_an_address_that_a_browser_takes_for_a_host(self, location: str) -> None:
        service = build_service("http://crud:8080/v1")
        for route in (
            build_route("/*", "/{path}", service=service),
            build_route("/*", "", preserve_path=True, service=service),
        ):
            table = RouteTable([route])
            assert map_location(location, require_match(table, "/x"), table) == location

    def test_an_address_that_another_route_would_take_is_not_mapped(self) -> None:
        others = build_route("/a/secret", "/secret", service=build_service("http://other", name="other"))
        table = RouteTable([build_route("/a/*", "/{path}"), others])
        assert map_location("/secret", require_match(table, "/a/x"), table) == "/secret"

    @given(st.lists(st.sampled_from(["forms", "a", "%20", "", "double", "7", "raw", ".."]), max_size=5), st.booleans())
    def test_a_mapped_address_leads_back_to_the_very_place(self, segments: list[str], is_absolute: bool) -> None:
        path = "/v1/" + "/".join(segments)
        location = ("http://crud:8080" if is_absolute else "") + path
        mapped = self.map(location)
        if mapped == location:
            return
        match = self.TABLE.match(mapped)
        assert match is not None
        assert match.route.service is self.SERVICE
        if ".." not in segments and "" not in segments:
            assert build_upstream_target(match, parse_request_target(mapped), "/v1") == path
