"""The rows of gated recurrent layers (gates_rows.h) under one name each for float32 and float64."""

from fastlm.kernels.matrix cimport real


cdef extern from "vector.h" nogil:
    void lstm_row_f32(float* hidden, float* cell, float* gates, const float* previous_cell, Py_ssize_t n) noexcept
    void lstm_row_f64(double* hidden, double* cell, double* gates, const double* previous_cell, Py_ssize_t n) noexcept
    void lstm_gradient_f32(
        float* dgates, float* dcell, const float* dhidden, const float* carried, const float* gates,
        const float* cell, const float* previous_cell, Py_ssize_t n) noexcept
    void lstm_gradient_f64(
        double* dgates, double* dcell, const double* dhidden, const double* carried, const double* gates,
        const double* cell, const double* previous_cell, Py_ssize_t n) noexcept
    void gru_row_f32(
        float* hidden, float* gates, const float* products, const float* previous, Py_ssize_t n) noexcept
    void gru_row_f64(
        double* hidden, double* gates, const double* products, const double* previous, Py_ssize_t n) noexcept
    void gru_gradient_f32(
        float* dgates, float* dproducts, float* carried, const float* dhidden, const float* gates,
        const float* products, const float* previous, Py_ssize_t n) noexcept
    void gru_gradient_f64(
        double* dgates, double* dproducts, double* carried, const double* dhidden, const double* gates,
        const double* products, const double* previous, Py_ssize_t n) noexcept


cdef inline void lstm_row(
    real* hidden, real* cell, real* gates, const real* previous_cell, Py_ssize_t n
) noexcept nogil:
    if real is float:
        lstm_row_f32(hidden, cell, gates, previous_cell, n)
    else:
        lstm_row_f64(hidden, cell, gates, previous_cell, n)


cdef inline void lstm_gradient(
    real* dgates, real* dcell, const real* dhidden, const real* carried, const real* gates, const real* cell,
    const real* previous_cell, Py_ssize_t n
) noexcept nogil:
    if real is float:
        lstm_gradient_f32(dgates, dcell, dhidden, carried, gates, cell, previous_cell, n)
    else:
        lstm_gradient_f64(dgates, dcell, dhidden, carried, gates, cell, previous_cell, n)


cdef inline void gru_row(
    real* hidden, real* gates, const real* products, const real* previous, Py_ssize_t n
) noexcept nogil:
    if real is float:
        gru_row_f32(hidden, gates, products, previous, n)
    else:
        gru_row_f64(hidden, gates, products, previous, n)


cdef inline void gru_gradient(
    real* dgates, real* dproducts, real* carried, const real* dhidden, const real* gates, const real* products,
    const real* previous, Py_ssize_t n
) noexcept nogil:
    if real is float:
        gru_gradient_f32(dgates, dproducts, carried, dhidden, gates, products, previous, n)
    else:
        gru_gradient_f64(dgates, dproducts, carried, dhidden, gates, products, previous, n)
