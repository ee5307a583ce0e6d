#include "ablation/statistics/distributions.h"

#include <algorithm>
#include <boost/math/distributions.hpp>
#include <boost/math/quadrature/gauss.hpp>
#include <boost/math/tools/roots.hpp>
#include <cmath>

#include "base/error.h"

namespace braid {
namespace {

namespace bm = boost::math;

double normal_cdf(double x) {
    return 0.5 * std::erfc(-x / std::sqrt(2.0));
}

/// The integral of f over [low, high], in panels narrow enough for 20 nodes each.
template <typename F>
double integrate(F&& f, double low, double high, int panels) {
    double sum = 0;
    const double width = (high - low) / panels;
    for (int i = 0; i < panels; ++i)
        sum += bm::quadrature::gauss<double, 20>::integrate(f, low + i * width, low + (i + 1) * width);
    return sum;
}

/// P(max |Z_i| <= h) of normals that share one factor z.
double normal_within(double h, const std::vector<double>& lambdas) {
    const auto given_z = [&](double z) {
        double product = std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
        for (const double l : lambdas) {
            const double rest = std::sqrt(1 - l * l);
            product *= normal_cdf((l * z + h) / rest) - normal_cdf((l * z - h) / rest);
        }
        return product;
    };
    // Steps of the product are as narrow as what the factor leaves of a normal.
    double narrowest = 1;
    for (const double l : lambdas) narrowest = std::min(narrowest, std::sqrt(1 - l * l));
    return 2 * integrate(given_z, 0, 8.5,
                         static_cast<int>(std::ceil(8 * std::sqrt(0.5) / narrowest)) + 2); // even
}

void check_arguments(const std::vector<double>& lambdas, double df) {
    if (lambdas.empty() || !(df > 0))
        throw ConfigError("Dunnett: expected comparisons and df > 0, found {} and {}", lambdas.size(), df);
    for (const double l : lambdas)
        if (!(l >= 0 && l < 1)) throw ConfigError("Dunnett: expected lambda in [0, 1), found {}", l);
}

} // namespace

double student_p(double t, double df) {
    if (!(df > 0) || std::isnan(t))
        throw ConfigError("Student's t: expected t and df > 0, found {}, {}", t, df);
    if (std::isinf(t)) return 0;
    if (std::isinf(df)) return std::erfc(std::abs(t) / std::sqrt(2.0));
    return 2 * bm::cdf(bm::complement(bm::students_t(df), std::abs(t)));
}

double f_p(double f, double df1, double df2) {
    if (!(f >= 0 && df1 > 0 && df2 > 0)) throw ConfigError("F: expected f >= 0 and df > 0, found {}", f);
    return std::isinf(f) ? 0 : bm::cdf(bm::complement(bm::fisher_f(df1, df2), f));
}

double noncentral_t_power(double c, double df, double noncentrality) {
    const bm::non_central_t distribution(df, noncentrality);
    return bm::cdf(bm::complement(distribution, c)) + bm::cdf(distribution, -c);
}

double dunnett_p(double c, const std::vector<double>& lambdas, double df) {
    check_arguments(lambdas, df);
    if (!(c >= 0)) throw ConfigError("Dunnett: expected c >= 0, found {}", c);
    if (lambdas.size() == 1) return student_p(c, df);
    if (std::isinf(c)) return 0;
    if (std::isinf(df)) return 1 - normal_within(c, lambdas);
    // Over u = nu s^2, chi-squared, in its logarithm, where the density is smooth for every df.
    const bm::chi_squared chi(df);
    const double low = std::log(bm::quantile(chi, 1e-13)),
                 high = std::log(bm::quantile(bm::complement(chi, 1e-14)));
    return 1 - integrate(
                   [&](double x) {
                       const double u = std::exp(x);
                       return bm::pdf(chi, u) * u * normal_within(c * std::sqrt(u / df), lambdas);
                   },
                   low, high, std::max(4, static_cast<int>(high - low)));
}

double dunnett_critical(double alpha, const std::vector<double>& lambdas, double df) {
    check_arguments(lambdas, df);
    if (!(alpha > 0 && alpha < 1)) throw ConfigError("Dunnett: expected 0 < alpha < 1, found {}", alpha);
    double high = 2;
    while (dunnett_p(high, lambdas, df) > alpha) high *= 2;
    std::uintmax_t steps = 100;
    const auto root = bm::tools::toms748_solve([&](double c) { return dunnett_p(c, lambdas, df) - alpha; },
                                               0.0, high, bm::tools::eps_tolerance<double>(40), steps);
    return (root.first + root.second) / 2;
}

} // namespace braid
