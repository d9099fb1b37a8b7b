"""Rows about the same answer by other means."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.matrix.measure import all_close, cotangents, named_close, values_and_gradients
from tests.conformance.matrix.property import property_of
from tests.conformance.matrix.subject import Setting


def has_a_cone_program(setting: Setting) -> str:
    if not setting.subject.convex:
        return "it is not convex"
    return "it is one" if setting.subject.structure == "cone_program" else ""


@property_of("is the cone program", has_a_cone_program)
def is_the_cone_program(setting: Setting) -> None:
    """Outputs, duals and gradients equal those of the same program through cvxpy and a cone solver."""
    data = setting.exact().data()
    wanted, expected = values_and_gradients(setting.cone_layer(), data)
    values, found = values_and_gradients(
        setting.layer(), setting.data(), [w.to(setting.dtype) for w in cotangents(wanted)]
    )
    all_close(values, wanted, max(setting.accuracy, 1e-6), "output")
    named_close(found, expected, max(5 * setting.accuracy, 1e-5), "gradient")


def has_other_backends(setting: Setting) -> str:
    first, *others = setting.subject.backends
    if not others:
        return "it has one backend"
    return "" if setting.backend == first else "the first backend's column says it"


@property_of("backends agree", has_other_backends)
def backends_agree(setting: Setting) -> None:
    """Outputs and gradients are the same by every backend of the subject."""
    data = setting.batch()
    values, found = values_and_gradients(setting.layer(), data)
    for backend in setting.subject.backends[1:]:
        other = replace(setting, backend=backend)
        with other.active():
            again, gradients = values_and_gradients(other.layer(), data)
        all_close(again, values, setting.accuracy, f"output by {backend}")
        named_close(gradients, found, 10 * setting.accuracy, f"gradient by {backend}")


AGREEMENT = (is_the_cone_program, backends_agree)
