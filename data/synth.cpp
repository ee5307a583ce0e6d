#include "data/synth.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "data/publish_both.h"
#include "data/tokenizer.h"

namespace braid {
namespace {

constexpr int32_t kSeparator = 255, kStart = 254;
constexpr int64_t kMostPairs = 128, kMostSymbols = 254;
constexpr uint64_t kMostDraws = 1000; // of one test document

/// Tokens, and whether each is an answer.
struct SyntheticDocument {
    std::vector<int32_t> tokens;
    std::vector<bool> is_answer;

    void add(int32_t token, bool answer = false) {
        tokens.push_back(token);
        is_answer.push_back(answer);
    }
};

/// The random numbers of one document: below(n) is uniform below n, but for a bias of n / 2^64.
class Draws {
  public:
    Draws(const RngStream& stream, uint64_t document) : stream_(stream), document_(document) {}
    int64_t below(int64_t n) {
        return static_cast<int64_t>(stream_.bits(next_++, document_) % static_cast<uint64_t>(n));
    }
    /// 0 .. n - 1 in a random order (Fisher-Yates).
    std::vector<int32_t> permutation(int64_t n) {
        std::vector<int32_t> order(static_cast<size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        for (int64_t i = n - 1; i > 0; --i)
            std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(below(i + 1))]);
        return order;
    }

  private:
    const RngStream& stream_;
    uint64_t document_, next_ = 0;
};

SyntheticDocument recall(const SyntheticOptions& options, Draws& draws) {
    SyntheticDocument document;
    std::vector<int32_t> keys = draws.permutation(kMostPairs), values;
    keys.resize(static_cast<size_t>(options.pairs));
    for (const int32_t key : keys) {
        values.push_back(static_cast<int32_t>(128 + draws.below(128)));
        document.add(key);
        document.add(values.back());
    }
    std::vector<int32_t> order;
    for (int64_t i = 0; i < (options.length - 2 * options.pairs) / 2; ++i) {
        if (order.empty()) order = draws.permutation(options.pairs);
        const auto asked = static_cast<size_t>(order.back());
        order.pop_back();
        document.add(keys[asked]);
        document.add(values[asked], true);
    }
    return document;
}

SyntheticDocument copy(const SyntheticOptions& options, Draws& draws) {
    SyntheticDocument document;
    std::vector<int32_t> symbols;
    for (int64_t i = 0; i < (options.length - 2) / 2; ++i)
        symbols.push_back(static_cast<int32_t>(draws.below(options.symbols)));
    document.add(kStart);
    for (const int32_t symbol : symbols) document.add(symbol);
    document.add(kSeparator);
    for (const int32_t symbol : symbols) document.add(symbol, true);
    return document;
}

SyntheticDocument parity(const SyntheticOptions& options, Draws& draws) {
    SyntheticDocument document;
    // Of all lengths: what is learnt on short ones leads to long ones, and nothing else does.
    const int64_t most = options.length - 2, count = 1 + draws.below(most);
    for (int64_t i = count; i < most; ++i) document.add(' ');
    int64_t ones = 0;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t bit = draws.below(2);
        ones += bit;
        document.add(static_cast<int32_t>('0' + bit));
    }
    document.add('=');
    document.add(static_cast<int32_t>('0' + ones % 2), true);
    return document;
}

SyntheticDocument make_document(const SyntheticOptions& options, const RngStream& stream, uint64_t number) {
    Draws draws(stream, number);
    switch (options.task) {
        case SyntheticTask::recall:
            return recall(options, draws);
        case SyntheticTask::copy:
            return copy(options, draws);
        case SyntheticTask::parity:
            return parity(options, draws);
    }
    throw InternalError("a task without documents");
}

void add(TokenFileWriter& file, const SyntheticDocument& document) {
    for (size_t begin = 0, end; begin < document.tokens.size(); begin = end) {
        for (end = begin + 1;
             end < document.tokens.size() && document.is_answer[end] == document.is_answer[begin];)
            ++end;
        file.add_tokens(std::span(document.tokens).subspan(begin, end - begin), document.is_answer[begin]);
    }
    file.end_document(static_cast<int64_t>(document.tokens.size()));
}

void check_options(const SyntheticOptions& o) {
    const auto expect = [](const char* option, int64_t found, int64_t least, int64_t most) {
        if (found < least || found > most)
            throw ConfigError("{}: expected a number from {} to {}, found {}", option, least, most, found);
    };
    constexpr int64_t kLongest = 1 << 24, kMostDocuments = 1 << 24;
    expect("--documents", o.documents, 1, kMostDocuments);
    expect("--test-documents", o.test_documents, 1, kMostDocuments);
    if (o.task == SyntheticTask::recall) {
        expect("--pairs", o.pairs, 1, kMostPairs);
        expect("--length", o.length, 2 * o.pairs + 2, kLongest);
    } else {
        expect("--length", o.length, o.task == SyntheticTask::copy ? 4 : 3, kLongest);
    }
    if (o.task == SyntheticTask::copy) expect("--symbols", o.symbols, 2, kMostSymbols);
    if (o.task != SyntheticTask::parity && o.length % 2 != 0)
        throw ConfigError("--length: expected an even number, found {}", o.length);
    if (o.output == o.test_output) throw ConfigError("--test: '{}' is the output itself", o.test_output);
}

} // namespace

SyntheticResult write_synthetic(const SyntheticOptions& options) {
    check_options(options);
    const auto identity = make_tokenizer("bytes")->identity();
    TokenFileWriter train(options.output, identity, options.overwrite),
        test(options.test_output, identity, options.overwrite);
    const RngStream train_stream(options.seed, RngPurpose::synthesis, "train"),
        test_stream(options.seed, RngPurpose::synthesis, "test");
    std::vector<uint64_t> trained_on; // hashes, as documents may be many and long
    const auto hash_of = [](const SyntheticDocument& document) {
        return stable_hash(std::string(document.tokens.begin(), document.tokens.end()));
    };
    for (int64_t i = 0; i < options.documents; ++i) {
        const SyntheticDocument document = make_document(options, train_stream, static_cast<uint64_t>(i));
        trained_on.push_back(hash_of(document));
        add(train, document);
    }
    std::sort(trained_on.begin(), trained_on.end());
    uint64_t number = 0;
    for (int64_t i = 0; i < options.test_documents; ++i) {
        SyntheticDocument document = make_document(options, test_stream, number++);
        for (uint64_t draw = 0; std::binary_search(trained_on.begin(), trained_on.end(), hash_of(document));
             ++draw) {
            if (draw == kMostDraws)
                throw ConfigError(
                    "--length: documents of {} tokens are so few that all are in the training file; make "
                    "them "
                    "longer, or fewer than {}",
                    options.length, options.documents);
            document = make_document(options, test_stream, number++);
        }
        add(test, document);
    }
    const SyntheticResult result{train.write(), test.write()};
    publish_both(test, train);
    return result;
}

} // namespace braid
