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

Row silu_convolved(const Matrix& x, size_t t, const Matrix& w) {
    Row row = convolved(x, t, w);
    for (double& value : row) value = silu(value);
    return row;
}

/// x S.
Row times(const Row& x, const Matrix& s) {
    Row y(s[0].size(), 0.0);
    for (size_t i = 0; i < x.size(); ++i)
        for (size_t j = 0; j < y.size(); ++j) y[j] += x[i] * s[i][j];
    return y;
}

/// s += kᵀ beta (v - k s): the delta rule.
void write_delta(Matrix& s, const Row& key, const Row& value, double beta) {
    const Row seen = times(key, s);
    for (size_t i = 0; i < key.size(); ++i)
        for (size_t j = 0; j < value.size(); ++j) s[i][j] += key[i] * beta * (value[j] - seen[j]);
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
            return silu_convolved(x, t, weights.matrix(prefix + name));
        };
        const Row qt = mixed(q, "conv_q.weight"), kt = mixed(k, "conv_k.weight"),
                  vt = mixed(v, "conv_v.weight");
        const Row b = multiply(weights.matrix(prefix + "b.weight"), h[t]);
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            Matrix& s = states[static_cast<size_t>(head)];
            const Row key = unit(slice(kt, head * dk, dk)), query = unit(slice(qt, head * dk, dk));
            const double beta = sigmoid(b[static_cast<size_t>(head)]) * (c.negative_eigenvalues ? 2 : 1);
            write_delta(s, key, slice(vt, head * dv, dv), beta);
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

Matrix kimi_delta(const Weights& weights, const ResolvedSublayer& sublayer, const KimiDeltaConfig& c,
                  const std::string& prefix, const Matrix& h) {
    const int64_t dk = c.key_head_dim, dv = c.value_head_dim;
    std::vector<Matrix> states(static_cast<size_t>(c.num_heads), zeros(dk, dv));
    const Row a_log = weights.vector(prefix + "a_log"), dt_bias = weights.vector(prefix + "dt_bias");
    const bool gate_biased = contains(c.bias, KimiDeltaProjection::gate);
    Matrix q, k, v, y; // before the convolution
    for (size_t t = 0; t < h.size(); ++t) {
        const auto projected = [&](const char* name, const Row& x) {
            return multiply(weights.matrix(prefix + name), x);
        };
        q.push_back(projected("q.weight", h[t]));
        k.push_back(projected("k.weight", h[t]));
        v.push_back(projected("v.weight", h[t]));
        const auto mixed = [&](const Matrix& x, const char* name) {
            return silu_convolved(x, t, weights.matrix(prefix + name));
        };
        const Row qt = mixed(q, "conv_q.weight"), kt = mixed(k, "conv_k.weight"),
                  vt = mixed(v, "conv_v.weight");
        const Row b = projected("b.weight", h[t]),
                  f = c.decay_rank == 0 ? projected("f.weight", h[t])
                                        : projected("f_b.weight", projected("f_a.weight", h[t])),
                  gate = c.gate_rank == 0
                             ? affine(weights, prefix + "g", gate_biased, h[t])
                             : affine(weights, prefix + "g_b", gate_biased, projected("g_a.weight", h[t]));
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            const auto n = static_cast<size_t>(head);
            Matrix& s = states[n];
            const Row key = unit(slice(kt, head * dk, dk)), query = unit(slice(qt, head * dk, dk)),
                      value = slice(vt, head * dv, dv);
            for (size_t i = 0; i < key.size(); ++i) {
                const size_t channel = n * static_cast<size_t>(dk) + i;
                const double x = f[channel] + dt_bias[channel];
                const double g = c.decay_bound < 0 ? c.decay_bound * sigmoid(std::exp(a_log[n]) * x)
                                                   : -std::exp(a_log[n]) * std::log1p(std::exp(x));
                for (double& number : s[i]) number *= std::exp(g);
            }
            const double beta = sigmoid(b[n]) * (c.negative_eigenvalues ? 2 : 1);
            write_delta(s, key, value, beta);
            Row o = times(query, s);
            for (double& x : o) x /= std::sqrt(static_cast<double>(dk));
            o = rms(o, weights.vector(prefix + "norm.weight"), c.output_norm_eps.value_or(sublayer.norm.eps),
                    false);
            for (int64_t j = 0; j < dv; ++j)
                o[static_cast<size_t>(j)] *= sigmoid(gate[static_cast<size_t>(head * dv + j)]);
            append(out, o);
        }
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), out));
    }
    return y;
}

Matrix mamba2(const Weights& weights, const ResolvedSublayer& sublayer, const Mamba2Config& c,
              const std::string& prefix, const Matrix& h) {
    const int64_t p = c.head_dim, n = c.state_size, per_group = c.num_heads / c.num_groups;
    std::vector<Matrix> states(static_cast<size_t>(c.num_heads), zeros(n, p));
    const Row a_log = weights.vector(prefix + "a_log"), dt_bias = weights.vector(prefix + "dt_bias"),
              d = weights.vector(prefix + "d"), norm_weight = weights.vector(prefix + "norm.weight");
    Matrix x, b, cc, y; // before the convolution
    for (size_t t = 0; t < h.size(); ++t) {
        const auto projected = [&](const char* name) {
            return multiply(weights.matrix(prefix + name), h[t]);
        };
        x.push_back(projected("x.weight"));
        b.push_back(projected("b.weight"));
        cc.push_back(projected("c.weight"));
        const auto mixed = [&](const Matrix& rows, const std::string& name) {
            Row row = convolved(rows, t, weights.matrix(prefix + name + ".weight"));
            const Row bias = c.conv_bias ? weights.vector(prefix + name + ".bias") : Row(row.size(), 0.0);
            for (size_t i = 0; i < row.size(); ++i) row[i] = silu(row[i] + bias[i]);
            return row;
        };
        const Row xt = mixed(x, "conv_x"), bt = mixed(b, "conv_b"), ct = mixed(cc, "conv_c");
        const Row z = projected("z.weight"), dt_raw = projected("dt.weight");
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            const auto i = static_cast<size_t>(head);
            const auto [least, most] = c.dt_limits.value_or(std::array{0.0, 1e300});
            const double dt = std::min(std::max(std::log1p(std::exp(dt_raw[i] + dt_bias[i])), least), most),
                         decay = std::exp(-std::exp(a_log[i]) * dt);
            const Row in = slice(xt, head * p, p), write = slice(bt, head / per_group * n, n),
                      read = slice(ct, head / per_group * n, n);
            Matrix& s = states[i];
            for (size_t r = 0; r < write.size(); ++r)
                for (size_t j = 0; j < in.size(); ++j) s[r][j] = decay * s[r][j] + dt * write[r] * in[j];
            Row o = times(read, s);
            for (size_t j = 0; j < o.size(); ++j) o[j] += d[i] * in[j];
            append(out, o);
        }
        const auto gated = [&](Row row) {
            for (size_t j = 0; j < row.size(); ++j) row[j] *= silu(z[j]);
            return row;
        };
        if (c.gate == Mamba2Gate::before_norm) out = gated(out);
        Row normed;
        for (int64_t group = 0; group < c.num_groups; ++group)
            append(normed, rms(slice(out, group * per_group * p, per_group * p),
                               slice(norm_weight, group * per_group * p, per_group * p),
                               c.output_norm_eps.value_or(sublayer.norm.eps), false));
        if (c.gate == Mamba2Gate::after_norm) normed = gated(normed);
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), normed));
    }
    return y;
}

Matrix mla(const Weights& weights, const ResolvedSublayer& sublayer, const MlaConfig& c,
           const std::string& prefix, const Matrix& h) {
    NormConfig norms = sublayer.norm;
    norms.eps = c.latent_norm_eps.value_or(norms.eps);
    RopeConfig rope = c.rope;
    double scale =
        c.score_scale.value_or(1 / std::sqrt(static_cast<double>(c.nope_head_dim + c.rope_head_dim)));
    const bool yarn = rope.scaling.type == ops::RopeScalingType::yarn;
    if (yarn) scale *= std::pow(0.1 * c.mscale * std::log(rope.scaling.factor) + 1, 2);
    // The paper's factor of what turns is in the scale, so that only angles are left of YaRN.
    const auto turned = [&](const Row& x, size_t t) {
        Row y = rotate(x, rope, static_cast<int64_t>(t));
        const double factor = yarn && rope.fraction > 0 ? 0.1 * std::log(rope.scaling.factor) + 1 : 1;
        for (double& value : y) value /= factor; // all of it turns where examples scale
        return y;
    };
    std::vector<Matrix> keys, values; // of each token, by head
    Matrix y;
    for (size_t t = 0; t < h.size(); ++t) {
        const auto projected = [&](const char* name, const Row& x) {
            return multiply(weights.matrix(prefix + name), x);
        };
        const auto biased = [&](MlaProjection projection, const Row& x) {
            return affine(weights, prefix + std::string(to_string(projection)), contains(c.bias, projection),
                          x);
        };
        const Row down = biased(MlaProjection::kv_a, h[t]);
        const Row latent = norm(weights, norms, prefix + "kv_norm", slice(down, 0, c.kv_rank));
        const Row shared = turned(slice(down, c.kv_rank, c.rope_head_dim), t);
        const Row q = c.q_rank > 0 ? projected("q_b.weight", norm(weights, norms, prefix + "q_norm",
                                                                  biased(MlaProjection::q_a, h[t])))
                                   : biased(MlaProjection::q, h[t]);
        const Row both = projected("kv_b.weight", latent);
        const int64_t rows = c.nope_head_dim + c.value_head_dim, size = c.nope_head_dim + c.rope_head_dim;
        keys.emplace_back();
        values.emplace_back();
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            Row key = slice(both, head * rows, c.nope_head_dim);
            append(key, shared);
            keys.back().push_back(key);
            values.back().push_back(slice(both, head * rows + c.nope_head_dim, c.value_head_dim));
            Row query = slice(q, head * size, c.nope_head_dim);
            append(query, turned(slice(q, head * size + c.nope_head_dim, c.rope_head_dim), t));
            double total = 0;
            Row o(static_cast<size_t>(c.value_head_dim), 0.0);
            for (size_t s = 0; s <= t; ++s) {
                const Row &k = keys[s][static_cast<size_t>(head)], &v = values[s][static_cast<size_t>(head)];
                const double weight =
                    std::exp(scale * std::inner_product(query.begin(), query.end(), k.begin(), 0.0));
                total += weight;
                for (size_t i = 0; i < o.size(); ++i) o[i] += weight * v[i];
            }
            for (double& value : o) value /= total;
            append(out, o);
        }
        if (c.gate != AttentionGate::none) {
            const Row gate = projected("gate.weight", h[t]);
            for (size_t i = 0; i < out.size(); ++i)
                out[i] *= sigmoid(
                    gate[c.gate == AttentionGate::head ? i / static_cast<size_t>(c.value_head_dim) : i]);
        }
        y.push_back(biased(MlaProjection::out, out));
    }
    return y;
}

Matrix lightning(const Weights& weights, const ResolvedSublayer& sublayer, const LightningConfig& c,
                 const std::string& prefix, const Matrix& h) {
    const int64_t dk = c.key_head_dim, dv = c.value_head_dim, group = c.num_heads / c.norm_groups;
    const int layer = prefix.find("layers.1.") == 0 ? 1 : 0; // of the two of model_of()
    std::vector<Matrix> states(static_cast<size_t>(c.num_heads), zeros(dk, dv));
    Matrix y;
    for (size_t t = 0; t < h.size(); ++t) {
        const auto projected = [&](const char* name) {
            return multiply(weights.matrix(prefix + name), h[t]);
        };
        const Row q = projected("q.weight"), k = projected("k.weight"), v = projected("v.weight");
        const auto positioned = [&](const Row& x, int64_t head, const char* name) {
            Row part = slice(x, head * dk, dk);
            if (c.qk_norm) part = norm(weights, sublayer.norm, prefix + name, part);
            return rotate(part, c.rope, static_cast<int64_t>(t));
        };
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            Matrix& s = states[static_cast<size_t>(head)];
            const auto n = static_cast<double>(head);
            const double decay =
                c.decay == LightningDecay::retnet
                    ? 1 - std::pow(2.0, -5 - n)
                    : std::exp(-std::pow(2.0, -8 * (n + 1) / static_cast<double>(c.num_heads)) *
                               (1 - layer + 1e-5));
            const Row key = positioned(k, head, "k_norm"), value = slice(v, head * dv, dv);
            for (size_t i = 0; i < key.size(); ++i)
                for (size_t j = 0; j < value.size(); ++j) s[i][j] = decay * s[i][j] + key[i] * value[j];
            Row o = times(positioned(q, head, "q_norm"), s);
            for (double& x : o) x /= std::sqrt(static_cast<double>(dk));
            append(out, o);
        }
        const Row w = weights.vector(prefix + "norm.weight");
        Row normed;
        for (int64_t g = 0; g < c.norm_groups; ++g)
            append(normed, rms(slice(out, g * group * dv, group * dv), slice(w, g * group * dv, group * dv),
                               sublayer.norm.eps, false));
        if (c.gate) {
            const Row gate = projected("gate.weight");
            for (size_t i = 0; i < normed.size(); ++i) normed[i] *= sigmoid(gate[i]);
        }
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), normed));
    }
    return y;
}

Matrix short_conv(const Weights& weights, const ShortConvConfig& config, const std::string& prefix,
                  const Matrix& h) {
    const auto has = [&](ShortConvProjection projection) { return contains(config.bias, projection); };
    const bool in = has(ShortConvProjection::in);
    Matrix gated, y;
    for (size_t t = 0; t < h.size(); ++t) {
        const Row b = affine(weights, prefix + "b", in, h[t]), c = affine(weights, prefix + "c", in, h[t]),
                  x = affine(weights, prefix + "x", in, h[t]);
        Row product;
        for (size_t i = 0; i < b.size(); ++i) product.push_back(b[i] * x[i]);
        gated.push_back(product);
        Row out = convolved(gated, t, weights.matrix(prefix + "conv.weight"));
        const Row bias =
            has(ShortConvProjection::conv) ? weights.vector(prefix + "conv.bias") : Row(out.size(), 0.0);
        for (size_t i = 0; i < out.size(); ++i) out[i] = (out[i] + bias[i]) * c[i];
        y.push_back(affine(weights, prefix + "out", has(ShortConvProjection::out), out));
    }
    return y;
}

} // namespace braid::testing::reference
