"""The text part of an e-mail, as it is made from HTML.

The class of faults: HTML whose text runs together (``Walking boots129.90``), or that says less or more than the page:
cells, rows, items, links, images, line breaks, hidden elements, and entities.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engager.channels.plaintext import plaintext

CART = """
<table role="presentation"><tr><td>
  <table><tr><th>Article</th><th>Price</th></tr>
    <tr><td>Walking boots</td><td align="right">129.90</td></tr>
    <tr><td><b>Rain</b> jacket</td><td>&euro;&nbsp;89.00</td></tr></table>
</td></tr><tr><td><a href="https://shop.example/cart?a=1&amp;b=2">To your cart</a></td></tr></table>
"""


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            CART,
            "Article Price\nWalking boots 129.90\nRain jacket € 89.00\n\nTo your cart (https://shop.example/cart?a=1&b=2)",
        ),
        ("<table><tr><td>Walking boots<td>129.90<tr><td>Socks<td>9.90</table>", "Walking boots 129.90\nSocks 9.90"),
        ("<table><td>a</td><td></td><td>b</td></table><p>c", "a b\n\nc"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("<ul><li>one<li>two</ul>three", "- one\n- two\n\nthree"),
        ("<ol><li>one</li><li>two</li></ol>", "1. one\n2. two"),
        ("<ol start=3><li>c</li><li>d</li></ol>", "3. c\n4. d"),
        ("<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>e", "- a\n  - b\n  - c\n- d\n\ne"),
        ("a<br>b<br/>c<br><br>d", "a\nb\nc\n\nd"),
        ("<h1>Sale</h1><h2>Today</h2>Now", "Sale\n\nToday\n\nNow"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<div>one</div><div>two<div>three</div></div>", "one\ntwo\nthree"),
        ("<section>a</section><footer>b</footer>", "a\nb"),
        ("<dl><dt>Size</dt><dd>42</dd></dl>", "Size\n42"),
        ("<b>bo</b>ld and <i>it</i>alic", "bold and italic"),
        ("<a href='https://x.example/'>Go</a> now", "Go (https://x.example/) now"),
        ("<a href='https://x.example/'>https://x.example/</a>", "https://x.example/"),
        ("<a href='https://x.example/'>x.example</a>", "x.example"),
        ("<a href='https://x.example/'><p>Go</p></a><p>on</p>", "Go (https://x.example/)\n\non"),
        ("<a href='https://x.example/'><img src=a alt='Our shop'></a>", "Our shop (https://x.example/)"),
        ("<a href='https://x.example/'><img src=a></a>", "https://x.example/"),
        ("<a href='mailto:help@x.example?subject=Hi'>Write to us</a>", "Write to us (help@x.example)"),
        ("<a href='mailto:help@x.example'>help@x.example</a>", "help@x.example"),
        ("<a href='tel:+431234567'>Call us</a>", "Call us (+431234567)"),
        ("<a href='#top'>Up</a> <a href='javascript:x()'>no</a> <a>no</a>", "Up no no"),
        (
            "<a href='https://a.example'>a</a><a href='https://b.example'>b",
            "a (https://a.example)b (https://b.example)",
        ),
        ("<img alt='Boots'><img alt=''><img>", "Boots"),
        ("<img alt='A &amp; B'><img alt=x style='display:none'>", "A & B"),
        ("<div style='display:none;max-height:0'>Preheader</div>Hello", "Hello"),
        ("<div STYLE='Display : NONE !important'><div>x</div>y</div>Hello", "Hello"),
        ("<span style='visibility:hidden'>x</span><p style='mso-hide:all'>y</p><p hidden>z</p>Hello", "Hello"),
        ("<div style='opacity:0'>x</div><div style='opacity:0.9;max-height:0.5em'>y</div>", "y"),
        ("Sale&zwnj;&nbsp;&zwnj;&#847;&#8203;&shy; now", "Sale now"),
        ("👩&zwj;💻 نامه‌ای", "👩\u200d💻 نامه\u200cای"),
        ("&lt;b&gt; &quot;x&quot; &#8364;5 &uuml; &nosuch; 5 &lt 6", '<b> "x" €5 ü &nosuch; 5 < 6'),
        ("<head><title>T</title><style>p{}</style></head>Hi<script>x('<p>')</script>", "Hi"),
        ("<html><head><title>T</title><body>Hi", "Hi"),
        ("<!-- no --><!--[if mso]><p>Outlook</p><![endif]--><![if !mso]>Hi<![endif]>", "Hi"),
        ("  a \n\n b\t<span> </span>c ", "a b c"),
        ("a<hr>b", "a\n\nb"),
        ("</p></td></ul></a>a</div>", "a"),
        ("a\x00b\x01c\x02d", "abcd"),
        ("", ""),
    ],
)
def test_html_becomes_readable_text(html: str, expected: str) -> None:
    """Each element that mail programs show is in the text once, apart from its neighbours."""
    assert plaintext(html) == expected + "\n"


@given(st.lists(st.lists(st.from_regex(r"[A-Za-z0-9.]{1,9}", fullmatch=True), min_size=1, max_size=4), max_size=4))
def test_the_words_of_any_table_stay_apart(rows: list[list[str]]) -> None:
    """Each row is a line, with and without end tags, also within another table."""
    for cell in ("<td>{}</td>", "<td>{}", "<td>\n<b>{}</b>\n</td>"):
        table = "".join("<tr>" + "".join(cell.format(each) for each in row) + "</tr>" for row in rows)
        expected = "\n".join(" ".join(row) for row in rows)
        assert plaintext(f"<table>{table}</table>") == expected + "\n"
        assert plaintext(f"<table><tr><td><table>{table}</table></td></tr></table>") == expected + "\n"


@given(st.text(st.sampled_from("<>/abdhilprtu=\"' \n&;!-") | st.characters()))
def test_any_markup_becomes_text(html: str) -> None:
    """No markup raises an error or leaves one of the marks that the reader uses."""
    text = plaintext(html)
    assert not set(text) & set("\x00\x01\x02")
    assert "\n\n\n" not in text
