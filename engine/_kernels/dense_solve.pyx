"""Dense linear algebra for solvers, on one thread and in a fixed order: the same bits on every machine.

Matrices are square, C-contiguous and symmetric. Kernels write into what the caller owns.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cdef extern from "dense_solve.h" nogil:
    enum: SAMESUM_PANEL
    double samesum_dot(const double* x, const double* y, int64_t n)
    void samesum_add_scaled(double factor, const double* x, double* y, int64_t n)
    void samesum_factor_ldlt(double* a, int64_t n, double* pivots, const double* least, double* panel)
    void samesum_solve_ldlt(const double* factor, const double* pivots, int64_t n, double* x)
    double samesum_sweep_coordinates(
        const double* h, int64_t n, const int64_t* chosen, int64_t n_chosen, const double* penalty, double* slope, double* x
    )


def dot(const double[::1] x, const double[::1] y):
    """The sum of ``x[i] * y[i]``."""
    check_equal(x.shape[0], y.shape[0])
    return samesum_dot(&x[0], &y[0], x.shape[0]) if x.shape[0] else 0.0


def multiply_symmetric(const double[:, ::1] a, const double[::1] x, double[::1] out):
    """``out = a x``."""
    cdef Py_ssize_t i, n = a.shape[0]
    check_equal(n, a.shape[1])
    check_equal(n, x.shape[0])
    check_equal(n, out.shape[0])
    with nogil:
        for i in range(n):
            out[i] = samesum_dot(&a[i, 0], &x[0], n)


def factor_ldlt(double[:, ::1] a, double[::1] pivots, const double[::1] least):
    """Replace the lower triangle of ``a`` by L of ``a = L D L'`` (its diagonal, of ones, is left out), and ``pivots`` by D.

    A pivot that is not above ``least`` [n] becomes 0, and its column of L too: the coordinate depends on those before it, as far as
    rounding can tell. The strict upper triangle is not looked at.
    """
    cdef Py_ssize_t n = a.shape[0]
    cdef double* panel
    check_equal(n, a.shape[1])
    check_equal(n, pivots.shape[0])
    check_equal(n, least.shape[0])
    if n == 0:
        return
    panel = <double*> malloc(n * SAMESUM_PANEL * sizeof(double))
    if panel == NULL:
        raise MemoryError(f"cannot hold a panel of {SAMESUM_PANEL} columns of {n} rows")
    with nogil:
        samesum_factor_ldlt(&a[0, 0], n, &pivots[0], &least[0], panel)
    free(panel)


def solve_ldlt(const double[:, ::1] factor, const double[::1] pivots, double[::1] x):
    """Replace the right-hand side ``x`` by the solution, for what :func:`factor_ldlt` made; 0 where there is no pivot."""
    cdef Py_ssize_t n = factor.shape[0]
    check_equal(n, factor.shape[1])
    check_equal(n, pivots.shape[0])
    check_equal(n, x.shape[0])
    if n:
        with nogil:
            samesum_solve_ldlt(&factor[0, 0], &pivots[0], n, &x[0])


def fill_inverse_diagonal(const double[:, ::1] factor, const double[::1] pivots, double[::1] out):
    """``out[i]`` = the diagonal of the inverse, for what :func:`factor_ldlt` made, among coordinates with a pivot; 0 for others.

    It is the sum over k of ``u[k]**2 / pivots[k]`` with ``L u = e_i``.
    """
    cdef Py_ssize_t i, k, n = factor.shape[0]
    cdef double total
    cdef double* u
    check_equal(n, factor.shape[1])
    check_equal(n, pivots.shape[0])
    check_equal(n, out.shape[0])
    u = <double*> malloc((n + 1) * sizeof(double))
    if u == NULL:
        raise MemoryError(f"cannot hold a vector of {n} numbers")
    with nogil:
        for i in range(n):
            if pivots[i] <= 0.0:
                out[i] = 0.0
                continue
            u[i] = 1.0
            total = 1.0 / pivots[i]
            for k in range(i + 1, n):
                u[k] = -samesum_dot(&factor[k, i], u + i, k - i) if pivots[k] > 0.0 else 0.0
                if pivots[k] > 0.0:
                    total += u[k] * u[k] / pivots[k]
            out[i] = total
    free(u)


def sweep_coordinates(
    const double[:, ::1] h, const int64_t[::1] chosen, const double[::1] penalty, double[::1] slope, double[::1] x
):
    """Minimise ``g'x + x'Hx/2 + sum penalty |x|`` over each coordinate of ``chosen`` in turn, the others held.

    ``slope`` is ``g + H x`` and is kept so. Coordinates without curvature stay. Returns the largest ``h[j, j] * change**2``.
    """
    cdef Py_ssize_t j, n = h.shape[0]
    cdef double largest = 0.0
    check_equal(n, h.shape[1])
    check_equal(n, penalty.shape[0])
    check_equal(n, slope.shape[0])
    check_equal(n, x.shape[0])
    for j in range(chosen.shape[0]):
        if not 0 <= chosen[j] < n:
            raise IndexError(f"expected coordinates in [0, {n}), got {chosen[j]}")
    if n and chosen.shape[0]:
        with nogil:
            largest = samesum_sweep_coordinates(&h[0, 0], n, &chosen[0], chosen.shape[0], &penalty[0], &slope[0], &x[0])
    return largest


cdef int check_equal(Py_ssize_t expected, Py_ssize_t got) except -1:
    """Refuse arrays that do not fit together."""
    if expected != got:
        raise ValueError(f"expected arrays of length {expected}, got one of {got}")
    return 0
