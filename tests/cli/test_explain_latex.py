"""``declarative explain --latex``: the page of every sample program, and text that LaTeX could take amiss."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SAMPLES = sorted((Path(__file__).parents[1] / "programs" / "good").glob("*.opt"))
SECTIONS = ("Problem", "Jacobian", "Backward")


def check_page(text: str) -> None:
    """A document whose groups and environments close, with subscripts in mathematics only."""
    assert text.startswith(r"\documentclass")
    assert text.endswith("\\end{document}\n")
    stack = []
    for side, environment in re.findall(r"\\(begin|end)\{(\w+\*?)\}", text):
        if side == "begin":
            stack.append(environment)
        else:
            assert stack.pop() == environment
    assert not stack
    plain = re.sub(r"\\begin\{verbatim\}.*?\\end\{verbatim\}", "", text, flags=re.DOTALL)
    depth = 0
    for match in re.finditer(r"\\.|[{}]", plain, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"\\left(?![a-z])", plain)) == len(re.findall(r"\\right(?![a-z])", plain))
    prose = re.sub(r"\\begin\{align\*\}.*?\\end\{align\*\}|\\\[.*?\\\]", "", plain, flags=re.DOTALL)
    prose = re.sub(r"\\.", "", re.sub(r"(?<!\\)\$.*?(?<!\\)\$", "", prose))
    assert not re.search(r"[_^#%$]", prose), prose


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_page_of_a_sample(run, path):
    done = run("explain", str(path), "--latex")
    assert done.code == 0, done.err
    check_page(done.out)
    for section in SECTIONS:
        assert rf"\subsection*{{{section}" in done.out
    assert run("explain", str(path), "--latex").out == done.out


HOSTILE = r"""layer a_b_c "100% \evil{ } & #1 $x_1$ ^ ~ \end{document}"
dim n_x
param A_hat[n_x, n_x] psd "50% & more_of {this"
param x_0[n_x] "}"
param u_max nonneg
var y_star[n_x] nonneg
let half_y = y_star / 2
minimize quad_form(y_star, A_hat) + sum_squares(half_y - x_0)
subject to
  upper_limit_: y_star <= u_max
  total_of_y: sum(y_star) == 1
output y_star, dual(total_of_y) as the_price
"""


def test_text_of_the_user_is_escaped(run, folder):
    (folder / "hostile.opt").write_text(HOSTILE)
    done = run("explain", "hostile.opt", "--latex", "-o", "hostile.tex")
    assert (done.code, done.out.strip()) == (0, "hostile.tex")
    text = Path("hostile.tex").read_text(encoding="utf-8")
    check_page(text)
    assert r"100\% \textbackslash{}evil\{ \}" in text
    assert text.count(r"\end{document}") == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("path", [*SAMPLES, None], ids=lambda p: p.stem if p else "hostile")
def test_the_page_compiles(run, folder, path):
    (folder / "page.opt").write_text(HOSTILE if path is None else path.read_text(encoding="utf-8"))
    assert run("explain", "page.opt", "--latex", "-o", "page.tex").code == 0
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert not re.search(r"Overfull \\hbox \((\d{2,})", done.stdout)


def test_the_file_belongs_to_latex(run, folder):
    (folder / "p.opt").write_text("layer p\nvar x\nminimize x^2\n")
    done = run("explain", "p.opt", "-o", "p.tex")
    assert done.code == 2
    assert "--latex" in done.err
    assert run("explain", "p.opt", "--latex", "-o", "p.opt").code == 2
    assert (folder / "p.opt").read_text().startswith("layer p")
