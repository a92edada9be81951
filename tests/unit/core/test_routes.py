"""The most specific route wins, ties are refused, own endpoints are nobody's, and looking up is on raw bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.own_endpoints import OWN_ENDPOINTS, is_own_path
from app.core.path_table import parse_route_path
from app.core.routes import RouteConflictError, RouteMatch, RouteTable
from tests.unit.core.builders import build_route


def build_table(paths: Iterable[str]) -> RouteTable:
    return RouteTable([build_route(path) for path in paths])


def find(table: RouteTable, path: str) -> str | None:
    match = table.match(path)
    return None if match is None else match.route.id


class TestMatching:
    @pytest.mark.parametrize(
        ("route", "path", "params"),
        [
            pytest.param("/api/forms", "/api/forms", {}, id="exact"),
            pytest.param("/api/forms", "/api/forms/", None, id="exact-has-no-slash-more"),
            pytest.param("/api/forms/", "/api/forms/", {}, id="exact-with-slash"),
            pytest.param("/api/forms/", "/api/forms", None, id="exact-has-no-slash-less"),
            pytest.param("/", "/", {}, id="root"),
            pytest.param("/x/*", "/x", {"path": ""}, id="tail-itself"),
            pytest.param("/x/*", "/x/", {"path": ""}, id="tail-slash"),
            pytest.param("/x/*", "/x/a", {"path": "a"}, id="tail-one"),
            pytest.param("/x/*", "/x/a/b/", {"path": "a/b/"}, id="tail-more"),
            pytest.param("/x/*", "/x/%20%C3%A9", {"path": "%20%C3%A9"}, id="tail-raw"),
            pytest.param("/*", "/", {"path": ""}, id="everything-root"),
            pytest.param("/*", "/a/b", {"path": "a/b"}, id="everything"),
            pytest.param("/a/{id}", "/a/5", {"id": "5"}, id="named"),
            pytest.param("/a/{id}", "/a/5%2F6", {"id": "5%2F6"}, id="named-raw"),
            pytest.param("/a/{id}", "/a/", None, id="named-is-never-empty"),
            pytest.param("/a/{id}", "/a/5/", None, id="named-has-no-slash-more"),
            pytest.param("/a/{id}/", "/a/5/", {"id": "5"}, id="named-with-slash"),
            pytest.param("/a/{x}/b/{y}", "/a/1/b/2", {"x": "1", "y": "2"}, id="two-named"),
            pytest.param("/a/{x}/*", "/a/1", {"x": "1", "path": ""}, id="named-tail-itself"),
            pytest.param("/a/{x}/*", "/a/1/2/3", {"x": "1", "path": "2/3"}, id="named-tail"),
            pytest.param("/a/{x}/*", "/a/", None, id="named-before-tail-is-never-empty"),
            pytest.param("/a/{x}/*", "/a", None, id="named-before-tail-is-needed"),
            pytest.param("/api/*", "/API/crud", None, id="P12-capitals"),
            pytest.param("/api/crud", "/api/Crud", None, id="P12-one-capital"),
            pytest.param("/api/*", "/apix", None, id="P14-longer"),
            pytest.param("/api", "/apix", None, id="P14-longer-exact"),
            pytest.param("/api/*", "/api../admin", None, id="P14-dots"),
            pytest.param("/api/*", "/ap", None, id="P14-shorter"),
            pytest.param("/api/*", "/other", None, id="P15-nothing"),
            pytest.param("/api/*", "/", None, id="P15-root"),
            pytest.param("/api/admin/*", "/api/%61dmin/x", None, id="P5-raw-bytes"),
        ],
    )
    def test_a_path_matches_by_its_raw_segments(self, route: str, path: str, params: dict[str, str] | None) -> None:
        match = build_table([route]).match(path)
        assert (None if match is None else dict(match.params)) == params

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/a", "/a"),
            ("/a/", "/a/*"),
            ("/a/b", "/a/b"),
            ("/a/z", "/a/{x}"),
            ("/a/z/y", "/a/*"),
            ("/a/b/c", "/a/b/{y}"),
            ("/a/b/e/d", "/a/b/*"),
            ("/a/b/", "/a/b/*"),
            ("/n/b/e/d", "/{x}/b/*"),
            ("/n/b/", "/{x}/b/*"),
            ("/n/c/d", "/{x}/*"),
            ("/q", "/{x}"),
            ("/", "/*"),
            # The longest prefix wins even where a shorter one has the literal.
            ("/long/b/c/d", "/{x}/b/c/*"),
            ("/long/z/y", "/long/*"),
            ("/q/r", "/{x}/{y}"),
        ],
    )
    def test_the_most_specific_route_wins_whatever_the_order(self, path: str, expected: str) -> None:
        paths = [
            *("/*", "/a", "/a/*", "/a/b", "/a/{x}", "/a/b/*", "/a/b/{y}"),
            *("/{x}", "/{x}/{y}", "/{x}/*", "/{x}/b/*", "/{x}/b/c/*", "/long/*"),
        ]
        assert find(build_table(paths), path) == expected
        assert find(build_table(reversed(paths)), path) == expected

    def test_a_named_route_beats_a_longer_looking_prefix(self) -> None:
        assert find(build_table(["/a/b/*", "/a/{x}/c"]), "/a/b/c") == "/a/{x}/c"

    def test_P17_looking_up_twice_gives_one_result(self) -> None:
        table = build_table(["/a/{x}", "/a/*"])
        first, second = table.match("/a/1"), table.match("/a/1")
        assert first is not None
        assert second is not None
        assert (first.route, first.params) == (second.route, second.params) == (first.route, {"x": "1"})

    def test_the_table_shows_its_routes_in_order(self) -> None:
        routes = [build_route("/b"), build_route("/a/*")]
        assert RouteTable(routes).routes == tuple(routes)

    def test_looking_up_takes_as_many_steps_in_a_large_table_as_in_a_small_one(self) -> None:
        """Counted, not timed: how many nodes a lookup visits."""
        small, large = build_table(["/a/{x}/b/*"]), build_table(["/a/{x}/b/*", *(f"/s{i}/*" for i in range(2000))])
        assert count_visits(small, "/a/1/b/2/3") == count_visits(large, "/a/1/b/2/3")


def count_visits(table: RouteTable, path: str) -> int:
    import sys

    visits = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal visits
        visits += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        table.match(path)
    finally:
        sys.setprofile(None)
    return visits


class TestConflicts:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            pytest.param("/a", "/a", id="O6-exact-twice"),
            pytest.param("/a/*", "/a/*", id="O6-prefix-twice"),
            pytest.param("/a/{x}", "/a/{y}", id="names-do-not-count"),
            pytest.param("/a/{x}/*", "/a/{y}/*", id="names-before-a-tail-do-not-count"),
            pytest.param("/a/{x}/c", "/a/b/{y}", id="crossing"),
            pytest.param("/{x}/b/*", "/a/{y}/*", id="crossing-prefixes"),
        ],
    )
    def test_routes_that_tie_are_refused(self, first: str, second: str) -> None:
        with pytest.raises(RouteConflictError) as caught:
            RouteTable([build_route(first, id="one"), build_route(second, id="two")])
        (conflict,) = caught.value.conflicts
        assert (conflict.route.id, conflict.other and conflict.other.id) == ("two", "one")
        assert "'one'" in str(caught.value)
        assert "'two'" in str(caught.value)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("/a", "/a/"),
            ("/a", "/a/*"),
            ("/a/{x}", "/a/*"),
            ("/a/{x}", "/a/b"),
            ("/a/{x}/c", "/b/{x}/c"),
            ("/a/{x}/c", "/a/b/c/*"),
            ("/a/{x}/c/{z}", "/a/b/c/{z}"),
            ("/a/{x}/c", "/a/b/c"),
            ("/a/{x}/", "/{y}/b/{z}"),
            ("/{x}/b/*", "/a/*"),
        ],
    )
    def test_routes_of_which_one_is_more_specific_stand_together(self, first: str, second: str) -> None:
        build_table([first, second])
        build_table([second, first])

    def test_all_conflicts_are_told_at_once(self) -> None:
        with pytest.raises(RouteConflictError) as caught:
            RouteTable([build_route("/a", id="1"), build_route("/a", id="2"), build_route("/metrics", id="3")])
        assert {conflict.route.id for conflict in caught.value.conflicts} == {"2", "3"}


class TestOwnEndpoints:
    OWN_PATHS = sorted(path.replace("{id}", "ref-1").replace("*", "keys/rotate") for path in OWN_ENDPOINTS)

    @pytest.mark.parametrize("path", OWN_PATHS)
    def test_an_own_endpoint_wins_over_every_wildcard(self, path: str) -> None:
        assert is_own_path(path)
        table = build_table(["/*", "/auth/*", "/api/*", "/{a}", "/{a}/{b}", "/{a}/{b}/{c}", "/{a}/{b}/{c}/{d}"])
        assert table.match(path) is None
        assert find(table, f"{path}x" if not path.startswith(("/admin/", "/api/me/sessions/")) else "/x") is not None

    @pytest.mark.parametrize("path", [*OWN_PATHS, "/api/me/sessions/{x}", "/admin/{x}/y", "/admin/x/*", "/admin/"])
    def test_a_route_that_can_match_nothing_else_is_refused(self, path: str) -> None:
        with pytest.raises(RouteConflictError) as caught:
            build_table([path])
        assert [conflict.other for conflict in caught.value.conflicts] == [None]
        assert "own endpoints" in str(caught.value)

    @pytest.mark.parametrize("path", ["/health/*", "/auth/*", "/api/me/*", "/api/me/sessions/*", "/{x}/login", "/*"])
    def test_a_route_that_can_match_more_than_own_endpoints_stands(self, path: str) -> None:
        build_table([path])

    def test_neighbours_of_own_paths_are_not_own(self) -> None:
        neighbours = [
            *("/auth", "/auth/", "/auth/login/", "/auth/loginx", "/Auth/login", "/administrator", "/healthz"),
            *("/api/me/sessions/", "/api/me/sessions/a/b", "/api/me", "/metrics/", "/.well-known/other"),
        ]
        assert [path for path in neighbours if is_own_path(path)] == []


class TestRoutePath:
    @pytest.mark.parametrize(
        "path",
        [
            *("", "a", "*", "a/*", "/a*", "/*/a", "/a/**", "/a/*/", "//", "/a//b", "/a//", "/./a", "/a/..", "/a/."),
            *("/a%20b", "/a;b", "/a?b", "/a#b", "/a b", "/a\\b", "/caf\u00e9", "/a\n", "/{}", "/{1}", "/{a", "/a}"),
            *("/x{a}", "/{a}x", "/{a-b}", "/{a}/{a}", "/{path}", "/{path}/*", "/{a}/{*}", "/{a\n}", "/\0"),
        ],
    )
    def test_a_malformed_path_is_refused_with_a_sentence(self, path: str) -> None:
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            parse_route_path(path)
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            build_table([path])

    def test_a_path_is_taken_apart(self) -> None:
        parsed = parse_route_path("/api/{tenant}/forms/*")
        assert (parsed.segments, parsed.names, parsed.has_tail) == (("api", None, "forms"), ("tenant",), True)
        assert parse_route_path("/").segments == ("",)
        assert parse_route_path("/*").segments == ()


_SEGMENTS = st.sampled_from(["a", "b", "c"])
_ROUTE_PATHS = st.tuples(
    st.lists(st.one_of(_SEGMENTS, st.sampled_from(["{x}", "{y}", "{z}"])), max_size=4).filter(
        lambda parts: len([part for part in parts if part[0] == "{"]) == len({part for part in parts if part[0] == "{"})
    ),
    st.sampled_from(["", "/*", "/"]),
).map(lambda built: "/" + "/".join(built[0]) + built[1] if built[0] else "/" + built[1].removeprefix("/"))


def match_slowly(paths: list[str], path: str) -> str | None:
    """The rule as the manual says it, one regular expression a route: exact, then named, then the longest prefix."""
    found = []
    for route in paths:
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.removesuffix("/*")))
        if re.fullmatch(pattern + ("(?:/.*)?" if route.endswith("/*") else ""), path):
            literals = tuple(not segment.startswith("{") for segment in route.removesuffix("/*").split("/"))
            rank = (2, 0) if "{" not in route and "*" not in route else (0, len(literals)) if "*" in route else (1, 0)
            found.append((rank, literals, route))
    return max(found)[2] if found else None


@given(st.lists(_ROUTE_PATHS, min_size=1, max_size=8, unique=True), st.lists(_SEGMENTS, max_size=5), st.booleans())
def test_the_table_finds_what_the_rule_says(paths: list[str], segments: list[str], ends_in_slash: bool) -> None:
    try:
        table = build_table(paths)
    except RouteConflictError:
        assume(False)
    path = "/" + "/".join(segments) + ("/" if ends_in_slash and segments else "")
    assert find(table, path) == match_slowly(paths, path)


@given(st.lists(_ROUTE_PATHS, min_size=2, max_size=2), st.lists(_SEGMENTS, max_size=5))
def test_two_routes_that_stand_together_never_depend_on_their_order(paths: list[str], segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    try:
        first, second = build_table(paths), build_table(reversed(paths))
    except RouteConflictError:
        with pytest.raises(RouteConflictError):
            build_table(reversed(paths))
        return
    match, other = first.match(path), second.match(path)
    assert (match and match.route) == (other and other.route)
    assert isinstance(match, RouteMatch | None)
