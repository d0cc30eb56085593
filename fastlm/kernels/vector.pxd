"""The row functions of vector.h under one name each for float32 and float64."""

from fastlm.kernels.matrix cimport real


cdef extern from "vector.h" nogil:
    int raise_shifts_f32(
        float* shift, float* factor, const float* x, const float* bias, Py_ssize_t rows) noexcept
    void exp_panel_f32(
        float* x, float* sum, const float* bias, const float* shift, Py_ssize_t rows) noexcept
    void scale_panel_f32(float* x, const float* scale, Py_ssize_t rows) noexcept
    void add_weighted_panel_f32(
        float* lanes, const float* x, const float* scale, Py_ssize_t rows) noexcept
    int raise_shifts_f64(
        double* shift, double* factor, const double* x, const double* bias, Py_ssize_t rows) noexcept
    void exp_panel_f64(
        double* x, double* sum, const double* bias, const double* shift, Py_ssize_t rows) noexcept
    void scale_panel_f64(double* x, const double* scale, Py_ssize_t rows) noexcept
    void add_weighted_panel_f64(
        double* lanes, const double* x, const double* scale, Py_ssize_t rows) noexcept
    float max_biased_f32(const float* x, const float* bias, Py_ssize_t n) noexcept
    double max_biased_f64(const double* x, const double* bias, Py_ssize_t n) noexcept
    void exp_biased_f32(float* y, const float* x, const float* bias, float shift, Py_ssize_t n) noexcept
    void exp_biased_f64(double* y, const double* x, const double* bias, double shift, Py_ssize_t n) noexcept
    void logistic_weighted_f32(
        float* y, const float* x, const float* bias, const float* weight, float scale, Py_ssize_t n) noexcept
    void logistic_weighted_f64(
        double* y, const double* x, const double* bias, const double* weight, double scale, Py_ssize_t n) noexcept
    void scale_row_f32(float* x, float scale, Py_ssize_t n) noexcept
    void scale_row_f64(double* x, double scale, Py_ssize_t n) noexcept
    float sum_f32(const float* x, Py_ssize_t n) noexcept
    double sum_f64(const double* x, Py_ssize_t n) noexcept
    void tanh_rows_f32(float* x, Py_ssize_t n) noexcept
    void tanh_rows_f64(double* x, Py_ssize_t n) noexcept
    void tanh_gradient_f32(float* dx, const float* dy, const float* y, Py_ssize_t n) noexcept
    void tanh_gradient_f64(double* dx, const double* dy, const double* y, Py_ssize_t n) noexcept
    void add_scaled_f32(float* y, float scale, const float* x, Py_ssize_t n) noexcept
    void add_scaled_f64(double* y, double scale, const double* x, Py_ssize_t n) noexcept
    void add_matrix_vector_f32(
        float* y, const float* matrix, const float* x, Py_ssize_t rows, Py_ssize_t columns) noexcept
    void add_matrix_vector_f64(
        double* y, const double* matrix, const double* x, Py_ssize_t rows, Py_ssize_t columns) noexcept
    double sum_squares_f32(const float* x, Py_ssize_t n) noexcept
    double sum_squares_f64(const double* x, Py_ssize_t n) noexcept
    void momentum_step_f32(
        float* x, float* velocity, const float* gradient, float scale, float rate, float momentum,
        Py_ssize_t n) noexcept
    void momentum_step_f64(
        double* x, double* velocity, const double* gradient, double scale, double rate, double momentum,
        Py_ssize_t n) noexcept
    void adagrad_step_f32(
        float* x, float* squares, const float* gradient, float scale, float rate, float epsilon,
        Py_ssize_t n) noexcept
    void adagrad_step_f64(
        double* x, double* squares, const double* gradient, double scale, double rate, double epsilon,
        Py_ssize_t n) noexcept
    void adam_step_f32(
        float* x, float* mean, float* square, const float* gradient, float scale, float rate, float beta1,
        float beta2, float correction, float epsilon, Py_ssize_t n) noexcept
    void adam_step_f64(
        double* x, double* mean, double* square, const double* gradient, double scale, double rate, double beta1,
        double beta2, double correction, double epsilon, Py_ssize_t n) noexcept
    void averaged_step_f32(
        float* x, float* sums, const float* gradient, float rate, float decay, float weight, Py_ssize_t n) noexcept
    void averaged_step_f64(
        double* x, double* sums, const double* gradient, double rate, double decay, double weight,
        Py_ssize_t n) noexcept


cdef inline bint raise_shifts(
    real* shift, real* factor, const real* x, const real* bias, Py_ssize_t rows
) noexcept nogil:
    if real is float:
        return raise_shifts_f32(shift, factor, x, bias, rows)
    else:
        return raise_shifts_f64(shift, factor, x, bias, rows)


cdef inline void exp_panel(real* x, real* sum, const real* bias, const real* shift, Py_ssize_t rows) noexcept nogil:
    if real is float:
        exp_panel_f32(x, sum, bias, shift, rows)
    else:
        exp_panel_f64(x, sum, bias, shift, rows)


cdef inline void scale_panel(real* x, const real* scale, Py_ssize_t rows) noexcept nogil:
    if real is float:
        scale_panel_f32(x, scale, rows)
    else:
        scale_panel_f64(x, scale, rows)


cdef inline void add_weighted_panel(real* lanes, const real* x, const real* scale, Py_ssize_t rows) noexcept nogil:
    if real is float:
        add_weighted_panel_f32(lanes, x, scale, rows)
    else:
        add_weighted_panel_f64(lanes, x, scale, rows)


cdef inline real max_biased(const real* x, const real* bias, Py_ssize_t n) noexcept nogil:
    if real is float:
        return max_biased_f32(x, bias, n)
    else:
        return max_biased_f64(x, bias, n)


cdef inline void exp_biased(real* y, const real* x, const real* bias, real shift, Py_ssize_t n) noexcept nogil:
    if real is float:
        exp_biased_f32(y, x, bias, shift, n)
    else:
        exp_biased_f64(y, x, bias, shift, n)


cdef inline void logistic_weighted(
    real* y, const real* x, const real* bias, const real* weight, real scale, Py_ssize_t n
) noexcept nogil:
    if real is float:
        logistic_weighted_f32(y, x, bias, weight, scale, n)
    else:
        logistic_weighted_f64(y, x, bias, weight, scale, n)


cdef inline void scale_row(real* x, real scale, Py_ssize_t n) noexcept nogil:
    if real is float:
        scale_row_f32(x, scale, n)
    else:
        scale_row_f64(x, scale, n)


cdef inline real row_sum(const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        return sum_f32(x, n)
    else:
        return sum_f64(x, n)


cdef inline void tanh_rows(real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        tanh_rows_f32(x, n)
    else:
        tanh_rows_f64(x, n)


cdef inline void tanh_gradient(real* dx, const real* dy, const real* y, Py_ssize_t n) noexcept nogil:
    if real is float:
        tanh_gradient_f32(dx, dy, y, n)
    else:
        tanh_gradient_f64(dx, dy, y, n)


cdef inline void add_scaled(real* y, real scale, const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        add_scaled_f32(y, scale, x, n)
    else:
        add_scaled_f64(y, scale, x, n)


cdef inline void add_matrix_vector(
    real* y, const real* matrix, const real* x, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    if real is float:
        add_matrix_vector_f32(y, matrix, x, rows, columns)
    else:
        add_matrix_vector_f64(y, matrix, x, rows, columns)


cdef inline double sum_squares(const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        return sum_squares_f32(x, n)
    else:
        return sum_squares_f64(x, n)


cdef inline void momentum_step(
    real* x, real* velocity, const real* gradient, double scale, double rate, double momentum, Py_ssize_t n
) noexcept nogil:
    if real is float:
        momentum_step_f32(x, velocity, gradient, <float>scale, <float>rate, <float>momentum, n)
    else:
        momentum_step_f64(x, velocity, gradient, scale, rate, momentum, n)


cdef inline void adagrad_step(
    real* x, real* squares, const real* gradient, double scale, double rate, double epsilon, Py_ssize_t n
) noexcept nogil:
    if real is float:
        adagrad_step_f32(x, squares, gradient, <float>scale, <float>rate, <float>epsilon, n)
    else:
        adagrad_step_f64(x, squares, gradient, scale, rate, epsilon, n)


cdef inline void adam_step(
    real* x, real* mean, real* square, const real* gradient, double scale, double rate, double beta1, double beta2,
    double correction, double epsilon, Py_ssize_t n
) noexcept nogil:
    if real is float:
        adam_step_f32(
            x, mean, square, gradient, <float>scale, <float>rate, <float>beta1, <float>beta2, <float>correction,
            <float>epsilon, n)
    else:
        adam_step_f64(x, mean, square, gradient, scale, rate, beta1, beta2, correction, epsilon, n)


cdef inline void averaged_step(
    real* x, real* sums, const real* gradient, double rate, double decay, double weight, Py_ssize_t n
) noexcept nogil:
    if real is float:
        averaged_step_f32(x, sums, gradient, <float>rate, <float>decay, <float>weight, n)
    else:
        averaged_step_f64(x, sums, gradient, rate, decay, weight, n)
