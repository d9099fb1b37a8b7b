"""``%load_ext declarative`` in a real kernel: what cells show, bind and raise."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

SPARSEMAX = """\
%%opt
layer sparsemax "Projection onto the simplex."
dim n
param x[n] "scores"
var   y[n] nonneg

minimize sum_squares(y - x)
subject to
  simplex: sum(y) == 1
output y
"""

CORRELATION = """\
%%opt Nearest --dim n=3
layer nearest_correlation
dim n
param C[n, n] symmetric
var   X[n, n] symmetric

minimize sum_squares(X - C)
subject to
  definite: X in psd
  unit:     diag(X) == 1
output X
"""

SCALED = """\
%%opt
layer scaled
dim n
param x[n]
param rho nonneg learned "weight <1>"
var   y[n]

minimize sum_squares(y - x) + rho * sum_squares(y)
"""

WRONG = """\
%%opt
layer wrong
dim m, n
param A[m, n]
param unused
param b[m]
var   w[n]

minimize sum_squares(A @ b - w)  # A & b < w
output w
"""

CELLS = {
    "modules": "import sys, declarative\nprint([m for m in ('torch', 'lark', 'cvxpy', 'IPython') if m in sys.modules])",
    "load": "%load_ext declarative\nprint('torch' in sys.modules)",
    "compile": SPARSEMAX,
    "call": "import torch\nprint(Sparsemax()(torch.tensor([1.0, 0.8, 0.1])).tolist())",
    "class": "Sparsemax",
    "instance": "Sparsemax(on_failure='nan')",
    "other class": "dict",
    "sizes": CORRELATION,
    "bound": "print(Nearest.__name__, tuple(Nearest()(torch.eye(3)).shape))",
    "open sizes": "%%opt\nlayer ball\ndim n\nparam x[n]\nvar y[n]\n\nminimize -x' @ y\nsubject to\n  norm2(y) <= 1\n",
    "owned": SCALED,
    "owned instance": "Scaled(rho=0.5)",
    "warning": "%%opt\nlayer careless\nparam x\nparam c\nvar y\n\nminimize (y - x)^2\n",
    "wrong": WRONG,
    "not bound": "print('Wrong' in dir())",
    "syntax": "%%opt\nlayer l\nvar x\nminimise x\nsubject to\n  x => 1\n",
    "usage": "%%opt a b\nlayer l\n",
    "size": "%%opt --dim n=0\nlayer l\n",
    "unload": "%unload_ext declarative\nSparsemax",
}  # fmt: skip


@pytest.fixture(scope="module")
def outputs() -> dict[str, list[NotebookNode]]:
    """The outputs of every cell, by name, from one run of a kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def printed(outputs: list[NotebookNode]) -> str:
    return "".join(o.text for o in outputs if o.output_type == "stream")


def html(outputs: list[NotebookNode]) -> str:
    (data,) = [o.data for o in outputs if o.output_type in ("display_data", "execute_result")]
    return str(data["text/html"])


def error(outputs: list[NotebookNode]) -> NotebookNode:
    (found,) = [o for o in outputs if o.output_type == "error"]
    return found


class Words(HTMLParser):
    """The visible text of a page, and the text inside elements of a class."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[set[str]] = []
        self.pieces: list[tuple[str, frozenset[str]]] = []
        self.feed(page)
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append({tag, *(dict(attrs).get("class") or "").split()})

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.open.pop()

    def handle_data(self, data: str) -> None:
        self.pieces.append((data, frozenset().union(*self.open)))

    @property
    def text(self) -> str:
        return "".join(data for data, around in self.pieces if "style" not in around)

    def of(self, name: str) -> str:
        return "".join(data for data, around in self.pieces if name in around)


def test_the_import_is_light(outputs: dict[str, list[NotebookNode]]) -> None:
    assert printed(outputs["modules"]) == "['IPython']\n"
    assert printed(outputs["load"]) == "False\n"


def test_a_cell_binds_its_layer(outputs: dict[str, list[NotebookNode]]) -> None:
    assert json.loads(printed(outputs["call"])) == pytest.approx([0.6, 0.4, 0.0], abs=1e-6)
    page = Words(html(outputs["compile"]))
    assert "minimize sum_squares(y - x)" in page.text
    assert "Structure" in page.text
    assert "simplex" in page.of("nl")
    assert page.of("kd").startswith("layerdimparamvar")
    assert page.text.endswith("Returns: y")


@pytest.mark.parametrize("name", ["class", "instance"])
def test_layers_show_what_they_are(outputs: dict[str, list[NotebookNode]], name: str) -> None:
    page = Words(html(outputs[name]))
    assert "Projection onto the simplex" in page.text
    assert "subject to  simplex: sum(y) == 1" in page.text
    assert page.of("table") == "parametershapedescriptionx(*batch, n)scores"
    assert ("on_failure = 'nan'" in page.text) == (name == "instance")


def test_other_classes_are_left_alone(outputs: dict[str, list[NotebookNode]]) -> None:
    (result,) = outputs["other class"]
    assert result.data == {"text/plain": "dict"}


def test_name_and_sizes_stand_on_the_line(outputs: dict[str, list[NotebookNode]]) -> None:
    assert printed(outputs["bound"]) == "NearestCorrelation (3, 3)\n"


def test_the_tensors_of_the_layer_are_listed(outputs: dict[str, list[NotebookNode]]) -> None:
    page = Words(html(outputs["owned instance"]))
    assert "rhoscalarlearned nonnegweight <1>" in page.of("table")
    assert "rho: learned, ()" in page.text


def test_sizes_that_are_open_are_told(outputs: dict[str, list[NotebookNode]]) -> None:
    assert "Sizes: taken from each call" in Words(html(outputs["open sizes"])).text


def test_warnings_are_shown_beside_the_result(outputs: dict[str, list[NotebookNode]]) -> None:
    page = Words(html(outputs["warning"]))
    assert page.of("doubtful") == "c"
    assert page.of("warning") == "warning[W201]"
    assert "Careless" in page.text


def test_errors_are_marked_where_they_are(outputs: dict[str, list[NotebookNode]]) -> None:
    page = Words(html(outputs["wrong"]))
    assert page.of("wrong") == "A @ b"
    assert page.of("related") == "A[m, n]b[m]"
    assert page.of("error") == "error[E203]"
    assert "# A & b < w" in page.of("c1")
    assert "help: transpose the matrix: A' @ b" in page.text
    (plain,) = [o.data["text/plain"] for o in outputs["wrong"] if o.output_type == "display_data"]
    assert plain.startswith("error[E203]")
    assert "--> In[" in plain


def test_a_wrong_cell_fails_and_binds_nothing(outputs: dict[str, list[NotebookNode]]) -> None:
    raised = error(outputs["wrong"])
    assert raised.ename == "CellError"
    assert raised.traceback == ["1 error in the program (E203); nothing was bound"]
    assert printed(outputs["not bound"]) == "False\n"


def test_every_syntax_error_is_shown(outputs: dict[str, list[NotebookNode]]) -> None:
    page = Words(html(outputs["syntax"]))
    assert page.of("error") == "error[E109]error[E105]"
    assert page.of("wrong") == "minimise=>"


@pytest.mark.parametrize(("name", "words"), [("usage", "`b` is not understood"), ("size", "--dim takes NAME=SIZE")])
def test_a_wrong_line_is_answered(outputs: dict[str, list[NotebookNode]], name: str, words: str) -> None:
    text = "".join(str(o.get("text", "")) + str(o.get("evalue", "")) for o in outputs[name])
    assert words in text


def test_unloading_takes_the_views_back(outputs: dict[str, list[NotebookNode]]) -> None:
    (result,) = [o for o in outputs["unload"] if o.output_type == "execute_result"]
    assert set(result.data) == {"text/plain"}


def test_columns_of_a_program_and_of_its_table_line_up_in_every_theme() -> None:
    """Notebooks set the text of outputs in proportional letters, and the cells of tables to the right."""
    from declarative.notebook.page import STYLE

    rules = {selector.strip(): body for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", STYLE)}
    assert "monospace" in rules[".declarative pre"]
    assert "text-align: left !important" in rules[".declarative table td, .declarative table th"]
    coloured = [body for selector, body in rules.items() if "color: var(--jp-mirror" in body and ".k" not in selector]
    assert coloured == [], "a colour of the theme alone may be hard to read on the theme's background"
