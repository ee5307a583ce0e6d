#include "trainer/inference/requests.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "data/byte_stream.h"
#include "data/json_strings.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "tensor/host_values.h"

namespace braid {
namespace {

constexpr int64_t kMaxRequestBytes = int64_t{64} << 20;
constexpr int64_t kLogitBytes = int64_t{64} << 20; // that exist at once

/// One row of tokens with the requests in it as documents. The last token of a continuation predicts nothing
/// and is left out.
struct PackedRequests {
    std::vector<int32_t> tokens, offsets{0};
    std::vector<int64_t> positions; // whose logits are wanted: those before each token of a continuation
    std::vector<int32_t> targets;   // these tokens

    void add(const Request& request) {
        const auto start = static_cast<int64_t>(tokens.size() + request.context.size());
        tokens.insert(tokens.end(), request.context.begin(), request.context.end());
        tokens.insert(tokens.end(), request.continuation.begin(), request.continuation.end() - 1);
        for (size_t i = 0; i < request.continuation.size(); ++i)
            positions.push_back(start - 1 + static_cast<int64_t>(i));
        targets.insert(targets.end(), request.continuation.begin(), request.continuation.end());
        offsets.push_back(static_cast<int32_t>(tokens.size()));
    }
};

int64_t num_inputs(const Request& request) {
    return static_cast<int64_t>(request.context.size() + request.continuation.size()) - 1;
}

struct TokenScore {
    double log_probability;
    bool is_likeliest;
};

template <typename T>
TokenScore score_token(std::span<const T> logits, int32_t target) {
    const auto likeliest = std::max_element(logits.begin(), logits.end()); // the first of equals
    const double largest = static_cast<double>(*likeliest);
    double sum = 0;
    for (const T logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
    return {static_cast<double>(logits[static_cast<size_t>(target)]) - largest - std::log(sum),
            likeliest - logits.begin() == target};
}

Tensor take_rows(Allocator& allocator, const Tensor& x, std::span<const int64_t> rows) {
    Tensor taken = Tensor::empty(allocator, {static_cast<int64_t>(rows.size()), x.dim(1)}, x.dtype());
    for (size_t i = 0; i < rows.size(); ++i) copy(x.rows(rows[i], 1), taken.rows(static_cast<int64_t>(i), 1));
    return taken;
}

/// One score for each target, in order.
std::vector<TokenScore> score_tokens(InferenceModel& model, const PackedRequests& packed) {
    LayerContext ctx;
    ctx.allocator = &model.allocator();
    ctx.documents = std::make_shared<const Documents>(Documents{packed.offsets});
    const Tensor hidden = model.model().hidden(ctx, tensor_of(*ctx.allocator, packed.tokens));
    Allocator host;

    const int64_t row_bytes =
        model.config().model.vocab_size * static_cast<int64_t>(size_of(accumulation_dtype(hidden.dtype())));
    const auto most = static_cast<size_t>(std::max<int64_t>(kLogitBytes / row_bytes, 1));
    std::vector<TokenScore> scores(packed.targets.size());
    for (size_t first = 0; first < scores.size(); first += most) {
        const size_t count = std::min(most, scores.size() - first);
        const std::span<const int64_t> positions = std::span(packed.positions).subspan(first, count);
        const Tensor logits =
            to_device(host, model.model().logits(ctx, take_rows(*ctx.allocator, hidden, positions)));
        dispatch_float(logits.dtype(), [&]<typename T>() {
            const auto vocabulary = static_cast<size_t>(logits.dim(1));
#pragma omp parallel for schedule(static)
            for (size_t i = 0; i < count; ++i)
                scores[first + i] =
                    score_token(std::span<const T>(logits.data<T>() + i * vocabulary, vocabulary),
                                packed.targets[first + i]);
        });
    }
    return scores;
}

} // namespace

std::vector<Request> read_requests(const std::string& path, const Tokenizer& tokenizer) {
    std::vector<Request> requests;
    LineReader lines(path, kMaxRequestBytes);
    std::string line;
    while (lines.next(&line)) {
        const size_t end = line.find_last_not_of(" \t\r\n");
        if (end == std::string::npos) continue;
        line.resize(end + 1);
        const auto refuse = [&](const std::string& problem) {
            throw DataError("{}: line {}: {}", input_name(path), lines.line_number(), problem);
        };
        const JsonStrings found = read_json_strings(line, {"context", "continuation"},
                                                    {"loglikelihood", "num_tokens", "is_greedy"});
        if (!found.problem.empty()) refuse(found.problem);
        Request request{.line = line,
                        .line_number = lines.line_number(),
                        .context = encode(tokenizer, found.values[0]),
                        .continuation = encode(tokenizer, found.values[1])};
        for (const auto& [key, tokens] :
             {std::pair("context", &request.context), std::pair("continuation", &request.continuation)})
            if (tokens->empty())
                refuse(fmt::format("'{}': expected at least one token, found an empty text", key));
        requests.push_back(std::move(request));
    }
    if (requests.empty()) throw DataError("{}: expected at least one request, found none", path);
    return requests;
}

std::vector<RequestScore> score_requests(InferenceModel& model, std::span<const Request> requests,
                                         int64_t batch_tokens, Communicator& group) {
    const EvenSplit split{static_cast<int64_t>(requests.size()), group.size()};
    const auto begin = static_cast<size_t>(split.first(group.rank())),
               end = begin + static_cast<size_t>(split.length(group.rank()));
    std::vector<double> sums(requests.size());           // each rank fills in its own and
    std::vector<int64_t> not_greedy(requests.size(), 0); // leaves the others 0
    agree(group, [&] {
        for (size_t first = begin, last; first < end; first = last) {
            PackedRequests packed;
            for (last = first; last < end; ++last) {
                if (last > first &&
                    static_cast<int64_t>(packed.tokens.size()) + num_inputs(requests[last]) > batch_tokens)
                    break;
                packed.add(requests[last]);
            }
            const std::vector<TokenScore> scores = score_tokens(model, packed);
            auto next = scores.begin();
            for (size_t r = first; r < last; ++r) {
                for (size_t i = 0; i < requests[r].continuation.size(); ++i, ++next) {
                    sums[r] += next->log_probability;
                    not_greedy[r] += !next->is_likeliest;
                }
                if (!std::isfinite(sums[r]))
                    throw NonFiniteError("the request of line {}: the log-likelihood is {}",
                                         requests[r].line_number, sums[r]);
            }
        }
    });
    all_reduce_sum(group, std::span(sums));
    all_reduce_sum(group, std::span(not_greedy));
    std::vector<RequestScore> scores;
    for (size_t r = 0; r < requests.size(); ++r) scores.push_back({sums[r], not_greedy[r] == 0});
    return scores;
}

std::string to_json_line(const Request& request, const RequestScore& score) {
    // The object as it stood, so that not a digit of its other values changes.
    return fmt::format("{},\"loglikelihood\":{},\"num_tokens\":{},\"is_greedy\":{}}}",
                       request.line.substr(0, request.line.size() - 1),
                       nlohmann::json(score.loglikelihood).dump(), request.continuation.size(),
                       score.is_greedy);
}

} // namespace braid
