#pragma once

#include "base/schema.h"
#include "ops/attention/rope.h"

namespace braid {

/// Rotary position encoding of a mixer's queries and keys.
struct RopeConfig {
    double theta = 10000;
    double fraction = 1; // the share of a head that is rotated; 0 means no position encoding
    ops::RopePairing pairing = ops::RopePairing::half;
    ops::RopeScaling scaling = {};
    bool operator==(const RopeConfig&) const = default;

    /// Of heads whose rotated part begins at this element.
    ops::RopeOptions options(int64_t offset = 0) const {
        return {
            .theta = theta, .fraction = fraction, .offset = offset, .pairing = pairing, .scaling = scaling};
    }
};

const Schema<RopeConfig>& rope_schema();

} // namespace braid
