"""A page that needs nothing but itself: no network, no other file; light, dark, small, printed."""

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

from gcsim.results.html import words
from gcsim.results.text import three

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_BYTES_MAX = 400_000  # a picture of more lines than that is given as pixels

STYLE = """
:root { --ink: #1c1e21; --soft: #565b62; --page: #ffffff; --line: #c9cdd3; --shade: #f3f5f7;
  --mark: #0b57a4; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ec; --soft: #aab0b8; --page: #16181b; --line: #41464d; --shade: #212429;
    --mark: #8ec3ff; }
  figure svg, figure img { filter: invert(.91) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 70rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
.answer { font-size: 1.15rem; padding: .75rem 1rem; background: var(--shade);
  border-left: .3rem solid var(--mark); }
.soft, footer { color: var(--soft); }
a, summary { color: var(--mark); }
summary { cursor: pointer; font-weight: 600; padding: .35rem 0; }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
.scroll { overflow: auto; max-width: 100%; margin: .75rem 0; }
.tall { max-height: 32rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: bottom; }
th.n { text-align: right; }
thead th, thead td { border-bottom: 2px solid var(--line); }
tbody th, tbody td { border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: 400; }
td { white-space: nowrap; }
td.free { white-space: normal; min-width: 12rem; }
.n { text-align: right; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0;
  padding: 0; cursor: pointer; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
input { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--soft);
  border-radius: .25rem; padding: .25rem .5rem; max-width: 100%; }
figure { margin: .5rem 0 1rem; }
figure svg, figure img { max-width: 100%; height: auto; background: #ffffff; }
pre { overflow: auto; max-height: 30rem; padding: .75rem; background: var(--shade);
  font-size: .85rem; }
pre.command { white-space: pre-wrap; }
li { margin: .2rem 0; }
@media (max-width: 40rem) { body { padding: .5rem .75rem 2rem; } h1 { font-size: 1.3rem; }
  figure { overflow-x: auto; } figure svg, figure img { min-width: 38rem; } }
@media print {
  :root { --ink: #000; --soft: #333; --page: #fff; --line: #999; --shade: #f3f5f7; --mark: #000; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure svg, figure img { filter: none; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .scroll, .tall, pre { overflow: visible; max-height: none; }
  table { font-size: 8pt; } pre { white-space: pre-wrap; } label { display: none; }
}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent;
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const order = (one, two) => {
        const a = value(one, at), b = value(two, at), x = parseFloat(a), y = parseFloat(b);
        const numbers = !Number.isNaN(x) && !Number.isNaN(y);
        if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
        return (numbers ? x - y : a.localeCompare(b)) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(order));
    });
  });
  if (body.rows.length < 12) continue;  // all of it is in sight
  const label = document.createElement("label"), input = document.createElement("input");
  input.type = "search";
  label.append("Show rows with ", input);
  table.closest(".scroll").before(label);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details.printed")) one.open = true;
});
"""


def page(title: str, parts: Iterable[str], foot: str) -> str:
    """The whole page; `parts` are HTML, title and foot are text.

    >>> page("a < b", ["<p>1</p>"], "").count("a &lt; b")
    1
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy} data:">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style></head>",
        "<body><main>",
        *parts,
        "</main>",
        f"<footer><p>{words(foot)}</p></footer>",
        f"<script>{SCRIPT}</script>",
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def scrolled(content: str, label: str, kind: str = "") -> str:
    """Something wide, in a box that scrolls by mouse, finger and keyboard.

    >>> scrolled("<table></table>", "runs")
    '<div class="scroll" tabindex="0" role="region" aria-label="runs"><table></table></div>'
    """
    name = f"scroll {kind}".strip()
    box = f'class="{name}" tabindex="0" role="region" aria-label="{escape(label)}"'
    return f"<div {box}>{content}</div>"


def folded(title: str, content: str, is_open: bool = False, printed: bool = False) -> str:
    """What can be unfolded, by mouse and keyboard; printed: is unfolded on paper.

    >>> folded("more", "<p>1</p>")
    '<details><summary>more</summary><p>1</p></details>'
    """
    marks = ' class="printed"' * printed + " open" * is_open
    return f"<details{marks}><summary>{words(title)}</summary>{content}</details>"


def listed(lines: Iterable[str]) -> str:
    """A list of texts.

    >>> listed(["a", "<b>"])
    '<ul><li>a</li><li>&lt;b&gt;</li></ul>'
    """
    return f"<ul>{''.join(f'<li>{words(line)}</li>' for line in lines)}</ul>"


def sorted_table(
    heads: Sequence[str], rows: Iterable[Sequence[Any]], label: str, rounded: bool = False
) -> str:
    """Plain values as a table that can be sorted and filtered.

    Numbers keep every digit; rounded: three of them are shown, and all where one points.

    >>> "0.123456" in sorted_table(["key", "run"], [["a", 0.123456]], "numbers")
    True
    >>> ">0.123<" in sorted_table(["key", "run"], [["a", 0.123456]], "numbers", rounded=True)
    True
    """
    every = [list(row) for row in rows]
    lines = []
    for place, head in enumerate(heads):
        numbers = place > 0 and not any(isinstance(row[place], str) for row in every)
        lines.append(f'<th scope="col"{" class=n" * numbers}>{words(head)}</th>')
    table = [f'<table class="sorted"><thead><tr>{"".join(lines)}</tr></thead><tbody>']
    for first, *rest in every:
        cells = "".join(_cell(value, rounded) for value in rest)
        table.append(f'<tr><th scope="row">{words(_plain(first))}</th>{cells}</tr>')
    return scrolled("".join([*table, "</tbody></table>"]), label, "tall")


def _plain(value: Any) -> Any:
    """A number without a needless .0.

    >>> _plain(8.0), _plain("a")
    ('8', 'a')
    """
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else value


def _cell(value: Any, rounded: bool) -> str:
    if value is None:
        return '<td class="n">-</td>'
    if isinstance(value, str):
        return f'<td class="free">{words(value)}</td>'
    whole = words(json.dumps(value))
    if rounded and isinstance(value, float):
        return f'<td class="n" data-value="{whole}" title="{whole}">{words(three(value))}</td>'
    return f'<td class="n">{whole}</td>'


def picture(figure: "Figure", name: str, text: str) -> str:
    """A figure within the page; text: what it shows, for those who do not see it."""
    import matplotlib as mpl

    drawn = StringIO()
    # Each picture has a salt of its own: two on a page share no ids.
    with mpl.rc_context({"svg.hashsalt": f"gcsim {name}"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    if len(svg) > PICTURE_BYTES_MAX:
        pixels = BytesIO()
        figure.savefig(pixels, format="png")
        source = f"data:image/png;base64,{b64encode(pixels.getvalue()).decode()}"
        return f'<figure><img src="{source}" alt="{escape(text)}"></figure>'
    role = f'<svg role="img" aria-label="{escape(text)}" '
    return f"<figure>{svg.replace('<svg ', role, 1)}</figure>"
