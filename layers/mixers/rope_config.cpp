#include "layers/mixers/rope_config.h"

#include <fmt/format.h>

#include "layers/specification/sublayer_type.h"

namespace braid {
namespace {

using ops::RopeScaling;
using ops::RopeScalingType;

void check_scaling(const RopeScaling& scaling, SectionCheck& check) {
    const auto expect_given = [&](const char* key, const char* what) {
        if (!check.given(key))
            check.fail(
                key, fmt::format("expected {}, as type is {}, found nothing", what, to_string(scaling.type)));
    };
    if (scaling.type == RopeScalingType::none) return;
    expect_given("factor", "how many times longer texts become");
    if (scaling.type == RopeScalingType::linear) return;
    expect_given("original_length", "the tokens of texts before the scaling");
    if (scaling.type == RopeScalingType::yarn && scaling.beta_fast < scaling.beta_slow)
        check.fail("beta_fast", fmt::format("expected at least beta_slow ({}), found {}", scaling.beta_slow,
                                            scaling.beta_fast));
    if (scaling.type == RopeScalingType::llama3 && scaling.high_freq_factor <= scaling.low_freq_factor)
        check.fail("high_freq_factor", fmt::format("expected more than low_freq_factor ({}), found {}",
                                                   scaling.low_freq_factor, scaling.high_freq_factor));
}

const Schema<RopeScaling>& scaling_schema() {
    using R = RopeScaling;
    const auto is_not = [](RopeScalingType type) { return [type](const R& r) { return r.type != type; }; };
    static const Schema<R> schema = [&] {
        Schema<R> all;
        all.key("type", &R::type,
                {.help = "how slow rotations are slowed down for longer texts: all of them alike, as YaRN "
                         "does, or as Llama 3 does",
                 .aliases = {"rope_type"},
                 .synonyms = "default=none"})
            .key("factor", &R::factor,
                 {.help = "how many times longer texts become",
                  .min = 1,
                  .default_text = "required with a type",
                  .aliases = {"rope_scaling_factor"}})
            .key("original_length", &R::original_length,
                 {.help = "tokens of texts before the scaling",
                  .min = 1,
                  .max = kMaxSize,
                  .default_text = "required with yarn and llama3",
                  .aliases = {"original_max_position_embeddings"}})
            .key("beta_fast", &R::beta_fast,
                 {.help = "what turns more often within original_length stays as it is", .above = 0})
            .key(
                "beta_slow", &R::beta_slow,
                {.help = "what turns less often within original_length is divided by the factor", .above = 0})
            .key("round_ramp", &R::round_ramp,
                 {.help = "the ramp between them begins and ends at whole frequencies",
                  .aliases = {"truncate"}})
            .key("attention_factor", &R::attention_factor,
                 {.help = "of rotated queries and keys", .above = 0, .default_text = "0.1 ln(factor) + 1"})
            .key(
                "low_freq_factor", &R::low_freq_factor,
                {.help = "what turns less often within original_length is divided by the factor", .above = 0})
            .key("high_freq_factor", &R::high_freq_factor,
                 {.help = "what turns more often within original_length stays as it is", .above = 0});
        for (const char* key : {"factor", "original_length"})
            all.pointless(key, "type is none", [](const R& r) { return r.type == RopeScalingType::none; });
        all.pointless("original_length", "linear scaling does not look at it",
                      [](const R& r) { return r.type == RopeScalingType::linear; });
        for (const char* key : {"beta_fast", "beta_slow", "round_ramp", "attention_factor"})
            all.pointless(key, "type is not yarn", is_not(RopeScalingType::yarn));
        for (const char* key : {"low_freq_factor", "high_freq_factor"})
            all.pointless(key, "type is not llama3", is_not(RopeScalingType::llama3));
        return all
            .rule(
                "factor is given with a type, original_length with yarn and llama3; beta_fast is at least "
                "beta_slow, high_freq_factor above low_freq_factor",
                check_scaling)
            .example("{type: yarn, factor: 8, original_length: 8192}");
    }();
    return schema;
}

} // namespace

const Schema<RopeConfig>& rope_schema() {
    static const Schema<RopeConfig> schema =
        Schema<RopeConfig>()
            .key("theta", &RopeConfig::theta,
                 {.help = "base of the rotation frequencies",
                  .above = 0,
                  .aliases = {"rope_theta", "rotary_base"}})
            .key("fraction", &RopeConfig::fraction,
                 {.help = "share of a head that is rotated; 0 means no position encoding",
                  .min = 0,
                  .max = 1,
                  .aliases = {"partial_rotary_factor", "rotary_percent", "rope_fraction"}})
            .key("pairing", &RopeConfig::pairing,
                 {.help = "which numbers turn together: those half the rotated part apart, or neighbours",
                  .aliases = {"rope_interleave", "rotary_interleaved"},
                  .synonyms = "true=interleaved false=half neox=half gptj=interleaved"})
            .section("scaling", &RopeConfig::scaling, scaling_schema(), "frequencies for longer texts")
            .pointless("theta", "fraction is 0, so nothing is rotated",
                       [](const RopeConfig& r) { return r.fraction == 0; })
            .pointless("pairing", "fraction is 0, so nothing is rotated",
                       [](const RopeConfig& r) { return r.fraction == 0; })
            .pointless("scaling", "fraction is 0, so nothing is rotated",
                       [](const RopeConfig& r) { return r.fraction == 0; })
            .rule("theta is above 1 with yarn",
                  [](const RopeConfig& r, SectionCheck& check) {
                      if (r.scaling.type == RopeScalingType::yarn && r.theta <= 1)
                          check.fail("theta",
                                     fmt::format("expected more than 1, as scaling.type is yarn, found {}",
                                                 r.theta));
                  })
            .example("{theta: 10000, fraction: 0.5}");
    return schema;
}

} // namespace braid
