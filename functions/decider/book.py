"""The book of rules: for each site the current plan and the current generation of targets."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from decider.relevance import Plan
from shared.contracts import Catalogue, SiteCatalogue
from shared.errors import OpportuneError
from shared.mongodb import Pointer
from shared.ruleset import Ruleset


class Rulebook(NamedTuple):
    """What is current for one site."""

    plan: Plan
    generation: int


Book = Mapping[str, Rulebook]


class Library(Protocol):
    """Where published rulesets and their pointers come from."""

    def pointers(self) -> dict[str, Pointer]: ...
    def ruleset(self, site: str, version: int) -> Ruleset: ...


def load(library: Library, present: Book | None, report: Callable[[OpportuneError], None]) -> Book:
    """Return the current book; a plan whose version did not change is kept as it is.

    A site whose ruleset cannot be read is *reported* and keeps the rules it had: it must not stop the others.
    """
    book: dict[str, Rulebook] = {}
    for site, pointer in library.pointers().items():
        if not pointer.ruleset:
            continue
        known = present.get(site) if present else None
        if known is None or known.plan.ruleset.version != pointer.ruleset:
            try:
                book[site] = Rulebook(Plan(library.ruleset(site, pointer.ruleset)), pointer.generation)
            except OpportuneError as error:
                report(error)
                if known is not None:
                    book[site] = known
        else:
            book[site] = known._replace(generation=pointer.generation)
    return book


def catalogue(book: Book) -> Catalogue:
    """Return what the Gateway needs to know of every site."""
    return Catalogue(
        {
            site: SiteCatalogue(rules.plan.ruleset.keys, rules.plan.catalogue(), rules.plan.ruleset.identity)
            for site, rules in book.items()
        }
    )
