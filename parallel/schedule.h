#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace braid {

/// One thing a rank does in a step.
struct Action {
    enum class Kind : uint8_t {
        begin,             // a micro-batch comes in
        forward,           // of segments [first, last) for a micro-batch
        backward,          // of segments [first, last), from the last to the first
        end,               // nothing of a micro-batch is needed any more
        reduce_start,      // the gradients of a unit are complete here: start to sum them over the data ranks
        reduce_add,        // add the parts that have come and start to hand out the sums
        reduce_finish,     // the summed gradients are in place
        update,            // of the elements of a unit that this rank owns
        all_gather_start,  // hand out the updated values of a unit
        all_gather_finish, // all values of a unit are in place
    };
    Kind kind;
    int micro_batch = 0;
    int first = 0, last = 0;
    int unit = 0;

    bool operator==(const Action&) const = default;
};

/// What ranks that hold the same parameters do together in a step.
struct Sharing {
    bool reduce = false; // sum gradients
    bool gather = false; // update a share each and hand it out (ZeRO-1); needs `reduce`
};

/// What a data-parallel rank does in a step up to its update, as data: a pure function of its arguments, so
/// that every rank's list can be known and checked anywhere (parallel/plan_check.h). The segments are those
/// that the rank has, whichever part of the model they are. segment_units[i] is the ParameterStore unit whose
/// gradients segment i completes when its backward is the last one that uses them; units must not increase
/// from the last segment to the first.
///
/// Reductions of a unit run while the units before it are still in backward; values that the last update
/// handed out are awaited by the first forward that reads them. The order of both over ranks is the same
/// whatever the number of micro-batches, and a rank without any still takes part.
std::vector<Action> make_schedule(int num_micro_batches, std::span<const int> segment_units,
                                  const Sharing& sharing);

/// The update that follows: unit by unit, each handed out while the next one is computed and on into the next
/// step's forward.
std::vector<Action> make_update_schedule(int num_units, const Sharing& sharing);

} // namespace braid
