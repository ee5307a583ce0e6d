#include "tests/layers/reference_mixers.h"

#include "tests/layers/reference_math.h"

namespace braid::testing::reference {
namespace {

Matrix zeros(int64_t rows, int64_t columns) {
    return Matrix(static_cast<size_t>(rows), Row(static_cast<size_t>(columns), 0.0));
}

Row unit(Row x) {
    const double square = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
    for (double& value : x) value /= std::sqrt(square + 1e-6);
    return x;
}

/// x S.
Row times(const Row& x, const Matrix& s) {
    Row y(s[0].size(), 0.0);
    for (size_t i = 0; i < x.size(); ++i)
        for (size_t j = 0; j < y.size(); ++j) y[j] += x[i] * s[i][j];
    return y;
}

} // namespace

Matrix delta_net(const Weights& weights, const ResolvedSublayer& sublayer, const DeltaNetConfig& c,
                 const std::string& prefix, const Matrix& h) {
    const int64_t dk = c.key_head_dim, dv = c.value_head_dim;
    std::vector<Matrix> states(static_cast<size_t>(c.num_heads), zeros(dk, dv));
    Matrix q, k, v, y; // before the convolution
    for (size_t t = 0; t < h.size(); ++t) {
        q.push_back(multiply(weights.matrix(prefix + "q.weight"), h[t]));
        k.push_back(multiply(weights.matrix(prefix + "k.weight"), h[t]));
        v.push_back(multiply(weights.matrix(prefix + "v.weight"), h[t]));
        const auto mixed = [&](const Matrix& x, const char* name) {
            Row row = convolved(x, t, weights.matrix(prefix + name));
            for (double& value : row) value = silu(value);
            return row;
        };
        const Row qt = mixed(q, "conv_q.weight"), kt = mixed(k, "conv_k.weight"),
                  vt = mixed(v, "conv_v.weight");
        const Row b = multiply(weights.matrix(prefix + "b.weight"), h[t]);
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            Matrix& s = states[static_cast<size_t>(head)];
            const Row key = unit(slice(kt, head * dk, dk)), query = unit(slice(qt, head * dk, dk));
            const double beta = sigmoid(b[static_cast<size_t>(head)]) * (c.negative_eigenvalues ? 2 : 1);
            const Row seen = times(key, s), value = slice(vt, head * dv, dv);
            for (size_t i = 0; i < key.size(); ++i)
                for (size_t j = 0; j < value.size(); ++j) s[i][j] += key[i] * beta * (value[j] - seen[j]);
            Row o = times(query, s);
            for (double& x : o) x /= std::sqrt(static_cast<double>(dk));
            append(out, rms(o, weights.vector(prefix + "norm.weight"),
                            c.output_norm_eps.value_or(sublayer.norm.eps), false));
        }
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), out));
    }
    return y;
}

Matrix gated_linear(const Weights& weights, const ResolvedSublayer& sublayer, const GatedLinearConfig& c,
                    const std::string& prefix, const Matrix& h) {
    const int64_t dk = c.key_head_dim, dv = c.value_head_dim;
    std::vector<Matrix> states(static_cast<size_t>(c.num_heads), zeros(dk, dv));
    Matrix y;
    for (const Row& x : h) {
        const auto projected = [&](const char* name) { return multiply(weights.matrix(prefix + name), x); };
        const Row q = projected("q.weight"), k = projected("k.weight"), v = projected("v.weight"),
                  z = projected("z.weight"), a = projected("a.weight");
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            Matrix& s = states[static_cast<size_t>(head)];
            for (int64_t i = 0; i < dk; ++i) {
                const auto channel = static_cast<size_t>(head * dk + i);
                Row& row = s[static_cast<size_t>(i)];
                for (int64_t j = 0; j < dv; ++j)
                    row[static_cast<size_t>(j)] =
                        std::pow(sigmoid(a[channel]), 1.0 / 16) * row[static_cast<size_t>(j)] +
                        k[channel] * v[static_cast<size_t>(head * dv + j)];
            }
            Row o = times(slice(q, head * dk, dk), s);
            for (double& value : o) value /= std::sqrt(static_cast<double>(dk));
            o = rms(o, weights.vector(prefix + "norm.weight"), sublayer.norm.eps, false);
            for (int64_t j = 0; j < dv; ++j)
                o[static_cast<size_t>(j)] *= silu(z[static_cast<size_t>(head * dv + j)]);
            append(out, o);
        }
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), out));
    }
    return y;
}

Matrix short_conv(const Weights& weights, const ShortConvConfig&, const std::string& prefix,
                  const Matrix& h) {
    Matrix gated, y;
    for (size_t t = 0; t < h.size(); ++t) {
        const Row b = multiply(weights.matrix(prefix + "b.weight"), h[t]),
                  c = multiply(weights.matrix(prefix + "c.weight"), h[t]),
                  x = multiply(weights.matrix(prefix + "x.weight"), h[t]);
        Row product;
        for (size_t i = 0; i < b.size(); ++i) product.push_back(b[i] * x[i]);
        gated.push_back(product);
        Row out = convolved(gated, t, weights.matrix(prefix + "conv.weight"));
        for (size_t i = 0; i < out.size(); ++i) out[i] *= c[i];
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), out));
    }
    return y;
}

} // namespace braid::testing::reference
