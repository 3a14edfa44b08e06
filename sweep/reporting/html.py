"""A page to show. In: sections of views and pictures. Out: one HTML text with everything in it, without a script.

Next: `sweep.experiments.report` fills the sections from results folders and writes the page.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources

from sweep.config.messages import printable
from sweep.reporting.views import Table, View


@dataclass(frozen=True)
class Picture:
    """A picture within the page."""

    alt: str
    svg: bytes

    @property
    def data(self) -> str:
        """The picture in base64."""
        return base64.b64encode(self.svg).decode()


@dataclass(frozen=True)
class Section:
    """One results folder."""

    title: str
    folder: str
    answers: Sequence[str]
    views: Sequence[tuple[View, Sequence[Picture]]]
    """What there is to show, each with the pictures that belong to it."""
    cost: Table
    commands: Sequence[str]
    """Which repeat it."""
    settings: Table
    notes: Sequence[str]
    """On how exactly a repetition gives the same."""


def page(question: str, sections: Sequence[Section]) -> str:
    """Return the page; `question` is its heading, and all answers stand before the first section."""
    import jinja2  # only a report needs it

    template = resources.files("sweep.reporting").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["line"] = printable
    environment.tests["table"] = lambda part: isinstance(part, Table)
    return environment.from_string(template).render(
        question=question, sections=sections, version=metadata.version("scyc-sweep")
    )
