#pragma once

#include <vector>

namespace braid {

/// P(max_i |T_i| > c) of k comparisons with one control (C. W. Dunnett, JASA 50, 1955, and Biometrics 20,
/// 1964), correlations lambdas[i] lambdas[j], each lambda in [0, 1) (equal cells: sqrt(1/2)); c >= 0. df may
/// be infinite. One comparison is Student's t. Throws ConfigError for other arguments.
double dunnett_p(double c, const std::vector<double>& lambdas, double df);

/// The c at which dunnett_p is alpha, 0 < alpha < 1.
double dunnett_critical(double alpha, const std::vector<double>& lambdas, double df);

/// Two-sided p of Student's t; df may be infinite.
double student_p(double t, double df);

/// P(F > f).
double f_p(double f, double df1, double df2);

/// P(|T| > c) of a noncentral t: the power of a two-sided test.
double noncentral_t_power(double c, double df, double noncentrality);

} // namespace braid
