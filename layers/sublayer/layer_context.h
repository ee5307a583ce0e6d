#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "ops/documents.h"
#include "tensor/segment.h"

namespace braid {

class DecodeState;
class Mesh;
class Recorder;
struct RoutingTrace;

/// What the sums of one training step are divided by, agreed by all ranks before its first forward. Every
/// loss is a sum over tokens or sequences times one of these, which makes gradients plain sums whatever the
/// layout.
struct StepTotals {
    int64_t valid_labels = 1; // labels of the global batch that count
    int64_t tokens = 1;       // all tokens of the global batch
    int64_t sequences = 1;    // all sequences of the global batch
};

/// The surroundings of a run through layers: those of its operations, and what changes from one micro-batch,
/// rank or step to the next.
struct LayerContext : Context {
    Recorder* recorder = nullptr;     // takes losses, expert counts and diagnostics; null when nobody asks
    RoutingTrace* routing = nullptr;  // takes down or gives out expert choices; null in ordinary runs
    DecodeState* decode = nullptr;    // keys, values and recurrent states of earlier tokens; null in training
    const Mesh* mesh = nullptr;       // the groups of ranks this one works with; null where it is alone
    DocumentsPtr documents;           // where documents and sequences begin
    std::optional<StepTotals> totals; // absent outside training: no auxiliary losses then

    /// The recorder of a forward run; null in a recomputation, whose first run has reported already.
    Recorder* reports() const { return recomputing ? nullptr : recorder; }
};

using LayerSegment = BasicSegment<LayerContext>;

} // namespace braid
