#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace braid {

/// The least number of insertions, deletions, substitutions and swaps of neighbours that make `a` into `b`.
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word` if it is near enough to be what the writer meant, else "".
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

/// The candidate that the writer of `word` may have meant: by another spelling (RMS, gated-delta-net), by a
/// name of `synonyms`, nearby, or with more or less around it (rmsnorm for rms). "" where none is near.
/// `synonyms` is "fp32=f32 float=f32", with lower-case letters and digits only on the left.
std::string meant_by(std::string_view word, const std::vector<std::string>& candidates,
                     std::string_view synonyms = {});

/// "; did you mean X?" or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates,
                         std::string_view synonyms = {});

/// The items as "a, b or c".
std::string join_choices(const std::vector<std::string>& items);

} // namespace braid
