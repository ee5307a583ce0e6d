#include "data/entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/rng.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

/// The definition read literally, over maps of strings.
class PlainWittenBell {
  public:
    explicit PlainWittenBell(const std::vector<std::string>& texts) {
        for (const std::string& text : texts)
            for (size_t i = 0; i < text.size(); ++i)
                for (size_t n = 0; n <= std::min<size_t>(i, 2); ++n) {
                    ++followed_[text.substr(i - n, n)];
                    ++followed_by_[text.substr(i - n, n + 1)];
                    distinct_[text.substr(i - n, n)].insert(text[i]);
                }
    }

    double probability(const std::string& context, char byte) const {
        const double shorter = context.empty() ? 1.0 / 256 : probability(context.substr(1), byte);
        const auto count = followed_.find(context);
        if (count == followed_.end()) return shorter;
        const auto together = followed_by_.find(context + byte);
        const auto distinct = static_cast<double>(distinct_.at(context).size());
        return ((together == followed_by_.end() ? 0 : together->second) + distinct * shorter) /
               (count->second + distinct);
    }

    double entropy(const std::vector<std::string>& texts, size_t order) const {
        double sum = 0;
        int count = 0;
        for (const std::string& text : texts)
            for (size_t i = 1; i < text.size(); ++i, ++count) {
                const size_t n = std::min(i, order - 1);
                sum -= std::log(probability(text.substr(i - n, n), text[i]));
            }
        return sum / count;
    }

  private:
    std::map<std::string, int> followed_, followed_by_;
    std::map<std::string, std::set<char>> distinct_;
};

std::vector<std::string> random_texts(uint64_t seed, size_t count) {
    const RngStream random(seed, RngPurpose::test, "texts");
    std::vector<std::string> texts;
    for (size_t d = 0; d < count; ++d) {
        std::string text;
        for (uint64_t i = 0; i < random.bits(d) % 60; ++i)
            text += static_cast<char>('a' + random.bits(d, i + 1) % 64 % 7);
        texts.push_back(text);
    }
    return texts;
}

TEST(entropy, equals_a_plain_reading_of_the_definition) {
    const test::TemporaryFolder folder;
    const auto fitted = random_texts(1, 40);
    auto measured = random_texts(2, 20);
    measured.push_back("unseen bytes \xff\xfe and contexts");
    test::write_texts(folder / "fitted.h5", fitted);
    test::write_texts(folder / "measured.h5", measured);
    const NgramEntropy found =
        ngram_entropy(TokenFile(folder / "fitted.h5"), TokenFile(folder / "measured.h5"));
    const PlainWittenBell plain(fitted);
    EXPECT_NEAR(found.unigram, plain.entropy(measured, 1), 1e-12);
    EXPECT_NEAR(found.bigram, plain.entropy(measured, 2), 1e-12);
    EXPECT_NEAR(found.trigram, plain.entropy(measured, 3), 1e-12);
}

TEST(entropy, contexts_do_not_cross_documents) {
    const test::TemporaryFolder folder;
    // Within documents 'b' always follows 'a'; across them 'a' follows 'b'. Joined, both would be learned.
    test::write_texts(folder / "split.h5", std::vector<std::string>(100, "ab"));
    const TokenFile split(folder / "split.h5");
    const NgramEntropy found = ngram_entropy(split, split);
    EXPECT_EQ(found.num_predicted, 100);
    const double p1 = (100 + 2 * (1.0 / 256)) / 202;
    EXPECT_NEAR(found.unigram, -std::log(p1), 1e-12);
    EXPECT_NEAR(found.bigram, -std::log((100 + p1) / 101), 1e-12);
    EXPECT_NEAR(found.trigram, found.bigram, 1e-12);
}

TEST(entropy, other_vocabularies_and_nothing_to_predict_are_refused) {
    const test::TemporaryFolder folder;
    test::write_texts(folder / "a.h5", {"abc"});
    test::write_texts(folder / "single.h5", {"a", "b", ""});
    test::write_counting(folder / "other.h5", {10});
    const TokenFile good(folder / "a.h5"), single(folder / "single.h5"), other(folder / "other.h5");
    EXPECT_THROW(ngram_entropy(good, other), DataError);
    EXPECT_THROW(ngram_entropy(other, good), DataError);
    EXPECT_THROW(ngram_entropy(good, single), DataError);
}

} // namespace
} // namespace braid
