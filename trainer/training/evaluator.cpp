#include "trainer/training/evaluator.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/training/batch.h"

namespace braid {
namespace {

/// Runs `batches` micro-batches of each rank (as many on every one, for ranks that share experts), without
/// gradients. `load` of a number gives one, empty where this rank has none left.
void run_batches(const Model& model, Allocator& allocator, const Mesh& mesh, int64_t batches,
                 const std::function<MicroBatch(int64_t)>& load, const StopRequested& stop_requested,
                 Recorder& recorder) {
    const std::vector<LayerSegment> segments = model.segments(false);
    for (int64_t i = 0; i < batches; ++i) {
        Batch batch;
        agree(mesh.world(), [&] { // a bad token in one rank's windows must end all ranks
            if (stop_requested && stop_requested()) throw Error(ExitCode::stopped, "stopped by a signal");
            const MicroBatch windows = load(i);
            expect_tokens_in_vocabulary(windows, model.config().vocab_size);
            batch = to_tensors(allocator, windows);
        });
        LayerContext ctx;
        ctx.allocator = &allocator;
        ctx.recorder = &recorder;
        ctx.mesh = &mesh;
        ctx.documents = batch.documents;
        Values values = {batch.tokens};
        for (const LayerSegment& segment : segments) {
            if (&segment == &segments.back()) values.push_back(batch.labels);
            values = segment.forward(ctx, values, nullptr);
        }
    }
    recorder.settle();
}

} // namespace

Evaluation evaluate(const Model& model, Allocator& allocator, const Mesh& mesh,
                    const std::shared_ptr<const ValidationLoader>& data, int64_t micro_batch,
                    const StopRequested& stop_requested) {
    const auto [num_ranks, rank] = mesh.grid().data;
    const EvenSplit split{data->num_windows(), num_ranks};
    const int64_t first = split.first(rank), last = first + split.length(rank);
    Recorder recorder(model.moe_layers().size(), false);
    const int64_t most = (data->num_windows() + num_ranks - 1) / num_ranks; // of any rank
    run_batches(
        model, allocator, mesh, (most + micro_batch - 1) / micro_batch,
        [&](int64_t i) {
            const int64_t at = first + i * micro_batch,
                          count = std::clamp<int64_t>(last - at, 0, micro_batch);
            if (count == 0) return empty_micro_batch();
            return interruptible([data, at, count] { return data->micro_batch(at, count); }, stop_requested);
        },
        stop_requested, recorder);
    std::vector<double> nats = {recorder.cross_entropy};
    all_reduce_sum(mesh.world(), std::span(nats));
    const int64_t labels = data->num_valid_labels(0, data->num_windows());
    const double bytes = data->num_label_bytes(0, data->num_windows());
    return {labels > 0 ? nats[0] / static_cast<double>(labels) : 0,
            bytes > 0 ? nats[0] / std::numbers::ln2 / bytes : 0};
}

TaskScore evaluate(const Model& model, Allocator& allocator, const Mesh& mesh, const TaskSet& task,
                   const StopRequested& stop_requested) {
    const auto [num_ranks, rank] = mesh.grid().data;
    Recorder recorder(model.moe_layers().size(), false);
    std::vector<double> mine; // of this rank's documents in turn, on one of its tensor ranks
    recorder.document_losses = &mine;
    run_batches(
        model, allocator, mesh, (task.num_batches() + num_ranks - 1) / num_ranks,
        [&, num_ranks = num_ranks, rank = rank](int64_t i) {
            const int64_t number = i * num_ranks + rank;
            return number < task.num_batches() ? task.batch(number) : empty_micro_batch();
        },
        stop_requested, recorder);
    std::vector<double> nats(static_cast<size_t>(task.num_documents()), 0);
    auto next = mine.begin();
    for (int64_t number = rank; number < task.num_batches() && next != mine.end(); number += num_ranks) {
        const int64_t first = task.first_document(number);
        const int64_t last =
            number + 1 < task.num_batches() ? task.first_document(number + 1) : task.num_documents();
        for (int64_t d = first; d < last; ++d) nats[static_cast<size_t>(d)] = *next++;
    }
    all_reduce_sum(mesh.world(), std::span(nats));
    return task.score(nats);
}

} // namespace braid
