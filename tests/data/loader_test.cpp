#include "data/prefetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"

namespace braid {
namespace {

using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kVocab = 1 << 20;

DataConfig config_of(std::vector<DataSource> sources, uint64_t seed = 5) {
    DataConfig config;
    config.train = std::move(sources);
    config.seed = seed;
    return config;
}

/// Documents of many odd lengths, also 0 and 1; about 4,000 tokens.
std::vector<int64_t> ragged_lengths() {
    std::vector<int64_t> lengths{0, 0, 1};
    for (int64_t i = 0; i < 150; ++i) lengths.push_back(i * i * 7 % 53);
    lengths.insert(lengths.end(), {300, 0, 1, 1, 0});
    return lengths;
}

void expect_equal(const MicroBatch& a, const MicroBatch& b) {
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.labels, b.labels);
    EXPECT_EQ(a.extra_labels, b.extra_labels);
    EXPECT_EQ(a.document_offsets, b.document_offsets);
    EXPECT_EQ(a.num_sequences, b.num_sequences);
    EXPECT_EQ(a.sequence_length, b.sequence_length);
    EXPECT_EQ(a.num_valid_labels, b.num_valid_labels);
}

/// Everything a batch promises, recomputed token by token from the borders. Tokens are their own offsets.
void expect_consistent(const MicroBatch& batch, const TokenFile& file, int extra_depths) {
    const std::vector<int64_t>& offsets = file.document_offsets();
    const auto document_of = [&](int64_t token) {
        return std::upper_bound(offsets.begin(), offsets.end(), token) - offsets.begin();
    };
    const auto n = static_cast<int64_t>(batch.tokens.size());
    ASSERT_EQ(n, batch.num_sequences * batch.sequence_length);
    ASSERT_EQ(batch.labels.size(), batch.tokens.size());
    ASSERT_EQ(static_cast<int>(batch.extra_labels.size()), extra_depths);
    std::set<int32_t> borders{0, static_cast<int32_t>(n)};
    int64_t num_valid = 0;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t token = batch.tokens[static_cast<size_t>(i)];
        if (i % batch.sequence_length == 0 || document_of(token) != document_of(token - 1))
            borders.insert(static_cast<int32_t>(i));
        else
            EXPECT_EQ(token, batch.tokens[static_cast<size_t>(i - 1)] + 1);
        for (int depth = 1; depth <= 1 + extra_depths; ++depth) {
            const bool valid =
                token + depth < file.num_tokens() && document_of(token) == document_of(token + depth);
            const auto& labels =
                depth == 1 ? batch.labels : batch.extra_labels[static_cast<size_t>(depth - 2)];
            ASSERT_EQ(labels[static_cast<size_t>(i)], valid ? token + depth : -1)
                << "token " << token << " depth " << depth;
            num_valid += valid && depth == 1;
        }
    }
    EXPECT_EQ(batch.document_offsets, std::vector<int32_t>(borders.begin(), borders.end()));
    EXPECT_EQ(batch.num_valid_labels, num_valid);
}

TEST(loader, batches_hold_what_they_promise) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", ragged_lengths());
    for (const int64_t length : {1, 2, 7, 64, 1000})
        for (const int extra : {0, 1, 3}) {
            TrainLoader loader(config_of({{folder / "a.h5"}}), {length, kVocab, extra});
            ASSERT_EQ(loader.num_windows(0), loader.source(0).num_tokens() / length);
            const MicroBatch batch = loader.micro_batch(0, loader.num_windows(0));
            expect_consistent(batch, loader.source(0), extra);
            EXPECT_EQ(loader.num_valid_labels(0, loader.num_windows(0)), batch.num_valid_labels);
            for (int depth = 2; depth <= 1 + extra; ++depth) {
                const auto& labels = batch.extra_labels[static_cast<size_t>(depth - 2)];
                EXPECT_EQ(loader.num_valid_labels(0, loader.num_windows(0), depth),
                          std::ssize(labels) - std::count(labels.begin(), labels.end(), -1));
            }
        }
}

TEST(loader, every_window_comes_once_per_epoch_in_an_order_of_its_own) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", ragged_lengths());
    TrainLoader loader(config_of({{folder / "a.h5"}}), {16, kVocab});
    const int64_t num_windows = loader.num_windows(0);
    std::set<std::vector<int32_t>> orders;
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
        std::vector<int32_t> starts;
        for (int64_t i = 0; i < num_windows; ++i)
            starts.push_back(loader.micro_batch(epoch * num_windows + i, 1).tokens[0] / 16);
        orders.insert(starts);
        std::sort(starts.begin(), starts.end());
        std::vector<int32_t> all(static_cast<size_t>(num_windows));
        std::iota(all.begin(), all.end(), 0);
        EXPECT_EQ(starts, all) << "epoch " << epoch;
    }
    EXPECT_EQ(orders.size(), 4u);
}

TEST(loader, samples_do_not_depend_on_who_asks_nor_in_which_order) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", ragged_lengths());
    test::write_counting(folder / "b.h5", {500, 20, 77}, 100000);
    const DataConfig config = config_of({{folder / "a.h5", 2}, {folder / "b.h5", 0.7}});
    TrainLoader whole(config, {32, kVocab, 1});
    const MicroBatch expected = whole.micro_batch(1000, 24);
    for (const int num_ranks : {1, 2, 3, 4})
        for (const int64_t micro : {1, 2, 5}) {
            MicroBatch joined;
            std::map<int64_t, std::vector<int32_t>> tokens, labels;
            // The last rank first, each with a loader of its own that has seen other samples before.
            for (int rank = num_ranks - 1; rank >= 0; --rank) {
                TrainLoader loader(config, {32, kVocab, 1});
                loader.micro_batch(rank, 3);
                const int64_t begin = 1000 + 24 * rank / num_ranks, end = 1000 + 24 * (rank + 1) / num_ranks;
                for (int64_t first = begin; first < end; first += micro) {
                    const MicroBatch batch = loader.micro_batch(first, std::min(micro, end - first));
                    tokens[first] = batch.tokens;
                    labels[first] = batch.labels;
                }
            }
            std::vector<int32_t> all_tokens, all_labels;
            for (const auto& [first, part] : tokens)
                all_tokens.insert(all_tokens.end(), part.begin(), part.end());
            for (const auto& [first, part] : labels)
                all_labels.insert(all_labels.end(), part.begin(), part.end());
            EXPECT_EQ(all_tokens, expected.tokens) << num_ranks << " ranks, micro-batch " << micro;
            EXPECT_EQ(all_labels, expected.labels);
        }
}

TEST(loader, prefetched_batches_equal_direct_ones) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", ragged_lengths());
    const DataConfig config = config_of({{folder / "a.h5"}});
    const auto direct = std::make_shared<const TrainLoader>(config, LoaderOptions{16, kVocab});
    Prefetcher prefetching(direct);
    for (int64_t first = 0; first < 400; first += 4) {
        // More than fit, some asked twice, some never taken.
        for (int64_t ahead = 0; ahead < 100; ahead += 3) prefetching.prefetch(first + ahead, 4);
        expect_equal(prefetching.micro_batch(first, 4), direct->micro_batch(first, 4));
    }
    for (int64_t i = 0; i < 3 * static_cast<int64_t>(Prefetcher::kMaxPrefetched); ++i)
        prefetching.prefetch(i, 2);
    for (int64_t i = 0; i < 3 * static_cast<int64_t>(Prefetcher::kMaxPrefetched); ++i)
        expect_equal(prefetching.micro_batch(i, 2, [] { return false; }), direct->micro_batch(i, 2));
}

TEST(loader, an_empty_range_is_an_empty_batch) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", {100});
    TrainLoader loader(config_of({{folder / "a.h5"}}), {16, kVocab});
    const MicroBatch batch = loader.micro_batch(7, 0);
    EXPECT_TRUE(batch.tokens.empty());
    EXPECT_THAT(batch.document_offsets, ElementsAre(0));
    EXPECT_EQ(batch.sequence_length, 16);
    EXPECT_EQ(loader.num_valid_labels(7, 0), 0);
    EXPECT_THROW(loader.micro_batch(0, INT32_MAX), InternalError);
}

TEST(loader, blended_sources_come_in_proportion_and_each_in_epochs) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", {1600});
    test::write_counting(folder / "b.h5", {320}, 10000);
    test::write_counting(folder / "c.h5", {160}, 20000);
    TrainLoader loader(config_of({{folder / "a.h5", 3}, {folder / "b.h5", 6}, {folder / "c.h5", 1}}),
                       {16, kVocab});
    const std::array<double, 3> shares{0.3, 0.6, 0.1}, num_windows{100, 20, 10};
    std::vector<int64_t> seen(3, 0);
    std::map<int32_t, int> times;
    for (int64_t sample = 0; sample < 1000; ++sample) {
        const int32_t first = loader.micro_batch(sample, 1).tokens[0];
        ++seen[static_cast<size_t>(first / 10000)];
        ++times[first];
        // Even interleaving keeps each source within two samples of its share at every moment.
        for (size_t k = 0; k < 3; ++k)
            EXPECT_NEAR(static_cast<double>(seen[k]), shares[k] * static_cast<double>(sample + 1), 2.0);
    }
    // Sources have 100, 20 and 10 windows: about 3, 30 and 10 epochs. No window is an epoch ahead of another.
    for (const auto& [first, count] : times) {
        const size_t k = static_cast<size_t>(first / 10000);
        const double epochs = static_cast<double>(seen[k]) / num_windows[k];
        EXPECT_GE(count, std::floor(epochs)) << first;
        EXPECT_LE(count, std::ceil(epochs)) << first;
    }
    EXPECT_EQ(times.size(), 130u);
    EXPECT_NEAR(loader.epochs(1, 1000), 30, 1e-9);
}

TEST(loader, the_seed_and_the_fingerprint_decide_the_order) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", ragged_lengths());
    std::filesystem::copy_file(folder / "a.h5", folder / "copy.h5");
    const LoaderOptions options{16, kVocab};
    TrainLoader a(config_of({{folder / "a.h5"}}), options),
        copy(config_of({{folder / "copy.h5", 9}}), options),
        other_seed(config_of({{folder / "a.h5"}}, 6), options),
        longer(config_of({{folder / "a.h5"}}), {17, kVocab});
    expect_equal(a.micro_batch(0, 50), copy.micro_batch(0, 50));
    EXPECT_NE(a.micro_batch(0, 50).tokens, other_seed.micro_batch(0, 50).tokens);
    EXPECT_NE(a.fingerprint(), other_seed.fingerprint());
    EXPECT_NE(a.fingerprint(), longer.fingerprint());
    EXPECT_EQ(a.fingerprint(), TrainLoader(config_of({{folder / "copy.h5"}}), options).fingerprint());
    EXPECT_EQ(a.fingerprint().size(), 64u);
}

TEST(loader, bad_sources_are_refused_at_once) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", {100});
    test::write_texts(folder / "bytes.h5", {std::string(100, 'x')});
    const auto refusal = [&](const DataConfig& config, const LoaderOptions& options) -> std::string {
        try {
            TrainLoader loader(config, options);
            return "no error";
        } catch (const DataError& error) {
            return error.what();
        }
    };
    EXPECT_THAT(refusal(config_of({{folder / "missing.h5"}}), {16, kVocab}),
                HasSubstr("missing.h5: cannot open"));
    EXPECT_THAT(refusal(config_of({{folder / "a.h5"}}), {101, kVocab}), HasSubstr("sequence_length = 101"));
    EXPECT_THAT(refusal(config_of({{folder / "a.h5"}}), {16, 256}), HasSubstr("model.vocab_size = 256"));
    EXPECT_THAT(refusal(config_of({{folder / "a.h5"}, {folder / "bytes.h5"}}), {16, kVocab}),
                HasSubstr("bytes.h5: expected the tokenizer 'test'"));
    std::string content = test::read_file(folder / "bytes.h5");
    content[content.find("xxxx")] = 'y';
    test::write_file(folder / "flipped.h5", content);
    EXPECT_THAT(refusal(config_of({{folder / "flipped.h5"}}), {16, kVocab}),
                HasSubstr("fingerprint: expected"));
    EXPECT_THROW(TrainLoader(config_of({}), {16, kVocab}), ConfigError);
    EXPECT_THROW(TrainLoader(config_of({{folder / "a.h5", 0}}), {16, kVocab}), ConfigError);
}

TEST(loader, a_token_outside_the_vocabulary_is_found_when_its_batch_is_made) {
    const TemporaryFolder folder;
    const std::string path = folder / "a.h5";
    test::write_tokens(path, test::test_identity(100), {64},
                       [](int64_t i) { return static_cast<int32_t>(i); });
    const auto loader = std::make_shared<const TrainLoader>(config_of({{path}}), LoaderOptions{16, kVocab});
    Prefetcher prefetcher(loader);
    const size_t at =
        test::read_file(path).find("\x24\x25\x26"); // tokens 36, 37, 38; changed after it was verified
    ASSERT_NE(at, std::string::npos);
    std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
        .seekp(static_cast<std::streamoff>(at) + 1)
        .put(100);
    for (const bool prefetched : {false, true}) {
        if (prefetched) prefetcher.prefetch(0, 4);
        try {
            prefetcher.micro_batch(0, 4, [] { return false; });
            FAIL() << "the token passed";
        } catch (const DataError& error) {
            EXPECT_THAT(error.what(),
                        HasSubstr("a.h5: token 100 at offset 37 is outside the vocabulary of 100 ids"));
        }
    }
}

TEST(validation_loader, windows_come_in_order_and_the_last_is_filled_up) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", {5, 0, 12, 6});
    const ValidationLoader loader(folder / "a.h5", {10, kVocab});
    ASSERT_EQ(loader.num_windows(), 3);
    const MicroBatch batch = loader.micro_batch(0, 3);
    for (int i = 0; i < 30; ++i) EXPECT_EQ(batch.tokens[static_cast<size_t>(i)], i < 23 ? i : 0);
    EXPECT_THAT(batch.document_offsets, ElementsAre(0, 5, 10, 17, 20, 23, 30));
    std::vector<int32_t> expected;
    for (int i = 0; i < 30; ++i) expected.push_back(i == 4 || i == 16 || i >= 22 ? -1 : i + 1);
    EXPECT_EQ(batch.labels, expected);
    EXPECT_EQ(batch.num_valid_labels, 20);
    EXPECT_EQ(loader.num_valid_labels(0, 3), 20);
    EXPECT_EQ(loader.num_valid_labels(2, 1), 2);
    EXPECT_EQ(loader.num_label_bytes(0, 3), 40); // two bytes a token
    EXPECT_THROW(loader.micro_batch(2, 2), InternalError);
}

TEST(validation_loader, tokens_that_are_masked_are_no_labels) {
    const TemporaryFolder folder;
    TokenFileWriter writer(folder / "a.h5", test::test_identity(1 << 20));
    const auto add = [&](std::vector<int32_t> tokens, bool counts) { writer.add_tokens(tokens, counts); };
    add({0, 1, 2, 3}, false);
    add({4, 5}, true); // an answer in the middle of a document
    add({6, 7}, false);
    writer.end_document(16);
    add({8, 9, 10}, true); // its first token has nothing before it
    writer.end_document(6);
    writer.finish();
    TokenFile(folder / "a.h5").verify();
    const ValidationLoader loader(folder / "a.h5", {5, kVocab});
    const MicroBatch batch = loader.micro_batch(0, 3);
    EXPECT_THAT(batch.labels, ElementsAre(-1, -1, -1, 4, 5, -1, -1, -1, 9, 10, -1, -1, -1, -1, -1));
    EXPECT_EQ(batch.num_valid_labels, 4);
    EXPECT_EQ(loader.num_valid_labels(0, 3), 4);
    EXPECT_EQ(loader.num_valid_labels(0, 1), 2);
    EXPECT_EQ(loader.num_valid_labels(2, 1), 0);
    EXPECT_EQ(loader.num_label_bytes(0, 3), 2 * 2 + 2 * 2); // two bytes a token in both documents
    // Two tokens ahead: 4, 5, and 10.
    const TrainLoader train(config_of({{folder / "a.h5"}}),
                            {.sequence_length = 5, .vocab_size = kVocab, .extra_depths = 1});
    EXPECT_EQ(train.num_valid_labels(0, 2, 2), 3);
}

TEST(validation_loader, a_mask_that_is_none_is_refused) {
    const TemporaryFolder folder;
    TokenFileWriter writer(folder / "a.h5", test::test_identity(100));
    const std::vector<int32_t> tokens(40, 7);
    writer.add_tokens(tokens, false);
    writer.add_tokens(tokens, true);
    writer.end_document(80);
    writer.finish();
    const test::ProcessResult made =
        test::run_python("import h5py, sys\nwith h5py.File(sys.argv[1], 'r+') as f: f['loss_mask'][33] = 2\n",
                         folder / "a.h5");
    ASSERT_EQ(made.exit_code, 0) << made.output;
    try {
        ValidationLoader(folder / "a.h5", {10, kVocab});
        ADD_FAILURE() << "expected an error";
    } catch (const DataError& error) {
        EXPECT_THAT(error.what(), HasSubstr("a.h5: loss_mask at offset 33: expected 0 or 1, found 2"));
    }
}

TEST(validation_loader, the_number_of_tokens_is_capped_in_whole_windows) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", {95});
    const auto num_windows = [&](int64_t max_tokens) {
        return ValidationLoader(folder / "a.h5", {10, kVocab}, max_tokens).num_windows();
    };
    EXPECT_EQ(num_windows(0), 10);
    EXPECT_EQ(num_windows(1), 1);
    EXPECT_EQ(num_windows(39), 3);
    EXPECT_EQ(num_windows(40), 4);
    EXPECT_EQ(num_windows(1000000), 10);
}

TEST(validation_loader, a_set_without_labels_is_refused) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", {1, 1, 0, 1});
    EXPECT_THROW(ValidationLoader(folder / "a.h5", {2, kVocab}), DataError);
}

TEST(loader, a_file_without_labels_is_refused_and_a_sample_without_is_not) {
    const TemporaryFolder folder;
    test::write_counting(folder / "some.h5", {1, 1, 2});
    test::write_counting(folder / "none.h5", {1, 1, 0, 1});
    for (const DataConfig& config :
         {config_of({{folder / "none.h5"}}), config_of({{folder / "some.h5"}, {folder / "none.h5"}})})
        try {
            TrainLoader loader(config, {2, kVocab});
            ADD_FAILURE() << "expected an error";
        } catch (const DataError& error) {
            EXPECT_THAT(error.what(),
                        HasSubstr("none.h5: no document of its 3 tokens has two, so nothing is predicted"));
        }
    TrainLoader loader(config_of({{folder / "some.h5"}}), {2, kVocab});
    for (int64_t sample : {0, 1}) expect_consistent(loader.micro_batch(sample, 1), loader.source(0), 0);
    EXPECT_EQ(loader.num_valid_labels(0, 2), 1);
}

TEST(loader, two_entries_of_a_file_come_in_orders_of_their_own) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", ragged_lengths());
    std::filesystem::copy_file(folder / "a.h5", folder / "copy.h5");
    test::write_counting(folder / "b.h5", ragged_lengths(), 7);
    const LoaderOptions options{16, kVocab};
    const auto orders = [&](TrainLoader& loader) {
        std::vector<std::vector<int64_t>> windows(static_cast<size_t>(loader.num_sources()));
        for (int64_t sample = 0; sample < 1200; ++sample) {
            const auto [source, window] = loader.locate(sample);
            windows[static_cast<size_t>(source)].push_back(window);
        }
        return windows;
    };
    TrainLoader thrice(
        config_of({{folder / "a.h5"}, {folder / "b.h5"}, {folder / "copy.h5"}, {folder / "a.h5"}}), options);
    EXPECT_EQ(thrice.order(), 2);
    const auto second = orders(thrice);
    EXPECT_NE(second[0], second[2]);
    EXPECT_NE(second[0], second[3]);
    EXPECT_NE(second[2], second[3]);
    for (const int64_t k : {0, 2, 3}) { // still each window once per epoch
        const auto begin = second[static_cast<size_t>(k)].begin();
        EXPECT_EQ(std::set<int64_t>(begin, begin + thrice.num_windows(0)).size(),
                  static_cast<size_t>(thrice.num_windows(0)));
    }
    // A run that began with order 1 keeps it, and what a file named once gives is the same in both.
    const std::string fingerprint = thrice.fingerprint();
    thrice.set_order(1);
    const auto first = orders(thrice);
    EXPECT_EQ(first[0], first[2]);
    EXPECT_EQ(first[0], first[3]);
    EXPECT_EQ(first[0], second[0]);
    EXPECT_EQ(first[1], second[1]);
    EXPECT_NE(thrice.fingerprint(), fingerprint);
    TrainLoader once(config_of({{folder / "a.h5"}, {folder / "b.h5"}}), options);
    const std::string same = once.fingerprint();
    once.set_order(1);
    EXPECT_EQ(once.fingerprint(), same);
}

// Sample i is sample i of the order plus what was left out at or before it.
TEST(loader, samples_left_out_move_what_follows_up) {
    const TemporaryFolder folder;
    test::write_counting(folder / "a.h5", std::vector<int64_t>(20, 40));
    test::write_counting(folder / "b.h5", std::vector<int64_t>(20, 40), 1000);
    const DataConfig config = config_of({{folder / "a.h5", 1}, {folder / "b.h5", 2}});
    const LoaderOptions options{16, kVocab};
    const TrainLoader whole(config, options);
    TrainLoader gapped(config, options);
    gapped.leave_out({{3, 4}, {3, 1}, {10, 2}});
    const std::vector<int64_t> places{0, 1, 2, 8, 9, 10, 11, 12, 13, 14, 17, 18};
    for (size_t i = 0; i < places.size(); ++i) {
        SCOPED_TRACE(i);
        const auto sample = static_cast<int64_t>(i);
        expect_equal(gapped.micro_batch(sample, 1), whole.micro_batch(places[i], 1));
        EXPECT_EQ(gapped.num_valid_labels(sample, 1), whole.num_valid_labels(places[i], 1));
        // What is left out just before a sample is counted only when that sample has been taken.
        EXPECT_EQ(gapped.taken(sample + 1), whole.taken(places[i] + 1));
    }
    EXPECT_EQ(gapped.taken(0), whole.taken(0));
    EXPECT_EQ(gapped.fingerprint(), whole.fingerprint());
}

} // namespace
} // namespace braid
