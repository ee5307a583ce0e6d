#include "trainer/inference/inference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/host_values.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_state.h"
#include "trainer/checkpoint/rank_state.h"
#include "trainer/checkpoint/stored_config.h"
#include "trainer/checkpoint/training_state.h"

namespace braid {
namespace {

std::vector<double> row_of(const Tensor& logits, int64_t row) {
    return dispatch_float(logits.dtype(), [&]<typename T>() {
        const std::vector<T> values = host_values<T>(logits.rows(row, 1));
        return std::vector<double>(values.begin(), values.end());
    });
}

} // namespace

InferenceModel::InferenceModel(const std::string& path, const Stream& compute) : allocator_(compute) {
    const CheckpointReader checkpoint = CheckpointReader::open(resolve_checkpoint(path));
    const Manifest& manifest = checkpoint.manifest();
    config_ = stored_run_config(manifest, checkpoint.folder());
    step_ = manifest.training.step;
    tokenizer_ = make_tokenizer(stored_tokenizer(manifest.training, config_.model.vocab_size));
    model_ = std::make_unique<Model>(config_.model, store_);
    // A forged config may ask for more memory than there is; the files bound what the manifest's shapes say.
    const TensorKind kinds[] = {TensorKind::parameter, TensorKind::buffer};
    std::vector<TensorInfo> wanted = state_tensors(store_, nullptr);
    for (TensorInfo& tensor : wanted)
        if (is_floating(tensor.dtype)) tensor.dtype = accumulation_dtype(config_.train.precision);
    checkpoint.expect(wanted, kinds);
    store_.allocate(allocator_, config_.train.precision, false);
    load_state(checkpoint, model_state(store_), kinds);
    store_.values_changed();
}

Tensor InferenceModel::logits(std::span<const int32_t> tokens) {
    LayerContext ctx;
    ctx.allocator = &allocator_;
    ctx.documents = Documents::single(static_cast<int64_t>(tokens.size()));
    return model_->logits(ctx, model_->hidden(ctx, tensor_of(allocator_, tokens)));
}

int32_t sample_token(std::span<const double> logits, const SamplingOptions& options, double uniform) {
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto likelier = [&](int32_t a, int32_t b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    };
    std::stable_sort(order.begin(), order.end(), likelier);
    if (options.temperature == 0) return order[0];
    std::vector<double> weights;
    const double largest = logits[static_cast<size_t>(order[0])];
    for (int32_t token : order)
        weights.push_back(std::exp((logits[static_cast<size_t>(token)] - largest) / options.temperature));
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    size_t kept = 0;
    double mass = 0;
    while (kept < weights.size() && (kept == 0 || mass < options.top_p * total)) mass += weights[kept++];
    double remaining = uniform * mass;
    for (size_t i = 0; i < kept; ++i) {
        remaining -= weights[i];
        if (remaining < 0) return order[i];
    }
    return order[kept - 1];
}

int64_t generate(InferenceModel& model, std::span<const int32_t> prompt, const SamplingOptions& options,
                 const std::function<void(int32_t)>& sink) {
    if (prompt.empty()) throw ConfigError("--prompt: expected at least one token, found an empty text");
    const RngStream random(options.seed, RngPurpose::sampling, "generate");
    DecodeState state;
    std::vector<int32_t> next(prompt.begin(), prompt.end());
    for (int64_t i = 0; i < options.max_tokens; ++i) {
        LayerContext ctx;
        ctx.allocator = &model.allocator();
        ctx.decode = &state;
        const auto count = static_cast<int64_t>(next.size());
        ctx.documents = Documents::single(count, state.position());
        const Tensor hidden = model.model().hidden(ctx, tensor_of(model.allocator(), next));
        state.advance(count);
        const Tensor logits = model.model().logits(ctx, hidden.rows(count - 1, 1));
        std::vector<double> row = row_of(logits, 0);
        // A vocabulary may be padded beyond the tokenizer's ids; no text belongs to the rest.
        row.resize(std::min(row.size(), static_cast<size_t>(model.tokenizer().identity().vocab_size)));
        next = {sample_token(row, options, random.uniform(static_cast<uint64_t>(i), options.sample))};
        if (next[0] == options.stop_token) return i + 1;
        sink(next[0]);
    }
    return options.max_tokens;
}

} // namespace braid
