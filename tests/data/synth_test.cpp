#include "data/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using test::TemporaryFolder;
using ::testing::HasSubstr;

struct ReadDocument {
    std::vector<int32_t> tokens;
    std::vector<uint8_t> mask;
};

std::vector<ReadDocument> documents_of(const std::string& path) {
    const TokenFile file(path);
    file.verify();
    std::vector<ReadDocument> documents;
    for (size_t d = 0; d + 1 < file.document_offsets().size(); ++d) {
        const int64_t begin = file.document_offsets()[d], length = file.document_offsets()[d + 1] - begin;
        ReadDocument document{std::vector<int32_t>(static_cast<size_t>(length)),
                              std::vector<uint8_t>(static_cast<size_t>(length))};
        file.read(begin, document.tokens);
        file.read_mask(begin, document.mask);
        documents.push_back(std::move(document));
    }
    return documents;
}

SyntheticOptions options_of(const TemporaryFolder& folder, SyntheticTask task, int64_t length) {
    return {.task = task,
            .pairs = 5,
            .length = length,
            .documents = 200,
            .test_documents = 50,
            .output = folder / "train.h5",
            .test_output = folder / "test.h5"};
}

TEST(synth, recall_asks_for_the_value_that_stood_behind_the_key) {
    const TemporaryFolder folder;
    write_synthetic(options_of(folder, SyntheticTask::recall, 30));
    for (const ReadDocument& document : documents_of(folder / "train.h5")) {
        ASSERT_EQ(document.tokens.size(), 30U);
        std::map<int32_t, int32_t> value_of;
        std::set<int32_t> asked;
        for (size_t i = 0; i < 30; i += 2) {
            const int32_t key = document.tokens[i], value = document.tokens[i + 1];
            EXPECT_EQ(document.mask[i], 0);
            EXPECT_EQ(document.mask[i + 1], i >= 10);
            if (i < 10) {
                EXPECT_TRUE(key < 128 && value >= 128 && value_of.emplace(key, value).second);
            } else {
                EXPECT_EQ(value_of.at(key), value);
                asked.insert(key);
            }
        }
        EXPECT_EQ(asked.size(), 5U); // ten questions ask for each key twice
    }
}

TEST(synth, copy_repeats_what_stood_before_the_separator) {
    const TemporaryFolder folder;
    write_synthetic(options_of(folder, SyntheticTask::copy, 20));
    for (const ReadDocument& document : documents_of(folder / "test.h5")) {
        ASSERT_EQ(document.tokens.size(), 20U);
        EXPECT_EQ(document.tokens[10], 255);
        for (size_t i = 0; i < 9; ++i) EXPECT_EQ(document.tokens[1 + i], document.tokens[11 + i]);
        for (size_t i = 0; i < 20; ++i) EXPECT_EQ(document.mask[i], i > 10);
    }
}

TEST(synth, parity_ends_with_whether_the_ones_are_odd) {
    const TemporaryFolder folder;
    write_synthetic(options_of(folder, SyntheticTask::parity, 18));
    int64_t odd = 0;
    std::set<size_t> lengths;
    for (const ReadDocument& document : documents_of(folder / "train.h5")) {
        ASSERT_EQ(document.tokens.size(), 18U);
        int32_t ones = 0;
        size_t spaces = 0;
        while (document.tokens[spaces] == ' ') ++spaces;
        lengths.insert(16 - spaces);
        for (size_t i = spaces; i < 16; ++i) {
            EXPECT_TRUE(document.tokens[i] == '0' || document.tokens[i] == '1');
            ones += document.tokens[i] == '1';
        }
        EXPECT_EQ(document.tokens[16], '=');
        EXPECT_EQ(document.tokens[17], '0' + ones % 2);
        for (size_t i = 0; i < 18; ++i) EXPECT_EQ(document.mask[i], i == 17);
        odd += ones % 2;
    }
    EXPECT_EQ(lengths.size(), 16U); // one of them is missing by a chance of 4e-5
    EXPECT_GT(odd, 50);             // of 200; fewer by a chance of 1e-13
    EXPECT_LT(odd, 150);
}

TEST(synth, files_follow_from_the_seed_and_share_no_document) {
    const TemporaryFolder folder;
    SyntheticOptions options = options_of(folder, SyntheticTask::parity, 10); // 510 documents there are
    options.documents = 100;
    const SyntheticResult first = write_synthetic(options);
    std::set<std::vector<int32_t>> trained_on;
    for (const ReadDocument& document : documents_of(folder / "train.h5")) trained_on.insert(document.tokens);
    for (const ReadDocument& document : documents_of(folder / "test.h5"))
        EXPECT_FALSE(trained_on.contains(document.tokens));
    options.overwrite = Overwrite::yes;
    EXPECT_EQ(write_synthetic(options).train.fingerprint, first.train.fingerprint);
    options.seed = 2;
    EXPECT_NE(write_synthetic(options).train.fingerprint, first.train.fingerprint);
}

TEST(synth, sizes_that_make_no_document_are_refused) {
    const TemporaryFolder folder;
    const auto error_of = [&](const SyntheticOptions& options) -> std::string {
        try {
            write_synthetic(options);
        } catch (const ConfigError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_THAT(error_of(options_of(folder, SyntheticTask::recall, 10)),
                HasSubstr("--length: expected a number from 12 to 16777216, found 10"));
    EXPECT_THAT(error_of(options_of(folder, SyntheticTask::recall, 31)),
                HasSubstr("expected an even number"));
    SyntheticOptions few = options_of(folder, SyntheticTask::parity, 4); // six documents there are
    EXPECT_THAT(error_of(few), HasSubstr("all are in the training file"));
    few.pairs = 129;
    few.task = SyntheticTask::recall;
    EXPECT_THAT(error_of(few), HasSubstr("--pairs: expected a number from 1 to 128, found 129"));
    EXPECT_FALSE(std::filesystem::exists(folder / "train.h5"));
}

} // namespace
} // namespace braid
