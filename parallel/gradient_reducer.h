#pragma once

#include <map>
#include <vector>

#include "parallel/collectives.h"
#include "parallel/exposed_time.h"
#include "parallel/mesh.h"
#include "parallel/parallel_config.h"
#include "tensor/parameters/parameter.h"

namespace braid {

/// Sums the gradients of ParameterStore units over the ranks that their buckets name, as the reduce actions
/// of a schedule say. Gradients are sums over tokens, so nothing is divided.
class GradientReducer {
  public:
    struct Options {
        Reduction reduction = Reduction::ordered;
        // ZeRO-1 (Rajbhandari et al., arXiv:1910.02054): each rank gets the sums of the elements it owns
        // only.
        bool own_share = false;
    };

    GradientReducer(const Mesh& mesh, Allocator& allocator, ParameterStore& store, const Options& options)
        : mesh_(mesh), allocator_(allocator), store_(store), options_(options) {}

    void start(int unit);
    void add(int unit);
    void finish(int unit);
    /// Lets messages travel; called between operations.
    void poll();
    /// Time spent waiting and adding since the last call, in seconds: communication that nothing hid.
    double take_exposed_seconds();

  private:
    const Mesh& mesh_;
    Allocator& allocator_;
    ParameterStore& store_;
    const Options options_;
    std::map<int, std::vector<OrderedAllReduce>> under_way_; // by unit, one per bucket of several ranks
    std::map<int, std::vector<std::unique_ptr<Pending>>> under_way_in_library_;
    ExposedTime exposed_time_;
};

} // namespace braid
