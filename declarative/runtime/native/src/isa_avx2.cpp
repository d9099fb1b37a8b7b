#define DECLARATIVE_ISA avx2
#define DECLARATIVE_NAME "avx2"
#define DECLARATIVE_LANES 4
#define DECLARATIVE_REGISTERS 16
#include "isa.hpp"

const declarative::Kernels* declarative::avx2_kernels() { return &avx2::TABLE; }
