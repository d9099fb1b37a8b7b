#define DECLARATIVE_ISA baseline
#define DECLARATIVE_NAME "baseline"
#define DECLARATIVE_LANES 2
#define DECLARATIVE_REGISTERS 16
#include "isa.hpp"

const declarative::Kernels* declarative::baseline_kernels() { return &baseline::TABLE; }
