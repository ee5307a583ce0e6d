#pragma once

#include <ostream>

#include "layers/specification/sublayer_type.h"

namespace braid::testing {

struct SublayerExample {
    std::string name;
    AnyStruct config;
};

// Else the listed tests would show its bytes, pointers among them.
inline void PrintTo(const SublayerExample& example, std::ostream* stream) {
    *stream << example.name;
}

/// The examples of every registered type, which between them use every option.
inline std::vector<SublayerExample> sublayer_examples() {
    std::vector<SublayerExample> all;
    for (const SublayerType& type : sublayer_types())
        for (const auto& [name, config] : type.examples) all.push_back({name, config});
    return all;
}

/// Two layers of it.
inline ModelConfig model_of(const AnyStruct& config) {
    ModelConfig model;
    model.vocab_size = 11;
    model.hidden_size = 12;
    model.pattern = "sub, sub";
    model.init = {.std = 0.3, .distribution = InitDistribution::normal, .output = InitOutput::same};
    model.sublayers["sub"].kind = config;
    return model;
}

} // namespace braid::testing
