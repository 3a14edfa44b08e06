"""The page out of sections built by hand: all that they hold is there, as text, and nothing else."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from sweep.reporting.html import Picture, Section, page
from sweep.reporting.views import Cell, Column, Statement, Table, View, listing

NAMES = ["<script>alert(1)</script>", "[/x]", ":one:", "&amp; \"q\" 'p'", "{{ 7 * 7 }}{% raw %}", "$x$ λ\\"]


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the texts by the element that they stand in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.inside != "style":
            self.texts.append((self.inside, data.strip()))

    def of(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]


def section_of(name: str, title: str = "") -> Section:
    table = Table([Column(name), Column("x", name)], [[Cell(name, mark="outside"), Cell("1", note=name)]], title=name)
    parts = [table, Statement(name), Statement(name, "legend"), Statement(name, "note")]
    view = View(name, name, parts, pd.DataFrame())
    cost = Table([Column("part")], [[Cell(name)]])
    settings = listing([(name, name)])
    return Section(title or name, name, [name], [(view, [Picture(name, b"<svg/>")])], cost, [name], settings, [name])


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_wherever_they_stand(name: str) -> None:
    plain = Elements(page("question", [section_of("a name", "title")]))
    found = Elements(page("question", [section_of(name, "title")]))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements]
    for (_, ours), (_, theirs) in zip(found.elements, plain.elements, strict=True):
        assert ours == {key: name if value == "a name" else value for key, value in theirs.items()}
    swapped = [(tag, text.replace("a name", name)) for tag, text in plain.texts]
    assert [tag for tag, _ in found.texts] == [tag for tag, _ in swapped]
    assert [" ".join(text.split()) for _, text in found.texts] == [" ".join(text.split()) for _, text in swapped]
    assert sum(name in text for _, text in found.texts) >= 15


def test_control_characters_and_bytes_that_are_no_text_go_by_their_number() -> None:
    found = Elements(page("question", [section_of("a\x1b[31m\udcff\nb")]))
    assert r"a\x1b[31m\udcff b" in found.of("h2") and r"a\x1b[31m\udcff b" in found.of("pre")


def test_answers_come_first_and_each_section_has_all_that_it_holds() -> None:
    text = page("Which?", [section_of("one", "first"), section_of("two", "second")])
    found = Elements(text)
    assert found.of("h1") == ["Which?"] and found.of("h2") == ["first", "second"]
    assert found.of("title") == ["scyc-sweep: first; second"]
    assert [tag for tag, _ in found.elements if tag in ("section", "h1", "h2", "img", "details")] == [
        *["h1"],
        *["section", "h2", "img", "details"] * 2,
    ]
    answers = text[: text.index("<section>")]
    assert answers.count("<p>one</p>") == answers.count("<p>two</p>") == 1
    assert found.of("strong") == ["first", "second"]
    assert "strong" not in {tag for tag, _ in Elements(page("Which?", [section_of("one")])).elements}
    kinds = [attributes["class"] for tag, attributes in found.elements if tag == "p" and "class" in attributes]
    assert kinds.count("finding") == kinds.count("legend") == 2


def test_a_view_s_title_is_not_repeated_where_it_is_the_section_s() -> None:
    same, other = section_of("one", "one"), section_of("one", "other")
    assert page("Which?", [other]).count('<p class="note">one</p>') == 1 + page("Which?", [same]).count(
        '<p class="note">one</p>'
    )


def test_marks_and_alignment_are_classes_and_nothing_comes_from_elsewhere() -> None:
    text = page("Which?", [section_of("one")])
    found = Elements(text)
    cells = [attributes["class"] for tag, attributes in found.elements if tag == "td"]
    assert cells[0] == "right outside" and found.of("small") == ["one"]
    assert not {tag for tag, _ in found.elements} & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert style and "@import" not in style[1] and "url(" not in style[1]
    [source] = [attributes["src"] for tag, attributes in found.elements if tag == "img"]
    assert source == "data:image/svg+xml;base64,PHN2Zy8+"


def test_a_listing_has_no_headings() -> None:
    text = page("Which?", [section_of("one")])
    listed = text[text.index('<table class="listing">') :]
    assert "<th" not in listed
