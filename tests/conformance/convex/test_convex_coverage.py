"""The convex programs together use every function of the language and every form that a statement may take."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token, Tree

from declarative.atoms import ATOMS
from declarative.frontend.parser import parser
from declarative.ir.expression import Call, Expression, Let
from declarative.ir.program import Program
from declarative.ir.traverse import walk
from tests.conformance.convex.posed import PROGRAMS as FOLDER
from tests.conformance.convex.references import NAMES, PROGRAMS

NOT_CONVEX = {"solve", "start_at"}
"""Statements of local problems and of systems of equations."""

REFUSED = {"starstar", "dot_t", "slice"}
"""What is parsed in order to be answered with the text to write instead."""

WORDS = {"MINIMIZE", "MAXIMIZE", "LE", "GE", "EQ", "NUMBER", "STRING"}
"""Tokens that are a choice within a rule."""

ATTRIBUTES = {"nonneg", "nonpos", "psd", "nsd", "symmetric", "diag"}
BINDINGS = {"learned", "constant"}


def expressions(program: Program) -> Iterator[Expression]:
    """Every expression of a program."""
    if program.objective.expression is not None:
        yield program.objective.expression
    for constraint in program.constraints:
        yield from constraint.terms
    for output in program.outputs:
        if isinstance(output.value, Expression):
            yield output.value


def trees() -> Iterator[Tree[Token]]:
    for program in PROGRAMS:
        yield parser().parse(program.path.read_text(encoding="utf-8"))


def nodes(kind: str) -> Iterator[Tree[Token]]:
    for tree in trees():
        yield from tree.find_data(kind)


def words(tree: Tree[Token]) -> list[str]:
    """The tokens directly below a node."""
    return [str(child) for child in tree.children if isinstance(child, Token)]


def test_every_program_has_a_reference_and_the_other_way_round() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.opt"))


def test_every_function_of_the_language_occurs() -> None:
    """Those that take variables only in local problems, and those of parameters alone, occur on parameters."""
    used = {
        node.atom.name
        for program in PROGRAMS
        for expression in expressions(program.program)
        for node in walk(expression)
        if isinstance(node, Call)
    }
    assert used == set(ATOMS)


def test_every_function_that_takes_variables_has_one() -> None:
    used = {
        node.atom.name
        for program in PROGRAMS
        for expression in expressions(program.program)
        for node in walk(expression)
        if isinstance(node, Call) and not node.is_constant
    }
    assert used == {name for name, atom in ATOMS.items() if not (atom.local_only or atom.parameters_only)}


def test_every_rule_of_the_grammar_occurs() -> None:
    rules = {
        str(rule.alias or rule.origin.name)
        for rule in parser().rules
        if not str(rule.origin.name).startswith(("_", "start")) and (rule.alias or not rule.options.expand1)
    }
    used = {str(node.data) for tree in trees() for node in tree.iter_subtrees()}
    assert used - {"start"} == {rule for rule in rules if not rule.startswith("_")} - NOT_CONVEX - REFUSED


def test_every_word_of_the_grammar_occurs() -> None:
    used = {t.type for tree in trees() for t in tree.scan_values(lambda v: isinstance(v, Token))}
    assert used >= WORDS


def test_every_attribute_occurs_on_a_parameter_and_on_a_variable() -> None:
    for kind, expected in (("parameter", ATTRIBUTES | BINDINGS), ("variable", ATTRIBUTES)):
        found = {words(attribute)[0] for node in nodes(kind) for attribute in node.find_data("attribute")}
        assert found == expected, kind


def test_every_form_of_a_declaration_occurs() -> None:
    programs = [program.program for program in PROGRAMS]
    assert {d.default is None for p in programs for d in p.dimensions} == {True, False}
    assert {v.rank for p in programs for v in p.variables} == {0, 1, 2}
    assert {q.rank for p in programs for q in p.parameters} == {0, 1, 2}
    sizes = [size for p in programs for symbol in (*p.parameters, *p.variables) for size in symbol.shape]
    assert any(size.constant and size.terms for size in sizes), "x[T+1]"
    assert any(coefficient > 1 for size in sizes for _, coefficient in size.terms), "x[3*n]"
    assert any(size.is_number for size in sizes), "x[3]"
    constants = [q for p in programs for q in p.parameters if q.binding == "constant"]
    assert {q.value is None for q in constants} == {True, False}
    assert any(isinstance(node, Let) for let in (let for p in programs for let in p.lets) for node in walk(let.body))


def test_every_form_of_a_constraint_occurs() -> None:
    constraints = [c for program in PROGRAMS for c in program.program.constraints]
    assert {c.relation for c in constraints} == {"<=", ">=", "==", "psd"}
    assert {(c.relation, len(c.terms)) for c in constraints} >= {("<=", 3), (">=", 3)}
    assert {len(c.indices) for c in constraints} == {0, 1, 2}
    assert {c.name is None for c in constraints} == {True, False}


def test_every_form_of_an_output_occurs() -> None:
    kinds = {type(output.value).__name__ for program in PROGRAMS for output in program.program.outputs}
    assert {"Variable", "Call", "Index", "Let", "Dual", "OptimalValue"} <= kinds
    assert {bool(list(tree.find_data("output"))) for tree in trees()} == {True, False}
