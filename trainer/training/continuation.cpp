#include "trainer/training/continuation.h"

#include <cmath>
#include <limits>

#include "base/rng.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "tensor/host_values.h"

namespace braid {
namespace {

/// A token and how it scored.
struct Best {
    double score = -std::numeric_limits<double>::infinity();
    int64_t token = 0;
};

/// The best of this rank's words, whose first has the id `first`; the lower id of equals.
template <typename T>
Best best_word(std::span<const T> logits, int64_t first, int64_t num_ids, double temperature,
               const RngStream& random, uint64_t place) {
    Best best;
    for (size_t v = 0; v < logits.size(); ++v) {
        const int64_t token = first + static_cast<int64_t>(v);
        if (token >= num_ids) break;
        double score = static_cast<double>(logits[v]);
        if (temperature > 0)
            score = score / temperature -
                    std::log(-std::log(random.uniform(static_cast<uint64_t>(token), place)));
        if (score > best.score) best = {score, token};
    }
    return best;
}

/// The best of all ranks that hold parts of the vocabulary.
int64_t best_of_ranks(const Mesh& mesh, const Best& mine) {
    const double pair[] = {mine.score, static_cast<double>(mine.token)};
    const std::vector<double> all = all_gather_equal(mesh.axis(Axis::tensor), pair);
    size_t best = 0;
    for (size_t r = 2; r < all.size(); r += 2)
        if (all[r] > all[best]) best = r;
    return static_cast<int64_t>(all[best + 1]);
}

/// The texts so far, as one row.
DocumentsPtr documents_of(const std::vector<std::vector<int32_t>>& texts, std::vector<int32_t>* row) {
    auto documents = std::make_shared<Documents>();
    documents->offsets = {0};
    row->clear();
    for (const std::vector<int32_t>& text : texts) {
        row->insert(row->end(), text.begin(), text.end());
        documents->offsets.push_back(static_cast<int32_t>(row->size()));
    }
    return documents;
}

} // namespace

std::vector<std::string> continue_texts(const Model& model, Allocator& allocator, const Mesh& mesh,
                                        const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                                        const ContinuationOptions& options,
                                        const StopRequested& stop_requested) {
    std::vector<std::vector<int32_t>> texts, drawn(prompts.size());
    std::vector<RngStream> random;
    for (const std::string& prompt : prompts) {
        random.emplace_back(options.seed, RngPurpose::sampling, fmt::format("prompt {}", random.size()));
        texts.push_back(encode(tokenizer, prompt));
    }
    Allocator host;
    std::vector<int32_t> row;
    for (int64_t i = 0; i < options.tokens; ++i) {
        agree(mesh.world(), [&] {
            if (stop_requested && stop_requested()) throw Error(ExitCode::stopped, "stopped by a signal");
        });
        LayerContext ctx;
        ctx.allocator = &allocator;
        ctx.mesh = &mesh;
        ctx.documents = documents_of(texts, &row);
        const Tensor hidden = model.hidden(ctx, tensor_of(allocator, row));
        for (size_t p = 0; p < texts.size(); ++p) {
            const int64_t last = ctx.documents->offsets[p + 1] - 1;
            const Tensor logits = to_device(host, model.logits(ctx, hidden.rows(last, 1)));
            const Best mine = dispatch_float(logits.dtype(), [&]<typename T>() {
                return best_word<T>(logits.span<T>(), model.first_word(), tokenizer.identity().vocab_size,
                                    options.temperature, random[p], static_cast<uint64_t>(i));
            });
            const auto token = static_cast<int32_t>(best_of_ranks(mesh, mine));
            texts[p].push_back(token);
            drawn[p].push_back(token);
        }
    }
    std::vector<std::string> continuations;
    for (const std::vector<int32_t>& tokens : drawn) continuations.push_back(tokenizer.decode(tokens));
    return continuations;
}

} // namespace braid
