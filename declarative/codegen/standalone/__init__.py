"""An emitted module as one file that needs no installation of this package: the runtime that it uses stands in it.

    emitted module -> what it reaches (`reach`) -> one name for each (`naming`) -> one text (`write`)

The runtime's text is taken as it stands, comments and all. Left out are definitions that nothing leads to, branches for
problems that the layer never poses, and the compiled kernels, whose work torch does.
"""

from declarative.codegen.standalone.write import packages, standalone

__all__ = ["packages", "standalone"]
