"""Differentiable optimisation on the CPU, side by side: what `make bench` measures and how.

cases          the problems: random programs and scores, a cotangent, and how exact an answer has to be
reference      the exact answer to a case, with two independent certificates
candidates/    who takes part, one adapter a file; each is one forward and one backward of every parameter
apart          processes of their own, what is asked of them and how they end
calling        a candidate in its process: turns of timed calls
measuring      turns that go round the candidates, medians, pairwise ratios and errors
limits         what the machine could do: peak, bandwidth, dispatch, and the least work of a case
works          what is measured: the tables and the curves
report         results to Markdown, written into the marked places of docs/benchmarks.md
figures        results to pictures
peers          installs the others, each on its own, and says why one is missing

python -m benchmarks [--quick]
"""
