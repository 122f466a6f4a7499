"""burrow.server.admin.openapi, and the page made from it: true to the table of paths."""

from html.parser import HTMLParser

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from burrow.protocols.registry import kinds
from burrow.protocols.tcp import TcpProtocol
from burrow.server.admin.openapi import document
from burrow.server.admin.paths import OPERATIONS
from burrow.server.admin.reading import POLICY, page
from tests.server.admin.node import ApiNode, WordsKind, validator


def test_the_document_is_an_openapi_document():
    OpenAPIV31SpecValidator(document()).validate()


def test_it_has_every_operation_and_each_has_a_name_of_its_own():
    found = {
        (method.upper(), path): one["operationId"]
        for path, methods in document()["paths"].items()
        for method, one in methods.items()
    }
    assert found == {(one.method, one.path): one.name for one in OPERATIONS}
    assert len(set(found.values())) == len(OPERATIONS)


def test_options_of_kinds_are_there_with_their_types_and_ranges():
    known = {each.name: each for each in (TcpProtocol(), WordsKind())}
    schemas = document(known)["components"]["schemas"]
    assert [name for name in schemas if name.endswith("Options")] == ["TcpOptions", "WordsOptions"]
    found = schemas["WordsOptions"]["properties"]
    assert list(found) == ["port", "least", "mode", "skip", "loud", "key", "file"]
    expected = {"description": "letters of a word", "type": "integer", "minimum": 1, "maximum": 40}
    assert found["least"] == {**expected, "default": 3, "x-side": "server"}
    assert (found["port"]["minimum"], found["port"]["maximum"]) == (1, 65_535)
    assert found["mode"]["enum"] == ["all", "once"]
    assert found["skip"]["items"] == {"type": "string"}
    assert (found["key"]["const"], found["file"]["x-side"]) == (True, "agent")


def test_every_kind_that_is_installed_has_its_options_in_the_document():
    schemas = document()["components"]["schemas"]
    for name, kind in kinds().items():
        assert set(schemas[f"{name.capitalize()}Options"]["properties"]) == {one.key for one in kind.options}


@pytest.mark.parametrize(
    ("kind", "options", "valid"),
    [
        ("words", {"least": 40}, True),
        ("words", {"least": 41}, False),
        ("words", {"idle": 5}, False),
        ("words", {"key": "hunter2"}, False),
        ("udp", {"idle": 5}, True),
        ("another", {"idle": 5}, True),
    ],
)
def test_a_tunnels_options_are_those_of_its_kind(kind, options, valid):
    agent = ApiNode()
    agent.open("ann", "blog")
    told = {**agent.ask("GET", "/tunnels/blog").body, "kind": kind, "options": options}
    assert validator({"$ref": "#/components/schemas/Tunnel"}).is_valid(told) == valid


def test_each_schema_is_used_or_the_problem():
    text = str(document())
    assert [name for name in document()["components"]["schemas"] if f"schemas/{name}'" not in text] == []


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.links, self.sources = set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name == "href":
                self.links.append(value)
            elif name in ("src", "style") or name.startswith("on"):
                self.sources.append(value)


def test_the_page_needs_no_script_and_nothing_from_outside_and_its_links_lead_somewhere():
    tags = Tags()
    tags.feed(page().decode())
    assert not tags.tags & {"script", "link", "img", "iframe"}
    assert tags.sources == []
    assert {link for link in tags.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in tags.links if link.startswith("#")} <= set(tags.ids)
    assert len(set(tags.ids)) == len(tags.ids)
    assert {one.name for one in OPERATIONS} <= set(tags.ids)
    assert "script-src" not in POLICY
    assert "default-src 'none'" in POLICY
