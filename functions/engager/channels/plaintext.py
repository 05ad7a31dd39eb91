"""The text part of an e-mail, derived from its HTML: words, rows of tables, lists, links, and the words for images."""

import re
from html.parser import HTMLParser

UNSHOWN = frozenset({"head", "script", "style", "template", "title"})
VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
CELLS = frozenset({"td", "th"})
LINES = frozenset(
    {"address", "article", "aside", "caption", "center", "dd", "div", "dt", "fieldset", "figcaption", "figure"}
    | {"footer", "form", "header", "li", "main", "nav", "section", "tbody", "tfoot", "thead", "tr"}
)
PARAGRAPHS = frozenset(
    {"blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "table", "ul"}  # a blank line
)
SCHEME = re.compile(r"(?:(https?://)|mailto:|tel:)", re.IGNORECASE)
# The styles with which e-mails hide a preheader, or what is for other mail programs; without blanks.
HIDING = re.compile(
    r"(?:^|;)(?:display:none|visibility:hidden|mso-hide:all|opacity:0(?:\.0+)?(?=[;!]|$)"
    r"|max-height:0(?:px|em|%)?(?=[;!]|$))"
)
BLANKS = re.compile(r"[ \t\r\n\f\u00a0]+")
# What fills a preheader. Joiners between letters beyond Latin are part of a word or of an emoji.
FILLING = re.compile(
    r"[\u00ad\u034f\u180e\u200b\u2060\ufeff]|(?<![^\x00-\u02ff])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\u02ff])"
)
LINE, PARAGRAPH, INDENT = "\x00", "\x01", "\x02"
MARKS = re.compile(r"[\x00-\x02]")
GAP = re.compile(r" *[\x00\x01\n][ \x00\x01\n]*")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = ""  # the tag of the element that is hidden, if one is
        self._depth = 0  # of elements with that tag in it
        self._link: tuple[str, int] | None = None
        self._lists: list[int | None] = []  # the next number of each list; None if it has bullets

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden and not (self._hidden == "head" and tag == "body"):
            self._depth += tag == self._hidden
            return
        self._hidden = ""
        values = {name: value or "" for name, value in attrs}
        if _is_hidden(tag, values):
            if tag not in VOID:
                self._hidden, self._depth = tag, 1
            return
        self._separate(tag, is_nested=bool(self._lists))
        if tag == "a":
            self._end_link()
            self._link = (values.get("href", "").strip(), len(self.pieces))
        elif tag in ("ul", "ol"):
            start = values.get("start", "")
            self._lists.append(None if tag == "ul" else int(start) if re.fullmatch(r"[0-9]{1,6}", start) else 1)
        elif tag == "li":
            self._begin_item()
        elif tag == "br":
            self.pieces.append("\n")
        elif tag == "img":
            self.handle_data(values.get("alt", ""))

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._depth -= tag == self._hidden
            self._hidden = self._hidden if self._depth else ""
            return
        if tag == "a":
            self._end_link()
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        self._separate(tag, is_nested=bool(self._lists))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(BLANKS.sub(" ", MARKS.sub("", FILLING.sub("", data))))

    def close(self) -> None:
        super().close()
        self._end_link()

    def _separate(self, tag: str, *, is_nested: bool = False) -> None:
        if tag in CELLS:
            self.pieces.append(" ")
        elif tag in LINES or (tag in ("ul", "ol") and is_nested):
            self.pieces.append(LINE)
        elif tag in PARAGRAPHS:
            self.pieces.append(PARAGRAPH)

    def _begin_item(self) -> None:
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        indent = INDENT * 2 * (len(self._lists) - 1)
        self.pieces.append(f"{indent}- " if number is None else f"{indent}{number}. ")

    def _end_link(self) -> None:
        """Add the address of the open link behind its words, unless they are the address."""
        if self._link is None:
            return
        (href, start), self._link = self._link, None
        scheme = SCHEME.match(href)
        if scheme is None:
            return
        address = href if scheme[1] else href[scheme.end() :].partition("?")[0]
        label = GAP.sub(" ", "".join(self.pieces[start:])).strip()
        if label in (href, address) or (scheme[1] and label.strip("/") == href[scheme.end() :].strip("/")):
            return
        end = len(self.pieces)
        while end > start and not self.pieces[end - 1].strip(" \n\x00\x01"):
            end -= 1
        self.pieces.insert(end, f" ({address})" if label else address)


def plaintext(html: str) -> str:
    """Return *html* as plain text: a line for each block and row, list items with a dash, URLs in parentheses."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = re.sub(" {2,}", " ", GAP.sub(_gap, "".join(reader.pieces)))
    return text.strip(f" {LINE}{PARAGRAPH}\n").replace(INDENT, " ") + "\n"


def _gap(found: re.Match[str]) -> str:
    gap = found[0]
    return "\n\n" if PARAGRAPH in gap or gap.count("\n") > 1 else "\n"


def _is_hidden(tag: str, values: dict[str, str]) -> bool:
    style = "".join(values.get("style", "").lower().split())
    return tag in UNSHOWN or "hidden" in values or HIDING.search(style) is not None
