#include "base/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace braid {

namespace {

std::string letters_and_digits(std::string_view text) {
    std::string bare;
    for (const char c : text)
        if (std::isalnum(static_cast<unsigned char>(c)))
            bare += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return bare;
}

std::string synonym_of(const std::string& bare, std::string_view synonyms) {
    while (!synonyms.empty()) {
        const std::string_view pair = synonyms.substr(0, synonyms.find(' '));
        const size_t equals = pair.find('=');
        if (pair.substr(0, equals) == bare) return std::string(pair.substr(equals + 1));
        synonyms.remove_prefix(std::min(pair.size() + 1, synonyms.size()));
    }
    return "";
}

/// The longest candidate that holds the word or lies in it. Two letters in common are chance.
std::string longest_overlap(const std::string& bare, const std::vector<std::string>& candidates) {
    std::string best;
    for (const std::string& candidate : candidates) {
        const std::string other = letters_and_digits(candidate);
        const bool overlaps =
            std::min(bare.size(), other.size()) >= 3 &&
            (bare.find(other) != std::string::npos || other.find(bare) != std::string::npos);
        if (overlaps && candidate.size() > best.size()) best = candidate;
    }
    return best;
}

} // namespace

int edit_distance(std::string_view a, std::string_view b) {
    // Optimal string alignment over three rows: the one being filled and the two before it.
    std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
    for (size_t i = 1; i <= a.size(); ++i) {
        row[0] = static_cast<int>(i);
        for (size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
        std::swap(before, last);
        std::swap(last, row);
    }
    return last[b.size()];
}

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    // A third of the letters may be wrong; longer words than any key are not worth the quadratic comparison.
    int best_distance = std::max<int>(1, static_cast<int>(word.size()) / 3) + 1;
    if (word.size() > 100) return best;
    for (const std::string& candidate : candidates) {
        const int distance = edit_distance(word, candidate);
        if (distance < best_distance && distance < static_cast<int>(candidate.size())) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

std::string meant_by(std::string_view word, const std::vector<std::string>& candidates,
                     std::string_view synonyms) {
    if (word.size() > 100) return "";
    const std::string bare = letters_and_digits(word);
    if (bare.empty()) return "";
    const std::string known = synonym_of(bare, synonyms);
    if (!known.empty()) return known;
    for (const std::string& candidate : candidates)
        if (letters_and_digits(candidate) == bare) return candidate;
    const std::string near = closest(word, candidates);
    return near.empty() ? longest_overlap(bare, candidates) : near;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates,
                         std::string_view synonyms) {
    const std::string best = meant_by(word, candidates, synonyms);
    return best.empty() ? "" : fmt::format("; did you mean {}?", best);
}

std::string join_choices(const std::vector<std::string>& items) {
    std::string text;
    for (size_t i = 0; i < items.size(); ++i) {
        if (i > 0) text += i + 1 == items.size() ? " or " : ", ";
        text += items[i];
    }
    return text;
}

} // namespace braid
