#pragma once

#include "layers/mixers/delta_net.h"
#include "layers/mixers/gated_linear.h"
#include "layers/mixers/kimi_delta.h"
#include "layers/mixers/lightning.h"
#include "layers/mixers/mamba2.h"
#include "layers/mixers/mla.h"
#include "layers/mixers/short_conv.h"
#include "tests/layers/reference.h"

namespace braid::testing::reference {

// F of one document h [T, D], of the mixers that have few options.
Matrix delta_net(const Weights& weights, const ResolvedSublayer& sublayer, const DeltaNetConfig& c,
                 const std::string& prefix, const Matrix& h);
Matrix gated_linear(const Weights& weights, const ResolvedSublayer& sublayer, const GatedLinearConfig& c,
                    const std::string& prefix, const Matrix& h);
Matrix kimi_delta(const Weights& weights, const ResolvedSublayer& sublayer, const KimiDeltaConfig& c,
                  const std::string& prefix, const Matrix& h);
Matrix mamba2(const Weights& weights, const ResolvedSublayer& sublayer, const Mamba2Config& c,
              const std::string& prefix, const Matrix& h);
Matrix lightning(const Weights& weights, const ResolvedSublayer& sublayer, const LightningConfig& c,
                 const std::string& prefix, const Matrix& h);
Matrix mla(const Weights& weights, const ResolvedSublayer& sublayer, const MlaConfig& c,
           const std::string& prefix, const Matrix& h);
Matrix short_conv(const Weights& weights, const ShortConvConfig& c, const std::string& prefix,
                  const Matrix& h);

} // namespace braid::testing::reference
