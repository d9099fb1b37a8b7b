#define DECLARATIVE_ISA avx512
#define DECLARATIVE_NAME "avx512"
#define DECLARATIVE_LANES 8
#define DECLARATIVE_REGISTERS 32
#include "isa.hpp"

const declarative::Kernels* declarative::avx512_kernels() { return &avx512::TABLE; }
