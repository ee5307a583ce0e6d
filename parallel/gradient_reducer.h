#pragma once

#include <map>

#include "parallel/collectives.h"
#include "parallel/parallel_config.h"
#include "tensor/parameter.h"

namespace braid {

/// Sums the gradients of ParameterStore units over the data ranks, as the reduce actions of a schedule say.
/// Gradients are sums over samples, so nothing is divided.
class GradientReducer {
  public:
    GradientReducer(Communicator& comm, Allocator& allocator, ParameterStore& store,
                    Reduction reduction = Reduction::ordered)
        : comm_(comm), allocator_(allocator), store_(store), reduction_(reduction) {}

    void start(int unit);
    void add(int unit);
    void finish(int unit);
    /// Lets messages travel; called between operations.
    void poll();
    /// Time spent waiting and adding since the last call, in seconds: communication that nothing hid.
    double take_exposed_seconds();

  private:
    Communicator& comm_;
    Allocator& allocator_;
    ParameterStore& store_;
    const Reduction reduction_;
    std::map<int, OrderedAllReduce> under_way_;
    std::map<int, std::unique_ptr<Pending>> under_way_in_library_;
    double exposed_seconds_ = 0;
};

} // namespace braid
