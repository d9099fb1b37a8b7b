// The kernels of one instruction set, as a table of functions.
#pragma once

#include "call.hpp"

namespace declarative {

struct Kernels {
  const char* name;
  int64_t lanes;  // instances in a register in float64; in float32 twice as many
  // Bytes that one worker needs; `one`: for an instance by itself instead of lanes of them.
  int64_t (*solve_room)(const SolveCall&, bool one);
  int64_t (*adjoint_room)(const AdjointCall&, bool one);
  // Bytes of what all groups of lanes have in common, zero where that is nothing; and what makes it, once.
  int64_t (*solve_common)(const SolveCall&);
  int64_t (*adjoint_common)(const AdjointCall&);
  void (*prepare_solve)(const SolveCall&, void* room, void* common);
  void (*prepare_adjoint)(const AdjointCall&, void* room, void* common);
  // The instances from `first` on, as many as there are lanes (or one); a null `common` is not needed.
  void (*solve)(const SolveCall&, int64_t first, bool one, void* room, void* common);
  // Likewise; gradients of shared parameters are added to `shared`, laid out one parameter after the other.
  void (*adjoint)(const AdjointCall&, int64_t first, bool one, void* room, void* common, double* shared);
  // Rows [first, last), one after the other; with `deal` the parts of each go to several threads.
  void (*simplex)(const SimplexCall&, int64_t first, int64_t last, DealParts);
  void (*simplex_pullback)(const SimplexPullback&, int64_t first, int64_t last, DealParts);
  void (*coupling_row)(const CouplingRowCall&, int64_t first, int64_t last, DealParts);
  // Likewise; results summed over the rows are added to `shared`, laid out one after the other.
  void (*coupling_row_pullback)(const CouplingRowPullback&, int64_t first, int64_t last, DealParts, double* shared);
};

const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* baseline_kernels();

}  // namespace declarative
