"""The compiled kernels: quadratic programs in SIMD lanes and the simplex family, for tensors on the CPU."""
