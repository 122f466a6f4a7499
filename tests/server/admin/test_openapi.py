"""burrow.server.admin.openapi, and the page made from it: true to the table of paths."""

from html.parser import HTMLParser

from openapi_spec_validator import OpenAPIV31SpecValidator

from burrow.server.admin.openapi import document
from burrow.server.admin.paths import OPERATIONS
from burrow.server.admin.reading import POLICY, page


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
