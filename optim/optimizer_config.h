#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/enum_names.h"
#include "tensor/parameters/parameter_role.h"

namespace braid {

enum class OptimizerType { adamw, muon };
constexpr auto enum_names(OptimizerType) {
    return std::array<std::string_view, 2>{"adamw", "muon"};
}

/// How far an orthogonalised update of a matrix [out, in] goes, times the learning rate.
enum class MuonScale {
    match_rms, // 0.2 sqrt(max(out, in)): the root mean square of AdamW's updates (arXiv:2502.16982, eq. 4)
    original,  // sqrt(max(1, out / in)) (K. Jordan, kellerjordan.github.io/posts/muon, 2024)
    spectral,  // sqrt(out / in): equal changes of activations (Bernstein and Newhouse, arXiv:2409.20325)
};
constexpr auto enum_names(MuonScale) {
    return std::array<std::string_view, 3>{"match_rms", "original", "spectral"};
}

/// See ops/update/newton_schulz.h.
enum class MuonCoefficients { quintic, polar_express };
constexpr auto enum_names(MuonCoefficients) {
    return std::array<std::string_view, 2>{"quintic", "polar_express"};
}

struct MuonConfig {
    double momentum = 0.95;
    bool nesterov = true;
    int64_t ns_steps = 5;
    MuonCoefficients coefficients = MuonCoefficients::quintic;
    MuonScale scale = MuonScale::match_rms;
    bool split_heads = true; // each head's part of a projection is a matrix of its own
    bool operator==(const MuonConfig&) const = default;
};

enum class ScheduleType { cosine, wsd, linear, constant };
constexpr auto enum_names(ScheduleType) {
    return std::array<std::string_view, 4>{"cosine", "wsd", "linear", "constant"};
}

/// The shape of the last phase of wsd over its progress p: 1 - p, or 1 - sqrt(p) (Hägele et al., 2024,
/// arXiv:2405.18392).
enum class DecayShape { linear, sqrt };
constexpr auto enum_names(DecayShape) {
    return std::array<std::string_view, 2>{"linear", "sqrt"};
}

/// The learning rate over the steps 1..train.steps.
struct ScheduleConfig {
    ScheduleType type = ScheduleType::cosine;
    int64_t warmup_steps = 0;
    double min_lr = 0;                         // where cosine, linear and wsd end
    int64_t decay_steps = 0;                   // wsd only: the length of the last phase
    DecayShape decay_shape = DecayShape::sqrt; // wsd only
    bool operator==(const ScheduleConfig&) const = default;
};

/// Settings for the parameters that match every selector given (an empty one matches all). Later groups win.
struct ParameterGroup {
    std::vector<ParameterRole> role;
    std::vector<std::string> sublayer; // names in model.sublayers
    std::vector<int64_t> layer;        // layers from 0, sorted
    std::vector<std::string> name;     // globs over global parameter names: * and ?
    std::optional<double> weight_decay;
    std::optional<double> lr_scale;
    std::optional<bool> muon; // type muon: whether matrices are updated by Muon or by AdamW
    bool operator==(const ParameterGroup&) const = default;
};

struct OptimizerConfig {
    OptimizerType type = OptimizerType::adamw; // muon: of matrices; AdamW updates all else
    double lr = 1e-3;
    std::array<double, 2> betas{0.9, 0.95};
    double eps = 1e-8;
    double weight_decay = 0.1; // none on norm, bias and recurrent parameters unless a group says so
    double clip = 1;           // the largest global gradient norm; 0: no clipping
    std::vector<ParameterGroup> groups;
    ScheduleConfig schedule;
    MuonConfig muon;
    bool operator==(const OptimizerConfig&) const = default;
};

} // namespace braid
