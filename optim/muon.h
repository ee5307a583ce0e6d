#pragma once

#include <vector>

#include "ops/newton_schulz.h"
#include "optim/adamw.h"
#include "optim/matrix_plan.h"

namespace braid {

/// Muon (K. Jordan, kellerjordan.github.io/posts/muon, 2024; Liu et al., arXiv:2502.16982) for matrices, and
/// AdamW for all else. For each matrix [out, in] with gradient g:
///   m = b m + (1 - b) g,   n = b m + (1 - b) g (nesterov) or m,
///   O = Newton-Schulz steps on n / (|n|_F + 1e-7),   p -= lr (s O + wd p),   s as MuonScale says.
/// State and arithmetic have the store's dtype.
///
/// The state, "momentum", lies as AdamW's does: elementwise, in the ranges a rank updates. For the steps the
/// pieces of a matrix come together on one rank (MatrixPlan), and pieces of O go back to all who update the
/// matrix; each is one all-to-all per unit over the world.
class Muon : public Optimizer {
  public:
    /// Store and mesh must outlive it.
    Muon(const OptimizerConfig& config, ParameterStore& store, const Mesh& mesh, Allocator& allocator,
         bool sharded = false);

    UpdateKind kind() const override { return UpdateKind::matrix; }
    void update(int unit, int64_t step, double lr, double gradient_scale) override;
    bool exchanges(int unit) const override { return !plan_.unit(unit).matrices.empty(); }
    double take_exposed_seconds() override;
    void visit_state(const std::function<void(const std::string&, int, const FlatRange&, const Tensor&)>&
                         visit) const override;
    std::vector<std::string> states(int unit, size_t section) const override;
    std::map<std::string, double> update_slopes() const override;

  private:
    /// The matrices that this rank computes in a unit.
    struct Matrices {
        // Those of one shape side by side: their numbers in the plan, and [matrices, rows, columns].
        std::vector<std::pair<std::vector<size_t>, Tensor>> batches;
        std::vector<Tensor> of; // by number; undefined for those that others compute
    };
    struct Messages;
    /// What update_slopes() needs of a unit's last update.
    struct LastUpdate {
        double lr = 0, gradient_scale = 0;
        // Of the matrices computed here, before the steps: their numbers in the plan, and their norms.
        std::vector<std::pair<std::vector<size_t>, Tensor>> norms;
    };

    void update_momentum(int unit, double gradient_scale);
    Matrices make_matrices(const MatrixPlan::Unit& plan) const;
    void exchange(const Messages& send, const Messages& receive);
    void gather_matrices(int unit, double gradient_scale, const Matrices& matrices);
    void apply_updates(int unit, double lr, const Matrices& matrices);
    double update_scale(int64_t out, int64_t in) const;

    const OptimizerConfig config_;
    ParameterStore& store_;
    const Mesh& mesh_;
    Allocator& allocator_;
    const std::vector<UnitSettings> settings_;
    const MatrixPlan plan_;
    const std::vector<ops::NewtonSchulzStep> steps_;
    AdamW adamw_;
    std::vector<std::vector<Tensor>> momentum_; // by unit and range of the plan
    std::vector<LastUpdate> last_updates_;      // by unit
    double exposed_seconds_ = 0;
};

} // namespace braid
