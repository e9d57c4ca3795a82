from libc.stdint cimport int64_t


cpdef check_gradients(const int64_t[:, ::1] gh, int hessian)
