#include "tests/layers/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "layers/feed_forward/mlp_config.h"
#include "layers/feed_forward/moe_config.h"
#include "layers/mixers/attention_config.h"
#include "layers/mixers/gated_delta_net_config.h"
#include "tests/layers/reference_math.h"
#include "tests/layers/reference_mixers.h"

namespace braid::testing::reference {
namespace {

Matrix attention(const Weights& weights, const ResolvedSublayer& sublayer, const AttentionConfig& c,
                 const std::string& prefix, const Matrix& h) {
    const auto projected = [&](AttentionProjection projection, const Row& x) {
        return affine(weights, prefix + std::string(to_string(projection)), contains(c.bias, projection), x);
    };
    const auto heads_of = [&](Row x, int64_t heads, const std::string& norm_name, int64_t position) {
        if (c.qk_norm == QkNorm::full) x = norm(weights, sublayer.norm, norm_name, x);
        Matrix result;
        for (int64_t i = 0; i < heads; ++i) {
            Row head = slice(x, i * c.head_dim, c.head_dim);
            if (c.qk_norm == QkNorm::per_head) head = norm(weights, sublayer.norm, norm_name, head);
            result.push_back(rotate(head, c.rope, position));
        }
        return result;
    };
    std::vector<Matrix> q, k;
    Matrix v, y;
    for (size_t t = 0; t < h.size(); ++t) {
        const auto position = static_cast<int64_t>(t);
        q.push_back(
            heads_of(projected(AttentionProjection::q, h[t]), c.num_heads, prefix + "q_norm", position));
        k.push_back(
            heads_of(projected(AttentionProjection::k, h[t]), c.num_kv_heads, prefix + "k_norm", position));
        v.push_back(projected(AttentionProjection::v, h[t]));
        Row out;
        for (int64_t head = 0; head < c.num_heads; ++head) {
            const int64_t kv = head / (c.num_heads / c.num_kv_heads);
            const size_t from = c.window && position >= c.window ? t - static_cast<size_t>(c.window) + 1 : 0;
            Row scores, o(static_cast<size_t>(c.head_dim), 0.0);
            for (size_t s = from; s <= t; ++s) {
                const Row &a = q[t][static_cast<size_t>(head)], &b = k[s][static_cast<size_t>(kv)];
                scores.push_back(std::inner_product(a.begin(), a.end(), b.begin(), 0.0) /
                                 std::sqrt(static_cast<double>(c.head_dim)));
            }
            const double largest = *std::max_element(scores.begin(), scores.end());
            double sum = 0;
            for (double& score : scores) sum += score = std::exp(score - largest);
            for (size_t s = from; s <= t; ++s)
                for (int64_t i = 0; i < c.head_dim; ++i)
                    o[static_cast<size_t>(i)] +=
                        scores[s - from] / sum * v[s][static_cast<size_t>(kv * c.head_dim + i)];
            append(out, o);
        }
        if (c.gate != AttentionGate::none) {
            const Row gate = projected(AttentionProjection::gate, h[t]);
            for (size_t i = 0; i < out.size(); ++i)
                out[i] *=
                    sigmoid(gate[c.gate == AttentionGate::head ? i / static_cast<size_t>(c.head_dim) : i]);
        }
        y.push_back(projected(AttentionProjection::out, out));
    }
    return y;
}

Matrix gated_delta_net(const Weights& weights, const ResolvedSublayer& sublayer, const GatedDeltaNetConfig& c,
                       const std::string& prefix, const Matrix& h) {
    const int64_t dk = c.key_head_dim, dv = c.value_head_dim, group = c.num_value_heads / c.num_key_heads;
    Matrix past; // projected q, k, v before the convolution
    Matrix conv = weights.matrix(prefix + "conv_q.weight");
    for (const char* part : {"conv_k.weight", "conv_v.weight"})
        for (const Row& row : weights.matrix(prefix + part)) conv.push_back(row);
    std::vector<Matrix> state(static_cast<size_t>(c.num_value_heads),
                              Matrix(static_cast<size_t>(dk), Row(static_cast<size_t>(dv), 0.0)));
    const Row a_log = weights.vector(prefix + "a_log"), dt_bias = weights.vector(prefix + "dt_bias"),
              norm_weight = weights.vector(prefix + "norm.weight");
    Matrix y;
    for (size_t t = 0; t < h.size(); ++t) {
        Row qkv = multiply(weights.matrix(prefix + "q.weight"), h[t]);
        append(qkv, multiply(weights.matrix(prefix + "k.weight"), h[t]));
        append(qkv, multiply(weights.matrix(prefix + "v.weight"), h[t]));
        past.push_back(qkv);
        Row mixed(qkv.size(), 0.0);
        for (size_t channel = 0; channel < qkv.size(); ++channel) {
            for (int64_t back = 0; back < c.conv_kernel && back <= static_cast<int64_t>(t); ++back)
                mixed[channel] += conv[channel][static_cast<size_t>(c.conv_kernel - 1 - back)] *
                                  past[t - static_cast<size_t>(back)][channel];
            mixed[channel] = silu(mixed[channel]);
        }
        const Row z = multiply(weights.matrix(prefix + "z.weight"), h[t]),
                  b = multiply(weights.matrix(prefix + "b.weight"), h[t]),
                  a = multiply(weights.matrix(prefix + "a.weight"), h[t]);
        const auto unit = [&](int64_t first) {
            Row x = slice(mixed, first, dk);
            const double square = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
            for (double& value : x) value /= std::sqrt(square + 1e-6);
            return x;
        };
        Row out;
        for (int64_t head = 0; head < c.num_value_heads; ++head) {
            const auto n = static_cast<size_t>(head);
            const Row q = unit(head / group * dk), k = unit((c.num_key_heads + head / group) * dk);
            const Row v = slice(mixed, 2 * c.num_key_heads * dk + head * dv, dv);
            const double decay = std::exp(-std::exp(a_log[n]) * std::log1p(std::exp(a[n] + dt_bias[n])));
            const double beta = sigmoid(b[n]) * (c.negative_eigenvalues ? 2 : 1);
            Matrix& s = state[n];
            for (Row& row : s)
                for (double& value : row) value *= decay;
            Row o(static_cast<size_t>(dv), 0.0);
            for (size_t j = 0; j < static_cast<size_t>(dv); ++j) {
                double predicted = 0;
                for (size_t i = 0; i < static_cast<size_t>(dk); ++i) predicted += k[i] * s[i][j];
                for (size_t i = 0; i < static_cast<size_t>(dk); ++i)
                    s[i][j] += k[i] * beta * (v[j] - predicted);
                for (size_t i = 0; i < static_cast<size_t>(dk); ++i)
                    o[j] += q[i] * s[i][j] / std::sqrt(static_cast<double>(dk));
            }
            Row gated = rms(o, norm_weight, c.output_norm_eps.value_or(sublayer.norm.eps), false);
            for (size_t j = 0; j < gated.size(); ++j) gated[j] *= silu(z[n * static_cast<size_t>(dv) + j]);
            append(out, gated);
        }
        y.push_back(multiply(weights.matrix(prefix + "out.weight"), out));
    }
    return y;
}

Row activated(Activation activation, const Row& gate, const Row& up) {
    Row y;
    for (size_t i = 0; i < up.size(); ++i) switch (activation) {
            case Activation::swiglu:
                y.push_back(silu(gate[i]) * up[i]);
                break;
            case Activation::geglu:
                y.push_back(gelu(gate[i]) * up[i]);
                break;
            case Activation::gelu:
                y.push_back(gelu(up[i]));
                break;
            case Activation::silu:
                y.push_back(silu(up[i]));
                break;
            case Activation::relu2:
                y.push_back(up[i] > 0 ? up[i] * up[i] : 0);
                break;
        }
    return y;
}

bool has_gate(Activation activation) {
    return activation == Activation::swiglu || activation == Activation::geglu;
}

Row feed_forward(const Weights& weights, Activation activation, bool up_biased, bool down_biased,
                 const std::string& prefix, const Row& x) {
    const Row gate = has_gate(activation) ? affine(weights, prefix + "gate", up_biased, x) : Row();
    return affine(weights, prefix + "down", down_biased,
                  activated(activation, gate, affine(weights, prefix + "up", up_biased, x)));
}

/// The scores that experts are chosen by: those outside the best groups are below all others.
Row limited_to_groups(const RouterConfig& c, const Row& p) {
    const auto groups = static_cast<size_t>(c.num_groups), size = p.size() / groups;
    if (groups == 1) return p;
    Row scores;
    for (size_t g = 0; g < groups; ++g) {
        Row best(p.begin() + static_cast<std::ptrdiff_t>(g * size),
                 p.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
        std::sort(best.rbegin(), best.rend());
        scores.push_back(c.group_score == RouterGroupScore::max ? best[0] : best[0] + best[1]);
    }
    Row limited;
    for (size_t e = 0; e < p.size(); ++e) {
        const auto better =
            std::count_if(scores.begin(), scores.end(), [&](double s) { return s > scores[e / size]; });
        limited.push_back(better < c.group_topk ? p[e] : -HUGE_VAL);
    }
    return limited;
}

Row mixture(const Weights& weights, const MoeConfig& c, const std::string& prefix, const Row& x) {
    Row p = multiply(weights.matrix(prefix + "router.weight"), x);
    if (c.router.bias) {
        const Row bias = weights.vector(prefix + "router.linear_bias");
        for (size_t e = 0; e < p.size(); ++e) p[e] += bias[e];
    }
    const auto of_expert = [&](const std::string& name, size_t e, const Row& in) {
        Row out =
            multiply(weights.expert(prefix + "experts." + name + ".weight", static_cast<int64_t>(e)), in);
        if (!contains(c.bias, MoeProjection::experts)) return out;
        const Row bias = weights.matrix(prefix + "experts." + name + ".bias")[e];
        for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i];
        return out;
    };
    if (c.router.score == RouterScore::sigmoid) {
        for (double& value : p) value = sigmoid(value);
    } else {
        const double largest = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& value : p) sum += value = std::exp(value - largest);
        for (double& value : p) value /= sum;
    }
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const Row choice = limited_to_groups(c.router, p);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return choice[a] > choice[b]; });
    order.resize(static_cast<size_t>(c.experts_per_token));
    double sum = 0;
    for (size_t e : order) sum += p[e];
    Row y(x.size(), 0.0);
    for (size_t e : order) {
        const bool gated = has_gate(c.activation);
        const Row in = of_expert(gated ? "gate_up" : "up", e, x);
        const Row hidden = gated ? activated(c.activation, slice(in, 0, c.expert_size),
                                             slice(in, c.expert_size, c.expert_size))
                                 : activated(c.activation, {}, in);
        const Row out = of_expert("down", e, hidden);
        const double weight = p[e] / (c.router.normalize ? sum : 1) * c.router.scale;
        for (size_t i = 0; i < y.size(); ++i) y[i] += weight * out[i];
    }
    if (c.shared_size > 0) {
        const double gate =
            c.shared_gate ? sigmoid(multiply(weights.matrix(prefix + "shared_gate.weight"), x)[0]) : 1;
        const bool biased = contains(c.bias, MoeProjection::shared);
        const Row shared = feed_forward(weights, c.activation, biased, biased, prefix + "shared.", x);
        for (size_t i = 0; i < y.size(); ++i) y[i] += gate * shared[i];
    }
    return y;
}

/// F of one document.
Matrix branch(const Weights& weights, const ResolvedSublayer& sublayer, const std::string& prefix,
              const Matrix& h) {
    if (const auto* c = sublayer.config.kind.get_if<AttentionConfig>())
        return attention(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<MlaConfig>())
        return mla(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<GatedDeltaNetConfig>())
        return gated_delta_net(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<DeltaNetConfig>())
        return delta_net(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<GatedLinearConfig>())
        return gated_linear(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<KimiDeltaConfig>())
        return kimi_delta(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<Mamba2Config>())
        return mamba2(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<LightningConfig>())
        return lightning(weights, sublayer, *c, prefix, h);
    if (const auto* c = sublayer.config.kind.get_if<ShortConvConfig>())
        return short_conv(weights, *c, prefix, h);
    Matrix y;
    for (const Row& row : h) {
        if (const auto* c = sublayer.config.kind.get_if<MlpConfig>())
            y.push_back(feed_forward(weights, c->activation, contains(c->bias, MlpProjection::up),
                                     contains(c->bias, MlpProjection::down), prefix, row));
        else
            y.push_back(mixture(weights, sublayer.config.kind.get<MoeConfig>(), prefix, row));
    }
    return y;
}

Matrix block_of_document(const Weights& weights, const ModelConfig& model, const ResolvedSublayer& sublayer,
                         const std::string& prefix, const Matrix& x) {
    const auto normed = [&](const char* name, const Matrix& rows) {
        Matrix result;
        for (const Row& row : rows) result.push_back(norm(weights, sublayer.norm, prefix + name, row));
        return result;
    };
    const auto joined = [&](const Matrix& f) {
        Matrix y = x;
        for (size_t t = 0; t < x.size(); ++t)
            for (size_t i = 0; i < x[t].size(); ++i)
                y[t][i] = model.residual.stream_scale * x[t][i] + model.residual.branch_scale * f[t][i];
        return y;
    };
    switch (sublayer.norm.placement) {
        case NormPlacement::pre:
            return joined(branch(weights, sublayer, prefix, normed("pre_norm", x)));
        case NormPlacement::post:
            return joined(normed("post_norm", branch(weights, sublayer, prefix, x)));
        case NormPlacement::sandwich:
            return joined(normed("post_norm", branch(weights, sublayer, prefix, normed("pre_norm", x))));
        case NormPlacement::residual_post:
            return normed("post_norm", joined(branch(weights, sublayer, prefix, x)));
        case NormPlacement::none:
            return joined(branch(weights, sublayer, prefix, x));
    }
    return {};
}

} // namespace

const Parameter::Section& Weights::find(const std::string& name, const double*& data) const {
    for (const auto& unit : store_.units())
        for (const Parameter* parameter : unit->parameters)
            for (const auto& section : parameter->sections())
                if (section.spec.name == name) {
                    data = unit->values.data<double>() + section.unit_offset;
                    return section;
                }
    throw InternalError("no parameter is named {}", name);
}

Matrix Weights::matrix(const std::string& name) const {
    const double* data = nullptr;
    const Shape& shape = find(name, data).spec.shape;
    Matrix result;
    for (int64_t i = 0; i < shape[0]; ++i)
        result.emplace_back(data + i * shape[1], data + (i + 1) * shape[1]);
    return result;
}

Row Weights::vector(const std::string& name) const {
    const double* data = nullptr;
    const Shape& shape = find(name, data).spec.shape;
    return Row(data, data + shape.numel());
}

Matrix Weights::expert(const std::string& name, int64_t e) const {
    const double* data = nullptr;
    const Shape& shape = find(name, data).spec.shape;
    data += e * shape[1] * shape[2];
    Matrix result;
    for (int64_t i = 0; i < shape[1]; ++i)
        result.emplace_back(data + i * shape[2], data + (i + 1) * shape[2]);
    return result;
}

Matrix block(const Weights& weights, const ModelConfig& model, const ResolvedSublayer& sublayer,
             const std::string& prefix, const Matrix& x, const std::vector<int32_t>& documents) {
    Matrix y;
    size_t first = 0;
    for (int32_t length : documents) {
        const auto begin = x.begin() + static_cast<int64_t>(first);
        for (Row& row : block_of_document(weights, model, sublayer, prefix, Matrix(begin, begin + length)))
            y.push_back(std::move(row));
        first += static_cast<size_t>(length);
    }
    return y;
}

double model_loss(const Weights& weights, const ModelConfig& model, const std::vector<int32_t>& tokens,
                  const std::vector<int32_t>& labels, const std::vector<int32_t>& documents) {
    const Matrix table = weights.matrix("embedding.weight");
    Matrix x;
    for (int32_t token : tokens) {
        x.push_back(table[static_cast<size_t>(token)]);
        if (model.norm.embedding) x.back() = norm(weights, model.norm, "embedding_norm", x.back());
    }
    const auto layers = expand_layers(model);
    for (size_t i = 0; i < layers.size(); ++i)
        for (const ResolvedSublayer& sublayer : layers[i].sublayers)
            x = block(weights, model, sublayer, fmt::format("layers.{}.{}.", i, sublayer.name), x, documents);
    const Matrix head = model.tie_embeddings ? table : weights.matrix("head.weight");
    double loss = 0;
    for (size_t t = 0; t < x.size(); ++t) {
        if (labels[t] < 0) continue;
        Row logits = multiply(head, model.norm.final ? norm(weights, model.norm, "final_norm", x[t]) : x[t]);
        double sum = 0;
        for (double& logit : logits) {
            logit *= model.head.scale;
            if (model.head.softcap > 0) logit = model.head.softcap * std::tanh(logit / model.head.softcap);
            sum += std::exp(logit);
        }
        loss += std::log(sum) - logits[static_cast<size_t>(labels[t])];
    }
    return loss;
}

} // namespace braid::testing::reference
